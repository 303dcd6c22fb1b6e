//! Reading ext2, ext3 and ext4 without the kernel.
//!
//! In: the bytes of a filesystem, from anywhere: an unknown image is never mounted, since kernels do not promise to
//! survive hostile filesystems. Out: every entry with its content, and what lies in blocks that nothing uses. Never
//! trusts a number that it reads; never writes. Layout: the kernel's Documentation/filesystems/ext4.

mod free;
mod inode;

use std::collections::BTreeSet;
use std::io::{Read, Seek};

pub use self::free::Remains;
use self::inode::{Content, Holes, Inode};
use super::window::Window;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::rooted::Kind;
use crate::root::RootPath;
use crate::root::tree::Entry;

/// An ext filesystem that is being read.
pub struct Ext<R> {
    source: Window<R>,
    block_size: u64,
    blocks: u64,
    first_block: u64,
    blocks_per_group: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_size: u64,
    groups: Vec<Group>,
    reserved_descriptors: u64,
    descriptor_size: u64,
    read_only: u32,
    compatible: u32,
    backup_groups: [u32; 2],
    /// How many blocks may still be read: pointers that lead in circles end here.
    budget: u64,
}

/// A block group's descriptor.
#[derive(Clone, Copy, Debug)]
struct Group {
    block_bitmap: u64,
    inode_bitmap: u64,
    inode_table: u64,
    flags: u16,
}

/// Where the superblock is, in bytes.
const SUPERBLOCK: u64 = 1024;
/// `s_magic`.
const MAGIC: u16 = 0xef53;
/// The inode of `/`.
const ROOT: u32 = 2;
/// Most entries that are read: a hostile image must not use up memory.
const MOST_ENTRIES: usize = 20_000_000;

/// Incompatible features (`s_feature_incompat`) that change nothing for a reader, or are understood here: filetype,
/// recover, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, casefold.
const UNDERSTOOD: u32 = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x2_0000;
const WIDE: u32 = 0x80;
/// Read-only compatible: backups of the superblock in few groups, bitmaps in clusters.
const SPARSE_SUPER: u32 = 0x1;
const BIGALLOC: u32 = 0x200;
/// Compatible: backups in two groups only.
const SPARSE_SUPER2: u32 = 0x200;

pub(super) fn damaged(why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::Description, "read the ext filesystem").because(why)
}

/// Whether a filesystem's first two KiB look like ext.
pub fn is_ext(start: &[u8]) -> bool {
    start.get(1080..1082) == Some(&MAGIC.to_le_bytes())
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn wide(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

impl<R: Read + Seek> Ext<R> {
    /// Reads the superblock and the group descriptors. 65 where they contradict themselves, or where the filesystem uses
    /// a feature that this reader does not know.
    pub fn open(mut source: Window<R>) -> Result<Ext<R>> {
        let mut block = [0; 1024];
        source.read_at(SUPERBLOCK, &mut block).or_cannot(|| "read the ext filesystem's superblock")?;
        if u16_at(&block, 56) != MAGIC {
            return Err(damaged("it has no superblock"));
        }
        let (compatible, incompatible, read_only) = (u32_at(&block, 92), u32_at(&block, 96), u32_at(&block, 100));
        if incompatible & !UNDERSTOOD != 0 {
            return Err(damaged(format!("it uses features that are not known: {:#x}", incompatible & !UNDERSTOOD)));
        }
        let is_wide = incompatible & WIDE != 0;
        let shift = u32_at(&block, 24);
        if shift > 6 {
            return Err(damaged("its blocks are larger than 64 KiB"));
        }
        let descriptor_size = if is_wide { u64::from(u16_at(&block, 254)) } else { 32 };
        let inode_size = if u32_at(&block, 76) == 0 { 128 } else { u64::from(u16_at(&block, 88)) };
        let high = if is_wide { u32_at(&block, 336) } else { 0 };
        let mut ext = Ext {
            source,
            block_size: 1024 << shift,
            blocks: wide(u32_at(&block, 4), high),
            first_block: u64::from(u32_at(&block, 20)),
            blocks_per_group: u64::from(u32_at(&block, 32)),
            inodes: u32_at(&block, 0),
            inodes_per_group: u32_at(&block, 40),
            inode_size,
            groups: Vec::new(),
            reserved_descriptors: u64::from(u16_at(&block, 206)),
            descriptor_size,
            read_only,
            compatible,
            backup_groups: [u32_at(&block, 588), u32_at(&block, 592)],
            budget: 0,
        };
        ext.check()?;
        ext.read_groups(is_wide)?;
        Ok(ext)
    }

    fn check(&self) -> Result<()> {
        let fits = |size: u64| size >= 32 && size <= self.block_size;
        let most = self.block_size * 8;
        if self.blocks_per_group < 256 || (self.blocks_per_group > most && self.read_only & BIGALLOC == 0) {
            return Err(damaged("its groups have an impossible size"));
        }
        if self.inodes_per_group == 0 || u64::from(self.inodes_per_group) > most || self.inode_size < 128 {
            return Err(damaged("its inodes are impossible"));
        }
        if !fits(self.descriptor_size) || !fits(self.inode_size) || self.first_block >= self.blocks {
            return Err(damaged("its sizes are impossible"));
        }
        if self.blocks.checked_mul(self.block_size).is_none_or(|size| size > self.source.length().0) {
            return Err(damaged("it is longer than its partition"));
        }
        Ok(())
    }

    fn read_groups(&mut self, is_wide: bool) -> Result<()> {
        let count = (self.blocks - self.first_block).div_ceil(self.blocks_per_group);
        let table = (self.first_block + 1) * self.block_size;
        let length = count * self.descriptor_size;
        if table + length > self.blocks * self.block_size {
            return Err(damaged("its group descriptors do not fit"));
        }
        let mut bytes = vec![0; length as usize];
        self.source.read_at(table, &mut bytes).or_cannot(|| "read the ext filesystem's groups")?;
        for descriptor in bytes.chunks_exact(self.descriptor_size as usize) {
            let high = |at| if is_wide && self.descriptor_size >= 64 { u32_at(descriptor, at) } else { 0 };
            self.groups.push(Group {
                block_bitmap: wide(u32_at(descriptor, 0), high(32)),
                inode_bitmap: wide(u32_at(descriptor, 4), high(36)),
                inode_table: wide(u32_at(descriptor, 8), high(40)),
                flags: u16_at(descriptor, 18),
            });
        }
        Ok(())
    }

    /// A block's bytes.
    fn block(&mut self, number: u64) -> Result<Vec<u8>> {
        if number >= self.blocks {
            return Err(damaged(format!("block {number} lies behind its end")));
        }
        self.spend(1)?;
        let mut block = vec![0; self.block_size as usize];
        self.source.read_at(number * self.block_size, &mut block).or_cannot(|| "read the ext filesystem")?;
        Ok(block)
    }

    /// Names of one file share its blocks, so some are read more than once, but no sound filesystem comes near this.
    fn spend(&mut self, blocks: u64) -> Result<()> {
        self.budget = self.budget.checked_sub(blocks).ok_or_else(|| damaged("its blocks are used again and again"))?;
        Ok(())
    }

    /// Grants as much reading as a sound filesystem can need.
    fn begin(&mut self) {
        self.budget = self.blocks.saturating_mul(16);
    }

    fn inode(&mut self, number: u32) -> Result<Inode> {
        if number == 0 || number > self.inodes {
            return Err(damaged(format!("there is no inode {number}")));
        }
        let (group, index) = ((number - 1) / self.inodes_per_group, (number - 1) % self.inodes_per_group);
        let group = self.groups.get(group as usize).ok_or_else(|| damaged("an inode lies in no group"))?;
        let at = u64::from(index) * self.inode_size;
        let block = group.inode_table.checked_add(at / self.block_size).filter(|block| *block < self.blocks);
        let block = block.ok_or_else(|| damaged("its inodes lie behind its end"))?;
        let mut bytes = vec![0; self.inode_size as usize];
        let offset = block * self.block_size + at % self.block_size;
        self.source.read_at(offset, &mut bytes).or_cannot(|| "read the ext filesystem's inodes")?;
        Ok(Inode::decode(&bytes))
    }

    /// Names at the top.
    pub fn top(&mut self) -> Result<Vec<Vec<u8>>> {
        self.begin();
        let root = self.inode(ROOT)?;
        Ok(self.names(&root)?.into_iter().map(|(name, _)| name).collect())
    }

    /// Shows every entry, a folder before its content, to `see`, with the bytes of regular files. Holes are shown as no
    /// more than one block of zeros.
    pub fn walk(&mut self, see: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<()>) -> Result<()> {
        self.walk_exactly(&|_| false, see)
    }

    /// As [`Ext::walk`], with whole holes in the files that `exactly` names.
    pub fn walk_exactly(
        &mut self,
        exactly: &dyn Fn(&Entry) -> bool,
        see: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        self.begin();
        let mut folders = vec![(RootPath::root(), ROOT)];
        let mut visited = BTreeSet::from([ROOT]);
        let mut seen = 0;
        let root = self.inode(ROOT)?;
        let root = self.entry(&root, ROOT, RootPath::root())?;
        see(root, &mut std::io::empty())?;
        while let Some((folder, number)) = folders.pop() {
            let inode = self.inode(number)?;
            for (name, number) in self.names(&inode)? {
                seen += 1;
                if seen > MOST_ENTRIES {
                    return Err(damaged("it holds too many entries"));
                }
                let inode = self.inode(number)?;
                let path = folder.join(&name);
                let entry = self.entry(&inode, number, path.clone())?;
                match entry.kind {
                    Kind::File => {
                        let extents = self.extents(&inode)?;
                        let holes = if exactly(&entry) { Holes::Whole } else { Holes::Short };
                        self.spend(match holes {
                            Holes::Whole => inode.size.div_ceil(self.block_size),
                            Holes::Short => extents.iter().map(|extent| extent.length).sum(),
                        })?;
                        let mut content = Content::new(self, extents, inode.size, holes);
                        see(entry, &mut content)?;
                    }
                    Kind::Folder => {
                        see(entry, &mut std::io::empty())?;
                        if visited.insert(number) {
                            folders.push((path, number));
                        }
                    }
                    _ => see(entry, &mut std::io::empty())?,
                }
            }
        }
        Ok(())
    }

    /// Names and inodes in a folder; `.`, `..` and names that no folder can have are left out.
    fn names(&mut self, inode: &Inode) -> Result<Vec<(Vec<u8>, u32)>> {
        let mut names = Vec::new();
        let extents = self.extents(inode)?;
        for extent in extents.iter().filter(|extent| extent.physical != 0) {
            for block in extent.physical..extent.physical + extent.length {
                let block = self.block(block)?;
                let mut at = 0;
                // An index block of a hashed folder looks like one unused entry that fills the block.
                while at + 8 <= block.len() {
                    let (number, length) = (u32_at(&block, at), u16_at(&block, at + 4));
                    // 65536 does not fit: large blocks say 65535 or 0.
                    let length = if matches!(length, 0 | 65535) { block.len() - at } else { usize::from(length) };
                    let name_end = at + 8 + usize::from(block[at + 6]);
                    if length < 8 || at + length > block.len() || (number != 0 && name_end > at + length) {
                        return Err(damaged("a folder is damaged"));
                    }
                    let name = block.get(at + 8..name_end).unwrap_or_default();
                    if number != 0 && name != b"." && name != b".." && !name.is_empty() && !name.contains(&b'/') {
                        names.push((name.to_vec(), number));
                    }
                    at += length;
                }
            }
        }
        names.sort();
        Ok(names)
    }

    fn entry(&mut self, inode: &Inode, number: u32, path: RootPath) -> Result<Entry> {
        let kind = match inode.mode & 0xf000 {
            0x4000 => Kind::Folder,
            0xa000 => Kind::Symlink(self.symlink(inode)?),
            0x2000 => Kind::CharDevice { major: inode.device().0, minor: inode.device().1 },
            0x6000 => Kind::BlockDevice { major: inode.device().0, minor: inode.device().1 },
            0x1000 => Kind::Fifo,
            0xc000 => Kind::Socket,
            _ => Kind::File,
        };
        Ok(Entry {
            path,
            kind,
            mode: u32::from(inode.mode & 0xfff),
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            mtime_nanoseconds: 0,
            size: Bytes(inode.size),
            inode: (0, u64::from(number)),
            links: u64::from(inode.links),
        })
    }

    fn symlink(&mut self, inode: &Inode) -> Result<Vec<u8>> {
        if let Some(target) = inode.short_symlink() {
            return Ok(target.to_vec());
        }
        let extents = self.extents(inode)?;
        let mut target = Vec::new();
        // PATH_MAX (limits.h): no longer target can be made.
        let mut content = Content::new(self, extents, inode.size.min(4096), Holes::Short);
        content.read_to_end(&mut target).or_cannot(|| "read a symlink of the ext filesystem")?;
        Ok(target)
    }
}
