//! A raw disk from a scrubbed tree.
//!
//! In: a [`ScrubbedTree`](crate::scrub::ScrubbedTree) and a [`DiskPlan`](crate::plan::DiskPlan). Out: a [`RawDisk`].
//! Never attaches a partitioned loop device, never touches the host's firmware or boot loader.

pub mod boot;
pub mod copies;
pub mod filesystem;
pub mod gpt;
pub mod mbr;
pub mod resize;
pub mod table;
mod write;

use std::path::{Path, PathBuf};

use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;
pub use write::write;

/// A finished raw disk, sparse, in the build's workspace.
#[derive(Debug)]
pub struct RawDisk {
    path: PathBuf,
    size: Bytes,
}

impl RawDisk {
    /// A raw disk that exists already; 65 where its length is no whole number of sectors.
    pub fn open(path: &Path) -> Result<RawDisk> {
        let size = Bytes(host::file::open(path)?.metadata().or_cannot(|| format!("look at {}", path.display()))?.len());
        if size == Bytes::ZERO || size.align_down(Bytes::SECTOR) != size {
            return Err(Error::cannot(Exit::Description, format!("use {} as a disk", path.display()))
                .because(format!("its length of {} bytes is no whole number of sectors", size.0)));
        }
        Ok(RawDisk { path: path.to_path_buf(), size })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk's virtual size, a whole number of sectors.
    pub fn size(&self) -> Bytes {
        self.size
    }
}
