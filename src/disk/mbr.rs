//! The master boot record: partition table of old disks, and the shield in front of a GPT.
//!
//! In: up to four primary partitions, a disk signature, boot code. Out: sector 0. And back, from any disk, logical
//! partitions included. Never trusts what it reads: every number is checked against the disk.

use std::io::{Read, Seek};

use super::table::{Listed, PartitionType, damaged, read_at};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, Result};

/// Where the disk signature stands in sector 0; boot code ends before it.
pub const SIGNATURE: usize = 440;
const ENTRIES: usize = 446;
/// More logical partitions than this are a loop or an attack.
const MOST_LOGICAL: u32 = 128;

/// Linux, swap, EFI system partition, the shield of a GPT: partition types of the MBR.
pub mod kind {
    /// A Linux filesystem.
    pub const LINUX: u8 = 0x83;
    /// Linux swap.
    pub const SWAP: u8 = 0x82;
    /// EFI system partition (UEFI 2.10, 5.2.2).
    pub const ESP: u8 = 0xef;
    /// The whole disk belongs to a GPT.
    pub const PROTECTIVE: u8 = 0xee;
}

/// Whether the BIOS starts from a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// Flag 0x80: some BIOSes refuse a disk without one.
    Yes,
    /// Flag 0.
    No,
}

/// A primary partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MbrPartition {
    /// 1 to 4.
    pub number: u32,
    /// Type byte.
    pub kind: u8,
    /// The boot flag.
    pub active: Active,
    /// Offset on the disk, whole sectors.
    pub start: Bytes,
    /// Length, whole sectors.
    pub size: Bytes,
}

/// Sector 0. `boot_code` fills at most the first 440 bytes. 65 where a partition lies beyond 2 TiB.
pub fn boot_record(boot_code: &[u8], signature: u32, partitions: &[MbrPartition]) -> Result<[u8; 512]> {
    let mut sector = [0; 512];
    let code = boot_code.len().min(SIGNATURE);
    sector[..code].copy_from_slice(&boot_code[..code]);
    sector[SIGNATURE..SIGNATURE + 4].copy_from_slice(&signature.to_le_bytes());
    for partition in partitions {
        let index = partition.number.wrapping_sub(1) as usize;
        let start = u32::try_from(partition.start.sectors());
        let sectors = u32::try_from(partition.size.sectors());
        let (Ok(start), Ok(sectors), 0..4) = (start, sectors, index) else {
            return Err(Error::cannot(Exit::Description, format!("write partition {} into an MBR", partition.number))
                .because("an MBR holds four primary partitions below 2 TiB")
                .hint("use efiparttable=\"gpt\""));
        };
        let entry = &mut sector[ENTRIES + 16 * index..][..16];
        entry[0] = if partition.active == Active::Yes { 0x80 } else { 0 };
        entry[1..4].copy_from_slice(&cylinder_head_sector(start));
        entry[4] = partition.kind;
        entry[5..8].copy_from_slice(&cylinder_head_sector(start.saturating_add(sectors.saturating_sub(1))));
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}

/// The shield in front of a GPT (UEFI 2.10, 5.2.3): one partition of type 0xEE from sector 1 on.
pub fn protective_record(boot_code: &[u8], disk: Bytes) -> Result<[u8; 512]> {
    let sectors = (disk.sectors() - 1).min(u64::from(u32::MAX));
    let shield = MbrPartition {
        number: 1,
        kind: kind::PROTECTIVE,
        active: Active::No,
        start: Bytes(512),
        size: Bytes(sectors * 512),
    };
    boot_record(boot_code, 0, &[shield])
}

/// A block address as the BIOS of 1990 wrote it, on the usual 255 heads of 63 sectors; too far: all ones.
fn cylinder_head_sector(block: u32) -> [u8; 3] {
    let (sector, track) = (block % 63 + 1, block / 63);
    let (head, cylinder) = (track % 255, track / 255);
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    [head as u8, (sector | (cylinder >> 2 & 0xc0)) as u8, cylinder as u8]
}

/// The raw entries of a boot record: type, first sector, number of sectors. `None` where there is no table.
pub(super) fn entries(sector: &[u8]) -> Option<[(u8, u64, u64); 4]> {
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return None;
    }
    let mut found = [(0, 0, 0); 4];
    for (index, found) in found.iter_mut().enumerate() {
        let entry = &sector[ENTRIES + 16 * index..][..16];
        let number =
            |at: usize| u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
        // A boot sector of a filesystem ends in 55 AA too, but has code where the flags would be.
        if entry[0] & 0x7f != 0 {
            return None;
        }
        *found = (entry[4], number(8), number(12));
    }
    Some(found)
}

/// Primary partitions, then the logical ones of an extended partition, numbered as Linux does.
pub(super) fn read(disk: &mut (impl Read + Seek), size: Bytes, sector: &[u8]) -> Result<Vec<Listed>> {
    let Some(primary) = entries(sector) else { return Ok(Vec::new()) };
    let sectors = size.0 / 512;
    let mut found = Vec::new();
    let mut list = |number: u32, kind: u8, start: u64, length: u64| {
        if start == 0 || length == 0 || start.checked_add(length).is_none_or(|end| end > sectors) {
            return Err(damaged(format!("partition {number} does not lie on the disk")));
        }
        let (start, size) = (Bytes(start * 512), Bytes(length * 512));
        found.push(Listed { number, kind: PartitionType::Mbr(kind), start, size, name: String::new() });
        Ok(())
    };
    let mut extended = None;
    for (number, (kind, start, length)) in (1..).zip(primary) {
        match kind {
            0 => {}
            0x05 | 0x0f | 0x85 => extended = Some(start),
            kind => list(number, kind, start, length)?,
        }
    }
    let Some(base) = extended else { return Ok(found) };
    let mut at = base;
    for number in 5.. {
        if number - 5 >= MOST_LOGICAL {
            return Err(damaged("the chain of logical partitions has no end"));
        }
        if at >= sectors {
            return Err(damaged("the chain of logical partitions leaves the disk"));
        }
        let mut record = [0; 512];
        read_at(disk, at * 512, &mut record)?;
        let Some([(kind, start, length), (_, next, _), ..]) = entries(&record) else {
            return Err(damaged("a link of the chain of logical partitions is not a boot record"));
        };
        if kind != 0 {
            list(number, kind, at + start, length)?;
        }
        if next == 0 {
            break;
        }
        at = base + next;
    }
    Ok(found)
}
