//! What was published where: a note for each target folder, so that a build whose inputs did not change is recognised.
//!
//! In: the cache folder. Out: where notes are, a listing, what was removed, what is damaged. Never knows what a note says.

use std::path::{Path, PathBuf};

use super::files::{self, Entry};
use crate::bytes::Bytes;
use crate::error::Result;
use crate::host::file;

/// The folder of the notes.
pub fn folder(cache: &Path) -> PathBuf {
    cache.join("results")
}

/// All notes, the most recent first.
pub fn list(cache: &Path) -> Result<Vec<Entry>> {
    files::list(&folder(cache))
}

/// Removes the oldest notes until no more than `limit` is taken. Returns the sizes of what went.
pub fn collect(cache: &Path, limit: Bytes) -> Result<Vec<Bytes>> {
    files::collect(&folder(cache), limit)
}

/// Reads every note and removes those that are damaged. Returns names, and whether each was good.
pub fn verify(cache: &Path) -> Result<Vec<(String, bool)>> {
    let mut all = Vec::new();
    for Entry { path, .. } in list(cache)? {
        let good = serde_json::from_slice::<serde_json::Value>(&file::read(&path)?).is_ok();
        if !good {
            file::remove(&path)?;
        }
        all.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), good));
    }
    Ok(all)
}
