//! Reading a tree into memory before anybody asks for it.
//!
//! In: a folder. Out: a guard; the reading ends with it. Changes nothing, and what cannot be read is somebody else's error.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{Advice, AtFlags, Dir, FileType, Mode, OFlags};

/// No more than this is read ahead: what is read too early is forgotten again where memory is short.
const MOST: u64 = 1 << 30;

/// A tree that is being read.
#[derive(Debug)]
pub struct ReadAhead {
    stop: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// Begins: first every inode, then files (posix_fadvise(2), `POSIX_FADV_WILLNEED`), never crossing into another
    /// filesystem, never following a symlink.
    pub fn begin(folder: &Path) -> ReadAhead {
        let stop = Arc::new(AtomicBool::new(false));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let reading = rustix::fs::open(folder, flags, Mode::empty()).ok().map(|folder| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut left = MOST;
                let device = rustix::fs::fstat(&folder).map(|stat| stat.st_dev);
                // What cannot be read is met again by whoever needs it, who can say what for.
                let _ = device.and_then(|device| read(&folder, device, &mut left, &stop));
            })
        });
        ReadAhead { stop, reading }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It has nothing to say.
        let _ = self.reading.take().map(JoinHandle::join);
    }
}

fn read(folder: &OwnedFd, device: u64, left: &mut u64, stop: &AtomicBool) -> rustix::io::Result<()> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if stop.load(Ordering::Relaxed) || *left == 0 {
            return Ok(());
        }
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if stat.st_dev == device => folders.push(name.to_owned()),
            FileType::RegularFile if stat.st_size > 0 => {
                let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
                rustix::fs::fadvise(&file, 0, None, Advice::WillNeed)?;
                *left = left.saturating_sub(stat.st_size as u64);
            }
            _ => {}
        }
    }
    folders.sort();
    for name in folders {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        read(&rustix::fs::openat(folder, &name, flags, Mode::empty())?, device, left, stop)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_to_its_end_and_a_guard_may_go_early() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/file"), vec![7; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("a/up")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = rustix::fs::open(folder.path(), flags, Mode::empty()).unwrap();
        let device = rustix::fs::fstat(&opened).unwrap().st_dev;
        let mut left = 100_007;
        read(&opened, device, &mut left, &AtomicBool::new(false)).unwrap();
        assert_eq!(left, 7);
        read(&opened, device + 1, &mut left, &AtomicBool::new(false)).unwrap();
        assert_eq!(left, 7, "another filesystem");
        drop(ReadAhead::begin(folder.path()));
        drop(ReadAhead::begin(&folder.path().join("nothing")));
    }
}
