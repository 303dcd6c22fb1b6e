//! Package archives, each named by the SHA-256 of its content.
//!
//! In: archives and the digest that signed metadata gives them. Out: files with exactly that content, read-only.
//! Several builds may use one store at once. Never hands out a file without reading it through first: an entry that
//! does not match its name is dropped, and is fetched again.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::digest::Sha256;
use super::files::{self, Entry};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::lock::FileLock;

/// The store below `CACHE_DIR/packages`; cloning is cheap.
#[derive(Clone, Debug)]
pub struct PackageStore {
    cache: PathBuf,
}

/// A place for a download that may be continued later; nobody else writes there while it exists.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    digest: Sha256,
    size: Bytes,
    lock: FileLock,
}

impl Incoming {
    /// Where the bytes belong. A file there is the beginning of the archive, left by a download that was cut off.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file must become.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }
}

impl PackageStore {
    /// Opens the store in a cache folder, which is made where it is missing.
    pub fn open(cache: &Path) -> Result<PackageStore> {
        let store = PackageStore { cache: cache.to_path_buf() };
        file::create_folders(&store.incoming_folder())?;
        Ok(PackageStore { cache: file::canonical(cache)? })
    }

    /// The cache folder that the store lives in.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    fn incoming_folder(&self) -> PathBuf {
        self.cache.join("packages").join("incoming")
    }

    fn path(&self, digest: Sha256) -> PathBuf {
        let name = digest.to_string();
        self.cache.join("packages").join("sha256").join(&name[..2]).join(name)
    }

    /// The archive, if the store holds it and its content is what its name says. A damaged entry is removed.
    pub fn get(&self, digest: Sha256, size: Bytes) -> Result<Option<PathBuf>> {
        let path = self.path(digest);
        if !file::is_file(&path) {
            return Ok(None);
        }
        let opened = file::open(&path)?;
        let found = Sha256::of_reader(&opened).or_cannot(|| format!("read {}", path.display()))?;
        if found == (digest, size) {
            file::was_used(&opened);
            return Ok(Some(path));
        }
        file::remove(&path)?;
        Ok(None)
    }

    /// Begins (or continues) a download. Waits while another process downloads the same archive: ask
    /// [`PackageStore::get`] again afterwards.
    pub fn receive(&self, digest: Sha256, size: Bytes) -> Result<Incoming> {
        let path = self.incoming_folder().join(digest.to_string());
        let lock = FileLock::wait(&path.with_extension("lock"))?;
        if file::metadata(&path).is_some_and(|metadata| metadata.len() >= size.0) {
            file::remove(&path)?;
        }
        Ok(Incoming { path, digest, size, lock })
    }

    /// Takes a finished download in, if its content is right: it appears whole or not at all. Otherwise the bytes
    /// are thrown away, and that is 76.
    pub fn accept(&self, incoming: Incoming, name: &str) -> Result<PathBuf> {
        let opened = file::open(&incoming.path)?;
        let (digest, size) = Sha256::of_reader(&opened).or_cannot(|| format!("read {}", incoming.path.display()))?;
        if digest != incoming.digest {
            file::remove(&incoming.path)?;
            incoming.lock.remove()?;
            let fetched = format!("fetched: {size}, SHA-256 {digest}");
            let signed = format!("signed:  {}, SHA-256 {}", incoming.size, incoming.digest);
            return Err(Error::cannot(Exit::Integrity, format!("accept the package {name}"))
                .because(fetched)
                .because(signed));
        }
        let path = self.path(incoming.digest);
        if let Some(folder) = path.parent() {
            file::create_folders(folder)?;
        }
        rustix::fs::fchmod(&opened, Mode::from_raw_mode(0o444)).or_cannot(|| format!("chmod {}", path.display()))?;
        opened.sync_all().or_cannot(|| format!("sync {}", incoming.path.display()))?;
        file::rename(&incoming.path, &path)?;
        incoming.lock.remove()?;
        Ok(path)
    }

    /// Copies an archive into the store; `name` is for messages. 76 as [`PackageStore::accept`].
    pub fn insert(&self, digest: Sha256, size: Bytes, name: &str, mut content: impl Read) -> Result<PathBuf> {
        let incoming = self.receive(digest, size)?;
        let mut copy = file::create(incoming.path())?;
        // One byte more than it may have is enough to know that it is wrong.
        let limited = &mut content.by_ref().take(size.0 + 1);
        std::io::copy(limited, &mut copy).or_cannot(|| format!("copy the package {name} into the store"))?;
        copy.flush().or_cannot(|| format!("copy the package {name} into the store"))?;
        self.accept(incoming, name)
    }

    /// Every archive in the store: its name, which is its digest, and its length; the most recently used first.
    pub fn list(&self) -> Result<Vec<(String, Bytes)>> {
        let folder = self.cache.join("packages").join("sha256");
        let mut all = Vec::new();
        for part in if file::is_folder(&folder) { file::names(&folder)? } else { Vec::new() } {
            for name in file::names(&folder.join(&part))? {
                let Some(metadata) = file::metadata(&folder.join(&part).join(&name)) else { continue };
                all.push((metadata.modified().ok(), name.to_string_lossy().into_owned(), Bytes(metadata.len())));
            }
        }
        all.sort_by(|one, other| (other.0, &one.1).cmp(&(one.0, &other.1)));
        Ok(all.into_iter().map(|(_, name, size)| (name, size)).collect())
    }

    /// Removes the least recently used archives until no more than `limit` is taken. Returns the lengths of what went.
    pub fn collect(&self, limit: Bytes) -> Result<Vec<Bytes>> {
        let mut taken = Bytes::ZERO;
        let mut gone = Vec::new();
        for (name, size) in self.list()? {
            taken += size;
            if let (true, Ok(digest)) = (taken > limit, name.parse()) {
                file::remove(&self.path(digest))?;
                gone.push(size);
            }
        }
        Ok(gone)
    }

    /// Downloads that were not finished; a later build goes on with them.
    pub fn unfinished(&self) -> Result<Vec<Entry>> {
        let all = files::list(&self.incoming_folder())?.into_iter();
        Ok(all.filter(|entry| entry.path.extension().is_none()).collect())
    }

    /// Removes unfinished downloads that no build is receiving. Returns the sizes of what went.
    pub fn collect_unfinished(&self) -> Result<Vec<Bytes>> {
        let mut gone = Vec::new();
        for Entry { path, size } in self.unfinished()? {
            match FileLock::try_now(&path.with_extension("lock")) {
                Ok(lock) => {
                    file::remove(&path)?;
                    lock.remove()?;
                    gone.push(size);
                }
                Err(error) if error.exit() == Exit::Temporary => {}
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    /// Reads every archive through and removes those that are damaged. Returns names, and whether each was good.
    pub fn verify(&self) -> Result<Vec<(String, bool)>> {
        let mut all = Vec::new();
        for (name, size) in self.list()? {
            let good = match name.parse() {
                Ok(digest) => self.get(digest, size)?.is_some(),
                Err(_) => false,
            };
            all.push((name, good));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, PackageStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = PackageStore::open(&folder.path().join("a cache")).unwrap();
        (folder, store)
    }

    #[test]
    fn what_was_inserted_is_found_read_only() {
        let (_folder, store) = store();
        let (digest, size) = (Sha256::of("content"), Bytes(7));
        assert_eq!(store.get(digest, size).unwrap(), None);
        let path = store.insert(digest, size, "x", &b"content"[..]).unwrap();
        assert_eq!(store.get(digest, size).unwrap(), Some(path.clone()));
        assert!(file::metadata(&path).unwrap().permissions().readonly());
        assert_eq!(file::names(&store.incoming_folder()).unwrap(), Vec::<std::ffi::OsString>::new());
    }

    #[test]
    fn a_damaged_entry_is_dropped_and_can_be_inserted_again() {
        let (_folder, store) = store();
        let (digest, size) = (Sha256::of("content"), Bytes(7));
        let path = store.insert(digest, size, "x", &b"content"[..]).unwrap();
        file::remove(&path).unwrap();
        file::write_atomically(&path, b"c0ntent").unwrap();
        assert_eq!(store.get(digest, size).unwrap(), None);
        assert!(!file::is_file(&path));
        store.insert(digest, size, "x", &b"content"[..]).unwrap();
        assert_eq!(store.get(digest, size).unwrap(), Some(path));
    }

    #[test]
    fn wrong_bytes_are_76_and_do_not_stay() {
        let (_folder, store) = store();
        let (digest, size) = (Sha256::of("content"), Bytes(7));
        for bytes in ["c0ntent", "cont", "contents", ""] {
            let error = store.insert(digest, size, "x", bytes.as_bytes()).unwrap_err();
            assert_eq!(error.exit(), Exit::Integrity, "{bytes}");
            assert_eq!(store.get(digest, size).unwrap(), None);
            assert!(!file::is_file(&store.incoming_folder().join(digest.to_string())));
        }
    }

    #[test]
    fn two_writers_of_the_same_archive_both_succeed() {
        let (_folder, store) = store();
        let content = vec![7; 1 << 20];
        let (digest, size) = (Sha256::of(&content), Bytes(1 << 20));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| store.insert(digest, size, "x", content.as_slice()).unwrap());
            }
        });
        assert!(store.get(digest, size).unwrap().is_some());
    }
}
