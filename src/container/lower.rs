//! What a container of some layers would see, without unpacking it: the base that a new layer is compared with.
//!
//! In: the layers of a [`StoredImage`](super::source::StoredImage). Out: every path with its metadata and the digest of
//! its content, and the content of a few files. Symlinks among the folders of a member's name lead where they lead
//! inside the image, as when it is unpacked. Never touches a filesystem.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::source::{StoredLayer, malformed};
use super::tar::travels;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, Result};
use crate::host::rooted::{Kind, RootPath};
use crate::host::untar::{self, Member, Members, What};
use crate::package::installed;

/// Files whose content is kept beside the package database: what the plan must know before there is a tree.
const KEPT: &[&str] = &["/etc/os-release", "/usr/lib/os-release"];
/// None of them is longer, in bytes.
const LONGEST: u64 = 64 << 20;
/// Files of a layer together, with their holes, where less is free.
const LONGEST_FILES: Bytes = Bytes::gib(64);
/// Files that are kept, together, in bytes.
const MOST_KEPT: u64 = 512 << 20;
/// More paths than any system has.
const MOST_PATHS: usize = 10_000_000;
/// How many symlinks lead to a folder (`ELOOP`).
const MOST_LINKS: u32 = 40;

/// A path of the layers below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970; `None` for a folder that no layer describes.
    pub mtime: Option<i64>,
    /// Length of a file in bytes.
    pub size: u64,
    /// SHA-256 of a file.
    pub sha256: [u8; 32],
    /// Extended attributes that travel, sorted.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The same for all names of a file.
    pub inode: u64,
}

/// All layers below, laid over each other.
#[derive(Clone, Debug, Default)]
pub struct Lower {
    paths: BTreeMap<RootPath, Below>,
    content: BTreeMap<RootPath, Vec<u8>>,
    inodes: u64,
    kept: u64,
    room: u64,
}

impl Lower {
    /// Reads the layers, the lowest first, which are going to be laid where so much is free. 65 where one is malformed,
    /// 74 where one alone would not fit, 76 where a digest does not match.
    pub fn read<'a>(layers: impl IntoIterator<Item = &'a StoredLayer>, room: Bytes) -> Result<Lower> {
        let mut lower = Lower { room: room.0, ..Lower::default() };
        for layer in layers {
            layer.read(|plain| lower.lay(plain))?;
        }
        Ok(lower)
    }

    /// What is at a path.
    pub fn get(&self, path: &RootPath) -> Option<&Below> {
        self.paths.get(path)
    }

    /// Every path, in byte order.
    pub fn iter(&self) -> impl Iterator<Item = (&RootPath, &Below)> {
        self.paths.iter()
    }

    /// The content of one of the files that are kept.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        let path = self.real(&RootPath::new(path)).ok()?;
        self.content.get(&path).map(Vec::as_slice)
    }

    /// Every file whose content is kept.
    pub fn kept(&self) -> impl Iterator<Item = (&RootPath, &[u8])> {
        self.content.iter().map(|(path, content)| (path, content.as_slice()))
    }

    fn lay(&mut self, layer: &mut (dyn Read + Send)) -> Result<()> {
        let mut own: BTreeSet<RootPath> = BTreeSet::new();
        let (mut stored, mut apparent): (u64, u64) = (0, 0);
        let mut members = Members::new(layer);
        while let Some(member) = members.next_member().map_err(malformed)? {
            let path = self.real(&RootPath::new(&member.name))?;
            if self.paths.len() >= MOST_PATHS {
                return Err(malformed(format!("its layers have more than {MOST_PATHS} files")));
            }
            // Known before any of it is read: a few megabytes may stand for terabytes.
            let holds = member.segments.as_ref().map_or(member.size, |all| all.iter().map(|(_, length)| length).sum());
            stored = stored.saturating_add(holds);
            if stored > self.room {
                return Err(Error::cannot(Exit::Io, "unpack a layer").because(format!(
                    "it holds {} or more, and {} are free",
                    Bytes(stored),
                    Bytes(self.room)
                )));
            }
            // Holes take no room, and yet are hashed.
            apparent = apparent.saturating_add(member.size);
            let longest = self.room.max(LONGEST_FILES.0);
            if apparent > longest {
                let why = format!("a layer has files of {} with their holes", Bytes(apparent));
                return Err(malformed(why).hint(format!("at most {} of files are compared", Bytes(longest))));
            }
            let Some(hidden) = path.name().strip_prefix(b".wh.") else {
                let mut above = path.clone();
                while above != RootPath::root() && own.insert(above.clone()) {
                    above = above.parent();
                }
                self.put(path, &member, &mut members)?;
                continue;
            };
            match hidden {
                b".wh..opq" => self.hide(&path.parent(), &own),
                // Other names of this form are bookkeeping of aufs.
                name if name.starts_with(b".wh.") => {}
                b"" | b"." | b".." => return Err(malformed(format!("its whiteout {path} names no file"))),
                name => {
                    let target = path.parent().join(name);
                    self.hide(&target, &own);
                    if !own.contains(&target) {
                        self.take(&target);
                    }
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, path: RootPath, member: &Member, data: &mut Members<&mut (dyn Read + Send)>) -> Result<()> {
        self.open_folders(&path.parent())?;
        let kind = match &member.what {
            What::HardLink(old) => {
                let old = self.real(&RootPath::new(old))?;
                let Some(below) = self.paths.get(&old).filter(|below| below.kind != Kind::Folder).cloned() else {
                    return Err(malformed(format!("{path} is a link to {old}, which is no file")));
                };
                if old != path {
                    self.remove(&path);
                    if let Some(content) = self.content.get(&old).filter(|_| is_kept(&path)).cloned() {
                        self.keep(path.clone(), content)?;
                    }
                    self.paths.insert(path, below);
                }
                return Ok(());
            }
            What::Is(kind) => kind.clone(),
        };
        let mut xattrs = member.xattrs.clone();
        xattrs.retain(|(name, _)| travels(name) && !name.contains(&b'='));
        self.inodes += 1;
        let mut below = Below {
            mode: member.mode & 0o7777,
            uid: member.uid,
            gid: member.gid,
            mtime: Some(member.mtime),
            size: 0,
            sha256: [0; 32],
            xattrs,
            inode: self.inodes,
            kind,
        };
        if below.kind == Kind::Folder {
            // What a folder holds stays when a layer has the folder again.
            if self.paths.get(&path).is_some_and(|there| there.kind != Kind::Folder) {
                self.remove(&path);
            }
            self.paths.insert(path, below);
            return Ok(());
        }
        if path == RootPath::root() {
            return Err(malformed("it has something else than a folder for its top folder"));
        }
        self.remove(&path);
        if below.kind == Kind::File {
            let (sha256, content) = read_file(member, data, is_kept(&path))?;
            (below.size, below.sha256) = (member.size, sha256);
            if let Some(content) = content {
                self.keep(path.clone(), content)?;
            }
        }
        self.paths.insert(path, below);
        Ok(())
    }

    /// Keeps the content of a file that is not kept yet.
    fn keep(&mut self, path: RootPath, content: Vec<u8>) -> Result<()> {
        self.kept += content.len() as u64;
        if self.kept > MOST_KEPT {
            return Err(malformed(format!("its package database has more than {}", Bytes(MOST_KEPT))));
        }
        self.content.insert(path, content);
        Ok(())
    }

    /// The folders that no member describes are made as the unpacker makes them.
    fn open_folders(&mut self, path: &RootPath) -> Result<()> {
        let mut missing = Vec::new();
        let mut path = path.clone();
        while !self.paths.get(&path).is_some_and(|there| there.kind == Kind::Folder) {
            if self.paths.contains_key(&path) {
                return Err(malformed(format!("{path} has something below it and is no folder")));
            }
            missing.push(path.clone());
            if path == RootPath::root() {
                break;
            }
            path = path.parent();
        }
        for path in missing {
            self.inodes += 1;
            let (mode, inode) = (0o755, self.inodes);
            let below = Below {
                kind: Kind::Folder,
                mode,
                uid: 0,
                gid: 0,
                mtime: None,
                size: 0,
                sha256: [0; 32],
                xattrs: Vec::new(),
                inode,
            };
            self.paths.insert(path, below);
        }
        Ok(())
    }

    /// A path with the symlinks among its folders followed, inside the image.
    fn real(&self, path: &RootPath) -> Result<RootPath> {
        let mut left: Vec<Vec<u8>> = components(path.relative());
        left.reverse();
        let mut real = RootPath::root();
        let mut followed = 0;
        while let Some(name) = left.pop() {
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    real = real.parent();
                    continue;
                }
                _ => {}
            }
            let next = real.join(&name);
            match self.paths.get(&next).map(|there| &there.kind) {
                Some(Kind::Symlink(target)) if !left.is_empty() => {
                    followed += 1;
                    if followed > MOST_LINKS {
                        return Err(malformed(format!("{path} leads through too many symlinks")));
                    }
                    if target.starts_with(b"/") {
                        real = RootPath::root();
                    }
                    left.extend(components(target).into_iter().rev());
                }
                _ => real = next,
            }
        }
        Ok(real)
    }

    fn remove(&mut self, path: &RootPath) {
        self.hide(path, &BTreeSet::new());
        self.take(path);
    }

    fn take(&mut self, path: &RootPath) {
        self.paths.remove(path);
        self.kept -= self.content.remove(path).map_or(0, |content| content.len() as u64);
    }

    /// Removes what is below a folder, apart from what the layer itself put there.
    fn hide(&mut self, folder: &RootPath, own: &BTreeSet<RootPath>) {
        let inside: Vec<RootPath> = self.below(folder).filter(|path| !own.contains(*path)).cloned().collect();
        inside.iter().for_each(|path| self.take(path));
    }

    fn below<'l>(&'l self, folder: &'l RootPath) -> impl Iterator<Item = &'l RootPath> {
        // No name begins with a lower byte, so everything below the folder follows in one piece.
        let paths = self.paths.range(folder.join([1])..).map(|(path, _)| path);
        paths.take_while(move |path| path.is_below(folder))
    }
}

fn is_kept(path: &RootPath) -> bool {
    KEPT.iter().any(|kept| path.as_bytes() == kept.as_bytes()) || installed::is_database(path)
}

/// Not normalised: `..` behind a symlink leads out of where the symlink leads to.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The digest of a file with its holes, and its content where it is kept.
fn read_file(
    member: &Member,
    data: &mut Members<&mut (dyn Read + Send)>,
    keep: bool,
) -> Result<([u8; 32], Option<Vec<u8>>)> {
    let mut hash = Sha256::new();
    let mut content = Vec::new();
    let keep = keep && member.size <= LONGEST;
    let mut sink = |bytes: &[u8]| {
        hash.update(bytes);
        if keep {
            content.extend_from_slice(bytes);
        }
    };
    let zeros = [0; 64 << 10];
    let mut at = 0;
    let whole = [(0, member.size)];
    for (offset, length) in member.segments.as_deref().unwrap_or(&whole) {
        fill(&zeros, offset.saturating_sub(at), &mut sink);
        let mut left = *length;
        let mut buffer = [0; 64 << 10];
        while left > 0 {
            let want = left.min(buffer.len() as u64) as usize;
            let read = data.read(&mut buffer[..want]).map_err(untar::broken)?;
            if read == 0 {
                let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(Error::cannot(Exit::Description, "read a layer").because(error));
            }
            sink(&buffer[..read]);
            left -= read as u64;
        }
        at = offset + length;
    }
    fill(&zeros, member.size.saturating_sub(at), &mut sink);
    Ok((hash.finalize().into(), keep.then_some(content)))
}

fn fill(zeros: &[u8], mut length: u64, sink: &mut impl FnMut(&[u8])) {
    while length > 0 {
        let piece = length.min(zeros.len() as u64) as usize;
        sink(&zeros[..piece]);
        length -= piece as u64;
    }
}
