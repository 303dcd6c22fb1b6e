//! The tree under construction.
//!
//! In: a folder of the build's workspace. Out: [`RootTree`], through which every stage looks at and changes the image.
//! [`RootPath`] (inside the image) and `Path` (host) never mix.

use std::ops::Deref;
use std::path::Path;

use crate::error::Result;
pub use crate::host::rooted::{Entry, Kind, RootPath, Rooted};

/// A root filesystem that is being built.
#[derive(Debug)]
pub struct RootTree {
    rooted: Rooted,
}

impl RootTree {
    /// The tree whose `/` is `folder` on the host.
    pub fn open(folder: &Path) -> Result<RootTree> {
        Ok(RootTree { rooted: Rooted::open(folder)? })
    }
}

impl Deref for RootTree {
    type Target = Rooted;

    fn deref(&self) -> &Rooted {
        &self.rooted
    }
}
