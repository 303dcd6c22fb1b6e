//! What pacman's local database says of a package: the folder `/var/lib/pacman/local/NAME-VERSION`.
//!
//! In: its files `desc` and `files` (paragraphs of `%FIELD%` and values), `mtree` (mtree(5), packed with gzip) and
//! `changelog`. Out: fields, paths, digests. Never unpacks more than [`LONGEST`] bytes.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::{Changelog, Digest, ShippedFile};
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};

/// The folder of what is installed.
pub(super) const LOCAL: &str = "/var/lib/pacman/local";
/// No list of files is longer, in bytes.
const LONGEST: u64 = 64 << 20;

/// A package that is installed.
#[derive(Clone, Debug)]
pub(super) struct Local {
    folder: RootPath,
    fields: BTreeMap<String, Vec<String>>,
}

/// Every package, in the order of their folders' names.
pub(super) fn read(tree: &Rooted) -> Result<Vec<Local>> {
    let local = RootPath::from(LOCAL);
    if !tree.is_folder(&local) {
        return Ok(Vec::new());
    }
    let mut names = tree.names(&local)?;
    names.sort();
    let mut found = Vec::new();
    for folder in names.into_iter().map(|name| local.join(name)) {
        if let Some(text) = tree.read_if_there(&folder.join("desc"))? {
            found.push(Local { folder, fields: fields(&String::from_utf8_lossy(&text)) });
        }
    }
    Ok(found)
}

/// `%NAME%`, one value a line, an empty line.
fn fields(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let mut lines = paragraph.lines().filter(|line| !line.is_empty());
        let name = lines.next().and_then(|line| line.strip_prefix('%')?.strip_suffix('%'));
        if let Some(name) = name {
            found.entry(name.to_string()).or_default().extend(lines.map(str::to_string));
        }
    }
    found
}

impl Local {
    /// All values of a field.
    pub fn words(&self, field: &str) -> &[String] {
        self.fields.get(field).map(Vec::as_slice).unwrap_or_default()
    }

    /// The first value of a field; empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        self.words(field).first().map(String::as_str).unwrap_or_default()
    }

    /// Every path that it owns.
    pub fn paths(&self, tree: &Rooted) -> Result<Vec<RootPath>> {
        let text = tree.read_if_there(&self.folder.join("files"))?.unwrap_or_default();
        Ok(super::owned_paths(&self.folder.join("files"), &text))
    }

    /// Its regular files with their digests.
    pub fn files(&self, tree: &Rooted) -> Result<Vec<ShippedFile>> {
        let text = tree.read_if_there(&self.folder.join("files"))?.unwrap_or_default();
        let backup = fields(&String::from_utf8_lossy(&text)).remove("BACKUP").unwrap_or_default();
        let backup: Vec<&str> = backup.iter().filter_map(|line| line.split('\t').next()).collect();
        let packed = tree.read_if_there(&self.folder.join("mtree"))?.unwrap_or_default();
        let mut listed = String::new();
        // A list that cannot be unpacked says nothing about any file.
        if MultiGzDecoder::new(packed.as_slice()).take(LONGEST).read_to_string(&mut listed).is_err() {
            return Ok(Vec::new());
        }
        let shipped = |(path, digest): (Vec<u8>, String)| {
            let configuration = backup.iter().any(|backup| backup.as_bytes() == path.as_slice());
            ShippedFile { path: RootPath::root().join(path), digest: Digest::Sha256(digest), configuration }
        };
        Ok(digests(&listed).map(shipped).collect())
    }

    /// What changed between its versions.
    pub fn changelog(&self, tree: &Rooted) -> Result<Option<Changelog>> {
        Ok(tree.read_if_there(&self.folder.join("changelog"))?.map(Changelog::Plain))
    }
}

/// Paths below `/` with the SHA-256 of each regular file; what describes the package itself begins with a dot.
fn digests(mtree: &str) -> impl Iterator<Item = (Vec<u8>, String)> {
    mtree.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let path = unescaped(words.next()?.strip_prefix("./")?);
        let digest = words.find_map(|word| word.strip_prefix("sha256digest="))?;
        (!path.starts_with(b".")).then(|| (path, digest.to_string()))
    })
}

/// `\040` as the byte with this octal number.
fn unescaped(word: &str) -> Vec<u8> {
    let bytes = word.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = (*byte == b'\\').then(|| word.get(at + 1..at + 4)).flatten();
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(number) => {
                found.push(number);
                at += 4;
            }
            None => {
                found.push(*byte);
                at += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_regular_files_and_their_digests() {
        let text = "#mtree\n/set type=file uid=0 gid=0 mode=644\n./.PKGINFO time=1.0 size=2 sha256digest=aa\n\
                    ./usr time=1.0 mode=755 type=dir\n./usr/a\\040b time=1.0 size=1 md5digest=x sha256digest=bb\n\
                    ./usr/l time=1.0 mode=777 type=link link=a\n";
        let found: Vec<(Vec<u8>, String)> = digests(text).collect();
        assert_eq!(found, [(b"usr/a b".to_vec(), "bb".to_string())]);
    }
}
