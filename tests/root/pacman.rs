//! Packages of the tiny pacman world: what pacman decides, refuses and installs, driven by ingot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::cache::PackageStore;
use ingot::error::{Error, Exit, Result};
use ingot::host::rooted::Rooted;
use ingot::host::sandbox::Sandbox;
use ingot::package::pacman::Pacman;
use ingot::package::{Beneath, Mirrors, PackageManager, PackageSet, Phase};
use ingot::plan::*;
use ingot::report::Reporter;

use crate::support::image::{Answer, Ingot, assert_cache_is_looked_after, digests, result, unpack_docker};
use crate::support::pacman::{PacmanWorld, REPOSITORY, need_pacman_world};
use crate::support::plan::{named, plan, repository};
use crate::support::server::{Fault, Server};
use crate::support::{need, scratch, together};

/// A plan for an image of the tiny pacman world at `source`.
pub(crate) fn tiny(source: &str, key: &Path, packages: &[&str]) -> Plan {
    let repository =
        Repository { distribution: String::new(), components: vec![REPOSITORY.into()], ..repository(source, key) };
    let mut plan = plan(vec![repository], packages);
    plan.packages.manager = Manager::Pacman;
    plan
}

/// What a test works with: a tree, a cache and a scratch folder whose names have blanks in them.
pub(crate) struct Done {
    pub(crate) folder: PathBuf,
    pub(crate) pacman: Pacman,
    pub(crate) set: PackageSet,
    pub(crate) reporter: Reporter,
}

impl Done {
    pub(crate) fn resolve(plan: &Plan, folder: &Path) -> Result<Done> {
        Done::resolve_on(plan, folder, Beneath::Nothing)
    }

    /// On top of a container with this package database.
    pub(crate) fn resolve_on(plan: &Plan, folder: &Path, beneath: Beneath) -> Result<Done> {
        let store = PackageStore::open(&folder.join("a cache")).unwrap();
        let work = folder.join("a scratch folder");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work).unwrap();
        let mut pacman = Pacman::open(plan, &Mirrors::default(), &store, &work)?.on_top_of(beneath);
        let reporter = Reporter::silent();
        let set = PackageManager::resolve(&mut pacman, &reporter)?;
        Ok(Done { folder: folder.to_path_buf(), pacman, set, reporter })
    }

    pub(crate) fn install(self) -> Result<Done> {
        let _ = fs::remove_dir_all(self.tree());
        self.install_there()
    }

    /// Into the tree as it is.
    pub(crate) fn install_there(self) -> Result<Done> {
        // What every workspace has: sandboxes mount on it.
        for name in ["dev", "proc", "sys"] {
            fs::create_dir_all(self.tree().join(name)).unwrap();
        }
        for phase in [Phase::Bootstrap, Phase::Image] {
            let (tree, sandbox) = (self.rooted(), self.sandbox());
            PackageManager::install(&self.pacman, &self.set, phase, &tree, &sandbox, &self.reporter)?;
        }
        Ok(self)
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.join("a tree")
    }

    pub(crate) fn rooted(&self) -> Rooted {
        Rooted::open(&self.tree()).unwrap()
    }

    pub(crate) fn sandbox(&self) -> Sandbox {
        Sandbox::new(&self.tree())
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.set.packages.iter().map(|package| package.name.as_str()).collect()
    }

    /// What the host's pacman says of the tree.
    pub(crate) fn asked(&self, words: &[&str]) -> (bool, String) {
        let tree = self.tree();
        let mut command = Command::new("pacman");
        command
            .arg("--config")
            .arg("/dev/null")
            .arg("--root")
            .arg(&tree)
            .arg("--dbpath")
            .arg(tree.join("var/lib/pacman"));
        let output = command.args(words).env("LC_ALL", "C").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }
}

/// The error of resolving these packages.
#[track_caller]
fn refused(source: &str, key: &Path, packages: &[&str], folder: &Path) -> Error {
    match Done::resolve(&tiny(source, key, packages), folder) {
        Ok(done) => panic!("resolved: {:?}", done.names()),
        Err(error) => error,
    }
}

/// Where the host's own pacman keeps things.
const HOSTS: [&str; 4] = ["/var/lib/pacman", "/etc/pacman.d", "/var/cache/pacman", "/var/log/pacman.log"];

/// Everything below these, with times.
fn hosts() -> String {
    let output = Command::new("find").args(HOSTS).args(["-printf", "%p %T@ %C@\n"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn packages_are_resolved_fetched_verified_and_installed_with_scripts_and_hooks() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let server = Server::start(world.repository());
    let before = hosts();
    let plan = tiny(&server.url(), &world.key(), &["tiny-app", "tiny-hooks", "busybox"]);
    let done = Done::resolve(&plan, folder.path()).unwrap();
    assert_eq!(done.names(), ["busybox", "filesystem", "libtiny", "tiny-app", "tiny-hooks", "tiny-provider"]);
    for package in &done.set.packages {
        let bytes = fs::read(&package.archive).unwrap();
        assert_eq!(crate::support::world::sha256(&bytes), package.sha256);
        assert_eq!(bytes.len() as u64, package.size.0);
        assert_eq!(package.requested, ["tiny-app", "tiny-hooks", "busybox"].contains(&package.name.as_str()));
        assert_eq!((package.repository.as_str(), package.source.as_str()), ("tiny", "tiny"));
    }
    let release = &done.set.releases[0];
    assert_eq!((release.signed, release.signed_by.as_ref().map(String::len)), (Signed::Required, Some(40)));
    assert_eq!(done.set.newest_release, crate::support::packages::DATE);

    let done = done.install().unwrap();
    let scripts = fs::read_to_string(done.tree().join("var/lib/tiny/scripts")).unwrap();
    assert_eq!(scripts, "tiny-app pre_install 1:2.0-3\ntiny-app post_install 1:2.0-3\n");
    assert_eq!(
        fs::read_to_string(done.tree().join("var/lib/tiny/hook")).unwrap(),
        "usr/share/tiny/\nusr/share/tiny/data\n"
    );
    let (good, said) = done.asked(&["-Qkk"]);
    assert!(good, "{said}");
    let (good, said) = done.asked(&["-Qeq"]);
    assert!(good && said.lines().eq(["busybox", "tiny-app", "tiny-hooks"]), "{said}");
    let (_, said) = done.asked(&["-Qi", "tiny-app"]);
    assert!(said.contains("Validated By    : SHA-256 Sum"), "{said}");
    let left: Vec<_> = fs::read_dir(done.tree().join("var/lib/pacman")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    for path in ["var/log/pacman.log", "var/cache/pacman", "etc/pacman.d", "etc/pacman.conf"] {
        assert!(!done.tree().join(path).exists(), "{path}");
    }
    assert_eq!(hosts(), before, "something was written on the host");

    // The second time only whether the list is still current is asked.
    let asked = server.requests().len();
    let again = Done::resolve(&plan, folder.path()).unwrap();
    assert_eq!(again.names(), done.names());
    let requests = server.requests().split_off(asked);
    assert!(requests.iter().all(|path| path.starts_with("/tiny.db")), "{requests:?}");
}

#[test]
fn what_is_not_signed_by_the_right_key_is_76() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let spoilt = |name: &str, make: &dyn Fn(&Path)| {
        let copy = folder.path().join(name);
        make(&copy);
        Server::start(copy)
    };
    let good = Server::start(world.repository());
    let unsigned = spoilt("unsigned", &|copy| world.unsigned_database(copy));
    let changed = spoilt("changed", &|copy| {
        world.copy(copy);
        let mut bytes = fs::read(copy.join("tiny.db.tar.gz")).unwrap();
        bytes[2000] ^= 1;
        fs::remove_file(copy.join("tiny.db")).unwrap();
        fs::write(copy.join("tiny.db"), bytes).unwrap();
    });
    let tampered = spoilt("tampered", &|copy| world.tampered("tiny-provider", copy));
    for (name, url, key, says) in [
        ("other key", good.url(), world.other_key(), "is unknown"),
        ("unsigned", unsigned.url(), world.key(), "tiny.db.sig"),
        ("changed", changed.url(), world.key(), "signature from"),
        ("tampered", tampered.url(), world.key(), "corrupted"),
    ] {
        let error = refused(&url, &key, &["tiny-provider"], folder.path());
        assert_eq!(error.exit(), Exit::Integrity, "{name}: {}", error.text());
        assert!(error.text().contains(says), "{name}: {}", error.text());
    }
    let error = refused(&unsigned.url(), &world.key(), &["tiny-provider"], folder.path());
    assert!(error.text().contains("config.xml:5:3"), "{}", error.text());
    assert!(error.hint_text().unwrap().contains("repository_gpgcheck=\"false\""), "{}", error.text());
    // Nothing wrong was kept: a good mirror fills the same cache.
    Done::resolve(&tiny(&good.url(), &world.key(), &["tiny-provider"]), folder.path()).unwrap();
}

#[test]
fn signed_packages_of_an_unsigned_repository_are_verified_where_the_description_says_so() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let copy = folder.path().join("copy");
    world.unsigned_database(&copy);
    let server = Server::start(&copy);
    let resolve = |key: &Path, packages: Signed| {
        let mut plan = tiny(&server.url(), key, &["tiny-provider"]);
        plan.repositories[0].signed = Signed::NotChecked;
        plan.repositories[0].signed_packages = packages;
        Done::resolve(&plan, folder.path())
    };
    let done = resolve(&world.key(), Signed::Required).unwrap().install().unwrap();
    let (_, said) = done.asked(&["-Qi", "tiny-provider"]);
    assert!(said.contains("Name            : tiny-provider"), "{said}");
    let error = resolve(&world.other_key(), Signed::Required).err().unwrap();
    assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
    fs::remove_file(copy.join(world.package("tiny-provider") + ".sig")).unwrap();
    fs::remove_dir_all(folder.path().join("a cache")).unwrap();
    let error = resolve(&world.key(), Signed::Required).err().unwrap();
    assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
    let done = resolve(&world.key(), Signed::NotChecked).unwrap();
    assert_eq!((done.set.releases[0].signed, &done.set.releases[0].signed_by), (Signed::NotChecked, &None));
}

#[test]
fn a_key_of_one_repository_does_not_sign_another() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let server = Server::start(world.repository());
    let mut plan = tiny(&server.url(), &world.other_key(), &["tiny-provider"]);
    let second = Repository {
        alias: "second".into(),
        components: vec!["second".into()],
        keys: vec![world.key().display().to_string()],
        ..plan.repositories[0].clone()
    };
    let copy = folder.path().join("second");
    world.copy(&copy);
    for (old, new) in [("tiny.db", "second.db"), ("tiny.db.sig", "second.db.sig")] {
        fs::rename(copy.join(old), copy.join(new)).unwrap();
    }
    let other = Server::start(&copy);
    plan.repositories.push(Repository { source: other.url(), ..second });
    // pacman trusts the keys of all repositories for each of them; ingot does not.
    let error = Done::resolve(&plan, folder.path()).err().unwrap();
    assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
    assert!(error.text().contains("verify the signature of the repository `tiny`"), "{}", error.text());
}

#[test]
fn what_cannot_be_is_65_at_its_place() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let server = Server::start(world.repository());
    for (packages, place, says) in [
        (&["busybox", "tiny-ap"][..], "config.xml:11:9", "target not found: tiny-ap"),
        (&["tiny-unsatisfiable"], "config.xml:10:9", "unable to satisfy dependency 'tiny-nowhere'"),
        (&["tiny-app", "tiny-foe"], "config.xml:10:9", "are in conflict"),
        (&["busybox", "other/tiny-app"], "config.xml:11:9", "`other/tiny-app` is not in a database"),
        (&["http://example.org/x.pkg.tar.zst"], "config.xml:10:9", "is not in a database that the description names"),
    ] {
        let error = refused(&server.url(), &world.key(), packages, folder.path());
        assert_eq!(error.exit(), Exit::Description, "{}", error.text());
        assert!(error.text().contains(place) && error.text().contains(says), "{}", error.text());
    }
    let error = refused(&server.url(), &world.key(), &["tiny-ap"], folder.path());
    assert_eq!(error.hint_text(), Some("did you mean `tiny-app`?"));
    let mut plan = tiny(&server.url(), &world.key(), &["tiny-app"]);
    plan.packages.ignore = named(&["libtiny"]);
    let error = Done::resolve(&plan, folder.path()).err().unwrap();
    assert_eq!(error.exit(), Exit::Description);
    assert!(error.text().contains("`libtiny` is ignored, and what is asked for needs it"), "{}", error.text());
}

#[test]
fn files_in_conflict_and_scripts_that_fail_are_65_although_pacman_goes_on() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let server = Server::start(world.repository());
    let install = |packages: &[&str]| {
        let done = Done::resolve(&tiny(&server.url(), &world.key(), packages), folder.path()).unwrap();
        done.install().err().expect("it was installed")
    };
    let error = install(&["tiny-left", "tiny-right"]);
    assert_eq!(error.exit(), Exit::Description, "{}", error.text());
    assert!(
        error.text().contains("/usr/share/tiny-both exists in both 'tiny-left' and 'tiny-right'"),
        "{}",
        error.text()
    );
    let error = install(&["busybox", "tiny-broken"]);
    assert_eq!(error.exit(), Exit::Description, "{}", error.text());
    for part in
        ["config.xml:11:9", "installed tiny-broken (1.0-1)", "this cannot work", "command failed to execute correctly"]
    {
        assert!(error.text().contains(part), "{}", error.text());
    }
}

#[test]
fn mirrors_that_fail_are_75_and_those_without_the_database_are_not() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let fails = |server: Server, exit: Exit| {
        let error = refused(&server.url(), &world.key(), &["tiny-provider"], folder.path());
        assert_eq!(error.exit(), exit, "{}", error.text());
    };
    fails(Server::start(world.repository()).fault("tiny.db", Fault::Status(503)), Exit::Temporary);
    fails(Server::start(world.repository()).fault("tiny.db", Fault::Reset(100)), Exit::Temporary);
    fails(Server::start(world.repository()).fault("tiny-provider", Fault::Status(404)), Exit::Temporary);
    fails(Server::start(folder.path()), Exit::Description);
    let gone = refused("http://127.0.0.1:1", &world.key(), &["tiny-provider"], folder.path());
    assert_eq!(gone.exit(), Exit::Temporary, "{}", gone.text());
    let missing = refused("file:///nonexistent", &world.key(), &["tiny-provider"], folder.path());
    assert_eq!(missing.exit(), Exit::InputMissing, "{}", missing.text());
    assert!(missing.text().contains("config.xml:5:3"), "{}", missing.text());
}

#[test]
fn groups_are_installed_without_what_is_ignored_and_the_lists_of_removals_are_obeyed() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let source = format!("dir://{}", world.repository().display());
    let mut plan = tiny(&source, &world.key(), &["busybox", "tiny-optional"]);
    plan.packages.image_groups.collections = named(&["tiny-group"]);
    plan.packages.ignore = named(&["tiny-unwanted"]);
    plan.packages.uninstall = named(&["tiny-app", "not-there"]);
    plan.packages.delete = named(&["tiny-hooks"]);
    let done = Done::resolve(&plan, folder.path()).unwrap().install().unwrap();
    assert!(done.names().contains(&"tiny-app") && !done.names().contains(&"tiny-unwanted"), "{:?}", done.names());
    let (tree, sandbox) = (done.rooted(), done.sandbox());
    let gone =
        PackageManager::uninstall(&done.pacman, &plan.packages.uninstall, &done.set, &tree, &sandbox, &done.reporter)
            .unwrap();
    assert_eq!(gone, ["libtiny", "tiny-app", "tiny-provider"]);
    assert_eq!(done.reporter.warnings().len(), 1, "{:?}", done.reporter.warnings());
    let gone = PackageManager::delete(&done.pacman, &tree, &sandbox, &done.reporter).unwrap();
    assert_eq!(gone, ["tiny-hooks"]);
    let scripts = fs::read_to_string(done.tree().join("var/lib/tiny/scripts")).unwrap();
    assert!(scripts.ends_with("tiny-app pre_remove 1:2.0-3\ntiny-app post_remove 1:2.0-3\n"), "{scripts}");
    let (_, said) = done.asked(&["-Qq"]);
    assert_eq!(said.lines().collect::<Vec<_>>(), ["busybox", "filesystem", "tiny-optional"]);
    // What something needs is not uninstalled.
    plan.packages.uninstall = named(&["filesystem"]);
    let done = Done::resolve(&plan, folder.path()).unwrap().install().unwrap();
    let error = PackageManager::uninstall(
        &done.pacman,
        &plan.packages.uninstall,
        &done.set,
        &done.rooted(),
        &done.sandbox(),
        &done.reporter,
    );
    let error = error.unwrap_err();
    assert_eq!(error.exit(), Exit::Description);
    assert!(error.text().contains("breaks dependency") && error.text().contains("config.xml:10:9"), "{}", error.text());
    plan.packages.image_groups.collections = named(&["tiny-grop"]);
    let error = Done::resolve(&plan, folder.path()).err().unwrap();
    assert_eq!((error.exit(), error.hint_text()), (Exit::Description, Some("did you mean `tiny-group`?")));
}

/// A description of a container in the tiny pacman world.
pub(crate) fn description(world: &PacmanWorld, folder: &Path, packages: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::copy(world.key(), folder.join("tiny.asc")).unwrap();
    let xml = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="tiny">
  <description type="system">
    <author>Tiny World</author>
    <contact>tiny@example.org</contact>
    <specification>An image of the tiny pacman world</specification>
  </description>
  <preferences>
    <version>1.2.3</version>
    <packagemanager>pacman</packagemanager>
    <type image="docker">
      <containerconfig name="tiny" tag="1"><entrypoint execute="/usr/bin/tiny-app"/></containerconfig>
    </type>
  </preferences>
  <repository alias="tiny" components="tiny" imageinclude="true">
    <source path="mirror://tiny"><signing key="this://tiny.asc"/></source>
  </repository>
  {packages}
</image>
"#
    );
    fs::write(folder.join("config.xml"), xml).unwrap();
}

pub(crate) fn build(description: &Path, mirror: &str, folder: &Path, name: &str) -> Ingot {
    let at = |what: &str| {
        let path = folder.join(format!("{name} {what}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs::create_dir_all(at("work")).unwrap();
    Ingot::new(["build"])
        .arg(description)
        .arg("--target-dir")
        .arg(at("out"))
        .arg("--mirror")
        .arg(format!("tiny={mirror}"))
        .env("INGOT_CACHE_DIR", at("cache").to_str().unwrap())
        .env("INGOT_WORK_DIR", at("work").to_str().unwrap())
}

pub(crate) const BOTH_LISTS: &str = "<packages type=\"image\"><package name=\"tiny-app\"/><namedCollection name=\"tiny-group\"/></packages>\
     <packages type=\"bootstrap\"><package name=\"busybox\"/></packages>";

#[test]
fn a_container_is_the_same_bytes_twice_and_runs_and_holds_nothing_of_the_build() {
    need!(root);
    need_pacman_world!();
    need!("podman", "runc");
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let server = Server::start(world.repository());
    let one = folder.path().join("image");
    let other = folder.path().join("elsewhere/with another name");
    for folder in [&one, &other] {
        description(&world, folder, BOTH_LISTS);
        // Something runs between the phases.
        fs::write(folder.join("post_bootstrap.sh"), "#!/bin/sh\ntest ! -e /usr/bin/tiny-app\ntest -e /bin/sh\n")
            .unwrap();
        std::fs::set_permissions(folder.join("post_bootstrap.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    let before = hosts();
    let says = ["may mean nothing elsewhere"];
    build(&one, &server.url(), folder.path(), "first").env("TZ", "UTC").umask(0o022).run().expect(0).says(&says);
    let again = build(&other, &format!("{}/", server.url()), folder.path(), "a second").env("TZ", "Pacific/Kiritimati");
    again.env("LANG", "tr_TR.UTF-8").env("LC_ALL", "tr_TR.UTF-8").umask(0o077).run().expect(0);
    assert_eq!(hosts(), before, "something was written on the host");
    let (first, second) = (digests(&folder.path().join("first out")), digests(&folder.path().join("a second out")));
    assert_eq!(first, second);
    let archive = result(&folder.path().join("first out"), ".docker.tar");
    let tree = folder.path().join("tree");
    unpack_docker(&archive, &tree);
    let desc = fs::read_to_string(tree.join("var/lib/pacman/local/tiny-app-1:2.0-3/desc")).unwrap();
    let date = crate::support::packages::DATE;
    assert!(desc.contains(&format!("%INSTALLDATE%\n{date}\n")), "{desc}");
    for path in ["var/lib/pacman/sync", "var/log/pacman.log", "etc/pacman.d/gnupg"] {
        assert!(!tree.join(path).exists(), "{path}");
    }
    assert!(!tree.join("var/cache/pacman/pkg").read_dir().unwrap().flatten().any(|_| true));
    assert_cache_is_looked_after(&folder.path().join("first cache"), &["pacman"]);
    // The image goes on by itself: its pacman knows where, and whom to trust.
    let configuration = fs::read_to_string(tree.join("etc/pacman.conf")).unwrap();
    assert!(configuration.ends_with("Include = /etc/pacman.d/tiny.repo\n"), "{configuration}");
    let repository = fs::read_to_string(tree.join("etc/pacman.d/tiny.repo")).unwrap();
    assert_eq!(
        repository,
        format!("[tiny]\nSigLevel = PackageNever DatabaseRequired TrustedOnly\nServer = {}\n", server.url())
    );
    let trusted = fs::read_to_string(tree.join("usr/share/pacman/keyrings/tiny-trusted")).unwrap();
    assert!(trusted.ends_with(":4:\n") && trusted.len() == 44, "{trusted}");
    let output = podman(&archive, &["hello"], folder.path());
    assert_eq!(output, "tiny-app hello\n");
}

/// What the container prints.
pub(crate) fn podman(archive: &Path, words: &[&str], folder: &Path) -> String {
    let (storage, run) = (folder.join("storage"), folder.join("run"));
    let podman = || {
        let mut command = Command::new("podman");
        command.arg("--root").arg(&storage).arg("--runroot").arg(&run);
        command.args(["--storage-driver", "vfs", "--runtime", "runc"]);
        command
    };
    let loaded = podman().arg("load").arg("--input").arg(archive).output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let mut command = podman();
    command.args(["run", "--rm", "--network=none"]).args(limits);
    let output = command.arg("localhost/tiny:1").args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_image_without_an_update_stack_holds_no_pacman_and_can_be_scanned() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let server = Server::start(world.repository());
    let image = folder.path().join("image");
    // KIWI's convention: only a bootstrap list.
    description(
        &world,
        &image,
        "<packages type=\"bootstrap\"><package name=\"tiny-app\"/><package name=\"busybox\"/></packages>",
    );
    build(&image, &server.url(), folder.path(), "first").run().expect(0);
    let tree = folder.path().join("tree");
    unpack_docker(&result(&folder.path().join("first out"), ".docker.tar"), &tree);
    for path in ["usr/bin/pacman", "etc/pacman.conf", "etc/pacman.d", "var/cache/pacman", "usr/share/pacman"] {
        assert!(!tree.join(path).exists(), "{path}");
    }
    let entry = tree.join("var/lib/pacman/local/tiny-app-1:2.0-3");
    assert!(entry.join("desc").is_file() && entry.join("files").is_file() && !entry.join("install").exists());
    assert!(!tree.join("var/lib/pacman/local/pacman-6.0.2-1").exists());
}

#[test]
fn a_password_is_in_no_log_and_not_in_the_image() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    // `someone:s3cr3t/@word` in base64.
    let server = Server::start(world.repository()).demand("Basic c29tZW9uZTpzM2NyM3QvQHdvcmQ=");
    let image = folder.path().join("image");
    description(&world, &image, BOTH_LISTS);
    let xml = fs::read_to_string(image.join("config.xml")).unwrap();
    let login = "alias=\"tiny\" username=\"someone\" password=\"s3cr3t/@word\"";
    fs::write(image.join("config.xml"), xml.replace("alias=\"tiny\"", login)).unwrap();
    let answer: Answer = build(&image, &server.url(), folder.path(), "first").run().expect(0);
    answer.says(&["needs a password, which is not put into the image"]);
    let output = Command::new("grep").args(["-r", "-l", "-e", "s3cr3t"]).arg(folder.path().join("first out")).output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "");
    let tree = folder.path().join("tree");
    unpack_docker(&result(&folder.path().join("first out"), ".docker.tar"), &tree);
    let output = Command::new("grep").args(["-r", "-l", "-e", "s3cr3t"]).arg(&tree).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    // The same in the address, and none at all.
    let address = xml.replace("mirror://tiny", &server.url().replace("://", "://someone:s3cr3t%2f%40word@"));
    fs::write(image.join("config.xml"), address).unwrap();
    build(&image, &server.url(), folder.path(), "second").run().expect(0);
    fs::write(image.join("config.xml"), xml).unwrap();
    let answer = build(&image, &server.url(), folder.path(), "third").run().expect(65);
    answer.says(&["error: 401", "the mirror asks for a `username` and `password`"]);
}
