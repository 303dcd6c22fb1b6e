//! What package managers keep between builds: metadata, solutions and packages of apt, zypper, dnf and pacman, a folder for
//! each set of repositories, keys and options.
//!
//! In: the cache folder. Out: a listing, or what was removed. Never touches a folder that a build is working in.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::bytes::Bytes;
use crate::error::{Exit, Result};
use crate::host::file;
use crate::host::lock::FileLock;

/// The folders of the families below the cache folder. In each folder below them a build holds `lock` while it uses it.
pub const FAMILIES: [&str; 3] = ["apt", "rpm", "pacman"];
const LOCK: &str = "lock";

/// One of these folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerFolder {
    /// Where it is.
    pub path: PathBuf,
    /// What it takes.
    pub size: Bytes,
    /// When a build last began to work in it.
    used: Option<SystemTime>,
}

/// All that hold something, the most recently used first.
pub fn list(cache: &Path) -> Result<Vec<ManagerFolder>> {
    let mut found = Vec::new();
    for family in FAMILIES.map(|family| cache.join(family)).into_iter().filter(|family| file::is_folder(family)) {
        for name in file::names(&family)? {
            let path = family.join(name);
            let used = file::metadata(&path).and_then(|metadata| metadata.modified().ok());
            let size = file::size_of_tree(&path)?;
            if size > Bytes::ZERO {
                found.push(ManagerFolder { path, size, used });
            }
        }
    }
    found.sort_by(|one, other| (other.used, &one.path).cmp(&(one.used, &other.path)));
    Ok(found)
}

/// Removes the least recently used until no more than `limit` is taken. Returns the sizes of what went.
pub fn collect(cache: &Path, limit: Bytes) -> Result<Vec<Bytes>> {
    let mut taken = Bytes::ZERO;
    let mut gone = Vec::new();
    for folder in list(cache)? {
        taken += folder.size;
        if taken <= limit {
            continue;
        }
        let lock = match FileLock::try_now(&folder.path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if error.exit() == Exit::Temporary => continue,
            Err(error) => return Err(error),
        };
        for name in file::names(&folder.path)?.into_iter().filter(|name| name != LOCK) {
            file::remove_tree(&folder.path.join(name))?;
        }
        lock.remove()?;
        gone.push(folder.size);
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_never_what_is_in_use() {
        let cache = tempfile::tempdir().unwrap();
        let at = |name: &str| cache.path().join(name);
        for (name, time) in [("rpm/new", 30), ("rpm/busy", 20), ("pacman/old", 10)] {
            file::create_folders(&at(name).join("cache")).unwrap();
            file::write(&at(name).join("cache/x.rpm"), &[1; 5000]).unwrap();
            file::write(&at(name).join("lock"), b"").unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time);
            file::open(&at(name)).unwrap().set_modified(time).unwrap();
        }
        let busy = FileLock::wait(&at("rpm/busy/lock")).unwrap();
        let names = |folders: Vec<ManagerFolder>| -> Vec<PathBuf> { folders.into_iter().map(|one| one.path).collect() };
        assert_eq!(names(list(cache.path()).unwrap()), [at("rpm/new"), at("rpm/busy"), at("pacman/old")]);
        assert_eq!(collect(cache.path(), Bytes(5000)).unwrap(), [Bytes(5000)]);
        assert_eq!(names(list(cache.path()).unwrap()), [at("rpm/new"), at("rpm/busy")]);
        drop(busy);
        assert_eq!(collect(cache.path(), Bytes::ZERO).unwrap().len(), 2);
        assert_eq!(list(cache.path()).unwrap(), []);
    }
}
