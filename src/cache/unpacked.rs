//! Data archives of packages in a form that unpacks fast: Zstandard at its fastest instead of xz.
//!
//! In: the content of a package's data archive while a build decompresses it. Out: the same content for later builds.
//! Bounded in size: what was not used for the longest time goes first. Several builds may use one store at once; one of
//! them writes. Never hands out an entry without reading it through first: one that does not match the digest it
//! begins with is dropped, and the package itself, whose digest is signed, is decompressed again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::digest::Sha256;
use super::files::{self, Entry};
use crate::bytes::Bytes;
use crate::error::{OrCannot, Result};
use crate::host::file;
use crate::host::lock::FolderLock;

/// All entries together are not larger when a build ends.
pub const LIMIT: Bytes = Bytes::gib(4);

const MAGIC: &[u8; 8] = b"ingot-u1";
const HEADER: usize = MAGIC.len() + 64;
/// zstd(1): reads at a gigabyte each second, at two fifths of the size of what is in it.
const LEVEL: i32 = 1;

/// The store below `CACHE_DIR/packages/unpacked`.
#[derive(Debug)]
pub struct UnpackedStore {
    folder: PathBuf,
    limit: Bytes,
    /// Held by the build that writes.
    writing: Option<FolderLock>,
}

impl UnpackedStore {
    /// Opens the store in a cache folder. The build that has it open first may write; to the others it is read-only.
    pub fn open(cache: &Path, limit: Bytes) -> Result<UnpackedStore> {
        let folder = cache.join("packages").join("unpacked");
        file::create_folders(&folder)?;
        let writing = FolderLock::take(&folder)?;
        let store = UnpackedStore { folder, limit, writing };
        if store.writing.is_some() {
            // What a killed build left; nobody writes it any more.
            for path in store.paths()?.iter().filter(|path| path.extension().is_some()) {
                file::remove(path)?;
            }
        }
        Ok(store)
    }

    /// The store for who only looks: no build is kept from writing meanwhile.
    pub fn read_only(cache: &Path) -> UnpackedStore {
        UnpackedStore { folder: cache.join("packages").join("unpacked"), limit: Bytes(u64::MAX), writing: None }
    }

    /// Every entry that is complete, the most recently used first.
    pub fn list(&self) -> Result<Vec<Entry>> {
        Ok(files::list(&self.folder)?.into_iter().filter(|entry| entry.path.extension().is_none()).collect())
    }

    /// Reads every entry through and removes those that are damaged. Returns names, and whether each was good.
    pub fn verify(&self) -> Result<Vec<(String, bool)>> {
        let mut all = Vec::new();
        for Entry { path, .. } in self.list()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let good = match name.parse() {
                Ok(package) => self.get(package)?.is_some(),
                Err(_) => file::remove(&path).map(|()| false)?,
            };
            all.push((name, good));
        }
        Ok(all)
    }

    fn path(&self, package: Sha256) -> PathBuf {
        self.folder.join(package.to_string())
    }

    fn paths(&self) -> Result<Vec<PathBuf>> {
        Ok(file::names(&self.folder)?.into_iter().map(|name| self.folder.join(name)).collect())
    }

    /// The data archive of the package with this digest: a Zstandard frame from where the file is at. A damaged entry
    /// is removed.
    pub fn get(&self, package: Sha256) -> Result<Option<File>> {
        let path = self.path(package);
        if !file::is_file(&path) {
            return Ok(None);
        }
        let what = || format!("read {}", path.display());
        let Some(mut entry) = file::open_if_there(&path)? else { return Ok(None) };
        let mut header = Vec::with_capacity(HEADER);
        (&entry).take(HEADER as u64).read_to_end(&mut header).or_cannot(what)?;
        let (digest, _) = Sha256::of_reader(&entry).or_cannot(what)?;
        if header == header_of(digest) {
            entry.seek(SeekFrom::Start(HEADER as u64)).or_cannot(what)?;
            // Another build may have removed it meanwhile: what is open stays readable.
            let _ = file::touch(&path);
            return Ok(Some(entry));
        }
        file::remove(&path)?;
        Ok(None)
    }

    /// Begins an entry, unless another build writes.
    pub fn receive(&self, package: Sha256) -> Result<Option<Receiving>> {
        if self.writing.is_none() {
            return Ok(None);
        }
        let path = self.path(package);
        let incoming = path.with_extension("new");
        let what = || format!("write {}", incoming.display());
        file::remove(&incoming)?;
        let mut created = file::create(&incoming)?;
        created.write_all(&[0; HEADER]).or_cannot(what)?;
        let hashing = Hashing { file: created, digest: super::digest::Hashing::new() };
        let encoder = zstd::Encoder::new(hashing, LEVEL).or_cannot(what)?;
        Ok(Some(Receiving { encoder: Some(encoder), incoming, path }))
    }

    /// Removes what was not used for the longest time, until the rest is within the limit. Returns the sizes of what went.
    /// Nothing goes while another build writes.
    pub fn shrink(&self) -> Result<Vec<Bytes>> {
        if self.writing.is_none() {
            return Ok(Vec::new());
        }
        files::collect(&self.folder, self.limit)
    }
}

fn header_of(digest: Sha256) -> Vec<u8> {
    [MAGIC.as_slice(), digest.to_string().as_bytes()].concat()
}

/// An entry that is being written. It is gone when it is dropped and not [kept](Receiving::keep).
pub struct Receiving {
    encoder: Option<zstd::Encoder<'static, Hashing>>,
    incoming: PathBuf,
    path: PathBuf,
}

impl Receiving {
    /// The entry is complete: it appears whole or not at all.
    pub fn keep(mut self) -> Result<()> {
        let what = || format!("write {}", self.incoming.display());
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        let Hashing { mut file, digest } = encoder.finish().or_cannot(what)?;
        let header = header_of(digest.finish());
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header)).or_cannot(what)?;
        // Not synced: after a power cut its digest tells whether it is complete.
        file::rename(&self.incoming, &self.path)
    }
}

impl Write for Receiving {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.encoder.as_mut().map_or(Ok(bytes.len()), |encoder| encoder.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.encoder.take().is_some() {
            let _ = file::remove(&self.incoming);
        }
    }
}

/// A file and the digest of what was written.
struct Hashing {
    file: File,
    digest: super::digest::Hashing,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &UnpackedStore, content: &[u8]) -> Sha256 {
        let package = Sha256::of(content);
        let mut receiving = store.receive(package).unwrap().unwrap();
        receiving.write_all(content).unwrap();
        receiving.keep().unwrap();
        package
    }

    fn content(store: &UnpackedStore, package: Sha256) -> Option<Vec<u8>> {
        store.get(package).unwrap().map(|file| zstd::decode_all(file).unwrap())
    }

    #[test]
    fn what_was_kept_is_found_and_what_was_not_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = UnpackedStore::open(folder.path(), LIMIT).unwrap();
        let package = put(&store, b"content");
        assert_eq!(content(&store, package), Some(b"content".to_vec()));
        assert_eq!(content(&store, Sha256::of("other")), None);
        drop(store.receive(Sha256::of("other")).unwrap());
        assert_eq!(store.paths().unwrap().len(), 1);
    }

    #[test]
    fn one_build_writes_and_the_others_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = UnpackedStore::open(folder.path(), LIMIT).unwrap();
        let other = UnpackedStore::open(folder.path(), LIMIT).unwrap();
        let package = put(&store, b"content");
        assert_eq!(content(&other, package), Some(b"content".to_vec()));
        assert!(other.receive(package).unwrap().is_none());
        std::mem::forget(store.receive(package).unwrap());
        drop((store, other));
        let store = UnpackedStore::open(folder.path(), LIMIT).unwrap();
        assert_eq!(store.paths().unwrap(), [store.path(package)], "what a killed build left is gone");
    }

    #[test]
    fn a_damaged_entry_is_dropped_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = UnpackedStore::open(folder.path(), LIMIT).unwrap();
        let package = put(&store, b"some content of a package");
        let whole = file::read(&store.path(package)).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            for bytes in [damaged.as_slice(), &whole[..at]] {
                file::write_atomically(&store.path(package), bytes).unwrap();
                assert_eq!(content(&store, package), None, "{at}");
                assert!(!file::is_file(&store.path(package)));
            }
        }
    }

    #[test]
    fn the_least_recently_used_entries_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = UnpackedStore::open(folder.path(), Bytes(250)).unwrap();
        let [first, second] = ["first", "second"].map(|text| put(&store, text.as_bytes()));
        // The kernel's clock for files stands still for some milliseconds.
        for (package, seconds) in [(first, 1), (second, 2)] {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file::open_for_update(&store.path(package)).unwrap().set_modified(time).unwrap();
        }
        assert!(content(&store, first).is_some());
        let third = put(&store, b"third");
        store.shrink().unwrap();
        let there = [first, second, third].map(|package| content(&store, package).is_some());
        assert_eq!(there, [true, false, true]);
    }
}
