//! A folder that nothing can be reached outside of.
//!
//! In: a folder of the host and paths inside it ([`RootPath`]). Out: files, entries, changes below that folder.
//! Every path is resolved with `openat2(RESOLVE_IN_ROOT)`: absolute symlinks and `..` stay inside, as in a chroot
//! (openat2(2)). Never follows a symlink in the last component unless a function says so.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::folder::Folder;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};

/// An absolute path inside an image: starts with `/`, no `.`, no `..`, no doubled or trailing slash. Any bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootPath(Vec<u8>);

impl RootPath {
    /// `/`.
    pub fn root() -> RootPath {
        RootPath(b"/".to_vec())
    }

    /// Normalises: a missing leading slash is added, `.` dropped, `..` goes up and stops at `/`.
    pub fn new(path: impl AsRef<[u8]>) -> RootPath {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in path.as_ref().split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        let mut bytes = Vec::with_capacity(path.as_ref().len() + 1);
        for part in parts {
            bytes.push(b'/');
            bytes.extend_from_slice(part);
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        RootPath(bytes)
    }

    /// This path and `name` below it. `name` may hold slashes; `..` never leaves `/`.
    pub fn join(&self, name: impl AsRef<[u8]>) -> RootPath {
        let mut bytes = self.0.clone();
        bytes.push(b'/');
        bytes.extend_from_slice(name.as_ref());
        RootPath::new(bytes)
    }

    /// The folder above; `/` is its own parent.
    pub fn parent(&self) -> RootPath {
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        RootPath(self.0[..end.max(1)].to_vec())
    }

    /// Number of components; none of `/`.
    fn depth(&self) -> usize {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty()).count()
    }

    /// The last component; empty for `/`.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        &self.0[start + 1..]
    }

    /// The whole path, with its leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Without the leading slash; empty for `/`. What tar and `*at` functions want.
    pub fn relative(&self) -> &[u8] {
        &self.0[1..]
    }

    /// Whether it is `folder` or below it.
    pub fn is_below(&self, folder: &RootPath) -> bool {
        folder.0 == b"/"
            || self.0 == folder.0
            || (self.0.starts_with(&folder.0) && self.0.get(folder.0.len()) == Some(&b'/'))
    }
}

impl From<&str> for RootPath {
    fn from(path: &str) -> RootPath {
        RootPath::new(path)
    }
}

impl fmt::Display for RootPath {
    /// Bytes that are not UTF-8 and control characters are escaped, so that a name cannot forge a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if char.is_control() { write!(f, "{}", char.escape_default())? } else { write!(f, "{char}")? }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symlink and its target.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A thing in a tree and its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: RootPath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (0o7777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nanoseconds: u32,
    /// Length of a file or of a symlink's target.
    pub size: Bytes,
    /// Device and inode number: equal for hard links to the same file.
    pub inode: (u64, u64),
    /// Number of hard links.
    pub links: u64,
}

impl Entry {
    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// Whether it is the device that stands for "there is nothing" in a layer of overlayfs.
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice { major: 0, minor: 0 }
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }
}

/// An open folder; everything happens inside it.
#[derive(Debug)]
pub struct Rooted {
    folder: OwnedFd,
    path: PathBuf,
}

impl Rooted {
    /// Opens a folder of the host.
    pub fn open(path: &Path) -> Result<Rooted> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).or_cannot(|| format!("open {}", path.display()))?;
        Ok(Rooted { folder, path: path.to_path_buf() })
    }

    /// The same folder, opened once more.
    pub fn again(&self) -> Result<Rooted> {
        let folder = self.folder.try_clone().or_cannot(|| format!("open {}", self.path.display()))?;
        Ok(Rooted { folder, path: self.path.clone() })
    }

    /// The folder on the host. For programs that are given the whole tree; never join image paths to it.
    pub fn host_path(&self) -> &Path {
        &self.path
    }

    pub(super) fn resolve(&self, path: &RootPath, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let relative = if path.relative().is_empty() { b".".as_slice() } else { path.relative() };
        self.open_in_root(relative, flags, mode)
    }

    /// Resolves what is not a [`RootPath`], too: `..` is the kernel's to follow.
    fn open_in_root(&self, path: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let path = OsStr::from_bytes(path);
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.folder, path, flags | OFlags::CLOEXEC, mode, resolve) {
                // EAGAIN: a rename, of anybody on this host, raced with a `..` (openat2(2)).
                Err(Errno::AGAIN | Errno::INTR) => continue,
                other => return other,
            }
        }
    }

    /// The folder that holds `path`, symlinks in it followed inside the tree.
    pub(super) fn parent(&self, path: &RootPath) -> rustix::io::Result<OwnedFd> {
        self.resolve(&path.parent(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens a folder, symlinks followed inside the tree.
    pub fn open_folder(&self, path: &RootPath) -> rustix::io::Result<Folder> {
        self.resolve(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map(Folder::new)
    }

    /// Whether the symlink at `path` leads to a folder, and another one there with this target would lead to the same.
    pub fn leads_to_same_folder(&self, path: &RootPath, target: &[u8]) -> bool {
        let inode = |path: &[u8]| {
            let folder = self.open_in_root(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).ok()?;
            rustix::fs::fstat(&folder).ok().map(|stat| (stat.st_dev, stat.st_ino))
        };
        // The target's `..` are the kernel's to resolve, from where the symlink's folder really is.
        let meant =
            if target.starts_with(b"/") { target.to_vec() } else { [path.parent().as_bytes(), b"/", target].concat() };
        inode(path.as_bytes()).is_some_and(|there| inode(&meant) == Some(there))
    }

    /// The entry, not following a symlink in the last component; `None` if there is none.
    pub fn entry(&self, path: &RootPath) -> Result<Option<Entry>> {
        match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(file) => rustix::fs::fstat(&file)
                .and_then(|stat| entry_of(&stat, path.clone(), || rustix::fs::readlinkat(&file, "", Vec::new())))
                .map(Some)
                .or_cannot(|| format!("read {path}")),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error).or_cannot(|| format!("look up {path}")),
        }
    }

    /// Whether something exists there, after following symlinks inside the tree.
    pub fn exists(&self, path: &RootPath) -> bool {
        self.resolve(path, OFlags::PATH, Mode::empty()).is_ok()
    }

    /// Whether a folder is there, after following symlinks inside the tree.
    pub fn is_folder(&self, path: &RootPath) -> bool {
        self.resolve(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok()
    }

    /// Opens a regular file for reading, following symlinks inside the tree. Never blocks on a pipe.
    pub fn open_file(&self, path: &RootPath) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.resolve(path, flags, Mode::empty()).or_cannot(|| format!("open {path} in the image"))?;
        Ok(File::from(file))
    }

    /// The whole content of a file, following symlinks inside the tree.
    pub fn read(&self, path: &RootPath) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_file(path)?.read_to_end(&mut content).or_cannot(|| format!("read {path} in the image"))?;
        Ok(content)
    }

    /// As [`Rooted::read`], with `None` where there is no such file.
    pub fn read_if_there(&self, path: &RootPath) -> Result<Option<Vec<u8>>> {
        if self.exists(path) { self.read(path).map(Some) } else { Ok(None) }
    }

    /// Creates or truncates a regular file; a symlink there is followed inside the tree. An old file keeps its mode.
    pub fn create_file(&self, path: &RootPath, mode: u32) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOCTTY;
        let there = self.exists(path);
        let file = self
            .resolve(path, flags, Mode::from_raw_mode(mode & 0o7777))
            .or_cannot(|| format!("create {path} in the image"))?;
        if !there {
            // The process's umask must not reach the image.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).or_cannot(|| format!("chmod {path}"))?;
        }
        Ok(File::from(file))
    }

    /// Writes a whole file (see [`Rooted::create_file`]); folders above it are made with mode 755.
    pub fn write(&self, path: &RootPath, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        self.create_folders(&path.parent(), 0o755)?;
        self.create_file(path, mode)?.write_all(content.as_ref()).or_cannot(|| format!("write {path} in the image"))
    }

    /// Makes a folder and those above it; existing ones (or symlinks to folders inside) stay as they are. 65 where the
    /// tree has something else there.
    pub fn create_folders(&self, path: &RootPath, mode: u32) -> Result<()> {
        let mut at = RootPath::root();
        for name in path.relative().split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = at.join(name);
            if self.exists(&at) {
                continue;
            }
            let make = || {
                let parent = self.parent(&at)?;
                rustix::fs::mkdirat(&parent, OsStr::from_bytes(name), Mode::from_raw_mode(mode))?;
                rustix::fs::chmodat(&parent, OsStr::from_bytes(name), Mode::from_raw_mode(mode), AtFlags::empty())
            };
            let what = || format!("make the folder {at} in the image");
            match make() {
                Err(Errno::EXIST | Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {
                    let leads =
                        self.entry(&at).ok().flatten().is_some_and(|entry| matches!(entry.kind, Kind::Symlink(_)));
                    let there = if leads { "a symlink that leads to no folder" } else { "something that is no folder" };
                    return Err(Error::cannot(Exit::Description, what())
                        .because(format!("there is {there}"))
                        .hint("a package, an overlay or a script of the image made it"));
                }
                made => made.or_cannot(what)?,
            }
        }
        Ok(())
    }

    /// Makes a symlink, replacing a file or symlink that is there.
    pub fn symlink(&self, target: impl AsRef<[u8]>, path: &RootPath) -> Result<()> {
        self.create_folders(&path.parent(), 0o755)?;
        if self.entry(path)?.is_some_and(|entry| !entry.is_folder()) {
            self.remove(path)?;
        }
        let parent = self.parent(path).or_cannot(|| format!("open the folder of {path}"))?;
        rustix::fs::symlinkat(OsStr::from_bytes(target.as_ref()), &parent, OsStr::from_bytes(path.name()))
            .or_cannot(|| format!("make the symlink {path} in the image"))
    }

    /// Makes `path` another name of the file `old`; neither may be reached through a symlink in its last component.
    pub fn hard_link(&self, old: &RootPath, path: &RootPath) -> Result<()> {
        let link = || {
            let (from, to) = (self.parent(old)?, self.parent(path)?);
            let (old, new) = (OsStr::from_bytes(old.name()), OsStr::from_bytes(path.name()));
            rustix::fs::linkat(&from, old, &to, new, AtFlags::empty())
        };
        link().or_cannot(|| format!("link {path} to {old} in the image"))
    }

    /// Renames within the tree, replacing what is there.
    pub fn rename(&self, old: &RootPath, path: &RootPath) -> Result<()> {
        let rename = || {
            let (from, to) = (self.parent(old)?, self.parent(path)?);
            rustix::fs::renameat(&from, OsStr::from_bytes(old.name()), &to, OsStr::from_bytes(path.name()))
        };
        rename().or_cannot(|| format!("rename {old} to {path} in the image"))
    }

    /// Makes a device node, pipe or socket.
    pub fn make_node(&self, path: &RootPath, kind: &Kind, mode: u32) -> Result<()> {
        let (kind, device) = match kind {
            Kind::CharDevice { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(*major, *minor)),
            Kind::BlockDevice { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(*major, *minor)),
            Kind::Socket => (FileType::Socket, 0),
            _ => (FileType::Fifo, 0),
        };
        let make = || {
            let parent = self.parent(path)?;
            let name = OsStr::from_bytes(path.name());
            rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(mode), device)?;
            rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
        };
        make().or_cannot(|| format!("make the node {path} in the image"))
    }

    /// Removes a file, symlink, node or a whole folder, never crossing into another filesystem. Nothing there is fine.
    pub fn remove(&self, path: &RootPath) -> Result<()> {
        let remove = || match self.parent(path) {
            Ok(parent) => remove_at(&parent, OsStr::from_bytes(path.name())),
            Err(error) => Err(error),
        };
        match remove() {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error).or_cannot(|| format!("remove {path} from the image")),
        }
    }

    /// Sorted names in a folder (symlinks followed inside the tree); none where there is no folder.
    pub fn names(&self, path: &RootPath) -> Result<Vec<Vec<u8>>> {
        match self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(folder) => names_of(&folder).or_cannot(|| format!("list {path} in the image")),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(Vec::new()),
            Err(error) => Err(error).or_cannot(|| format!("list {path} in the image")),
        }
    }

    /// Sets the permission bits, not through a symlink.
    pub fn set_mode(&self, path: &RootPath, mode: u32) -> Result<()> {
        let change = || {
            let file = self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
            rustix::fs::chmod(magic_link(&file), Mode::from_raw_mode(mode & 0o7777))
        };
        change().or_cannot(|| format!("chmod {path} in the image"))
    }

    /// Sets owner and group, not through a symlink. Linux clears setuid and capabilities with it (chown(2)).
    pub fn set_owner(&self, path: &RootPath, uid: u32, gid: u32) -> Result<()> {
        let change = || {
            let file = self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(&file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        };
        change().or_cannot(|| format!("chown {path} in the image"))
    }

    /// Sets access and modification time to whole seconds since 1970, not through a symlink.
    pub fn set_mtime(&self, path: &RootPath, seconds: i64) -> Result<()> {
        let change = || {
            let parent = self.parent(path)?;
            let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            let name = if path.name().is_empty() { b".".as_slice() } else { path.name() };
            rustix::fs::utimensat(&parent, OsStr::from_bytes(name), &times, AtFlags::SYMLINK_NOFOLLOW)
        };
        change().or_cannot(|| format!("set the time of {path} in the image"))
    }

    /// Sets access and modification time to now, as making something in a folder does; not through a symlink.
    pub fn touch(&self, path: &RootPath) -> Result<()> {
        let change = || {
            let parent = self.parent(path)?;
            let time = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
            let times = Timestamps { last_access: time, last_modification: time };
            let name = if path.name().is_empty() { b".".as_slice() } else { path.name() };
            rustix::fs::utimensat(&parent, OsStr::from_bytes(name), &times, AtFlags::SYMLINK_NOFOLLOW)
        };
        change().or_cannot(|| format!("set the time of {path} in the image"))
    }

    /// Extended attributes, sorted by name, of the entry itself (not of what a symlink points to).
    pub fn xattrs(&self, path: &RootPath) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let read = || {
            let file = self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
            let link = magic_link(&file);
            let (mut few, mut many) = ([0; 512], Vec::new());
            let mut names = few.as_mut_slice();
            let mut listed = rustix::fs::listxattr(&link, &mut *names);
            if listed == Err(Errno::RANGE) {
                // listxattr(2): no list is longer.
                many.resize(64 << 10, 0);
                names = &mut many;
                listed = rustix::fs::listxattr(&link, &mut *names);
            }
            let length = match listed {
                Ok(length) => length,
                Err(Errno::NOTSUP) => 0,
                Err(error) => return Err(error),
            };
            let mut found = Vec::new();
            for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                let mut value = vec![0; 64 << 10];
                let length = rustix::fs::getxattr(&link, OsStr::from_bytes(name), &mut value)?;
                value.truncate(length);
                found.push((name.to_vec(), value));
            }
            found.sort();
            Ok(found)
        };
        read().or_cannot(|| format!("read the extended attributes of {path} in the image"))
    }

    /// Sets one extended attribute of the entry itself.
    pub fn set_xattr(&self, path: &RootPath, name: &[u8], value: &[u8]) -> Result<()> {
        let write = || {
            let file = self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
            rustix::fs::setxattr(magic_link(&file), OsStr::from_bytes(name), value, rustix::fs::XattrFlags::empty())
        };
        write().or_cannot(|| format!("set an extended attribute of {path} in the image"))
    }

    /// Everything at and below `path`, folders before what is in them, names in byte order, one filesystem only.
    pub fn walk(&self, path: &RootPath) -> Result<Vec<Entry>> {
        self.walk_with(path, Cores::One)
    }

    /// As [`Rooted::walk`] from `/` on, for a whole tree: on all cores, in a process that may have threads.
    pub fn walk_whole(&self) -> Result<Vec<Entry>> {
        self.walk_with(&RootPath::root(), Cores::All)
    }

    fn walk_with(&self, path: &RootPath, cores: Cores) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        let Some(top) = self.entry(path)? else { return Ok(found) };
        let device = top.inode.0;
        let is_folder = top.is_folder();
        found.push(top);
        if is_folder {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let walk = || {
                let folder = self.resolve(path, flags, Mode::empty())?;
                walk_into(&folder, path, device, cores)
            };
            found.extend(walk().or_cannot(|| format!("walk through {path} in the image"))?);
        }
        Ok(found)
    }
}

/// Folders down to this depth are gone through side by side, with all that is below them.
const SIDE_BY_SIDE: usize = 3;

/// Who goes through a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cores {
    /// The calling thread.
    One,
    /// Rayon's threads, too.
    All,
}

/// What is in `folder`, in the order of [`Rooted::walk`].
fn walk_into(folder: &OwnedFd, path: &RootPath, device: u64, cores: Cores) -> rustix::io::Result<Vec<Entry>> {
    let (mut found, mut folders) = (Vec::new(), Vec::new());
    for name in names_of(folder)? {
        let name_os = OsStr::from_bytes(&name);
        let stat = match rustix::fs::statat(folder, name_os, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let link = || rustix::fs::readlinkat(folder, name_os, Vec::new());
        let entry = entry_of(&stat, path.join(&name), link)?;
        if entry.inode.0 != device {
            continue;
        }
        if entry.is_folder() {
            folders.push((found.len(), entry.path.clone()));
        }
        found.push(entry);
    }
    let walk = |(at, path): (usize, RootPath)| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, OsStr::from_bytes(path.name()), flags, Mode::empty()) {
            Ok(folder) => Ok((at, walk_into(&folder, &path, device, cores)?)),
            Err(Errno::NOENT) => Ok((at, Vec::new())),
            Err(error) => Err(error),
        }
    };
    // Further down there is too little in one folder, and each that is open costs a descriptor.
    let below: Vec<(usize, Vec<Entry>)> = match cores == Cores::All && path.depth() < SIDE_BY_SIDE {
        true => folders.into_par_iter().map(walk).collect::<rustix::io::Result<_>>()?,
        false => folders.into_iter().map(walk).collect::<rustix::io::Result<_>>()?,
    };
    if below.is_empty() {
        return Ok(found);
    }
    let mut all = Vec::with_capacity(found.len() + below.iter().map(|(_, below)| below.len()).sum::<usize>());
    let (mut found, mut passed) = (found.into_iter(), 0);
    for (at, below) in below {
        all.extend(found.by_ref().take(at + 1 - passed));
        all.extend(below);
        passed = at + 1;
    }
    all.extend(found);
    Ok(all)
}

fn entry_of(
    stat: &rustix::fs::Stat,
    path: RootPath,
    link: impl FnOnce() -> rustix::io::Result<CString>,
) -> rustix::io::Result<Entry> {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink(link()?.into_bytes()),
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        _ => Kind::File,
    };
    Ok(Entry {
        path,
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        mtime_nanoseconds: stat.st_mtime_nsec as u32,
        size: Bytes(stat.st_size as u64),
        inode: (stat.st_dev, stat.st_ino),
        links: stat.st_nlink,
    })
}

fn names_of(folder: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

/// Removes `name` below `parent`, whatever it is, staying on its filesystem and never following a symlink.
pub fn remove_at(parent: &impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => remove_folder(parent.as_fd(), name, 0, Cores::One),
        other => other,
    }
}

/// As [`remove_at`], for a folder that holds a whole tree: on all cores, in a process that may have threads.
pub fn remove_whole(parent: &impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    remove_folder(parent.as_fd(), name, 0, Cores::All)
}

fn remove_folder(parent: BorrowedFd<'_>, name: &OsStr, depth: usize, cores: Cores) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let folder = rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)?;
    let mut folders = Vec::new();
    for name in names_of(&folder)? {
        match rustix::fs::unlinkat(&folder, OsStr::from_bytes(&name), AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => folders.push(name),
            other => other?,
        }
    }
    let remove = |name: &Vec<u8>| remove_folder(folder.as_fd(), OsStr::from_bytes(name), depth + 1, cores);
    match cores == Cores::All && depth < SIDE_BY_SIDE {
        true => folders.par_iter().try_for_each(remove)?,
        false => folders.iter().try_for_each(remove)?,
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// `/proc/self/fd/N`: the way to change what an `O_PATH` descriptor refers to.
fn magic_link(file: &OwnedFd) -> OsString {
    OsString::from_vec(format!("/proc/self/fd/{}", file.as_raw_fd()).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_path_never_leaves_the_root() {
        for (written, meant) in [("etc//x/", "/etc/x"), ("/../../etc", "/etc"), ("./a/../b", "/b"), ("", "/")] {
            assert_eq!(RootPath::new(written).as_bytes(), meant.as_bytes());
        }
        assert_eq!(RootPath::new(b"/a\xff\n").to_string(), "/a\\xff\\n");
        assert!(RootPath::new("/a/b").is_below(&RootPath::new("/a")));
        assert!(!RootPath::new("/ab").is_below(&RootPath::new("/a")));
    }

    #[test]
    fn symlinks_that_point_outside_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(folder.path().join("canary"), "host").unwrap();
        let root = Rooted::open(&tree).unwrap();
        root.symlink("/", &"/up".into()).unwrap();
        root.symlink("../canary", &"/relative".into()).unwrap();
        root.write(&"/up/canary".into(), "image", 0o644).unwrap();
        root.write(&"/relative".into(), "image too", 0o600).unwrap();
        assert_eq!(std::fs::read(folder.path().join("canary")).unwrap(), b"host");
        assert_eq!(std::fs::read(tree.join("canary")).unwrap(), b"image too");
        root.remove(&"/up".into()).unwrap();
        assert!(tree.join("canary").exists());
    }

    #[test]
    fn a_walk_is_sorted_and_keeps_any_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let root = Rooted::open(folder.path()).unwrap();
        root.write(&RootPath::new(b"/b/new\nline \xff"), "", 0o600).unwrap();
        root.symlink("nowhere", &"/a".into()).unwrap();
        let names: Vec<_> = root.walk(&RootPath::root()).unwrap().into_iter().map(|entry| entry.path).collect();
        let wanted: Vec<RootPath> =
            vec![RootPath::root(), "/a".into(), "/b".into(), RootPath::new(b"/b/new\nline \xff")];
        assert_eq!(names, wanted);
    }

    #[test]
    fn folders_side_by_side_are_listed_in_their_order_and_go_whole() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        for path in ["a", "a/b/c/d/e/f", "a/b/c/d/g", "a/b/c0/d", "a/b0", "b", "b/a/a", "b/c", "c"] {
            std::fs::create_dir_all(tree.join(path)).unwrap();
            std::fs::write(tree.join(path).join("0"), path).unwrap();
            std::fs::write(tree.join(path).join("b.x"), path).unwrap();
        }
        let root = Rooted::open(&tree).unwrap();
        let names: Vec<RootPath> = root.walk(&RootPath::root()).unwrap().into_iter().map(|entry| entry.path).collect();
        let mut wanted = names.clone();
        let components = |path: &RootPath| path.as_bytes().split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        wanted.sort_by_cached_key(|path| -> Vec<Vec<u8>> { components(path) });
        assert_eq!(names, wanted);
        assert_eq!(names.len(), 1 + 15 + 18);
        let below: Vec<RootPath> = root.walk(&"/a/b".into()).unwrap().into_iter().map(|entry| entry.path).collect();
        let whole = names.into_iter().filter(|path| path.is_below(&"/a/b".into()));
        assert_eq!(below, whole.collect::<Vec<_>>());
        std::os::unix::fs::symlink(folder.path(), tree.join("a/b/c/up")).unwrap();
        std::fs::write(folder.path().join("canary"), "host").unwrap();
        remove_whole(&File::open(&tree).unwrap(), OsStr::new("a")).unwrap();
        assert!(!tree.join("a").exists() && tree.join("b/a/a/0").exists() && folder.path().join("canary").exists());
        assert_eq!(remove_whole(&File::open(&tree).unwrap(), OsStr::new("a")), Err(Errno::NOENT));
    }
}
