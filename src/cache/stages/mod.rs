//! Stages: root filesystems as they were after a part of a build, each one immutable file.
//!
//! In: the image of a filesystem and a [`Key`] of everything that could influence what is in it. Out: that image for a
//! later build, to show or to copy. Several builds may use one store at once. Never changes a stage, and a build uses
//! none that it did not read through: one that does not match its digest is dropped, and is made again.
//!
//! A file is the image (sparse), then a record in JSON, then the record's length (8 bytes, little endian) and
//! [`MAGIC`].

mod copy;
mod key;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::digest::Sha256;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::lock::FileLock;
pub use copy::{copy, digest};
pub use key::{Difference, Key};

/// The end of every file, and the version of its form.
const MAGIC: &[u8; 8] = b"ingotst1";
const SUFFIX: &str = ".stage";
const INCOMING: &str = ".incoming-";
/// A record is text about packages; more than this is damage.
const LARGEST_RECORD: u64 = 64 << 20;
/// What other users of the cache's filesystem need more than we need a stage.
const LEFT_FREE: Bytes = Bytes::gib(1);

/// The store below `CACHE_DIR/stages`; cloning is cheap.
#[derive(Clone, Debug)]
pub struct StageStore {
    folder: PathBuf,
    limit: Bytes,
}

/// What is known of a stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What made it what it is.
    pub key: Key,
    /// What the build knew at this point beside the tree.
    pub payload: serde_json::Value,
    /// Length of the image.
    length: u64,
    /// Digest of the image's content.
    content: String,
}

/// A stage in the store, open.
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    file: File,
    record: Record,
}

/// A line of a listing.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// File name in the store.
    pub name: String,
    /// The stage, empty where the file cannot be read.
    pub stage: String,
    /// The image that it was made for.
    pub image: String,
    /// What it takes on the disk.
    pub size: Bytes,
    /// When it was made or used last, seconds since 1970.
    pub used: u64,
}

/// A file of the store that nobody has opened.
struct Used {
    path: PathBuf,
    size: Bytes,
    /// Seconds since 1970.
    when: u64,
}

/// What became of a stage that a build wanted to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is in the store and takes this much.
    Yes(Bytes),
    /// It would leave too little room on the filesystem, or is larger than the store may be.
    NoRoom,
}

impl StageStore {
    /// Opens the store in a cache folder; what it holds stays below `limit`, the least recently used goes first.
    pub fn open(cache: &Path, limit: Bytes) -> Result<StageStore> {
        let folder = cache.join("stages");
        file::create_folders(&folder)?;
        // Trees hold what only root may read.
        file::set_mode(&folder, 0o700)?;
        let store = StageStore { folder: file::canonical(&folder)?, limit };
        store.sweep()?;
        Ok(store)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}{SUFFIX}", key.digest()))
    }

    /// The stage of this key, not yet read through. One that cannot be understood is removed.
    pub fn find(&self, key: &Key) -> Result<Option<Stage>> {
        let path = self.path(key);
        if !file::is_file(&path) {
            return Ok(None);
        }
        match Stage::open(&path)? {
            Some(stage) if stage.record.key == *key => {
                file::was_used(&stage.file);
                Ok(Some(stage))
            }
            _ => file::remove(&path).map(|()| None),
        }
    }

    /// Keeps the first `length` bytes of `image`. Nothing changes where the same stage is there already.
    pub fn keep(&self, key: &Key, payload: serde_json::Value, image: &File, length: Bytes) -> Result<Kept> {
        if file::is_file(&self.path(key)) {
            return Ok(Kept::Yes(copy::size_of_data(image, length)?));
        }
        self.replace(key, payload, image, length)
    }

    /// As [`StageStore::keep`], in the place of what the key's stage was before.
    pub fn replace(&self, key: &Key, payload: serde_json::Value, image: &File, length: Bytes) -> Result<Kept> {
        let path = self.path(key);
        let needed = copy::size_of_data(image, length)?;
        let free = file::free_space(&self.folder)?;
        if needed > self.limit || free < needed + LEFT_FREE {
            return Ok(Kept::NoRoom);
        }
        self.collect(Bytes(self.limit.0 - needed.0))?;
        let what = || format!("keep a stage in {}", self.folder.display());
        let incoming = tempfile::Builder::new().prefix(INCOMING).tempfile_in(&self.folder).or_cannot(what)?;
        incoming.as_file().try_lock().map_err(std::io::Error::from).or_cannot(what)?;
        let content = copy::copy(image, incoming.as_file(), length)?;
        finish(incoming.as_file(), key, payload, length, content)?;
        incoming.persist(&path).map_err(|error| error.error).or_cannot(what)?;
        Ok(Kept::Yes(needed))
    }

    /// As [`StageStore::keep`], for an image that nobody changes any more, though somebody may read it: the file itself
    /// becomes the stage, unless the store is on another filesystem.
    pub fn take(&self, key: &Key, payload: serde_json::Value, image: &Path, length: Bytes) -> Result<Kept> {
        let (file, path) = (file::open_for_update(image)?, self.path(key));
        let needed = copy::size_of_data(&file, length)?;
        if file::is_file(&path) {
            return Ok(Kept::Yes(needed));
        }
        if needed > self.limit || file::free_space(&self.folder)? < LEFT_FREE {
            return Ok(Kept::NoRoom);
        }
        let what = || format!("keep a stage in {}", self.folder.display());
        // Before it has a name that is swept.
        file.try_lock().map_err(std::io::Error::from).or_cannot(what)?;
        let moved =
            tempfile::Builder::new().prefix(INCOMING).make_in(&self.folder, |place| file::move_new(image, place));
        let incoming = match moved {
            Ok(incoming) => incoming.into_temp_path(),
            Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                return self.replace(key, payload, &file, length);
            }
            Err(error) => return Err(error).or_cannot(what),
        };
        self.collect(Bytes(self.limit.0 - needed.0))?;
        let content = copy::digest(&file, length, &AtomicBool::new(false))?;
        finish(&file, key, payload, length, content)?;
        incoming.persist(&path).map_err(|error| error.error).or_cannot(what)?;
        Ok(Kept::Yes(needed))
    }

    /// Stages of the same name and image as `key`, whatever they were made from, the most recently used first.
    pub fn alike(&self, key: &Key) -> Result<Vec<Stage>> {
        let mut all = Vec::new();
        for Used { path, .. } in self.by_use()? {
            all.extend(Stage::open(&path)?.filter(|stage| stage.record.key.is_like(key)));
        }
        Ok(all)
    }

    /// How the nearest stage of the same name and image differs from `key`: why there is none. Empty where there is
    /// nothing to compare with.
    pub fn nearest(&self, key: &Key) -> Result<Vec<Difference>> {
        let records = self.files()?.into_iter().filter_map(|path| Stage::open(&path).ok().flatten());
        let same = records.map(|stage| stage.record.key).filter(|other| other.is_like(key));
        Ok(same.map(|other| key.differences(&other)).min_by_key(Vec::len).unwrap_or_default())
    }

    /// Everything in the store, the most recently used first.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for Used { path, size, when } in self.by_use()? {
            let key = Stage::open(&path)?.map(|stage| stage.record.key);
            all.push(Listed {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                stage: key.as_ref().map(|key| key.stage().to_string()).unwrap_or_default(),
                image: key.map(|key| key.image().to_string()).unwrap_or_default(),
                size,
                used: when,
            });
        }
        Ok(all)
    }

    /// The files, the most recently used first; none is opened.
    fn by_use(&self) -> Result<Vec<Used>> {
        let looked_at = |path: PathBuf| {
            let metadata = file::metadata(&path)?;
            let when = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
            Some(Used { path, size: file::size_on_disk(&metadata), when: when.unwrap_or_default().as_secs() })
        };
        let mut all: Vec<Used> = self.files()?.into_iter().filter_map(looked_at).collect();
        all.sort_by(|one, other| (other.when, &one.path).cmp(&(one.when, &other.path)));
        Ok(all)
    }

    /// Removes the least recently used stages until no more than `limit` is taken. Returns what went.
    pub fn collect(&self, limit: Bytes) -> Result<Vec<Listed>> {
        let mut taken = Bytes::ZERO;
        let mut gone = Vec::new();
        for listed in self.list()? {
            taken += listed.size;
            if taken > limit {
                file::remove(&self.folder.join(&listed.name))?;
                gone.push(listed);
            }
        }
        Ok(gone)
    }

    /// Reads every stage through and removes those that are damaged. Returns names, and whether each was good.
    pub fn verify(&self) -> Result<Vec<(Listed, bool)>> {
        let mut all = Vec::new();
        for listed in self.list()? {
            let path = self.folder.join(&listed.name);
            let good = match Stage::open(&path)? {
                Some(stage) => stage.is_intact(&AtomicBool::new(false))?,
                None => false,
            };
            if !good {
                file::remove(&path)?;
            }
            all.push((listed, good));
        }
        Ok(all)
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let names = file::names(&self.folder)?.into_iter();
        let stages = names.filter(|name| name.to_string_lossy().ends_with(SUFFIX));
        Ok(stages.map(|name| self.folder.join(name)).collect())
    }

    /// Removes what killed builds were writing.
    fn sweep(&self) -> Result<()> {
        for name in file::names(&self.folder)? {
            let path = self.folder.join(&name);
            // Whoever writes holds a lock on the file.
            if name.to_string_lossy().starts_with(INCOMING) && FileLock::try_now(&path).is_ok() {
                file::remove(&path)?;
            }
        }
        Ok(())
    }
}

impl Stage {
    /// `None` where the file is not a stage of this version.
    fn open(path: &Path) -> Result<Option<Stage>> {
        let file = match file::open(path) {
            Ok(file) => file,
            // Another build may have collected it.
            Err(error) if error.exit() == Exit::InputMissing => return Ok(None),
            Err(error) => return Err(error),
        };
        let what = || format!("read {}", path.display());
        let size = file.metadata().or_cannot(what)?.len();
        let mut end = [0; 16];
        let Some(at) = size.checked_sub(16) else { return Ok(None) };
        file.read_exact_at(&mut end, at).or_cannot(what)?;
        let (length, magic) = end.split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
        let Some(start) = at.checked_sub(length).filter(|_| magic == MAGIC && length <= LARGEST_RECORD) else {
            return Ok(None);
        };
        let mut text = vec![0; length as usize];
        file.read_exact_at(&mut text, start).or_cannot(what)?;
        let record = serde_json::from_slice(&text).ok().filter(|record: &Record| record.length == start);
        Ok(record.map(|record| Stage { path: path.to_path_buf(), file, record }))
    }

    /// What it was made from.
    pub fn key(&self) -> &Key {
        &self.record.key
    }

    /// Digest of the image's content: what it is, whatever it was made from.
    pub fn identity(&self) -> &str {
        &self.record.content
    }

    /// Length of the image.
    pub fn length(&self) -> Bytes {
        Bytes(self.record.length)
    }

    /// What the build knew at this point beside the tree.
    pub fn payload(&self) -> &serde_json::Value {
        &self.record.payload
    }

    /// Copies the image into an empty file. False where the content is not what was kept: then the stage is removed
    /// and the copy is worth nothing.
    pub fn copy_into(&self, target: &File) -> Result<bool> {
        target.set_len(self.record.length).or_cannot(|| format!("copy {}", self.path.display()))?;
        let is_intact = copy::copy(&self.file, target, self.length())?.to_string() == self.record.content;
        if !is_intact {
            self.remove()?;
        }
        Ok(is_intact)
    }

    /// Reads everything: whether it is what was kept. False, too, where `in_vain` became true meanwhile. Removes nothing.
    pub fn is_intact(&self, in_vain: &AtomicBool) -> Result<bool> {
        let content = copy::digest(&self.file, self.length(), in_vain)?;
        Ok(!in_vain.load(Ordering::Relaxed) && content.to_string() == self.record.content)
    }

    /// Removes it, for it was damaged.
    pub fn remove(&self) -> Result<()> {
        file::remove(&self.path)
    }

    /// The image, followed by what it was made from. It stays what it is when the stage is removed.
    pub fn image(&self) -> &File {
        &self.file
    }

    /// The image, not read through: for who checks every part of it.
    pub fn into_file(self) -> File {
        self.file
    }

    /// The whole image, for a small one. `None` where the content is not what was kept: then the stage is removed.
    pub fn content(&self) -> Result<Option<Vec<u8>>> {
        if !self.is_intact(&AtomicBool::new(false))? {
            return self.remove().map(|()| None);
        }
        let mut content = vec![0; self.record.length as usize];
        self.file.read_exact_at(&mut content, 0).or_cannot(|| format!("read {}", self.path.display()))?;
        file::was_used(&self.file);
        Ok(Some(content))
    }
}

/// Makes a stage of a file that begins with the image.
fn finish(file: &File, key: &Key, payload: serde_json::Value, length: Bytes, content: Sha256) -> Result<()> {
    let what = || "write what a stage was made from";
    let record = Record { key: key.clone(), payload, length: length.0, content: content.to_string() };
    let text = serde_json::to_vec(&record).map_err(|error| Error::cannot(Exit::Bug, what()).because(error))?;
    let tail = [&text[..], &(text.len() as u64).to_le_bytes(), MAGIC].concat();
    file.write_all_at(&tail, length.0).or_cannot(what)?;
    file::protect(file, 0o400)
}

#[cfg(test)]
mod tests;
