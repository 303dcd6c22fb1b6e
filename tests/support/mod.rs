//! What several test binaries share. Each one includes it at its root:
//!
//! ```ignore
//! #[path = "../support/mod.rs"]
//! mod support;
//! ```
//!
//! In: what a test needs of the machine. Out: that thing, or a visible skip. Never lets a test pass by doing nothing
//! without saying so.
#![allow(dead_code, unused_macros, unused_imports)]

pub mod archives;
pub mod disk;
pub mod emulator;
mod entry;
pub mod farm;
pub mod foreign_rpm;
pub mod growth;
pub mod image;
pub mod layout;
pub mod leaks;
pub mod newer;
pub mod once;
pub mod packages;
pub mod pacman;
pub mod plan;
pub mod program;
pub mod proxy;
pub mod python;
pub mod registry;
pub mod rpm;
pub mod rpm_image;
pub mod server;
pub mod world;

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Says that a test is skipped, and why: `skipped: TEST: REASON` on stderr and in the file that `INGOT_TEST_SKIPS`
/// names, which `scripts/test` prints. With `CI=true` a skip fails the run, unless its reason starts with
/// `conformance data`.
pub fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or("main").to_string();
    let line = format!("skipped: {test}: {}", reason.replace('\n', " "));
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("INGOT_TEST_SKIPS") {
        let file = fs::OpenOptions::new().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.unwrap_or_else(|error| panic!("cannot append to {}: {error}", path.display()));
    }
}

/// Leaves the test, visibly: `skip!("no {program} on this host")`. Only in functions that return `()`.
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::support::skipped(&format!($($reason)*));
        return;
    }};
}
pub(crate) use skip;

/// Leaves the test, visibly, where one of these programs is missing: `need!("sfdisk", "e2fsck")`.
/// `need!(root)` leaves it where the test does not run as root.
macro_rules! need {
    (root) => {
        if !$crate::support::is_root() {
            $crate::support::skip!("needs root");
        }
    };
    ($($program:expr),+ $(,)?) => {
        $(if $crate::support::program($program).is_none() {
            $crate::support::skip!("this host has no {}", $program);
        })+
    };
}
pub(crate) use need;

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program's path, looked up where ingot looks it up.
pub fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().map(|folder| PathBuf::from(folder).join(name)).find(|path| path.is_file())
}

/// Where tests put what may stay between runs: a folder in cargo's target folder.
pub fn scratch_root() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A folder of this test alone, gone when dropped.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("test-").tempdir_in(scratch_root()).unwrap()
}

/// Tests that look at the whole host (mounts, loop devices, processes) wait until no build of another test runs, in
/// this process or in another one.
pub fn alone() -> Turn {
    Turn::take(FlockOperation::LockExclusive)
}

/// Tests that build, and do not mind other builds.
pub fn together() -> Turn {
    Turn::take(FlockOperation::LockShared)
}

/// It is this test's turn until this is dropped.
pub struct Turn {
    _file: fs::File,
}

impl Turn {
    fn take(how: FlockOperation) -> Turn {
        let file = fs::File::create(scratch_root().join("turn.lock")).unwrap();
        rustix::fs::flock(file.as_fd(), how).unwrap();
        Turn { _file: file }
    }
}
