//! Running the vendors' own programs.
//!
//! In: a program, its arguments, the environment of whoever called ingot, which is passed on as it is: that is where the
//! programs find their credentials. Out: what they answer, without secrets. Never through a shell; no program outlives
//! this process.

use std::cell::Cell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::script::{self, Script};
use super::secret;
use super::trouble::Trouble;
use crate::error::{Error, Exit, Result};
use crate::host::program::{Program, status_text};
use crate::host::running::{Heard, Running};
use crate::host::signal;
use crate::report::Reporter;

/// How often a signal is looked for while a program runs.
const LISTEN: Duration = Duration::from_millis(100);
/// How many lines of a failed program's output are shown.
const TAIL: usize = 8;

/// How programs are run.
#[derive(Clone)]
pub struct Tools {
    /// The environment that they get.
    pub environment: Vec<(OsString, OsString)>,
    /// The folder that they run in.
    pub folder: PathBuf,
    /// How often a temporary failure is tried again.
    pub retries: u32,
    /// How long to wait before the first of these; each later one waits twice as long.
    pub delay: Duration,
    /// Values that are hidden in all output.
    pub secrets: Vec<String>,
    /// Where progress goes.
    pub reporter: Reporter,
}

/// What a program answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Everything on stdout, as it came: not for a person's eyes.
    pub stdout: Vec<u8>,
}

/// A program that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why.
    pub trouble: Trouble,
    /// The error for a person.
    pub error: Error,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { trouble: Trouble::Other, error }
    }
}

impl Tools {
    /// The values of variables that hold secrets by their names; shorter ones would hide too much.
    pub fn secrets_of(environment: &[(OsString, OsString)]) -> Vec<String> {
        let text = |text: &OsString| text.to_str().map(str::to_string);
        let secret = environment.iter().filter_map(|(name, value)| {
            let (name, value) = (text(name)?, text(value)?);
            (secret::is_secret(&name) && value.len() >= 8).then_some(value)
        });
        secret.collect()
    }

    /// Where PATH has such a program.
    fn find(&self, program: &str) -> Option<PathBuf> {
        let path = self.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let path = path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| crate::host::file::is_file(path))
    }

    /// Runs it until it answers well; temporary failures are tried again. `seen` gets what it prints meanwhile.
    pub fn call(&self, program: &str, arguments: &[String], seen: &dyn Fn(&str)) -> Result<Answer, Failure> {
        let hear = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            if let Some(last) = text.split(['\r', '\n']).rev().find(|part| !part.trim().is_empty()) {
                seen(&secret::hidden(last, &self.secrets));
            }
            Ok(())
        };
        let once = || self.once(&self.program(program, arguments), program, arguments, &hear);
        self.patiently(program, once, &|| 0, seen)
    }

    /// Runs it once for each list of arguments, in order, and says after each how many are done. Where the program is a
    /// script of Python, one process runs all of them. What failed for a while is tried again from there.
    pub fn call_each(
        &self,
        program: &str,
        calls: &[Vec<String>],
        done: &dyn Fn(usize) -> Result<()>,
    ) -> Result<(), Failure> {
        let Some(script) = self.find(program).and_then(|path| Script::open(&path)) else {
            for (number, call) in calls.iter().enumerate() {
                self.call(program, call, &|_| {})?;
                done(number + 1)?;
            }
            return Ok(());
        };
        let count = Cell::new(0);
        let hear = |bytes: &[u8]| {
            for _ in bytes.iter().filter(|byte| **byte == script::DONE) {
                count.set(count.get() + 1);
                done(count.get())?;
            }
            Ok(())
        };
        let once = || {
            let left = calls.get(count.get()..).unwrap_or_default();
            let Some(next) = left.first() else { return Ok(Answer { stdout: Vec::new() }) };
            let started = self.program(&script.interpreter, &script.arguments(left));
            let answer = self.once(&started, program, next, &hear)?;
            if count.get() < calls.len() {
                let error = Error::new(Exit::Io, format!("`{}` ended before its work was done", line(program, next)));
                return Err(error.into());
            }
            Ok(answer)
        };
        self.patiently(program, once, &|| count.get(), &|_| {})?;
        Ok(())
    }

    /// Tries again what failed for a while; where `progress` grew meanwhile, with fresh patience.
    fn patiently(
        &self,
        program: &str,
        once: impl Fn() -> Result<Answer, Failure>,
        progress: &dyn Fn() -> usize,
        seen: &dyn Fn(&str),
    ) -> Result<Answer, Failure> {
        let mut delay = self.delay;
        let mut tries = 0;
        loop {
            let before = progress();
            let failure = match once() {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if progress() > before {
                (delay, tries) = (self.delay, 0);
            }
            if failure.trouble != Trouble::Temporary || tries == self.retries {
                let times = if tries > 0 { format!(" ({} times)", tries + 1) } else { String::new() };
                let error = failure.error;
                return Err(Failure {
                    error: if tries > 0 { error.because(format!("tried{times}")) } else { error },
                    ..failure
                });
            }
            tries += 1;
            seen(&format!("again in {:.1} s", delay.as_secs_f64()));
            self.reporter.log_line(&format!("{program} failed, again in {:.1} s", delay.as_secs_f64()));
            pause(delay)?;
            delay *= 2;
        }
    }

    /// Runs it; for a person it is the program with these arguments. `hear` gets what it prints, and stops it with an error.
    fn once(
        &self,
        started: &Program,
        program: &str,
        arguments: &[String],
        hear: &dyn Fn(&[u8]) -> Result<()>,
    ) -> Result<Answer, Failure> {
        signal::check()?;
        let shown = |text: &str| secret::hidden(text, &self.secrets);
        let line = line(program, arguments);
        self.reporter.log_line(&format!("+ {}", shown(&line)));
        let running = Running::start(started.clone()).map_err(|error| {
            let hint = format!("install {program}, or set PATH so that it is found");
            if error.exit() == Exit::HostLacks { error.hint(hint) } else { error }
        })?;
        let mut stdout = Vec::new();
        loop {
            match running.listen(LISTEN) {
                Heard::Bytes(bytes) => {
                    if let Err(error) = hear(&bytes) {
                        running.stop()?;
                        return Err(error.into());
                    }
                    stdout.extend(bytes);
                }
                Heard::Silence => {
                    if let Err(error) = signal::check() {
                        running.stop()?;
                        return Err(error.into());
                    }
                }
                Heard::End => break,
            }
        }
        let ended = running.wait()?;
        // Interrupted at a terminal, the program gets the signal as we do: that is no failure of its own.
        signal::check()?;
        let stderr = shown(&String::from_utf8_lossy(&ended.output.stderr));
        for line in stderr.lines() {
            self.reporter.log_line(line);
        }
        if ended.status.success() {
            return Ok(Answer { stdout });
        }
        let said = if stderr.trim().is_empty() { shown(&String::from_utf8_lossy(&stdout)) } else { stderr };
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        let trouble = Trouble::of(&said, arguments);
        let mut short: String = shown(&line).chars().take(200).collect();
        if short.len() < line.len() {
            short.push_str(" ...");
        }
        let error = Error::new(trouble.exit(), format!("`{short}` failed")).because(status_text(ended.status));
        let error = tail.iter().fold(error, |error, line| error.because(format!("| {line}")));
        let error = match trouble.hint(program) {
            Some(hint) => error.hint(hint),
            None => error,
        };
        Err(Failure { trouble, error })
    }

    fn program(&self, program: &str, arguments: &[String]) -> Program {
        let mut made = Program::new(program).args(arguments).in_folder(&self.folder);
        for (name, value) in &self.environment {
            // Messages and numbers are read by us: in English.
            if !["LC_ALL", "LANG", "LANGUAGE"].iter().any(|language| name == language) {
                made = made.env(name, value);
            }
        }
        // Nobody sits there to answer a question or to turn a page.
        for (name, value) in [
            ("AWS_PAGER", ""),
            ("AWS_CLI_AUTO_PROMPT", "off"),
            ("AZURE_CORE_NO_COLOR", "true"),
            ("AZURE_CORE_COLLECT_TELEMETRY", "false"),
            ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1"),
        ] {
            made = made.env(name, value);
        }
        made
    }
}

/// As a person would type it into a shell.
fn line(program: &str, arguments: &[String]) -> String {
    let words = std::iter::once(program).chain(arguments.iter().map(String::as_str));
    words.map(super::step::quoted).collect::<Vec<_>>().join(" ")
}

/// Waits, and ends early with an error where a signal asks for it.
pub fn pause(duration: Duration) -> Result<()> {
    let until = Instant::now() + duration;
    loop {
        signal::check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LISTEN));
    }
}
