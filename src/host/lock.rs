//! Folders that belong to one running process, by `flock(2)` on the folder itself.
//!
//! In: a folder. Out: a lock that the kernel gives back when the process is gone, however it went. Never waits.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::file;
use crate::error::{OrCannot, Result};

/// An exclusive lock on a folder.
#[derive(Debug)]
pub struct FolderLock {
    _folder: OwnedFd,
}

impl FolderLock {
    /// Locks `folder`; `None` when another process has it.
    pub fn take(folder: &Path) -> Result<Option<FolderLock>> {
        loop {
            let open = || {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = rustix::fs::open(folder, flags, Mode::empty())?;
                match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => Ok(Some(opened)),
                    Err(Errno::AGAIN) => Ok(None),
                    Err(error) => Err(error),
                }
            };
            let opened: std::result::Result<_, Errno> = open();
            let Some(opened) = opened.or_cannot(|| format!("lock {}", folder.display()))? else { return Ok(None) };
            // The folder may have been replaced between open and lock.
            let same = || {
                let (locked, now) = (rustix::fs::fstat(&opened)?, rustix::fs::stat(folder)?);
                Ok::<_, Errno>((locked.st_dev, locked.st_ino) == (now.st_dev, now.st_ino))
            };
            match same() {
                Ok(true) => return Ok(Some(FolderLock { _folder: opened })),
                Ok(false) => continue,
                Err(error) => return Err(error).or_cannot(|| format!("lock {}", folder.display())),
            }
        }
    }
}

/// Removes the folders below `parent` whose names start with `prefix` and that no process has locked.
pub fn sweep(parent: &Path, prefix: &str) -> Result<()> {
    for name in file::names(parent)? {
        let path = parent.join(&name);
        if name.as_encoded_bytes().starts_with(prefix.as_bytes()) && file::is_folder(&path) {
            if let Some(_lock) = FolderLock::take(&path)? {
                file::remove_tree(&path)?;
            }
        }
    }
    Ok(())
}

/// An exclusive lock on a file that is made if need be; waits until it is free.
pub fn wait_for(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .open(path)
        .or_cannot(|| format!("open the lock {}", path.display()))?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => continue,
            other => return other.map(|()| file).or_cannot(|| format!("lock {}", path.display())),
        }
    }
}
