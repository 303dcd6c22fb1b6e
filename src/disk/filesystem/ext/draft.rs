//! Everything about the files of a filesystem that does not depend on its size.
//!
//! In: the content, the layout of any filesystem made by the same recipe. Out: inode numbers, encoded directories and
//! attributes. Blocks are not chosen yet.

use std::collections::HashMap;

use super::super::content::{Content, Node};
use super::attribute::{self, Encoded};
use super::directory::{Directory, FOLDER, Name, directory};
use super::layout::{Layout, Mapping};
use crate::error::{Error, Exit, Result};
use crate::root::tree::Kind;

/// Number of the root folder's inode.
pub const ROOT: u32 = 2;
/// How many files may share an attribute block (`EXT4_XATTR_REFCOUNT_MAX`).
const MOST_REFERENCES: u32 = 1024;
/// A symlink shorter than this stands in its inode.
const FAST_SYMLINK: u64 = 60;

/// A file without its place.
#[derive(Debug)]
pub struct Draft {
    /// Inode number.
    pub number: u32,
    /// What a folder holds.
    pub directory: Option<Directory>,
    /// Logical blocks with data: first and how many.
    pub data: Vec<(u64, u64)>,
    /// Attributes in the inode.
    pub attributes: Vec<u8>,
    /// Index of its attribute block in [`Drafts::attribute_blocks`].
    pub attribute_block: Option<usize>,
}

/// All of them.
#[derive(Debug)]
pub struct Drafts {
    /// In the order of the content's nodes.
    pub files: Vec<Draft>,
    /// Content and reference count.
    pub attribute_blocks: Vec<(Vec<u8>, u32)>,
    /// Inodes 1 to this one are in use.
    pub inodes: u32,
}

/// Whether a symlink stands in its inode.
pub fn is_fast_symlink(node: &Node) -> bool {
    matches!(&node.entry.kind, Kind::Symlink(target) if (target.len() as u64) < FAST_SYMLINK)
}

/// 65 where a file cannot be stored, naming it.
pub fn draft(content: &Content, layout: &Layout, first_inode: u32) -> Result<Drafts> {
    let number = |index: usize| if index == 0 { ROOT } else { first_inode + index as u32 - 1 };
    let block_size = layout.block_size as u64;
    let mut parents = vec![0; content.nodes.len()];
    for (index, node) in content.nodes.iter().enumerate() {
        for (_, child) in &node.children {
            parents[*child] = index;
        }
    }
    let mut drafts =
        Drafts { files: Vec::new(), attribute_blocks: Vec::new(), inodes: number(content.nodes.len()) - 1 };
    let mut shared: HashMap<Vec<u8>, usize> = HashMap::new();
    for (index, node) in content.nodes.iter().enumerate() {
        let refusal = |why: String| {
            Error::cannot(Exit::Description, format!("store {} in its partition", node.entry.path)).because(why)
        };
        let longest = match layout.mapping {
            Mapping::Extents => u64::from(u32::MAX),
            Mapping::Indirect => {
                let per_block = block_size / 4;
                (12 + per_block + per_block.pow(2) + per_block.pow(3)).min(u64::from(u32::MAX) / (block_size / 512))
            }
        };
        if node.entry.is_file() && node.entry.size.0.div_ceil(block_size) > longest {
            return Err(refusal(format!(
                "a file there may have at most {}",
                crate::bytes::Bytes(longest * block_size)
            )));
        }
        let mut draft = Draft {
            number: number(index),
            directory: None,
            data: Vec::new(),
            attributes: Vec::new(),
            attribute_block: None,
        };
        match &node.entry.kind {
            Kind::Folder => {
                let mut names = names(node, content, &number);
                if index == 0 {
                    names.push(Name { name: b"lost+found".to_vec(), inode: super::LOST_AND_FOUND, kind: FOLDER });
                    names.sort_by(|a, b| a.name.cmp(&b.name));
                }
                let folder = directory(&names, draft.number, number(parents[index]), layout);
                draft.data.push((0, (folder.content.len() / layout.block_size) as u64));
                draft.directory = Some(folder);
            }
            Kind::File => {
                let last = node.entry.size.0.div_ceil(block_size);
                let blocks = node.data.iter().map(|(start, end)| (start / block_size, (end / block_size).min(last)));
                draft.data = blocks.map(|(start, end)| (start, end - start)).collect();
            }
            Kind::Symlink(target) if target.len() >= layout.block_size => {
                return Err(refusal(format!(
                    "the target of a symlink there has at most {} bytes",
                    layout.block_size - 1
                )));
            }
            Kind::Symlink(_) if !is_fast_symlink(node) => draft.data.push((0, 1)),
            _ => {}
        }
        let encoded = attribute::encode(&node.attributes, layout.attribute_room(), layout.block_size);
        let Encoded { in_inode, block } = encoded.map_err(|attribute::Unstorable(why)| refusal(why))?;
        draft.attributes = in_inode;
        if let Some(block) = block {
            let known = shared.get(&block).copied();
            let known = known.filter(|known| drafts.attribute_blocks[*known].1 < MOST_REFERENCES);
            let index = known.unwrap_or(drafts.attribute_blocks.len());
            if known.is_none() {
                shared.insert(block.clone(), index);
                drafts.attribute_blocks.push((block, 0));
            }
            drafts.attribute_blocks[index].1 += 1;
            draft.attribute_block = Some(index);
        }
        drafts.files.push(draft);
    }
    Ok(drafts)
}

fn names(node: &Node, content: &Content, number: &impl Fn(usize) -> u32) -> Vec<Name> {
    node.children
        .iter()
        .map(|(name, child)| {
            let kind = match content.nodes[*child].entry.kind {
                Kind::File => 1,
                Kind::Folder => FOLDER,
                Kind::CharDevice { .. } => 3,
                Kind::BlockDevice { .. } => 4,
                Kind::Fifo => 5,
                Kind::Socket => 6,
                Kind::Symlink(_) => 7,
            };
            Name { name: name.clone(), inode: number(*child), kind }
        })
        .collect()
}
