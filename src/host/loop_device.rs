//! Loop devices (loop(4)), attached to a byte range of a file, detached by the kernel when the last user is gone.
//!
//! In: a file, an offset, a length. Out: a guard with the device's path. Never asks for a partition scan.

use std::path::{Path, PathBuf};

use crate::bytes::Bytes;
use crate::error::Result;

/// An attached loop device with autoclear.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// Attaches `length` bytes of `file` from `offset` (`LOOP_CONFIGURE`, retried on EBUSY).
    /// 69 where the host has no loop device.
    pub fn attach(file: &Path, offset: Bytes, length: Bytes, access: Access) -> Result<LoopDevice> {
        let _ = (file, offset, length, access);
        todo!()
    }

    /// `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Detaches and waits until the device is free.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}

/// Whether a device may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Read and write.
    Write,
}
