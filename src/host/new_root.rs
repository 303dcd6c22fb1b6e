//! The root of a fresh mount namespace.
//!
//! In: a process that has just left its mounts behind by unshare(2). Out: no mount of its namespace reaches any other,
//! and its `/` is a mount, as pivot_root(2) demands. Build farms run their tools in a plain folder by chroot(2): there
//! `/` is no mount, and the mounts outside the folder, which the kernel propagates all the same, are out of sight.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::process::{chdir, chroot, fchdir};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Cuts every mount of this process's namespace off from all others, and makes sure that `/` is a mount. Keeps the
/// working directory. For a process with a single thread.
pub(super) fn private() -> rustix::io::Result<()> {
    match make_private() {
        Err(Errno::INVAL) => in_a_folder(),
        other => other,
    }
}

fn make_private() -> rustix::io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
}

fn open(path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn in_a_folder() -> rustix::io::Result<()> {
    let (root, current) = (open("/")?, std::env::current_dir());
    let own = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // Entering a mount namespace, even one's own, leads to the top of its mounts (setns(2)).
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
    make_private()?;
    fchdir(&root)?;
    chroot(".")?;
    rustix::mount::mount_bind_recursive("/", "/")?;
    // `/` is still the folder below the new mount; the way up from it ends on top.
    chdir("/..")?;
    chroot(".")?;
    // By its name: the descriptor of the old one would lie outside the new mount.
    current.map_err(|_| Errno::NOENT).and_then(chdir).or_else(|_| chdir("/"))
}
