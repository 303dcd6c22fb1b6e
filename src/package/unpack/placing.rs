//! Giving staged things their names in the tree, one system call each where nothing is in the way.
//!
//! In: paths of a package (after diversions) and how to make what belongs there. Out: the tree, changed. Every folder
//! is resolved inside the tree, symlinks of a merged `/usr` followed as dpkg follows them in its chroot; the last
//! component never is. Decides nothing: conflicts between packages are settled before ([`super::conflict`]).

use std::rc::Rc;

use super::names::split;
use crate::host::folder::{Errno, Folder, Result, There};
use crate::host::rooted::{RootPath, Rooted};

/// Folders kept open; few, because a process may be allowed only 64 descriptors.
const MOST_OPEN: usize = 12;

/// Where something stands while what was there before gives way.
const ASIDE: &[u8] = b".ingot.dpkg-new";

/// Places things in a tree.
#[derive(Debug)]
pub struct Placing<'a> {
    tree: &'a Rooted,
    /// The last used folder last.
    open: Vec<(Box<[u8]>, Rc<Folder>)>,
}

/// What came of placing a folder or symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It was made.
    New,
    /// A folder stands there and stays as it is: dpkg changes none, and never puts a symlink in its place.
    Stays,
    /// dpkg's configuration leaves it out; the package's list has it nevertheless.
    LeftOut,
}

impl<'a> Placing<'a> {
    /// Places things in `tree`.
    pub fn new(tree: &'a Rooted) -> Placing<'a> {
        Placing { tree, open: Vec::new() }
    }

    /// Forgets open folders: a script may have moved them.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    /// The open folder of a path, and its last component.
    pub fn at<'p>(&mut self, path: &'p [u8]) -> Result<(Rc<Folder>, &'p [u8])> {
        let (above, name) = split(path).ok_or(Errno::EXIST)?;
        if let Some(place) = self.open.iter().rposition(|(open, _)| **open == *above) {
            let found = self.open.remove(place);
            let folder = Rc::clone(&found.1);
            self.open.push(found);
            return Ok((folder, name));
        }
        let folder = Rc::new(self.tree.open_folder(&RootPath::new(above))?);
        if self.open.len() == MOST_OPEN {
            self.open.remove(0);
        }
        self.open.push((above.into(), Rc::clone(&folder)));
        Ok((folder, name))
    }

    /// Moves a staged file to its path, over anything that is there.
    pub fn file(&mut self, staged: &Folder, number: &[u8], path: &[u8]) -> Result<()> {
        let (folder, name) = self.at(path)?;
        match staged.move_to(number, &folder, name) {
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                self.clear(&folder, name)?;
                staged.move_to(number, &folder, name)
            }
            other => other,
        }
    }

    /// Makes something that is no folder with `make`, over anything that is there.
    pub fn other(&mut self, path: &[u8], make: impl Fn(&Folder, &[u8]) -> Result<()>) -> Result<()> {
        let (folder, name) = self.at(path)?;
        match make(&folder, name) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
        if folder.there(name)? == There::Folder {
            self.clear(&folder, name)?;
            return make(&folder, name);
        }
        folder.remove(ASIDE)?;
        make(&folder, ASIDE)?;
        folder.move_to(ASIDE, &folder, name)?;
        // Two names of one file stay both (rename(2)).
        folder.remove(ASIDE)
    }

    /// Gives a file a second name, unless something is there.
    pub fn second_name(&mut self, path: &[u8], second: &[u8]) -> Result<()> {
        let ((source, old), (folder, name)) = (self.at(path)?, self.at(second)?);
        match source.link_to(old, &folder, name) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    /// Makes a symlink, unless a folder, or a symlink to the same folder, is there.
    pub fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<Placed> {
        if self.symlink_stays(path, target)? {
            return Ok(Placed::Stays);
        }
        self.other(path, |folder, name| folder.make_symlink(target, name))?;
        Ok(Placed::New)
    }

    /// Whether a symlink of a package gives way to the folder, or symlink to the same folder, that is there.
    pub fn symlink_stays(&mut self, path: &[u8], target: &[u8]) -> Result<bool> {
        let (folder, name) = self.at(path)?;
        Ok(match folder.there(name)? {
            There::Folder => true,
            There::Symlink => self.tree.leads_to_same_folder(&RootPath::new(path), target),
            _ => false,
        })
    }

    /// Makes a folder, unless one (or a symlink to one) is there; anything else that is there is removed.
    pub fn folder(&mut self, path: &[u8], mode: u32) -> Result<Placed> {
        if path == b"/." {
            return Ok(Placed::Stays);
        }
        let (folder, name) = self.at(path)?;
        match folder.make_folder(name, mode) {
            Err(Errno::EXIST) => {}
            other => return other.map(|()| Placed::New),
        }
        if self.is_folder(path) {
            return Ok(Placed::Stays);
        }
        self.clear(&folder, name)?;
        folder.make_folder(name, mode).map(|()| Placed::New)
    }

    /// Whether a path leads to a folder, symlinks followed inside the tree.
    pub fn is_folder(&self, path: &[u8]) -> bool {
        self.tree.open_folder(&RootPath::new(path)).is_ok()
    }

    /// Whether a folder itself stands there, and not a symlink to one.
    pub fn there(&mut self, path: &[u8]) -> Result<There> {
        let (folder, name) = match self.at(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(There::Nothing),
            other => other?,
        };
        folder.there(name)
    }

    fn clear(&mut self, folder: &Folder, name: &[u8]) -> Result<()> {
        // What was open below it is gone.
        self.open.clear();
        folder.remove(name)
    }
}
