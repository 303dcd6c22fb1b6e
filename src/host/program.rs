//! Starting programs on the host.
//!
//! In: a program, its arguments as an array, a complete environment. Out: its output, or an error that names the
//! command, its status and the end of its stderr. Never goes through a shell, never inherits the environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use super::signal;
use crate::error::{Error, Exit, Result};
use crate::report::Reporter;

/// How many lines of a failed program's output are shown.
const TAIL: usize = 12;

/// A program to run. Environment: only what is set here, plus `PATH` and `LC_ALL=C.UTF-8`. A signal that interrupts the
/// build ends the program and makes the run an error (130, 143).
#[derive(Clone, Debug)]
pub struct Program {
    program: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    folder: Option<PathBuf>,
    input: Input,
    shown: Option<String>,
}

/// What a program reads.
#[derive(Clone, Debug)]
enum Input {
    Bytes(Vec<u8>),
    Descriptor(Arc<OwnedFd>),
}

/// What a program that ended well printed.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Everything on stdout.
    pub stdout: Vec<u8>,
    /// Everything on stderr.
    pub stderr: Vec<u8>,
}

/// How a program ended and what it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub output: Output,
}

impl Program {
    /// A program found in `PATH`, or an absolute path.
    pub fn new(program: impl AsRef<OsStr>) -> Program {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let environment = [("PATH", path), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
        Program {
            program: program.as_ref().to_os_string(),
            arguments: Vec::new(),
            environment: environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            folder: None,
            input: Input::Bytes(Vec::new()),
            shown: None,
        }
    }

    /// One argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Program {
        self.arguments.push(argument.as_ref().to_os_string());
        self
    }

    /// Several arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Program {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_os_string()));
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Program {
        self.environment.insert(name.as_ref().to_os_string(), value.as_ref().to_os_string());
        self
    }

    /// The working directory; default `/`.
    pub fn in_folder(mut self, folder: impl AsRef<Path>) -> Program {
        self.folder = Some(folder.as_ref().to_path_buf());
        self
    }

    /// What the program reads on stdin; default nothing.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Program {
        self.input = Input::Bytes(input.into());
        self
    }

    /// Gives the program a descriptor as stdin.
    pub(super) fn stdin_from(mut self, descriptor: OwnedFd) -> Program {
        self.input = Input::Descriptor(Arc::new(descriptor));
        self
    }

    /// Shows `line` instead of the real command, where that is a helper of ours.
    pub(super) fn shown_as(mut self, line: String) -> Program {
        self.shown = Some(line);
        self
    }

    /// The command as a person would type it, for messages.
    pub fn line(&self) -> String {
        if let Some(line) = &self.shown {
            return line.clone();
        }
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    /// Runs it; output goes to the log line by line and is returned too. A status other than 0 is an error.
    pub fn run(self, reporter: &Reporter) -> Result<Output> {
        let line = self.line();
        let ended = self.run_to_end(reporter, |_| {})?;
        if ended.status.success() {
            return Ok(ended.output);
        }
        Err(failure(&line, &ended))
    }

    /// Runs it and returns its status whatever it is; `watch` sees each line of output as it comes.
    pub fn run_to_end(self, reporter: &Reporter, watch: impl FnMut(&str) + Send) -> Result<Ended> {
        reporter.log_line(&format!("+ {}", self.line()));
        let mut child = self.spawn(Stdio::piped())?;
        let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let watch = std::sync::Mutex::new(watch);
        let see = |line: &str| {
            reporter.log_line(line);
            (watch.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))(line);
        };
        let mut output = Output::default();
        std::thread::scope(|scope| {
            if let (Some(mut pipe), Input::Bytes(bytes)) = (input, &self.input) {
                scope.spawn(move || pipe.write_all(bytes));
            }
            let errors = scope.spawn(|| stderr.map(|pipe| collect(pipe, &see)).unwrap_or_default());
            output.stdout = stdout.map(|pipe| collect(pipe, &see)).unwrap_or_default();
            output.stderr = errors.join().unwrap_or_default();
        });
        let status = child.wait().map_err(|error| self.cannot_start(error))?;
        signal::check()?;
        Ok(Ended { status, output })
    }

    /// Runs it with stdout in `file`; stderr goes to the log.
    pub fn run_into(self, reporter: &Reporter, file: File) -> Result<()> {
        reporter.log_line(&format!("+ {} > (file)", self.line()));
        let mut child = self.spawn(file.into())?;
        let (input, stderr) = (child.stdin.take(), child.stderr.take());
        let stderr = std::thread::scope(|scope| {
            if let (Some(mut pipe), Input::Bytes(bytes)) = (input, &self.input) {
                scope.spawn(move || pipe.write_all(bytes));
            }
            stderr.map(|pipe| collect(pipe, &|line| reporter.log_line(line))).unwrap_or_default()
        });
        let status = child.wait().map_err(|error| self.cannot_start(error))?;
        signal::check()?;
        if status.success() {
            return Ok(());
        }
        Err(failure(&self.line(), &Ended { status, output: Output { stdout: Vec::new(), stderr } }))
    }

    fn spawn(&self, stdout: Stdio) -> Result<Child> {
        signal::check()?;
        let mut command = self.command();
        command.stdout(stdout).stderr(Stdio::piped());
        command.stdin(match &self.input {
            Input::Bytes(bytes) if bytes.is_empty() => Stdio::null(),
            Input::Bytes(_) => Stdio::piped(),
            Input::Descriptor(descriptor) => descriptor.try_clone().map_err(|error| self.cannot_start(error))?.into(),
        });
        let mut child = command.spawn().map_err(|error| self.cannot_start(error))?;
        // A signal killed everything that ran before; this one may have been started just after.
        if signal::caught().is_some() {
            let _ = child.kill();
        }
        Ok(child)
    }

    /// The command without its three standard descriptors.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(&self.environment);
        command.current_dir(self.folder.as_deref().unwrap_or(Path::new("/")));
        command
    }

    pub(super) fn cannot_start(&self, error: std::io::Error) -> Error {
        let name = self.program.to_string_lossy();
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let result = Error::cannot(Exit::HostLacks, format!("start {name}")).because(error);
        if missing { result.hint(format!("install the package that provides {name} on this host")) } else { result }
    }
}

fn collect(pipe: impl Read, see: &dyn Fn(&str)) -> Vec<u8> {
    let mut all = Vec::new();
    let mut pipe = BufReader::new(pipe);
    loop {
        let from = all.len();
        match pipe.read_until(b'\n', &mut all) {
            Ok(0) | Err(_) => return all,
            Ok(_) => see(String::from_utf8_lossy(&all[from..]).trim_end()),
        }
    }
}

/// The error for a program that ended badly: its line, status and the end of what it said.
pub fn failure(line: &str, ended: &Ended) -> Error {
    let said = if ended.output.stderr.is_empty() { &ended.output.stdout } else { &ended.output.stderr };
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| format!("| {line}\n")).collect::<String>();
    let mut short: String = line.chars().take(160).collect();
    if short.len() < line.len() {
        short.push_str(" ...");
    }
    let error = Error::new(Exit::Io, format!("`{short}` failed")).because(status_text(ended.status));
    if tail.is_empty() { error } else { error.because(tail) }
}

/// `exit status 3`, `killed by signal 9`.
pub fn status_text(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".into(),
    }
}
