//! A cloud's stand-in on loopback, as `scripts/emulator` starts it.
//!
//! In: its name. Out: the environment for programs that talk to it. Gone when dropped, also where the test was killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use super::skipped;

/// A running stand-in.
pub struct Emulator {
    process: Child,
    /// What its programs need, `PATH` among it.
    pub environment: Vec<(String, String)>,
}

impl Emulator {
    /// Starts it; `None`, said visibly, where it cannot be installed or does not start.
    pub fn start(name: &str) -> Option<Emulator> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/emulator");
        let mut process = Command::new(script)
            .args([name, "15"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut environment = Vec::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line == "ready" {
                return Some(Emulator { process, environment });
            }
            let (name, value) = line.strip_prefix("export ").and_then(|line| line.split_once('=')).unwrap();
            assert!(!value.starts_with('$'), "a value with control characters: {line}");
            environment.push((name.into(), value.replace('\\', "")));
        }
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        skipped(&format!("no stand-in for {name}: {}", said.trim().lines().last().unwrap_or_default()));
        None
    }

    /// One that takes long to install: only where somebody asked for it (`scripts/test clouds`).
    pub fn start_if_wanted(name: &str) -> Option<Emulator> {
        if std::env::var_os("INGOT_TEST_CLOUDS").is_none() {
            skipped(&format!("opt-in: `scripts/test clouds` starts a stand-in for {name}"));
            return None;
        }
        Emulator::start(name)
    }

    /// What a variable says.
    pub fn value(&self, name: &str) -> String {
        self.environment.iter().find(|(one, _)| one == name).unwrap().1.clone()
    }

    /// A program of the cloud, or one that is given its programs.
    pub fn command(&self, program: &str) -> Command {
        // A program is looked up in the PATH of whoever starts it.
        let path = self.value("PATH");
        let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
        let mut command = Command::new(found.unwrap_or_else(|| program.into()));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What a program of the cloud prints.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output: Output = self.command(program).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It ends with its stdin.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
