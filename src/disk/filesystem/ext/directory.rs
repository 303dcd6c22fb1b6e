//! The blocks of a directory: a list, or an index over lists where it is longer than a block.
//!
//! In: names, inode numbers and types. Out: the directory's blocks with their checksums. The order of entries follows
//! from their names alone.

use super::checksum::crc32c;
use super::hash::half_md4;
use super::layout::{DirectoryIndex, Layout};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// 1 to 255 bytes.
    pub name: Vec<u8>,
    /// Inode.
    pub inode: u32,
    /// `EXT4_FT_*`.
    pub kind: u8,
}

/// A directory's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Whole blocks.
    pub content: Vec<u8>,
    /// Whether an index stands in the first block (`EXT4_INDEX_FL`).
    pub is_indexed: bool,
}

/// `EXT4_FT_DIR`.
pub const FOLDER: u8 = 2;
const TAIL: usize = 12;
/// Where the index's entries begin in the first block.
const ROOT_ENTRIES: usize = 32;
/// Where they begin in the other blocks of the index.
const NODE_ENTRIES: usize = 8;

/// The directory with inode `own` below `parent`. `names` are sorted.
pub fn directory(names: &[Name], own: u32, parent: u32, layout: &Layout) -> Directory {
    let builder = Builder { layout, sum: layout.inode_sum(own) };
    let dots = [(&b"."[..], own), (b"..", parent)];
    let dots = dots.map(|(name, inode)| Name { name: name.into(), inode, kind: FOLDER });
    let all: Vec<&Name> = dots.iter().chain(names).collect();
    let mut blocks = builder.lists(&all);
    let DirectoryIndex::HalfMd4(seed, bytewise) = layout.index else {
        return Directory { content: blocks.concat(), is_indexed: false };
    };
    if blocks.len() == 1 {
        return Directory { content: blocks.concat(), is_indexed: false };
    }
    let mut hashed: Vec<(u32, u32, &Name)> = names
        .iter()
        .map(|name| (half_md4(&name.name, seed, bytewise), name))
        .map(|((a, b), name)| (a, b, name))
        .collect();
    hashed.sort_by(|a, b| (a.0, a.1, &a.2.name).cmp(&(b.0, b.1, &b.2.name)));
    blocks = builder.lists(&hashed.iter().map(|(_, _, name)| *name).collect::<Vec<_>>());
    // How many names went into each block tells the hash that each one begins with.
    let mut starts = Vec::with_capacity(blocks.len());
    let mut at = 0;
    for block in &blocks {
        let hash = hashed[at].0;
        let continues = at > 0 && hashed[at - 1].0 == hash;
        starts.push(hash | u32::from(continues));
        at += builder.names_in(block);
    }
    match builder.index(own, parent, &starts) {
        Some(mut index) => {
            index.extend(blocks.concat());
            Directory { content: index, is_indexed: true }
        }
        // More names than two levels can index: a list works too.
        None => Directory { content: builder.lists(&all).concat(), is_indexed: false },
    }
}

struct Builder<'a> {
    layout: &'a Layout,
    sum: Option<u32>,
}

impl Builder<'_> {
    fn usable(&self) -> usize {
        self.layout.block_size - if self.sum.is_some() { TAIL } else { 0 }
    }

    /// Entries one after the other; the last one of each block reaches to its end.
    fn lists(&self, names: &[&Name]) -> Vec<Vec<u8>> {
        let mut blocks = Vec::new();
        let (mut block, mut last, mut at) = (vec![0; self.layout.block_size], 0, 0);
        for name in names {
            let length = (8 + name.name.len()).next_multiple_of(4);
            if at + length > self.usable() {
                blocks.push(self.close(block, last, at));
                (block, at) = (vec![0; self.layout.block_size], 0);
            }
            let entry = &mut block[at..at + length];
            entry[0..4].copy_from_slice(&name.inode.to_le_bytes());
            entry[4..6].copy_from_slice(&(length as u16).to_le_bytes());
            entry[6] = name.name.len() as u8;
            entry[7] = if self.layout.has_file_types { name.kind } else { 0 };
            entry[8..8 + name.name.len()].copy_from_slice(&name.name);
            (last, at) = (at, at + length);
        }
        blocks.push(self.close(block, last, at));
        blocks
    }

    fn close(&self, mut block: Vec<u8>, last: usize, at: usize) -> Vec<u8> {
        let length = if at == 0 { self.usable() } else { self.usable() - last };
        block[last + 4..last + 6].copy_from_slice(&(length as u16).to_le_bytes());
        if let Some(sum) = self.sum {
            let end = self.usable();
            let sum = crc32c(sum, &block[..end]);
            block[end + 4..end + 6].copy_from_slice(&(TAIL as u16).to_le_bytes());
            block[end + 7] = 0xde;
            block[end + 8..].copy_from_slice(&sum.to_le_bytes());
        }
        block
    }

    fn names_in(&self, block: &[u8]) -> usize {
        let (mut at, mut names) = (0, 0);
        while at < self.usable() {
            names += 1;
            at += usize::from(u16::from_le_bytes([block[at + 4], block[at + 5]]));
        }
        names
    }

    /// The blocks of the index in front of leaves that begin with these hashes; `None` where two levels are too few.
    fn index(&self, own: u32, parent: u32, starts: &[u32]) -> Option<Vec<u8>> {
        let tail = if self.sum.is_some() { 8 } else { 0 };
        let in_root = (self.layout.block_size - ROOT_ENTRIES - tail) / 8;
        let in_node = (self.layout.block_size - NODE_ENTRIES - tail) / 8;
        let nodes = if starts.len() <= in_root { 0 } else { starts.len().div_ceil(in_node) };
        if nodes > in_root {
            return None;
        }
        let leaves: Vec<(u32, u32)> = starts.iter().copied().zip(1 + nodes as u32..).collect();
        let mut root = vec![0; self.layout.block_size];
        for (at, inode, length, name) in
            [(0, own, 12, &b"."[..]), (12, parent, self.layout.block_size - 12, &b".."[..])]
        {
            root[at..at + 4].copy_from_slice(&inode.to_le_bytes());
            root[at + 4..at + 6].copy_from_slice(&(length as u16).to_le_bytes());
            root[at + 6] = name.len() as u8;
            root[at + 7] = if self.layout.has_file_types { FOLDER } else { 0 };
            root[at + 8..at + 8 + name.len()].copy_from_slice(name);
        }
        // Half MD4, length of this record, levels below the root.
        root[28..31].copy_from_slice(&[1, 8, u8::from(nodes > 0)]);
        if nodes == 0 {
            self.entries(&mut root, ROOT_ENTRIES, in_root, &leaves);
            return Some(root);
        }
        let chunks: Vec<&[(u32, u32)]> = leaves.chunks(in_node).collect();
        let above: Vec<(u32, u32)> = chunks.iter().map(|chunk| chunk[0].0).zip(1..).collect();
        self.entries(&mut root, ROOT_ENTRIES, in_root, &above);
        for chunk in chunks {
            let mut node = vec![0; self.layout.block_size];
            node[4..6].copy_from_slice(&(self.layout.block_size as u16).to_le_bytes());
            self.entries(&mut node, NODE_ENTRIES, in_node, chunk);
            root.extend(node);
        }
        Some(root)
    }

    /// Limit and count take the place of the first entry's hash, which is by definition the lowest.
    fn entries(&self, block: &mut [u8], begin: usize, limit: usize, entries: &[(u32, u32)]) {
        for (index, (hash, target)) in entries.iter().enumerate() {
            let at = begin + 8 * index;
            block[at..at + 4].copy_from_slice(&hash.to_le_bytes());
            block[at + 4..at + 8].copy_from_slice(&target.to_le_bytes());
        }
        block[begin..begin + 2].copy_from_slice(&(limit as u16).to_le_bytes());
        block[begin + 2..begin + 4].copy_from_slice(&(entries.len() as u16).to_le_bytes());
        if let Some(sum) = self.sum {
            let tail = begin + 8 * limit;
            let sum = crc32c(sum, &block[..begin + 8 * entries.len()]);
            // The tail's reserved word and its still empty checksum are part of the sum.
            let sum = crc32c(sum, &[0; 8]);
            block[tail + 4..tail + 8].copy_from_slice(&sum.to_le_bytes());
        }
    }
}
