//! A VHDX's headers, regions and metadata (MS-VHDX 2.2 to 2.6).
//!
//! In: what they say. Out: their bytes, checksums included; and back. All numbers are little-endian, GUIDs mixed.

use std::fs::File;

use crate::error::Result;
use crate::format::mapped::{damaged, read_table};
use crate::plan::{Seed, Uuid};

/// What the file begins with.
pub const SIGNATURE: &[u8; 8] = b"vhdxfile";
/// Regions lie at multiples of this.
pub const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
const REGIONS: [u64; 2] = [192 * KIB, 256 * KIB];
const HEADER_LENGTH: u64 = 4 * KIB;
const REGION_LENGTH: u64 = 64 * KIB;
const LOG: (u64, u64) = (MIB, MIB);
const METADATA: (u64, u64) = (2 * MIB, MIB);
/// Where the first item of the metadata lies in its region.
const ITEMS: u32 = 64 << 10;

const BAT_REGION: &str = "2dc27766-f623-4200-9d64-115e9bfd4a08";
const METADATA_REGION: &str = "8b7ca206-4790-4b9a-b8fe-575f050f886e";
const FILE_PARAMETERS: &str = "caa16737-fa36-4d43-b3b6-33f0aa44e76b";
const DISK_SIZE: &str = "2fa54224-cd1b-4876-b211-5dbed83bf4b8";
const PAGE_83: &str = "beca12ab-b2e6-4523-93ef-c309e000c746";
const LOGICAL_SECTOR: &str = "8141bf1d-a96f-4709-ba47-f233a8faab5f";
const PHYSICAL_SECTOR: &str = "cda348c7-445d-4471-9cc9-e9885251c556";

/// A well-known id as it is stored.
fn guid(text: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let digits = text.bytes().filter_map(|byte| char::from(byte).to_digit(16));
    digits.enumerate().for_each(|(at, digit)| bytes[at / 2] = bytes[at / 2] << 4 | digit as u8);
    Uuid(bytes).to_gpt()
}

/// CRC-32C (Castagnoli), as iSCSI and ext4 use it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// The checksum is at 4 of each structure, and counted as zero.
fn sum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[4..8].fill(0);
    let sum = crc(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn is_sound(bytes: &[u8], signature: &[u8; 4]) -> bool {
    bytes.starts_with(signature) && sum(bytes.to_vec()) == bytes
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// What the metadata says.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    /// Length of a block in bytes.
    pub block: u32,
    /// Whether it holds only what differs from another image.
    pub has_parent: bool,
    /// Size of the virtual disk in bytes.
    pub size: u64,
    /// Length of a sector in bytes.
    pub sector: u32,
}

impl Metadata {
    /// So many blocks are followed by an entry of a bitmap, which only differencing disks use.
    fn chunk(&self) -> u64 {
        (u64::from(self.sector) << 23) / u64::from(self.block)
    }

    /// Number of the entry of a block.
    pub fn entry(&self, block: u64) -> u64 {
        block + block / self.chunk()
    }

    /// How many entries the table has.
    pub fn entries(&self) -> u64 {
        self.entry(self.size.div_ceil(self.block.into()).saturating_sub(1)) + 1
    }

    fn region(&self, seed: &Seed) -> Vec<u8> {
        let parameters =
            [self.block.to_le_bytes(), u32::from(self.has_parent).to_le_bytes().map(|bit| bit << 1)].concat();
        // Flags: 4 required, 2 of the virtual disk.
        let items: [(&str, u32, Vec<u8>); 5] = [
            (FILE_PARAMETERS, 4, parameters),
            (DISK_SIZE, 6, self.size.to_le_bytes().to_vec()),
            (PAGE_83, 6, seed.uuid("vhdx disk").to_gpt().to_vec()),
            (LOGICAL_SECTOR, 6, self.sector.to_le_bytes().to_vec()),
            (PHYSICAL_SECTOR, 6, self.sector.to_le_bytes().to_vec()),
        ];
        let mut table = b"metadata\0\0".to_vec();
        table.extend((items.len() as u16).to_le_bytes());
        table.resize(32, 0);
        let mut content = Vec::new();
        for (id, flags, value) in items {
            table.extend(guid(id));
            for number in [ITEMS + content.len() as u32, value.len() as u32, flags, 0] {
                table.extend(number.to_le_bytes());
            }
            content.extend(value);
        }
        table.resize(ITEMS as usize, 0);
        [table, content].concat()
    }

    /// Reads the metadata of an image.
    pub fn read(file: &File, regions: &Regions) -> Result<Metadata> {
        let (start, length) = regions.metadata;
        let region = read_table(file, "vhdx", "the metadata", start, length.min(2 * MIB))?;
        let entries = region.get(10..12).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]));
        if !region.starts_with(b"metadata") || region.len() < ITEMS as usize || entries > 2047 {
            return Err(damaged("vhdx", "its metadata is missing"));
        }
        let item = |id: &str, length: usize| {
            let entries = region[32..].chunks_exact(32).take(entries.into());
            let entry = entries.into_iter().find(|entry| entry[..16] == guid(id));
            let at = entry.map(|entry| number(entry, 16) as usize);
            at.and_then(|at| region.get(at..at.checked_add(length)?))
                .ok_or_else(|| damaged("vhdx", format!("its metadata lacks the item {id}")))
        };
        let parameters = item(FILE_PARAMETERS, 8)?;
        Ok(Metadata {
            block: number(parameters, 0),
            has_parent: number(parameters, 4) & 2 != 0,
            size: long(item(DISK_SIZE, 8)?, 0),
            sector: number(item(LOGICAL_SECTOR, 4)?, 0),
        })
    }
}

/// Everything in front of the table of blocks, each with its offset; the table lies at `bat` and takes `length`.
pub fn beginning(seed: &Seed, metadata: &Metadata, bat: u64, length: u64) -> Vec<(u64, Vec<u8>)> {
    let creator = concat!("ingot ", env!("CARGO_PKG_VERSION")).encode_utf16().flat_map(u16::to_le_bytes);
    let mut parts = vec![(0, SIGNATURE.iter().copied().chain(creator).collect())];
    for (number, offset) in HEADERS.into_iter().enumerate() {
        let mut header = b"head\0\0\0\0".to_vec();
        // The header with the larger number is the current one.
        header.extend((number as u64 + 1).to_le_bytes());
        for label in ["vhdx file", "vhdx data"] {
            header.extend(seed.uuid(label).to_gpt());
        }
        // No log to replay, its version 0; version 1 of the format.
        header.extend([0; 16]);
        header.extend([0, 0, 1, 0]);
        header.extend((LOG.1 as u32).to_le_bytes());
        header.extend(LOG.0.to_le_bytes());
        header.resize(HEADER_LENGTH as usize, 0);
        parts.push((offset, sum(header)));
    }
    let mut table = b"regi\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
    for (id, (start, length)) in [(BAT_REGION, (bat, length)), (METADATA_REGION, METADATA)] {
        table.extend(guid(id));
        table.extend(start.to_le_bytes());
        table.extend((length as u32).to_le_bytes());
        table.extend(1_u32.to_le_bytes());
    }
    table.resize(REGION_LENGTH as usize, 0);
    let table = sum(table);
    parts.extend(REGIONS.map(|offset| (offset, table.clone())));
    parts.push((METADATA.0, metadata.region(seed)));
    parts
}

/// Where regions lie, with their lengths.
#[derive(Clone, Copy, Debug)]
pub struct Regions {
    /// The table of blocks.
    pub bat: (u64, u64),
    /// The metadata.
    pub metadata: (u64, u64),
}

/// Reads headers and region tables. 65 where both of a kind are damaged, or where a log must be replayed first.
pub fn regions(file: &File) -> Result<Regions> {
    let mut current: Option<Vec<u8>> = None;
    for offset in HEADERS {
        let header = read_table(file, "vhdx", "a header", offset, HEADER_LENGTH)?;
        let newer = current.as_ref().is_none_or(|current| long(current, 8) < long(&header, 8));
        if is_sound(&header, b"head") && newer {
            current = Some(header);
        }
    }
    let header = current.ok_or_else(|| damaged("vhdx", "both of its headers are damaged"))?;
    if header[48..64] != [0; 16] {
        return Err(
            damaged("vhdx", "it was not closed: its log must be replayed").hint("`qemu-img check -r all` replays it")
        );
    }
    for offset in REGIONS {
        let table = read_table(file, "vhdx", "a region table", offset, REGION_LENGTH)?;
        if !is_sound(&table, b"regi") {
            continue;
        }
        let region = |id: &str| {
            let entries = table[16..].chunks_exact(32).take(number(&table, 8).min(2047) as usize);
            let entry = entries.into_iter().find(|entry| entry[..16] == guid(id));
            entry.map(|entry| (long(entry, 16), u64::from(number(entry, 24))))
        };
        if let (Some(bat), Some(metadata)) = (region(BAT_REGION), region(METADATA_REGION)) {
            return Ok(Regions { bat, metadata });
        }
    }
    Err(damaged("vhdx", "both of its region tables are damaged"))
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatEntry {
    /// Nowhere: zeros.
    Zero,
    /// At this offset, a multiple of 1 MiB.
    At(u64),
}

impl BatEntry {
    /// As it is stored.
    pub fn encode(self) -> u64 {
        match self {
            BatEntry::Zero => 2,
            BatEntry::At(offset) => offset | 6,
        }
    }

    /// `None` for a state that only differencing disks have, or none.
    pub fn decode(entry: u64) -> Option<BatEntry> {
        match entry & 7 {
            0..=3 => Some(BatEntry::Zero),
            6 => Some(BatEntry::At(entry & !(MIB - 1))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_and_ids_are_those_of_the_specification() {
        assert_eq!(crc(b"123456789"), 0xe306_9283);
        assert_eq!(guid(BAT_REGION)[..6], [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6]);
    }
}
