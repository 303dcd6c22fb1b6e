//! /etc/fstab.
//!
//! In: the plan's filesystems, what overlays and packages put into /etc/fstab, KIWI's hooks (/etc/fstab.append, .patch
//! and .script). Out: the finished file. A line of an overlay for another mount point stays.

use super::device;
use crate::error::Result;
use crate::host::sandbox::Sandbox;
use crate::plan::{DiskPlan, Filesystem, FilesystemKind, GrowRoot, Role};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};

const FSTAB: &str = "/etc/fstab";

/// Writes it. The hooks run in the image and are gone afterwards.
pub fn write(plan: &DiskPlan, tree: &RootTree, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
    let path = RootPath::new(FSTAB);
    let old = tree.read_if_there(&path)?.unwrap_or_default();
    let append = RootPath::new("/etc/fstab.append");
    let appended = tree.read_if_there(&append)?.unwrap_or_default();
    tree.write(&path, text(plan, &old, &appended), 0o644)?;
    tree.remove(&append)?;
    let patch = RootPath::new("/etc/fstab.patch");
    if tree.exists(&patch) {
        sandbox.run(reporter, &["patch", FSTAB, "/etc/fstab.patch"])?;
        tree.remove(&patch)?;
    }
    let script = RootPath::new("/etc/fstab.script");
    if tree.exists(&script) {
        sandbox.run(reporter, &["sh", "/etc/fstab.script"])?;
        tree.remove(&script)?;
    }
    for (_, filesystem) in mounted(plan) {
        tree.create_folders(&RootPath::new(&filesystem.mount_point), 0o755)?;
    }
    Ok(())
}

fn mounted(plan: &DiskPlan) -> impl Iterator<Item = (&crate::plan::Partition, &Filesystem)> {
    let all = plan.partitions.iter().filter_map(|partition| Some((partition, partition.filesystem.as_ref()?)));
    all.filter(|(_, filesystem)| filesystem.mount_point.starts_with('/'))
}

/// Our lines, those of `old` that name other mount points, what is to be appended.
fn text(plan: &DiskPlan, old: &[u8], appended: &[u8]) -> Vec<u8> {
    let mut text = b"# device mount-point type options dump check\n".to_vec();
    let (mut lines, mut points) = (Vec::new(), Vec::new());
    let all = plan.partitions.iter().filter_map(|partition| Some((partition, partition.filesystem.as_ref()?)));
    for (partition, filesystem) in all {
        let (kind, check) = match filesystem.kind {
            FilesystemKind::Ext4 => ("ext4", if partition.role == Role::Root { 1 } else { 2 }),
            FilesystemKind::Ext3 => ("ext3", if partition.role == Role::Root { 1 } else { 2 }),
            FilesystemKind::Ext2 => ("ext2", if partition.role == Role::Root { 1 } else { 2 }),
            FilesystemKind::Vfat => ("vfat", 0),
            FilesystemKind::Swap => ("swap", 0),
        };
        let mut options: Vec<&str> = filesystem.mount_options.iter().map(String::as_str).collect();
        if options.is_empty() {
            options.push("defaults");
        }
        let grows = plan.grow_root != GrowRoot::No && partition.role == Role::Root;
        if grows && !super::is_read_only(plan) {
            options.push("x-systemd.growfs");
        }
        let point = if filesystem.kind == FilesystemKind::Swap { "none" } else { &filesystem.mount_point };
        let device = device::name(plan, partition, filesystem);
        lines.push((
            point.matches('/').count() + usize::from(point != "/"),
            point,
            format!("{device} {} {kind} {} 0 {check}\n", escaped(point), options.join(",")),
        ));
        points.push(escaped(point));
    }
    // A mount point comes before those below it.
    lines.sort();
    lines.iter().for_each(|(_, _, line)| text.extend(line.as_bytes()));
    for line in old.split(|byte| *byte == b'\n') {
        let words: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        let is_ours =
            words.get(1).is_some_and(|point| *point != b"none" && points.iter().any(|own| own.as_bytes() == *point));
        if words.is_empty() || words[0].starts_with(b"#") || is_ours {
            continue;
        }
        text.extend(line);
        text.push(b'\n');
    }
    text.extend(appended);
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text
}

/// Blanks as fstab(5) writes them.
fn escaped(point: &str) -> String {
    point.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}
