//! The root partition and its filesystem grow to the disk's size when the system starts.
//!
//! In: what the image has for it. Out: configuration of systemd-repart (fstab's `x-systemd.growfs` does the filesystem),
//! else a unit of ours that calls growpart or sfdisk and then resize2fs. Never runs anything now.

use super::family::Family;
use super::is_read_only;
use crate::error::{Error, Exit, Result};
use crate::plan::{DiskPlan, GrowRoot, PartitionTable, Warning};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};

const UNIT: &str = "\
[Unit]
Description=Grow the root partition to its disk
DefaultDependencies=no
Conflicts=shutdown.target
After=systemd-remount-fs.service
Before=local-fs.target shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/grow-root/grow-root
";

/// The filesystem is grown by the kernel; sfdisk and growpart end with 1 where there is nothing to do.
const SCRIPT: &str = r#"#!/bin/sh
# Grows the last partition, which holds /, and its filesystem to the end of the disk.
set -e
device=$(readlink -f "$(findmnt --noheadings --output SOURCE /)")
name=${device##*/}
number=$(cat "/sys/class/block/$name/partition")
disk=$(readlink -f "/sys/class/block/$name/..")
disk=/dev/${disk##*/}
if command -v growpart >/dev/null; then
    growpart "$disk" "$number" || [ $? -eq 1 ]
else
    echo ', +' | sfdisk --quiet --force --no-reread --no-tell-kernel -N "$number" "$disk"
    partx --update --nr "$number" "$disk"
fi
resize2fs "$device"
"#;

/// Prepares it where the plan asks for it. 65 where the image has nothing to grow with, naming the packages.
pub fn prepare(plan: &DiskPlan, tree: &RootTree, reporter: &Reporter) -> Result<()> {
    if plan.grow_root == GrowRoot::No {
        return Ok(());
    }
    if is_read_only(plan) {
        let text = "the root filesystem does not grow at first boot: it is mounted read-only".to_string();
        reporter.warn(Warning { text, place: None });
        return Ok(());
    }
    let has = |names: &[&str]| {
        let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib/systemd", "/lib/systemd"];
        let is_there =
            |name: &&str| folders.iter().any(|folder| tree.exists(&RootPath::new(*folder).join(name.as_bytes())));
        names.iter().all(is_there)
    };
    // systemd-repart knows GPT only.
    if plan.table == PartitionTable::Gpt && has(&["systemd-repart", "systemd-growfs"]) {
        let path = RootPath::new("/etc/repart.d/50-root.conf");
        if !tree.exists(&path) {
            tree.write(&path, "[Partition]\nType=root\n", 0o644)?;
        }
        return Ok(());
    }
    let is_able = has(&["systemd", "findmnt", "resize2fs"]) && (has(&["growpart"]) || has(&["sfdisk", "partx"]));
    if !is_able {
        let package = Family::of(tree)?.growing_packages(plan.table);
        return Err(Error::cannot(Exit::Description, "let the root filesystem grow at first boot (oem-resize)")
            .because(
                "the image has neither systemd-repart with a GPT, nor growpart or sfdisk with resize2fs and systemd",
            )
            .hint(format!("add {package} to the image's packages, or say <oem-resize>false</oem-resize>")));
    }
    tree.write(&RootPath::new("/usr/lib/grow-root/grow-root"), SCRIPT, 0o755)?;
    let units = RootPath::new("/etc/systemd/system");
    tree.write(&units.join("grow-root.service"), UNIT, 0o644)?;
    tree.symlink("../grow-root.service", &units.join("local-fs.target.wants/grow-root.service"))
}
