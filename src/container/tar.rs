//! A tree, or a part of it, as a tar stream.
//!
//! In: a [`ScrubbedTree`] and which of its entries are [`Piece`]s of the stream. Out: the same bytes for the same tree:
//! sorted names, numeric owners, times clamped to the image's date, hard links, devices, extended attributes. Never
//! crosses into another filesystem, never carries what only means something on the host that built it.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{Read, Write};

use super::header::{BLOCK, Header, Type};
use crate::error::{Error, Exit, OrCannot, Result, Warning};
use crate::host::rooted::{Entry, Kind, RootPath, Rooted};
use crate::report::{Reporter, Step};
use crate::scrub::ScrubbedTree;

/// Folders whose content belongs to a running system and never into an archive.
const EMPTY: &[&str] = &["/dev", "/proc", "/run", "/sys", "/tmp"];

/// Two blocks of zeros end an archive.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// What a stream holds of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// An entry as it is.
    Whole(Entry),
    /// A folder that a later layer describes again: here only because something in it is. Its time is 1970, so that
    /// it does not change with what other layers put there.
    Shell(Entry),
    /// This path of the layers below is gone.
    Whiteout(RootPath),
}

impl Piece {
    /// The path that it is about.
    pub fn path(&self) -> &RootPath {
        match self {
            Piece::Whole(entry) | Piece::Shell(entry) => &entry.path,
            Piece::Whiteout(path) => path,
        }
    }
}

/// Every entry of the tree that belongs into an archive.
pub fn pieces(tree: &ScrubbedTree) -> Result<Vec<Piece>> {
    Ok(entries(tree.tree())?.map(Piece::Whole).collect())
}

fn entries(tree: &Rooted) -> Result<impl Iterator<Item = Entry> + use<>> {
    Ok(tree.walk(&RootPath::root())?.into_iter().filter(|entry| belongs(&entry.path)))
}

/// Writes a tree that still changes: what comes out resembles what [`write`] will write, and nothing else is true of it. What
/// cannot be read any more is left out. Ends early where `ended` says so.
pub fn sketch(tree: &Rooted, epoch: i64, out: &mut dyn Write, ended: &dyn Fn() -> bool) -> Result<()> {
    let step = Reporter::silent().step("container");
    let over = Cell::new(0);
    let mut out = Aligned { out, over: &over };
    let mut buffer = vec![0; 256 << 10];
    let mut writer = TarWriter { tree, epoch, out: &mut out, links: HashMap::new(), step: &step };
    for entry in entries(tree)? {
        // A file that was cut off must not move those that follow.
        if writer.entry(&entry, &mut buffer).is_err() {
            let rest = (BLOCK - over.get()) % BLOCK;
            writer.put(&[0; BLOCK][..rest], &entry.path)?;
        }
        if ended() {
            return Ok(());
        }
    }
    writer.out.write_all(&END).or_cannot(|| "write the archive")
}

/// Counts what is written of the last block.
struct Aligned<'a> {
    out: &'a mut dyn Write,
    over: &'a Cell<usize>,
}

impl Write for Aligned<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.over.set((self.over.get() + written) % BLOCK);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Writes the pieces and the end of the archive to `out`. Names have no leading `./`; the tree's root is the member
/// `./`. Sockets are left out with a warning.
pub fn write(tree: &ScrubbedTree, pieces: &[Piece], out: &mut dyn Write, step: &Step) -> Result<()> {
    stream(tree.tree(), tree.epoch(), pieces, out, step)
}

fn stream(tree: &Rooted, epoch: i64, pieces: &[Piece], out: &mut dyn Write, step: &Step) -> Result<()> {
    let mut writer = TarWriter { tree, epoch, out, links: HashMap::new(), step };
    let mut buffer = vec![0; 256 << 10];
    for piece in pieces {
        match piece {
            Piece::Whole(entry) => writer.entry(entry, &mut buffer)?,
            Piece::Shell(entry) => writer.entry(&Entry { mtime: 0, ..entry.clone() }, &mut buffer)?,
            Piece::Whiteout(path) => writer.whiteout(path)?,
        }
    }
    writer.out.write_all(&END).or_cannot(|| "write the archive")
}

/// Whether a path is a part of an image, and not of a running system.
pub fn belongs(path: &RootPath) -> bool {
    let inside = |folder: &&str| path.is_below(&RootPath::new(folder)) && *path != RootPath::new(folder);
    !EMPTY.iter().any(inside)
}

struct TarWriter<'a> {
    tree: &'a Rooted,
    epoch: i64,
    out: &'a mut dyn Write,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    step: &'a Step,
}

impl TarWriter<'_> {
    fn entry(&mut self, entry: &Entry, buffer: &mut [u8]) -> Result<()> {
        let path = &entry.path;
        if entry.kind == Kind::Socket {
            self.warn(format!("the socket {path} is left out: an archive cannot hold it"));
            return Ok(());
        }
        let mut name = if *path == RootPath::root() { b".".to_vec() } else { path.relative().to_vec() };
        if entry.is_folder() {
            name.push(b'/');
        }
        if entry.links > 1 && !entry.is_folder() {
            if let Some(first) = self.links.get(&entry.inode) {
                let header = self.header(entry, &name, Type::HardLink(first), &[]);
                return self.put(&header.encode(), path);
            }
            self.links.insert(entry.inode, name.clone());
        }
        let xattrs = self.xattrs(path)?;
        let header = self.header(entry, &name, Type::Is(&entry.kind), &xattrs);
        self.put(&header.encode(), path)?;
        if entry.is_file() && entry.size.0 > 0 {
            self.content(entry, buffer)?;
        }
        self.step.advance(1, entry.size.0);
        Ok(())
    }

    fn whiteout(&mut self, path: &RootPath) -> Result<()> {
        let name = path.parent().join([b".wh.", path.name()].concat());
        let header = Header {
            name: name.relative(),
            what: Type::Is(&Kind::File),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: self.epoch,
            size: 0,
            xattrs: &[],
        };
        self.put(&header.encode(), path)
    }

    fn header<'h>(
        &self,
        entry: &Entry,
        name: &'h [u8],
        what: Type<'h>,
        xattrs: &'h [(Vec<u8>, Vec<u8>)],
    ) -> Header<'h> {
        let mtime = entry.mtime.min(self.epoch);
        Header { name, what, mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime, size: entry.size.0, xattrs }
    }

    fn content(&mut self, entry: &Entry, buffer: &mut [u8]) -> Result<()> {
        let path = &entry.path;
        let mut file = self.tree.open_file(path)?;
        let mut left = entry.size.0;
        while left > 0 {
            let want = left.min(buffer.len() as u64) as usize;
            let read = file.read(&mut buffer[..want]).or_cannot(|| format!("read {path} in the image"))?;
            if read == 0 {
                return Err(Error::cannot(Exit::Io, format!("read {path} in the image"))
                    .because(format!("it became shorter than {} bytes meanwhile", entry.size.0)));
            }
            self.put(&buffer[..read], path)?;
            left -= read as u64;
        }
        let padding = (BLOCK as u64 - entry.size.0 % BLOCK as u64) % BLOCK as u64;
        self.put(&[0; BLOCK][..padding as usize], path)
    }

    fn xattrs(&self, path: &RootPath) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (xattrs, strange) = xattrs(self.tree, path)?;
        for name in strange {
            let name = String::from_utf8_lossy(&name).into_owned();
            self.warn(format!(
                "the extended attribute `{name}` of {path} is left out: an archive cannot hold its name"
            ));
        }
        Ok(xattrs)
    }

    fn put(&mut self, bytes: &[u8], path: &RootPath) -> Result<()> {
        self.out.write_all(bytes).or_cannot(|| format!("write {path} to the archive"))
    }

    fn warn(&self, text: String) {
        self.step.reporter().warn(Warning { text, place: None });
    }
}

/// Extended attributes with their values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The extended attributes that an archive holds, sorted, and the names of those whose name it cannot hold.
pub fn xattrs(tree: &Rooted, path: &RootPath) -> Result<(Attributes, Vec<Vec<u8>>)> {
    let mut xattrs = tree.xattrs(path)?;
    xattrs.retain(|(name, _)| travels(name));
    let strange = xattrs.extract_if(.., |(name, _)| name.contains(&b'=')).map(|(name, _)| name).collect();
    Ok((xattrs, strange))
}

/// Labels of the host's security modules, and what its overlay mounts keep, mean nothing elsewhere.
pub fn travels(name: &[u8]) -> bool {
    let host_only: &[&[u8]] = &[b"security.selinux", b"security.evm", b"security.apparmor", b"security.SMACK64"];
    let acl: &[&[u8]] = &[b"system.posix_acl_access", b"system.posix_acl_default"];
    if name.starts_with(b"system.") {
        return acl.contains(&name);
    }
    !host_only.iter().any(|prefix| name.starts_with(prefix))
        && !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
}
