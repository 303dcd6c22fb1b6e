//! A program that is listened to while it runs, and that never outlives us.
//!
//! In: a [`Program`]. Out: what it says, as it says it. The kernel kills it when the thread that started it ends
//! (`PR_SET_PDEATHSIG`, prctl(2)), whatever ended us.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::program::{Ended, Output, Program};
use crate::error::{Error, Result};

/// A program under way. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    program: Program,
    child: Child,
    output: Receiver<Vec<u8>>,
    errors: Option<JoinHandle<Vec<u8>>>,
}

/// What came next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Bytes on stdout.
    Bytes(Vec<u8>),
    /// Nothing for as long as was waited.
    Silence,
    /// It closed its stdout: it ended.
    End,
}

impl Running {
    /// Starts it with nothing on stdin.
    pub fn start(program: Program) -> Result<Running> {
        let mut command = dying_with_us(&program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| program.cannot_start(error))?;
        let (sender, output) = sync_channel(64);
        if let Some(pipe) = child.stdout.take() {
            std::thread::spawn(move || forward(pipe, &sender));
        }
        let errors = child.stderr.take().map(|mut pipe| {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let _ = pipe.read_to_end(&mut all);
                all
            })
        });
        Ok(Running { program, child, output, errors })
    }

    /// What it says next, waiting at most so long.
    pub fn listen(&self, at_most: Duration) -> Heard {
        match self.output.recv_timeout(at_most) {
            Ok(bytes) => Heard::Bytes(bytes),
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Kills it where it still runs. Gives its status and what it said on stderr.
    pub fn stop(mut self) -> Result<Ended> {
        let _ = self.child.kill();
        let status = self.child.wait().map_err(|error| self.cannot_wait(error))?;
        let stderr = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ok(Ended { status, output: Output { stdout: Vec::new(), stderr } })
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Result<Ended> {
        let status = self.child.wait().map_err(|error| self.cannot_wait(error))?;
        let stderr = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ok(Ended { status, output: Output { stdout: Vec::new(), stderr } })
    }

    fn cannot_wait(&self, error: std::io::Error) -> Error {
        self.program.cannot_start(error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program on our own terminal until it ends.
pub fn attach(program: &Program) -> Result<ExitStatus> {
    dying_with_us(program).status().map_err(|error| program.cannot_start(error))
}

fn forward(mut pipe: impl Read, sender: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}

fn dying_with_us(program: &Program) -> std::process::Command {
    let mut command = program.command();
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, which are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // We may have been gone before the kernel was told.
            if rustix::process::getppid().is_none_or(|now| now.as_raw_nonzero().get() as u32 != parent) {
                return Err(rustix::io::Errno::CANCELED.into());
            }
            Ok(())
        });
    }
    command
}
