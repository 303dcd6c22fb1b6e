//! Resolving and fetching packages: the tiny world's repository through a local folder and a mirror that misbehaves.

use std::fs;
use std::path::Path;

use ingot::bytes::Bytes;
use ingot::cache::PackageStore;
use ingot::error::{Exit, Result};
use ingot::package::{Apt, Mirrors, PackageSet};
use ingot::plan::*;
use ingot::report::Reporter;

use super::support::need;
use super::support::plan::{debian, named, plan, repository};
use super::support::server::{Fault, Server};
use super::support::world::{self, World};

/// Resolves with a cache and scratch folder below `folder`, whose names have a blank in them.
fn resolve(plan: &Plan, folder: &Path) -> Result<PackageSet> {
    let store = PackageStore::open(&folder.join("a cache"))?;
    let scratch = tempfile::Builder::new().prefix("scratch ").tempdir_in(folder).unwrap();
    Apt::open(plan, &Mirrors::default(), &store, scratch.path())?.resolve(&Reporter::silent())
}

fn names(set: &PackageSet) -> Vec<&str> {
    let mut names: Vec<&str> = set.packages.iter().map(|package| package.name.as_str()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_is_resolved_fetched_and_verified() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let source = format!("dir://{}", world.repository().display());
    let set = resolve(&plan(vec![repository(&source, &world.key())], &["tiny-app"]), folder.path()).unwrap();
    println!("{:?}", names(&set));
    assert!(names(&set).contains(&"tiny-app"));
    assert_eq!(set.newest_release, 1_767_323_045);
    assert_eq!(set.releases.len(), 1);
    assert_eq!(set.releases[0].signed, Signed::Required);
    assert_eq!(set.releases[0].signed_by.as_ref().map(String::len), Some(40));
    for package in &set.packages {
        assert_eq!(world::sha256(&fs::read(&package.archive).unwrap()), package.sha256);
        assert_eq!(Bytes(fs::metadata(&package.archive).unwrap().len()), package.size);
        assert_eq!(package.requested, package.name == "tiny-app");
        assert_eq!(package.repository, "tiny");
    }
}

/// The error of resolving `tiny-app` from `source`.
fn refused(source: &str, key: &Path, folder: &Path) -> ingot::error::Error {
    let error = resolve(&plan(vec![repository(source, key)], &["tiny-app"]), folder).unwrap_err();
    assert!(error.text().contains("config.xml:5:3"), "{}", error.text());
    error
}

#[test]
fn what_is_not_signed_by_the_right_key_is_76() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let good = Server::start(world.repository());
    let error = refused(&good.url(), &world.other_key(), folder.path());
    assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());

    let spoilt = folder.path().join("spoilt");
    let in_suite = |name: &str| spoilt.join("dists").join(world::SUITE).join(name);
    let replace = |name: &str, old: &str, new: &str| {
        let text = fs::read_to_string(in_suite(name)).unwrap();
        assert!(text.contains(old));
        fs::remove_file(in_suite(name)).unwrap();
        fs::write(in_suite(name), text.replace(old, new)).unwrap();
    };
    let cases: [(&str, &dyn Fn()); 3] = [
        ("no signature at all", &|| {
            fs::remove_file(in_suite("InRelease")).unwrap();
            fs::remove_file(in_suite("Release.gpg")).unwrap();
        }),
        ("a changed Release file", &|| {
            replace("InRelease", "Label: Tiny", "Label: Evil");
            fs::remove_file(in_suite("Release.gpg")).unwrap();
        }),
        ("an index that is not the signed one", &|| {
            replace("main/binary-amd64/Packages", "Package: tiny-app", "Package: evil-app");
            fs::remove_file(in_suite("main/binary-amd64/Packages.gz")).unwrap();
        }),
    ];
    for (what, spoil) in cases {
        world.copy(&spoilt);
        spoil();
        let server = Server::start(&spoilt);
        let error = refused(&server.url(), &world.key(), folder.path());
        assert_eq!(error.exit(), Exit::Integrity, "{what}: {}", error.text());
        fs::remove_dir_all(&spoilt).unwrap();
    }
}

#[test]
fn an_unsigned_repository_is_used_only_if_the_description_says_so() {
    need!("apt-get", "dpkg-deb", "gpg");
    let (world, folder) = (World::open(), super::support::scratch());
    let copy = folder.path().join("copy");
    world.copy(&copy);
    for name in ["InRelease", "Release.gpg"] {
        fs::remove_file(copy.join("dists").join(world::SUITE).join(name)).unwrap();
    }
    let source = format!("file://{}", copy.display());
    let error = refused(&source, &world.key(), folder.path());
    assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
    assert!(error.hint_text().unwrap().contains("repository_gpgcheck"), "{}", error.text());
    let unchecked = Repository { signed: Signed::NotChecked, ..repository(&source, &world.key()) };
    let set = resolve(&plan(vec![unchecked], &["tiny-app"]), folder.path()).unwrap();
    assert_eq!((set.releases[0].signed, set.releases[0].signed_by.clone()), (Signed::NotChecked, None));
    assert_eq!(set.newest_release, 1_767_323_045);
}

#[test]
fn archives_that_are_not_what_was_signed_are_76_and_do_not_stay() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let length = fs::metadata(world.repository().join(world.package("tiny-app"))).unwrap().len() as usize;
    for bytes in [vec![b'x'; length], vec![b'x'; length + 7], b"<html>log in</html>".to_vec()] {
        let server = Server::start(world.repository()).fault_times("pool/tiny-app_", Fault::Bytes(bytes), usize::MAX);
        let error = refused(&server.url(), &world.key(), folder.path());
        assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
    }
    let copy = folder.path().join("copy");
    world.copy(&copy);
    let package = copy.join(world.package("tiny-app"));
    fs::remove_file(&package).unwrap();
    fs::write(&package, vec![b'x'; length]).unwrap();
    let error = resolve(
        &plan(vec![repository(&format!("file://{}", copy.display()), &world.key())], &["tiny-app"]),
        folder.path(),
    );
    assert_eq!(error.unwrap_err().exit(), Exit::Integrity);
    // Nothing wrong was kept: a good mirror fills the same cache.
    let good = Server::start(world.repository());
    resolve(&plan(vec![repository(&good.url(), &world.key())], &["tiny-app"]), folder.path()).unwrap();
}

#[test]
fn a_mirror_that_fails_is_75_and_one_that_stumbles_is_asked_again() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let dead = Server::start(world.repository()).url();
    let error = refused(&dead, &world.key(), folder.path());
    assert_eq!(error.exit(), Exit::Temporary, "{}", error.text());
    for (part, fault) in [
        ("InRelease", Fault::Status(503)),
        ("pool/tiny-app_", Fault::Status(404)),
        ("pool/tiny-app_", Fault::Truncate(100)),
        ("pool/tiny-app_", Fault::Reset(100)),
    ] {
        let server = Server::start(world.repository()).fault(part, fault.clone());
        let error = refused(&server.url(), &world.key(), folder.path());
        assert_eq!(error.exit(), Exit::Temporary, "{fault:?}: {}", error.text());
    }
    let server = Server::start(world.repository()).fault_times("InRelease", Fault::Status(503), 1).fault_times(
        "pool/tiny-app_",
        Fault::Reset(100),
        1,
    );
    resolve(&plan(vec![repository(&server.url(), &world.key())], &["tiny-app"]), folder.path()).unwrap();
}

#[test]
fn a_suite_that_is_not_there_is_65_and_a_folder_that_is_not_there_66() {
    need!("apt-get", "dpkg-deb", "gpg");
    let (world, folder) = (World::open(), super::support::scratch());
    let server = Server::start(world.repository());
    let wrong = Repository { distribution: "tinny".into(), ..repository(&server.url(), &world.key()) };
    let error = resolve(&plan(vec![wrong], &["tiny-app"]), folder.path()).unwrap_err();
    assert_eq!(error.exit(), Exit::Description, "{}", error.text());
    let error = refused("file:///nonexistent/repository", &world.key(), folder.path());
    assert_eq!(error.exit(), Exit::InputMissing, "{}", error.text());
}

#[test]
fn a_request_that_cannot_be_satisfied_is_65_with_apts_reason() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let source = format!("file://{}", world.repository().display());
    for (name, says) in [
        ("tiny-ap", &["Unable to locate package tiny-ap", "did you mean `tiny-app`?", "config.xml:11:9"][..]),
        ("tiny-app=9", &["Version '9' for 'tiny-app' was not found", "config.xml:11:9"]),
        ("-y", &["not the name of a Debian package", "config.xml:11:9"]),
        ("~ntiny", &["not the name of a Debian package", "config.xml:11:9"]),
    ] {
        let plan = plan(vec![repository(&source, &world.key())], &["bash", name]);
        let error = resolve(&plan, folder.path()).unwrap_err();
        assert_eq!(error.exit(), Exit::Description);
        assert!(says.iter().all(|part| error.text().contains(part)), "{}", error.text());
    }
    let mut plan = plan(vec![repository(&source, &world.key())], &["tiny-app"]);
    plan.packages.ignore = named(&["libtiny1"]);
    let error = resolve(&plan, folder.path()).unwrap_err();
    assert!(error.text().contains("libtiny1"), "{}", error.text());
    assert_eq!(error.exit(), Exit::Description);
}

#[test]
fn a_damaged_package_in_the_cache_is_fetched_again_and_indexes_are_not() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let server = Server::start(world.repository());
    let plan = plan(vec![repository(&server.url(), &world.key())], &["tiny-app"]);
    let set = resolve(&plan, folder.path()).unwrap();
    let damaged = &set.packages.iter().find(|package| package.name == "tiny-app").unwrap().archive;
    fs::remove_file(damaged).unwrap();
    fs::write(damaged, "damaged").unwrap();
    let before = server.requests().len();
    let again = resolve(&plan, folder.path()).unwrap();
    let asked: Vec<String> = server.requests().split_off(before);
    let asked: Vec<&str> = asked.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0] == "InRelease" && asked[1].starts_with("tiny-app_"), "{asked:?}");
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&set).unwrap());
}

#[test]
fn apt_solves_again_only_when_the_indexes_or_the_request_changed() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let repository_folder = folder.path().join("repository");
    world.copy(&repository_folder);
    let mut plan = plan(vec![repository(&format!("dir://{}", repository_folder.display()), &world.key())], &[]);
    let solved = |plan: &Plan| {
        let (log, scratch) = (folder.path().join("log"), super::support::scratch());
        let reporter = Reporter::new(ingot::report::Verbosity::Quiet, None, || std::time::Duration::ZERO);
        reporter.log_to(fs::File::create(&log).unwrap());
        let store = PackageStore::open(&folder.path().join("a cache")).unwrap();
        let set = Apt::open(plan, &Mirrors::default(), &store, scratch.path()).unwrap().resolve(&reporter).unwrap();
        let asked = fs::read_to_string(log).unwrap().contains("--print-uris");
        (asked, serde_json::to_string(&set.packages).unwrap(), format!("{:?}", set.packages[0].control.get("Depends")))
    };
    let (asked, first, control) = solved(&plan);
    assert!(asked);
    assert_eq!(solved(&plan), (false, first.clone(), control), "nothing changed");
    plan.packages.image = super::support::plan::named(&["tiny-app"]);
    let (asked, second, _) = solved(&plan);
    assert!(asked && second != first, "another request");
    plan.packages.recommends = match plan.packages.recommends {
        ingot::plan::Recommends::Yes => ingot::plan::Recommends::No,
        ingot::plan::Recommends::No => ingot::plan::Recommends::Yes,
    };
    assert!(solved(&plan).0, "other options");
    assert!(!solved(&plan).0);
    world.sign(&repository_folder, super::support::packages::DATE + 86_400);
    assert!(solved(&plan).0, "another Release file");
}

#[test]
fn a_mirror_that_hangs_is_given_up() {
    need!("apt-get", "dpkg-deb", "gpg");
    let (world, folder) = (World::open(), super::support::scratch());
    for part in ["InRelease", "pool/tiny-app_"] {
        let server = Server::start(world.repository()).fault(part, Fault::Hang);
        let started = std::time::Instant::now();
        let error = refused(&server.url(), &world.key(), folder.path());
        assert_eq!(error.exit(), Exit::Temporary, "{}", error.text());
        assert!(started.elapsed().as_secs() < 150, "{:?}", started.elapsed());
    }
}

#[test]
fn a_password_opens_the_repository_and_stands_nowhere_else() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    // Base64 of `me:canary7`.
    let server = Server::start(world.repository()).demand("Basic bWU6Y2FuYXJ5Nw==");
    let credentials = Some(("me".to_string(), "canary7".to_string()));
    let mut plan = plan(vec![Repository { credentials, ..repository(&server.url(), &world.key()) }], &["tiny-app"]);
    let log = folder.path().join("log");
    let reporter = Reporter::silent();
    reporter.log_to(fs::File::create(&log).unwrap());
    let store = PackageStore::open(&folder.path().join("cache")).unwrap();
    let scratch = tempfile::tempdir_in(folder.path()).unwrap();
    let set = Apt::open(&plan, &Mirrors::default(), &store, scratch.path()).unwrap().resolve(&reporter).unwrap();
    drop(scratch);
    plan.repositories[0].credentials = None;
    let error = resolve(&plan, &folder.path().join("other")).unwrap_err();
    assert!(error.text().contains("401"), "{}", error.text());
    assert!(!serde_json::to_string(&set).unwrap().contains("canary7"));
    let grep = std::process::Command::new("grep").args(["-r", "-l", "canary7"]).arg(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    assert!(!fs::read(&log).unwrap().is_empty());
}

#[test]
fn builds_at_the_same_time_share_one_cache() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let server = Server::start(world.repository());
    let plan = plan(vec![repository(&server.url(), &world.key())], &["tiny-app"]);
    let resolved = || serde_json::to_string(&resolve(&plan, folder.path()).unwrap()).unwrap();
    let sets: Vec<String> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..8).map(|_| scope.spawn(resolved)).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert!(sets.iter().all(|set| *set == sets[0]));
    let archives = server.requests().iter().filter(|path| path.contains("tiny-app_")).count();
    assert_eq!(archives, 1);
}

#[test]
fn debian_12_and_13_are_resolved_from_the_hosts_mirror() {
    need!("apt-get", "gpgv");
    if !Mirrors::load(&[], None).is_ok_and(|mirrors| mirrors.get("debian").is_ok()) {
        super::support::skip!("needs a Debian mirror among the host's apt sources");
    }
    let folder = super::support::scratch();
    for codename in ["bookworm", "trixie"] {
        let mut plan = plan(debian(codename), &["openssh-server", "python3"]);
        plan.update_stack = UpdateStack::Kept;
        let store = PackageStore::open(&folder.path().join("cache")).unwrap();
        let mirrors = Mirrors::load(&[], None).unwrap();
        for _ in 0..2 {
            let scratch = tempfile::tempdir_in(folder.path()).unwrap();
            let reporter = Reporter::new(ingot::report::Verbosity::Steps, None, || std::time::Duration::ZERO);
            let set = Apt::open(&plan, &mirrors, &store, scratch.path()).unwrap().resolve(&reporter).unwrap();
            let names = names(&set);
            assert!(["apt", "base-files", "libc6", "openssh-server"].iter().all(|name| names.contains(name)));
            assert!(!names.contains(&"usrmerge"));
            assert_eq!(set.releases.len(), 3);
            assert!(set.packages.iter().all(|package| package.archive.is_file()));
            let of = |alias: &str| set.packages.iter().filter(|package| package.repository == alias).count();
            eprintln!("{codename}: {} debian, {} updates, {} security", of("debian"), of("updates"), of("security"));
        }
    }
}
