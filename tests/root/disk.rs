//! What the kernel sees in the filesystems that ingot writes.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use ingot::bytes::Bytes;
use ingot::disk::{self, RawDisk};
use ingot::host::file::next_data;
use ingot::host::loop_device::{Access, LoopDevice};
use ingot::host::mount::Mount;
use ingot::host::rooted::{RootPath, Rooted};
use ingot::plan::{DiskPlan, FilesystemKind};
use ingot::report::Reporter;
use ingot::root::RootTree;
use ingot::scrub::ScrubbedTree;

use crate::support::disk::{EPOCH, Privilege, everything, fill, only_root};
use crate::support::{alone, need, scratch};

/// One line for everything that a person can see of each file, sorted.
fn listing(tree: &Rooted, top: &str, without: &[&str]) -> Vec<String> {
    let top = RootPath::new(top);
    let mut inodes = std::collections::HashMap::new();
    let mut lines = Vec::new();
    for entry in tree.walk(&top).unwrap() {
        if without.iter().any(|other| entry.path.is_below(&RootPath::new(other))) {
            continue;
        }
        // Hard links: the first path of each inode stands for it.
        let same = inodes.entry(entry.inode).or_insert_with(|| entry.path.to_string()).clone();
        let content = if entry.is_file() { digest(tree, &entry.path, entry.size.0) } else { String::new() };
        let size = if entry.is_folder() { 0 } else { entry.size.0 };
        lines.push(format!(
            "{} {:?} {:o} {}:{} {size} {} {same} {content} {:?}",
            entry.path,
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime.min(EPOCH),
            tree.xattrs(&entry.path).unwrap()
        ));
    }
    lines
}

/// A checksum of a file's bytes and their places; holes and zeros are the same.
fn digest(tree: &Rooted, path: &RootPath, size: u64) -> String {
    let file = tree.open_file(path).unwrap();
    let (mut at, mut sum) = (0, crc32fast::Hasher::new());
    while let Some(data) = next_data(&file, at..size).unwrap() {
        let first = data.start / 4096 * 4096;
        for start in (first..data.end).step_by(4096) {
            let mut piece = vec![0; (size - start).min(4096) as usize];
            file.read_exact_at(&mut piece, start).unwrap();
            if piece.iter().any(|byte| *byte != 0) {
                sum.update(&start.to_le_bytes());
                sum.update(&piece);
            }
        }
        at = data.end;
    }
    format!("{:08x}", sum.finalize())
}

fn write(folder: &Path, plan: &DiskPlan, path: &Path) -> RawDisk {
    let tree = ScrubbedTree::unaudited(RootTree::open(folder).unwrap(), EPOCH);
    disk::write(&tree, plan, path, &Reporter::silent()).unwrap()
}

/// Checks a filesystem with e2fsck, mounts it and lists it.
fn seen(disk: &RawDisk, plan: &DiskPlan, number: usize, mounted: &Path) -> Vec<String> {
    let partitions = &plan.partitions;
    let start = partitions[number - 1].start;
    let end = partitions.get(number).map_or(disk.size() - Bytes::mib(1), |next| next.start);
    let image = format!("{}?offset={}", disk.path().display(), start.0);
    let check = Command::new("e2fsck").args(["-fn", &image]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
    let device = LoopDevice::attach(disk.path(), start, end - start, Access::Read).unwrap();
    let mount = Mount::device(device.path(), mounted, "ext4", Access::Read, "noload").unwrap();
    let lines = listing(&Rooted::open(mounted).unwrap(), "/", &["/lost+found"]);
    mount.close().unwrap();
    device.close().unwrap();
    lines
}

#[track_caller]
fn compare(found: Vec<String>, wanted: Vec<String>) {
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn the_kernel_sees_the_tree_in_every_ext_filesystem() {
    need!(root);
    need!("mke2fs", "e2fsck");
    // Other tests count the host's mounts.
    let _turn = alone();
    let folder = scratch();
    let (tree, mounted) = (folder.path().join("tree"), folder.path().join("mounted"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::create_dir(&mounted).unwrap();
    fill(&tree, Privilege::Root);
    let rows: [(FilesystemKind, &[&str]); 7] = [
        (FilesystemKind::Ext4, &[]),
        (FilesystemKind::Ext3, &[]),
        (FilesystemKind::Ext2, &[]),
        (FilesystemKind::Ext4, &["-O", "^metadata_csum", "-J", "size=8", "-E", "stride=4"]),
        (FilesystemKind::Ext4, &["-b", "2048", "-I", "512", "-O", "^64bit,^flex_bg,^has_journal", "-m", "0"]),
        (FilesystemKind::Ext4, &["-b1024", "-O", "^metadata_csum,uninit_bg"]),
        (FilesystemKind::Ext3, &["-b1024", "-I", "128", "-O", "^dir_index"]),
    ];
    for (kind, options) in rows {
        if options.iter().any(|word| word.starts_with("-b")) {
            // They do not fit a smaller block.
            let _ = std::fs::remove_file(tree.join("attributes/large"));
            let _ = std::fs::remove_file(tree.join("names/symlink-4000"));
        }
        let wanted = listing(&Rooted::open(&tree).unwrap(), "/", &["/lost+found"]);
        let mut plan = only_root(kind);
        let root = plan.partitions[0].filesystem.as_mut().unwrap();
        root.create_options = options.iter().map(|word| word.to_string()).collect();
        let path = folder.path().join("disk");
        let disk = write(&tree, &plan, &path);
        println!("{kind:?} {options:?}: {}", disk.size());
        compare(seen(&disk, &plan, 1, &mounted), wanted);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn each_partition_holds_what_is_below_its_mount_point() {
    need!(root);
    need!("mke2fs", "e2fsck");
    // Other tests count the host's mounts.
    let _turn = alone();
    let folder = scratch();
    let (tree, mounted) = (folder.path().join("tree"), folder.path().join("mounted"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::create_dir(&mounted).unwrap();
    fill(&tree, Privilege::Root);
    let plan = everything();
    let disk = write(&tree, &plan, &folder.path().join("disk"));
    let root = seen(&disk, &plan, 5, &mounted);
    let elsewhere = ["/lost+found", "/boot/efi", "/boot/old", "/boot/vmlinuz-6.1"];
    compare(root, listing(&Rooted::open(&tree).unwrap(), "/", &elsewhere));
    let boot: Vec<String> = seen(&disk, &plan, 3, &mounted);
    let names: Vec<&str> = boot.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["/", "/efi", "/old", "/vmlinuz-6.1"]);
}
