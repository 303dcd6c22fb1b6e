//! Folders and files that belong to one running process, by `flock(2)`.
//!
//! In: a folder or a file. Out: a lock that the kernel gives back when the process is gone, however it went. Never a
//! lock that a killed process could leave behind.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::file;
use crate::error::{Error, Exit, OrCannot, Result};

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
        let is_ours = name.as_encoded_bytes().starts_with(prefix.as_bytes()) && file::is_folder(&path);
        if is_ours && let Some(_lock) = FolderLock::take(&path)? {
            file::remove_tree(&path)?;
        }
    }
    Ok(())
}

/// An exclusive lock on a file, which is made where it is missing. Dropping it lets the next one in.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    /// Waits until nobody else holds the lock on the file, which is made where it is missing.
    pub fn wait(path: &Path) -> Result<FileLock> {
        FileLock::take(path, FlockOperation::LockExclusive)
    }

    /// Takes the lock at once, or fails with 75.
    pub fn try_now(path: &Path) -> Result<FileLock> {
        FileLock::take(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Removes the file and releases the lock: for locks with a name of their own for each thing that is locked.
    pub fn remove(self) -> Result<()> {
        super::file::remove(&self.path)
    }

    fn take(path: &Path, operation: FlockOperation) -> Result<FileLock> {
        let doing = || format!("lock {}", path.display());
        loop {
            let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
            let file = open().or_cannot(doing)?;
            match rustix::fs::flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::cannot(Exit::Temporary, doing()).because("another process holds it"));
                }
                Err(error) => return Err(error).or_cannot(doing),
            }
            // Whoever held it may have removed the file meanwhile: then the lock that counts is the new file's.
            let held = file.metadata().or_cannot(doing)?;
            if std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino())) {
                return Ok(FileLock { path: path.to_path_buf(), _file: file });
            }
        }
    }
}

/// Makes a folder of a new name that starts with `prefix` and locks it, so that no [`sweep`] takes it away.
pub fn create_locked(parent: &Path, prefix: &str) -> Result<(PathBuf, FolderLock)> {
    let what = || format!("make a work folder in {}", parent.display());
    loop {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent).or_cannot(what)?.keep();
        match FolderLock::take(&folder) {
            Ok(Some(lock)) => return Ok((folder, lock)),
            // A sweep of another process came between: it holds the folder, or it is gone already.
            Ok(None) => {}
            Err(error) if error.exit() == Exit::InputMissing => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::wait(&path).unwrap();
        assert_eq!(FileLock::try_now(&path).unwrap_err().exit(), Exit::Temporary);
        drop(held);
        FileLock::try_now(&path).unwrap().remove().unwrap();
        assert!(!path.exists());
        assert!(FileLock::try_now(&path).is_ok());
    }
}
