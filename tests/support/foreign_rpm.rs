//! The rpm of a newer Debian, which knows every form of rpm's database: that of Debian 12 lacks ndb, SUSE's.
//!
//! In: mmdebstrap. Out: [`ForeignRpm`], a tree made once and kept for every checkout, whose programs run on this host as
//! they are. Never installs anything on the host.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::newer;

/// See the module.
pub struct ForeignRpm {
    tree: PathBuf,
}

impl ForeignRpm {
    /// Finds or makes it; `None`, said visibly, where it cannot be had.
    pub fn open() -> Option<ForeignRpm> {
        Some(ForeignRpm { tree: newer::tree("rpm", "trixie", &["rpm"])? })
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
