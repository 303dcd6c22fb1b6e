//! Everything that touches the kernel or starts a program; the only `unsafe`.
//!
//! In: paths, arguments, file descriptors. Out: guards that undo what they did (`close() -> Result` on the good
//! path, `Drop` as the fallback). Never knows what an image is.
#![allow(clippy::disallowed_methods)]

pub mod file;
pub mod folder;
pub mod lock;
pub mod loop_device;
pub mod mount;
pub mod namespace;
mod new_root;
pub mod opened;
pub mod program;
pub mod readahead;
pub mod rooted;
pub mod running;
pub mod sandbox;
pub mod signal;
pub mod untar;
mod user_namespace;

/// Whether ingot runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Lets every other thread of the machine run before the calling one. What does not work does no harm.
pub fn give_way() {
    // For Linux, a thread is a process here (setpriority(2), "C library/kernel differences").
    let _ = rustix::process::setpriority_process(None, 19);
}
