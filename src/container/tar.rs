//! A tree, or a part of it, as a tar stream.
//!
//! In: a [`ScrubbedTree`] and which of its entries are [`Piece`]s of the stream. Out: the same bytes for the same tree:
//! sorted names, numeric owners, times clamped to the image's date, hard links, devices, extended attributes. Never
//! crosses into another filesystem, never carries what only means something on the host that built it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};

use super::header::{BLOCK, Header, Type};
use crate::error::{Error, Exit, OrCannot, Result, Warning};
use crate::host::rooted::{Entry, Kind, RootPath, Rooted};
use crate::pieces::content::{CHUNK, Content, Contents};
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
    Ok(entries(tree.tree())?.into_iter().map(Piece::Whole).collect())
}

/// As [`pieces`], of any tree.
pub fn entries(tree: &Rooted) -> Result<Vec<Entry>> {
    Ok(tree.walk_whole()?.into_iter().filter(|entry| belongs(&entry.path)).collect())
}

/// Takes a tar stream.
pub trait Sink {
    /// Whole blocks: headers, and what else is nowhere but here.
    fn blocks(&mut self, bytes: &[u8]) -> Result<()>;

    /// A file's content, filled up with zeros to whole blocks.
    fn content(&mut self, file: &FileInTree<'_>) -> Result<()>;
}

/// Writes the stream as it is.
pub struct Plain<W>(pub W);

impl<W: Write> Sink for Plain<W> {
    fn blocks(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).or_cannot(|| "write the archive")
    }

    fn content(&mut self, file: &FileInTree<'_>) -> Result<()> {
        let (mut reading, mut bytes) = (file.open()?, Vec::new());
        while reading.next(&mut bytes)? {
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            self.blocks(&bytes)?;
        }
        Ok(())
    }
}

/// A regular file that has a place in a stream.
#[derive(Clone, Copy, Debug)]
pub struct FileInTree<'a> {
    tree: &'a Rooted,
    entry: &'a Entry,
    content: Option<&'a Content>,
}

impl<'a> FileInTree<'a> {
    /// The file of this entry, and what is known of its content.
    pub fn new(tree: &'a Rooted, entry: &'a Entry, contents: &'a Contents) -> FileInTree<'a> {
        FileInTree { tree, entry, content: contents.get(entry.path.as_bytes(), entry.size.0) }
    }

    /// The tree that it is in.
    pub fn tree(&self) -> &Rooted {
        self.tree
    }

    /// What it is.
    pub fn entry(&self) -> &Entry {
        self.entry
    }

    /// What is known of its content.
    pub fn known(&self) -> Option<&Content> {
        self.content
    }

    /// For reading.
    pub fn open(&self) -> Result<Reading<'a>> {
        let size = self.entry.size.0;
        Ok(Reading { file: self.tree.open_file(&self.entry.path)?, left: size, size, path: &self.entry.path })
    }
}

/// A file of which exactly as much is read as its header says.
pub struct Reading<'a> {
    file: File,
    left: u64,
    size: u64,
    path: &'a RootPath,
}

impl Reading<'_> {
    /// The next [`CHUNK`] bytes, fewer at the end; false where nothing is left.
    pub fn next(&mut self, bytes: &mut Vec<u8>) -> Result<bool> {
        let (length, path) = (self.left.min(CHUNK as u64) as usize, self.path);
        bytes.resize(length, 0);
        self.file.read_exact(bytes).map_err(|error| {
            let what = format!("read {path} in the image");
            match error.kind() {
                std::io::ErrorKind::UnexpectedEof => Error::cannot(Exit::Io, what)
                    .because(format!("it became shorter than {} bytes meanwhile", self.size)),
                _ => Error::cannot(Exit::Io, what).because(error),
            }
        })?;
        self.left -= length as u64;
        Ok(length > 0)
    }
}

/// Writes a tree that still changes, and of which nobody knows more than `contents` says: what comes out resembles what
/// [`write`] will write, and nothing else is true of it. What cannot be read any more is left out. Ends early where `ended`
/// says so.
pub fn sketch(
    tree: &Rooted,
    entries: &[Entry],
    contents: &Contents,
    epoch: i64,
    out: &mut dyn Sink,
    ended: &dyn Fn() -> bool,
) -> Result<()> {
    let step = Reporter::silent().step("container");
    let mut writer = TarWriter { tree, contents, epoch, out, links: HashMap::new(), step: &step };
    for entry in entries {
        // A file that is cut off moves those that follow by whole chunks: its others are there, or none.
        let _ = writer.entry(entry);
        if ended() {
            return Ok(());
        }
    }
    writer.out.blocks(&END)
}

/// Writes the pieces and the end of the archive to `out`. Names have no leading `./`; the tree's root is the member
/// `./`. Sockets are left out with a warning.
pub fn write(tree: &ScrubbedTree, pieces: &[Piece], out: &mut dyn Sink, step: &Step) -> Result<()> {
    let (epoch, contents) = (tree.epoch(), tree.contents());
    let mut writer = TarWriter { tree: tree.tree(), contents, epoch, out, links: HashMap::new(), step };
    for piece in pieces {
        match piece {
            Piece::Whole(entry) => writer.entry(entry)?,
            Piece::Shell(entry) => writer.entry(&Entry { mtime: 0, ..entry.clone() })?,
            Piece::Whiteout(path) => writer.whiteout(path)?,
        }
    }
    writer.out.blocks(&END)
}

/// Whether a path is a part of an image, and not of a running system.
pub fn belongs(path: &RootPath) -> bool {
    let inside = |folder: &&str| path.is_below(&RootPath::new(folder)) && *path != RootPath::new(folder);
    !EMPTY.iter().any(inside)
}

struct TarWriter<'a> {
    tree: &'a Rooted,
    contents: &'a Contents,
    epoch: i64,
    out: &'a mut dyn Sink,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    step: &'a Step,
}

impl TarWriter<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<()> {
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
                return self.out.blocks(&header.encode());
            }
            self.links.insert(entry.inode, name.clone());
        }
        let xattrs = self.xattrs(path)?;
        let header = self.header(entry, &name, Type::Is(&entry.kind), &xattrs);
        self.out.blocks(&header.encode())?;
        if entry.is_file() && entry.size.0 > 0 {
            self.out.content(&FileInTree::new(self.tree, entry, self.contents))?;
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
        self.out.blocks(&header.encode())
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
