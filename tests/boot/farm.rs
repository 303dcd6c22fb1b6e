//! Debian built by the Open Build Service's own script, in a build root that knows ingot by its package only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::farm::{BUILD, Worker, scan};
use crate::support::image::{Ingot, result};
use crate::support::program::finish;
use crate::support::world::sha256;
use crate::support::{alone, need, scratch, scratch_root};

const REPOSITORY: &str = "Debian:12/standard";

fn repository_of_ingot() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Casts a profile of debian-minimal here and now; its packages are what the service would have downloaded. Returns
/// their names and digests.
fn packages_of(profile: &str, folder: &Path, cache: &Path) -> BTreeMap<String, String> {
    let target = folder.join(profile);
    let description = repository_of_ingot().join("descriptions/debian-minimal");
    let ingot = Ingot::new(["build", "--profile", profile, "--target-dir"]).arg(&target).arg(description);
    let work = scratch_root().join("debian-work");
    fs::create_dir_all(&work).unwrap();
    let ingot = ingot.env("INGOT_CACHE_DIR", cache.to_str().unwrap()).env("INGOT_WORK_DIR", work.to_str().unwrap());
    ingot.run().expect(0);
    let manifest = fs::read(target.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let packages = manifest["packages"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    let name = |package: &serde_json::Value| {
        let version = text(&package["version"]).replace(':', "%3a");
        format!("{}_{version}_{}.deb", text(&package["name"]), text(&package["arch"]))
    };
    let found = packages.map(|package| (name(package), text(&package["sha256"]))).collect();
    fs::remove_dir_all(target).unwrap();
    found
}

/// Every file of ingot's package store, by digest.
fn stored(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => drop(found.insert(sha256(&fs::read(&path).unwrap()), path)),
            }
        }
    }
    found
}

/// A recipe of one profile: the service builds every type of a recipe with every profile.
fn recipe(sources: &Path, profile: &str, left_out: &[(&str, &str)]) -> PathBuf {
    let xml = fs::read_to_string(repository_of_ingot().join("descriptions/debian-minimal/config.xml")).unwrap();
    let mut xml = xml.replacen("?>\n", &format!("?>\n<!-- OBS-Profiles: {profile} -->\n"), 1);
    for (start, end) in left_out {
        let from = xml.find(start).unwrap_or_else(|| panic!("no {start}"));
        let to = from + xml[from..].find(end).unwrap() + end.len();
        xml.replace_range(from..to, "");
    }
    let path = sources.join(format!("{}.kiwi", profile.to_lowercase()));
    fs::write(&path, xml).unwrap();
    path
}

#[test]
fn the_build_service_makes_a_container_and_a_disk_that_boots() {
    need!(root);
    need!(BUILD, "mmdebstrap", "dpkg-scanpackages", "dpkg-deb", "unshare", "qemu-system-x86_64", "qemu-img");
    let _turn = alone();
    let scratch = scratch();
    let folder = scratch.path();

    // What the service hands to its worker.
    let cache = scratch_root().join("debian-cache");
    let mut packages = packages_of("Disk", folder, &cache);
    packages.extend(packages_of("Container", folder, &cache));
    let sources = folder.join("in");
    let repository = sources.join("repos").join(REPOSITORY);
    fs::create_dir_all(&repository).unwrap();
    let stored = stored(&cache.join("packages"));
    for (name, digest) in &packages {
        fs::copy(&stored[digest], repository.join(name)).unwrap();
    }
    scan(&repository, REPOSITORY);
    for name in ["descriptions/debian-minimal/config.sh", "rootfs-overlays"] {
        finish(Command::new("cp").arg("-a").arg(repository_of_ingot().join(name)).arg(&sources));
    }
    let immutable = ("<preferences profiles=\"Immutable\">", "</preferences>");
    let container = ("<preferences profiles=\"Container\">", "</preferences>");
    let recipes = [
        recipe(&sources, "Disk", &[immutable, container]),
        recipe(
            &sources,
            "Container",
            &[immutable, ("<preferences profiles=\"Disk\">", "</preferences>"), ("<type image=\"oci\">", "</type>")],
        ),
    ];

    // The build root, with ingot by its package.
    let root = folder.join("root");
    finish(Command::new("mmdebstrap").args(["--quiet", "--variant=apt", "bookworm"]).arg(&root));
    let made = folder.join("made");
    let package =
        finish(Command::new(repository_of_ingot().join("scripts/package")).arg(&made).arg(env!("CARGO_BIN_EXE_ingot")));
    let package = package.lines().find(|line| line.ends_with(".deb")).unwrap();
    fs::copy(package, root.join("ingot.deb")).unwrap();
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).unwrap();
    let install = "apt-get update -q && apt-get install -qy --no-install-recommends /ingot.deb";
    finish(Command::new("chroot").arg(&root).args(["sh", "-c", install]).env("DEBIAN_FRONTEND", "noninteractive"));
    assert!(fs::symlink_metadata(root.join("usr/bin/kiwi")).unwrap().is_symlink());
    fs::remove_file(root.join("etc/resolv.conf")).unwrap();

    let worker = Worker::new(folder).parameter("--ignore-repos").parameter("--recycle-root").repository(REPOSITORY);
    let built = worker.build_in_system(&root, &recipes);
    assert!(built.good, "{}", built.log);
    let disk = result(&built.packages, "-Disk-Build1.1.qcow2");
    let archive = result(&built.packages, "-Container-Build1.1.docker.tar");
    for file in [&disk, &archive] {
        Ingot::new(["audit"]).arg(file).run().expect(0);
    }
    let boot = Ingot::new(["boot"]).arg(&disk).args(["--firmware", "bios", "--expect", "login:", "--timeout", "600"]);
    let boot = boot.run().expect(0);
    assert!(boot.stderr.contains("0 units failed"), "{}", boot.stderr);
    // From UEFI the way is another one until the kernel runs.
    let boot = Ingot::new(["boot"]).arg(&disk).args(["--firmware", "uefi", "--expect", "Linux version"]);
    boot.args(["--timeout", "300"]).run().expect(0);
    let left = finish(Command::new("findmnt").args(["--noheadings", "--list", "--output", "TARGET"]));
    assert!(!left.contains(folder.to_str().unwrap()), "{left}");
}
