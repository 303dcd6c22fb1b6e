//! What earlier builds found out about the files of a tree that stays as it is.
//!
//! In: their notes, and a view of that tree. Out: which files are what they were then, and need not be read again. Never says
//! so of a file that changed, or may have changed, since.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::tree::{Entry, RootTree, Rooted};
use crate::error::Result;
use crate::pieces::content::Content;

/// What names a tree exactly, as soon as that is known: in a build that keeps it, this is found out beside scripts.
pub type Ground = Arc<OnceLock<String>>;

/// Notes about files, by their inode numbers in the filesystem of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Those in which an audit found nothing.
    pub clean: BTreeSet<u32>,
    /// SHA-256 of their content, in hexadecimal.
    pub digests: BTreeMap<u32, String>,
    /// What layers have to know of their content.
    pub contents: BTreeMap<u32, Content>,
}

/// Notes that hold for the tree in `lower`, of which changes go to `upper`.
#[derive(Debug)]
pub struct Known {
    ground: Ground,
    lower: PathBuf,
    upper: PathBuf,
    notes: Notes,
    learned: Mutex<Notes>,
}

/// Which files are what they were, at one moment.
#[derive(Debug)]
pub struct Unchanged<'a> {
    known: Option<&'a Known>,
    changed: BTreeSet<u64>,
}

impl Known {
    /// `ground` names exactly this tree.
    pub(super) fn new(ground: Ground, lower: PathBuf, upper: PathBuf, notes: Notes) -> Known {
        Known { ground, lower, upper, notes, learned: Mutex::default() }
    }

    /// What is unchanged now in `tree`, the view.
    pub(super) fn unchanged<'a>(&'a self, tree: &RootTree) -> Result<Unchanged<'a>> {
        let mut changed = BTreeSet::new();
        for entry in Rooted::open(&self.upper)?.walk_whole()? {
            // Where something was removed, there is only a mark.
            if !entry.is_folder()
                && let Some(seen) = tree.entry(&entry.path)?
            {
                changed.insert(seen.inode.1);
            }
        }
        Ok(Unchanged { known: Some(self), changed })
    }

    /// Everything that is known now, and the tree's name; `None` where nothing was learned.
    pub(super) fn learned(&self) -> Result<Option<(Ground, Notes)>> {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if learned == Notes::default() {
            return Ok(None);
        }
        let single = single(&self.lower)?;
        let mut notes = self.notes.clone();
        notes.clean.extend(learned.clean.intersection(&single));
        notes.digests.extend(learned.digests.into_iter().filter(|(number, _)| single.contains(number)));
        notes.contents.extend(learned.contents.into_iter().filter(|(number, _)| single.contains(number)));
        Ok((notes != self.notes).then(|| (Arc::clone(&self.ground), notes)))
    }
}

/// Files with one name: one with several may change under a name that is gone afterwards.
fn single(lower: &Path) -> Result<BTreeSet<u32>> {
    let entries = Rooted::open(lower)?.walk_whole()?;
    let single = entries.iter().filter(|entry| entry.is_file() && entry.links == 1);
    Ok(single.filter_map(|entry| u32::try_from(entry.inode.1).ok()).collect())
}

impl Unchanged<'_> {
    /// Nothing is known.
    pub(super) fn nothing() -> Unchanged<'static> {
        Unchanged { known: None, changed: BTreeSet::new() }
    }

    /// Whether an audit found nothing in this very file.
    pub fn is_clean(&self, entry: &Entry) -> bool {
        self.noted(entry).is_some_and(|(known, number)| known.notes.clean.contains(&number))
    }

    /// SHA-256 of the file's content.
    pub fn digest(&self, entry: &Entry) -> Option<&str> {
        self.noted(entry).and_then(|(known, number)| known.notes.digests.get(&number)).map(String::as_str)
    }

    /// What layers have to know of the file's content.
    pub fn content(&self, entry: &Entry) -> Option<&Content> {
        let content = self.noted(entry).and_then(|(known, number)| known.notes.contents.get(&number));
        content.filter(|content| content.length() == entry.size.0)
    }

    /// This is what layers have to know of the file's content.
    pub fn learn_content(&self, entry: &Entry, content: &Content) {
        if let Some((known, number)) = self.noted(entry)
            && !known.notes.contents.contains_key(&number)
        {
            known.learned.lock().unwrap_or_else(PoisonError::into_inner).contents.insert(number, content.clone());
        }
    }

    /// Nothing was found in this file.
    pub fn learn_clean(&self, entry: &Entry) {
        if let Some((known, number)) = self.noted(entry)
            && !known.notes.clean.contains(&number)
        {
            known.learned.lock().unwrap_or_else(PoisonError::into_inner).clean.insert(number);
        }
    }

    /// This is the SHA-256 of the file's content.
    pub fn learn_digest(&self, entry: &Entry, digest: &str) {
        if let Some((known, number)) = self.noted(entry)
            && !known.notes.digests.contains_key(&number)
        {
            known.learned.lock().unwrap_or_else(PoisonError::into_inner).digests.insert(number, digest.into());
        }
    }

    /// The file's number in notes, if it is in the tree below, and as it was.
    fn noted(&self, entry: &Entry) -> Option<(&Known, u32)> {
        let known = self.known?;
        let number = entry.inode.1;
        // The numbers of what is in the lower filesystem have a bit more than it gives (overlayfs, `xino`).
        let is_below = number >> 32 != 0;
        (entry.is_file() && is_below && !self.changed.contains(&number)).then_some((known, number as u32))
    }
}
