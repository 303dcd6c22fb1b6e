//! What a BIOS would start from a disk.
//!
//! In: the first sectors of a disk and its partitions. Out: a [`BootCode`]. Follows GRUB's boot.img to the core image that
//! it loads (grub-core/boot/i386/pc/{boot,diskboot}.S); other boot loaders are only recognised as such.

use std::io::{Read, Seek};

use super::evidence::read_at;
use crate::bytes::Bytes;
use crate::disk::gpt::kind::BIOS_BOOT;
use crate::disk::table::{Listed, PartitionType};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootCode {
    /// None: a BIOS starts nothing.
    Nothing,
    /// GRUB, and the core image that it loads, in this place.
    Grub(String),
    /// GRUB, and what it would load is no core image.
    Broken(String),
    /// Something else.
    Other,
}

/// boot.img: number of the sector with the start of the core image.
const KERNEL_SECTOR: usize = 0x5c;
/// diskboot.img, the first sector of the core image: first sector and number of sectors of the rest, in its last bytes.
const BLOCK_LIST: usize = 500;

/// Looks at the boot code in sector 0.
pub fn look(disk: &mut (impl Read + Seek), size: Bytes, partitions: &[Listed]) -> BootCode {
    let record = read_at(disk, 0, 512);
    let Some(code) = record.get(..440) else { return BootCode::Nothing };
    if code.iter().all(|byte| *byte == 0) {
        return BootCode::Nothing;
    }
    if !code.windows(4).any(|word| word == b"GRUB") {
        return BootCode::Other;
    }
    let number = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    };
    let first = number(&record, KERNEL_SECTOR);
    let inside = |sector: u64| sector.checked_mul(512).is_some_and(|at| at < size.0);
    if first == 0 || !inside(first) {
        return BootCode::Broken(format!("GRUB's boot code loads sector {first}, which is not on the disk"));
    }
    let sector = read_at(disk, first * 512, 512);
    if sector.iter().all(|byte| *byte == 0) {
        return BootCode::Broken(format!("GRUB's boot code loads sector {first}, and nothing stands there"));
    }
    let (rest, sectors) = (number(&sector, BLOCK_LIST), number(&sector, BLOCK_LIST + 4) >> 32 & 0xffff);
    if !inside(rest) || !inside(rest.saturating_add(sectors)) || sectors == 0 {
        return BootCode::Broken(format!("the core image in sector {first} does not say where its rest is"));
    }
    if read_at(disk, rest * 512, 512).iter().all(|byte| *byte == 0) {
        return BootCode::Broken(format!(
            "the rest of the core image should be in sector {rest}: nothing stands there"
        ));
    }
    let at = Bytes(first * 512);
    let holder = partitions.iter().find(|partition| partition.start <= at && at < partition.start + partition.size);
    BootCode::Grub(match holder {
        Some(partition) if partition.kind == PartitionType::Gpt(BIOS_BOOT) => {
            format!("core image in the BIOS boot partition {}", partition.number)
        }
        Some(partition) => format!("core image inside partition {}", partition.number),
        None => "core image in front of the first partition".into(),
    })
}
