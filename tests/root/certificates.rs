//! Mirrors with a certificate of one's own: what zypper, dnf and pacman trust while they download for a build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::error::{Exit, Place};
use ingot::plan::trust::{Certificate, Family, TrustPlan};

use crate::pacman::{Done, tiny};
use crate::support::image::Description;
use crate::support::pacman::{PacmanWorld, need_pacman_world};
use crate::support::rpm::need_rpm_world;
use crate::support::rpm_image::RpmBench;
use crate::support::{need, scratch, together};
use crate::trust::{Secure, authority};

/// The description trusts `certificate`, and its image has a program that makes a store.
fn trusting(description: Description, certificate: &Path, scratch: &Path) -> Description {
    let folder = scratch.join("program/usr/bin");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("update-ca-trust");
    fs::write(&path, "#!/bin/sh\ncat /etc/pki/ca-trust/source/anchors/* > /etc/store.pem\n").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let archive = scratch.join("program.tar");
    let mut made = Command::new("tar");
    made.arg("-C").arg(scratch.join("program")).arg("-cf").arg(&archive).arg("usr/bin/update-ca-trust");
    assert!(made.status().unwrap().success());
    let section = "<certificates target_distribution=\"redhat\"><certificate name=\"ca.pem\"/></certificates>";
    description
        .file("program.tar", fs::read(archive).unwrap())
        .file("ca.pem", fs::read(certificate).unwrap())
        .edit("<package name=\"busybox\"/>", "<package name=\"busybox\"/><archive name=\"program.tar\"/>")
        .edit("</image>", &format!("{section}</image>"))
}

/// A folder with a repository and its key beside it.
fn mirror(bench: &RpmBench) -> PathBuf {
    let folder = bench.path("mirror");
    bench.world.copy(&folder);
    fs::copy(bench.world.key(), folder.join("tiny.asc")).unwrap();
    folder
}

fn certificates_count(manager: &str) {
    let _turn = together();
    let bench = RpmBench::new();
    let (certificate, key) = authority(&bench.path(""));
    let server = Secure::start(&mirror(&bench), &certificate, &key);
    // The key that signs the repository comes from there, too.
    let from_there = format!("{}/tiny.asc", server.url);
    let of = || bench.container(manager).edit("mirror://tiny", &server.url);
    bench.build(&of()).run().expect(76).says(&["certificate", "<certificates>", "config.xml:13:4"]);
    bench.build(&of().edit("this://tiny.asc", &from_there)).run().expect(76).says(&["certificate", "<certificates>"]);
    let description = trusting(of().edit("this://tiny.asc", &from_there), &certificate, &bench.path("scratch"));
    let answer = bench.build(&description).run().expect(0);
    assert!(!answer.stderr.contains("certificates"), "{}", answer.stderr);
    let tree = bench.tree();
    assert!(tree.join("usr/bin/tiny-app").is_file());
    assert_eq!(fs::read(tree.join("etc/store.pem")).unwrap(), fs::read(&certificate).unwrap());
    // What the host trusts is still trusted, and what only the description names is not trusted afterwards.
    bench.build(&of()).run().expect(76);
}

#[test]
fn zypper_trusts_what_the_description_trusts() {
    need!(root);
    need_rpm_world!();
    need!("zypper", "openssl", "python3");
    certificates_count("zypper");
}

#[test]
fn dnf_trusts_what_the_description_trusts() {
    need!(root);
    need_rpm_world!();
    need!("dnf", "openssl", "python3");
    certificates_count("dnf4");
}

#[test]
fn pacman_trusts_what_the_description_trusts() {
    need!(root);
    need_pacman_world!();
    need!("openssl", "python3");
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let (certificate, key) = authority(folder.path());
    let server = Secure::start(&world.repository(), &certificate, &key);
    let mut plan = tiny(&server.url, &world.key(), &["tiny-provider"]);
    let error = Done::resolve(&plan, folder.path()).err().unwrap();
    assert_eq!(error.exit(), Exit::Integrity, "{}", error.text());
    assert!(error.text().contains("certificate") && error.text().contains("config.xml:5:3"), "{}", error.text());
    assert!(error.hint_text().unwrap().contains("<certificates>"), "{}", error.text());
    let place = Place { file: "config.xml".into(), line: 3, column: 5 };
    plan.root.trust = Some(TrustPlan { family: Family::Arch, files: vec![Certificate { path: certificate, place }] });
    let done = Done::resolve(&plan, folder.path()).unwrap();
    assert_eq!(done.names(), ["tiny-provider"]);
}
