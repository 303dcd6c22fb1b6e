//! An empty ext2, ext3 or ext4 filesystem as mke2fs made it: superblock, group descriptors, what is taken already.
//!
//! In: the blocks of a fresh filesystem that are not zero. Out: its geometry and features as types; later, its
//! superblock, descriptors and bitmaps with new counts and right checksums. Refuses features it does not know.

use std::collections::BTreeMap;

use super::allocate::{Bitmap, Taken};
use super::checksum::{FRESH, crc16, crc32c};
use super::hash::Bytewise;
use crate::error::{Error, Exit, Result};

/// Block number to content.
pub type Blocks = BTreeMap<u64, Vec<u8>>;

/// Offset of the superblock in the filesystem.
const SUPERBLOCK: usize = 1024;

/// Feature bits of the superblock (linux/fs/ext4/ext4.h) that are understood.
mod feature {
    pub const COMPAT_HAS_JOURNAL: u32 = 0x4;
    pub const COMPAT_EXT_ATTR: u32 = 0x8;
    pub const COMPAT_RESIZE_INODE: u32 = 0x10;
    pub const COMPAT_DIR_INDEX: u32 = 0x20;
    pub const COMPAT: u32 = COMPAT_HAS_JOURNAL | COMPAT_EXT_ATTR | COMPAT_RESIZE_INODE | COMPAT_DIR_INDEX;
    pub const INCOMPAT_FILETYPE: u32 = 0x2;
    pub const INCOMPAT_EXTENTS: u32 = 0x40;
    pub const INCOMPAT_64BIT: u32 = 0x80;
    pub const INCOMPAT_FLEX_BG: u32 = 0x200;
    pub const INCOMPAT_CSUM_SEED: u32 = 0x2000;
    pub const INCOMPAT: u32 =
        INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_64BIT | INCOMPAT_FLEX_BG | INCOMPAT_CSUM_SEED;
    pub const RO_SPARSE_SUPER: u32 = 0x1;
    pub const RO_LARGE_FILE: u32 = 0x2;
    pub const RO_HUGE_FILE: u32 = 0x8;
    pub const RO_GDT_CSUM: u32 = 0x10;
    pub const RO_DIR_NLINK: u32 = 0x20;
    pub const RO_EXTRA_ISIZE: u32 = 0x40;
    pub const RO_METADATA_CSUM: u32 = 0x400;
    pub const RO: u32 =
        RO_SPARSE_SUPER | RO_LARGE_FILE | RO_HUGE_FILE | RO_GDT_CSUM | RO_DIR_NLINK | RO_EXTRA_ISIZE | RO_METADATA_CSUM;
}

/// How a file's blocks are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Extent trees (ext4).
    Extents,
    /// Indirect blocks (ext2, ext3).
    Indirect,
}

/// What protects group descriptors and other metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Nothing.
    None,
    /// CRC-16 of the group descriptors (`uninit_bg`).
    Descriptors,
    /// CRC-32C of everything, starting from this sum (`metadata_csum`).
    Metadata(u32),
}

/// Whether large directories are indexed, and how their names are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryIndex {
    /// Every directory is a list.
    None,
    /// Half MD4 with this seed.
    HalfMd4([u32; 4], Bytewise),
}

/// A block group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Block of the block bitmap.
    pub block_bitmap: u64,
    /// Block of the inode bitmap.
    pub inode_bitmap: u64,
    /// First block of the inode table.
    pub inode_table: u64,
    /// Number of directories.
    pub directories: u32,
    flags: u16,
}

/// What goes into a group's descriptor.
struct Counts {
    free_blocks: u64,
    free_inodes: u32,
    /// Inodes at the end of the table that were never written.
    unused_inodes: u32,
    /// Checksums of block and inode bitmap.
    sums: (Option<u32>, Option<u32>),
}

const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;
const INODE_ZEROED: u16 = 4;

/// Geometry and features of a filesystem.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Bytes in a block.
    pub block_size: usize,
    /// Number of blocks.
    pub blocks: u64,
    /// Block of the first group: 1 where blocks are of 1024 bytes.
    pub first_block: u64,
    /// Blocks in a group.
    pub blocks_per_group: u64,
    /// Inodes in a group.
    pub inodes_per_group: u32,
    /// Number of inodes.
    pub inodes: u32,
    /// Bytes in an inode.
    pub inode_size: usize,
    /// See [`Mapping`].
    pub mapping: Mapping,
    /// See [`Checksums`].
    pub checksums: Checksums,
    /// See [`DirectoryIndex`].
    pub index: DirectoryIndex,
    /// Whether directory entries carry the file's type.
    pub has_file_types: bool,
    /// Whether a directory may have more than 65,000 subdirectories.
    pub has_many_links: bool,
    /// Block groups.
    pub groups: Vec<Group>,
    descriptor_size: usize,
    reserved_descriptors: u64,
    sparse_super: bool,
    uuid: [u8; 16],
    superblock: Vec<u8>,
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn unexpected(why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::HostLacks, "fill the filesystem that mke2fs made").because(why)
}

impl Layout {
    /// Reads the superblock and the descriptors. 69 where mke2fs used a feature that is not known here, by its bits.
    pub fn read(superblock: &[u8], mut read_block: impl FnMut(u64, usize) -> Vec<u8>) -> Result<Layout> {
        let sb = superblock;
        if sb.len() != 1024 || short(sb, 0x38) != 0xef53 {
            return Err(unexpected("there is no superblock"));
        }
        let (compat, incompat, ro) = (long(sb, 0x5c), long(sb, 0x60), long(sb, 0x64));
        let unknown = [
            ("compatible", compat & !feature::COMPAT),
            ("incompatible", incompat & !feature::INCOMPAT),
            ("read-only compatible", ro & !feature::RO),
        ];
        for (name, bits) in unknown {
            if bits != 0 {
                return Err(unexpected(format!("its {name} features {bits:#x} are not supported"))
                    .with_exit(Exit::Description)
                    .hint("remove them from fscreateoptions"));
            }
        }
        let is_64bit = incompat & feature::INCOMPAT_64BIT != 0;
        let metadata_csum = ro & feature::RO_METADATA_CSUM != 0;
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&sb[0x68..0x78]);
        let checksums = if metadata_csum {
            let seeded = incompat & feature::INCOMPAT_CSUM_SEED != 0;
            Checksums::Metadata(if seeded { long(sb, 0x270) } else { crc32c(FRESH, &uuid) })
        } else if ro & feature::RO_GDT_CSUM != 0 {
            Checksums::Descriptors
        } else {
            Checksums::None
        };
        let bytewise = if long(sb, 0x160) & 2 != 0 { Bytewise::Unsigned } else { Bytewise::Signed };
        let index = if compat & feature::COMPAT_DIR_INDEX != 0 && sb[0xfc] == 1 {
            let seed = [0xec, 0xf0, 0xf4, 0xf8].map(|at| long(sb, at));
            DirectoryIndex::HalfMd4(seed, bytewise)
        } else {
            DirectoryIndex::None
        };
        let high = if is_64bit { u64::from(long(sb, 0x150)) << 32 } else { 0 };
        let mut layout = Layout {
            block_size: 1024 << long(sb, 0x18).min(6),
            blocks: u64::from(long(sb, 4)) | high,
            first_block: long(sb, 0x14).into(),
            blocks_per_group: long(sb, 0x20).into(),
            inodes_per_group: long(sb, 0x28),
            inodes: long(sb, 0),
            inode_size: short(sb, 0x58).into(),
            mapping: if incompat & feature::INCOMPAT_EXTENTS != 0 { Mapping::Extents } else { Mapping::Indirect },
            checksums,
            index,
            has_file_types: incompat & feature::INCOMPAT_FILETYPE != 0,
            has_many_links: ro & feature::RO_DIR_NLINK != 0,
            groups: Vec::new(),
            descriptor_size: if is_64bit { short(sb, 0xfe).into() } else { 32 },
            reserved_descriptors: short(sb, 0xce).into(),
            sparse_super: ro & feature::RO_SPARSE_SUPER != 0,
            uuid,
            superblock: sb.to_vec(),
        };
        let sane = long(sb, 0x18) <= 2
            && layout.blocks > layout.first_block
            && layout.blocks_per_group > 0
            && layout.inodes_per_group > 0
            && (32..=1024).contains(&layout.descriptor_size)
            && (128..=layout.block_size).contains(&layout.inode_size);
        if !sane {
            return Err(unexpected("its geometry is not supported")
                .with_exit(Exit::Description)
                .hint("blocks may be of 1024, 2048 or 4096 bytes"));
        }
        let groups = (layout.blocks - layout.first_block).div_ceil(layout.blocks_per_group);
        let per_block = layout.block_size / layout.descriptor_size;
        for index in 0..layout.descriptor_blocks(groups) {
            let block = read_block(layout.first_block + 1 + index, layout.block_size);
            for bytes in block.chunks_exact(layout.descriptor_size).take(per_block) {
                if layout.groups.len() as u64 == groups {
                    break;
                }
                let wide = |low: usize, high: usize| {
                    u64::from(long(bytes, low)) | if is_64bit { u64::from(long(bytes, high)) << 32 } else { 0 }
                };
                layout.groups.push(Group {
                    block_bitmap: wide(0, 0x20),
                    inode_bitmap: wide(4, 0x24),
                    inode_table: wide(8, 0x28),
                    directories: short(bytes, 0x10).into(),
                    flags: short(bytes, 0x12),
                });
            }
        }
        Ok(layout)
    }

    fn descriptor_blocks(&self, groups: u64) -> u64 {
        (groups * self.descriptor_size as u64).div_ceil(self.block_size as u64)
    }

    /// First block of a group.
    pub fn group_start(&self, group: usize) -> u64 {
        self.first_block + group as u64 * self.blocks_per_group
    }

    /// Blocks in a group; the last one may be short.
    pub fn group_blocks(&self, group: usize) -> u64 {
        (self.blocks - self.group_start(group)).min(self.blocks_per_group)
    }

    /// Whether a copy of superblock and descriptors stands at the start of a group.
    pub fn has_superblock(&self, group: usize) -> bool {
        let power_of = |base: usize| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        !self.sparse_super || group <= 1 || power_of(3) || power_of(5) || power_of(7)
    }

    /// Blocks that an inode table takes.
    pub fn table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group) * self.inode_size as u64).div_ceil(self.block_size as u64)
    }

    /// Where an inode stands: block and offset in it.
    pub fn inode_place(&self, number: u32) -> (u64, usize) {
        let (group, index) = ((number - 1) / self.inodes_per_group, (number - 1) % self.inodes_per_group);
        let offset = index as usize * self.inode_size;
        (self.groups[group as usize].inode_table + (offset / self.block_size) as u64, offset % self.block_size)
    }

    /// What mke2fs has taken: copies of superblock and descriptors, bitmaps, inode tables, journal, first folders.
    /// One bit per block, counted from block 0.
    pub fn taken_blocks(&self, blocks: &Blocks) -> Bitmap {
        let mut taken = Bitmap::new(self.blocks);
        taken.set(0, self.first_block);
        let descriptors = self.descriptor_blocks(self.groups.len() as u64) + self.reserved_descriptors;
        for (index, group) in self.groups.iter().enumerate() {
            if self.has_superblock(index) {
                taken.set(self.group_start(index), 1 + descriptors);
            }
            taken.set(group.block_bitmap, 1);
            taken.set(group.inode_bitmap, 1);
            taken.set(group.inode_table, self.table_blocks());
            let (start, length) = (self.group_start(index), self.group_blocks(index));
            if group.flags & BLOCK_UNINIT == 0
                && let Some(bitmap) = blocks.get(&group.block_bitmap)
            {
                for bit in 0..length {
                    if bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1 {
                        taken.set(start + bit, 1);
                    }
                }
            }
        }
        taken
    }

    /// How many inodes mke2fs has taken: they are the first ones.
    pub fn taken_inodes(&self, blocks: &Blocks) -> u32 {
        let bitmap = self.groups.first().and_then(|group| blocks.get(&group.inode_bitmap));
        let taken = |number: &u32| bitmap.is_some_and(|bitmap| bitmap[(number / 8) as usize] >> (number % 8) & 1 == 1);
        (0..self.inodes_per_group).rev().find(taken).map_or(0, |last| last + 1)
    }

    /// Bytes of the fixed part of an inode behind the first 128.
    pub fn extra_inode_size(&self) -> usize {
        let wanted = usize::from(short(&self.superblock, 0x15e)).next_multiple_of(4);
        if self.inode_size >= 128 + 32 { wanted.clamp(32, self.inode_size - 128) } else { 0 }
    }

    /// Bytes for extended attributes in an inode.
    pub fn attribute_room(&self) -> usize {
        if self.inode_size >= 128 + 32 { self.inode_size - 128 - self.extra_inode_size() } else { 0 }
    }

    /// The sum that the checksums of an inode, its folder blocks and its extent blocks start with.
    pub fn inode_sum(&self, number: u32) -> Option<u32> {
        match self.checksums {
            // The generation, which is always 0 here, is part of the sum.
            Checksums::Metadata(seed) => Some(crc32c(crc32c(seed, &number.to_le_bytes()), &[0; 4])),
            _ => None,
        }
    }

    /// Writes bitmaps, descriptors and superblocks for what is taken; every time in the superblock is `epoch`.
    pub fn finish(&mut self, blocks: &mut Blocks, taken: &Taken, epoch: i64) {
        let groups = self.groups.len();
        let mut descriptors = vec![0; self.descriptor_blocks(groups as u64) as usize * self.block_size];
        let mut free_blocks = 0;
        for index in 0..groups {
            let counts = self.finish_group(index, blocks, taken);
            free_blocks += counts.free_blocks;
            let descriptor = &mut descriptors[index * self.descriptor_size..][..self.descriptor_size];
            self.describe(index, &counts, descriptor);
        }
        let sb = &mut self.superblock;
        let mut set = |at: usize, value: u32| sb[at..at + 4].copy_from_slice(&value.to_le_bytes());
        set(0x0c, free_blocks as u32);
        set(0x158, (free_blocks >> 32) as u32);
        set(0x10, self.inodes - taken.inodes);
        // Written, checked, made: all at the one date of the image. Never mounted.
        for (low, high) in [(0x30, 0x274), (0x40, 0x277), (0x108, 0x276)] {
            sb[low..low + 4].copy_from_slice(&(epoch as u32).to_le_bytes());
            sb[high] = (epoch >> 32) as u8;
        }
        sb[0x178..0x180].fill(0);
        for group in (0..groups).filter(|group| self.has_superblock(*group)) {
            let mut copy = self.superblock.clone();
            copy[0x5a..0x5c].copy_from_slice(&(group as u16).to_le_bytes());
            if let Checksums::Metadata(_) = self.checksums {
                let sum = crc32c(FRESH, &copy[..0x3fc]);
                copy[0x3fc..].copy_from_slice(&sum.to_le_bytes());
            }
            let start = self.group_start(group);
            let (block, offset) = match (group, self.block_size) {
                (0, 1024) => (1, 0),
                (0, _) => (0, SUPERBLOCK),
                _ => (start, 0),
            };
            blocks.entry(block).or_insert_with(|| vec![0; self.block_size])[offset..offset + 1024]
                .copy_from_slice(&copy);
            for (number, content) in (start + 1..).zip(descriptors.chunks_exact(self.block_size)) {
                blocks.insert(number, content.to_vec());
            }
        }
    }

    fn finish_group(&mut self, index: usize, blocks: &mut Blocks, taken: &Taken) -> Counts {
        let lazy = self.checksums != Checksums::None;
        let (start, length) = (self.group_start(index), self.group_blocks(index));
        let first_inode = index as u32 * self.inodes_per_group;
        let used = taken.inodes.saturating_sub(first_inode).min(self.inodes_per_group);
        let free_blocks = length - taken.blocks.count(start, length);
        let block_size = self.block_size;
        let (bits_of_blocks, bits_of_inodes) = (self.blocks_per_group as usize, self.inodes_per_group as usize);
        let group = &mut self.groups[index];
        if lazy {
            // The file under the filesystem is fresh: its inode tables are zero, and nobody needs to zero them again.
            group.flags |= INODE_ZEROED;
        }
        let mut sums = (None, None);
        if group.flags & BLOCK_UNINIT == 0 || start < taken.end {
            group.flags &= !BLOCK_UNINIT;
            let mut bitmap = vec![0xff; block_size];
            bitmap[..bits_of_blocks.div_ceil(8)].fill(0);
            for bit in (0..length).filter(|bit| taken.blocks.get(start + bit)).chain(length..bits_of_blocks as u64) {
                bitmap[(bit / 8) as usize] |= 1 << (bit % 8);
            }
            if let Checksums::Metadata(seed) = self.checksums {
                sums.0 = Some(crc32c(seed, &bitmap[..bits_of_blocks / 8]));
            }
            blocks.insert(group.block_bitmap, bitmap);
        }
        if group.flags & INODE_UNINIT == 0 || used > 0 {
            group.flags &= !INODE_UNINIT;
            let mut bitmap = vec![0xff; block_size];
            bitmap[..bits_of_inodes.div_ceil(8)].fill(0);
            for bit in (0..used as usize).chain(bits_of_inodes..bits_of_inodes.next_multiple_of(8)) {
                bitmap[bit / 8] |= 1 << (bit % 8);
            }
            if let Checksums::Metadata(seed) = self.checksums {
                sums.1 = Some(crc32c(seed, &bitmap[..bits_of_inodes / 8]));
            }
            blocks.insert(group.inode_bitmap, bitmap);
        }
        let unused = if lazy { self.inodes_per_group - used } else { 0 };
        Counts { free_blocks, free_inodes: self.inodes_per_group - used, unused_inodes: unused, sums }
    }

    fn describe(&self, index: usize, counts: &Counts, descriptor: &mut [u8]) {
        let group = &self.groups[index];
        let wide = self.descriptor_size >= 64;
        let mut set = |at: usize, bytes: &[u8]| descriptor[at..at + bytes.len()].copy_from_slice(bytes);
        for (low, high, value) in
            [(0, 0x20, group.block_bitmap), (4, 0x24, group.inode_bitmap), (8, 0x28, group.inode_table)]
        {
            set(low, &(value as u32).to_le_bytes());
            if wide {
                set(high, &((value >> 32) as u32).to_le_bytes());
            }
        }
        let halves = [
            (0x0c, 0x2c, counts.free_blocks as u32),
            (0x0e, 0x2e, counts.free_inodes),
            (0x10, 0x30, group.directories),
            (0x18, 0x38, counts.sums.0.unwrap_or(0)),
            (0x1a, 0x3a, counts.sums.1.unwrap_or(0)),
            (0x1c, 0x32, counts.unused_inodes),
        ];
        for (low, high, value) in halves {
            set(low, &(value as u16).to_le_bytes());
            if wide {
                set(high, &((value >> 16) as u16).to_le_bytes());
            }
        }
        set(0x12, &group.flags.to_le_bytes());
        let number = (index as u32).to_le_bytes();
        let sum = match self.checksums {
            Checksums::None => 0,
            Checksums::Metadata(seed) => crc32c(crc32c(seed, &number), descriptor) as u16,
            Checksums::Descriptors => {
                let sum = crc16(crc16(crc16(0xffff, &self.uuid), &number), &descriptor[..0x1e]);
                crc16(sum, &descriptor[0x20..])
            }
        };
        descriptor[0x1e..0x20].copy_from_slice(&sum.to_le_bytes());
    }
}
