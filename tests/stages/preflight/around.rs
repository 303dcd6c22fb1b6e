//! The rules about the disk and the file around it: what each of them finds, and nothing else does.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::bytes::Bytes;
use ingot::disk::gpt::{self, Attributes, GptPartition};
use ingot::plan::Target;
use ingot::preflight::Severity;
use ingot::preflight::rule::RULES;

use super::{ROOT, SIZE, check, disk, good_root, run, uuid};
use crate::support::need;

/// The rules that find something, with how much it matters.
fn found(path: &Path, target: Target) -> BTreeSet<(&'static str, bool)> {
    let report = check(path, target);
    report.findings.iter().map(|finding| (finding.rule, finding.severity == Severity::Refuse)).collect()
}

/// An EFI program of no section, with so many bytes of certificates.
fn program(certificates: u32) -> Vec<u8> {
    let mut file = vec![0; 0x40 + 4 + 20 + 240];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x40;
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x44 + 16] = 240;
    let optional = 0x44 + 20;
    file[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
    file[optional + 108..optional + 112].copy_from_slice(&16_u32.to_le_bytes());
    file[optional + 148..optional + 152].copy_from_slice(&certificates.to_le_bytes());
    file
}

/// Puts an EFI system partition with this program between the BIOS boot partition and the root filesystem.
fn add_esp(path: &Path, content: &[u8]) {
    let folder = path.parent().unwrap();
    let (image, efi) = (folder.join("esp"), folder.join("efi"));
    let _ = fs::remove_file(&image);
    fs::write(&efi, content).unwrap();
    let name = image.to_str().unwrap();
    run("mkfs.vfat", &["-C", name, "2048"]);
    run("mmd", &["-i", name, "::EFI", "::EFI/BOOT"]);
    run("mcopy", &["-i", name, efi.to_str().unwrap(), "::EFI/BOOT/BOOTX64.EFI"]);
    let places = [
        (gpt::kind::BIOS_BOOT, Bytes::mib(1), Bytes::mib(1)),
        (gpt::kind::ESP, Bytes::mib(2), Bytes::mib(2)),
        (gpt::kind::root("x86_64"), ROOT, SIZE - ROOT - Bytes::mib(1)),
    ];
    let partitions = places.into_iter().zip(1..).map(|((kind, start, size), number)| GptPartition {
        number,
        kind,
        uuid: uuid(&number.to_string()),
        start,
        size,
        name: String::new(),
        attributes: Attributes::default(),
    });
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut code = [0; 440];
    file.read_exact_at(&mut code, 0).unwrap();
    let ends = gpt::write(SIZE, uuid("disk"), &partitions.collect::<Vec<_>>(), &code).unwrap();
    file.write_all_at(&ends.head, 0).unwrap();
    file.write_all_at(&ends.tail, (SIZE - gpt::TAIL).0).unwrap();
    file.write_all_at(&fs::read(&image).unwrap(), 2 << 20).unwrap();
}

/// What happens to a file.
type Damage = fn(&fs::File);

/// One case: what it is called, the file, a target, and exactly the rules that find more than in the good disk.
type Case = (&'static str, PathBuf, Target, &'static [(&'static str, bool)]);

#[test]
fn each_rule_about_the_disk_and_its_file_finds_exactly_its_own() {
    need!("mke2fs", "mkfs.vfat", "mmd", "mcopy", "qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    good_root(&root);
    let good = disk(folder.path(), &root);
    let other = |name: &str, damage: Damage| {
        let path = folder.path().join(name);
        fs::copy(&good, &path).unwrap();
        damage(&fs::OpenOptions::new().write(true).open(&path).unwrap());
        path
    };
    let convert = |name: &str, arguments: &[&str]| {
        let path = folder.path().join(name);
        let ingot = Command::new(env!("CARGO_BIN_EXE_ingot"))
            .args(["convert", "--quiet", good.to_str().unwrap(), path.to_str().unwrap()])
            .args(arguments)
            .status();
        assert!(ingot.unwrap().success());
        path
    };
    let primary = other("primary", |file| file.write_all_at(&[7; 4], 512 + 48).unwrap());
    let grew = other("grew", |file| file.set_len(SIZE.0 + (1 << 20)).unwrap());
    let no_code = other("code", |file| file.write_all_at(&[0; 440], 0).unwrap());
    let no_table = other("table", |file| file.write_all_at(&[0; 512 * 40], 0).unwrap());
    let odd = other("odd", |file| file.set_len(SIZE.0 + 512).unwrap());
    let (unsigned, signed) = (other("unsigned", |_| ()), other("signed", |_| ()));
    add_esp(&unsigned, &program(0));
    add_esp(&signed, &program(512));
    fs::write(root.join("etc/fstab"), "UUID=1 / ext4 defaults,x-systemd.growfs 0 1\n/swapfile none swap sw 0 0\n")
        .unwrap();
    fs::create_dir(folder.path().join("second")).unwrap();
    let swap = disk(&folder.path().join("second"), &root);

    let azure = convert("good.vhd", &["--format", "vhd-fixed", "--option", "force_size=on"]);
    let cut = folder.path().join("cut.vhd");
    let content = fs::read(&azure).unwrap();
    fs::write(&cut, [&content[..1 << 20], &content[(1 << 20) + 512..]].concat()).unwrap();
    let overlay = folder.path().join("overlay.qcow2");
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", good.to_str().unwrap(), "-F", "raw", overlay.to_str().unwrap()],
    );
    let whole = convert("whole.qcow2", &[]);
    let half = folder.path().join("half.qcow2");
    fs::write(&half, &fs::read(&whole).unwrap()[..100_000]).unwrap();

    // Satisfied: what a target takes as it is.
    let boot_mode = BTreeSet::from([("boot-mode", false)]);
    assert_eq!(found(&good, Target::Openstack), boot_mode);
    assert_eq!(found(&whole, Target::Openstack), boot_mode);
    assert_eq!(found(&signed, Target::Openstack), BTreeSet::new());
    let of_azure = found(&azure, Target::Azure);
    assert!(of_azure.iter().all(|(rule, refuse)| !refuse || *rule == "agent"), "{of_azure:?}");
    assert!(!of_azure.iter().any(|(rule, _)| ["swap", "secure-boot", "envelope", "size"].contains(rule)));

    let table: &[Case] = &[
        // The root filesystem is not looked for by a table that is wrong.
        ("a primary header", primary, Target::Openstack, &[("contents", true), ("partition-table", true)]),
        // What was the backup lies among nothing now.
        ("a disk that grew", grew, Target::Openstack, &[("backup-gpt", true), ("leftovers", true)]),
        ("no boot code", no_code, Target::Openstack, &[("boot-loader", true)]),
        ("no boot code for VMware", folder.path().join("code"), Target::Vmware, &[("boot-loader", true)]),
        ("a sector more", odd, Target::Azure, &[("backup-gpt", true), ("leftovers", true), ("size", true)]),
        ("an unsigned loader", unsigned.clone(), Target::Gce, &[("secure-boot", false)]),
        ("an unsigned loader", unsigned.clone(), Target::Hyperv, &[("secure-boot", false)]),
        ("an unsigned loader where none is asked for", unsigned, Target::Aws, &[]),
        ("a signed loader", signed, Target::Gce, &[]),
        ("swap", swap.clone(), Target::Azure, &[("swap", false)]),
        ("swap elsewhere", swap, Target::Aws, &[]),
        ("a footer that counts more", cut, Target::Azure, &[("contents", true), ("envelope", true)]),
        ("another file below", overlay, Target::Openstack, &[("backing-file", true), ("contents", true)]),
        ("half a file", half, Target::Openstack, &[("contents", true)]),
        ("nothing of a disk", no_table, Target::Libvirt, &[("contents", true), ("format", true)]),
    ];
    for (what, path, target, wanted) in table {
        let base = if path.extension().is_some_and(|end| end == "vhd") { &azure } else { &good };
        let more: BTreeSet<_> = found(path, *target).difference(&found(base, *target)).copied().collect();
        let wanted: BTreeSet<_> = wanted.iter().copied().collect();
        assert_eq!(more, wanted, "{what} for {}", target.name());
    }
    // Every rule has a case: here, among the files of a system, or among the containers.
    let here = table.iter().flat_map(|(_, _, _, rules)| rules.iter().map(|(rule, _)| *rule));
    let elsewhere = super::CASES.iter().map(|(_, _, rule, _)| *rule).chain(["format", "boot-mode"]);
    let containers = ["container-index", "container-config", "layers"];
    let all: BTreeSet<&str> = here.chain(elsewhere).chain(containers).filter(|rule| *rule != "none").collect();
    assert_eq!(all, RULES.iter().map(|rule| rule.name).collect());
}
