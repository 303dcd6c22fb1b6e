//! Containers that were fetched: one OCI archive each, for images that are built on them or hold them.
//!
//! In: the cache folder. Out: where an archive is put, a listing, what was removed, what is damaged. Never knows what an
//! image is.

use std::path::{Path, PathBuf};

use super::digest::Sha256;
use super::files::{self, Entry};
use crate::bytes::Bytes;
use crate::error::{OrCannot, Result};
use crate::host::file;
use crate::host::lock;
use crate::host::untar::Members;

/// What blobs of an OCI image layout are called, before their digest.
const BLOBS: &[u8] = b"blobs/sha256/";
/// Without it there is no image in a layout.
const INDEX: &[u8] = b"index.json";

/// The folder of the archives.
pub fn folder(cache: &Path) -> PathBuf {
    cache.join("bases")
}

/// All archives, the most recently used first.
pub fn list(cache: &Path) -> Result<Vec<Entry>> {
    files::list(&folder(cache))
}

/// Removes what killed builds were fetching, and the least recently used archives until no more than `limit` is taken.
/// Returns the sizes of the archives that went.
pub fn collect(cache: &Path, limit: Bytes) -> Result<Vec<Bytes>> {
    let folder = folder(cache);
    if file::is_folder(&folder) {
        lock::sweep(&folder, ".")?;
    }
    files::collect(&folder, limit)
}

/// Reads every archive through and removes those in which a blob is not what its name says. Returns names, and whether
/// each was good.
pub fn verify(cache: &Path) -> Result<Vec<(String, bool)>> {
    let mut all = Vec::new();
    for Entry { path, .. } in list(cache)? {
        let good = is_intact(&path)?;
        if !good {
            file::remove(&path)?;
        }
        all.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), good));
    }
    Ok(all)
}

fn is_intact(path: &Path) -> Result<bool> {
    let Some(archive) = file::open_if_there(path)? else { return Ok(true) };
    let mut members = Members::new(std::io::BufReader::with_capacity(1 << 20, archive));
    let mut has_index = false;
    loop {
        let member = match members.next_member() {
            Ok(Some(member)) => member,
            Ok(None) => return Ok(has_index),
            Err(error) if is_about_content(&error) => return Ok(false),
            Err(error) => return Err(error).or_cannot(|| format!("read {}", path.display())),
        };
        let name = member.name.strip_prefix(b"./").unwrap_or(&member.name);
        has_index |= name == INDEX;
        let Some(digest) = name.strip_prefix(BLOBS).filter(|digest| !digest.is_empty()) else { continue };
        match Sha256::of_reader(&mut members) {
            Ok((found, _)) if found.to_string().as_bytes() == digest => {}
            Ok(_) => return Ok(false),
            Err(error) if is_about_content(&error) => return Ok(false),
            Err(error) => return Err(error).or_cannot(|| format!("read {}", path.display())),
        }
    }
}

/// Whether it is the archive that is wrong, and not the disk that it is on.
fn is_about_content(error: &std::io::Error) -> bool {
    error.raw_os_error().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar archive of these files.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut all = Vec::new();
        for (name, content) in files {
            let mut header = [0; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..108].copy_from_slice(b"0000644\0");
            header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
            header[156] = b'0';
            header[257..265].copy_from_slice(b"ustar\x0000");
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            all.extend(header);
            all.extend(*content);
            all.resize(all.len().next_multiple_of(512), 0);
        }
        all.resize(all.len() + 1024, 0);
        all
    }

    #[test]
    fn an_archive_is_good_where_each_blob_is_what_its_name_says_and_removed_elsewhere() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(list(cache.path()).unwrap(), []);
        assert_eq!(verify(cache.path()).unwrap(), []);
        file::create_folders(&folder(cache.path())).unwrap();
        let blob = format!("blobs/sha256/{}", Sha256::of("content"));
        let good = archive(&[("oci-layout", b"{}"), (&blob, b"content"), ("index.json", b"{}")]);
        let write = |name: &str, bytes: &[u8]| file::write(&folder(cache.path()).join(name), bytes).unwrap();
        write("good", &good);
        write("other", &archive(&[(&blob, b"c0ntent"), ("index.json", b"{}")]));
        write("without", &archive(&[(&blob, b"content")]));
        write("short", &good[..700]);
        let mut verified = verify(cache.path()).unwrap();
        verified.sort();
        let wanted = [("good", true), ("other", false), ("short", false), ("without", false)];
        assert_eq!(verified, wanted.map(|(name, good)| (name.to_string(), good)));
        assert_eq!(verify(cache.path()).unwrap(), [("good".to_string(), true)]);
        file::create_folders(&folder(cache.path()).join(".fetching-x")).unwrap();
        assert_eq!(collect(cache.path(), Bytes::ZERO).unwrap().len(), 1);
        assert_eq!(file::names(&folder(cache.path())).unwrap().len(), 0);
    }
}
