//! Whether a filesystem in a file lost something that was written to it.
//!
//! In: a mounted filesystem, its loop device, the file. Out: an error once the kernel could not write to the file, or the
//! file to its disk, what programs had written with success: while it is in memory all is well, and later it reads as
//! something else. Never writes anything to a disk for the sake of the question, unless the kernel has begun to.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::loop_device::LoopDevice;
use crate::error::{Error, Exit, OrCannot, Result};

/// Watches one filesystem from the moment on that it is mounted.
#[derive(Debug)]
pub struct Loss {
    /// What is shown to people.
    name: PathBuf,
    /// Has the kernel remember, from here on, what it could not write.
    filesystem: File,
    image: File,
    /// Statistics of the device.
    statistics: PathBuf,
    /// Writes that the device had got when the watch began.
    writes: Option<u64>,
    /// Whether something is known to be lost: the kernel says so once.
    lost: AtomicBool,
}

impl Loss {
    /// Begins to watch what is `mounted` there, on `device`, which writes to `image`; `name` is what an error calls it.
    pub fn watch(mounted: &Path, device: &LoopDevice, image: &File, name: &Path) -> Result<Loss> {
        let what = || format!("watch {}", mounted.display());
        let (filesystem, image) = (File::open(mounted).or_cannot(what)?, image.try_clone().or_cannot(what)?);
        let device = device.path().file_name().unwrap_or_default();
        let statistics = Path::new("/sys/block").join(device).join("stat");
        let (name, writes) = (name.to_path_buf(), writes(&statistics));
        Ok(Loss { name, filesystem, image, statistics, writes, lost: AtomicBool::new(false) })
    }

    /// 74 where something is lost. Waits for the rest to be written where the kernel has begun with it, which it does after
    /// half a minute or when memory is short: what was never written cannot be lost.
    pub fn check(&self) -> Result<()> {
        let answer = match self.writes.is_some() && writes(&self.statistics) == self.writes {
            true => Ok(()),
            false => self.filesystem_lost().and_then(|()| self.image_lost()),
        };
        if let Err(error) = &answer {
            self.lost.store(true, Ordering::Relaxed);
            return Err(self.told(error.to_string()));
        }
        if self.lost.load(Ordering::Relaxed) { Err(self.told("it is known already".into())) } else { Ok(()) }
    }

    fn told(&self, why: String) -> Error {
        Error::cannot(Exit::Io, format!("read back what was written to {}", self.name.display()))
            .because(why)
            .hint("look at the kernel's log and at the room there, or choose another place with `--work-dir`")
    }

    /// syncfs(2): an error of writing that happened since the filesystem was opened.
    fn filesystem_lost(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.filesystem)?)
    }

    /// sync_file_range(2) for one page, and what the kernel knows of the whole file.
    fn image_lost(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open, and no memory is passed.
        match unsafe { libc::sync_file_range(self.image.as_raw_fd(), 0, 4096, libc::SYNC_FILE_RANGE_WAIT_BEFORE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Finished writes of a block device (Documentation/block/stat.rst: the fifth number). `None` where nobody says.
fn writes(statistics: &Path) -> Option<u64> {
    fs::read_to_string(statistics).ok()?.split_whitespace().nth(4)?.parse().ok()
}
