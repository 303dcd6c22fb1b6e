//! The structures of a qcow2 image: header, entries of its tables, reference counts.
//!
//! In: numbers. Out: bytes (big-endian), and back. Never allocates what a hostile header asks for.

use crate::error::{Error, Exit, Result};

/// The first four bytes of every qcow2 image.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Length of the version 3 header with its compression type.
const HEADER_LENGTH: u32 = 112;
/// Incompatible feature: the compression type is not zlib.
const COMPRESSION_TYPE: u64 = 1 << 3;
/// Header extension "Feature name table".
const FEATURE_NAMES: u32 = 0x6803_f857;
/// Set in an entry of L1 or L2 whose cluster has a reference count of exactly one.
pub const COPIED: u64 = 1 << 63;
/// Set in an L2 entry of a compressed cluster.
pub const COMPRESSED: u64 = 1 << 62;
/// Set in an L2 entry of a cluster that reads as zeros (version 3).
pub const ZERO: u64 = 1;
/// The offset in an entry of L1 or L2.
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// L1 tables of more bytes are refused, as by QEMU.
const LARGEST_L1: u64 = 32 << 20;

/// How compressed clusters of an image are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// Raw deflate streams.
    Zlib,
    /// Zstandard frames.
    Zstd,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Clusters of `1 << cluster_bits` bytes.
    pub cluster_bits: u32,
    /// Size of the virtual disk in bytes.
    pub size: u64,
    /// Entries of the L1 table.
    pub l1_entries: u32,
    /// Offset of the L1 table.
    pub l1_offset: u64,
    /// Offset of the reference count table.
    pub refcount_offset: u64,
    /// Clusters of the reference count table.
    pub refcount_clusters: u32,
    /// How compressed clusters are compressed.
    pub compression: CompressionType,
    /// Version 3 has clusters that read as zeros.
    pub version: u32,
}

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::Description, "use the qcow2 image").because(why)
}

impl Header {
    /// How many entries L1 needs for a disk of `size` bytes.
    pub fn l1_entries(size: u64, cluster_bits: u32) -> u64 {
        size.div_ceil(1 << (2 * cluster_bits - 3))
    }

    /// The header and its extensions, to stand at offset 0.
    pub fn encode(&self) -> Vec<u8> {
        let zstd = self.compression == CompressionType::Zstd;
        let features = if zstd { COMPRESSION_TYPE } else { 0 };
        let mut bytes = MAGIC.to_vec();
        // Version; backing file: offset (8 bytes) and length, none.
        for number in [3, 0, 0, 0, self.cluster_bits] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.size.to_be_bytes());
        // No encryption.
        for number in [0, self.l1_entries] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for number in [self.l1_offset, self.refcount_offset] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        // No snapshots: count and offset (8 bytes).
        for number in [self.refcount_clusters, 0, 0, 0] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        // Incompatible, compatible and autoclear features.
        for number in [features, 0, 0] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        // Reference counts of 1 << 4 bits.
        for number in [4, HEADER_LENGTH] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&[zstd.into(), 0, 0, 0, 0, 0, 0, 0]);
        if zstd {
            // So that a program too old for it can say what it lacks.
            bytes.extend_from_slice(&FEATURE_NAMES.to_be_bytes());
            bytes.extend_from_slice(&48_u32.to_be_bytes());
            bytes.extend_from_slice(&[0, 3]);
            let mut name = b"compression type".to_vec();
            name.resize(46, 0);
            bytes.extend_from_slice(&name);
        }
        // End of the extensions.
        bytes.extend_from_slice(&[0; 8]);
        bytes
    }

    /// Reads and judges a header. `length`: the image file's length in bytes.
    pub fn decode(bytes: &[u8; HEADER_LENGTH as usize], length: u64) -> Result<Header> {
        let at32 = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let at64 = |at: usize| (u64::from(at32(at)) << 32) | u64::from(at32(at + 4));
        if bytes[..4] != MAGIC {
            return Err(damaged("it does not begin with the magic of qcow2"));
        }
        let version = at32(4);
        if !(2..=3).contains(&version) {
            return Err(damaged(format!("it has version {version}; 2 and 3 are known")));
        }
        if at64(8) != 0 || at32(16) != 0 {
            return Err(damaged("it has a backing file").hint("make it self-contained: `qemu-img convert -O qcow2`"));
        }
        if at32(32) != 0 {
            return Err(damaged("it is encrypted"));
        }
        let (mut features, mut header_length, mut refcount_order) = (0, 72, 4);
        if version == 3 {
            (features, refcount_order, header_length) = (at64(72), at32(96), at32(100));
        }
        for (bit, name) in [(1, "it is marked as corrupt"), (2, "it has an external data file")] {
            if features & (1 << bit) != 0 {
                return Err(damaged(name));
            }
        }
        if features & (1 << 4) != 0 {
            return Err(damaged("it has extended L2 entries").hint("`qemu-img convert -O qcow2` makes one without"));
        }
        // Bit 0 (dirty) is about reference counts, which a reader does not need.
        let unknown = features & !(1 | COMPRESSION_TYPE);
        if unknown != 0 {
            return Err(damaged(format!("it needs features that are not known: {unknown:#x}")));
        }
        if refcount_order > 6 || (version == 3 && header_length < 104) {
            return Err(damaged("its header is malformed"));
        }
        let kind = if features & COMPRESSION_TYPE != 0 && header_length >= 105 { bytes[104] } else { 0 };
        let compression = match kind {
            0 => CompressionType::Zlib,
            1 => CompressionType::Zstd,
            other => return Err(damaged(format!("its clusters have compression type {other}; 0 and 1 are known"))),
        };
        let header = Header {
            cluster_bits: at32(20),
            size: at64(24),
            l1_entries: at32(36),
            l1_offset: at64(40),
            refcount_offset: at64(48),
            refcount_clusters: at32(56),
            compression,
            version,
        };
        if !(9..=21).contains(&header.cluster_bits) {
            return Err(damaged(format!("its clusters of 1 << {} bytes are not allowed", header.cluster_bits)));
        }
        let l1_length = u64::from(header.l1_entries) * 8;
        let needed = Header::l1_entries(header.size, header.cluster_bits);
        if header.size > i64::MAX as u64 || needed > u64::from(header.l1_entries) || l1_length > LARGEST_L1 {
            return Err(damaged("its L1 table does not fit its size"));
        }
        let refcounts = u64::from(header.refcount_clusters) << header.cluster_bits;
        for (offset, size, name) in
            [(header.l1_offset, l1_length, "L1 table"), (header.refcount_offset, refcounts, "reference count table")]
        {
            let inside = offset.checked_add(size).is_some_and(|end| end <= length);
            if !offset.is_multiple_of(1 << header.cluster_bits) || !inside {
                return Err(damaged(format!("its {name} lies outside the file")));
            }
        }
        Ok(header)
    }
}

/// The L2 entry of a compressed cluster of `length` bytes at `offset`.
pub fn compressed_entry(cluster_bits: u32, offset: u64, length: u64) -> u64 {
    let sectors = (offset + length - 1) / 512 - offset / 512;
    COMPRESSED | (sectors << offset_bits(cluster_bits)) | offset
}

/// Offset and the most bytes that a compressed cluster can have, from its L2 entry.
pub fn compressed_place(cluster_bits: u32, entry: u64) -> (u64, u64) {
    let bits = offset_bits(cluster_bits);
    let offset = entry & ((1 << bits) - 1);
    let sectors = ((entry & (COMPRESSED - 1)) >> bits) + 1;
    (offset, sectors * 512 - offset % 512)
}

fn offset_bits(cluster_bits: u32) -> u32 {
    62 - (cluster_bits - 8)
}

/// How many clusters the reference count blocks and their table take where `clusters` others are in the file.
pub fn refcount_clusters(clusters: u64, cluster_bits: u32) -> (u64, u64) {
    let cluster = 1_u64 << cluster_bits;
    let (mut blocks, mut tables) = (0, 0);
    loop {
        let new_blocks = (clusters + blocks + tables).div_ceil(cluster / 2);
        let new_tables = (new_blocks * 8).div_ceil(cluster);
        if (new_blocks, new_tables) == (blocks, tables) {
            return (blocks, tables);
        }
        (blocks, tables) = (new_blocks, new_tables);
    }
}

/// Numbers as the big-endian bytes of a table.
pub fn big_endian(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_entry_covers_its_bytes_and_nothing_of_the_next_sector() {
        for cluster_bits in [9, 16, 21] {
            for (offset, length) in [(65536, 1), (65536, 512), (65537, 511), (65537, 512), (70_000, 60_000)] {
                let (place, most) = compressed_place(cluster_bits, compressed_entry(cluster_bits, offset, length));
                if length <= 1 << cluster_bits {
                    assert_eq!(place, offset);
                    assert!(most >= length && (place + most) % 512 == 0 && most < length + 512);
                }
            }
        }
    }

    #[test]
    fn reference_counts_cover_themselves() {
        for bits in [9, 12, 16, 21] {
            for clusters in [1, 255, 256, 257, 32_767, 32_768, 10_000_000] {
                let (blocks, tables) = refcount_clusters(clusters, bits);
                assert!(blocks << (bits - 1) >= clusters + blocks + tables);
                assert!(tables << bits >= blocks * 8);
            }
        }
    }
}
