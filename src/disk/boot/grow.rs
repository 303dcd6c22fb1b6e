//! The root partition and its filesystem grow when the system starts: to the disk's end, or to a limit.
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

/// The filesystem is grown by the kernel; growpart ends with 1 where there is nothing to do. `LIMIT` stands for a number of
/// sectors; a GPT's second copy needs some behind the last partition, and less than a MiB.
const SCRIPT: &str = r#"#!/bin/sh
# Grows the last partition, which holds /, and its filesystem: to the end of the disk, or to so many sectors.
set -e
limit=LIMIT
device=$(readlink -f "$(findmnt --noheadings --output SOURCE /)")
name=${device##*/}
number=$(cat "/sys/class/block/$name/partition")
disk=$(readlink -f "/sys/class/block/$name/..")
disk=/dev/${disk##*/}
of() { cat "/sys/class/block/$1"; }
size=+
if [ "$limit" -gt 0 ] && [ "$limit" -lt $(($(of "${disk##*/}/size") - $(of "$name/start") - 2048)) ]; then
    size=$limit
fi
if [ "$limit" -gt 0 ] && [ "$limit" -le "$(of "$name/size")" ]; then
    : # It is as large as it may be.
elif [ "$size" = + ] && command -v growpart >/dev/null; then
    growpart "$disk" "$number" || [ $? -eq 1 ]
else
    echo ", $size" | sfdisk --quiet --force --no-reread --no-tell-kernel -N "$number" "$disk"
    partx --update --nr "$number" "$disk"
fi
resize2fs "$device"
"#;

/// Prepares it where the plan asks for it. 65 where the image has nothing to grow with, naming the packages.
pub fn prepare(plan: &DiskPlan, tree: &RootTree, reporter: &Reporter) -> Result<()> {
    let limit = match plan.grow_root {
        GrowRoot::No => return Ok(()),
        GrowRoot::AtFirstBoot => None,
        GrowRoot::UpTo(most) => Some(most),
    };
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
            let most = limit.map(|most| format!("SizeMaxBytes={}\n", most.0)).unwrap_or_default();
            return tree.write(&path, format!("[Partition]\nType=root\n{most}"), 0o644);
        }
        if let Some(most) = limit {
            let text = format!("the root may grow beyond {most} (oem-systemsize): the image brings its own {path}");
            reporter.warn(Warning { text, place: None });
        }
        return Ok(());
    }
    // growpart knows no limit.
    let can_grow = limit.is_none() && has(&["growpart"]) || has(&["sfdisk", "partx"]);
    let is_able = has(&["systemd", "findmnt", "resize2fs"]) && can_grow;
    if !is_able {
        let package = Family::of(tree)?.growing_packages(plan.table);
        return Err(Error::cannot(Exit::Description, "let the root filesystem grow at first boot (oem-resize)")
            .because(
                "the image has neither systemd-repart with a GPT, nor growpart or sfdisk with resize2fs and systemd",
            )
            .hint(match limit {
                None => format!("add {package} to the image's packages, or say <oem-resize>false</oem-resize>"),
                Some(_) => {
                    "up to a limit (oem-systemsize) systemd-repart grows it, or sfdisk, partx and resize2fs do: add \
                            their packages"
                        .to_string()
                }
            }));
    }
    let script = SCRIPT.replace("LIMIT", &limit.map_or(0, |most| most.sectors()).to_string());
    tree.write(&RootPath::new("/usr/lib/grow-root/grow-root"), script, 0o755)?;
    let units = RootPath::new("/etc/systemd/system");
    tree.write(&units.join("grow-root.service"), UNIT, 0o644)?;
    tree.symlink("../grow-root.service", &units.join("local-fs.target.wants/grow-root.service"))
}
