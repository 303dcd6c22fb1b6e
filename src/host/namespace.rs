//! The build's own mount, PID, IPC and UTS namespaces (namespaces(7)).
//!
//! In: the build as a function, before any thread exists. Out: its exit code. When this process or the build's first
//! process dies, the kernel kills every process of the build and removes every mount. Never touches the host's mounts.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, sigaction};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use rustix::pipe::PipeFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::signal;
use crate::error::{Error, Exit, OrCannot, Result};

/// How long a build may clean up after the first signal; then the kernel does it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Every build sees this name, so that no image carries the host's.
pub(super) const HOST_NAME: &str = "localhost";

/// Runs `work` as the first process of its own namespaces and returns its exit code: 130 or 143 when a signal stopped
/// it. A second signal kills the build at once. Without root, a user namespace with the user's subordinate ids
/// (subuid(5)) is used. 77 where the kernel forbids namespaces, 69 where there are no subordinate ids, 70 for a panic.
pub fn isolated(work: impl FnOnce() -> u8) -> Result<u8> {
    let threads = std::fs::read_dir("/proc/self/task").or_cannot(|| "look at /proc/self/task")?.count();
    if threads != 1 {
        return Err(cannot("isolate the build", Exit::Bug).because(format!("{threads} threads are running already")));
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if rustix::process::geteuid().is_root() { as_first_process(work) } else { super::user_namespace::entered(work) }
}

/// Whether this process is the first one of a build's namespaces.
pub fn is_isolated() -> bool {
    signal::is_watched() && std::process::id() == 1
}

/// Kills and reaps every other process of the build, for instance daemons that a package started. For the moment when
/// no program of ours runs. Does nothing outside of [`isolated`], where the other processes are not ours.
pub fn kill_everything_else() -> Result<()> {
    if !is_isolated() {
        return Ok(());
    }
    loop {
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => return Err(error).or_cannot(|| "kill what the build left running"),
        }
        match waitpid(None, None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error).or_cannot(|| "wait for what the build left running"),
        }
    }
}

fn cannot(what: &str, exit: Exit) -> Error {
    Error::cannot(exit, what)
}

/// The kernel refused a namespace: says what to do about it.
pub(super) fn refused(error: impl Into<std::io::Error>) -> Error {
    let error = error.into();
    let exit = if error.kind() == std::io::ErrorKind::PermissionDenied { Exit::Permission } else { Exit::HostLacks };
    cannot("make the build's own namespaces", exit)
        .because(error)
        .hint("run ingot as root; inside a container the container must be a privileged one")
}

/// The part that needs to be root, of the host or of a user namespace.
pub(super) fn as_first_process(work: impl FnOnce() -> u8) -> Result<u8> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).or_cannot(|| "make a pipe");
    let ((parent_lives, lifeline), (report, to_report)) = (pipe()?, pipe()?);
    let signals = signals_to_wait_for();
    let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).or_cannot(|| "block signals")?;
    let own = rustix::fs::open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .or_cannot(|| "open /proc/self/ns/pid")?;
    // SAFETY: only the PID namespace of future children changes; no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }.map_err(refused)?;
    // SAFETY: this process has a single thread (checked by `isolated`).
    match unsafe { fork() }.or_cannot(|| "fork")? {
        ForkResult::Child => {
            drop((lifeline, report));
            let code = match enter(&parent_lives, &before) {
                Ok(()) => {
                    drop(to_report);
                    finished(work)
                }
                Err(error) => {
                    let text = serde_json::to_vec(&error).unwrap_or_default();
                    let _ = File::from(to_report).write_all(&text);
                    error.exit().code()
                }
            };
            leave(code)
        }
        ForkResult::Parent { child } => {
            drop((parent_lives, to_report));
            // Without this, this process could never fork again once the child is dead (pid_namespaces(7)). Root of a
            // user namespace may not, and that process only waits.
            let _ = rustix::thread::move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID));
            let mut failure = Vec::new();
            let read = File::from(report).read_to_end(&mut failure);
            let code = supervise(child, &signals);
            drop(lifeline);
            let _ = before.thread_set_mask();
            read.or_cannot(|| "hear from the build's first process")?;
            match serde_json::from_slice(&failure) {
                Ok(error) => Err(error),
                Err(_) => code,
            }
        }
    }
}

/// Runs `work`, a panic is 70; what is in our buffers goes out.
fn finished(work: impl FnOnce() -> u8) -> u8 {
    let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Exit::Bug.code());
    let _ = std::io::stdout().flush();
    code
}

/// Ends a forked process without running what the parent registered with atexit(3).
pub(super) fn leave(code: u8) -> ! {
    // SAFETY: _exit(2) takes a number and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// The interrupting signals that are not ignored (nohup(1), background jobs) and SIGCHLD.
pub(super) fn signals_to_wait_for() -> SigSet {
    let default =
        nix::sys::signal::SigAction::new(SigHandler::SigDfl, nix::sys::signal::SaFlags::empty(), SigSet::empty());
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    // SAFETY: the default action runs no code of ours. An ignored SIGCHLD would hide the child's end.
    let _ = unsafe { sigaction(Signal::SIGCHLD, &default) };
    for signal in signal::INTERRUPTING {
        // SAFETY: the default action runs no code of ours.
        match unsafe { sigaction(signal, &default) } {
            Ok(old) if matches!(old.handler(), SigHandler::SigIgn) => {
                // SAFETY: as above; what was ignored stays ignored.
                let _ = unsafe { sigaction(signal, &old) };
            }
            _ => signals.add(signal),
        }
    }
    signals
}

/// Makes this fresh child the first process of a complete set of namespaces.
fn enter(parent_lives: &OwnedFd, mask: &SigSet) -> Result<()> {
    die_with_parent(parent_lives)?;
    // A session of its own: Ctrl-C reaches only the parent, which forwards it once.
    rustix::process::setsid().or_cannot(|| "start a session")?;
    let namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }.map_err(refused)?;
    super::new_root::private().or_cannot(|| "make the build's mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None).or_cannot(|| "mount the build's own /proc")?;
    rustix::system::sethostname(HOST_NAME.as_bytes()).or_cannot(|| "set the build's host name")?;
    signal::watch().or_cannot(|| "watch for signals")?;
    mask.thread_set_mask().or_cannot(|| "unblock signals")
}

/// From now on SIGKILL follows the death of the parent, which holds the other end of `parent_lives`.
pub(super) fn die_with_parent(parent_lives: &OwnedFd) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .or_cannot(|| "bind the build's life to its parent's")?;
    // It may have died before: then the pipe has no writer any more.
    let mut polled = [PollFd::new(parent_lives, PollFlags::empty())];
    let nothing = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = rustix::event::poll(&mut polled, Some(&nothing));
    if polled[0].revents().contains(PollFlags::HUP) {
        leave(Exit::Terminated.code());
    }
    Ok(())
}

/// Waits for the child and forwards signals: the first one asks, the second one kills.
pub(super) fn supervise(child: Pid, signals: &SigSet) -> Result<u8> {
    let mut asked: Option<(Signal, Instant)> = None;
    loop {
        let status = match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other.or_cannot(|| "wait for the build")?,
        };
        let interrupted = asked.map(|(signal, _)| signal::exit_for(signal as i32).code());
        match (status, interrupted) {
            // What finished before it noticed has finished.
            (WaitStatus::Exited(_, 0), _) => return Ok(0),
            (WaitStatus::Exited(..) | WaitStatus::Signaled(..), Some(code)) => return Ok(code),
            (WaitStatus::Exited(_, code), None) => return Ok(code as u8),
            (WaitStatus::Signaled(_, signal, _), None) => return Err(killed(signal)),
            _ => {}
        }
        let left = asked.map(|(_, when)| PATIENCE.saturating_sub(when.elapsed()));
        match next_signal(signals, left) {
            Some(Signal::SIGCHLD) => {}
            Some(signal) if asked.is_none() => {
                asked = Some((signal, Instant::now()));
                let _ = kill(child, signal);
            }
            // A second signal, or patience is over.
            _ => {
                let _ = kill(child, Signal::SIGKILL);
                asked = asked.map(|(signal, _)| (signal, Instant::now()));
            }
        }
    }
}

fn killed(signal: Signal) -> Error {
    let error = |exit| cannot("finish the build", exit).because(format!("its first process was killed by {signal}"));
    match signal {
        Signal::SIGKILL => error(Exit::Io).hint("if nobody killed it, memory ran out: the kernel's log (dmesg) knows"),
        _ => error(Exit::Bug),
    }
}

/// The next of `signals`, all of them blocked; `None` after `timeout`.
fn next_signal(signals: &SigSet, timeout: Option<Duration>) -> Option<Signal> {
    let timeout = timeout.map(|left| libc::timespec {
        tv_sec: left.as_secs() as libc::time_t,
        tv_nsec: left.subsec_nanos() as libc::c_long,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), |timeout| timeout as *const libc::timespec);
    loop {
        // SAFETY: the set and the timeout live through the call; no information is asked for (sigtimedwait(2)).
        let number = unsafe { libc::sigtimedwait(signals.as_ref(), std::ptr::null_mut(), timeout) };
        match (number, nix::errno::Errno::last()) {
            (-1, nix::errno::Errno::EINTR) => {}
            (-1, _) => return None,
            (number, _) => return Signal::try_from(number).ok(),
        }
    }
}
