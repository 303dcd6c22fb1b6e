//! The filesystems of a sandbox for a program of the host: everything as it is, and nothing that can be changed.
//!
//! In: an [`Order`], in fresh mount, PID and network namespaces. Out: this process, which may write to the tree and to the
//! folders of the order only; the tree has /dev, /proc and /sys of its own for what is started there with chroot(2).
//! Never makes anything writable that was not.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::Order;
use super::tree::Root;
use crate::error::{OrCannot, Result};

/// Flags of mount_setattr(2).
const READ_ONLY: u64 = 0x1;
const NO_DEVICES: u64 = 0x4;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Mounts everything; the root stays the host's.
pub(super) fn enter(order: &Order, writable: &[OsString]) -> Result<()> {
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", private).or_cannot(|| "make the sandbox's mounts private")?;
    let tree = Path::new(&order.root);
    let folders = || writable.iter().map(Path::new).chain([tree]);
    for folder in folders() {
        rustix::mount::mount_bind_recursive(folder, folder).or_cannot(|| format!("bind {}", folder.display()))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None).or_cannot(|| "mount /proc")?;
    set(Path::new("/"), READ_ONLY, 0).or_cannot(|| "make the host's files read-only")?;
    for folder in folders() {
        let forbidden = if folder == tree { NO_DEVICES } else { 0 };
        set(folder, forbidden, READ_ONLY).or_cannot(|| format!("make {} writable", folder.display()))?;
    }
    Root::open(tree)?.surroundings()?;
    rustix::process::chdir("/").or_cannot(|| "go to /")
}

/// Changes flags of a mount and of all mounts below it.
fn set(path: &Path, set: u64, clear: u64) -> std::io::Result<()> {
    let attributes = Attributes { set, clear, propagation: 0, user_namespace: 0 };
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path and the structure, of the length given, live through the call (mount_setattr(2)).
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
