//! Standard output and standard error that cannot be written: an error or nothing, never a panic.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

/// Commands that print, and need neither root nor a network.
const PRINTING: &[&[&str]] = &[
    &["plan", "descriptions/debian-minimal"],
    &["plan", "descriptions/debian-minimal", "--json"],
    &["plan", "descriptions/debian-minimal", "--resolved"],
    &["schema"],
    &["schema", "--json"],
    &["completions", "bash"],
    &["kiwi", "--version"],
    &["kiwi", "--show-completion"],
    &["kiwi", "image", "info", "--description", "descriptions/debian-minimal"],
    &["kiwi", "image", "info", "--description", "descriptions/debian-minimal", "--print-xml"],
];

/// Commands whose words all go to standard error, and their exit codes.
const TELLING: &[(&[&str], i32)] = &[
    (&["check", "descriptions/debian-minimal", "--differences", "--farm"], 0),
    (&["check", "tests/data/descriptions/invalid"], 66),
    (&["plan", "tests/data/descriptions/everything"], 0),
    (&["plan", "/nonexistent"], 66),
    (&["kiwi", "--version"], 0),
    (&["kiwi", "system", "build", "--description", "/nonexistent", "--target-dir", "/nonexistent/x"], 66),
];

fn ingot(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingot"));
    command.args(arguments).stdin(Stdio::null()).env("XDG_CACHE_HOME", std::env::temp_dir());
    command
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn a_standard_output_that_cannot_be_written_is_74_and_says_why() {
    for arguments in PRINTING {
        let answer = ingot(arguments).stdout(full()).output().unwrap();
        let stderr = String::from_utf8_lossy(&answer.stderr);
        assert_eq!(answer.status.code(), Some(74), "{arguments:?}: {stderr}");
        assert!(stderr.contains("standard output") && stderr.contains("No space left"), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_reader_that_is_gone_ends_a_listing_quietly() {
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let answer = ingot(arguments).stdout(writer).output().unwrap();
        let stderr = String::from_utf8_lossy(&answer.stderr);
        assert_eq!(answer.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_standard_error_that_cannot_be_written_changes_no_exit_code() {
    for (arguments, code) in TELLING {
        let answer = ingot(arguments).stderr(full()).output().unwrap();
        assert_eq!(answer.status.code(), Some(*code), "{arguments:?}");
    }
}
