//! Programs of PyPI that read what ingot writes: a venv for each set, made once and kept for every checkout.
//!
//! In: a name and what `pip install` takes. Out: the venv's `bin`. Never touches the host's own Python packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{program, skipped};

/// Where they are kept.
const FOLDER: &str = "/var/tmp/ingot-test-tools";

/// The programs of a venv with `packages`; `None`, said visibly, where none can be made.
pub fn programs(name: &str, packages: &[&str]) -> Option<PathBuf> {
    let Some(python) = program("python3") else {
        skipped("this host has no python3");
        return None;
    };
    let folder = Path::new(FOLDER).join(name);
    fs::create_dir_all(FOLDER).unwrap();
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let (bin, note, wanted) = (folder.join("bin"), folder.join("installed"), packages.join(" "));
    if fs::read_to_string(&note).is_ok_and(|installed| installed.trim() == wanted) {
        return Some(bin);
    }
    let run = |program: &Path, arguments: &[&str]| {
        let out = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
        match out.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&out.stderr).trim().to_string()),
        }
    };
    let made = run(&python, &["-m", "venv", "--clear", folder.to_str().unwrap()])
        .and_then(|()| run(&bin.join("python"), &[&["-m", "pip", "install", "--quiet"], packages].concat()));
    if let Err(error) = made {
        let reason = error.lines().last().unwrap_or_default();
        skipped(&format!("{} cannot be installed from PyPI: {reason}", packages.join(", ")));
        return None;
    }
    fs::write(note, wanted).unwrap();
    Some(bin)
}
