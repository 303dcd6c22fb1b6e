//! A tree that stays as it is, shown together with what becomes different of it (overlayfs).
//!
//! In: a tree that nobody changes any more, without overlayfs's own marks (device 0:0, `trusted.overlay.*`). Out: a folder that
//! shows it and takes every change, which goes to a filesystem of its own. Several views may show the same tree. Never changes the tree.

use std::path::{Path, PathBuf};

use super::scratch::{CHANGES, NoScratch, Scratch};
use super::tree::{RootPath, RootTree};
use crate::error::Result;
use crate::host::file;
use crate::host::mount::{Layers, Mount};
use crate::report::Reporter;

/// What is in the filesystem of changes: the entries that are different, and overlayfs's own.
const CONTENT: [&str; 2] = ["upper", "work"];

/// A tree and its changes.
#[derive(Debug)]
pub(super) struct View {
    // Dropped in this order.
    mount: Mount,
    changes: Scratch,
}

impl View {
    /// Shows the tree in `tree` at a place in `folder`, where the filesystem of changes is, or will be.
    pub fn open(folder: &Path, tree: &Path, changes: Option<Scratch>, reporter: &Reporter) -> Result<View, NoScratch> {
        let changes = changes.map_or_else(|| View::make_ready(folder, reporter), Ok)?;
        let [upper, work] = CONTENT.map(|name| changes.path().join(name));
        file::create_folder(&upper)?;
        file::create_folder(&work)?;
        describe_root(tree, &upper)?;
        let target = folder.join("view");
        file::create_folder(&target)?;
        match Mount::layers(&Layers { lower: tree, upper: &upper, work: &work }, &target) {
            Ok(mount) => Ok(View { mount, changes }),
            Err(error) => {
                changes.clear(&CONTENT)?;
                Err(NoScratch::Host(error))
            }
        }
    }

    /// The empty filesystem of changes for [`View::open`], which takes a moment.
    pub fn make_ready(folder: &Path, reporter: &Reporter) -> Result<Scratch, NoScratch> {
        Scratch::create(folder, CHANGES, reporter)
    }

    /// Where the tree is shown.
    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    /// The folder with what is different.
    pub fn upper(&self) -> PathBuf {
        self.changes.path().join(CONTENT[0])
    }

    /// Whether nothing is different yet.
    pub fn is_unchanged(&self) -> Result<bool> {
        Ok(file::names(&self.upper())?.is_empty())
    }

    /// 74 where a change that was written is not what is read ([`Scratch::nothing_is_lost`]).
    pub fn nothing_is_lost(&self) -> Result<()> {
        self.changes.nothing_is_lost()
    }

    /// Ends it; the changes are gone.
    pub fn close(self) -> Result<()> {
        self.mount.close()?;
        self.changes.clear(&CONTENT)
    }
}

/// The upper folder is the one that is seen.
fn describe_root(tree: &Path, upper: &Path) -> Result<()> {
    let (tree, upper, root) = (RootTree::open(tree)?, RootTree::open(upper)?, RootPath::root());
    for (name, value) in tree.xattrs(&root)? {
        upper.set_xattr(&root, &name, &value)?;
    }
    if let Some(entry) = tree.entry(&root)? {
        upper.set_owner(&root, entry.uid, entry.gid)?;
        upper.set_mode(&root, entry.mode)?;
        upper.set_mtime(&root, entry.mtime)?;
    }
    Ok(())
}
