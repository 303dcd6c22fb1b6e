//! Filesystems in byte ranges of a disk.
//!
//! In: a part of the tree, a filesystem of the plan. Out: its bytes, at their place. Never mounts anything.

pub mod content;
pub mod ext;
pub mod swap;
pub mod vfat;

use crate::bytes::Bytes;

/// How large a filesystem becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// So many bytes.
    Exactly(Bytes),
    /// As few as possible with so many bytes free.
    Free(Bytes),
    /// As few as possible with 5 % of what is used free, at least 32 MiB: enough for a first boot on a full disk.
    Headroom,
}
