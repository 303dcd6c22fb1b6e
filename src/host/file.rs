//! The host's files: the few functions of `std::fs` that other modules need, with our errors.
//!
//! In: host paths. Out: bytes, files, names. Never used for paths inside an image ([`super::rooted`]).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Exit, OrCannot, Result};

/// The whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).or_cannot(|| format!("read {}", path.display()))
}

/// The whole file, which must be UTF-8; another encoding is 65.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let before = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::cannot(Exit::Description, format!("read {}", path.display()))
            .because(format!("line {} is not UTF-8", before + 1))
    })
}

/// Opens for reading.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).or_cannot(|| format!("open {}", path.display()))
}

/// Opens a file for reading; `None` where nothing is there.
pub fn open_if_there(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).or_cannot(|| format!("open {}", path.display())),
    }
}

/// Opens for reading and writing.
pub fn open_for_update(path: &Path) -> Result<File> {
    File::options().read(true).write(true).open(path).or_cannot(|| format!("open {}", path.display()))
}

/// Creates (or truncates) a file, readable too.
pub fn create(path: &Path) -> Result<File> {
    let created = File::options().read(true).write(true).create(true).truncate(true).open(path);
    made(created, || format!("create {}", path.display()))
}

/// What cannot be made where it is to be is 73, whatever is missing there or in the way.
fn made<T>(done: std::io::Result<T>, what: impl FnOnce() -> String) -> Result<T> {
    use std::io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound};
    let kind = done.as_ref().err().map(std::io::Error::kind);
    let is_no_place = matches!(kind, Some(AlreadyExists | IsADirectory | NotADirectory | NotFound));
    done.or_cannot(what).map_err(|error| if is_no_place { error.with_exit(Exit::CannotCreate) } else { error })
}

/// Writes a whole file so that it appears complete or not at all: temporary name, sync, rename.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".ingot-").tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        rustix::fs::fchmod(file.as_file(), Mode::from_raw_mode(0o644))?;
        file.persist(path)?;
        Ok::<(), std::io::Error>(())
    };
    made(write(), || format!("write {}", path.display()))
}

/// Writes a whole file that only its owner may read (mode 600), whatever the umask.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        remove_if_there(path)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)
    };
    write().or_cannot(|| format!("write {}", path.display()))
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it.
pub fn create_folders(path: &Path) -> Result<()> {
    made(fs::create_dir_all(path), || format!("make the folder {}", path.display()))
}

/// Sorted names in a folder.
pub fn names(path: &Path) -> Result<Vec<std::ffi::OsString>> {
    let list = || fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>();
    let mut names = list().or_cannot(|| format!("list {}", path.display()))?;
    names.sort();
    Ok(names)
}

/// Metadata, symlinks followed; `None` where there is nothing.
pub fn metadata(path: &Path) -> Option<fs::Metadata> {
    fs::metadata(path).ok()
}

/// Whether there is a regular file (symlinks followed).
pub fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Whether there is a folder (symlinks followed).
pub fn is_folder(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Absolute, symlinks resolved.
pub fn canonical(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).or_cannot(|| format!("find {}", path.display()))
}

/// Renames, replacing what is there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).or_cannot(|| format!("rename {} to {}", from.display(), to.display()))
}

/// Moves a file, replacing what is there: by renaming it, which needs no room, and by copying it where it has to go to
/// another filesystem. A copy that fails leaves nothing.
pub fn move_file(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            copy(from, to).and_then(|()| remove(from)).inspect_err(|_| drop(remove(to)))
        }
        other => other.or_cannot(|| format!("move {} to {}", from.display(), to.display())),
    }
}

/// A second name for a file.
pub fn hard_link(from: &Path, to: &Path) -> Result<()> {
    fs::hard_link(from, to).or_cannot(|| format!("link {} to {}", to.display(), from.display()))
}

/// Makes a symlink.
pub fn symlink(target: &Path, path: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, path).or_cannot(|| format!("link {} to {}", path.display(), target.display()))
}

/// Copies content and mode; holes stay holes where the filesystem can.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).or_cannot(|| format!("copy {} to {}", from.display(), to.display()))
}

/// Removes a file; nothing there is fine.
pub fn remove(path: &Path) -> Result<()> {
    remove_if_there(path).or_cannot(|| format!("remove {}", path.display()))
}

/// Makes a file's time the present.
pub fn touch(path: &Path) -> Result<()> {
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty())
        .or_cannot(|| format!("touch {}", path.display()))
}

/// Removes whatever is there, never following a symlink and never crossing into another filesystem.
pub fn remove_tree(path: &Path) -> Result<()> {
    remove_with(path, super::rooted::remove_at)
}

/// As [`remove_tree`], for the folder of a whole image's tree: on all cores, in a process that may have threads.
pub fn remove_whole_tree(path: &Path) -> Result<()> {
    remove_with(path, super::rooted::remove_whole)
}

fn remove_with(
    path: &Path,
    remove: impl FnOnce(&std::os::fd::OwnedFd, &OsStr) -> rustix::io::Result<()>,
) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::cannot(Exit::Bug, format!("remove {}", path.display())));
    };
    let folder = if folder == OsStr::new("") { Path::new(".") } else { folder };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::empty()).and_then(|folder| remove(&folder, name)) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error).or_cannot(|| format!("remove {}", path.display())),
    }
}

/// The first stretch of `range` that is not a hole (`SEEK_DATA`, lseek(2)); `None` where only holes follow. Everything
/// counts as data where the filesystem cannot tell. Moves the file's position.
pub fn next_data(file: &File, range: std::ops::Range<u64>) -> std::io::Result<Option<std::ops::Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    let start = match seek(file, SeekFrom::Data(range.start)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL) => return Ok(Some(range).filter(|range| !range.is_empty())),
        Err(error) => return Err(error.into()),
    };
    if start >= range.end {
        return Ok(None);
    }
    let end = seek(file, SeekFrom::Hole(start))?.min(range.end);
    Ok(Some(start..end))
}

/// Bytes that are free for us on the filesystem that holds `path`.
pub fn free_space(path: &Path) -> Result<crate::bytes::Bytes> {
    let stat = rustix::fs::statvfs(path).or_cannot(|| format!("ask for the free space of {}", path.display()))?;
    Ok(crate::bytes::Bytes(stat.f_bavail * stat.f_frsize))
}

/// Whether no program may be started from the filesystem that holds `path`.
pub fn executes_nothing(path: &Path) -> Result<bool> {
    let stat = rustix::fs::statvfs(path).or_cannot(|| format!("ask how {} is mounted", path.display()))?;
    Ok(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

/// Whether the filesystem that holds `path` has no room for one more file, however many bytes are free.
pub fn lacks_inodes(path: &Path) -> Result<bool> {
    let stat = rustix::fs::statvfs(path).or_cannot(|| format!("ask for the free inodes of {}", path.display()))?;
    // Filesystems that make inodes as they need them count none.
    Ok(stat.f_files > 0 && stat.f_favail == 0)
}

/// Whether anything is there, a dangling symlink included.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether there is a regular file, not a symlink to one.
pub fn is_plain_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Absolute, `.` and doubled slashes dropped, symlinks kept; nothing needs to be there.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).or_cannot(|| format!("find {}", path.display()))
}

/// Makes one new folder (mode 755 whatever the umask); an existing one is an error.
pub fn create_folder(path: &Path) -> Result<()> {
    let make = || {
        fs::create_dir(path)?;
        Ok::<(), std::io::Error>(rustix::fs::chmod(path, Mode::from_raw_mode(0o755))?)
    };
    make().or_cannot(|| format!("make the folder {}", path.display()))
}

/// Fails where no file can be made in a folder; leaves nothing behind.
pub fn check_writable(folder: &Path) -> Result<()> {
    made(tempfile::tempfile_in(folder).map(drop), || format!("write to {}", folder.display()))
}

/// Renames unless something is there: false then.
pub fn rename_new(from: &Path, to: &Path) -> Result<bool> {
    let (cwd, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::NOREPLACE);
    match rustix::fs::renameat_with(cwd, from, cwd, to, flags) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !exists(to) => rename(from, to).map(|()| true),
        Err(error) => Err(error).or_cannot(|| format!("rename {} to {}", from.display(), to.display())),
    }
}

/// As [`rename_new`], for who looks at the error: `AlreadyExists`, `CrossesDevices`.
pub fn move_new(from: &Path, to: &Path) -> std::io::Result<()> {
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags).map_err(Into::into)
}

/// Exchanges two folders in one step: false where the filesystem or a mount point does not allow it.
pub fn exchange(one: &Path, other: &Path) -> Result<bool> {
    let (cwd, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
    Ok(rustix::fs::renameat_with(cwd, one, cwd, other, flags).is_ok())
}

/// Gives `to` mode and owner of `from`.
pub fn copy_permissions(from: &Path, to: &Path) -> Result<()> {
    let copy = || {
        let stat = rustix::fs::stat(from)?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
        rustix::fs::chown(to, Some(uid), Some(gid))?;
        rustix::fs::chmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
    };
    copy().or_cannot(|| format!("set the permissions of {}", to.display()))
}

/// Writes the files of a folder to the disk, and their names (fsync(2)), and the folders in it ([`sync_tree`]).
pub fn sync_files(folder: &Path) -> Result<()> {
    let all: Vec<PathBuf> = names(folder)?.into_iter().map(|name| folder.join(name)).collect();
    // Once all of them have their place on the disk, a journal writes that down once, and not for each.
    all.iter().filter(|path| is_plain_file(path)).for_each(|path| begin_to_sync(path));
    for path in &all {
        match fs::symlink_metadata(path).or_cannot(|| format!("sync {}", path.display()))?.file_type() {
            kind if kind.is_file() => sync_file(path)?,
            kind if kind.is_dir() => sync_tree(path)?,
            _ => {}
        }
    }
    sync_folder(folder)
}

/// Writes a folder with all that is in it to the disk. Where one journal notes everything (ext4, XFS) that is each file's
/// content, then the journal once: fsync(2) of thousands of files takes half a minute, and syncfs(2), which is left for other
/// filesystems, waits for what other builds have written. No symlink is followed, and no device is opened.
pub fn sync_tree(folder: &Path) -> Result<()> {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    let what = || format!("sync {}", folder.display());
    let opened = rustix::fs::open(folder, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).or_cannot(what)?;
    if !matches!(rustix::fs::fstatfs(&opened).or_cannot(what)?.f_type as u64, EXT | XFS) {
        return rustix::fs::syncfs(&opened).or_cannot(what);
    }
    each_file(folder, &|path| {
        begin_to_sync(path);
        Ok(())
    })?;
    each_file(folder, &|path| {
        let file = open(path)?;
        let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: the descriptor is open, and no memory is passed.
        match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, all) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()).or_cannot(|| format!("sync {}", path.display())),
        }
    })?;
    // The journal is written only for what changed in it since it was written last.
    let mode = rustix::fs::fstat(&opened).or_cannot(what)?.st_mode;
    rustix::fs::fchmod(&opened, Mode::from_raw_mode(mode & 0o7777)).or_cannot(what)?;
    rustix::fs::fsync(&opened).or_cannot(what)
}

/// Does `work` with every file in a folder and below it.
fn each_file(folder: &Path, work: &impl Fn(&Path) -> Result<()>) -> Result<()> {
    for name in names(folder)? {
        let path = folder.join(name);
        match fs::symlink_metadata(&path).or_cannot(|| format!("look at {}", path.display()))?.file_type() {
            kind if kind.is_file() => work(&path)?,
            kind if kind.is_dir() => each_file(&path, work)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether both are the same file, whatever names it has.
pub fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    identity(one).is_some() && identity(one) == identity(other)
}

/// Asks the kernel to begin writing a file to its disk (sync_file_range(2)), so that little is left for
/// [`sync_files`]. Where it will not, that one does all of it.
pub fn begin_to_sync(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    // SAFETY: the descriptor is open, and no memory is passed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// The same for a part of an open file.
pub fn begin_to_sync_range(file: &File, range: std::ops::Range<u64>) {
    let (offset, length) = (range.start as i64, (range.end - range.start) as i64);
    // SAFETY: the descriptor is open, and no memory is passed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Writes a file to its disk (fsync(2)), and nothing of anybody else.
pub fn sync_file(path: &Path) -> Result<()> {
    open(path)?.sync_all().or_cannot(|| format!("sync {}", path.display()))
}

/// Makes renames in a folder permanent.
pub fn sync_folder(path: &Path) -> Result<()> {
    let sync = || rustix::fs::fsync(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    sync().or_cannot(|| format!("sync {}", path.display()))
}

/// Whether some process that we can see has its working directory in or below `folder`.
pub fn somebody_works_in(folder: &Path) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok()).any(|cwd| cwd.starts_with(folder))
}

/// Writes a whole file, replacing what is there.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).or_cannot(|| format!("write {}", path.display()))
}

/// SHA-256 of a file's content.
pub fn digest(path: &Path) -> Result<[u8; 32]> {
    use sha2::{Digest, Sha256};
    use std::io::Read;
    let mut file = open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).or_cannot(|| format!("read {}", path.display()))? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// SHA-256 of a file, or of each file below a folder and of each symlink's target, in byte order of their paths.
pub fn digest_tree(path: &Path) -> Result<Vec<(PathBuf, [u8; 32])>> {
    use sha2::{Digest, Sha256};
    use std::os::unix::ffi::OsStrExt;
    let metadata = fs::symlink_metadata(path).or_cannot(|| format!("read {}", path.display()))?;
    if metadata.is_dir() {
        let mut all = Vec::new();
        for name in names(path)? {
            all.extend(digest_tree(&path.join(name))?);
        }
        return Ok(all);
    }
    if metadata.is_symlink() {
        let target = fs::read_link(path).or_cannot(|| format!("read {}", path.display()))?;
        return Ok(vec![(path.into(), Sha256::digest(target.as_os_str().as_bytes()).into())]);
    }
    if metadata.is_file() { Ok(vec![(path.into(), digest(path)?)]) } else { Ok(Vec::new()) }
}

/// Where a file has data, ascending, as `lseek(2)` with `SEEK_DATA` and `SEEK_HOLE` says; the rest reads as zeros.
/// Moves the file's offset.
pub fn data_ranges(file: &File) -> Result<Vec<std::ops::Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    let list = || {
        let size = rustix::fs::fstat(file)?.st_size as u64;
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < size {
            let start = match seek(file, SeekFrom::Data(at)) {
                Err(rustix::io::Errno::NXIO) => break,
                other => other?,
            };
            at = seek(file, SeekFrom::Hole(start))?.min(size);
            ranges.push(start..at);
        }
        Ok::<_, rustix::io::Errno>(ranges)
    };
    list().or_cannot(|| "find the holes of a file")
}

/// A file without a name on the filesystem of `folder`; gone when it is closed.
pub fn anonymous(folder: &Path) -> Result<File> {
    tempfile::tempfile_in(folder).or_cannot(|| format!("make a temporary file in {}", folder.display()))
}

/// Opens a file to write at its end.
pub fn append(path: &Path) -> Result<File> {
    File::options().append(true).open(path).or_cannot(|| format!("open {}", path.display()))
}

/// A second descriptor of one that whoever started this process left open; programs that this process starts get
/// neither. 64 where nothing is open under that number.
pub fn from_descriptor(number: i32) -> Result<File> {
    let cannot = || Error::cannot(Exit::Usage, format!("write to descriptor {number}"));
    if number < 0 {
        return Err(cannot().because("a descriptor's number is not negative"));
    }
    // SAFETY: only used in this call, to ask the kernel; a number that is not open is an error of it (fcntl(2)).
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let copy = rustix::io::fcntl_dupfd_cloexec(borrowed, 3).map_err(|error| {
        cannot().because(std::io::Error::from(error)).hint("open it first: `ingot ... 3>events.json`")
    })?;
    let _ = rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC);
    Ok(File::from(copy))
}

/// Opens for writing at the end; makes the file where there is none.
pub fn append_or_create(path: &Path) -> Result<File> {
    made(File::options().append(true).create(true).open(path), || format!("open {}", path.display()))
}

/// A stream to a unix socket that somebody listens on.
pub fn connect(socket: &Path) -> Result<std::os::unix::net::UnixStream> {
    std::os::unix::net::UnixStream::connect(socket).or_cannot(|| format!("connect to {}", socket.display()))
}

/// Sets the permission bits of what is at `path`.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).or_cannot(|| format!("set the mode of {}", path.display()))
}

/// Sets the permission bits of an open file.
pub fn protect(file: &File, mode: u32) -> Result<()> {
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).or_cannot(|| "set the mode of a file")
}

/// The lengths of all files in a folder and below it; no link is followed, and what is gone meanwhile counts nothing.
pub fn size_of_tree(path: &Path) -> Result<crate::bytes::Bytes> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(crate::bytes::Bytes::ZERO) };
    if !metadata.is_dir() {
        return Ok(crate::bytes::Bytes(if metadata.is_file() { metadata.len() } else { 0 }));
    }
    let names = names(path)?;
    names.iter().map(|name| size_of_tree(&path.join(name))).sum()
}

/// What a file takes on its disk; holes take nothing.
pub fn size_on_disk(metadata: &fs::Metadata) -> crate::bytes::Bytes {
    use std::os::unix::fs::MetadataExt;
    crate::bytes::Bytes(metadata.blocks() * 512)
}

/// Remembers, in its time of modification, that a file of a cache was used now. Where that is not allowed, it is
/// forgotten earlier.
#[allow(clippy::disallowed_methods)] // Decides only what a cache keeps longest.
pub fn was_used(file: &File) {
    let _ = file.set_modified(std::time::SystemTime::now());
}

/// Permission bits with setuid, setgid and sticky (0o7777).
pub fn mode(metadata: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o7777
}
