//! The rpm of a newer Debian, which knows every form of rpm's database: that of Debian 12 lacks ndb, SUSE's.
//!
//! In: mmdebstrap. Out: [`ForeignRpm`], a tree made once and kept for every checkout, whose programs run on this host as
//! they are. Never installs anything on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skipped;

/// Where such trees are kept.
const FOLDER: &str = "/var/tmp/ingot-test-tools";
/// The suite that it comes from.
const SUITE: &str = "trixie";

/// See the module.
pub struct ForeignRpm {
    tree: PathBuf,
}

impl ForeignRpm {
    /// Finds or makes it; `None`, said visibly, where it cannot be had.
    pub fn open() -> Option<ForeignRpm> {
        let tree = Path::new(FOLDER).join(format!("rpm-{SUITE}"));
        fs::create_dir_all(FOLDER).unwrap();
        let lock = fs::File::create(tree.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        if !tree.join("usr/bin/rpm").exists() {
            let making = tree.with_extension("making");
            let _ = fs::remove_dir_all(&making);
            let mut command = Command::new("mmdebstrap");
            command.args(["--quiet", "--variant=extract", "--include=rpm", SUITE]).arg(&making);
            let output = command.output().unwrap();
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                skipped(&format!("rpm of {SUITE} cannot be had: {}", said.lines().last().unwrap_or_default()));
                return None;
            }
            fs::rename(making, &tree).unwrap();
        }
        Some(ForeignRpm { tree })
    }

    /// Runs `rpm` or `rpmdb` on an image's tree whose database is ndb in /var/lib/rpm; what it says on both channels.
    pub fn run(&self, program: &str, root: &Path, words: &[&str]) -> (bool, String) {
        let mut command = Command::new(self.tree.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(self.tree.join("usr/lib/x86_64-linux-gnu"));
        command.arg(self.tree.join("usr/bin").join(program)).arg("--root").arg(root);
        command.args(["--define", "_db_backend ndb", "--dbpath", "/var/lib/rpm"]).args(words);
        command.env("RPM_CONFIGDIR", self.tree.join("usr/lib/rpm")).env("LC_ALL", "C");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }
}
