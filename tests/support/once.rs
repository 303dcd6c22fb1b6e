//! What is made once per host and kept in the target folder: the tiny worlds.
//!
//! In: a name, an identity of everything that goes into it, and how it is made. Out: the folder, whole. Several test
//! binaries may ask at once: one makes, the others wait. Never keeps one of another identity.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// The folder that `make` filled, now or earlier.
pub fn made_once(name: &str, identity: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = super::scratch_root();
    let folder = cache.join(format!("{name}-{identity}"));
    let lock = fs::File::create(cache.join(format!("{name}.lock"))).unwrap();
    rustix::fs::flock(lock.as_fd(), FlockOperation::LockExclusive).unwrap();
    if !folder.exists() {
        for old in fs::read_dir(&cache).unwrap().flatten() {
            let is_old = old.file_name().to_string_lossy().strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
            // Not the locks beside it.
            if is_old && old.path().is_dir() {
                fs::remove_dir_all(old.path()).unwrap();
            }
        }
        let making = cache.join(format!("{name}-making"));
        make(&making);
        fs::rename(making, &folder).unwrap();
    }
    folder
}
