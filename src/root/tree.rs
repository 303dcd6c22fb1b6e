//! The tree under construction.
//!
//! In: a folder of the build's workspace. Out: [`RootTree`], through which every stage looks at and changes the image.
//! [`RootPath`] (inside the image) and `Path` (host) never mix.

use std::ops::Deref;
use std::path::Path;

use super::known::{Ground, Known, Notes, Unchanged};
use crate::error::Result;
pub use crate::host::rooted::{Entry, Kind, RootPath, Rooted};

/// A root filesystem that is being built.
#[derive(Debug)]
pub struct RootTree {
    rooted: Rooted,
    known: Option<Known>,
}

impl RootTree {
    /// The tree whose `/` is `folder` on the host.
    pub fn open(folder: &Path) -> Result<RootTree> {
        Ok(RootTree { rooted: Rooted::open(folder)?, known: None })
    }

    /// The same tree, of whose files something is known already.
    pub fn knowing(self, known: Known) -> RootTree {
        RootTree { known: Some(known), ..self }
    }

    /// Which files need not be read again; true until the next change of the tree.
    pub fn unchanged(&self) -> Result<Unchanged<'_>> {
        self.known.as_ref().map_or_else(|| Ok(Unchanged::nothing()), |known| known.unchanged(self))
    }

    /// What earlier builds and this one know of its files, and what names the tree below; `None` where this one learned
    /// nothing.
    pub fn learned(&self) -> Result<Option<(Ground, Notes)>> {
        self.known.as_ref().map_or(Ok(None), Known::learned)
    }
}

impl Deref for RootTree {
    type Target = Rooted;

    fn deref(&self) -> &Rooted {
        &self.rooted
    }
}
