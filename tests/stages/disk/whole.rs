//! Whole disks, looked at with the programs of a rescue system.

use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::bytes::Bytes;
use ingot::disk::{self, RawDisk};
use ingot::error::{Exit, Result};
use ingot::plan::{DiskPlan, DiskSize, FilesystemKind, PartitionTable};
use ingot::report::Reporter;
use ingot::root::RootTree;
use ingot::scrub::ScrubbedTree;

use super::said;
use crate::support::disk::{EPOCH, Privilege, everything, fill, only_root};
use crate::support::{need, scratch};

fn write(tree: &Path, plan: &DiskPlan, path: &Path) -> Result<RawDisk> {
    let tree = ScrubbedTree::unaudited(RootTree::open(tree).unwrap(), EPOCH);
    disk::write(&tree, plan, path, &Reporter::silent())
}

/// A filled tree and a place for disks.
fn tree() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = scratch();
    let (tree, disk) = (folder.path().join("tree"), folder.path().join("disk"));
    std::fs::create_dir(&tree).unwrap();
    fill(&tree, Privilege::Anyone);
    (folder, tree, disk)
}

/// `mtools -i` for a partition.
fn at(disk: &RawDisk, plan: &DiskPlan, number: usize) -> String {
    format!("{}@@{}", disk.path().display(), plan.partitions[number - 1].start.0)
}

fn free_blocks(disk: &RawDisk, start: Bytes) -> u64 {
    let image = format!("{}?offset={}", disk.path().display(), start.0);
    let text = said("/usr/sbin/dumpe2fs", &["-h", &image]);
    let line = text.lines().find(|line| line.starts_with("Free blocks:")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn every_partition_holds_what_the_plan_says() {
    need!("mke2fs", "e2fsck", "sfdisk", "blkid", "fsck.vfat", "mdir", "mtype");
    let (_folder, tree, path) = tree();
    let plan = everything();
    let disk = write(&tree, &plan, &path).unwrap();
    let file = path.to_str().unwrap();
    assert!(said("/usr/sbin/sfdisk", &["--verify", file]).contains("No errors detected"));
    let rows: Vec<String> = plan
        .partitions
        .iter()
        .map(|partition| {
            let offset = partition.start.0.to_string();
            let output =
                Command::new("/usr/sbin/blkid").args(["-p", "-O", &offset, "-o", "export", file]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let mut keep: Vec<&str> = text
                .lines()
                .filter(|line| ["UUID=", "LABEL=", "TYPE=", "VERSION="].iter().any(|key| line.starts_with(key)))
                .collect();
            keep.sort();
            keep.join(" ")
        })
        .collect();
    let id = |number: usize| plan.partitions[number - 1].filesystem.as_ref().unwrap().uuid;
    let volume = format!("{:08X}", id(2).short());
    assert_eq!(
        rows,
        [
            String::new(),
            format!("LABEL=EFI TYPE=vfat UUID={}-{} VERSION=FAT32", &volume[..4], &volume[4..]),
            format!("LABEL=BOOT TYPE=ext4 UUID={} VERSION=1.0", id(3)),
            format!("LABEL=SWAP TYPE=swap UUID={} VERSION=1", id(4)),
            format!("LABEL=ROOT TYPE=ext4 UUID={} VERSION=1.0", id(5)),
        ]
    );
    for number in [3, 5] {
        said("/usr/sbin/e2fsck", &["-fn", &format!("{file}?offset={}", plan.partitions[number - 1].start.0)]);
    }
    let esp = path.with_extension("esp");
    let content = std::fs::read(&path).unwrap();
    std::fs::write(&esp, &content[2 << 20..42 << 20]).unwrap();
    said("/usr/sbin/fsck.vfat", &["-n", esp.to_str().unwrap()]);
    let esp = at(&disk, &plan, 2);
    assert_eq!(said("/usr/bin/mtype", &["-i", &esp, "::/EFI/BOOT/grub.cfg"]), "configfile\n");
    let listing = said("/usr/bin/mdir", &["-/", "-i", &esp, "::"]);
    assert!(listing.contains("BOOTX64  EFI    200000 2025-06-15"), "{listing}");
}

#[test]
fn the_same_tree_gives_the_same_disk_wherever_it_stands() {
    need!("mke2fs");
    let (folder, tree, path) = tree();
    // Another folder, filled in another order, with other inode numbers and other holes.
    let again = folder.path().join("again");
    let copy = Command::new("cp").args(["-a", "--sparse=always"]).arg(&tree).arg(&again).status().unwrap();
    assert!(copy.success());
    let other = folder.path().join("other");
    let (first, second) = (write(&tree, &everything(), &path), write(&again, &everything(), &other));
    assert_eq!(first.unwrap().size(), second.unwrap().size());
    let compared = Command::new("cmp").arg(&path).arg(&other).output().unwrap();
    assert!(compared.status.success(), "{compared:?}");
}

#[test]
fn a_disk_is_as_large_as_the_description_says() {
    need!("mke2fs", "dumpe2fs");
    let (_folder, tree, path) = tree();
    let mut plan = only_root(FilesystemKind::Ext4);
    let free = |plan: &DiskPlan| {
        let disk = write(&tree, plan, &path).unwrap();
        (disk.size(), Bytes(free_blocks(&disk, Bytes::mib(1)) * 4096))
    };
    // To fit: 32 MiB of headroom on so small a tree.
    let (fit, headroom) = free(&plan);
    assert!(headroom >= Bytes::mib(32) && headroom < Bytes::mib(35), "{headroom:?}");
    plan.size = DiskSize::ContentPlus(Bytes::mib(100));
    let (_, headroom) = free(&plan);
    assert!(headroom >= Bytes::mib(100) && headroom < Bytes::mib(103), "{headroom:?}");
    plan.size = DiskSize::Exactly(Bytes::mib(300));
    plan.unpartitioned = Bytes::mib(20);
    let (size, _) = free(&plan);
    assert_eq!(size, Bytes::mib(300));
    let text = said("/usr/sbin/sfdisk", &["-J", path.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["partitiontable"]["partitions"][0]["size"], (300 - 20 - 2) * 2048);
    // MBR: nothing stands behind the last partition.
    plan.table = PartitionTable::Msdos;
    plan.unpartitioned = Bytes::ZERO;
    plan.size = DiskSize::ToFit;
    assert_eq!(free(&plan).0, fit - Bytes::mib(1));
}

#[test]
fn a_disk_that_is_too_small_says_how_large_it_must_be() {
    need!("mke2fs");
    let (_folder, tree, path) = tree();
    let mut plan = only_root(FilesystemKind::Ext4);
    plan.size = DiskSize::Exactly(Bytes::mib(16));
    let error = write(&tree, &plan, &path).unwrap_err();
    assert_eq!((error.exit(), error.what()), (Exit::Description, "cannot fit / into its partition"));
    let needed = error.causes()[0].rsplit_once("needs ").unwrap().1;
    let needed: u64 = needed.split_once('(').unwrap().1.split_once(" bytes").unwrap().0.parse().unwrap();
    plan.size = DiskSize::Exactly(Bytes(needed) + Bytes::mib(2));
    write(&tree, &plan, &path).unwrap();
    plan.size = DiskSize::Exactly(Bytes(needed) + Bytes::mib(1));
    write(&tree, &plan, &path).unwrap_err();
}

#[test]
fn words_for_mke2fs_that_could_reach_elsewhere_are_refused_by_name() {
    let (_folder, tree, path) = tree();
    for (words, refused) in [
        (&["-d", "/etc"][..], "-d"),
        (&["-E", "offset=4096"], "-E"),
        (&["-J", "device=/dev/sda"], "-J"),
        (&["/dev/sda"], "/dev/sda"),
        (&["-ü"], "-ü"),
        (&["-b"], "-b"),
    ] {
        let mut plan = only_root(FilesystemKind::Ext4);
        let root = plan.partitions[0].filesystem.as_mut().unwrap();
        root.create_options = words.iter().map(|word| word.to_string()).collect();
        let error = write(&tree, &plan, &path).unwrap_err();
        assert_eq!((error.exit(), error.what()), (Exit::Description, &*format!("cannot create / with `{refused}`")));
    }
}
