//! An inode's bytes.
//!
//! In: a file's metadata, the map of its blocks. Out: the record in the inode table, checksummed. Times are whole
//! seconds: what the build host's filesystem could store must not show.

use super::checksum::crc32c;
use super::layout::Layout;

/// `EXT4_INDEX_FL`: an indexed directory.
pub const INDEXED: u32 = 0x1000;
/// `EXT4_EXTENTS_FL`: `i_block` holds an extent tree.
pub const EXTENTS: u32 = 0x8_0000;

/// What an inode says.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Inode number.
    pub number: u32,
    /// File type and permissions (`S_IF*`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Number of names.
    pub links: u32,
    /// Blocks of the filesystem that belong to it, map and attributes included.
    pub blocks: u64,
    /// See [`INDEXED`] and [`EXTENTS`].
    pub flags: u32,
    /// `i_block`.
    pub root: [u8; 60],
    /// Modification (and last access), seconds since 1970.
    pub modified: i64,
    /// Creation and last change of the inode, seconds since 1970.
    pub created: i64,
    /// Block of extended attributes; 0: none.
    pub attribute_block: u64,
    /// Extended attributes behind the fixed part.
    pub attributes: Vec<u8>,
}

impl Inode {
    /// The record.
    pub fn encode(&self, layout: &Layout) -> Vec<u8> {
        let mut bytes = vec![0; layout.inode_size];
        let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let low = |value: u32| (value as u16).to_le_bytes();
        let high = |value: u32| ((value >> 16) as u16).to_le_bytes();
        set(0x00, &low(self.mode));
        set(0x02, &low(self.uid));
        set(0x04, &(self.size as u32).to_le_bytes());
        set(0x08, &seconds(self.modified));
        set(0x0c, &seconds(self.created));
        set(0x10, &seconds(self.modified));
        set(0x18, &low(self.gid));
        set(0x1a, &low(self.links));
        let sectors = self.blocks * (layout.block_size as u64 / 512);
        set(0x1c, &(sectors as u32).to_le_bytes());
        set(0x20, &self.flags.to_le_bytes());
        set(0x28, &self.root);
        set(0x68, &(self.attribute_block as u32).to_le_bytes());
        set(0x6c, &((self.size >> 32) as u32).to_le_bytes());
        set(0x74, &((sectors >> 32) as u16).to_le_bytes());
        set(0x76, &((self.attribute_block >> 32) as u16).to_le_bytes());
        set(0x78, &high(self.uid));
        set(0x7a, &high(self.gid));
        let extra = layout.extra_inode_size();
        if extra >= 28 {
            set(0x80, &(extra as u16).to_le_bytes());
            set(0x84, &beyond_2038(self.created));
            set(0x88, &beyond_2038(self.modified));
            set(0x8c, &beyond_2038(self.modified));
            set(0x90, &seconds(self.created));
            set(0x94, &beyond_2038(self.created));
            set(128 + extra, &self.attributes);
        }
        finish(&mut bytes, self.number, layout);
        bytes
    }
}

/// Sets the times of an inode that mke2fs made, and its checksum.
pub fn redate(bytes: &mut [u8], number: u32, epoch: i64, layout: &Layout) {
    for at in [0x08, 0x0c, 0x10] {
        bytes[at..at + 4].copy_from_slice(&seconds(epoch));
    }
    if extra_of(bytes) >= 28 {
        for at in [0x84, 0x88, 0x8c, 0x94] {
            bytes[at..at + 4].copy_from_slice(&beyond_2038(epoch));
        }
        bytes[0x90..0x94].copy_from_slice(&seconds(epoch));
    }
    finish(bytes, number, layout);
}

fn finish(bytes: &mut [u8], number: u32, layout: &Layout) {
    let Some(sum) = layout.inode_sum(number) else { return };
    let has_high = extra_of(bytes) >= 4;
    bytes[0x7c..0x7e].fill(0);
    if has_high {
        bytes[0x82..0x84].fill(0);
    }
    let sum = crc32c(sum, bytes).to_le_bytes();
    bytes[0x7c..0x7e].copy_from_slice(&sum[..2]);
    if has_high {
        bytes[0x82..0x84].copy_from_slice(&sum[2..]);
    }
}

/// What a record says of its own length behind the first 128 bytes; mke2fs leaves it 0 in some of the reserved ones.
fn extra_of(bytes: &[u8]) -> u16 {
    if bytes.len() > 128 { u16::from_le_bytes([bytes[0x80], bytes[0x81]]) } else { 0 }
}

fn seconds(time: i64) -> [u8; 4] {
    (time as u32).to_le_bytes()
}

/// The two bits that extend a signed 32-bit time to the year 2446 (nanoseconds, in the other bits, are 0).
fn beyond_2038(time: i64) -> [u8; 4] {
    let epoch = (time - i64::from(time as i32)) >> 32;
    ((epoch & 3) as u32).to_le_bytes()
}
