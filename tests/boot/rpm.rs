//! A disk of RPMs whose kernel starts: Debian's, in packages with SUSE's names.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::image::{Description, Ingot, partitions, result, root_filesystem};
use crate::support::program::finish;
use crate::support::rpm::{RpmWorld, Signer, need_rpm_world};
use crate::support::rpm_image::RpmBench;
use crate::support::server::Server;
use crate::support::{alone, need, scratch};

/// What the packages are made of.
const DEBIAN: &str = "bash,coreutils,dash,debianutils,findutils,sed,grep,gzip,util-linux,libc-bin,kmod,mount,udev,rpm,\
                      dracut,linux-image-cloud-amd64,grub-pc-bin,grub-efi-amd64-bin";

/// The tiny RPM world's repository in `repository`, with a kernel and what starts it; what `uname -r` says of that.
fn with_kernel(world: &RpmWorld, folder: &Path, repository: &Path) -> String {
    let debian = folder.join("debian");
    let include = format!("--include={DEBIAN}");
    finish(Command::new("mmdebstrap").args(["--quiet", "--variant=extract", &include, "bookworm"]).arg(&debian));
    let names = fs::read_dir(debian.join("boot")).unwrap().map(|entry| entry.unwrap().file_name());
    let release = names.filter_map(|name| Some(name.to_str()?.strip_prefix("vmlinuz-")?.to_string())).next().unwrap();
    // 6.1.0-56-cloud-amd64
    let (version, rest) = release.split_once('-').unwrap();
    let (number, _) = rest.split_once('-').unwrap();
    world.copy(repository);
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/rpm/disk.spec");
    let macros = [
        ("tiny_debian", debian.to_str().unwrap()),
        ("tiny_uname", &release),
        ("tiny_kernel_version", version),
        ("tiny_kernel_release", number),
    ];
    world.build(&spec, &macros, repository);
    world.index(repository);
    world.sign(Signer::Own, repository);
    fs::remove_dir_all(debian).unwrap();
    release
}

/// Names and modes in the filesystem of /boot, as debugfs lists them.
fn in_boot(image: &Path, scratch: &Path) -> Vec<(String, String)> {
    let (raw, boot) = (scratch.join("disk.raw"), scratch.join("boot.ext4"));
    finish(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(image).arg(&raw));
    let (_, start, length) = partitions(&raw).into_iter().find(|(name, _, _)| name == "p.lxboot").unwrap();
    let dd = ["bs=1M", "status=none", "iflag=skip_bytes,count_bytes"];
    let range = [format!("skip={start}"), format!("count={length}")];
    let files = [format!("if={}", raw.display()), format!("of={}", boot.display())];
    finish(Command::new("dd").args(dd).args(range).args(files));
    finish(Command::new("e2fsck").args(["-f", "-n"]).arg(&boot));
    let listed = finish(Command::new("debugfs").args(["-R", "ls -p /"]).arg(&boot));
    let root = scratch.join("root.ext4");
    root_filesystem(&raw, &root);
    finish(Command::new("e2fsck").args(["-f", "-n"]).arg(&root));
    fs::remove_file(raw).unwrap();
    // /INODE/MODE/UID/GID/NAME/SIZE/
    let fields = listed.lines().map(|line| line.split('/').collect::<Vec<&str>>()).filter(|fields| fields.len() > 5);
    let named = fields.filter(|fields| ![".", ".."].contains(&fields[5]));
    named.map(|fields| (fields[5].to_string(), fields[2].to_string())).collect()
}

/// A disk for both firmwares that says what it is on its serial console.
fn disk(bench: &RpmBench, manager: &str) -> Description {
    let description = bench.container(manager);
    let xml = description.xml();
    let from = xml.find("<type image").unwrap();
    let to = xml.find("</type>").unwrap() + "</type>".len();
    let kind = r#"<type image="oem" filesystem="ext4" firmware="uefi" format="qcow2" initrd_system="dracut"
          bootpartition="true" bootpartsize="160" kernelcmdline="console=ttyS0">
      <bootloader name="grub2" timeout="0" output_console="serial"/>
      <oemconfig><oem-resize>false</oem-resize></oemconfig>
    </type>"#;
    let packages = ["userland", "dracut", "grub2-i386-pc", "grub2-x86_64-efi", "kernel-default", "tiny-init"];
    let packages = packages.map(|name| format!("<package name=\"{name}\"/>\n    ")).concat();
    let packages = format!("{packages}<package name=\"tiny-accounts\"/><package name=\"tiny-release\"/>");
    description
        .edit(&xml[from..to], kind)
        .edit(r#"<package name="busybox"/>"#, "")
        .edit(r#"<package name="tiny-app"/>"#, &packages)
}

#[test]
fn a_disk_of_rpms_with_a_real_kernel_boots_from_both_firmwares() {
    need!(root);
    need_rpm_world!();
    need!("zypper", "mmdebstrap", "qemu-system-x86_64", "qemu-img", "sfdisk", "e2fsck", "debugfs");
    let _turn = alone();
    let scratch = scratch();
    let world = RpmWorld::open();
    let repository = scratch.path().join("repository");
    let release = with_kernel(&world, scratch.path(), &repository);
    let bench = RpmBench::with_mirror(Server::start(repository));
    let answer = bench.build(&disk(&bench, "zypper")).run().expect(0);
    assert!(!answer.stderr.contains("comes from this host"), "{}", answer.stderr);
    let image = result(&bench.path("out"), ".qcow2");
    Ingot::new(["audit"]).arg(&image).run().expect(0);

    // What SUSE's own tools will look for, and nothing else; the kernel itself where its package has but a symlink.
    let found = in_boot(&image, scratch.path());
    let mut names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    names.sort();
    let (kernel, initrd) = (format!("vmlinuz-{release}"), format!("initrd-{release}"));
    assert_eq!(names, ["efi", "grub2", &initrd, "lost+found", "vmlinuz", &kernel]);
    let mode = |name: &str| found.iter().find(|(one, _)| one == name).unwrap().1.as_str();
    assert_eq!([mode(&kernel), mode("vmlinuz")], ["100644", "120777"]);

    let listed = fs::read_to_string(result(&bench.path("out"), ".packages")).unwrap();
    let kernel = listed.lines().find(|line| line.starts_with("kernel-default|")).unwrap();
    let fields: Vec<&str> = kernel.split('|').collect();
    let name = format!("kernel-default-{}-{}.x86_64", fields[2], fields[3]);
    let wanted = format!("up with {release}, ext4 rw, {name}, {} packages", listed.lines().count());
    // The database on the disk says the same.
    let bill = Ingot::new(["sbom", "--format", "cyclonedx"]).arg(&image).run().expect(0).stdout;
    let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
    let components = bill["components"].as_array().unwrap().iter();
    let urls: Vec<&str> = components.filter_map(|one| one["purl"].as_str()).collect();
    assert_eq!(urls.len(), listed.lines().count(), "{urls:?}");
    let url = format!("pkg:rpm/tiny/kernel-default@{}-{}?arch=x86_64", fields[2], fields[3]);
    assert!(urls.iter().any(|one| one.starts_with(&url)), "{urls:?}");
    for firmware in ["bios", "uefi"] {
        let boot = Ingot::new(["boot"]).arg(&image).args(["--firmware", firmware, "--expect", &wanted]);
        boot.args(["--timeout", "300"]).run().expect(0);
    }
}
