//! A sparse extent's header, and the markers of a compressed one ("Virtual Disk Format 5.0", VMware).
//!
//! In: numbers. Out: sectors; and back. All numbers are little-endian, offsets in sectors of 512 bytes.

use crate::error::Result;
use crate::format::mapped::damaged;

/// What an extent begins with.
pub const MAGIC: &[u8; 4] = b"KDMV";
/// Length of a sector.
pub const SECTOR: u64 = 512;
/// Entries of a grain table.
pub const ENTRIES: u64 = 512;
/// The grain directory lies at the end, and the footer knows where.
pub const AT_END: u64 = u64::MAX;
/// Sectors that the descriptor has.
pub const DESCRIPTOR: u64 = 20;

/// Flag: the newline characters are as they should be.
const NEWLINES: u32 = 1;
/// Flag: there is a second grain directory.
const REDUNDANT: u32 = 2;
/// Flag: an entry of 1 is a grain of zeros.
const ZEROED: u32 = 4;
/// Flag: grains are compressed.
const COMPRESSED: u32 = 1 << 16;
/// Flag: grains and tables have markers.
const MARKERS: u32 = 1 << 17;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether grains are compressed, with markers.
    pub compressed: bool,
    /// Whether an entry of 1 is a grain of zeros.
    pub zeroed: bool,
    /// Sectors of the virtual disk.
    pub capacity: u64,
    /// Sectors of a grain.
    pub grain: u64,
    /// Where the descriptor lies, and how long it is.
    pub descriptor: (u64, u64),
    /// Entries of a grain table.
    pub entries: u32,
    /// Where the second grain directory lies; 0 for none.
    pub redundant: u64,
    /// Where the grain directory lies, or [`AT_END`].
    pub directory: u64,
    /// Where the first grain lies.
    pub overhead: u64,
}

impl Header {
    /// One sector.
    pub fn encode(&self) -> Vec<u8> {
        let flags = match self.compressed {
            true => NEWLINES | COMPRESSED | MARKERS,
            false => NEWLINES | REDUNDANT,
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend((if self.compressed { 3_u32 } else { 1 }).to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for number in [self.capacity, self.grain, self.descriptor.0, self.descriptor.1] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.entries.to_le_bytes());
        for number in [self.redundant, self.directory, self.overhead] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.push(0);
        bytes.extend(b"\n \r\n");
        bytes.extend((if self.compressed { 1_u16 } else { 0 }).to_le_bytes());
        bytes.resize(SECTOR as usize, 0);
        bytes
    }

    /// Reads a sector. 65 where nothing of it can be used.
    pub fn decode(bytes: &[u8]) -> Result<Header> {
        let number = |at: usize| bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
        let long = |at: usize| bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
        if bytes.len() < SECTOR as usize || !bytes.starts_with(MAGIC) {
            return Err(damaged("vmdk", "its header is missing"));
        }
        let (version, flags) = (number(4), number(8));
        if !(1..=3).contains(&version) {
            return Err(damaged("vmdk", format!("its version {version} is unknown")));
        }
        if flags & NEWLINES != 0 && bytes[73..77] != *b"\n \r\n" {
            return Err(damaged("vmdk", "it was transferred as text, which changed its bytes"));
        }
        let compressed = flags & COMPRESSED != 0;
        if compressed && u16::from_le_bytes([bytes[77], bytes[78]]) != 1 {
            return Err(damaged("vmdk", "its compression is unknown"));
        }
        let header = Header {
            compressed,
            zeroed: flags & ZEROED != 0,
            capacity: long(12),
            grain: long(20),
            descriptor: (long(28), long(36)),
            entries: number(44),
            redundant: if flags & REDUNDANT != 0 { long(48) } else { 0 },
            directory: long(56),
            overhead: long(64),
        };
        if !header.grain.is_power_of_two() || !(8..=4096).contains(&header.grain) || header.entries != ENTRIES as u32 {
            return Err(damaged(
                "vmdk",
                format!("grains of {} sectors, {} in a table cannot be", header.grain, header.entries),
            ));
        }
        Ok(header)
    }
}

/// What a marker announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// The end.
    End = 0,
    /// A grain table.
    Table = 1,
    /// The grain directory.
    Directory = 2,
    /// The footer.
    Footer = 3,
}

/// The sector in front of `sectors` of metadata.
pub fn marker(what: Marker, sectors: u64) -> Vec<u8> {
    let mut bytes = sectors.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend((what as u32).to_le_bytes());
    bytes.resize(SECTOR as usize, 0);
    bytes
}
