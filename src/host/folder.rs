//! An open folder of a tree, and its entries by name.
//!
//! In: a folder that [`Rooted`](super::rooted::Rooted) opened, names without slashes. Out: entries made, moved,
//! described. Never follows a symlink in an entry, never resolves a path: whoever places thousands of files opens each
//! folder once. Errors are the kernel's own, because callers decide by them.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
pub use rustix::io::{Errno, Result};

use super::rooted::Kind;

/// An open folder. Cheap to keep for a while; it stays the same folder when its path changes.
#[derive(Debug)]
pub struct Folder {
    file: OwnedFd,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A folder.
    Folder,
    /// A symlink.
    Symlink,
    /// Anything else: a file, a node.
    Other,
}

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

impl Folder {
    pub(super) fn new(file: OwnedFd) -> Folder {
        Folder { file }
    }

    /// Makes a new file, readable and writable by its owner alone; one that is there is `EXIST`.
    pub fn create_file(&self, name: &[u8]) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.file, os(name), flags, Mode::from_raw_mode(0o600)).map(File::from)
    }

    /// Makes a new folder; anything that is there is `EXIST`. The process's umask does not count.
    pub fn make_folder(&self, name: &[u8], mode: u32) -> Result<()> {
        rustix::fs::mkdirat(&self.file, os(name), Mode::from_raw_mode(0o700))?;
        self.set_mode(name, mode)
    }

    /// Makes a new symlink; anything that is there is `EXIST`.
    pub fn make_symlink(&self, target: &[u8], name: &[u8]) -> Result<()> {
        rustix::fs::symlinkat(os(target), &self.file, os(name))
    }

    /// Makes a device node or pipe; anything that is there is `EXIST`.
    pub fn make_node(&self, name: &[u8], kind: &Kind, mode: u32) -> Result<()> {
        let (file_type, device) = match kind {
            Kind::CharDevice { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(*major, *minor)),
            Kind::BlockDevice { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(*major, *minor)),
            _ => (FileType::Fifo, 0),
        };
        rustix::fs::mknodat(&self.file, os(name), file_type, Mode::from_raw_mode(0o600), device)?;
        self.set_mode(name, mode)
    }

    /// Makes `new` in `to` another name of `old` here; anything that is there is `EXIST`.
    pub fn link_to(&self, old: &[u8], to: &Folder, new: &[u8]) -> Result<()> {
        rustix::fs::linkat(&self.file, os(old), &to.file, os(new), AtFlags::empty())
    }

    /// Moves `old` here to `new` in `to`, replacing anything but a folder.
    pub fn move_to(&self, old: &[u8], to: &Folder, new: &[u8]) -> Result<()> {
        rustix::fs::renameat(&self.file, os(old), &to.file, os(new))
    }

    /// What stands under a name.
    pub fn there(&self, name: &[u8]) -> Result<There> {
        match rustix::fs::statat(&self.file, os(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => There::Folder,
                FileType::Symlink => There::Symlink,
                _ => There::Other,
            }),
            Err(Errno::NOENT) => Ok(There::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Removes whatever stands under a name, a folder with all that is in it; nothing there is fine.
    pub fn remove(&self, name: &[u8]) -> Result<()> {
        match super::rooted::remove_at(&self.file, os(name)) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    /// Sets permission bits. Only for what is known not to be a symlink: it would be followed.
    pub fn set_mode(&self, name: &[u8], mode: u32) -> Result<()> {
        rustix::fs::chmodat(&self.file, os(name), Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
    }

    /// Sets owner and group, of a symlink itself too. Linux clears setuid and capabilities with it (chown(2)).
    pub fn set_owner(&self, name: &[u8], uid: u32, gid: u32) -> Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&self.file, os(name), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Sets access and modification time in seconds since 1970, of a symlink itself too.
    pub fn set_mtime(&self, name: &[u8], seconds: i64) -> Result<()> {
        rustix::fs::utimensat(&self.file, os(name), &times(seconds), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Gives an open file its owner, mode and time, in the order in which none undoes another.
pub fn describe(file: &File, uid: u32, gid: u32, mode: u32, mtime: i64) -> Result<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o7777))?;
    rustix::fs::futimens(file, &times(mtime))
}
