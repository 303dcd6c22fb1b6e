//! Releases brought to clouds: their own command lines against stand-ins on loopback.

mod aws;
mod aws_s3;
mod emulated;
mod known;
mod parameters;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::emulator::Emulator;

/// A release of disks, and a host of its own to publish it from.
struct Place {
    scratch: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let scratch = crate::support::scratch();
        fs::create_dir(scratch.path().join("release")).unwrap();
        Place { scratch }
    }

    fn join(&self, path: &str) -> PathBuf {
        self.scratch.path().join(path)
    }

    fn release(&self) -> PathBuf {
        self.join("release")
    }

    /// Writes the manifest over what lies in the release: name and format.
    fn list(&self, artifacts: &[(&str, &str)]) {
        let listed = artifacts.iter().map(|(name, format)| {
            let content = fs::read(self.release().join(name)).unwrap();
            let sha256: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"name": name, "format": format, "sha256": sha256, "size": content.len()})
        });
        let manifest = json!({
            "schema": 1,
            "name": "it", "version": "1.0.0", "arch": "x86_64",
            "description": {"file": "config.xml", "sha256": "ab", "inputs": {}},
            "packages": [],
            "artifacts": listed.collect::<Vec<_>>(),
        });
        fs::write(self.release().join("manifest.json"), manifest.to_string()).unwrap();
    }

    /// A raw disk of so many bytes with these blocks of 512 KiB full of data, in a release.
    fn raw(&self, size: u64, blocks: &[u64]) {
        disk(&self.release().join("it.raw"), size, blocks);
        self.list(&[("it.raw", "raw")]);
    }

    /// publish.toml of the release.
    fn parameters(&self, text: &str) {
        fs::write(self.release().join("publish.toml"), text).unwrap();
    }

    /// Another host: nothing is known of what was published.
    fn forget(&self) {
        fs::remove_dir_all(self.join("state")).unwrap();
    }

    fn ingot(&self, cloud: &Emulator, arguments: &[&str]) -> Command {
        let mut command = cloud.command(env!("CARGO_BIN_EXE_ingot"));
        command.args(arguments).env("XDG_STATE_HOME", self.join("state")).stdin(Stdio::null());
        command
    }

    fn publish(&self, cloud: &Emulator, target: &str, more: &[&str]) -> Command {
        let release = self.release();
        let fixed = ["publish", release.to_str().unwrap(), "--to", target, "--poll", "0.1", "--retry-delay", "0.05"];
        self.ingot(cloud, &[&fixed[..], more].concat())
    }

    /// The ids of what the catalog lists, and their states.
    fn catalog(&self) -> Vec<(String, String)> {
        let output = Command::new(env!("CARGO_BIN_EXE_ingot"))
            .args(["catalog", "list", "--json"])
            .env("XDG_STATE_HOME", self.join("state"))
            .output()
            .unwrap();
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
        list.as_array().into_iter().flatten().map(|one| (text(&one["id"]), text(&one["state"]))).collect()
    }

    /// The files of attempts that are not finished.
    fn unfinished(&self) -> Vec<PathBuf> {
        let folder = self.join("state/ingot/catalog.publishing");
        let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
    }
}

/// A sparse disk with data in these blocks of 512 KiB, different in each.
fn disk(path: &Path, size: u64, blocks: &[u64]) {
    let disk = File::create(path).unwrap();
    disk.set_len(size).unwrap();
    for index in blocks {
        let block: Vec<u8> = (0..512 << 10u64).map(|byte| (byte * 7 + byte / 251 + index) as u8).collect();
        disk.write_all_at(&block[..(size - (index << 19)).min(512 << 10) as usize], index << 19).unwrap();
    }
}

/// What it printed on stdout, where it ended well, and on stderr.
fn done(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (String::from_utf8(output.stdout).unwrap().trim().to_string(), said)
}

/// What it said on stderr, where it ended with this code and this text.
fn refused(command: &mut Command, code: i32, text: &str) -> String {
    let output: Output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(text), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    said
}

/// Killed as nothing can prevent, once `until` comes back.
fn killed(command: &mut Command, until: impl FnOnce()) {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until();
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
}
