//! Programs that we did not write, run to their end.
//!
//! In: a command. Out: what it printed on stdout. One that fails fails the test, with all that it said.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs it without input; its messages are English.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    finish(Command::new(program).args(arguments).env("LC_ALL", "C.UTF-8"))
}

/// Runs it without input.
#[track_caller]
pub fn finish(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{wrong}", output.status);
    said
}

/// A path as an argument.
#[track_caller]
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
