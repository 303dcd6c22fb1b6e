//! A vendor's program that is a Python script, run many times in one process.
//!
//! In: a program's name. Out: its interpreter, and arguments with which that runs the very script once for each list of
//! arguments. Starting it is most of what a short command costs: `aws ebs put-snapshot-block` takes 0.45 s, of which
//! 0.07 s are its own. Never looks into the script: what is none of Python's is started each time as it is.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::host::file;

/// What is printed after each call that ended well: a control character that no answer in JSON holds.
pub const DONE: u8 = 0x1e;

/// Arguments: the script's folder (which Python would look into first), the script, the calls in JSON. The collector of
/// cyclic garbage runs between calls only, and looks at what is new only: that is a third of the time.
const LOOP: &str = r#"
import sys
if sys.path and sys.path[0] == "":
    sys.path[0] = sys.argv[1]
import gc, json, runpy
script, calls = sys.argv[2], json.loads(sys.argv[3])
gc.disable()
for words in calls:
    sys.argv = [script] + words
    code = None
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        code = end.code
    if code:
        sys.exit(code)
    sys.stdout.flush()
    print("\x1e", flush=True)
    gc.collect(0)
"#;

/// A Python script and its interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    path: PathBuf,
    /// The interpreter.
    pub interpreter: String,
    options: Vec<String>,
}

impl Script {
    /// What `path` is, if its first line names a Python.
    pub fn open(path: &Path) -> Option<Script> {
        let mut line = Vec::new();
        BufReader::new(file::open(path).ok()?.take(512)).read_until(b'\n', &mut line).ok()?;
        let line = String::from_utf8(line).ok()?;
        let mut words = line.strip_prefix("#!")?.strip_suffix('\n')?.split_ascii_whitespace().map(str::to_string);
        let mut interpreter = words.next()?;
        if interpreter == "/usr/bin/env" {
            interpreter = words.next()?;
        }
        let name = interpreter.rsplit('/').next()?;
        let is_python = name.strip_prefix("python").is_some_and(|version| {
            let digit = |byte: u8| byte.is_ascii_digit() || byte == b'.';
            !version.starts_with('2') && version.bytes().all(digit)
        });
        is_python.then(|| Script { path: path.into(), interpreter, options: words.collect() })
    }

    /// The interpreter's arguments that run the script for each of these.
    pub fn arguments(&self, calls: &[Vec<String>]) -> Vec<String> {
        let real = file::canonical(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = real.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
        let calls = serde_json::Value::from(calls.to_vec()).to_string();
        let ours = ["-c".to_string(), LOOP.into(), folder, self.path.to_string_lossy().into_owned(), calls];
        self.options.iter().cloned().chain(ours).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_script_of_python_is_one() {
        let scratch = tempfile::tempdir().unwrap();
        let table = [
            ("#!/usr/bin/python3\nimport sys\n", Some(("/usr/bin/python3", vec![]))),
            ("#!/opt/venv/bin/python\n", Some(("/opt/venv/bin/python", vec![]))),
            ("#! /usr/bin/python3.11 -sP\n", Some(("/usr/bin/python3.11", vec!["-sP"]))),
            ("#!/usr/bin/env python3\n", Some(("python3", vec![]))),
            ("#!/usr/bin/env -S python3 -s\n", None),
            ("#!/usr/bin/python2\n", None),
            ("#!/bin/sh\n'''exec' /long/python \"$0\"\n", None),
            ("#!/usr/bin/pythonic\n", None),
            ("\x7fELF", None),
            ("", None),
        ];
        for (text, wanted) in table {
            let path = scratch.path().join("aws");
            file::write(&path, text.as_bytes()).unwrap();
            let found = Script::open(&path).map(|script| (script.interpreter, script.options));
            let wanted = wanted.map(|(interpreter, options): (&str, Vec<&str>)| {
                (interpreter.to_string(), options.into_iter().map(str::to_string).collect())
            });
            assert_eq!(found, wanted, "{text:?}");
        }
        assert_eq!(Script::open(&scratch.path().join("gone")), None);
    }
}
