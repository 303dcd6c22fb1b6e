//! Disks and containers that a target takes, and the same with one thing wrong; foreign programs agree on the tables.

mod around;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::bytes::Bytes;
use ingot::disk::gpt::{self, Attributes, GptPartition};
use ingot::plan::{Seed, Target, Uuid};
use ingot::preflight::rule::RULES;
use ingot::preflight::{Report, Severity, fix, preflight};
use ingot::report::Reporter;

use super::support::need;

fn run(program: &str, arguments: &[&str]) -> String {
    let ended = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {arguments:?}: {text}");
    text
}

fn uuid(label: &str) -> Uuid {
    Seed::new("preflight", "1", None).uuid(label)
}

/// A cpio archive ("newc") with these names.
fn cpio(names: &[&str]) -> Vec<u8> {
    let mut archive = Vec::new();
    for name in names.iter().copied().chain(["TRAILER!!!"]) {
        let mut fields = [0; 13];
        (fields[1], fields[11]) = (0o100_644, name.len() + 1);
        archive.extend(b"070701");
        archive.extend(fields.iter().map(|field| format!("{field:08X}")).collect::<String>().bytes());
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// The files of an image that every cloud takes.
fn good_root(root: &Path) {
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let link = |path: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/usr/lib/systemd/system/x", path).unwrap();
    };
    let drivers = ["nvme", "virtio_pci", "virtio_scsi", "virtio_blk", "hv_vmbus", "hv_storvsc", "vmw_pvscsi", "gve"];
    let drivers: Vec<String> = drivers.iter().map(|name| format!("lib/modules/6.1/kernel/{name}.ko.xz")).collect();
    let mut names: Vec<&str> = drivers.iter().map(String::as_str).collect();
    names.push("init");
    write("boot/initrd.img-6.1", &zstd::encode_all(&cpio(&names)[..], 3).unwrap());
    write("boot/vmlinuz-6.1", b"kernel");
    let entry = "linux /boot/vmlinuz-6.1 root=UUID=1 ro console=ttyS0,115200\ninitrd /boot/initrd.img-6.1\n";
    write("boot/grub/grub.cfg", entry.as_bytes());
    for name in ["ena", "virtio_net", "hv_netvsc", "vmxnet3"] {
        write(&format!("usr/lib/modules/6.1/kernel/{name}.ko.xz"), b"m");
    }
    write("usr/lib/modules/6.1/modules.builtin", b"kernel/fs/ext4/ext4.ko\n");
    write("etc/fstab", b"UUID=1 / ext4 defaults,x-systemd.growfs 0 1\n");
    write("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
    write("etc/machine-id", b"");
    write("etc/systemd/network/80-dhcp.network", b"[Match]\nType=ether\n[Network]\nDHCP=yes\n");
    write("etc/repart.d/50-root.conf", b"[Partition]\nType=root\n");
    write("usr/bin/systemd-repart", b"elf");
    write("usr/bin/cloud-init", b"py");
    write("usr/bin/tool", b"elf");
    for unit in ["open-vm-tools", "hv-kvp-daemon", "qemu-guest-agent"] {
        write(&format!("usr/lib/systemd/system/{unit}.service"), b"[Service]\nExecStart=/usr/bin/tool\n");
    }
    link("etc/systemd/system/multi-user.target.wants/systemd-networkd.service");
    link("etc/systemd/system/multi-user.target.wants/ssh.service");
}

const SIZE: Bytes = Bytes::mib(64);
const ROOT: Bytes = Bytes::mib(4);

/// A raw disk with a GPT, GRUB for BIOS and a root filesystem that holds `root`.
fn disk(folder: &Path, root: &Path) -> PathBuf {
    let filesystem = folder.join("root.ext4");
    let _ = fs::remove_file(&filesystem);
    let length = SIZE - ROOT - Bytes::mib(1);
    let blocks = (length.0 / 4096).to_string();
    let (from, to) = (root.to_str().unwrap(), filesystem.to_str().unwrap());
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-b", "4096", "-d", from, to, &blocks]);
    let partition = |number, kind, start, size| GptPartition {
        number,
        kind,
        uuid: uuid(&number.to_string()),
        start,
        size,
        name: String::new(),
        attributes: Attributes::default(),
    };
    let partitions = [
        partition(1, gpt::kind::BIOS_BOOT, Bytes::mib(1), Bytes::mib(1)),
        partition(2, gpt::kind::root("x86_64"), ROOT, length),
    ];
    let mut code = [0x90; 440];
    code[0x180..0x184].copy_from_slice(b"GRUB");
    code[0x5c..0x64].copy_from_slice(&2048_u64.to_le_bytes());
    let ends = gpt::write(SIZE, uuid("disk"), &partitions, &code).unwrap();
    let path = folder.join("disk.raw");
    let _ = fs::remove_file(&path);
    let file = fs::File::create(&path).unwrap();
    file.set_len(SIZE.0).unwrap();
    file.write_all_at(&ends.head, 0).unwrap();
    file.write_all_at(&ends.tail, (SIZE - gpt::TAIL).0).unwrap();
    let mut core = [1; 1024];
    core[500..508].copy_from_slice(&2049_u64.to_le_bytes());
    core[508..510].copy_from_slice(&1_u16.to_le_bytes());
    file.write_all_at(&core, 1 << 20).unwrap();
    file.write_all_at(&fs::read(&filesystem).unwrap(), ROOT.0).unwrap();
    path
}

fn check(path: &Path, target: Target) -> Report {
    let work = tempfile::tempdir().unwrap();
    let step = Reporter::silent().step("preflight");
    let reports = preflight(path, &[target], None, work.path(), &step);
    reports.unwrap_or_else(|error| panic!("{}", error.text())).remove(0)
}

fn rules(report: &Report, severity: Severity) -> Vec<&'static str> {
    let found = report.findings.iter().filter(|finding| finding.severity == severity);
    let mut names: Vec<_> = found.map(|finding| finding.rule).collect();
    names.dedup();
    names
}

/// A file of the good root, another content of it (or none), and the rule that finds something then.
const CASES: &[(&str, Option<&str>, &str, Severity)] = &[
    ("boot/vmlinuz-6.1", None, "kernel", Severity::Refuse),
    ("boot/initrd.img-6.1", Some("hello"), "kernel", Severity::Refuse),
    ("boot/grub/grub.cfg", Some("linux /boot/vmlinuz-6.1\n"), "disk-drivers", Severity::Refuse),
    (
        "boot/grub/grub.cfg",
        Some("linux /boot/vmlinuz-6.1 root=/dev/vda2\ninitrd /boot/initrd.img-6.1\n"),
        "device-names",
        Severity::Refuse,
    ),
    ("boot/grub/grub.cfg", Some("linux /boot/vmlinuz-6.1\ninitrd /boot/initrd.img-6.1\n"), "console", Severity::Warn),
    ("etc/fstab", Some("/dev/sda2 / ext4 defaults 0 1\n"), "device-names", Severity::Refuse),
    ("usr/lib/modules/6.1/kernel/virtio_net.ko.xz", None, "network-drivers", Severity::Refuse),
    ("etc/systemd/network/80-dhcp.network", Some("[Match]\nName=ens3\n"), "none", Severity::Warn),
    ("etc/systemd/system/multi-user.target.wants/systemd-networkd.service", None, "network", Severity::Refuse),
    ("usr/bin/cloud-init", None, "ssh-host-keys", Severity::Refuse),
    ("usr/bin/cloud-init", None, "agent", Severity::Warn),
    ("etc/systemd/system/multi-user.target.wants/ssh.service", None, "login", Severity::Warn),
    ("usr/bin/systemd-repart", None, "grow", Severity::Warn),
    ("etc/machine-id", Some("5c0f4ab1e2d34c5f8a9b0c1d2e3f4a5b\n"), "leftovers", Severity::Refuse),
];

#[test]
fn each_rule_finds_the_one_thing_that_is_wrong() {
    need!("mke2fs");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    good_root(&root);
    let good = disk(folder.path(), &root);
    let report = check(&good, Target::Openstack);
    assert_eq!(rules(&report, Severity::Refuse), [""; 0], "{:#?}", report.findings);
    assert_eq!(rules(&report, Severity::Warn), ["boot-mode"], "{:#?}", report.findings);
    assert_eq!(report.unknown, [], "{:#?}", report.unknown);
    // 64 MiB are enough for Azure and too little for a cloud of whole GiB.
    assert_eq!(rules(&check(&good, Target::Aws), Severity::Refuse), ["size"]);
    assert_eq!(rules(&check(&good, Target::Azure), Severity::Refuse), ["format"]);
    assert_eq!(rules(&check(&good, Target::Gce), Severity::Refuse), ["format", "size"]);
    assert_eq!(rules(&check(&good, Target::Vmware), Severity::Refuse), ["format"]);
    assert_eq!(rules(&check(&good, Target::Hyperv), Severity::Refuse), ["format"]);
    assert_eq!(rules(&check(&good, Target::Libvirt), Severity::Refuse), [""; 0]);
    assert_eq!(rules(&check(&good, Target::Registry), Severity::Refuse), ["format"]);
    for (path, content, rule, severity) in CASES {
        let path = root.join(path);
        let kept = fs::read(&path).ok();
        let target = fs::read_link(&path).ok();
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let report = check(&disk(folder.path(), &root), Target::Openstack);
        let found = rules(&report, *severity);
        assert_eq!(found.contains(rule), *rule != "none", "{path:?} {rule}: {:#?}", report.findings);
        match (target, kept) {
            (Some(target), _) => symlink(target, &path).unwrap(),
            (None, kept) => fs::write(&path, kept.unwrap()).unwrap(),
        }
    }
}

/// What happens to a disk.
type Damage = fn(&fs::File);

#[test]
fn what_fix_repairs_is_what_sfdisk_and_sgdisk_call_right() {
    need!("mke2fs", "sfdisk", "sgdisk", "e2fsck", "sha256sum");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    good_root(&root);
    let path = disk(folder.path(), &root);
    let name = path.to_str().unwrap();
    let sound = |name: &str| {
        let said = Command::new("sgdisk").args(["-v", name]).env("LC_ALL", "C").output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        // A damaged copy is mended in memory, said aloud, and then no problem any more.
        said.contains("No problems found")
            && !["nvalid", "aution", "arning", "damage"].iter().any(|word| said.contains(word))
    };
    let backup =
        |path: &Path| check(path, Target::Openstack).findings.iter().any(|finding| finding.rule == "backup-gpt");
    assert!(sound(name) && !backup(&path));
    let original = fs::read(&path).unwrap();
    let damages: &[(&str, Damage)] = &[
        ("the disk grew", |file| file.set_len((70 << 20) + 512).unwrap()),
        ("the backup is gone", |file| file.write_all_at(&[0; 512], SIZE.0 - 512).unwrap()),
        ("a checksum of the backup's entries", |file| file.write_all_at(&[7; 16], SIZE.0 - 33 * 512).unwrap()),
        ("a checksum of the primary header", |file| file.write_all_at(&[7; 4], 512 + 48).unwrap()),
        ("a checksum of the primary entries", |file| file.write_all_at(&[7; 16], 1024).unwrap()),
    ];
    for (what, damage) in damages {
        fs::write(&path, &original).unwrap();
        damage(&fs::OpenOptions::new().write(true).open(&path).unwrap());
        fs::write(folder.path().join("disk.raw.sha256"), "0000  disk.raw\n").unwrap();
        let manifest = r#"{"artifacts": [{"name": "disk.raw", "sha256": "0", "size": 1}, {"name": "other"}]}"#;
        fs::write(folder.path().join("manifest.json"), manifest).unwrap();
        assert!(!sound(name), "{what}");
        let report = check(&path, Target::Openstack);
        let rules = rules(&report, Severity::Refuse);
        assert!(rules.contains(&"backup-gpt") || rules.contains(&"partition-table"), "{what}: {rules:?}");
        let step = Reporter::silent().step("fix");
        let fixed =
            fix::fix(&path, &[Target::Aws], folder.path(), &step).unwrap_or_else(|error| panic!("{}", error.text()));
        assert!(!fixed.done.is_empty() && fixed.updated.len() == 2, "{what}: {fixed:?}");
        assert!(sound(name), "{what}: {}", run("sgdisk", &["-v", name]));
        assert!(run("sfdisk", &["--verify", name]).contains("No errors detected"), "{what}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 30, "{what}");
        assert_eq!(rules_of(&path), [""; 0], "{what}");
        let listed = Command::new("sha256sum")
            .args(["--check", "--quiet", "disk.raw.sha256"])
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(listed.success(), "{what}");
        let manifest = fs::read_to_string(folder.path().join("manifest.json")).unwrap();
        let digest = fs::read_to_string(folder.path().join("disk.raw.sha256")).unwrap();
        assert!(manifest.contains(&digest[..64]) && manifest.contains("1073741824"), "{manifest}");
        run("e2fsck", &["-fn", &format!("{name}?offset={}", ROOT.0)]);
        // A second time there is nothing to do.
        let again = fix::fix(&path, &[Target::Aws], folder.path(), &step).unwrap();
        assert_eq!(again, fix::Fixed::default(), "{what}");
    }
    // Nothing of the work is left beside the disk.
    let left = fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0);
}

fn rules_of(path: &Path) -> Vec<&'static str> {
    rules(&check(path, Target::Aws), Severity::Refuse)
}

#[test]
fn hostile_disks_are_findings_and_never_a_panic_or_an_endless_loop() {
    need!("mke2fs");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    good_root(&root);
    symlink("../../../../../../etc/shadow", root.join("boot/grub/grubenv")).unwrap();
    symlink("loop", root.join("etc/loop")).unwrap();
    let path = disk(folder.path(), &root);
    let original = fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged");
    for length in [0, 1, 511, 512, 1024, 1536, 20_000, 1 << 20, (1 << 20) + 512, 30 << 20] {
        fs::write(&damaged, &original[..length]).unwrap();
        assert!(rules(&check(&damaged, Target::Aws), Severity::Refuse).len() > 1, "{length}");
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let file = fs::File::create(&damaged).unwrap();
    for _ in 0..60 {
        file.write_all_at(&original[..8 << 20], 0).unwrap();
        file.set_len(SIZE.0).unwrap();
        for _ in 0..1 + next(6) {
            let at = if next(2) == 0 { next(34 * 512) } else { ROOT.0 + next(1 << 20) };
            file.write_all_at(&[[0xff, 0, 0x80, 1][next(4) as usize]; 8], at).unwrap();
        }
        let _ = check(&damaged, Target::Gce);
        let _ = fix::fix(&damaged, &[Target::Azure], folder.path(), &Reporter::silent().step("fix"));
        fs::write(&damaged, b"").unwrap();
    }
}

fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, &content[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

/// An OCI layout with so many layers.
fn layout(layers: usize) -> Vec<(String, Vec<u8>)> {
    layout_of(layers, None)
}

/// The same with another configuration.
fn layout_of(layers: usize, other: Option<Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    let digest = super::support::world::sha256;
    let layer = archive(&[("usr/bin/tool".into(), b"elf".to_vec())]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&layer).unwrap();
    let packed = encoder.finish().unwrap();
    let ids = vec![format!("\"sha256:{}\"", digest(&layer)); layers].join(",");
    let config = format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":[{ids}]}}}}"#).into_bytes();
    let config = other.unwrap_or(config);
    let descriptor = |blob: &[u8]| format!(r#"{{"digest":"sha256:{}","size":{}}}"#, digest(blob), blob.len());
    let list = vec![descriptor(&packed); layers].join(",");
    let manifest = format!(r#"{{"config":{},"layers":[{list}]}}"#, descriptor(&config)).into_bytes();
    let index = format!(r#"{{"manifests":[{}]}}"#, descriptor(&manifest)).into_bytes();
    let blob = |content: Vec<u8>| (format!("blobs/sha256/{}", digest(&content)), content);
    vec![
        ("oci-layout".into(), b"{}".to_vec()),
        ("index.json".into(), index),
        blob(manifest),
        blob(config),
        blob(packed),
    ]
}

#[test]
fn a_registry_gets_right_digests_and_few_layers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.oci.tar");
    let verdict = |members: &[(String, Vec<u8>)]| {
        fs::write(&path, archive(members)).unwrap();
        rules(&check(&path, Target::Registry), Severity::Refuse)
    };
    assert_eq!(verdict(&layout(2)), [""; 0]);
    assert_eq!(verdict(&layout(126)), [""; 0]);
    assert_eq!(verdict(&layout(127)), ["layers"]);
    let mut changed = layout(1);
    changed[4].1.push(0);
    assert!(verdict(&changed).contains(&"container-index"));
    let mut missing = layout(1);
    missing.remove(3);
    assert_eq!(verdict(&missing), ["container-index", "container-config"]);
    // Every digest is right, and the configuration says nothing of a system.
    let config = layout(1).remove(3).1;
    let text = String::from_utf8(config.clone()).unwrap().replace("\"os\":\"linux\"", "\"os\":\"\"");
    assert_eq!(verdict(&layout_of(1, Some(text.into_bytes()))), ["container-config"]);
    assert_eq!(verdict(&layout_of(1, Some(config))), [""; 0]);
    let mut other = layout(1);
    other[1].1 = b"[[[[".to_vec();
    assert!(verdict(&other).contains(&"container-index"));
    fs::write(&path, archive(&layout(1))).unwrap();
    assert_eq!(rules(&check(&path, Target::Aws), Severity::Refuse), ["format"]);
}

/// The table of docs/clouds.md.
fn table() -> String {
    let names = Target::ALL.map(Target::name).join(" | ");
    let mut text = format!("| rule | {names} | asks |\n|---|{}---|\n", "---|".repeat(Target::ALL.len()));
    for rule in RULES {
        let mark = |target: Target| match rule.severity(target) {
            Some(Severity::Refuse) => "refuse",
            Some(Severity::Warn) => "warn",
            None => "",
        };
        let marks = Target::ALL.map(mark).join(" | ");
        text += &format!("| `{}` | {marks} | {} |\n", rule.name, rule.about);
    }
    text
}

#[test]
fn the_documentation_has_the_table_of_rules() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clouds.md")).unwrap();
    assert!(docs.contains(&table()), "docs/clouds.md needs this table:\n{}", table());
}
