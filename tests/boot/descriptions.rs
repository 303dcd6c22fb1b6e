//! The descriptions of this repository: each is cast, then booted or run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::machine::{Machine, live_once};
use crate::support::image::{Ingot, digests, partitions, result, root_filesystem, unpack, unpack_docker};
use crate::support::program::{run, text};
use crate::support::{alone, need, scratch, scratch_root};

/// Casts one of `descriptions/` into `target`. Packages are kept between runs.
#[track_caller]
fn cast(name: &str, options: &[&str], target: &Path) {
    let answer = casting(name, options, target).run().expect(0);
    eprintln!("{}", answer.stderr);
}

fn casting(name: &str, options: &[&str], target: &Path) -> Ingot {
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("descriptions").join(name);
    let cache = scratch_root().join("debian-cache");
    let work = scratch_root().join("debian-work");
    fs::create_dir_all(&work).unwrap();
    let mut ingot = Ingot::new(["build"]).arg(description).arg("--target-dir").arg(target);
    for option in options {
        ingot = ingot.arg(option);
    }
    ingot.env("INGOT_CACHE_DIR", text(&cache)).env("INGOT_WORK_DIR", text(&work))
}

/// Waits for the login prompt on the serial console; no unit may have failed on the way.
#[track_caller]
fn boots(image: &Path, firmware: &str) {
    let ingot = Ingot::new(["boot"]).arg(image).arg("--firmware").arg(firmware);
    let answer = ingot.arg("--expect").arg("login:").arg("--timeout").arg("600").run().expect(0);
    assert!(answer.stderr.contains("0 units failed"), "{}", answer.stderr);
}

/// What foreign readers say of a qcow2 and of the disk in it, and what our own audit says.
#[track_caller]
fn is_sound(qcow2: &Path, scratch: &Path) {
    run("qemu-img", &["check", "-f", "qcow2", text(qcow2)]);
    let raw = scratch.join("disk.raw");
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", text(qcow2), text(&raw)]);
    run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", text(qcow2), text(&raw)]);
    let verified = run("sfdisk", &["--verify", text(&raw)]);
    assert!(verified.contains("No errors detected"), "{verified}");
    assert_eq!(partitions(&raw).len(), 3);
    let filesystem = scratch.join("root.ext4");
    root_filesystem(&raw, &filesystem);
    run("e2fsck", &["-f", "-n", text(&filesystem)]);
    fs::remove_file(raw).unwrap();
    Ingot::new(["audit"]).arg(qcow2).run().expect(0);
}

/// OpenStack takes it as it is, EC2 after its size was repaired.
#[track_caller]
fn fits_clouds(qcow2: &Path, scratch: &Path) {
    let answer = Ingot::new(["preflight", "--for", "openstack"]).arg(qcow2).run().expect(0);
    assert!(answer.stdout.contains("openstack: all of "), "{}", answer.stdout);
    let raw = scratch.join("ec2.raw");
    Ingot::new(["convert"]).arg(qcow2).arg(&raw).run().expect(0);
    let ec2 = |more: &[&str]| Ingot::new(["preflight", "--for", "aws"]).arg(&raw).args(more).run();
    let answer = ec2(&[]).expect(1);
    assert!(answer.stdout.contains("aws: 1 refusal (exit 1)"), "{}", answer.stdout);
    let answer = ec2(&["--fix"]).expect(0);
    assert!(answer.stdout.contains("aws: all of "), "{}", answer.stdout);
    assert!(run("sfdisk", &["--verify", text(&raw)]).contains("No errors detected"));
    fs::remove_file(raw).unwrap();
}

/// A path in the root filesystem that `is_sound` left in `scratch`, as debugfs sees it.
fn in_filesystem(scratch: &Path, path: &str) -> bool {
    let output = Command::new("debugfs").args(["-R", &format!("stat {path}")]).arg(scratch.join("root.ext4")).output();
    !String::from_utf8_lossy(&output.unwrap().stderr).contains("File not found")
}

#[test]
fn debian_minimal_boots_from_both_firmwares_to_its_login_prompt() {
    need!(root);
    need!("qemu-system-x86_64", "qemu-img", "sfdisk", "e2fsck");
    let _turn = alone();
    let scratch = scratch();
    let out = scratch.path().join("out");
    cast("debian-minimal", &[], &out);
    let image = result(&out, ".qcow2");
    is_sound(&image, scratch.path());
    assert!(in_filesystem(scratch.path(), "/usr/bin/apt-get"));
    for firmware in ["bios", "uefi"] {
        boots(&image, firmware);
    }
}

#[test]
fn debian_minimal_immutable_boots_and_has_no_update_stack() {
    need!(root);
    need!("qemu-system-x86_64", "qemu-img", "sfdisk", "e2fsck", "debugfs");
    let _turn = alone();
    let scratch = scratch();
    let out = scratch.path().join("out");
    cast("debian-minimal", &["--profile", "Immutable"], &out);
    let image = result(&out, ".qcow2");
    is_sound(&image, scratch.path());
    for gone in ["/usr/bin/apt", "/usr/bin/apt-get", "/usr/bin/dpkg", "/etc/apt", "/usr/lib/apt", "/var/lib/apt"] {
        assert!(!in_filesystem(scratch.path(), gone), "{gone}");
    }
    assert!(in_filesystem(scratch.path(), "/var/lib/dpkg/status"), "scanners need the package database");
    for firmware in ["bios", "uefi"] {
        boots(&image, firmware);
    }
}

#[test]
fn debian_server_boots_from_both_firmwares_to_its_login_prompt() {
    need!(root);
    need!("qemu-system-x86_64", "qemu-img", "sfdisk", "e2fsck");
    let _turn = alone();
    let scratch = scratch();
    let out = scratch.path().join("out");
    cast("debian-server", &[], &out);
    let image = result(&out, ".qcow2");
    is_sound(&image, scratch.path());
    fits_clouds(&image, scratch.path());
    for gone in ["/etc/ssh/ssh_host_ed25519_key", "/var/lib/systemd/random-seed"] {
        assert!(!in_filesystem(scratch.path(), gone), "{gone}");
    }
    for firmware in ["bios", "uefi"] {
        boots(&image, firmware);
    }
}

/// A number in what dumpe2fs says of the root filesystem that `root_filesystem` left in `scratch`.
fn superblock(scratch: &Path, name: &str) -> u64 {
    let said = run("dumpe2fs", &["-h", text(&scratch.join("root.ext4"))]);
    let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {said}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_disk_grows_to_its_machine_and_becomes_somebody_at_its_first_boot() {
    need!(root);
    need!("qemu-system-x86_64", "sfdisk", "dumpe2fs", "debugfs", "e2fsck");
    let _turn = alone();
    for (description, keys) in
        [("debian-minimal", [].as_slice()), ("debian-server", &["/etc/ssh/ssh_host_ed25519_key"])]
    {
        let scratch = scratch();
        let out = scratch.path().join("out");
        cast(description, &[], &out);
        let raw = result(&out, ".raw");
        let shipped = partitions(&raw)[2].2;
        let disk = fs::OpenOptions::new().write(true).open(&raw).unwrap();
        disk.set_len(disk.metadata().unwrap().len() + (1 << 30)).unwrap();
        // The SSH server starts when its keys are there, and nothing else waits for them.
        let wanted: &[&str] = if keys.is_empty() { &["login:"] } else { &["login:", "ssh.service"] };
        let machine = Machine { disk: &raw, driver: "raw", option: "", network: "user,model=virtio-net-pci" };
        live_once(&machine, wanted, scratch.path());
        let grown = partitions(&raw)[2].2;
        assert!(grown > shipped + (1000 << 20), "{description}: the partition had {shipped} bytes, now {grown}");
        root_filesystem(&raw, &scratch.path().join("root.ext4"));
        run("e2fsck", &["-f", "-n", text(&scratch.path().join("root.ext4"))]);
        let blocks = superblock(scratch.path(), "Block count:") * superblock(scratch.path(), "Block size:");
        assert!(blocks > shipped + (1000 << 20), "{description}: the filesystem has {blocks} bytes");
        for made in keys {
            assert!(in_filesystem(scratch.path(), made), "{description}: {made}");
        }
        let identity = run("debugfs", &["-R", "cat /etc/machine-id", text(&scratch.path().join("root.ext4"))]);
        assert_eq!(identity.trim().len(), 32, "{description}: {identity:?}");
    }
}

#[test]
fn debian_is_the_same_bytes_twice() {
    need!(root);
    let _turn = alone();
    for (description, options) in [("debian-server", [].as_slice()), ("debian-minimal", &["--profile", "Container"])] {
        let scratch = scratch();
        let (one, other) = (scratch.path().join("one"), scratch.path().join("the other one"));
        cast(description, options, &one);
        let elsewhere = scratch.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let ingot = casting(description, options, &other).env("INGOT_WORK_DIR", text(&elsewhere));
        ingot.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "tr_TR.UTF-8").umask(0o077).run().expect(0);
        assert_eq!(digests(&one), digests(&other), "{description}");
    }
}

/// podman with a storage of its own, gone with the test's folder.
struct Podman {
    folder: PathBuf,
}

impl Podman {
    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.folder.join("storage")).arg("--runroot").arg(self.folder.join("state"));
        command.args(["--storage-driver", "vfs", "--runtime", "runc"]);
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], input: &str) -> String {
        let file = self.folder.join("input");
        fs::write(&file, input).unwrap();
        let output = self.command().args(arguments).stdin(fs::File::open(file).unwrap()).output().unwrap();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {arguments:?}: {}\n{wrong}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn run_image(&self, image: &str, arguments: &[&str], input: &str) -> String {
        let limits = ["run", "--rm", "-i", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        self.run(&[&limits[..], &[image], arguments].concat(), input)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Layers are made of files that only podman may remove in good order.
        let _ = self.command().args(["rmi", "--force", "--all"]).output();
    }
}

#[test]
fn debian_minimal_runs_as_a_container_with_its_settings() {
    need!(root);
    need!("podman", "runc", "skopeo", "umoci");
    let _turn = alone();
    let scratch = scratch();
    let out = scratch.path().join("docker");
    cast("debian-minimal", &["--profile", "Container"], &out);
    let archive = result(&out, ".docker.tar");
    let podman = Podman { folder: scratch.path().to_path_buf() };
    podman.run(&["load", "--quiet", "--input", text(&archive)], "");
    let inspected: serde_json::Value =
        serde_json::from_str(&podman.run(&["inspect", "localhost/debian-minimal:12"], "")).unwrap();
    let config = &inspected[0]["Config"];
    assert_eq!(config["Cmd"], serde_json::json!(["/bin/bash"]));
    assert_eq!(config["WorkingDir"], "/root");
    assert_eq!(config["Labels"]["org.opencontainers.image.title"], "Debian 12 minimal");
    assert!(config["Env"].as_array().unwrap().contains(&"LANG=C.UTF-8".into()), "{config}");
    podman.run(&["image", "exists", "localhost/debian-minimal:bookworm"], "");
    let said = podman.run_image("localhost/debian-minimal:12", &[], "cat /etc/debian_version; pwd; apt-get --version");
    assert!(said.starts_with("12.") && said.contains("\n/root\n") && said.contains("apt 2."), "{said}");
    drop(podman);
    Ingot::new(["audit"]).arg(&archive).run().expect(0);

    let out = scratch.path().join("oci");
    cast("debian-minimal", &["--profile", "Container", "--type", "oci"], &out);
    let archive = result(&out, ".oci.tar");
    let inspected = run("skopeo", &["inspect", "--config", &format!("oci-archive:{}", text(&archive))]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["config"]["Cmd"], serde_json::json!(["/bin/bash"]));
    let layout = scratch.path().join("layout");
    unpack(&archive, &layout);
    let bundle = scratch.path().join("bundle");
    run("umoci", &["unpack", "--image", &format!("{}:12", text(&layout)), text(&bundle)]);
    assert!(bundle.join("rootfs/usr/bin/bash").is_file());
}

#[test]
fn debian_distroless_like_holds_one_program_and_what_it_needs() {
    need!(root);
    need!("podman", "runc");
    let _turn = alone();
    let scratch = scratch();
    let out = scratch.path().join("out");
    cast("debian-distroless-like", &[], &out);
    let archive = result(&out, ".docker.tar");
    let podman = Podman { folder: scratch.path().to_path_buf() };
    podman.run(&["load", "--quiet", "--input", text(&archive)], "");
    let said = podman.run_image("localhost/jq:1.6", &[".answer"], "{\"answer\": 42}");
    assert_eq!(said, "42\n");
    drop(podman);
    let tree = scratch.path().join("tree");
    unpack_docker(&archive, &tree);
    for gone in
        ["usr/bin/sh", "bin/sh", "usr/bin/bash", "usr/bin/apt-get", "usr/bin/dpkg", "usr/bin/perl", "usr/bin/cat"]
    {
        assert!(fs::symlink_metadata(tree.join(gone)).is_err(), "{gone}");
    }
    let size: u64 = fs::metadata(&archive).unwrap().len();
    assert!(size < 16 << 20, "{size} bytes for one small program");
    Ingot::new(["audit"]).arg(&archive).run().expect(0);
}

#[test]
fn debian_micro_has_a_shell_and_a_database_for_scanners_and_installs_nothing() {
    need!(root);
    need!("podman", "runc", "dpkg", "dpkg-query");
    let _turn = alone();
    let scratch = scratch();
    let out = scratch.path().join("out");
    cast("debian-micro", &["--type", "docker"], &out);
    let archive = result(&out, ".docker.tar");
    let podman = Podman { folder: scratch.path().to_path_buf() };
    podman.run(&["load", "--quiet", "--input", text(&archive)], "");
    let said = podman.run_image("localhost/debian-micro:12", &["/usr/bin/bash", "-c", "ls /etc/ssl/certs | wc -l"], "");
    assert!(said.trim().parse::<u32>().unwrap() > 100, "{said}");
    drop(podman);
    let tree = scratch.path().join("tree");
    unpack_docker(&archive, &tree);
    for gone in ["usr/bin/apt-get", "usr/bin/dpkg", "usr/bin/perl", "etc/apt", "var/lib/apt", "var/cache/debconf"] {
        assert!(fs::symlink_metadata(tree.join(gone)).is_err(), "{gone}");
    }
    let database = tree.join("var/lib/dpkg");
    let known = run("dpkg-query", &["--admindir", text(&database), "--show", "--showformat", "${Package}\n"]);
    let listed = fs::read_to_string(result(&out, ".packages")).unwrap();
    assert_eq!(known.lines().count(), listed.lines().count(), "{known}");
    // dpkg itself finds every file as its package brought it.
    let verified = run("dpkg", &["--root", text(&tree), "--verify"]);
    assert_eq!(verified, "");
    let size: u64 = fs::metadata(&archive).unwrap().len();
    assert!(size < 24 << 20, "{size} bytes");
    Ingot::new(["audit"]).arg(&archive).run().expect(0);
}
