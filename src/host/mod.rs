//! Everything that touches the kernel or starts a program; the only `unsafe`.
//!
//! In: paths, arguments, file descriptors. Out: guards that undo what they did (`close() -> Result` on the good
//! path, `Drop` as the fallback). Never knows what an image is.
#![allow(clippy::disallowed_methods)]

pub mod file;
pub mod folder;
pub mod identity;
pub mod lock;
pub mod loop_device;
pub mod loss;
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

/// Takes less than half of what other threads of the machine take that want the same core: for the calling thread, and
/// whatever it starts. What does not work does no harm.
pub fn step_back() {
    // As in `give_way`.
    let _ = rustix::process::setpriority_process(None, 10);
}

/// Lets every other thread of the machine run before the calling one. What does not work does no harm.
pub fn give_way() {
    // For Linux, a thread is a process here (setpriority(2), "C library/kernel differences").
    let _ = rustix::process::setpriority_process(None, 19);
}
