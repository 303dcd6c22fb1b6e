//! What a tree changed of the layers below it.
//!
//! In: a [`ScrubbedTree`] and the [`Lower`] that it began as. Out: the [`Piece`]s of the layer on top: what is new or
//! different, whiteouts for what is gone, and the folders around it. Laid over the layers below, they give the tree.
//! Never compares by time alone: what looks the same is compared by digest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::lower::{Below, Lower};
use super::tar::{Piece, belongs, xattrs};
use crate::error::{OrCannot, Result};
use crate::host::rooted::{Entry, Kind, RootPath, Rooted};
use crate::scrub::ScrubbedTree;

/// Below these, a running system has its own files, whatever an image has there.
const OF_THE_SYSTEM: &[&str] = &["/dev", "/proc", "/sys"];

/// The layer that makes the tree of what is below.
pub fn pieces(tree: &ScrubbedTree, lower: &Lower) -> Result<Vec<Piece>> {
    let entries: Vec<Entry> = tree.tree().walk_whole()?.into_iter().filter(|entry| belongs(&entry.path)).collect();
    let same = unchanged(tree.tree(), &entries, lower, tree.epoch())?;
    let there: BTreeMap<&RootPath, &Entry> = entries.iter().map(|entry| (&entry.path, entry)).collect();
    let mut wanted: BTreeSet<RootPath> =
        entries.iter().zip(&same).filter(|(_, same)| !**same).map(|(entry, _)| entry.path.clone()).collect();
    let gone = whiteouts(&there, lower);
    // What is laid into a folder that the layer does not describe may hide that folder's own mode and owner.
    let changed: Vec<RootPath> = wanted.iter().chain(&gone).cloned().collect();
    for mut path in changed {
        while path != RootPath::root() {
            path = path.parent();
            if !wanted.insert(path.clone()) {
                break;
            }
        }
    }
    let whole = entries.into_iter().filter(|entry| wanted.contains(&entry.path)).map(Piece::Whole);
    let mut pieces: Vec<Piece> = whole.chain(gone.into_iter().map(Piece::Whiteout)).collect();
    pieces.sort_by(|one, other| one.path().cmp(other.path()));
    Ok(pieces)
}

/// Of each entry, whether the layers below have it already.
fn unchanged(tree: &Rooted, entries: &[Entry], lower: &Lower, epoch: i64) -> Result<Vec<bool>> {
    let looks_same = |entry: &Entry| -> Result<bool> {
        match lower.get(&entry.path) {
            Some(below) => Ok(is_same(entry, below, epoch)
                && xattrs(tree, &entry.path)?.0 == below.xattrs
                && (!entry.is_file() || digest(tree, &entry.path)? == below.sha256)),
            None => Ok(false),
        }
    };
    let mut same: Vec<bool> = entries.par_iter().map(looks_same).collect::<Result<_>>()?;
    // All names of a file are in one layer, or none: they are only the same file if they were the same below.
    let mut files: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
    for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.is_folder()) {
        files.entry(entry.inode).or_default().push(number);
    }
    let below = |number: &usize| lower.get(&entries[*number].path).map(|below| below.inode);
    let mut groups: Vec<Vec<usize>> = files.into_values().collect();
    groups.sort();
    let mut claimed: BTreeSet<u64> = BTreeSet::new();
    for group in groups {
        let first = below(&group[0]);
        let together = group.iter().all(|number| same[*number] && below(number) == first);
        // A copy of a file that was another name of it below: only one of both can stay.
        let stays = together && first.is_some_and(|inode| claimed.insert(inode));
        group.iter().for_each(|number| same[*number] = stays);
    }
    Ok(same)
}

fn is_same(entry: &Entry, below: &Below, epoch: i64) -> bool {
    entry.kind == below.kind
        && (entry.mode == below.mode || matches!(entry.kind, Kind::Symlink(_)))
        && (entry.uid, entry.gid) == (below.uid, below.gid)
        && below.mtime.is_some_and(|mtime| mtime.min(epoch) == entry.mtime.min(epoch))
        && (!entry.is_file() || entry.size.0 == below.size)
}

fn digest(tree: &Rooted, path: &RootPath) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut file = tree.open_file(path)?;
    let mut buffer = [0; 64 << 10];
    loop {
        match file.read(&mut buffer).or_cannot(|| format!("read {path} in the image"))? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The topmost paths that are gone. Devices of the layers below never were in the tree, so nobody removed them.
fn whiteouts(there: &BTreeMap<&RootPath, &Entry>, lower: &Lower) -> Vec<RootPath> {
    let is_folder = |path: &RootPath| there.get(path).is_some_and(|entry| entry.is_folder());
    let of_the_system = |path: &RootPath| OF_THE_SYSTEM.iter().any(|folder| path.is_below(&RootPath::new(folder)));
    let gone = lower.iter().filter(|(path, below)| {
        !there.contains_key(path)
            && is_folder(&path.parent())
            && !is_device(&below.kind)
            && !of_the_system(path)
            && lower.get(&path.parent()).is_some_and(|parent| parent.kind == Kind::Folder)
    });
    gone.map(|(path, _)| path.clone()).collect()
}

/// Whether it is a device, which no build ever sees of a layer below.
pub fn is_device(kind: &Kind) -> bool {
    matches!(kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. })
}
