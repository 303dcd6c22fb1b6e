//! Mounting filesystems (mount(2)) in the build's own namespace.
//!
//! In: a device, a folder, options. Out: a guard. Never unmounts lazily what was written.

use std::path::{Path, PathBuf};

use super::loop_device::Access;
use crate::error::Result;

/// A mounted filesystem.
#[derive(Debug)]
pub struct Mount {
    target: PathBuf,
}

impl Mount {
    /// Mounts a block device; always `nodev`, times `noatime`. `options` are the filesystem's own (`noload`).
    pub fn device(device: &Path, target: &Path, kind: &str, access: Access, options: &str) -> Result<Mount> {
        let _ = (device, target, kind, access, options);
        todo!()
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Unmounts; EBUSY is an error that names who holds it.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}
