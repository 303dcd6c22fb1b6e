//! Being root without being root: a user namespace with the user's subordinate ids (user_namespaces(7), subuid(5)).
//!
//! In: the build as a function, an ordinary user. Out: its exit code. The build's uid 0 is the user, its uids from 1 are
//! the subordinate ones, so that files of an image can have any owner. Never works with a single id: owners would be lost.

use std::fs::{self, File};
use std::io::{Read, Write};

use nix::sys::signal::SigmaskHow;
use nix::unistd::{ForkResult, Pid, User, fork};
use rustix::pipe::PipeFlags;
use rustix::thread::UnshareFlags;

use super::namespace::{as_first_process, die_with_parent, leave, refused, signals_to_wait_for, supervise};
use super::program::Program;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::report::Reporter;

/// Ids that an image needs beside root's: up to `nobody`, 65534.
const NEEDED: u32 = 65_535;

/// Runs `work` as root of a user namespace and as the first process of the other namespaces.
pub(super) fn entered(work: impl FnOnce() -> u8) -> Result<u8> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let name = User::from_uid(uid.into()).ok().flatten().map(|user| user.name).unwrap_or_default();
    let users = subordinate("/etc/subuid", &name, uid)?;
    let groups = subordinate("/etc/subgid", &name, uid)?;
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).or_cannot(|| "make a pipe");
    let ((parent_lives, lifeline), (ready, to_ready), (mapped, to_mapped)) = (pipe()?, pipe()?, pipe()?);
    let (failure, to_failure) = pipe()?;
    let signals = signals_to_wait_for();
    let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).or_cannot(|| "block signals")?;
    // SAFETY: this process has a single thread (checked by `isolated`).
    match unsafe { fork() }.or_cannot(|| "fork")? {
        ForkResult::Child => {
            drop((lifeline, ready, to_mapped, failure));
            let enter = || {
                // SAFETY: no descriptor table is unshared.
                unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }.map_err(refused)?;
                File::from(to_ready).write_all(b"!").or_cannot(|| "ask for the id mapping")?;
                // The pipe just ends when the mapping failed.
                File::from(mapped).read_exact(&mut [0]).or_cannot(|| "get the id mapping")?;
                become_root()?;
                // Only now: a change of identity would undo it (prctl(2)).
                die_with_parent(&parent_lives)?;
                before.thread_set_mask().or_cannot(|| "unblock signals")?;
                as_first_process(work)
            };
            let code = enter().unwrap_or_else(|error| {
                let _ = File::from(to_failure).write_all(&serde_json::to_vec(&error).unwrap_or_default());
                error.exit().code()
            });
            leave(code)
        }
        ForkResult::Parent { child } => {
            drop((parent_lives, to_ready, mapped, to_failure));
            let map = || {
                File::from(ready).read_exact(&mut [0]).or_cannot(|| "start a user namespace")?;
                map_ids("newuidmap", child, uid, users)?;
                map_ids("newgidmap", child, gid, groups)?;
                File::from(to_mapped).write_all(b"!").or_cannot(|| "hand over the id mapping")
            };
            let map = map();
            let code = supervise(child, &signals);
            drop(lifeline);
            let _ = before.thread_set_mask();
            let mut text = Vec::new();
            File::from(failure).read_to_end(&mut text).or_cannot(|| "hear from the build")?;
            match (serde_json::from_slice::<Error>(&text), map) {
                // The child only saw that no mapping came.
                (_, Err(error)) if error.exit() == Exit::HostLacks => Err(error),
                (Ok(error), _) | (Err(_), Err(error)) => Err(error),
                (Err(_), Ok(())) => code,
            }
        }
    }
}

fn become_root() -> Result<()> {
    let change = || {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(0.into())?;
        nix::unistd::setuid(0.into())
    };
    change().or_cannot(|| "become root of the user namespace")
}

/// Start of the first range of at least [`NEEDED`] subordinate ids.
fn subordinate(file: &str, name: &str, uid: u32) -> Result<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let start = first_range(&text, name, uid);
    start.ok_or_else(|| {
        Error::cannot(Exit::HostLacks, "build as an ordinary user")
            .because(format!("{file} gives user {name} ({uid}) no {NEEDED} subordinate ids"))
            .hint("run ingot as root, or install `uidmap` and run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` as root")
    })
}

fn first_range(text: &str, name: &str, uid: u32) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, start, count) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse::<u32>().ok()?);
        let ours = (!name.is_empty() && owner == name) || owner == uid.to_string();
        (ours && count >= NEEDED).then_some(start)
    })
}

/// Maps 0 to the user and 1.. to the subordinate ids, through the setuid program that may do so.
fn map_ids(program: &str, child: Pid, own: u32, start: u32) -> Result<()> {
    let numbers = [child.as_raw() as u32, 0, own, 1, 1, start, NEEDED];
    Program::new(program)
        .args(numbers.map(|number| number.to_string()))
        .run(&Reporter::silent())
        .map(drop)
        .map_err(|error| error.with_exit(Exit::HostLacks).within("build as an ordinary user").hint("run ingot as root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_range_that_holds_all_ids_of_an_image_counts() {
        let text = "other:1:70000\nme:100:5\n1000:200:65536\nme:300:65536\n";
        assert_eq!(first_range(text, "me", 1000), Some(200));
        assert_eq!(first_range(text, "me", 7), Some(300));
        assert_eq!(first_range(text, "", 8), None);
    }
}
