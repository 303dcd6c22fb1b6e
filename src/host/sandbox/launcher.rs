//! The launcher of a [sandbox](super), a process: makes the namespaces and runs the program in them.
//!
//! In: an [`Order`] on descriptor 0, a socket. Out: an [`Answer`] there; the program's output on 1 and 2. Three
//! processes: the launcher, which stays outside and removes the mount points it made; the first process of the PID
//! namespace, which mounts and reaps; the program. Each dies with the one before it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::unistd::{ForkResult, fork};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::tree::MountPoints;
use super::{Answer, Network, Order, View, host_view, seccomp, tree};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::namespace::{HOST_NAME, die_with_parent, leave, refused};

/// What maintainer scripts need: files of any owner, other users, ports, file capabilities. Nothing that reaches the
/// kernel, its devices or other processes; `DAC_READ_SEARCH` opens files of the host by handle.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE);

/// The whole life of the helper; the result is its exit code.
pub(super) fn serve() -> u8 {
    // Whoever started ingot may have left descriptors open; programs of an image must not get them.
    // SAFETY: nothing of this fresh process uses a descriptor above 2.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let Ok(mut socket) = take_socket() else { return Exit::Bug.code() };
    let answer = answer(&mut socket).unwrap_or_else(Answer::Failed);
    let _ = serde_json::to_vec(&answer).map(|text| socket.write_all(&text));
    0
}

/// Descriptor 0 becomes /dev/null; the socket moves away, closed in what is executed.
fn take_socket() -> std::io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(socket))
}

fn answer(socket: &mut UnixStream) -> Result<Answer> {
    let mut order = Vec::new();
    socket.read_to_end(&mut order).or_cannot(|| "read the order")?;
    let order: Order =
        serde_json::from_slice(&order).map_err(|error| Error::cannot(Exit::Bug, "read the order").because(error))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).or_cannot(|| "bind to the parent's life")?;
    if rustix::process::getppid().map(Pid::as_raw_pid) != Some(order.parent as i32) {
        leave(Exit::Terminated.code());
    }
    let points = MountPoints::prepare(&order)?;
    let answer = namespaces(&order, &points);
    points.remove()?;
    answer
}

/// Starts the first process of the PID namespace and hears from it.
fn namespaces(order: &Order, points: &MountPoints) -> Result<Answer> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).or_cannot(|| "make a pipe");
    let ((parent_lives, lifeline), (report, to_report)) = (pipe()?, pipe()?);
    // SAFETY: only the PID namespace of future children changes; no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }.map_err(refused)?;
    // SAFETY: the helper has a single thread.
    match unsafe { fork() }.or_cannot(|| "fork")? {
        ForkResult::Child => {
            drop((lifeline, report));
            let answer = first_process(order, points, &parent_lives).unwrap_or_else(Answer::Failed);
            let _ = serde_json::to_vec(&answer).map(|text| File::from(to_report).write_all(&text));
            // Everything else in the namespace dies with this.
            leave(0)
        }
        ForkResult::Parent { child } => {
            drop((parent_lives, to_report));
            let mut text = Vec::new();
            File::from(report).read_to_end(&mut text).or_cannot(|| "hear from the sandbox")?;
            // Returns when every process of the namespace is gone (pid_namespaces(7)).
            let status = nix::sys::wait::waitpid(child, None).or_cannot(|| "wait for the sandbox")?;
            drop(lifeline);
            serde_json::from_slice(&text).map_err(|_| {
                let cause = format!("its first process ended without an answer: {status:?}");
                Error::cannot(Exit::Io, "keep the sandbox alive").because(cause)
            })
        }
    }
}

fn first_process(order: &Order, points: &MountPoints, parent_lives: &OwnedFd) -> Result<Answer> {
    die_with_parent(parent_lives)?;
    rustix::process::setsid().or_cannot(|| "start a session")?;
    let network = if order.network == Network::None { UnshareFlags::NEWNET } else { UnshareFlags::empty() };
    let namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    // SAFETY: no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(namespaces | network) }.map_err(refused)?;
    rustix::system::sethostname(HOST_NAME.as_bytes()).or_cannot(|| "set the host name")?;
    if order.network == Network::None {
        bring_up_loopback().or_cannot(|| "bring up the loopback device")?;
    }
    match &order.view {
        View::Tree => tree::enter(order, points)?,
        View::Host(writable) => host_view::enter(order, writable)?,
    }
    restrict()?;
    run(order)
}

/// Gives up what the program must not have. Its own parent, this process, must not be a way around it.
fn restrict() -> Result<()> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .or_cannot(|| "forbid core dumps")?;
    seccomp::install()?;
    for capability in CapabilitySet::all().iter().filter(|capability| !KEPT.contains(*capability)) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A capability that is newer than this kernel.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error).or_cannot(|| "give up capabilities"),
        }
    }
    let have = rustix::thread::capabilities(None).or_cannot(|| "look at the capabilities")?;
    let kept = have.permitted & KEPT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).or_cannot(|| "give up capabilities")?;
    // Without this /proc/1/exe and /proc/1/fd would be a door to the host (CVE-2019-5736).
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).or_cannot(|| "close /proc/1")
}

/// Starts the program, reaps everything, ends with the program.
fn run(order: &Order) -> Result<Answer> {
    let (name, rest) =
        order.arguments.split_first().ok_or_else(|| Error::cannot(Exit::Bug, "run a program without a name"))?;
    let started = Command::new(name)
        .args(rest)
        .env_clear()
        .envs(order.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .spawn();
    let child = started.map_err(|error| {
        let exit = if order.view == View::Tree { Exit::Description } else { Exit::HostLacks };
        let result = Error::cannot(exit, format!("start {}", name.to_string_lossy())).because(&error);
        if order.view != View::Tree {
            result.hint(format!("install the package that provides {} on this host", name.to_string_lossy()))
        } else if error.kind() == std::io::ErrorKind::NotFound {
            result.hint("the image has no such program, or not the interpreter that its first line names")
        } else {
            result
        }
    })?;
    loop {
        match rustix::process::waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_pid() == child.id() as i32 => {
                return Ok(Answer::Ended(status.as_raw()));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).or_cannot(|| "wait for the program"),
        }
    }
}

fn bring_up_loopback() -> std::io::Result<()> {
    use rustix::net::{AddressFamily, SocketType};
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: all zeroes is a valid ifreq (netdevice(7)).
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq (netdevice(7)).
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
