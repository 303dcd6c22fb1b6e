//! What zypper, dnf and pacman decided is used again as long as it would be decided again, and trusted no longer than its signatures.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::error::Exit;
use ingot::package::Solution;
use ingot::plan::{Plan, Signed};

use crate::pacman::{Done, tiny};
use crate::support::image::{Answer, Description, digests};
use crate::support::pacman::{PacmanWorld, need_pacman_world};
use crate::support::rpm::{RpmWorld, Signer, need_rpm_world};
use crate::support::rpm_image::{RpmBench, rpm};
use crate::support::server::Server;
use crate::support::{need, program, scratch, skip, together};
use crate::surroundings::faketime;

const MANAGERS: [&str; 2] = ["zypper", "dnf4"];
const REUSED: &str = "solution: reused";

fn build(bench: &RpmBench, description: &Description, target: &str) -> Answer {
    bench.build_into(description, target).args(["--no-stage-cache", "--explain-cache"]).run()
}

/// A bench whose mirror serves a folder of its own, which may change.
fn with_a_mirror_of_its_own(world: &RpmWorld) -> (RpmBench, PathBuf, tempfile::TempDir) {
    let folder = scratch();
    let served = folder.path().join("served");
    world.copy(&served);
    (RpmBench::with_mirror(Server::start(served.clone())), served, folder)
}

/// Every package file of a folder.
fn packages(folder: &Path) -> Vec<PathBuf> {
    let output = Command::new("find").arg(folder).args(["-name", "*.rpm", "-type", "f"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

#[test]
fn a_solution_is_used_again_until_something_else_would_be_decided() {
    need!(root);
    need_rpm_world!();
    need!("zypper", "dnf-3");
    let _turn = together();
    let world = RpmWorld::open();
    for manager in MANAGERS {
        let (bench, served, _folder) = with_a_mirror_of_its_own(&world);
        let description = bench.container(manager);
        build(&bench, &description, "one").expect(0).says(&["solution: made, because the repositories are read for"]);
        let asked = bench.mirror.requests().len();
        build(&bench, &description, "two").expect(0).says(&[REUSED, "1 signed"]);
        assert_eq!(digests(&bench.path("one")), digests(&bench.path("two")), "{manager}");
        let requests = bench.mirror.requests().split_off(asked);
        assert!(requests.iter().any(|path| path.contains("repomd.xml")), "{manager} asked for {requests:?}");
        assert!(!requests.iter().any(|path| path.contains(".rpm") || path.contains("primary")), "{requests:?}");
        // Where the cache is not used, neither is it.
        let answer = bench.build_into(&description, "two").args(["--no-cache", "--explain-cache"]).run().expect(0);
        assert!(answer.stderr.contains("solution: made") && !answer.stderr.contains(REUSED), "{}", answer.stderr);

        // Another request.
        let ignoring = "<package name=\"tiny-app\"/><package name=\"tiny-lua\"/>";
        let more = bench.container(manager).edit("<package name=\"tiny-app\"/>", ignoring);
        build(&bench, &more, "out").expect(0).says(&["solution: made"]);
        build(&bench, &more, "out").expect(0).says(&[REUSED]);
        assert!(rpm(&bench.tree(), &["-q", "tiny-lua"]).starts_with("tiny-lua-1.0"), "{manager}");

        // Another repository at the same address.
        fs::remove_file(served.join(world.package("tiny-app"))).unwrap();
        world.index_at(&served, 1_800_000_000);
        world.sign(Signer::Own, &served);
        let description = bench.container(manager);
        build(&bench, &description, "out").expect(0).says(&["solution: made, because a repository changed"]);
        assert_eq!(rpm(&bench.tree(), &["-q", "tiny-app"]), "tiny-app-1.0-1.noarch\n", "{manager}");
        build(&bench, &description, "out").expect(0).says(&[REUSED]);

        // The same, and nobody vouches for it.
        world.index_at(&served, 1_800_000_001);
        let _ = fs::remove_file(served.join("repodata/repomd.xml.asc"));
        build(&bench, &description, "out").expect(76).says(&["config.xml"]);
    }
}

#[test]
fn a_remembered_archive_must_be_what_the_manager_verified() {
    need!(root);
    need_rpm_world!();
    need!("zypper", "dnf-3");
    let _turn = together();
    for manager in MANAGERS {
        let bench = RpmBench::new();
        let description = bench.container(manager);
        build(&bench, &description, "one").expect(0);
        let archives = packages(&bench.path("cache/rpm"));
        let of_app = archives.iter().find(|path| path.to_string_lossy().contains("/tiny-app-2.0")).unwrap();
        let mut bytes = fs::read(of_app).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        // A new file: the image's own copy is the same inode.
        fs::remove_file(of_app).unwrap();
        fs::write(of_app, bytes).unwrap();
        let answer = build(&bench, &description, "two").expect(0).says(&["an archive of it is no longer what it was"]);
        assert_eq!(digests(&bench.path("one")), digests(&bench.path("two")), "{manager}: {}", answer.stderr);
        fs::remove_file(of_app).unwrap();
        build(&bench, &description, "two").expect(0).says(&["an archive of it is no longer there"]);
        build(&bench, &description, "two").expect(0).says(&[REUSED]);
    }
}

#[test]
fn a_key_that_is_another_or_has_expired_is_76_whatever_is_remembered() {
    need!(root);
    need_rpm_world!();
    need!("zypper", "dnf-3", "gpg", "gpgv", "unshare", "mount");
    let Some(library) = faketime() else { skip!("this host has no libfaketime") };
    let _turn = together();
    let world = RpmWorld::open();
    let (bench, served, folder) = with_a_mirror_of_its_own(&world);
    let home = folder.path().join("gnupg");
    let gpg = |words: &[&str]| {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&home).args([
            "--batch",
            "--yes",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]);
        let output = command.args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    gpg(&["--quick-gen-key", "for a year <a@example.org>", "rsa2048", "sign", "1y"]);
    let metadata = served.join("repodata/repomd.xml");
    let signature = served.join("repodata/repomd.xml.asc");
    // The file is a link to the one of every test.
    fs::remove_file(&signature).unwrap();
    gpg(&["--armor", "--output", signature.to_str().unwrap(), "--detach-sign", metadata.to_str().unwrap()]);
    // gpgv, as it will be two years from now, in the build's own mounts.
    let (real, later) = (folder.path().join("gpgv-of-today"), folder.path().join("gpgv"));
    fs::copy(program("gpgv").unwrap(), &real).unwrap();
    let library = library.display();
    fs::write(&later, format!("#!/bin/sh\nLD_PRELOAD={library} FAKETIME=+2y exec {} \"$@\"\n", real.display()))
        .unwrap();
    fs::set_permissions(&later, fs::Permissions::from_mode(0o755)).unwrap();
    let mount = format!("mount --bind {} {}", later.display(), program("gpgv").unwrap().display());
    let in_two_years = format!("set -- unshare -m sh -c '{mount} && exec \"$@\"' sh \"$@\"");
    for manager in MANAGERS {
        let description = bench.container(manager).file("tiny.asc", gpg(&["--armor", "--export"]));
        build(&bench, &description, "out").expect(0);
        build(&bench, &description, "out").expect(0).says(&[REUSED]);
        let late = bench.build_into(&description, "late").args(["--no-stage-cache", "-v"]).after(&in_two_years).run();
        let late = late.expect(76).says(&["its solution is used again", "has expired", "config.xml"]);
        assert!(!bench.path("late/manifest.json").exists(), "{}", late.stderr);
        let other = bench.container(manager).file("tiny.asc", fs::read(world.key()).unwrap());
        build(&bench, &other, "other").expect(76).says(&["config.xml"]);
        build(&bench, &bench.container(manager).file("tiny.asc", gpg(&["--armor", "--export"])), "out")
            .expect(0)
            .says(&[REUSED]);
    }
    let _ = Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "gpg-agent"]).status();
}

#[test]
fn what_pacman_decided_is_used_again_until_a_database_changes() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let served = folder.path().join("served");
    world.copy(&served);
    let server = Server::start(served.clone());
    let mut plan = tiny(&server.url(), &world.key(), &["tiny-app", "busybox"]);
    plan.repositories[0].signed_packages = Signed::Required;
    let resolve = |plan: &Plan| Done::resolve(plan, folder.path());
    let first = resolve(&plan).unwrap();
    assert!(matches!(first.set.solution, Solution::Made(_)), "{}", first.set.solution);
    let asked = server.requests().len();
    let second = resolve(&plan).unwrap().install().unwrap();
    assert_eq!(second.set.solution, Solution::Remembered);
    let packages = |done: &Done| format!("{:?}", done.set.packages);
    assert_eq!(packages(&first), packages(&second));
    assert!(second.asked(&["--query", "--check"]).0);
    let requests = server.requests().split_off(asked);
    assert!(requests.iter().any(|path| path.ends_with(".db")), "{requests:?}");
    assert!(!requests.iter().any(|path| path.contains(".pkg.")), "{requests:?}");
    // Another request; the old one is still known.
    let more = tiny(&server.url(), &world.key(), &["tiny-app", "busybox", "tiny-hooks"]);
    assert_ne!(resolve(&more).unwrap().set.solution, Solution::Remembered);
    assert_eq!(resolve(&plan).unwrap().set.solution, Solution::Remembered);

    // An archive that is no longer what it was is fetched again; one whose signature is another one's is refused.
    let archive = &second.set.packages.iter().find(|package| package.name == "tiny-app").unwrap().archive;
    fs::remove_file(archive).unwrap();
    assert_ne!(resolve(&plan).unwrap().set.solution, Solution::Remembered);
    assert_eq!(resolve(&plan).unwrap().set.solution, Solution::Remembered);
    let signatures = Command::new("find").arg(folder.path().join("a cache")).args(["-name", "*.sig"]).output().unwrap();
    let signatures = String::from_utf8(signatures.stdout).unwrap();
    let of = |name: &str| signatures.lines().find(|path| path.contains(&format!("/archives/{name}"))).unwrap();
    fs::copy(of("busybox"), of("tiny-app")).unwrap();
    assert_eq!(resolve(&plan).err().unwrap().exit(), Exit::Integrity);
    fs::remove_file(of("tiny-app")).unwrap();
    assert_ne!(resolve(&plan).unwrap().set.solution, Solution::Remembered);

    // Another database at the same address.
    fs::remove_dir_all(&served).unwrap();
    world.with_packages(&[("tiny-app", "1:3.0-1", "busybox")], &served);
    let newer = resolve(&plan).unwrap();
    assert_ne!(newer.set.solution, Solution::Remembered);
    assert!(newer.set.packages.iter().any(|package| package.version == "1:3.0-1"), "{}", packages(&newer));
    // And another key.
    let other = tiny(&server.url(), &world.other_key(), &["tiny-app", "busybox"]);
    assert_eq!(resolve(&other).err().unwrap().exit(), Exit::Integrity);
}
