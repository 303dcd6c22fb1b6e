//! A raw disk from a scrubbed tree.
//!
//! In: a [`ScrubbedTree`](crate::scrub::ScrubbedTree) and a [`DiskPlan`](crate::plan::DiskPlan). Out: a [`RawDisk`].
//! Never attaches a partitioned loop device, never touches the host's firmware or boot loader.

pub mod gpt;
pub mod mbr;
pub mod table;

use std::path::{Path, PathBuf};

use crate::bytes::Bytes;

/// A finished raw disk, sparse, in the build's workspace.
#[derive(Debug)]
pub struct RawDisk {
    path: PathBuf,
    size: Bytes,
}

impl RawDisk {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk's virtual size, a whole number of sectors.
    pub fn size(&self) -> Bytes {
        self.size
    }
}
