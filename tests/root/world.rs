//! The tiny world itself: what the other tests stand on.

use std::path::Path;
use std::process::Command;

use crate::support::leaks::Host;
use crate::support::server::{Fault, Server};
use crate::support::world::{SUITE, World};
use crate::support::{alone, need, scratch, together};

/// `apt-get update` and a simulated installation against `url`, with a configuration of its own.
fn apt(folder: &Path, world: &World, url: &str, package: &str) -> (bool, String) {
    for name in ["lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/apt.conf.d"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("status"), "").unwrap();
    let key = world.key();
    let source = format!("deb [signed-by={}] {url} {SUITE} main\n", key.display());
    std::fs::write(folder.join("sources.list"), source).unwrap();
    let set = |name: &str, path: &str| format!("-o{name}={}", folder.join(path).display());
    let mut said = String::new();
    for action in [vec!["update"], vec!["-s", "install", package]] {
        let output = Command::new("apt-get")
            .args(["-oAPT::Architecture=amd64", "-oAcquire::Retries=0", "-oAPT::Sandbox::User=root"])
            .args(["-oAcquire::Languages=none", "-oAPT::Update::Error-Mode=any", "-oDir::Etc::sourceparts=/dev/null"])
            .args([set("Dir::State::status", "status"), set("Dir::State::Lists", "lists"), set("Dir::Cache", "cache")])
            .args([set("Dir::Etc::sourcelist", "sources.list"), set("Dir::Etc::parts", "etc/apt.conf.d")])
            .args(action)
            .output()
            .unwrap();
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return (false, said);
        }
    }
    (true, said)
}

#[test]
fn apt_accepts_the_tiny_worlds_signature_and_solves_in_it() {
    need!("apt-get", "dpkg-deb", "gpg");
    let _turn = together();
    let world = World::open();
    let server = Server::start(world.repository());
    let scratch = scratch();
    let (good, said) = apt(scratch.path(), &world, &server.url(), "tiny-app");
    assert!(good, "{said}");
    for name in ["tiny-app", "libtiny1", "tiny-provider"] {
        assert!(said.contains(&format!("Inst {name} ")), "{name} in {said}");
    }
    assert!(server.requests().iter().any(|path| path.ends_with("/InRelease")));
}

#[test]
fn apt_sees_each_fault_of_the_server() {
    need!("apt-get", "dpkg-deb", "gpg");
    let _turn = together();
    let world = World::open();
    let table = [
        ("Packages", Fault::Reset(100), ""),
        ("Packages", Fault::Truncate(100), ""),
        ("InRelease", Fault::Bytes(b"<html>log in first</html>".to_vec()), ""),
        ("Packages", Fault::Bytes(vec![b'x'; 300]), ""),
        ("dists", Fault::Status(503), "503"),
        ("dists", Fault::Redirect("/dists/elsewhere".into()), ""),
    ];
    for (part, fault, reason) in table {
        let server = Server::start(world.repository()).fault(part, fault.clone());
        let scratch = scratch();
        let (good, said) = apt(scratch.path(), &world, &server.url(), "tiny-app");
        assert!(!good, "{part} {fault:?}: {said}");
        assert!(said.contains(reason), "{part} {fault:?}: {said}");
    }
}

#[test]
fn a_repository_signed_by_somebody_else_is_told_apart() {
    need!("apt-get", "dpkg-deb", "gpg");
    let _turn = together();
    let world = World::open();
    let scratch = scratch();
    let copy = scratch.path().join("repository");
    world.copy(&copy);
    let release = copy.join("dists").join(SUITE).join("InRelease");
    let text = std::fs::read_to_string(&release).unwrap().replace("Origin: Tiny", "Origin: Evil");
    std::fs::remove_file(&release).unwrap();
    std::fs::write(&release, text).unwrap();
    let server = Server::start(copy);
    let (good, said) = apt(&scratch.path().join("apt"), &world, &server.url(), "tiny-app");
    assert!(!good && said.contains("BADSIG"), "{said}");
}

#[test]
fn the_leak_oracle_sees_a_mount_a_loop_device_and_an_orphan() {
    need!(root);
    need!("losetup", "mount", "setsid");
    let _turn = alone();
    let scratch = scratch();
    let before = Host::look(&[scratch.path()]);
    let leaks = |before: &Host| {
        let folder = scratch.path().to_path_buf();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| before.assert_nothing_left(&[&folder])))
            .err()
            .map(|panic| panic.downcast_ref::<String>().unwrap().clone())
            .unwrap_or_default()
    };
    let run = |line: &str| assert!(Command::new("sh").args(["-c", line]).status().unwrap().success(), "{line}");
    let folder = scratch.path().display();
    run(&format!("mkdir {folder}/m && mount -t tmpfs none {folder}/m"));
    run(&format!("truncate -s 1M {folder}/file && losetup -f {folder}/file"));
    run(&format!("setsid sh -c 'sleep 60 & echo $! > {folder}/pid'"));
    let said = leaks(&before);
    // Never `losetup -D`: other loop devices of this host are somebody else's.
    run(&format!("umount {folder}/m; losetup -d $(losetup -nO NAME -j {folder}/file); kill $(cat {folder}/pid)"));
    run(&format!("rm -r {folder}/m {folder}/file {folder}/pid"));
    for part in ["mount: ", "loop device on ", "(sleep)", "/file"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    before.assert_nothing_left(&[scratch.path()]);
}
