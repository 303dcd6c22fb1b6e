//! dnf as the solver: the tiny RPM world's signed repository through a folder and through mirrors that misbehave. dnf5
//! answers the same questions: this host's, and that of a newer Debian.

use std::fs;
use std::path::{Path, PathBuf};

use ingot::cache::PackageStore;
use ingot::error::{Error, Exit, Result};
use ingot::package::{Beneath, Mirrors, PackageSet, Unpacker};
use ingot::plan::*;
use ingot::report::Reporter;

use super::support::newer;
use super::support::plan::{named, plan};
use super::support::program::finish;
use super::support::rpm::{MADE, RpmWorld, Signer, need_rpm_world};
use super::support::server::{Fault, Server};
use super::support::{need, program, scratch, scratch_root};

/// What is asked of dnf, and where it works.
struct Question {
    plan: Plan,
    folder: tempfile::TempDir,
    reporter: Reporter,
}

impl Question {
    fn new(manager: Manager, repositories: Vec<Repository>, packages: &[&str]) -> Question {
        let mut plan = plan(repositories, packages);
        plan.packages.manager = manager;
        Question { plan, folder: scratch(), reporter: Reporter::silent() }
    }

    fn with(mut self, change: impl FnOnce(&mut PackageRequest)) -> Question {
        change(&mut self.plan.packages);
        self
    }

    /// Resolves with a cache and a scratch folder whose names have a blank in them.
    fn resolve(&self) -> Result<PackageSet> {
        let store = PackageStore::open(&self.folder.path().join("a cache"))?;
        let scratch = tempfile::Builder::new().prefix("scratch ").tempdir_in(self.folder.path()).unwrap();
        let (mirrors, beneath) = (Mirrors::default(), Beneath::Nothing);
        let unpacker = Unpacker::default();
        ingot::package::open(&self.plan, &mirrors, &store, unpacker, scratch.path(), beneath)?.resolve(&self.reporter)
    }

    #[track_caller]
    fn refused(&self) -> Error {
        match self.resolve() {
            Ok(set) => panic!("{:?}", names(&set)),
            Err(error) => error,
        }
    }

    fn warnings(&self) -> String {
        self.reporter.warnings().iter().map(|warning| format!("{}\n", warning.text)).collect()
    }
}

fn repository(source: &str, key: &Path) -> Repository {
    Repository {
        distribution: String::new(),
        components: Vec::new(),
        signed_packages: Signed::Required,
        ..super::support::plan::repository(source, key)
    }
}

fn unchecked(source: &str) -> Repository {
    Repository {
        keys: Vec::new(),
        signed: Signed::NotChecked,
        signed_packages: Signed::NotChecked,
        ..repository(source, Path::new(""))
    }
}

/// The generations of dnf that this host has.
fn generations() -> Vec<Manager> {
    let all = [("dnf-3", Manager::Dnf4), ("dnf5", Manager::Dnf5)];
    all.into_iter().filter(|(name, _)| program(name).is_some()).map(|(_, manager)| manager).collect()
}

macro_rules! need_dnf {
    () => {
        if generations().is_empty() {
            super::support::skip!("this host has no dnf");
        }
    };
}

fn names(set: &PackageSet) -> Vec<&str> {
    set.packages.iter().map(|package| package.name.as_str()).collect()
}

fn version<'a>(set: &'a PackageSet, name: &str) -> &'a str {
    &set.packages.iter().find(|package| package.name == name).unwrap().version
}

fn collections(names: &[&str]) -> Groups {
    Groups { collections: named(names), products: Vec::new() }
}

fn module(name: &str, stream: Option<&str>, enabled: bool) -> Module {
    Module { named: named(&[name]).remove(0), stream: stream.map(str::to_string), enabled }
}

fn url(folder: &Path) -> String {
    format!("dir://{}", folder.display())
}

#[test]
fn what_is_asked_for_is_chosen_fetched_and_verified() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    need!("gpgv");
    let world = RpmWorld::open();
    for manager in generations() {
        let server = Server::start(world.repository());
        let repositories = vec![repository(&server.url(), &world.key())];
        let question = Question::new(manager, repositories, &["tiny-app>=1.0", "/usr/bin/tiny-app"])
            .with(|request| request.image_groups = collections(&["tiny-group"]));
        for _ in 0..2 {
            let set = question.resolve().unwrap();
            let wanted =
                ["busybox", "filesystem", "libtiny1", "tiny-accounts", "tiny-app", "tiny-lua", "tiny-provider"];
            assert_eq!(names(&set), wanted, "{manager:?}");
            assert_eq!(version(&set, "tiny-app"), "1:2.0-3");
            assert_eq!(set.releases.len(), 1);
            assert_eq!(set.releases[0].signed_by.as_ref().map(String::len), Some(40));
            for package in &set.packages {
                // A group's members were asked for, too.
                assert_eq!(package.requested, ["tiny-app", "tiny-lua"].contains(&package.name.as_str()), "{package:?}");
                assert_eq!(package.repository, "tiny");
                assert_eq!(package.sha256.len(), 64);
            }
        }
        assert_eq!(question.warnings(), "");
        assert_eq!(server.asked("/tiny-app-").len(), 1, "{manager:?} fetches it once");
        let left = fs::read_dir(question.folder.path()).unwrap().count();
        assert_eq!(left, 1, "nothing but the cache is left");
    }
}

#[test]
fn weak_dependencies_come_only_where_the_description_says_so() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    let world = RpmWorld::open();
    for manager in generations() {
        let repositories = vec![repository(&url(&world.repository()), &world.key())];
        let question = Question::new(manager, repositories, &["tiny-app"]).with(|request| {
            request.image_groups = collections(&["tiny-group"]);
            request.recommends = Recommends::Yes;
        });
        let set = question.resolve().unwrap();
        // The group's default package, a recommended one, and one that supplements.
        for name in ["tiny-suggested", "tiny-recommended", "tiny-supplement"] {
            assert!(names(&set).contains(&name), "{manager:?}: {:?}", names(&set));
        }
        assert!(!names(&set).contains(&"tiny-unwanted"));
    }
}

#[test]
fn an_ignored_package_is_not_chosen_and_what_that_costs_is_said() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    let world = RpmWorld::open();
    for manager in generations() {
        let repositories = vec![repository(&url(&world.repository()), &world.key())];
        let question = Question::new(manager, repositories, &["tiny-app"])
            .with(|request| request.ignore = named(&["tiny-provider"]));
        let set = question.resolve().unwrap();
        assert_eq!(version(&set, "tiny-app"), "1:1.0-1", "an older one, which needs nothing");
        let warnings = question.warnings();
        assert!(warnings.contains("tiny-app-1:2.0-3.x86_64") && warnings.contains("filtered out"), "{warnings}");
        let question = question.with(|request| request.ignore = named(&["tiny-app"]));
        let error = question.refused();
        assert_eq!(error.exit(), Exit::Description, "{}", error.text());
        assert!(error.hint_text().is_some_and(|hint| hint.contains("<ignore>")), "{}", error.text());
    }
}

#[test]
fn a_module_decides_which_version_there_is() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    let world = RpmWorld::open();
    for manager in generations() {
        let repositories = vec![repository(&url(&world.repository()), &world.key())];
        let question = Question::new(manager, repositories, &["tiny-modular"]);
        let question = question.with(|request| request.modules = vec![module("tiny-module", Some("2"), true)]);
        assert_eq!(version(&question.resolve().unwrap(), "tiny-modular"), "2.0-1", "{manager:?}");
        let question = question.with(|request| request.modules = vec![module("tiny-module", None, true)]);
        assert_eq!(version(&question.resolve().unwrap(), "tiny-modular"), "1.0-1", "the default stream");
        let question = question.with(|request| request.modules = vec![module("tiny-module", None, false)]);
        let error = question.refused();
        assert_eq!(error.exit(), Exit::Description, "{}", error.text());
        for (name, stream) in [("tiny-module", "7"), ("nomodule", "1")] {
            let question = Question::new(manager, question.plan.repositories.clone(), &["tiny-modular"])
                .with(|request| request.modules = vec![module(name, Some(stream), true)]);
            let text = question.refused().text();
            assert!(text.contains(&format!("{name}:{stream}")) && text.contains("config.xml:10:9"), "{text}");
        }
    }
}

#[test]
fn what_is_not_there_is_named_with_its_place_in_the_description() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    let world = RpmWorld::open();
    for manager in generations() {
        let ask = |packages: &[&str], groups: &[&str]| {
            let repositories = vec![repository(&url(&world.repository()), &world.key())];
            let question = Question::new(manager, repositories, packages);
            let error = question.with(|request| request.bootstrap_groups = collections(groups)).refused();
            assert_eq!(error.exit(), Exit::Description, "{manager:?}: {}", error.text());
            error.text()
        };
        for (packages, groups, reason, place) in [
            (&["busybox", "nosuch"][..], &[][..], "nosuch", "config.xml:11:9"),
            (&["busybox", "/usr/bin/nosuch"], &[], "/usr/bin/nosuch", "config.xml:11:9"),
            (&["busybox", "tiny-lua>=9"], &[], "tiny-lua >= 9", "config.xml:11:9"),
            (&["busybox"], &["nogroup"], "nogroup", "config.xml:10:9"),
            (&["busybox", "tiny-unsatisfiable"], &[], "nothing provides tiny-nowhere >= 7", "config.xml:11:9"),
            (&["busybox", "tiny-unsatisfiable>=1.0"], &[], "nothing provides tiny-nowhere >= 7", "config.xml:11:9"),
            (&["tiny-app", "tiny-foe"], &[], "conflicts with tiny-app", "config.xml:10:9"),
            (&["busybox", "/tmp/x.rpm"], &[], "is a file", "config.xml:11:9"),
            (&["busybox", "https://example.org/x"], &[], "is a file", "config.xml:11:9"),
        ] {
            let text = ask(packages, groups);
            assert!(text.contains(reason) && text.contains(place), "{reason}, {place}: {text}");
        }
    }
    for manager in generations() {
        let place = repository("http://127.0.0.1:1/$releasever", &world.key());
        let error = Question::new(manager, vec![place], &["busybox"]).refused();
        let text = error.text();
        assert_eq!(error.exit(), Exit::Description, "{text}");
        assert!(text.contains("config.xml:5:3") && text.contains("<release-version>"), "{text}");
    }
}

#[test]
fn what_the_key_did_not_sign_is_76() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    need!("gpgv");
    let (world, folder) = (RpmWorld::open(), scratch());
    let spoilt = |name: &str, make: &dyn Fn(&Path)| {
        make(&folder.path().join(name));
        Server::start(folder.path().join(name))
    };
    let servers = [
        ("nobody signed the metadata", spoilt("unsigned", &|to| world.unsigned_metadata(to)), world.key()),
        ("another key", spoilt("other", &|to| world.metadata_signed_by(Signer::Other, to)), world.key()),
        ("an expired key", spoilt("expired", &|to| world.metadata_signed_by(Signer::Expired, to)), world.expired_key()),
        ("a changed package", spoilt("tampered", &|to| world.tampered("tiny-lua", to)), world.key()),
        (
            "a package of somebody else",
            spoilt("forged", &|to| world.forged("tiny-lua", Some(Signer::Other), to)),
            world.key(),
        ),
        ("a package of nobody", spoilt("naked", &|to| world.forged("tiny-lua", None, to)), world.key()),
    ];
    for manager in generations() {
        for (what, server, key) in &servers {
            let question = Question::new(manager, vec![repository(&server.url(), key)], &["tiny-lua"]);
            let error = question.refused();
            assert_eq!(error.exit(), Exit::Integrity, "{manager:?}, {what}: {}", error.text());
        }
        let server = Server::start(world.repository());
        let error =
            Question::new(manager, vec![repository(&server.url(), &world.other_key())], &["tiny-lua"]).refused();
        assert_eq!(error.exit(), Exit::Integrity, "{manager:?}: {}", error.text());
        assert!(error.text().contains("config.xml:5:3"), "{}", error.text());
        // What the description does not want to be verified is not.
        let set = Question::new(manager, vec![unchecked(&servers[0].1.url())], &["tiny-lua"]).resolve().unwrap();
        assert_eq!(set.releases[0].signed, Signed::NotChecked);
    }
}

#[test]
fn a_key_that_a_repository_brings_along_is_not_trusted() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    need!("gpgv");
    let (world, folder) = (RpmWorld::open(), scratch());
    let forged = folder.path().join("forged");
    world.metadata_signed_by(Signer::Other, &forged);
    // The key lies beside the metadata as repomd.xml.key, and is good for another repository of the same build.
    let repositories = vec![
        Repository { alias: "other".into(), ..repository(&url(&world.repository()), &world.key()) },
        repository(&url(&forged), &world.key()),
    ];
    for manager in generations() {
        let error = Question::new(manager, repositories.clone(), &["tiny-lua"]).refused();
        assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
        // Nor is the key of one repository good for the packages of another.
        let mut repositories = repositories.clone();
        world.forged("tiny-lua", Some(Signer::Other), &folder.path().join(format!("{manager:?}")));
        repositories[1] = repository(&url(&folder.path().join(format!("{manager:?}"))), &world.key());
        repositories[1].priority = Some(1);
        repositories[0].keys.push(world.other_key().display().to_string());
        let error = Question::new(manager, repositories, &["tiny-lua"]).refused();
        assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
        assert!(error.text().contains("tiny-lua"), "{}", error.text());
    }
}

#[test]
fn a_mirror_that_fails_is_75_and_one_that_is_not_there_is_a_wrong_description() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    let (world, folder) = (RpmWorld::open(), scratch());
    for manager in generations() {
        let refused = |source: &str| Question::new(manager, vec![unchecked(source)], &["tiny-lua"]).refused();
        let down = Server::start(world.repository()).fault("repomd.xml", Fault::Status(503));
        let halfway = Server::start(world.repository()).fault("tiny-lua", Fault::Status(503));
        let empty = Server::start(folder.path());
        for (source, exit) in [
            ("http://127.0.0.1:1/".to_string(), Exit::Temporary),
            ("http://nowhere.invalid/".to_string(), Exit::Temporary),
            (down.url(), Exit::Temporary),
            (halfway.url(), Exit::Temporary),
            (empty.url(), Exit::Description),
            (url(&folder.path().join("nothing")), Exit::InputMissing),
        ] {
            let error = refused(&source);
            assert_eq!(error.exit(), exit, "{manager:?}, {source}: {}", error.text());
        }
        assert!(refused(&empty.url()).text().contains("config.xml:5:3"));
    }
}

#[test]
fn a_password_reaches_the_server_and_nothing_else() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    let (world, folder) = (RpmWorld::open(), scratch());
    let with = |password: &str, server: &Server| {
        let credentials = Some(("me".to_string(), password.to_string()));
        Repository { credentials, ..repository(&server.url(), &world.key()) }
    };
    for manager in generations() {
        // dnf5 has a way to say that no variable is meant.
        let (password, authorization) = match manager {
            Manager::Dnf5 => (r#" "se%cret\$basearch"#, "bWU6ICJzZSVjcmV0XCRiYXNlYXJjaA=="),
            _ => (r#" "se%cret\$1"#, "bWU6ICJzZSVjcmV0XCQx"),
        };
        let server = Server::start(world.repository()).demand(&format!("Basic {authorization}"));
        let own = with(password, &server);
        let question = Question::new(manager, vec![own], &["tiny-lua"]);
        let log = folder.path().join(format!("{manager:?}.log"));
        question.reporter.log_to(fs::File::create(&log).unwrap());
        question.resolve().unwrap();
        assert!(!fs::read_to_string(&log).unwrap().contains("se%cret"));
        let found = grep(question.folder.path(), b"se%cret");
        assert!(found.is_empty(), "{found:?}");
        let error = Question::new(manager, vec![repository(&server.url(), &world.key())], &["tiny-lua"]).refused();
        assert!(error.text().contains("401") && error.text().contains("`password`"), "{}", error.text());
        assert_eq!(error.exit(), Exit::Description, "{}", error.text());
        if manager == Manager::Dnf4 {
            let error = Question::new(manager, vec![with("se${basearch}t", &server)], &["tiny-lua"]).refused();
            assert!(error.text().contains("password has the name of a variable"), "{}", error.text());
            assert!(error.exit() == Exit::Description && !error.text().contains("basearch"), "{}", error.text());
        }
    }
}

fn grep(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(grep(&path, needle));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle)) {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_repository_of_the_higher_priority_wins_and_lists_of_mirrors_are_followed() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    let (world, folder) = (RpmWorld::open(), scratch());
    let old = folder.path().join("old");
    fs::create_dir(&old).unwrap();
    fs::copy(world.repository().join("tiny-app-1.0-1.noarch.rpm"), old.join("tiny-app-1.0-1.noarch.rpm")).unwrap();
    world.index(&old);
    world.sign(Signer::Own, &old);
    let mirror = Server::start(world.repository());
    fs::create_dir_all(folder.path().join("7/x86_64")).unwrap();
    fs::write(folder.path().join("7/x86_64/mirrors"), format!("{}/\n", mirror.url())).unwrap();
    let lists = Server::start(folder.path());
    let metadata = fs::read(world.repository().join("repodata/repomd.xml")).unwrap();
    let metalink = |name: &str, digest: &str| {
        let text = format!(
            "<?xml version=\"1.0\"?><metalink version=\"3.0\" xmlns=\"http://www.metalinker.org/\"><files>\
             <file name=\"repomd.xml\"><size>{}</size><verification><hash type=\"sha256\">{digest}</hash>\
             </verification><resources><url protocol=\"http\" type=\"http\" preference=\"100\">\
             {}/repodata/repomd.xml</url></resources></file></files></metalink>",
            metadata.len(),
            mirror.url()
        );
        fs::write(folder.path().join(name), text).unwrap();
        let source = format!("{}/{name}", lists.url());
        Repository { source, address: Address::Metalink, ..repository("", &world.key()) }
    };
    let good = metalink("good", &super::support::world::sha256(&metadata));
    let bad = metalink("bad", &"0".repeat(64));
    let first = Repository {
        source: format!("{}/$releasever/$basearch/mirrors", lists.url()),
        address: Address::MirrorList,
        ..repository("", &world.key())
    };
    for manager in generations() {
        let second = Repository { alias: "old".into(), ..repository(&url(&old), &world.key()) };
        let ask = |repositories| {
            let question = Question::new(manager, repositories, &["tiny-app"]);
            let question = question.with(|request| request.rpm.release_version = Some("7".into()));
            question.resolve().unwrap()
        };
        let set = ask(vec![first.clone(), second.clone()]);
        assert_eq!(version(&set, "tiny-app"), "1:2.0-3", "the newest one");
        let set = ask(vec![first.clone(), Repository { priority: Some(1), ..second }]);
        assert_eq!(version(&set, "tiny-app"), "1:1.0-1");
        assert_eq!(version(&ask(vec![good.clone()]), "tiny-app"), "1:2.0-3");
        let error = Question::new(manager, vec![bad.clone()], &["tiny-app"]).refused();
        assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
        let of = set.packages.iter().find(|package| package.name == "tiny-app").unwrap();
        assert_eq!(of.repository, "old");
    }
    assert!(lists.requests().iter().any(|path| path == "/7/x86_64/mirrors"), "{:?}", lists.requests());
}

#[test]
fn a_dnf_that_this_host_lacks_is_replaced_by_the_other_one_and_that_is_said() {
    need!(root);
    need_rpm_world!();
    need_dnf!();
    let world = RpmWorld::open();
    let ask = |manager| {
        let repositories = vec![repository(&url(&world.repository()), &world.key())];
        let question = Question::new(manager, repositories, &["tiny-lua"]);
        assert_eq!(names(&question.resolve().unwrap()), ["tiny-lua"]);
        question.warnings()
    };
    assert_eq!(ask(Manager::Microdnf), "");
    for (manager, name) in [(Manager::Dnf4, "dnf-3"), (Manager::Dnf5, "dnf5")] {
        let said = ask(manager);
        assert_eq!(said.contains(&format!("this host has no {}", manager.word())), program(name).is_none(), "{said}");
    }
}

/// All tests of this file but this one, on a host that has dnf5 and no dnf4.
#[test]
fn the_dnf5_of_a_newer_debian_answers_the_same_questions() {
    need!(root);
    need_rpm_world!();
    need!("mmdebstrap", "unshare");
    let Some(tree) = newer::tree("dnf5", newer::SUITE, newer::DNF5) else { return };
    let (world, folder) = (RpmWorld::open(), scratch());
    let program = std::env::current_exe().unwrap();
    let (sources, skips) = (Path::new(env!("CARGO_MANIFEST_DIR")), folder.path().join("skips"));
    let scratch = scratch_root();
    let host = newer::Host::new(tree, folder.path(), &[sources, &scratch, program.parent().unwrap()]);
    let mut command = host.command(&program);
    command.args(["dnf::", "--skip", "newer_debian", "--test-threads=2"]);
    command.env(MADE, world.folder()).env("INGOT_TEST_SKIPS", &skips);
    let said = finish(&mut command);
    assert!(said.contains("; 0 failed; ") && said.matches(" ... ok").count() >= 11, "{said}");
    assert!(!skips.exists(), "{}", fs::read_to_string(&skips).unwrap());
    assert_eq!(host.written(), [""; 0], "on the host");
}
