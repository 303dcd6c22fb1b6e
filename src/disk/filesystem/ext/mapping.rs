//! How a file's blocks are found: extent trees of ext4, indirect blocks of ext2 and ext3.
//!
//! In: the extents of a file. Out: the 60 bytes in its inode, and the blocks that hold the rest of the map. Never
//! splits what is consecutive.

use super::allocate::{Allocator, Extent, Full};
use super::checksum::crc32c;
use super::layout::{Layout, Mapping};

/// A file's map.
#[derive(Clone, Debug)]
pub struct Map {
    /// `i_block` of the inode.
    pub root: [u8; 60],
    /// Blocks of the map outside the inode.
    pub blocks: Vec<(u64, Vec<u8>)>,
}

/// The map of `extents`, in ascending order of their logical blocks, for inode `number`.
pub fn map(extents: &[Extent], layout: &Layout, number: u32, allocator: &mut Allocator) -> Result<Map, Full> {
    match layout.mapping {
        Mapping::Extents => tree(extents, layout, number, allocator),
        Mapping::Indirect => Indirect { layout, allocator, blocks: Vec::new() }.map(extents),
    }
}

const HEADER: usize = 12;
const ENTRY: usize = 12;
const IN_INODE: usize = 4;

fn header(node: &mut [u8], entries: usize, most: usize, depth: u16) {
    node[0..2].copy_from_slice(&0xf30a_u16.to_le_bytes());
    node[2..4].copy_from_slice(&(entries as u16).to_le_bytes());
    node[4..6].copy_from_slice(&(most as u16).to_le_bytes());
    node[6..8].copy_from_slice(&depth.to_le_bytes());
}

fn tree(extents: &[Extent], layout: &Layout, number: u32, allocator: &mut Allocator) -> Result<Map, Full> {
    let most = (layout.block_size - HEADER) / ENTRY;
    let mut level: Vec<[u8; ENTRY]> = extents.iter().map(leaf_entry).collect();
    let (mut depth, mut blocks) = (0, Vec::new());
    while level.len() > IN_INODE {
        let mut above = Vec::new();
        for entries in level.chunks(most) {
            let block = allocator.take_one()?;
            let mut node = vec![0; layout.block_size];
            header(&mut node, entries.len(), most, depth);
            node[HEADER..HEADER + entries.len() * ENTRY].copy_from_slice(entries.as_flattened());
            if let Some(sum) = layout.inode_sum(number) {
                let tail = HEADER + most * ENTRY;
                let sum = crc32c(sum, &node[..tail]);
                node[tail..tail + 4].copy_from_slice(&sum.to_le_bytes());
            }
            above.push(index_entry(&entries[0], block));
            blocks.push((block, node));
        }
        (level, depth) = (above, depth + 1);
    }
    let mut root = [0; 60];
    header(&mut root, level.len(), IN_INODE, depth);
    root[HEADER..HEADER + level.len() * ENTRY].copy_from_slice(level.as_flattened());
    Ok(Map { root, blocks })
}

fn leaf_entry(extent: &Extent) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[0..4].copy_from_slice(&(extent.logical as u32).to_le_bytes());
    entry[4..6].copy_from_slice(&(extent.length as u16).to_le_bytes());
    entry[6..8].copy_from_slice(&((extent.start >> 32) as u16).to_le_bytes());
    entry[8..12].copy_from_slice(&(extent.start as u32).to_le_bytes());
    entry
}

fn index_entry(first: &[u8; ENTRY], block: u64) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[0..4].copy_from_slice(&first[0..4]);
    entry[4..8].copy_from_slice(&(block as u32).to_le_bytes());
    entry[8..10].copy_from_slice(&((block >> 32) as u16).to_le_bytes());
    entry
}

const DIRECT: u64 = 12;

struct Indirect<'a> {
    layout: &'a Layout,
    allocator: &'a mut Allocator,
    blocks: Vec<(u64, Vec<u8>)>,
}

impl Indirect<'_> {
    fn map(mut self, extents: &[Extent]) -> Result<Map, Full> {
        let mut root = [0; 60];
        let per_block = self.layout.block_size as u64 / 4;
        for extent in extents {
            for at in extent.logical..(extent.logical + extent.length).min(DIRECT) {
                let block = (extent.start + at - extent.logical) as u32;
                root[at as usize * 4..][..4].copy_from_slice(&block.to_le_bytes());
            }
        }
        let (mut first, mut span) = (DIRECT, per_block);
        for level in 0..3 {
            if let Some(block) = self.level(extents, first, span, level)? {
                root[(DIRECT as usize + level) * 4..][..4].copy_from_slice(&(block as u32).to_le_bytes());
            }
            first += span;
            span *= per_block;
        }
        Ok(Map { root, blocks: self.blocks })
    }

    /// The block that maps the file's blocks `first..first + span`; none where all of them are holes.
    fn level(&mut self, extents: &[Extent], first: u64, span: u64, level: usize) -> Result<Option<u64>, Full> {
        let from = extents.partition_point(|extent| extent.logical + extent.length <= first);
        let to = extents.partition_point(|extent| extent.logical < first + span);
        if from >= to {
            return Ok(None);
        }
        let inside = &extents[from..to];
        let own = self.allocator.take_one()?;
        let mut content = vec![0; self.layout.block_size];
        let per_block = self.layout.block_size as u64 / 4;
        if level == 0 {
            for extent in inside {
                let begin = extent.logical.max(first);
                for at in begin..(extent.logical + extent.length).min(first + span) {
                    let block = (extent.start + at - extent.logical) as u32;
                    content[(at - first) as usize * 4..][..4].copy_from_slice(&block.to_le_bytes());
                }
            }
        } else {
            let below = span / per_block;
            for index in 0..per_block {
                if let Some(block) = self.level(inside, first + index * below, below, level - 1)? {
                    content[index as usize * 4..][..4].copy_from_slice(&(block as u32).to_le_bytes());
                }
            }
        }
        self.blocks.push((own, content));
        Ok(Some(own))
    }
}
