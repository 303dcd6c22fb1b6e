//! The filesystems of a sandbox for a program of the host: everything as it is, and nothing that can be changed.
//!
//! In: an [`Order`], in fresh mount, PID and network namespaces. Out: this process, which may write to the tree and to the
//! folders of the order only; the tree has /dev, /proc and /sys of its own for what is started there with chroot(2).
//! Its /tmp leads to what is in the host's, and what it writes there itself is gone with it: some programs know no other
//! place. Never makes anything writable that was not.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::Order;
use super::tree::Root;
use crate::error::{OrCannot, Result};

/// Flags of mount_setattr(2).
const READ_ONLY: u64 = 0x1;
const NO_DEVICES: u64 = 0x4;

/// Where programs put files that they remove again.
const TEMPORARY: &str = "/tmp";
/// Where the host's own are.
const OF_HOST: &str = "/tmp/.ingot-host";
/// How names of the sandbox's own begin there ([`super::short_path`]).
const OWN: &[u8] = b".ingot-";

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
    for (other, folder) in &order.replaced {
        rustix::mount::mount_bind(folder, other).or_cannot(|| format!("show another {}", other.display()))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None).or_cannot(|| "mount /proc")?;
    temporary(order, writable).or_cannot(|| "make a /tmp of the sandbox's own")?;
    set(Path::new("/"), READ_ONLY, 0, Mounts::AllBelow).or_cannot(|| "make the host's files read-only")?;
    set(Path::new(TEMPORARY), 0, READ_ONLY, Mounts::This).or_cannot(|| "make /tmp writable")?;
    for folder in folders() {
        let forbidden = if folder == tree { NO_DEVICES } else { 0 };
        set(folder, forbidden, READ_ONLY, Mounts::AllBelow)
            .or_cannot(|| format!("make {} writable", folder.display()))?;
    }
    Root::open(tree)?.surroundings()?;
    rustix::process::chdir("/").or_cannot(|| "go to /")
}

/// A filesystem in memory over /tmp. What is in the host's /tmp is seen through symlinks into one mount of it, because a host
/// may have a thousand things there; what the program works in is where it always was.
fn temporary(order: &Order, folders: &[OsString]) -> std::io::Result<()> {
    let whole = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let host = rustix::mount::open_tree(CWD, TEMPORARY, whole)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", TEMPORARY, "tmpfs", flags, Some(c"mode=1777"))?;
    fs::create_dir(OF_HOST)?;
    rustix::mount::move_mount(&host, "", CWD, OF_HOST, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let replaced = order.replaced.iter().flat_map(|(other, folder)| [other, folder]);
    let worked_in: Vec<&Path> = folders.iter().chain([&order.root]).chain(replaced).map(Path::new).collect();
    for entry in fs::read_dir(OF_HOST)? {
        let entry = entry?;
        if entry.file_name().as_bytes().starts_with(OWN) {
            continue;
        }
        let (kind, target) = (entry.file_type()?, Path::new(TEMPORARY).join(entry.file_name()));
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_dir() && worked_in.iter().any(|path| path.starts_with(&target)) {
            fs::create_dir(&target)?;
            rustix::mount::mount_bind_recursive(entry.path(), &target)?;
        } else if kind.is_dir() || kind.is_file() {
            std::os::unix::fs::symlink(entry.path(), &target)?;
        }
    }
    for (position, folder) in folders.iter().enumerate() {
        std::os::unix::fs::symlink(folder, super::short_path(position))?;
    }
    Ok(())
}

/// Which mounts are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mounts {
    /// The one at the path.
    This,
    /// All that are below it, too.
    AllBelow,
}

/// Changes flags of mounts.
fn set(path: &Path, set: u64, clear: u64, mounts: Mounts) -> std::io::Result<()> {
    let attributes = Attributes { set, clear, propagation: 0, user_namespace: 0 };
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path and the structure, of the length given, live through the call (mount_setattr(2)).
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            if mounts == Mounts::AllBelow { libc::AT_RECURSIVE } else { 0 },
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
