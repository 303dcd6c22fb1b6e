//! The tiny world: a signed Debian repository of hand-made packages, made once per host and kept in the target folder.
//!
//! In: [`packages`](super::packages) and a key made on the spot. Out: [`World`], from which a test starts a mirror.
//! Never touches the network.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::once::made_once;
use super::packages;

/// Where the repository is, and what belongs to it.
pub struct World {
    folder: PathBuf,
}

impl World {
    /// Opens the tiny world; makes it where it is missing or was made by other code or other programs.
    pub fn open() -> World {
        World { folder: made_once("world", &key(), make) }
    }

    /// The repository: `dists/` and `pool/`; read-only for tests, which [`copy`](World::copy) it to spoil it.
    pub fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// The public key that signed it (ASCII armour).
    pub fn key(&self) -> PathBuf {
        self.folder.join("tiny.asc")
    }

    /// A public key that signed nothing.
    pub fn other_key(&self) -> PathBuf {
        self.folder.join("other.asc")
    }

    /// A copy of the repository in `folder` that may be spoilt. Packages are hard links: replace, never rewrite them.
    pub fn copy(&self, folder: &Path) {
        let status = Command::new("cp").arg("-al").arg(self.repository()).arg(folder).status().unwrap();
        assert!(status.success());
    }

    /// Signs the repository in `folder` again, with the date given, after its indexes were made anew.
    pub fn sign(&self, folder: &Path, date: i64) {
        self.sign_with(folder, date, "");
    }

    /// The same, with more lines in its Release file.
    pub fn sign_with(&self, folder: &Path, date: i64, lines: &str) {
        index(folder, date);
        let release = folder.join("dists").join(SUITE).join("Release");
        let text = fs::read_to_string(&release).unwrap();
        fs::write(release, text.replacen("Components:", &format!("{lines}Components:"), 1)).unwrap();
        sign(&self.folder.join("gnupg"), folder);
    }

    /// The path of a package in the repository, relative: `pool/tiny-app_2.0-3_amd64.deb`.
    pub fn package(&self, name: &str) -> String {
        let pool = self.repository().join("pool");
        let found = fs::read_dir(pool).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let file = found.into_iter().find(|file| file.starts_with(&format!("{name}_")));
        format!("pool/{}", file.unwrap_or_else(|| panic!("no package {name}")))
    }
}

/// The suite of the tiny world.
pub const SUITE: &str = "tiny";

/// Everything that shapes the packages: this code, and the programs of this host that go into them.
fn key() -> String {
    let mut hash = Sha256::new();
    hash.update(include_str!("packages.rs"));
    hash.update(include_str!("world.rs"));
    let versions = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version}\n"])
        .args(["dpkg", "apt", "libc6", "coreutils", "dash", "grub-common", "grub-pc-bin", "grub-efi-amd64-bin"])
        .output()
        .unwrap();
    hash.update(&versions.stdout);
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn make(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let repository = folder.join("repository");
    let pool = repository.join("pool");
    fs::create_dir_all(&pool).unwrap();
    let scratch = folder.join("scratch");
    packages::build_all(&scratch, &pool);
    fs::remove_dir_all(scratch).unwrap();
    let home = folder.join("gnupg");
    make_key(&home, "Tiny World", &folder.join("tiny.asc"));
    let other = folder.join("gnupg-other");
    make_key(&other, "Somebody Else", &folder.join("other.asc"));
    fs::remove_dir_all(other).unwrap();
    index(&repository, packages::DATE);
    sign(&home, &repository);
}

fn gpg(home: &Path) -> Command {
    let mut command = Command::new("gpg");
    // No agent that outlives the test, and no socket, whose path could be too long.
    command.args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--yes"]);
    command.arg("--homedir").arg(home).stdin(Stdio::null());
    command
}

fn make_key(home: &Path, name: &str, public: &Path) {
    fs::create_dir_all(home).unwrap();
    fs::set_permissions(home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let status = gpg(home).args(["--quick-gen-key", name, "ed25519", "sign", "never"]).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "gpg cannot make a key");
    let exported = gpg(home).args(["--armor", "--export"]).output().unwrap();
    assert!(exported.status.success());
    fs::write(public, exported.stdout).unwrap();
    stop_agent(home);
}

fn stop_agent(home: &Path) {
    let _ = Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).stderr(Stdio::null()).status();
}

fn sign(home: &Path, repository: &Path) {
    let suite = repository.join("dists").join(SUITE);
    for (argument, result) in [("--clear-sign", "InRelease"), ("--detach-sign", "Release.gpg")] {
        let target = suite.join(result);
        let mut command = gpg(home);
        command.args(["--armor", "--output"]).arg(&target).arg(argument).arg(suite.join("Release"));
        assert!(command.stderr(Stdio::null()).status().unwrap().success(), "gpg cannot sign");
    }
    stop_agent(home);
}

/// Writes `dists/SUITE/main/binary-amd64/Packages{,.gz}` and `dists/SUITE/Release`, unsigned.
pub fn index(repository: &Path, date: i64) {
    let suite = repository.join("dists").join(SUITE);
    let _ = fs::remove_dir_all(&suite);
    let mut stanzas = BTreeMap::new();
    for entry in fs::read_dir(repository.join("pool")).unwrap() {
        let path = entry.unwrap().path();
        let control = Command::new("dpkg-deb").arg("-f").arg(&path).output().unwrap();
        assert!(control.status.success(), "{} is no package", path.display());
        let control = String::from_utf8(control.stdout).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let bytes = fs::read(&path).unwrap();
        let stanza = format!("{control}Filename: pool/{name}\nSize: {}\nSHA256: {}\n\n", bytes.len(), sha256(&bytes));
        stanzas.insert(name, stanza);
    }
    let packages: String = stanzas.into_values().collect();
    let binary = suite.join("main/binary-amd64");
    fs::create_dir_all(&binary).unwrap();
    fs::write(binary.join("Packages"), &packages).unwrap();
    let gz = fs::File::create(binary.join("Packages.gz")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::best());
    gz.write_all(packages.as_bytes()).unwrap();
    gz.finish().unwrap();
    let mut release = format!(
        "Origin: Tiny\nLabel: Tiny\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {}\n\
         Architectures: amd64 all\nComponents: main\nSHA256:\n",
        rfc_2822(date)
    );
    for name in ["main/binary-amd64/Packages", "main/binary-amd64/Packages.gz"] {
        let bytes = fs::read(suite.join(name)).unwrap();
        release.push_str(&format!(" {} {} {name}\n", sha256(&bytes), bytes.len()));
    }
    fs::write(suite.join("Release"), release).unwrap();
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rfc_2822(date: i64) -> String {
    let output = Command::new("date").args(["-u", "-R", "-d", &format!("@{date}")]).env("LC_ALL", "C").output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().replace("+0000", "UTC")
}
