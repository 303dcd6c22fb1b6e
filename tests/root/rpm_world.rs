//! The tiny RPM world itself: what the other tests stand on. Read by the real rpm, zypper and dnf.

use std::path::Path;
use std::process::Command;

use crate::support::rpm::{RpmWorld, Signer, need_rpm_world};
use crate::support::server::Server;
use crate::support::{need, scratch, together};

/// What a program says, and whether it went well.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// zypper in a root of its own, with one repository whose signatures must be good.
fn zypper(root: &Path, url: &str, key: &Path, words: &[&str]) -> (bool, String) {
    let folders = root.join("etc/zypp/repos.d");
    std::fs::create_dir_all(&folders).unwrap();
    let text = format!(
        "[tiny]\nname=tiny\nenabled=1\nautorefresh=1\nbaseurl={url}\ntype=rpm-md\ngpgcheck=1\nrepo_gpgcheck=1\n\
         pkg_gpgcheck=1\ngpgkey=file://{}\n",
        key.display()
    );
    std::fs::write(folders.join("tiny.repo"), text).unwrap();
    let mut database = Command::new("rpm");
    database.arg("--root").arg(root).args(["--dbpath", "/var/lib/rpm", "--import"]).arg(key);
    let (good, said) = run(&mut database);
    assert!(good, "{said}");
    let mut command = Command::new("zypper");
    command.arg("--root").arg(root).args(["--non-interactive", "--no-color"]).args(words);
    run(command.env("ZYPP_LOCKFILE_ROOT", root))
}

fn dnf(root: &Path, url: &str, key: &Path, words: &[&str]) -> (bool, String) {
    let text = format!(
        "[main]\nreposdir=/nowhere\ncachedir={root}/cache\nlogdir={root}/log\npersistdir={root}/state\nplugins=0\n\
         [tiny]\nname=tiny\nbaseurl={url}\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://{key}\n",
        root = root.display(),
        key = key.display()
    );
    std::fs::create_dir_all(root).unwrap();
    let configuration = root.join("dnf.conf");
    std::fs::write(&configuration, text).unwrap();
    let mut command = Command::new("dnf");
    command.arg("--config").arg(&configuration).arg("--installroot").arg(root.join("root"));
    run(command.args(["-y", "--releasever=1"]).args(words).env("HOME", root))
}

#[test]
fn each_package_has_a_good_signature_and_each_spoilt_one_a_bad_one() {
    need_rpm_world!();
    let _turn = together();
    let world = RpmWorld::open();
    let scratch = scratch();
    let database = format!("_dbpath {}", scratch.path().join("db").display());
    let keyring = format!("_keyringpath {}", scratch.path().join("db/pubkeys").display());
    let rpmkeys = |words: &[&str], files: &[std::path::PathBuf]| {
        let mut command = Command::new("rpmkeys");
        run(command.args(["--define", &database, "--define", &keyring]).args(words).args(files))
    };
    let (good, said) = rpmkeys(&["--import"], &[world.key()]);
    assert!(good, "{said}");
    let packages = std::fs::read_dir(world.repository()).unwrap().map(|entry| entry.unwrap().path());
    let packages: Vec<_> = packages.filter(|path| path.extension().is_some_and(|end| end == "rpm")).collect();
    assert!(packages.len() > 20);
    let (good, said) = rpmkeys(&["-K"], &packages);
    assert!(good && said.lines().all(|line| line.ends_with("digests signatures OK")), "{said}");
    let spoilt = |name: &str, make: &dyn Fn(&Path)| {
        let folder = scratch.path().join(name);
        make(&folder);
        rpmkeys(&["-K"], &[folder.join(world.package("tiny-app"))])
    };
    let (good, said) = spoilt("tampered", &|folder| world.tampered("tiny-app", folder));
    assert!(!good && said.contains("NOT OK"), "{said}");
    let (good, said) = spoilt("forged", &|folder| world.forged("tiny-app", Some(Signer::Other), folder));
    assert!(!good && said.contains("SIGNATURES NOT OK"), "{said}");
    let (good, said) = spoilt("naked", &|folder| world.forged("tiny-app", None, folder));
    assert!(good && said.ends_with("digests OK\n"), "{said}");
}

#[test]
fn zypper_lists_the_tiny_rpm_world_and_installs_from_it() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let world = RpmWorld::open();
    let server = Server::start(world.repository());
    let scratch = scratch();
    let root = scratch.path().join("root");
    let ask = |words: &[&str]| zypper(&root, &server.url(), &world.key(), words);
    let (good, said) = ask(&["search", "--details", "--match-exact", "tiny-app"]);
    assert!(good && said.contains("1:2.0-3") && said.contains("1:1.0-1"), "{said}");
    // Debian's libsolv makes neither patterns nor products of packages (repo2solv -X): their capabilities name them.
    let wanted = ["product() = tiny", "pattern() = tiny_base", "busybox", "tiny-app", "tiny-triggers"];
    let (good, said) = ask(&[&["install", "--no-recommends"], &wanted[..]].concat());
    assert!(good, "{said}");
    let (good, said) = run(Command::new("chroot").arg(&root).args(["/bin/cat", "/var/lib/tiny/scripts"]));
    assert!(good, "{said}");
    for line in
        ["tiny-app pre 1", "tiny-app post 1", "tiny-lua post 1", "tiny-app posttrans 1", "tiny-triggers triggerin 1 1"]
    {
        assert!(said.lines().any(|other| other == line), "{line} in {said}");
    }
    assert!(!root.join("usr/share/tiny-recommended").exists());
    let (good, said) = run(Command::new("rpm").arg("--root").arg(&root).args(["--dbpath", "/var/lib/rpm", "-Va"]));
    // What `%pre` of tiny-app adds to configuration is marked `c`.
    assert!(said.lines().all(|line| line.contains(" c /etc/")), "{good} {said}");
}

#[test]
fn zypper_refuses_what_is_not_signed_by_the_key() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let world = RpmWorld::open();
    let scratch = scratch();
    for name in ["unsigned", "other", "tampered", "forged"] {
        let repository = scratch.path().join(format!("{name}.repository"));
        match name {
            "unsigned" => world.unsigned_metadata(&repository),
            "other" => world.metadata_signed_by(Signer::Other, &repository),
            "tampered" => world.tampered("tiny-lua", &repository),
            _ => world.forged("tiny-lua", Some(Signer::Other), &repository),
        }
        let server = Server::start(&repository);
        let root = scratch.path().join(name);
        let (good, said) = zypper(&root, &server.url(), &world.key(), &["install", "tiny-lua"]);
        assert!(!good && !root.join("var/lib/tiny/scripts").exists(), "{name}: {said}");
    }
}

#[test]
fn dnf_lists_the_tiny_rpm_world_and_installs_from_it() {
    need!(root);
    need_rpm_world!();
    need!("dnf");
    let _turn = together();
    let world = RpmWorld::open();
    let server = Server::start(world.repository());
    let scratch = scratch();
    let ask = |words: &[&str]| dnf(scratch.path(), &server.url(), &world.key(), words);
    let (good, said) = ask(&["repoquery", "tiny-app"]);
    assert!(good && said.contains("tiny-app-1:2.0-3.x86_64"), "{said}");
    let (good, said) = ask(&["group", "list", "--hidden"]);
    assert!(good && said.contains("Tiny Group") && said.contains("Tiny Environment"), "{said}");
    let (good, said) = ask(&["module", "list"]);
    assert!(good && said.contains("tiny-module") && said.contains("1 [d]"), "{said}");
    let (good, said) = ask(&["install", "busybox", "tiny-release", "tiny-app", "@tiny-group"]);
    assert!(good, "{said}");
    let root = scratch.path().join("root");
    assert!(root.join("usr/share/tiny-recommended").exists() && root.join("usr/share/tiny-supplement").exists());
    assert!(root.join("usr/share/tiny-suggested").exists(), "the group's default package: {said}");
}
