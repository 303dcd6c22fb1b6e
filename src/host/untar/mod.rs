//! Extracting tar archives into a tree, safely: overlays, package data, container layers.
//!
//! In: an archive's bytes and a [`Rooted`] tree. Out: the members as entries of the tree, modes, owners, times and
//! extended attributes included. Never reaches outside the tree: names are normalised inside it, symlinks (of the tree
//! and of the archive) are resolved inside it, and a member never writes through a symlink in its last component.

mod compression;
mod gzip;
mod member;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

pub use self::compression::{Compression, decompressed};
pub use self::member::{Dialect, Member, Members, What};
pub use self::whole::MemberDecoder;
use super::rooted::{Kind, RootPath, Rooted, remove_at};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};

/// How many things that were left out are named.
const MOST_COMPLAINTS: usize = 1000;

/// Who owns what is extracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The archive's numeric ids.
    FromArchive,
    /// Root, group root.
    Root,
    /// Whoever runs ingot; device nodes and attributes that only root may set are left out and named in
    /// [`Summary::left_out`]. For looking at an archive without privileges.
    Caller,
}

/// What happens to a folder that is there already where the archive has one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folders {
    /// It gets the archive's mode, owner, time and attributes.
    Updated,
    /// It stays as it is, as with dpkg.
    Kept,
}

/// What may give way to a file, symlink or node of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Files, symlinks, nodes and empty folders; a folder with something in it is an error.
    Files,
    /// Whole folders too, as layers of a container image do.
    Everything,
}

/// How an archive is extracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who owns it.
    pub owners: Owners,
    /// What happens to folders that are there.
    pub folders: Folders,
    /// What may be replaced.
    pub replace: Replace,
}

impl Policy {
    /// Folders are updated, files replaced.
    pub const fn new(owners: Owners) -> Policy {
        Policy { owners, folders: Folders::Updated, replace: Replace::Files }
    }
}

/// What becomes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is extracted (under [`Member::name`], which may have been changed).
    Extract,
    /// It is passed over.
    Skip,
}

/// What was extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Members extracted.
    pub members: u64,
    /// Bytes of file data written.
    pub bytes: Bytes,
    /// What could not be restored, a sentence each (at most 1000), for the caller to warn about.
    pub left_out: Vec<String>,
}

/// Extracts a whole uncompressed archive (see [`decompressed`]) at `at`, a folder of the tree that is made if missing.
///
/// An archive that is damaged or hostile is 65, a full disk 74; what was extracted before stays.
pub fn extract(archive: impl Read, into: &Rooted, at: &RootPath, policy: Policy) -> Result<Summary> {
    extract_chosen(archive, into, at, policy, |_| Ok(Verdict::Extract))
}

/// As [`extract`], and `choose` sees (and may rename or change) each member before it is extracted.
pub fn extract_chosen(
    archive: impl Read,
    into: &Rooted,
    at: &RootPath,
    policy: Policy,
    mut choose: impl FnMut(&mut Member) -> Result<Verdict>,
) -> Result<Summary> {
    into.create_folders(at, 0o755)?;
    let largest = largest_file(into);
    let mut members = Members::new(archive);
    let mut extraction =
        Extraction { into, at, policy, parent: None, folders: BTreeMap::new(), summary: Summary::default() };
    let mut buffer = vec![0; 128 << 10];
    while let Some(mut member) = members.next_member().map_err(broken)? {
        if choose(&mut member)? == Verdict::Skip {
            // `choose` may have removed the folder that is open (a whiteout).
            extraction.parent = None;
            continue;
        }
        if member.size > largest && member.what == What::Is(Kind::File) {
            return Err(Error::cannot(Exit::Description, format!("extract {}", extraction.path(&member.name)))
                .because(format!(
                    "the archive says that it has {} bytes, more than the filesystem holds",
                    member.size
                )));
        }
        extraction.member(&member, &mut members, &mut buffer)?;
        extraction.summary.members += 1;
    }
    extraction.finish()
}

/// What reading an archive ended with: 65 where the archive is damaged, in the words of whoever decompresses it. An error of
/// the operating system keeps its exit code.
pub fn broken(error: io::Error) -> Error {
    let bad = error.raw_os_error().is_none();
    let what = Err::<(), _>(error).or_cannot(|| "read the archive");
    let error = what.err().unwrap_or_else(|| Error::cannot(Exit::Bug, "read the archive"));
    if bad { error.with_exit(Exit::Description) } else { error }
}

/// A sparse file may be larger than the free space, but a file larger than the whole filesystem is an attack.
fn largest_file(into: &Rooted) -> u64 {
    rustix::fs::statvfs(into.host_path())
        .map(|stat| stat.f_blocks.saturating_mul(stat.f_frsize))
        .unwrap_or(u64::MAX)
        .max(Bytes::gib(64).0)
}

struct Extraction<'tree> {
    into: &'tree Rooted,
    at: &'tree RootPath,
    policy: Policy,
    /// The folder of the last member, open: members of one folder usually follow each other.
    parent: Option<(RootPath, OwnedFd)>,
    /// Folders get their mode and time at the end, when nothing is written into them any more.
    folders: BTreeMap<RootPath, Member>,
    summary: Summary,
}

impl Extraction<'_> {
    /// A name is first normalised alone, so that `..` stops at `at`.
    fn path(&self, name: &[u8]) -> RootPath {
        self.at.join(RootPath::new(name).relative())
    }

    fn member(&mut self, member: &Member, data: &mut Members<impl Read>, buffer: &mut [u8]) -> Result<()> {
        let path = self.path(&member.name);
        for record in &member.not_restored {
            self.leave_out(format!("{path}: the archive's record `{record}` is not restored"));
        }
        match &member.what {
            What::Is(Kind::Folder) => self.folder(&path, member),
            _ if path == *self.at => Err(Error::cannot(Exit::Description, format!("extract {path}"))
                .because("the archive has something else than a folder for its top folder")),
            What::Is(Kind::File) => self.file(&path, member, data, buffer),
            What::Is(Kind::Symlink(target)) => self.symlink(&path, member, target),
            What::Is(kind) => self.node(&path, member, kind),
            What::HardLink(old) => self.hard_link(&path, &self.path(old)),
        }
    }

    /// The open folder of `path`; those that are missing are made with mode 755.
    fn open_parent(&mut self, path: &RootPath) -> Result<&OwnedFd> {
        let parent = path.parent();
        if self.parent.as_ref().is_none_or(|(open, _)| *open != parent) {
            let folder = match self.into.parent(path) {
                Err(Errno::NOENT) => {
                    self.into.create_folders(&parent, 0o755)?;
                    self.into.parent(path)
                }
                other => other,
            };
            let folder = folder.or_cannot(|| format!("open {parent} in the image"))?;
            self.parent = Some((parent, folder));
        }
        match &self.parent {
            Some((_, folder)) => Ok(folder),
            None => Err(Error::cannot(Exit::Bug, format!("open the folder of {path}"))),
        }
    }

    /// Runs `make` (which fails with EEXIST where something is in the way) and removes what may be replaced.
    fn make<T>(&mut self, path: &RootPath, make: impl Fn(&OwnedFd, &OsStr) -> rustix::io::Result<T>) -> Result<T> {
        let replace = self.policy.replace;
        let parent = self.open_parent(path)?;
        let name = OsStr::from_bytes(path.name());
        let made = match make(parent, name) {
            Err(Errno::EXIST) => clear(parent, name, replace).and_then(|()| make(parent, name)),
            other => other,
        };
        match made {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Error::cannot(Exit::Description, format!("extract {path}"))
                .because("a folder with something in it stands there")),
            other => other.or_cannot(|| format!("extract {path}")),
        }
    }

    fn file(
        &mut self,
        path: &RootPath,
        member: &Member,
        data: &mut Members<impl Read>,
        buffer: &mut [u8],
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(
            self.make(path, |parent, name| rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)))?,
        );
        let whole = [(0, member.size)];
        for (offset, length) in member.segments.as_deref().unwrap_or(&whole) {
            copy(data, &file, *offset, *length, buffer, path)?;
            self.summary.bytes += Bytes(*length);
        }
        if member.segments.is_some() {
            file.set_len(member.size).or_cannot(|| format!("write {path} in the image"))?;
        }
        if let Some((uid, gid)) = self.owner(member) {
            rustix::fs::fchown(&file, Some(uid), Some(gid)).or_cannot(|| format!("chown {path} in the image"))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(member.mode))
            .or_cannot(|| format!("chmod {path} in the image"))?;
        for (name, value) in &member.xattrs {
            let set = rustix::fs::fsetxattr(&file, OsStr::from_bytes(name), value, XattrFlags::empty());
            self.xattr_was_set(path, name, set)?;
        }
        rustix::fs::futimens(&file, &times(member)).or_cannot(|| format!("set the time of {path} in the image"))
    }

    fn folder(&mut self, path: &RootPath, member: &Member) -> Result<()> {
        if path == self.at {
            if self.policy.folders == Folders::Updated {
                self.folders.insert(path.clone(), member.clone());
            }
            return Ok(());
        }
        let parent = self.open_parent(path)?;
        let name = OsStr::from_bytes(path.name());
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    .or_cannot(|| format!("look at {path} in the image"))?;
                match FileType::from_raw_mode(there.st_mode) {
                    FileType::Directory if self.policy.folders == Folders::Kept && !self.folders.contains_key(path) => {
                        return Ok(());
                    }
                    FileType::Directory => {}
                    // A merged /usr: the folder is another one, and keeps its own metadata. In a layer of a container,
                    // a folder replaces a symlink.
                    FileType::Symlink if self.policy.replace == Replace::Files && self.leads_to_folder(path) => {
                        return Ok(());
                    }
                    _ => {
                        self.parent = None;
                        self.make(path, |parent, name| rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)))?;
                    }
                }
            }
            Err(error) => return Err(error).or_cannot(|| format!("make the folder {path} in the image")),
        }
        self.folders.insert(path.clone(), member.clone());
        Ok(())
    }

    fn leads_to_folder(&self, path: &RootPath) -> bool {
        self.into.resolve(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok()
    }

    fn symlink(&mut self, path: &RootPath, member: &Member, target: &[u8]) -> Result<()> {
        self.make(path, |parent, name| rustix::fs::symlinkat(OsStr::from_bytes(target), parent, name))?;
        self.describe(path, member)
    }

    fn node(&mut self, path: &RootPath, member: &Member, kind: &Kind) -> Result<()> {
        let (file_type, device) = match kind {
            Kind::CharDevice { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(*major, *minor)),
            Kind::BlockDevice { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(*major, *minor)),
            _ => (FileType::Fifo, 0),
        };
        if file_type != FileType::Fifo && self.policy.owners == Owners::Caller {
            self.leave_out(format!("{path}: a device node is made by root only"));
            return Ok(());
        }
        let mode = Mode::from_raw_mode(member.mode);
        self.make(path, |parent, name| rustix::fs::mknodat(parent, name, file_type, mode, device))?;
        // The umask may have cleared bits of the mode, and so may chown.
        self.describe(path, member)?;
        self.into.set_mode(path, member.mode)
    }

    /// Owner, attributes and time of something that cannot be opened.
    fn describe(&mut self, path: &RootPath, member: &Member) -> Result<()> {
        if let Some((uid, gid)) = self.owner(member) {
            let parent = self.open_parent(path)?;
            let name = OsStr::from_bytes(path.name());
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .or_cannot(|| format!("chown {path} in the image"))?;
        }
        for (name, value) in &member.xattrs {
            if self.policy.owners == Owners::Caller {
                self.leave_out(left_out_attribute(path, name));
                continue;
            }
            self.into.set_xattr(path, name, value)?;
        }
        let parent = self.open_parent(path)?;
        rustix::fs::utimensat(parent, OsStr::from_bytes(path.name()), &times(member), AtFlags::SYMLINK_NOFOLLOW)
            .or_cannot(|| format!("set the time of {path} in the image"))
    }

    fn hard_link(&mut self, path: &RootPath, old: &RootPath) -> Result<()> {
        if path == old {
            return Ok(());
        }
        let from = self.into.parent(old).or_cannot(|| format!("open the folder of {old} in the image"))?;
        let old_name = OsStr::from_bytes(old.name());
        let there = rustix::fs::statat(&from, old_name, AtFlags::SYMLINK_NOFOLLOW);
        let there = there.or_cannot(|| format!("link {path} to {old}"))?;
        if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
            return Err(Error::cannot(Exit::Description, format!("link {path} to {old}")).because("it is a folder"));
        }
        // Reached under another name, the old one must not be removed to make room for itself.
        let parent = self.open_parent(path)?;
        let here = rustix::fs::statat(parent, OsStr::from_bytes(path.name()), AtFlags::SYMLINK_NOFOLLOW);
        if here.is_ok_and(|here| (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)) {
            return Ok(());
        }
        self.make(path, |parent, name| rustix::fs::linkat(&from, old_name, parent, name, AtFlags::empty()))
    }

    /// A hostile archive must not fill the memory with complaints.
    fn leave_out(&mut self, text: String) {
        if self.summary.left_out.len() < MOST_COMPLAINTS {
            self.summary.left_out.push(text);
        }
    }

    fn owner(&self, member: &Member) -> Option<(Uid, Gid)> {
        match self.policy.owners {
            Owners::FromArchive => Some((Uid::from_raw(member.uid), Gid::from_raw(member.gid))),
            Owners::Root => Some((Uid::ROOT, Gid::ROOT)),
            Owners::Caller => None,
        }
    }

    fn xattr_was_set(&mut self, path: &RootPath, name: &[u8], set: rustix::io::Result<()>) -> Result<()> {
        match set {
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) if self.policy.owners == Owners::Caller => {
                self.leave_out(left_out_attribute(path, name));
                Ok(())
            }
            other => other.or_cannot(|| {
                let name = String::from_utf8_lossy(name);
                format!("set the extended attribute {name} of {path} in the image")
            }),
        }
    }

    /// Folders get their owner, mode, attributes and time, inner ones first.
    fn finish(mut self) -> Result<Summary> {
        self.parent = None;
        for (path, member) in std::mem::take(&mut self.folders).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let folder = match self.into.resolve(&path, flags, Mode::empty()) {
                Ok(folder) => folder,
                // A later member of the archive replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(error).or_cannot(|| format!("open {path} in the image")),
            };
            if let Some((uid, gid)) = self.owner(&member) {
                rustix::fs::fchown(&folder, Some(uid), Some(gid)).or_cannot(|| format!("chown {path} in the image"))?;
            }
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(member.mode))
                .or_cannot(|| format!("chmod {path} in the image"))?;
            for (name, value) in &member.xattrs {
                let set = rustix::fs::fsetxattr(&folder, OsStr::from_bytes(name), value, XattrFlags::empty());
                self.xattr_was_set(&path, name, set)?;
            }
            rustix::fs::futimens(&folder, &times(&member))
                .or_cannot(|| format!("set the time of {path} in the image"))?;
        }
        Ok(self.summary)
    }
}

fn left_out_attribute(path: &RootPath, name: &[u8]) -> String {
    format!("{path}: the attribute {} is set by root only", String::from_utf8_lossy(name))
}

fn times(member: &Member) -> Timestamps {
    let time = Timespec { tv_sec: member.mtime, tv_nsec: member.mtime_nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Removes what stands in the way, if it may be removed.
fn clear(parent: &impl AsFd, name: &OsStr, replace: Replace) -> rustix::io::Result<()> {
    match (rustix::fs::unlinkat(parent, name, AtFlags::empty()), replace) {
        (Err(Errno::ISDIR | Errno::PERM), Replace::Files) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        (Err(Errno::ISDIR | Errno::PERM), Replace::Everything) => remove_at(parent, name),
        (other, _) => other,
    }
}

fn copy(
    data: &mut Members<impl Read>,
    file: &File,
    mut offset: u64,
    mut length: u64,
    buffer: &mut [u8],
    path: &RootPath,
) -> Result<()> {
    while length > 0 {
        let want = length.min(buffer.len() as u64) as usize;
        let read = data.read(&mut buffer[..want]).map_err(broken)?;
        if read == 0 {
            return Err(broken(io::Error::new(io::ErrorKind::InvalidData, "a member is shorter than its header says")));
        }
        file.write_all_at(&buffer[..read], offset).or_cannot(|| format!("write {path} in the image"))?;
        offset += read as u64;
        length -= read as u64;
    }
    Ok(())
}
