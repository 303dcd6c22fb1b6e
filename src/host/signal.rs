//! SIGINT, SIGTERM and SIGHUP during a build.
//!
//! In: signals to the first process of a build's namespace. Out: all other processes of the namespace killed at once,
//! and an error at the next [`check`], so that the build unwinds and its guards clean up. Never ends the process itself.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Exit, OrCannot, Result};

/// The signals that interrupt a build.
pub(super) const INTERRUPTING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Number of the first signal that arrived; 0 before.
static CAUGHT: AtomicI32 = AtomicI32::new(0);
/// Whether [`watch`] was called.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Which exit code a signal asks for; `None` as long as none arrived.
pub fn caught() -> Option<Exit> {
    match CAUGHT.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(exit_for(signal)),
    }
}

/// An error (130 or 143) once a signal arrived. Long loops call it; programs that run are killed anyway.
pub fn check() -> Result<()> {
    match caught() {
        None => Ok(()),
        Some(exit) => Err(Error::new(exit, "interrupted").because("a signal asked the build to stop")),
    }
}

/// 130 for SIGINT, 143 for the others.
pub(super) fn exit_for(signal: i32) -> Exit {
    if signal == libc::SIGINT { Exit::Interrupted } else { Exit::Terminated }
}

/// Installs the handlers. In process 1 of a namespace, which holds nothing but the build, they kill everybody else, too.
pub(super) fn watch() -> nix::Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::all());
    for signal in INTERRUPTING {
        // SAFETY: `note` calls nothing but async-signal-safe functions (signal-safety(7)).
        unsafe { sigaction(signal, &action) }?;
    }
    WATCHED.store(true, Ordering::SeqCst);
    Ok(())
}

/// From now on SIGINT, SIGTERM and SIGHUP are noted, and [`check`] tells. For a process that asks often enough.
pub fn note_signals() -> Result<()> {
    watch().map_err(std::io::Error::from).or_cannot(|| "watch for signals")
}

/// Whether the handlers are installed.
pub(super) fn is_watched() -> bool {
    WATCHED.load(Ordering::SeqCst)
}

extern "C" fn note(signal: i32) {
    let _ = CAUGHT.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    // A process that was just forked still has this handler and must not use it: only process 1 may kill everybody.
    // SAFETY: getpid and kill are async-signal-safe; errno is kept as the interrupted code expects it.
    unsafe {
        if libc::getpid() == 1 {
            let errno = *libc::__errno_location();
            libc::kill(-1, libc::SIGKILL);
            *libc::__errno_location() = errno;
        }
    }
}
