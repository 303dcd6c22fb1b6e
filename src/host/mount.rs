//! Mounting filesystems (mount(2)) in the build's own namespace.
//!
//! In: a device, a folder, options. Out: a guard. Never unmounts lazily what was written.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, opcode};
use rustix::mount::{MountFlags, UnmountFlags};

use super::loop_device::Access;
use crate::error::{Error, Exit, OrCannot, Result};

/// How long [`Mount::close`] waits for a process that is just ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// How changes are kept apart (Documentation/filesystems/overlayfs.rst): hard links stay hard links when one of their names
/// changes, folders can be renamed, everything has the device number and an inode number of one filesystem, and nothing
/// is written to a disk before it is asked for: the result is what is synced, not the tree.
const LAYERED: &str = "index=on,redirect_dir=on,xino=on,metacopy=off,volatile";

/// The folders of an overlay filesystem.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// What is shown, and never changed.
    pub lower: &'a Path,
    /// Where changes go.
    pub upper: &'a Path,
    /// An empty folder on the filesystem of `upper`.
    pub work: &'a Path,
}

/// A mounted filesystem.
#[derive(Debug)]
pub struct Mount {
    target: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Mounts a block device; always `nodev`, times `noatime`. `options` are the filesystem's own (`noload`).
    pub fn device(device: &Path, target: &Path, kind: &str, access: Access, options: &str) -> Result<Mount> {
        let what = || format!("mount {} ({kind}) on {}", device.display(), target.display());
        let read_only = if access == Access::Read { MountFlags::RDONLY } else { MountFlags::empty() };
        let flags = MountFlags::NODEV | MountFlags::NOATIME | read_only;
        let options = CString::new(options).map_err(|error| Error::cannot(Exit::Bug, what()).because(error))?;
        rustix::mount::mount(device, target, kind, flags, options.as_c_str()).or_cannot(what)?;
        Ok(Mount { target: target.to_path_buf(), mounted: true })
    }

    /// Shows one folder with the changes in another one (overlayfs); `nodev` and `noatime` as above. An error where the
    /// kernel has no such filesystem, or an old one.
    pub fn layers(layers: &Layers<'_>, target: &Path) -> Result<Mount> {
        let what = || format!("show {} with its changes on {}", layers.lower.display(), target.display());
        let open = |folder: &Path| -> Result<OwnedFd> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(folder, flags, Mode::empty()).or_cannot(what)
        };
        let (lower, upper, work) = (open(layers.lower)?, open(layers.upper)?, open(layers.work)?);
        // By descriptor: a path may hold commas and colons, and need not be seen in the list of mounts.
        let shown = |folder: &OwnedFd| format!("/proc/self/fd/{}", folder.as_raw_fd());
        let options =
            format!("lowerdir={},upperdir={},workdir={},{LAYERED}", shown(&lower), shown(&upper), shown(&work));
        let options = CString::new(options).map_err(|error| Error::cannot(Exit::Bug, what()).because(error))?;
        let flags = MountFlags::NODEV | MountFlags::NOATIME;
        rustix::mount::mount("overlay", target, "overlay", flags, options.as_c_str()).or_cannot(what)?;
        Ok(Mount { target: target.to_path_buf(), mounted: true })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Remounts read-only, which writes everything to the device. False where a file is open for writing.
    pub fn forbid_writing(&self) -> Result<bool> {
        match self.remount(MountFlags::RDONLY) {
            Ok(()) => Ok(true),
            Err(Errno::BUSY) => Ok(false),
            Err(error) => Err(error).or_cannot(|| format!("remount {} read-only", self.target.display())),
        }
    }

    /// Makes holes of what is not used any more in the device (`FITRIM`). Where that is not possible, what was deleted
    /// stays in it, unseen.
    pub fn give_back_free_blocks(&self) {
        let mut range = Trim { start: 0, length: u64::MAX, least: 0 };
        let Ok(folder) = fs::File::open(&self.target) else { return };
        // SAFETY: FITRIM reads and writes a struct fstrim_range (linux/fs.h).
        let _ = unsafe { rustix::ioctl::ioctl(&folder, Updater::<FITRIM, Trim>::new(&mut range)) };
    }

    /// Undoes [`Mount::forbid_writing`].
    pub fn allow_writing(&self) -> Result<()> {
        self.remount(MountFlags::empty()).or_cannot(|| format!("remount {} for writing", self.target.display()))
    }

    fn remount(&self, access: MountFlags) -> rustix::io::Result<()> {
        let flags = MountFlags::NODEV | MountFlags::NOATIME | access;
        rustix::mount::mount_remount(&self.target, flags, c"")
    }

    /// Unmounts; EBUSY is an error that names who holds it.
    pub fn close(mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            match self.unmount() {
                Err(Errno::BUSY) if started.elapsed() < PATIENCE => sleep(Duration::from_millis(10)),
                Err(Errno::BUSY) => {
                    let holders = holders_of_filesystem(&self.target);
                    let what = format!("unmount {}", self.target.display());
                    return Err(Error::cannot(Exit::Io, what).because("it is in use").because(holders));
                }
                other => return other.or_cannot(|| format!("unmount {}", self.target.display())),
            }
        }
    }

    fn unmount(&mut self) -> rustix::io::Result<()> {
        rustix::mount::unmount(&self.target, UnmountFlags::NOFOLLOW)?;
        self.mounted = false;
        Ok(())
    }
}

/// `struct fstrim_range` (linux/fs.h).
#[repr(C)]
struct Trim {
    start: u64,
    length: u64,
    least: u64,
}

/// `_IOWR('X', 121, struct fstrim_range)`.
const FITRIM: Opcode = opcode::read_write::<Trim>(b'X', 121);

impl Drop for Mount {
    /// The fallback: one attempt. What is busy is unmounted by the kernel together with the build's namespace.
    fn drop(&mut self) {
        if self.mounted {
            let _ = self.unmount();
        }
    }
}

/// Who uses the filesystem that is mounted at `target`: `PID (name): path` a line, and mounts below it.
fn holders_of_filesystem(target: &Path) -> String {
    let Ok(device) = fs::metadata(target).map(|metadata| metadata.dev()) else { return "nobody is known".into() };
    let mut lines = holders(|metadata| metadata.dev() == device);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let below = below.filter(|point| Path::new(point) != target && Path::new(point).starts_with(target));
    lines.extend(below.map(|point| format!("mounted below it: {point}")));
    listed(lines)
}

/// Who has the device at `path` open.
pub(super) fn holders_of_device(path: &Path) -> String {
    let Ok(device) = fs::metadata(path).map(|metadata| metadata.rdev()) else { return "nobody is known".into() };
    listed(holders(|metadata| metadata.rdev() == device))
}

fn listed(mut lines: Vec<String>) -> String {
    lines.truncate(8);
    if lines.is_empty() { "no process of this namespace holds it".into() } else { lines.join("\n") }
}

/// Processes of this namespace with an open file, root or working directory that `is_meant`.
fn holders(is_meant: impl Fn(&fs::Metadata) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let folder = process.path();
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let open = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
        let links = [folder.join("cwd"), folder.join("root")].into_iter().chain(open);
        for link in links.filter(|link| fs::metadata(link).is_ok_and(|metadata| is_meant(&metadata))).take(1) {
            let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            let path = fs::read_link(&link).unwrap_or_default();
            found.push(format!("held by process {pid} ({}): {}", name.trim(), path.display()));
        }
    }
    found.sort();
    found
}
