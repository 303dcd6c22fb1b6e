//! GRUB's first two stages on a disk for BIOS.
//!
//! In: boot.img and core.img of the tree, in /boot/grub/i386-pc or /boot/grub2/i386-pc. Out: the boot code of the MBR, and
//! the core image in the BIOS boot partition (GPT) or in the gap behind the MBR. What grub-bios-setup does on a block device, done on a file: both
//! images hold block numbers that say where the next stage begins (grub-core/boot/i386/pc/{boot,diskboot}.S).

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::family::Family;
use super::grub::Platform;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::plan::{DiskPlan, PartitionTable, Role, Support};
use crate::root::{RootPath, RootTree};

const SECTOR: usize = 512;
/// boot.img: number of the sector that holds the start of the core image.
const KERNEL_SECTOR: usize = 0x5c;
/// boot.img: a jump that is only taken for floppies; two NOPs keep the drive number that the BIOS gave.
const DRIVE_CHECK: usize = 0x66;
/// First sector of core.img: first sector, number of sectors and segment of the rest, its last 12 bytes.
const BLOCK_LIST: usize = SECTOR - 12;
/// Segment that the rest is loaded to: 0x800 for the core image, and a sector further.
const SEGMENT: u16 = 0x800 + (SECTOR as u16 >> 4);

/// Where GRUB's files for BIOS are in the image.
pub fn folder(family: Family) -> RootPath {
    family.grub_folder().join(Platform::Pc.name())
}

/// Writes the core image and returns the boot code; nothing where the plan is not for BIOS.
pub fn install(tree: &RootTree, plan: &DiskPlan, disk: &File) -> Result<Vec<u8>> {
    let folder = folder(Family::of(tree)?);
    let (boot, core) = (folder.join("boot.img"), folder.join("core.img"));
    if plan.firmware.bios == Support::No {
        return Ok(Vec::new());
    }
    if plan.firmware.bios == Support::WherePossible && !tree.exists(&core) {
        return Ok(Vec::new());
    }
    let (mut boot, mut core) = (tree.read(&boot)?, tree.read(&core)?);
    let refuse = |why: String| Error::cannot(Exit::Description, "install GRUB for BIOS").because(why);
    if boot.len() != SECTOR || core.len() < 2 * SECTOR {
        return Err(refuse(format!("boot.img or core.img in {folder} is not one")));
    }
    let (place, room) = place(plan).ok_or_else(|| refuse("there is no BIOS boot partition".into()))?;
    if core.len() as u64 > room.0 {
        return Err(refuse(format!("core.img has {} bytes and there is room for {}", core.len(), room.0)));
    }
    let first = place.sectors();
    core.resize(core.len().next_multiple_of(SECTOR), 0);
    let rest = (core.len() / SECTOR - 1) as u16;
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(first + 1).to_le_bytes());
    core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&rest.to_le_bytes());
    core[BLOCK_LIST + 10..].iter_mut().zip(SEGMENT.to_le_bytes()).for_each(|(at, byte)| *at = byte);
    boot[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&first.to_le_bytes());
    boot[DRIVE_CHECK..DRIVE_CHECK + 2].fill(0x90);
    disk.write_all_at(&core, place.0).or_cannot(|| "write the disk")?;
    Ok(boot)
}

/// Where the core image goes and how much room there is.
fn place(plan: &DiskPlan) -> Option<(Bytes, Bytes)> {
    let first = plan.partitions.iter().map(|partition| partition.start).min()?;
    match plan.table {
        PartitionTable::Msdos => Some((Bytes::SECTOR, first - Bytes::SECTOR)),
        PartitionTable::Gpt => {
            let own = plan.partitions.iter().find(|partition| partition.role == Role::BiosBoot)?;
            match own.size {
                crate::plan::PartitionSize::Fixed(size) => Some((own.start, size)),
                crate::plan::PartitionSize::ToFit => None,
            }
        }
    }
}
