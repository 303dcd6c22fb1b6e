//! The whole disk.
//!
//! In: a scrubbed tree, a plan. Out: a sparse raw file: every filesystem in its byte range, the partition table at both
//! ends, GRUB's first stages between them. Never syncs (the release does) and never writes what is zero.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::filesystem::{Room, content, ext, swap, vfat};
use super::gpt::{self, Attributes, GptPartition};
use super::mbr::{self, Active, MbrPartition};
use super::{RawDisk, boot};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::plan::{DiskPlan, DiskSize, Filesystem, FilesystemKind, Partition, PartitionSize, PartitionTable, Role};
use crate::report::{Reporter, Step};
use crate::root::RootPath;
use crate::scrub::ScrubbedTree;

/// Partitions end at multiples of this.
const ALIGNMENT: Bytes = Bytes::mib(1);

/// Writes `path`, which must not exist. 65 where the content does not fit what the description asks for.
pub fn write(tree: &ScrubbedTree, plan: &DiskPlan, path: &Path, reporter: &Reporter) -> Result<RawDisk> {
    let step = reporter.step("disk");
    let file = file::create(path)?;
    let writer = Writer { tree, plan, file: &file, scratch: path.parent().unwrap_or(Path::new(".")), step: &step };
    let (size, ranges) = writer.partitions()?;
    file.set_len(size.0).or_cannot(|| format!("make {} {size} long", path.display()))?;
    writer.table(size, &ranges)?;
    step.finish(&summary(plan, size, &ranges));
    Ok(RawDisk { path: path.to_path_buf(), size })
}

struct Writer<'a> {
    tree: &'a ScrubbedTree,
    plan: &'a DiskPlan,
    file: &'a File,
    scratch: &'a Path,
    step: &'a Step,
}

/// Offset and length of a partition.
type Range = (Bytes, Bytes);

impl Writer<'_> {
    /// Writes what is in the partitions. Gives the disk's size and the partitions' ranges.
    fn partitions(&self) -> Result<(Bytes, Vec<Range>)> {
        let partitions = &self.plan.partitions;
        let mut ranges = Vec::new();
        let mut end = Bytes::ZERO;
        for (index, partition) in partitions.iter().enumerate() {
            let refuse = |why: &str| {
                Err(Error::cannot(Exit::Bug, format!("lay out partition {}", partition.number)).because(why))
            };
            if partition.start < end {
                return refuse("it begins before the one in front of it ends");
            }
            let size = match (partition.size, partitions.get(index + 1)) {
                (PartitionSize::Fixed(size), _) => Some(size),
                (PartitionSize::ToFit, Some(next)) => Some(Bytes(next.start.0.saturating_sub(partition.start.0))),
                (PartitionSize::ToFit, None) => None,
            };
            let room = match (size, self.plan.size) {
                (Some(size), _) => Room::Exactly(size),
                (None, DiskSize::ToFit) => Room::Headroom,
                (None, DiskSize::ContentPlus(free)) => Room::Free(free),
                (None, DiskSize::Exactly(disk)) => {
                    let taken = partition.start + self.plan.unpartitioned + self.behind();
                    Room::Exactly(Bytes(disk.0.saturating_sub(taken.0)).align_down(ALIGNMENT))
                }
            };
            let size = match &partition.filesystem {
                Some(filesystem) => self.filesystem(partition, filesystem, room)?,
                None => match room {
                    Room::Exactly(size) => size,
                    _ => return refuse("nothing says how long it is"),
                },
            };
            end = partition.start + size;
            ranges.push((partition.start, size));
        }
        let needed = end + self.plan.unpartitioned + self.behind();
        let size = match self.plan.size {
            DiskSize::Exactly(size) if size < needed => {
                return Err(Error::cannot(Exit::Description, "fit the partitions on the disk")
                    .because(format!("<size> is {} bytes, and they need {}", size.0, needed.0)));
            }
            DiskSize::Exactly(size) => size.align_down(Bytes::SECTOR),
            _ => needed.align_up(ALIGNMENT).align_up(self.plan.unit),
        };
        Ok((size, ranges))
    }

    /// What the table takes at the end of the disk.
    fn behind(&self) -> Bytes {
        if self.plan.table == PartitionTable::Gpt { gpt::TAIL } else { Bytes::ZERO }
    }

    /// Writes a filesystem and returns the length of its partition.
    fn filesystem(&self, partition: &Partition, filesystem: &Filesystem, room: Room) -> Result<Bytes> {
        let tree = self.tree.tree();
        let epoch = self.tree.epoch();
        let mounted = |filesystem: &Filesystem| {
            let is_mounted = filesystem.kind != FilesystemKind::Swap && filesystem.mount_point.starts_with('/');
            is_mounted.then(|| RootPath::new(&filesystem.mount_point))
        };
        let read = || {
            let mount_point = RootPath::new(&filesystem.mount_point);
            let all = self.plan.partitions.iter().filter_map(|partition| partition.filesystem.as_ref());
            let elsewhere: Vec<RootPath> = all.filter_map(mounted).filter(|other| *other != mount_point).collect();
            content::read(tree, &mount_point, &elsewhere)
        };
        self.step.now(&filesystem.mount_point);
        let exactly = |size| Error::cannot(Exit::Bug, "size a partition").because(format!("{size:?} is not a length"));
        match filesystem.kind {
            FilesystemKind::Ext2 | FilesystemKind::Ext3 | FilesystemKind::Ext4 => {
                let content = read()?;
                self.step.total(content.nodes.iter().filter(|node| !node.data.is_empty()).count() as u64);
                let filled = ext::fill(&content, filesystem, room, epoch, self.scratch, self.step.reporter())?;
                filled.write(tree, self.file, partition.start, self.step)?;
                Ok(if let Room::Exactly(size) = room { size } else { filled.size() })
            }
            FilesystemKind::Vfat => {
                let Room::Exactly(size) = room else { return Err(exactly(room)) };
                vfat::write(&read()?, filesystem, tree, epoch, self.file, (partition.start, size))?;
                Ok(size)
            }
            FilesystemKind::Swap => {
                let Room::Exactly(size) = room else { return Err(exactly(room)) };
                let header = swap::header(filesystem, size)?;
                self.file.write_all_at(&header, partition.start.0).or_cannot(|| "write the disk")?;
                Ok(size)
            }
        }
    }

    /// Partition table and BIOS boot code.
    fn table(&self, size: Bytes, ranges: &[Range]) -> Result<()> {
        let partitions = self.plan.partitions.iter().zip(ranges);
        let bios = boot::bios::install(self.tree.tree(), self.plan, self.file)?;
        match self.plan.table {
            PartitionTable::Gpt => {
                let rows: Vec<GptPartition> = partitions
                    .map(|(partition, (start, size))| GptPartition {
                        number: partition.number,
                        kind: gpt_kind(partition, &self.plan.arch),
                        uuid: partition.uuid,
                        start: *start,
                        size: *size,
                        name: partition.name.clone(),
                        attributes: Attributes::default(),
                    })
                    .collect();
                let ends = gpt::write(size, self.plan.disk_id, &rows, &bios)?;
                self.file.write_all_at(&ends.head, 0).or_cannot(|| "write the disk")?;
                self.file.write_all_at(&ends.tail, size.0 - gpt::TAIL.0).or_cannot(|| "write the disk")
            }
            PartitionTable::Msdos => {
                let rows: Vec<MbrPartition> = partitions
                    .map(|(partition, (start, size))| MbrPartition {
                        number: partition.number,
                        kind: mbr_kind(partition),
                        active: if starts_the_system(partition, self.plan) { Active::Yes } else { Active::No },
                        start: *start,
                        size: *size,
                    })
                    .collect();
                let record = mbr::boot_record(&bios, self.plan.disk_id.short(), &rows)?;
                self.file.write_all_at(&record, 0).or_cannot(|| "write the disk")
            }
        }
    }
}

fn gpt_kind(partition: &Partition, arch: &str) -> crate::plan::Uuid {
    match partition.role {
        Role::BiosBoot => gpt::kind::BIOS_BOOT,
        Role::Esp => gpt::kind::ESP,
        Role::Boot => gpt::kind::BOOT,
        Role::Swap => gpt::kind::SWAP,
        Role::Root => gpt::kind::root(arch),
    }
}

fn mbr_kind(partition: &Partition) -> u8 {
    match partition.role {
        Role::Esp => mbr::kind::ESP,
        Role::Swap => mbr::kind::SWAP,
        Role::BiosBoot | Role::Boot | Role::Root => mbr::kind::LINUX,
    }
}

/// GRUB does not need the flag; some BIOSes do not try a disk without one.
fn starts_the_system(partition: &Partition, plan: &DiskPlan) -> bool {
    let has_boot = plan.partitions.iter().any(|partition| partition.role == Role::Boot);
    partition.role == if has_boot { Role::Boot } else { Role::Root }
}

/// `1.1 GB: BIOS boot, ESP 64 MB, root ext4 1.0 GB`.
fn summary(plan: &DiskPlan, size: Bytes, ranges: &[Range]) -> String {
    let parts = plan.partitions.iter().zip(ranges).map(|(partition, (_, size))| {
        let kind = partition.filesystem.as_ref().map(|filesystem| match filesystem.kind {
            FilesystemKind::Ext2 => "ext2 ",
            FilesystemKind::Ext3 => "ext3 ",
            FilesystemKind::Ext4 => "ext4 ",
            FilesystemKind::Vfat | FilesystemKind::Swap => "",
        });
        match partition.role {
            Role::BiosBoot => "BIOS boot".to_string(),
            Role::Esp => format!("ESP {size}"),
            Role::Boot => format!("boot {}{size}", kind.unwrap_or("")),
            Role::Swap => format!("swap {size}"),
            Role::Root => format!("root {}{size}", kind.unwrap_or("")),
        }
    });
    format!("{size}: {}", parts.collect::<Vec<_>>().join(", "))
}
