//! What a preflight keeps of an image's files: all names, and the content of those that rules read.
//!
//! In: entries that the audit's walk shows. Out: lookups that follow symlinks as the booted system would. Never follows a
//! symlink out of the image: a path is only ever looked up here. Bounded: a hostile image cannot fill the memory.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::audit::Witness;
use crate::bytes::Bytes;
use crate::root::RootPath;
use crate::root::tree::{Entry, Kind};

/// Configuration files are read up to this size.
const TEXT: Bytes = Bytes::mib(1);
/// Initrds and unified kernel images are read up to this size.
const INITRD: Bytes = Bytes::mib(256);
/// EFI programs: as much as holds their headers.
const HEADERS: Bytes = Bytes::kib(4);
/// All content together.
const MOST: Bytes = Bytes::gib(1);
/// More symlinks in one path than this are a circle (the kernel's MAXSYMLINKS).
const MOST_SYMLINKS: usize = 40;

/// A file, folder or symlink.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it is.
    pub kind: Kind,
    /// Its length.
    pub size: Bytes,
    /// What was read of it.
    pub content: Vec<u8>,
}

impl Seen {
    /// Whether all of it was read.
    pub fn is_whole(&self) -> bool {
        self.content.len() as u64 == self.size.0
    }

    /// As text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Files {
    entries: BTreeMap<RootPath, Seen>,
    kept: Cell<u64>,
}

impl Witness for Files {
    fn wants(&self, entry: &Entry) -> Bytes {
        let most = wanted(entry.path.as_bytes()).min(entry.size);
        if self.kept.get().saturating_add(most.0) > MOST.0 { Bytes::ZERO } else { most }
    }

    fn see(&mut self, entry: &Entry, content: Vec<u8>) {
        self.kept.set(self.kept.get() + content.len() as u64);
        self.entries.insert(entry.path.clone(), Seen { kind: entry.kind.clone(), size: entry.size, content });
    }
}

/// How much of a file rules may want to read.
fn wanted(path: &[u8]) -> Bytes {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let ends =
        |end: &str| name.len() >= end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes());
    let below = |folder: &str| path.starts_with(folder.as_bytes());
    if below("/boot/") {
        let starts = |start: &str| name.starts_with(start.as_bytes());
        return match () {
            () if starts("initrd") || starts("initramfs") => INITRD,
            () if ends(".efi") && unified(path) => INITRD,
            () if ends(".efi") => HEADERS,
            () if ends(".cfg") || ends(".conf") || name == b"grubenv" => TEXT,
            () => Bytes::ZERO,
        };
    }
    if ends("modules.builtin") && (below("/usr/lib/modules/") || below("/lib/modules/")) {
        return TEXT;
    }
    const FILES: &[&str] = &[
        "/etc/fstab",
        "/etc/passwd",
        "/etc/shadow",
        "/etc/os-release",
        "/usr/lib/os-release",
        "/etc/kernel/cmdline",
        "/etc/waagent.conf",
    ];
    const FOLDERS: &[&str] = &[
        "/etc/systemd/network/",
        "/usr/lib/systemd/network/",
        "/lib/systemd/network/",
        "/etc/systemd/system/",
        "/usr/lib/systemd/system/",
        "/lib/systemd/system/",
        "/etc/network/",
        "/etc/netplan/",
        "/etc/NetworkManager/",
        "/usr/lib/NetworkManager/",
        "/etc/sysconfig/network",
        "/etc/cloud/",
        "/etc/repart.d/",
        "/usr/lib/repart.d/",
    ];
    let is_text = FILES.iter().any(|file| path == file.as_bytes()) || FOLDERS.iter().any(|folder| below(folder));
    if is_text { TEXT } else { Bytes::ZERO }
}

/// Whether an EFI program is a kernel with its initrd (the Boot Loader Specification's type 2).
fn unified(path: &[u8]) -> bool {
    path.len() > 11 && path.windows(11).any(|part| part.eq_ignore_ascii_case(b"/efi/linux/"))
}

impl Files {
    /// The file at `path`, through symlinks.
    pub fn find(&self, path: impl AsRef<[u8]>) -> Option<(&RootPath, &Seen)> {
        self.entries.get_key_value(&self.real(&RootPath::new(path))?)
    }

    /// The regular file at `path`, through symlinks.
    pub fn file(&self, path: impl AsRef<[u8]>) -> Option<&Seen> {
        self.find(path).map(|(_, seen)| seen).filter(|seen| seen.kind == Kind::File)
    }

    /// The text of a file; empty where there is none.
    pub fn text(&self, path: impl AsRef<[u8]>) -> String {
        self.file(path).map(Seen::text).unwrap_or_default()
    }

    /// Whether there is anything at `path`.
    pub fn exists(&self, path: impl AsRef<[u8]>) -> bool {
        self.find(path).is_some()
    }

    /// The entry itself, not what it leads to.
    pub fn entry(&self, path: impl AsRef<[u8]>) -> Option<&Seen> {
        let path = RootPath::new(path);
        let parent = self.real(&path.parent())?;
        self.entries.get(&parent.join(path.name()))
    }

    /// Whether one of these programs is in one of the folders for programs.
    pub fn program(&self, names: &[&str]) -> Option<String> {
        let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];
        let paths = names.iter().flat_map(|name| folders.iter().map(move |folder| format!("{folder}/{name}")));
        paths.into_iter().find(|path| self.exists(path))
    }

    /// Everything below a folder, in the order of names; the folder is looked up through symlinks.
    pub fn below<'a>(&'a self, folder: &str) -> impl Iterator<Item = (&'a RootPath, &'a Seen)> {
        self.real(&RootPath::new(folder)).into_iter().flat_map(|folder| self.inside(folder))
    }

    /// Everything below a folder. In the order of bytes, `/a.b` and `/a-b` stand between `/a` and `/a/b`.
    fn inside(&self, folder: RootPath) -> impl Iterator<Item = (&RootPath, &Seen)> {
        let (start, above) = (folder.clone(), folder.clone());
        let near =
            self.entries.range(start..).take_while(move |(path, _)| path.as_bytes().starts_with(above.as_bytes()));
        near.filter(move |(path, _)| **path != folder && path.is_below(&folder))
    }

    /// Everything there is.
    pub fn all(&self) -> impl Iterator<Item = (&RootPath, &Seen)> {
        self.entries.iter()
    }

    /// What `path` is without symlinks; `None` where they lead nowhere or in circles.
    fn real(&self, path: &RootPath) -> Option<RootPath> {
        let mut left: Vec<Vec<u8>> = parts(path.as_bytes());
        let mut at = RootPath::root();
        let mut symlinks = 0;
        while let Some(part) = left.pop() {
            if part == b".." {
                at = at.parent();
                continue;
            }
            let next = at.join(&part);
            match self.entries.get(&next).map(|seen| &seen.kind) {
                Some(Kind::Symlink(target)) => {
                    symlinks += 1;
                    if symlinks > MOST_SYMLINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        at = RootPath::root();
                    }
                    left.extend(parts(target));
                }
                Some(_) => at = next,
                // A mount point's folder on the root filesystem may be missing, what is mounted there is not.
                None if self.has_below(&next) => at = next,
                None => return None,
            }
        }
        Some(at)
    }

    fn has_below(&self, folder: &RootPath) -> bool {
        self.inside(folder.clone()).next().is_some()
    }
}

/// The components of a path, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Files with their content; a content that begins with `-> ` is a symlink's target.
    pub(in crate::preflight) fn files(list: &[(&str, &str)]) -> Files {
        let mut files = Files::default();
        for (path, content) in list {
            let kind = match content.strip_prefix("-> ") {
                Some(target) => Kind::Symlink(target.as_bytes().to_vec()),
                None => Kind::File,
            };
            let path = RootPath::new(path);
            let mut above = path.parent();
            while above != RootPath::root() {
                let folder = Seen { kind: Kind::Folder, size: Bytes::ZERO, content: Vec::new() };
                files.entries.entry(above.clone()).or_insert(folder);
                above = above.parent();
            }
            let seen = Seen { kind, size: Bytes(content.len() as u64), content: content.as_bytes().to_vec() };
            files.entries.insert(path, seen);
        }
        files
    }

    #[test]
    fn symlinks_lead_to_what_they_lead_to_and_never_out_of_the_image_or_in_circles() {
        let files = files(&[
            ("/lib", "-> usr/lib"),
            ("/usr/lib/modules/6.1/modules.builtin", "x"),
            ("/vmlinuz", "-> boot/vmlinuz-6.1"),
            ("/boot/vmlinuz-6.1", "k"),
            ("/out", "-> ../../../../etc/passwd"),
            ("/etc/passwd", "root"),
            ("/a", "-> b"),
            ("/b", "-> a"),
            ("/usr/lib/modules.conf", "not below"),
            ("/usr/lib/modules-load.d/x", "not below"),
            ("/self", "-> self/self/self"),
        ]);
        assert_eq!(files.text("/lib/modules/6.1/modules.builtin"), "x");
        assert_eq!(files.text("/vmlinuz"), "k");
        assert_eq!(files.text("/out"), "root");
        assert!(!files.exists("/a") && !files.exists("/self") && !files.exists("/none"));
        assert_eq!(files.below("/lib/modules").count(), 2);
        assert!(matches!(files.entry("/vmlinuz").unwrap().kind, Kind::Symlink(_)));
    }
}
