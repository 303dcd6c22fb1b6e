//! What goes into one filesystem: a part of the tree.
//!
//! In: the tree, a mount point, the mount points of the other partitions. Out: its files as nodes with what only a
//! look into them can tell: extended attributes, and where a file holds data rather than zeros. What comes out depends on
//! the tree's content alone, never on the filesystem that holds it: not on its inode numbers, its order or its holes.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;

use rayon::prelude::*;

use crate::bytes::{Bytes, is_zero};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file::next_data;
use crate::root::tree::Entry;
use crate::root::{RootPath, RootTree};

/// Zeros are looked for in pieces of this length.
pub const PIECE: u64 = 4096;
/// A shorter stretch of zeros is stored: a file in fewer pieces is worth more than the room.
const SHORTEST_HOLE: u64 = 32 * PIECE;

/// A file, folder or node. Hard links share one.
#[derive(Clone, Debug)]
pub struct Node {
    /// The entry in the tree; for hard links the first one in the order of names.
    pub entry: Entry,
    /// Number of names in this filesystem; for a folder `.`, its name and its subfolders' `..`.
    pub links: u32,
    /// What is in a folder: names in byte order, indices of their nodes.
    pub children: Vec<(Vec<u8>, usize)>,
    /// Extended attributes, sorted by name.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where a file holds data: start and end in bytes, whole [`PIECE`]s, ascending, not touching.
    pub data: Vec<(u64, u64)>,
}

/// The nodes of one filesystem, folders before what is in them; the first one is its root folder.
#[derive(Clone, Debug)]
pub struct Content {
    /// See [`Content`].
    pub nodes: Vec<Node>,
}

/// Reads what is at and below `mount_point`, without what is below one of `elsewhere`.
pub fn read(tree: &RootTree, mount_point: &RootPath, elsewhere: &[RootPath]) -> Result<Content> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut folders: HashMap<RootPath, usize> = HashMap::new();
    let mut by_inode: HashMap<(u64, u64), usize> = HashMap::new();
    // fsck's own folder: each filesystem has a fresh one.
    let lost = mount_point.join("lost+found");
    for entry in tree.walk(mount_point)? {
        let path = entry.path.clone();
        let is_elsewhere = |other: &RootPath| path.is_below(other) && path != *other && other.is_below(mount_point);
        if path.is_below(&lost) || elsewhere.iter().any(is_elsewhere) {
            continue;
        }
        let known = if entry.is_folder() || entry.links == 1 { None } else { by_inode.get(&entry.inode).copied() };
        let index = known.unwrap_or(nodes.len());
        if path != *mount_point {
            let parent = folders.get(&path.parent()).copied().ok_or_else(|| {
                Error::cannot(Exit::Bug, format!("place {path} in a filesystem")).because("its folder was not walked")
            })?;
            nodes[parent].children.push((path.name().to_vec(), index));
            if entry.is_folder() {
                nodes[parent].links += 1;
            }
        }
        if known.is_some() {
            nodes[index].links += 1;
            continue;
        }
        if entry.is_folder() {
            folders.insert(path, index);
        } else if entry.links > 1 {
            by_inode.insert(entry.inode, index);
        }
        let links = if entry.is_folder() { 2 } else { 1 };
        nodes.push(Node { entry, links, children: Vec::new(), attributes: Vec::new(), data: Vec::new() });
    }
    if nodes.is_empty() {
        return Err(Error::cannot(Exit::Description, format!("fill the partition for {mount_point}"))
            .because("there is no such folder in the image"));
    }
    nodes.par_iter_mut().try_for_each(|node| {
        node.attributes = tree.xattrs(&node.entry.path)?;
        if node.entry.is_file() {
            node.data = data_of(tree, &node.entry)?;
        }
        Ok::<(), Error>(())
    })?;
    for node in &mut nodes {
        node.children.sort();
    }
    Ok(Content { nodes })
}

/// Where a file holds data. Stretches of zeros from [`SHORTEST_HOLE`] on are left out, whether or not they are holes in
/// the tree; a swap file is taken whole, because the kernel refuses one with holes.
fn data_of(tree: &RootTree, entry: &Entry) -> Result<Vec<(u64, u64)>> {
    let size = entry.size.0;
    let end = Bytes(size).align_up(Bytes(PIECE)).0;
    if size < SHORTEST_HOLE {
        return Ok(if size == 0 { Vec::new() } else { vec![(0, end)] });
    }
    let file = tree.open_file(&entry.path)?;
    let what = || format!("read {} in the image", entry.path);
    let mut first = [0; PIECE as usize];
    file.read_exact_at(&mut first, 0).or_cannot(what)?;
    if first.ends_with(b"SWAPSPACE2") {
        return Ok(vec![(0, end)]);
    }
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut buffer = vec![0; 64 * PIECE as usize];
    let mut at = 0;
    while at < size {
        let Some(data) = next_data(&file, at..size).or_cannot(what)? else { break };
        let (mut from, to) = (data.start / PIECE * PIECE, data.end.min(size));
        from = from.max(at / PIECE * PIECE);
        while from < to {
            let length = (size - from).min(buffer.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..length], from).or_cannot(what)?;
            for (start, piece) in (from..).step_by(PIECE as usize).zip(buffer[..length].chunks(PIECE as usize)) {
                if is_zero(piece) {
                    continue;
                }
                let last = found.last().map_or(0, |last| last.1);
                match found.last_mut() {
                    Some(last) if start - last.1 < SHORTEST_HOLE => last.1 = start + PIECE,
                    _ => found.push((if start - last < SHORTEST_HOLE { last } else { start }, start + PIECE)),
                }
            }
            from += length as u64;
        }
        at = from.max(to);
    }
    if let Some(last) = found.last_mut()
        && end - last.1 < SHORTEST_HOLE
    {
        last.1 = end;
    }
    Ok(found)
}
