//! KIWI itself as the second opinion: it accepts and refuses what we do, and resolves a description to what we do.
//!
//! KIWI comes from PyPI into a venv in the test's scratch folder and answers through `conformance/oracle.py`.

mod check;
mod options;
mod resolved;
mod schema;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use super::support::{program, scratch_root, skipped};

/// What the venv holds: the KIWI whose answers count, and what it reads other languages than XML with.
const PACKAGES: &[&str] =
    &["kiwi==11.1.6", "anymarkup-core==0.8.1", "PyYAML", "toml", "json5", "xmltodict", "configobj"];

/// The Python of a venv with KIWI in it; `None`, said visibly, where there is none and none can be made.
fn python() -> Option<PathBuf> {
    let Some(python) = program("python3") else {
        skipped("this host has no python3 to run KIWI with");
        return None;
    };
    let lock = fs::File::create(scratch_root().join("kiwi.lock")).unwrap();
    lock.lock().unwrap();
    let folder = scratch_root().join("kiwi-11.1.6");
    let inside = folder.join("bin/python");
    if folder.join("complete").is_file() {
        return Some(inside);
    }
    let run = |program: &Path, arguments: &[&str]| {
        let out = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
        match out.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&out.stderr).trim().to_string()),
        }
    };
    let made = run(&python, &["-m", "venv", "--clear", folder.to_str().unwrap()])
        .and_then(|()| run(&inside, &[&["-m", "pip", "install", "--quiet"], PACKAGES].concat()));
    if let Err(error) = made {
        let reason = error.lines().last().unwrap_or_default();
        skipped(&format!("KIWI cannot be installed from PyPI: {reason}"));
        return None;
    }
    fs::write(folder.join("complete"), "").unwrap();
    Some(inside)
}

/// KIWI's answer to `question`.
fn ask(python: &Path, what: &str, question: &Json) -> Vec<Json> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stages/conformance/oracle.py");
    let mut child = Command::new(python)
        .args([script, what])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = question.to_string();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}
