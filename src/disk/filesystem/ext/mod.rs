//! ext2, ext3 and ext4, filled by us.
//!
//! In: a part of the tree. Out: a filesystem in a byte range of the disk. mke2fs makes it empty, and everything that is
//! put into it is written here, in the order of names: the same tree gives the same bytes, whatever filesystem
//! holds it on the build host, and the size is known before the first byte is written. Never mounts, never needs root.
//!
//! References: linux/Documentation/filesystems/ext4, linux/fs/ext4.

pub mod allocate;
pub mod attribute;
pub mod checksum;
pub mod directory;
pub mod draft;
pub mod empty;
pub mod hash;
pub mod inode;
pub mod layout;
pub mod mapping;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::prelude::*;

use super::Room;
use super::content::{Content, Node};
use crate::bytes::{Bytes, is_zero};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::plan::Filesystem;
use crate::report::{Reporter, Step};
use crate::root::RootTree;
use crate::root::tree::Kind;
use allocate::{Allocator, Extent, Full, Taken, place};
use draft::{Draft, Drafts, ROOT, draft, is_fast_symlink};
use empty::{Empty, INODE_RATIO, Recipe};
use inode::{EXTENTS, INDEXED, Inode, redate};
use layout::{Blocks, Layout, Mapping};
use mapping::{Map, map};

/// The inode of lost+found, which mke2fs makes.
const LOST_AND_FOUND: u32 = 11;
/// A filesystem's size is a multiple of this.
const STEP: Bytes = Bytes::mib(1);
/// Zeros in pieces of this length are not written: the file under the disk stays sparse.
const SPARSE: usize = 64 << 10;

/// A filesystem whose every byte is decided.
#[derive(Debug)]
pub struct Filled<'a> {
    content: &'a Content,
    layout: Layout,
    size: Bytes,
    blocks: Blocks,
    files: Vec<Placed>,
}

/// Where a file is.
#[derive(Debug)]
struct Placed {
    extents: Vec<Extent>,
    map: Map,
}

/// An attempt at a size.
struct Attempt {
    empty: Empty,
    size: Bytes,
    files: Vec<Placed>,
    attribute_blocks: Vec<u64>,
    taken: Taken,
    free: Bytes,
}

/// Decides everything. 65 where the content does not fit `room`, with the size that it needs.
pub fn fill<'a>(
    content: &'a Content,
    filesystem: &Filesystem,
    room: Room,
    epoch: i64,
    scratch: &Path,
    reporter: &Reporter,
) -> Result<Filled<'a>> {
    let sizing = Sizing { content, recipe: Recipe::new(filesystem)?, scratch, reporter };
    let attempt = match room {
        Room::Exactly(size) => match sizing.attempt(size.align_down(STEP.min(size)))? {
            Ok(attempt) => attempt,
            Err(Full) => {
                let needed = sizing.smallest(&|_| Bytes::ZERO)?.size;
                return Err(Error::cannot(
                    Exit::Description,
                    format!("fit {} into its partition", filesystem.mount_point),
                )
                .because(format!("it has {size} ({} bytes) and needs {needed} ({} bytes)", size.0, needed.0))
                .hint("ask for a larger <size>, or for none: the disk is then as large as it must be"));
            }
        },
        Room::Free(free) => sizing.smallest(&|_| free)?,
        Room::Headroom => sizing.smallest(&|used| Bytes(used.0 / 20).max(Bytes::mib(32)))?,
    };
    let drafts = draft(content, &attempt.empty.layout, sizing.first_inode(&attempt.empty))?;
    Ok(finish(content, drafts, attempt, epoch))
}

struct Sizing<'a> {
    content: &'a Content,
    recipe: Recipe,
    scratch: &'a Path,
    reporter: &'a Reporter,
}

impl Sizing<'_> {
    /// What mke2fs took, lost+found included, comes first.
    fn first_inode(&self, empty: &Empty) -> u32 {
        empty.layout.taken_inodes(&empty.blocks) + 1
    }

    /// Inodes that must be there: for each file, and some for a system that runs.
    fn inodes(&self) -> u64 {
        let files = self.content.nodes.len() as u64;
        files + (files / 20).max(1024) + u64::from(LOST_AND_FOUND)
    }

    fn attempt(&self, size: Bytes) -> Result<Result<Attempt, Full>> {
        let empty = self.recipe.make(size, self.inodes(), self.scratch, self.reporter)?;
        let first = self.first_inode(&empty);
        if u64::from(empty.layout.inodes) < u64::from(first) + self.content.nodes.len() as u64 {
            return Ok(Err(Full));
        }
        let drafts = draft(self.content, &empty.layout, first)?;
        Ok(self.place(empty, size, &drafts))
    }

    /// Chooses blocks: folders first, then attributes, then files, all in the order of names.
    fn place(&self, empty: Empty, size: Bytes, drafts: &Drafts) -> Result<Attempt, Full> {
        let layout = &empty.layout;
        let mut taken = layout.taken_blocks(&empty.blocks);
        if let Some(block) = first_block_of(ROOT, &empty) {
            taken.clear(block);
        }
        let mut allocator = Allocator::new(taken);
        let mut files: Vec<Option<Placed>> = drafts.files.iter().map(|_| None).collect();
        let mut attribute_blocks = Vec::new();
        for folders in [true, false] {
            for (file, draft) in files.iter_mut().zip(&drafts.files) {
                if draft.directory.is_some() == folders {
                    let extents = place(&mut allocator, &draft.data, layout.mapping)?;
                    let map = map(&extents, layout, draft.number, &mut allocator)?;
                    *file = Some(Placed { extents, map });
                }
            }
            if folders {
                for _ in &drafts.attribute_blocks {
                    attribute_blocks.push(allocator.take_one()?);
                }
            }
        }
        let free = Bytes(allocator.free() * layout.block_size as u64);
        let taken = allocator.finish(drafts.inodes);
        Ok(Attempt { size, files: files.into_iter().flatten().collect(), attribute_blocks, taken, free, empty })
    }

    /// The smallest filesystem that leaves as much free as `wanted` says for what is used, to a megabyte or two.
    fn smallest(&self, wanted: &dyn Fn(Bytes) -> Bytes) -> Result<Attempt> {
        let data: u64 = self
            .content
            .nodes
            .iter()
            .map(|node| {
                let data = node.data.iter().map(|(start, end)| end - start).sum::<u64>();
                data + if node.entry.is_file() { 0 } else { 1024 }
            })
            .sum();
        let spare = wanted(Bytes(data));
        let inodes = (self.inodes() * 256).max(data / INODE_RATIO * 256);
        let mut size = Bytes(data + inodes + data / 512 + (6 << 20)) + spare;
        size = size.align_up(STEP);
        let (mut best, mut too_small): (Option<Attempt>, _) = (None, Bytes::ZERO);
        for _ in 0..16 {
            let next = match self.attempt(size)? {
                Err(Full) => {
                    too_small = too_small.max(size);
                    size + (Bytes(size.0 / 16).max(Bytes::mib(8))).align_up(STEP)
                }
                Ok(attempt) => {
                    let used = Bytes(attempt.size.0.saturating_sub(attempt.free.0));
                    let wanted = wanted(used);
                    if attempt.free < wanted {
                        too_small = too_small.max(size);
                        size + (wanted - attempt.free).align_up(STEP)
                    } else {
                        let surplus = (attempt.free - wanted).align_down(STEP);
                        best = Some(attempt);
                        size - surplus
                    }
                }
            };
            if best.as_ref().is_some_and(|best| next >= best.size || next <= too_small) {
                break;
            }
            size = next;
        }
        best.ok_or_else(|| {
            Error::cannot(Exit::Description, "find a size for a filesystem").because("no size up to now was enough")
        })
    }
}

/// The first block of an inode that mke2fs wrote.
fn first_block_of(number: u32, empty: &Empty) -> Option<u64> {
    let (block, offset) = empty.layout.inode_place(number);
    let record = &empty.blocks.get(&block)?[offset..];
    let at = if empty.layout.mapping == Mapping::Extents { 0x28 + 12 + 8 } else { 0x28 };
    Some(u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]).into())
}

fn finish<'a>(content: &'a Content, drafts: Drafts, attempt: Attempt, epoch: i64) -> Filled<'a> {
    let Attempt { empty, size, mut files, attribute_blocks, taken, .. } = attempt;
    let root_block = first_block_of(ROOT, &empty);
    let Empty { mut layout, mut blocks } = empty;
    root_block.map(|block| blocks.remove(&block));
    let block_size = layout.block_size;
    let record_at = |blocks: &mut Blocks, layout: &Layout, number: u32, record: &dyn Fn(&mut [u8])| {
        let (block, offset) = layout.inode_place(number);
        let content = blocks.entry(block).or_insert_with(|| vec![0; block_size]);
        record(&mut content[offset..offset + layout.inode_size]);
    };
    layout.groups.iter_mut().for_each(|group| group.directories = 0);
    layout.groups[((LOST_AND_FOUND - 1) / layout.inodes_per_group) as usize].directories += 1;
    let first = drafts.files.get(1).map_or(drafts.inodes + 1, |draft| draft.number);
    for number in (1..first).filter(|number| *number != ROOT) {
        record_at(&mut blocks, &layout, number, &|record| {
            if !is_zero(record) {
                redate(record, number, epoch, &layout);
            }
        });
    }
    for ((draft, file), node) in drafts.files.iter().zip(&mut files).zip(&content.nodes) {
        let attribute_block = draft.attribute_block.map_or(0, |index| attribute_blocks[index]);
        let inode = inode_of(node, draft, file, attribute_block, epoch, &layout);
        let encoded = inode.encode(&layout);
        record_at(&mut blocks, &layout, draft.number, &|record| record.copy_from_slice(&encoded));
        if node.entry.is_folder() {
            layout.groups[((draft.number - 1) / layout.inodes_per_group) as usize].directories += 1;
        }
        let inline = match (&draft.directory, &node.entry.kind) {
            (Some(directory), _) => &directory.content[..],
            (None, Kind::Symlink(target)) if !draft.data.is_empty() => target,
            _ => &[],
        };
        let places = file.extents.iter().flat_map(|extent| extent.start..extent.start + extent.length);
        for (block, bytes) in places.zip(inline.chunks(block_size)) {
            let mut content = bytes.to_vec();
            content.resize(block_size, 0);
            blocks.insert(block, content);
        }
        blocks.extend(std::mem::take(&mut file.map.blocks));
    }
    for ((content, references), place) in drafts.attribute_blocks.into_iter().zip(attribute_blocks) {
        blocks.insert(place, attribute::finish_block(content, place, references, &layout));
    }
    layout.finish(&mut blocks, &taken, epoch);
    Filled { content, layout, size, blocks, files }
}

fn inode_of(node: &Node, draft: &Draft, file: &Placed, attribute_block: u64, epoch: i64, layout: &Layout) -> Inode {
    let entry = &node.entry;
    let mut flags = if layout.mapping == Mapping::Extents { EXTENTS } else { 0 };
    let mut root = file.map.root;
    let mut size = entry.size.0;
    let kind = match &entry.kind {
        Kind::Folder => {
            let directory = draft.directory.as_ref();
            size = directory.map_or(0, |directory| directory.content.len() as u64);
            flags |= if directory.is_some_and(|directory| directory.is_indexed) { INDEXED } else { 0 };
            0o040_000
        }
        Kind::File => 0o100_000,
        Kind::Symlink(target) => {
            size = target.len() as u64;
            if is_fast_symlink(node) {
                (flags, root) = (0, [0; 60]);
                root[..target.len()].copy_from_slice(target);
            }
            0o120_000
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            (flags, root) = (0, device(*major, *minor));
            size = 0;
            if matches!(entry.kind, Kind::CharDevice { .. }) { 0o020_000 } else { 0o060_000 }
        }
        Kind::Fifo | Kind::Socket => {
            (flags, root, size) = (0, [0; 60], 0);
            if entry.kind == Kind::Fifo { 0o010_000 } else { 0o140_000 }
        }
    };
    let data = file.extents.iter().map(|extent| extent.length).sum::<u64>();
    // The root folder is also lost+found's parent. More subfolders than fit the field: the kernel writes 1 and stops counting.
    let links = node.links + u32::from(draft.number == ROOT);
    let links = if links >= 65_000 && entry.is_folder() && layout.has_many_links { 1 } else { links };
    Inode {
        number: draft.number,
        mode: kind | entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size,
        links,
        blocks: data + file.map.blocks.len() as u64 + u64::from(attribute_block != 0),
        flags,
        root,
        modified: entry.mtime.min(epoch),
        created: epoch,
        attribute_block,
        attributes: draft.attributes.clone(),
    }
}

/// Device numbers in `i_block`: the old form where both fit a byte, else the new one (linux/kdev_t.h).
fn device(major: u32, minor: u32) -> [u8; 60] {
    let mut root = [0; 60];
    if major < 256 && minor < 256 {
        root[..4].copy_from_slice(&(major << 8 | minor).to_le_bytes());
    } else {
        root[4..8].copy_from_slice(&(minor & 0xff | major << 8 | (minor & !0xff) << 12).to_le_bytes());
    }
    root
}

impl Filled<'_> {
    /// Its length on the disk.
    pub fn size(&self) -> Bytes {
        self.size
    }

    /// Writes it into `disk`, which is zero there, at `offset`.
    pub fn write(&self, tree: &RootTree, disk: &File, offset: Bytes, step: &Step) -> Result<()> {
        let block_size = self.layout.block_size as u64;
        let mut run: (u64, Vec<u8>) = (0, Vec::new());
        let flush = |run: &mut (u64, Vec<u8>)| {
            let (block, bytes) = std::mem::take(run);
            disk.write_all_at(&bytes, offset.0 + block * block_size).or_cannot(|| "write the disk")
        };
        for (block, content) in self.blocks.iter().filter(|(_, content)| !is_zero(content)) {
            if run.0 + run.1.len() as u64 / block_size != *block || run.1.len() >= 4 << 20 {
                flush(&mut run)?;
                run.0 = *block;
            }
            run.1.extend(content);
        }
        flush(&mut run)?;
        let files = self.content.nodes.par_iter().zip(&self.files).filter(|(node, _)| node.entry.is_file());
        files.try_for_each_init(
            || vec![0; 1 << 20],
            |buffer, (node, file)| self.write_file(tree, node, file, disk, offset, buffer, step),
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn write_file(
        &self,
        tree: &RootTree,
        node: &Node,
        file: &Placed,
        disk: &File,
        offset: Bytes,
        buffer: &mut [u8],
        step: &Step,
    ) -> Result<()> {
        if file.extents.is_empty() {
            return Ok(());
        }
        let source = tree.open_file(&node.entry.path)?;
        let block_size = self.layout.block_size as u64;
        let size = node.entry.size.0;
        for extent in &file.extents {
            let mut from = extent.logical * block_size;
            let end = ((extent.logical + extent.length) * block_size).min(size);
            let mut to = offset.0 + extent.start * block_size;
            while from < end {
                let piece = &mut buffer[..(end - from).min(1 << 20) as usize];
                source
                    .read_exact_at(piece, from)
                    .or_cannot(|| format!("read {} in the image (it changed meanwhile?)", node.entry.path))?;
                write_sparsely(disk, piece, to).or_cannot(|| "write the disk")?;
                from += piece.len() as u64;
                to += piece.len() as u64;
            }
        }
        let mut rest = [0; 1];
        let grown = source.read_at(&mut rest, size).or_cannot(|| format!("read {}", node.entry.path))? > 0;
        if grown {
            return Err(Error::cannot(Exit::Io, format!("copy {} to the disk", node.entry.path))
                .because("it grew while the disk was written"));
        }
        step.advance(1, size);
        Ok(())
    }
}

fn write_sparsely(disk: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    let (mut at, mut rest) = (at, bytes);
    while !rest.is_empty() {
        let zeros: usize = rest.chunks(SPARSE).take_while(|piece| is_zero(piece)).map(<[u8]>::len).sum();
        (at, rest) = (at + zeros as u64, &rest[zeros..]);
        let data: usize = rest.chunks(SPARSE).take_while(|piece| !is_zero(piece)).map(<[u8]>::len).sum();
        disk.write_all_at(&rest[..data], at)?;
        (at, rest) = (at + data as u64, &rest[data..]);
    }
    Ok(())
}
