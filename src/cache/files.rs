//! Folders of the cache that hold one file for each entry.
//!
//! In: such a folder, which may be missing. Out: a listing, or what was removed. Hidden names are still being made: never
//! touched.

use std::path::{Path, PathBuf};

use crate::bytes::Bytes;
use crate::error::Result;
use crate::host::file;

/// A file, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub size: Bytes,
}

/// All of them, the most recently used first.
pub fn list(folder: &Path) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for name in if file::is_folder(folder) { file::names(folder)? } else { Vec::new() } {
        let path = folder.join(&name);
        if name.as_encoded_bytes().starts_with(b".") || !file::is_plain_file(&path) {
            continue;
        }
        // A build may have removed it meanwhile.
        let Some(metadata) = file::metadata(&path) else { continue };
        found.push((metadata.modified().ok(), Entry { path, size: Bytes(metadata.len()) }));
    }
    found.sort_by(|one, other| (other.0, &one.1.path).cmp(&(one.0, &other.1.path)));
    Ok(found.into_iter().map(|(_, entry)| entry).collect())
}

/// Removes the least recently used until no more than `limit` is taken. Returns the sizes of what went.
pub fn collect(folder: &Path, limit: Bytes) -> Result<Vec<Bytes>> {
    let mut taken = Bytes::ZERO;
    let mut gone = Vec::new();
    for entry in list(folder)? {
        taken += entry.size;
        if taken > limit {
            file::remove(&entry.path)?;
            gone.push(entry.size);
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_what_is_being_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        for (name, time) in [("old", 10), ("new", 30), ("middle", 20), (".making", 1)] {
            let path = folder.path().join(name);
            file::write(&path, &[1; 5000]).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
            file::open_for_update(&path).unwrap().set_modified(time).unwrap();
        }
        let names = || {
            let listed = list(folder.path()).unwrap().into_iter();
            listed.map(|entry| entry.path.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(), ["new", "middle", "old"]);
        let size = list(folder.path()).unwrap()[0].size;
        assert_eq!(collect(folder.path(), size).unwrap(), [size, size]);
        assert_eq!(names(), ["new"]);
        assert!(folder.path().join(".making").exists());
        assert_eq!(list(&folder.path().join("none")).unwrap(), []);
    }
}
