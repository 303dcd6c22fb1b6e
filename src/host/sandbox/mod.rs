//! Running programs inside an image's tree, with nothing of the host in reach.
//!
//! In: the tree, an argument list, an environment. Out: its output. Each program gets mount, PID, IPC, UTS and (by
//! default) network namespaces of its own, a minimal private /dev, its own /proc, a read-only /sys, few capabilities.
//! Never leaves anything in the tree, never lets a process outlive the program.
//!
//! A package manager that installs into the tree from outside is a program of the host: [`Sandbox::of_host`] shows it the
//! host, read-only but for the tree and the folders that it is given; what it starts in the tree with chroot(2) finds the
//! same surroundings there as any other program in a sandbox.
//!
//! The namespaces are made by this same executable, started again with [`ENTRY`] as its only argument: code between
//! fork and exec of a process with threads may hardly do anything. `main` calls [`enter_if_asked`] before all else.

mod host_view;
mod launcher;
mod seccomp;
mod tree;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use super::program::{Ended, Output, Program, failure};
use super::rooted::RootPath;
use super::signal;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::report::Reporter;

/// The argument that makes this executable build a sandbox instead of anything else.
pub const ENTRY: &str = "__sandbox";

/// Whether programs in the sandbox reach a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A namespace with nothing but loopback.
    None,
    /// The host's, with its /etc/resolv.conf shown while a program runs.
    Host,
}

/// A tree that programs run in. Cloning is cheap; each run is a sandbox of its own.
#[derive(Clone, Debug)]
pub struct Sandbox {
    root: PathBuf,
    network: Network,
    binds: Vec<(PathBuf, RootPath)>,
    replaced: Vec<(PathBuf, PathBuf)>,
    environment: BTreeMap<OsString, OsString>,
    view: View,
}

/// Which files a program sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum View {
    /// The tree, as `/`.
    Tree,
    /// The host's, read-only but for the tree and these folders.
    Host(Vec<OsString>),
}

/// What the helper is asked to do. Crosses a socket, so that no argument is too long and any byte survives.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    root: OsString,
    network: Network,
    binds: Vec<(OsString, Vec<u8>)>,
    replaced: Vec<(OsString, OsString)>,
    environment: Vec<(OsString, OsString)>,
    arguments: Vec<OsString>,
    view: View,
    /// The asking process; the helper ends when it is gone.
    parent: u32,
}

/// What the helper answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// The program ran and ended with this wait status (wait(2)).
    Ended(i32),
    /// It could not be started.
    Failed(Error),
}

/// What [`ENTRY`] asks for, if this process was started with it: the code for `exit(2)`.
pub fn enter_if_asked() -> Option<u8> {
    let mut arguments = std::env::args_os().skip(1);
    let asked = arguments.next().is_some_and(|argument| argument == ENTRY) && arguments.next().is_none();
    asked.then(launcher::serve)
}

/// Another path of a folder of [`Sandbox::of_host`], by its position, which the program alone sees: without blanks, for
/// programs that divide lists of paths at them.
pub fn short_path(position: usize) -> PathBuf {
    PathBuf::from(format!("/tmp/.ingot-{position}"))
}

impl Sandbox {
    /// A sandbox over the tree at `root`, without network.
    pub fn new(root: &Path) -> Sandbox {
        let environment = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("SHELL", "/bin/sh"),
            ("TERM", "dumb"),
            // The encoding alone: every program that starts reads one file of the locale, and not a dozen of the same content.
            ("LC_CTYPE", "C.UTF-8"),
            ("SYSTEMD_OFFLINE", "1"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ];
        let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Sandbox {
            root: root.into(),
            network: Network::None,
            binds: Vec::new(),
            replaced: Vec::new(),
            environment,
            view: View::Tree,
        }
    }

    /// The same for a program of the host, which sees the host as it is and may change nothing of it but the tree and
    /// what is in `folders`.
    pub fn of_host(mut self, folders: &[&Path]) -> Sandbox {
        self.view = View::Host(folders.iter().map(|folder| folder.as_os_str().to_os_string()).collect());
        self
    }

    /// For a program of the host: shows `folder` in the place of another one of the host, which must be there.
    pub fn in_place_of(mut self, other: &Path, folder: &Path) -> Sandbox {
        self.replaced.push((other.into(), folder.into()));
        self
    }

    /// Sets the network.
    pub fn network(mut self, network: Network) -> Sandbox {
        self.network = network;
        self
    }

    /// Shows a file or folder of the host, read-only, at `target` while programs run.
    pub fn bind(mut self, host: &Path, target: &RootPath) -> Sandbox {
        self.binds.push((host.into(), target.clone()));
        self
    }

    /// An environment variable of every program (PATH, HOME=/root, LC_CTYPE=C.UTF-8 ... are set already).
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Sandbox {
        self.environment.insert(name.as_ref().into(), value.as_ref().into());
        self
    }

    /// Runs `arguments[0]` (looked up in the image); a status other than 0 is an error.
    pub fn run<A: AsRef<OsStr>>(&self, reporter: &Reporter, arguments: &[A]) -> Result<Output> {
        let ended = self.run_to_end(reporter, arguments, |_| {})?;
        if ended.status.success() { Ok(ended.output) } else { Err(failure(&line(arguments), &ended)) }
    }

    /// Runs it and returns its status whatever it is; `watch` sees each line of output as it comes. 65 where the image
    /// lacks the program.
    pub fn run_to_end<A: AsRef<OsStr>>(
        &self,
        reporter: &Reporter,
        arguments: &[A],
        watch: impl FnMut(&str) + Send,
    ) -> Result<Ended> {
        let what = || match self.view {
            View::Tree => format!("run {} in the image", line(arguments)),
            View::Host(_) => format!("run {}", short(&line(arguments))),
        };
        let (ours, theirs) = UnixStream::pair().or_cannot(what)?;
        let order = Order {
            root: self.root.clone().into(),
            network: self.network,
            binds: self.binds.iter().map(|(host, target)| (host.into(), target.as_bytes().to_vec())).collect(),
            replaced: self.replaced.iter().map(|(other, folder)| (other.into(), folder.into())).collect(),
            environment: self.environment.clone().into_iter().collect(),
            arguments: arguments.iter().map(|argument| argument.as_ref().to_os_string()).collect(),
            view: self.view.clone(),
            parent: std::process::id(),
        };
        let order = serde_json::to_vec(&order).map_err(|error| Error::cannot(Exit::Bug, what()).because(error))?;
        let (ended, answer) = std::thread::scope(|scope| {
            let talk = scope.spawn(|| {
                let mut answer = Vec::new();
                // A helper that dies early breaks the pipe; its missing answer says so below.
                let _ = (&ours).write_all(&order).and_then(|()| ours.shutdown(Shutdown::Write));
                let _ = (&ours).read_to_end(&mut answer);
                answer
            });
            let helper = Program::new("/proc/self/exe").arg(ENTRY).shown_as(line(arguments)).stdin_from(theirs.into());
            let ended = helper.run_to_end(reporter, watch);
            (ended, talk.join().unwrap_or_default())
        });
        let ended = ended?;
        signal::check()?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Ended(status)) => Ok(Ended { status: ExitStatus::from_raw(status), output: ended.output }),
            Ok(Answer::Failed(error)) => Err(error.within(what())),
            Err(_) => Err(failure(&line(arguments), &ended).with_exit(Exit::Bug).within(what())),
        }
    }
}

/// The command as a person would type it, for messages.
fn line<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    arguments.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn short(line: &str) -> String {
    let shown: String = line.chars().take(160).collect();
    if shown.len() < line.len() { format!("{shown} ...") } else { shown }
}

#[cfg(test)]
mod tests {
    /// Test binaries have a main of their own, so the helper is entered before it: `/proc/self/exe` is the test.
    #[used]
    // SAFETY: the C library calls the functions of this section once, before main, in a single thread (elf(5)).
    #[unsafe(link_section = ".init_array")]
    static ENTER: extern "C" fn() = enter;

    extern "C" fn enter() {
        if let Some(code) = super::enter_if_asked() {
            crate::host::namespace::leave(code);
        }
    }
}
