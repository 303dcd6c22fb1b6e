//! Inodes of ext, and which blocks hold a file's content.
//!
//! In: an inode's bytes. Out: its fields, its extents, its content. An extent tree of ext4 and the block lists of ext2
//! and ext3 give the same extents.

use std::io::{self, Read, Seek};

use super::{Ext, damaged, u16_at, u32_at, wide};
use crate::error::Result;

/// What an inode says (`struct ext4_inode`).
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: i64,
    pub links: u16,
    flags: u32,
    /// `i_block`: a tree of extents, block numbers, or a short symlink's target.
    map: [u8; 60],
}

/// A run of blocks of a file; `physical` 0 is a run of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
}

/// `EXT4_EXTENTS_FL`, `EXT4_INLINE_DATA_FL`, `EXT4_ENCRYPT_FL`.
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;
const ENCRYPTED: u32 = 0x800;
/// Magic number of a node of an extent tree.
const EXTENT_MAGIC: u16 = 0xf30a;
/// No tree is deeper (the kernel's EXT4_MAX_EXTENT_DEPTH).
const DEEPEST: u16 = 5;
/// An extent that is longer by this much is allocated and never written: it reads as zeros.
const UNWRITTEN: u64 = 32_768;

impl Inode {
    pub fn decode(bytes: &[u8]) -> Inode {
        let mut map = [0; 60];
        map.copy_from_slice(&bytes[40..100]);
        // The two bits above the 32 of the seconds count centuries (only where the inode has the extra fields).
        let extra = if u16_at(bytes, 128) >= 12 { u32_at(bytes, 136) } else { 0 };
        Inode {
            mode: u16_at(bytes, 0),
            uid: u32::from(u16_at(bytes, 2)) | u32::from(u16_at(bytes, 120)) << 16,
            gid: u32::from(u16_at(bytes, 24)) | u32::from(u16_at(bytes, 122)) << 16,
            size: wide(u32_at(bytes, 4), u32_at(bytes, 108)),
            mtime: i64::from(u32_at(bytes, 16) as i32) + (i64::from(extra & 3) << 32),
            links: u16_at(bytes, 26),
            flags: u32_at(bytes, 32),
            map,
        }
    }

    /// Major and minor number: the old form in the first word of the map, the new one in the second.
    pub fn device(&self) -> (u32, u32) {
        let (old, new) = (u32_at(&self.map, 0), u32_at(&self.map, 4));
        if old != 0 { (old >> 8 & 0xff, old & 0xff) } else { (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xfff00) }
    }

    /// The target of a symlink that is stored in the inode itself.
    pub fn short_symlink(&self) -> Option<&[u8]> {
        (self.size < 60 && self.flags & EXTENTS == 0).then(|| &self.map[..self.size as usize])
    }
}

impl<R: Read + Seek> Ext<R> {
    /// The runs of a file's blocks, in the order of its content, without overlaps.
    pub(super) fn extents(&mut self, inode: &Inode) -> Result<Vec<Extent>> {
        if inode.flags & (INLINE | ENCRYPTED) != 0 {
            return Err(damaged("a file's data is inside its inode or encrypted, which is not read"));
        }
        let mut found = Vec::new();
        if inode.flags & EXTENTS != 0 {
            self.extent_node(&inode.map, None, &mut found)?;
        } else {
            let direct: Vec<u8> = inode.map[..48].to_vec();
            let mut logical = 0;
            self.numbers(&direct, 0, &mut logical, &mut found)?;
            for level in 1..=3 {
                let at = 44 + level as usize * 4;
                self.numbers(&inode.map[at..at + 4], level, &mut logical, &mut found)?;
            }
        }
        found.sort_by_key(|extent| extent.logical);
        if found.windows(2).any(|pair| pair[0].logical + pair[0].length > pair[1].logical) {
            return Err(damaged("a file's extents overlap"));
        }
        Ok(found)
    }

    /// One node of an extent tree; `above` is the depth of the node that led here.
    fn extent_node(&mut self, node: &[u8], above: Option<u16>, found: &mut Vec<Extent>) -> Result<()> {
        let (magic, entries, depth) = (u16_at(node, 0), usize::from(u16_at(node, 2)), u16_at(node, 6));
        let consistent = above.is_none_or(|above| depth + 1 == above) && depth <= DEEPEST;
        if magic != EXTENT_MAGIC || !consistent || 12 * (entries + 1) > node.len() {
            return Err(damaged("a file's extent tree is damaged"));
        }
        for entry in node[12..12 * (entries + 1)].chunks_exact(12) {
            if depth > 0 {
                let below = self.block(wide(u32_at(entry, 4), u32::from(u16_at(entry, 8))))?;
                self.extent_node(&below, Some(depth), found)?;
                continue;
            }
            let length = u64::from(u16_at(entry, 4));
            let physical = wide(u32_at(entry, 8), u32::from(u16_at(entry, 6)));
            let (length, physical) = if length > UNWRITTEN { (length - UNWRITTEN, 0) } else { (length, physical) };
            self.push(found, Extent { logical: u64::from(u32_at(entry, 0)), physical, length })?;
        }
        Ok(())
    }

    /// Block numbers of ext2 and ext3: at level 0 they are data, above they lead to blocks of numbers; 0 is a hole.
    fn numbers(&mut self, numbers: &[u8], level: u32, logical: &mut u64, found: &mut Vec<Extent>) -> Result<()> {
        let per_block = self.block_size / 4;
        for number in numbers.chunks_exact(4) {
            let number = u64::from(u32_at(number, 0));
            if number == 0 {
                *logical += per_block.pow(level);
            } else if level > 0 {
                let below = self.block(number)?;
                self.numbers(&below, level - 1, logical, found)?;
            } else {
                match found.last_mut() {
                    Some(last) if last.physical + last.length == number && last.logical + last.length == *logical => {
                        last.length += 1;
                    }
                    _ => self.push(found, Extent { logical: *logical, physical: number, length: 1 })?,
                }
                *logical += 1;
            }
        }
        Ok(())
    }

    fn push(&self, found: &mut Vec<Extent>, extent: Extent) -> Result<()> {
        // No file can have more extents than the filesystem has blocks: a tree that leads in circles ends here.
        if extent.physical.saturating_add(extent.length) > self.blocks || found.len() as u64 > self.blocks {
            return Err(damaged("a file lies behind the filesystem's end"));
        }
        found.push(extent);
        Ok(())
    }
}

/// How the holes of a file are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holes {
    /// As long as they are.
    Whole,
    /// As one block of zeros at most: a file of exabytes of nothing must not keep the audit busy.
    Short,
}

/// A file's bytes.
pub(super) struct Content<'a, R> {
    ext: &'a mut Ext<R>,
    /// What is left to read, the next run last: offset on the filesystem (`None`: zeros) and length in bytes.
    runs: Vec<(Option<u64>, u64)>,
}

impl<'a, R: Read + Seek> Content<'a, R> {
    /// `extents` are sorted by their place in the file, `size` is the file's length in bytes.
    pub fn new(ext: &'a mut Ext<R>, extents: Vec<Extent>, size: u64, holes: Holes) -> Content<'a, R> {
        let block = ext.block_size;
        let longest = if holes == Holes::Whole { u64::MAX } else { block };
        let mut runs = Vec::new();
        let mut at = 0;
        let hole = |runs: &mut Vec<(Option<u64>, u64)>, length: u64| {
            if length > 0 {
                runs.push((None, length.min(longest)));
            }
        };
        for extent in extents {
            let (start, end) = (extent.logical * block, (extent.logical + extent.length) * block);
            let end = end.min(size);
            if start >= end {
                continue;
            }
            hole(&mut runs, start - at);
            match extent.physical {
                0 => hole(&mut runs, end - start),
                physical => runs.push((Some(physical * block), end - start)),
            }
            at = end;
        }
        hole(&mut runs, size - at.min(size));
        runs.reverse();
        Content { ext, runs }
    }
}

impl<R: Read + Seek> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((at, left)) = self.runs.last_mut() else { return Ok(0) };
        let length = (*left).min(buffer.len() as u64) as usize;
        match at {
            Some(offset) => {
                self.ext.source.read_at(*offset, &mut buffer[..length])?;
                *offset += length as u64;
            }
            None => buffer[..length].fill(0),
        }
        *left -= length as u64;
        if *left == 0 {
            self.runs.pop();
        }
        Ok(length)
    }
}
