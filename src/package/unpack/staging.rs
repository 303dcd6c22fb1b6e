//! The parallel half: a package's data archive, decompressed into numbered files beside the tree's own.
//!
//! In: an open `.deb` and a folder of the tree that nobody else uses. Out: [`Staged`]: the archive's members in the
//! order in which dpkg handles them, and the content of its files under numbers, owner, mode and time set. Needs no
//! knowledge of the tree or of other packages, so that all cores work at once and in any order; giving the files
//! their names is one rename each ([`super::placing`]). Memory is the decoder's and one buffer.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use md5::{Digest, Md5};

use super::names::entry_name;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::folder::{Folder, describe};
use crate::host::rooted::Kind;
use crate::host::untar::{Dialect, Member, Members, What};

/// Whether the content of files is hashed: for packages that bring no `md5sums`, dpkg writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// Not at all.
    None,
    /// Every file's MD5.
    Md5,
}

/// What a member of the data archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A folder.
    Folder,
    /// A file: its content is staged under this number.
    File {
        /// Its name in the staging folder, in decimal.
        number: u32,
        /// Its content's MD5, where that was asked for.
        md5: Option<[u8; 16]>,
    },
    /// A symlink to this target.
    Symlink(Box<[u8]>),
    /// Another name of the file with this path.
    HardLink(Box<[u8]>),
    /// A device node or pipe.
    Node(Kind),
}

/// Who owns a member: as the archive's header has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Name of the user; it counts before the number where the tree knows it.
    pub user: Box<[u8]>,
    /// Name of the group.
    pub group: Box<[u8]>,
}

/// A member of the data archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Absolute path as dpkg keeps it; `/.` for the top.
    pub path: Box<[u8]>,
    /// What it is.
    pub item: Item,
    /// Permission bits.
    pub mode: u32,
    /// Its owner's place in [`Staged::owners`].
    pub owner: usize,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

/// A package whose content waits in the staging folder.
#[derive(Debug)]
pub struct Staged {
    /// The members: symlinks last, as dpkg makes them when everything else is there.
    pub entries: Vec<Entry>,
    /// The owners that occur.
    pub owners: Vec<Owner>,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Tells the workers to stop because the work is lost anyway.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Every worker ends soon, with an error that nobody sees.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stages the package called `name` into `folder`, which is empty. 65 for an archive that is damaged or hostile, or
/// that dpkg refuses; 74 where writing fails.
pub fn stage(data: impl Read, name: &str, folder: &Folder, hashing: Hashing, stop: &Stop) -> Result<Staged> {
    let mut staged = Staged { entries: Vec::new(), owners: Vec::new(), bytes: 0 };
    let mut symlinks = Vec::new();
    let mut content =
        Content { members: Members::new(data), name, folder, hashing, files: 0, buffer: vec![0; 128 << 10] };
    let refused = |why: String| Error::cannot(Exit::Description, format!("unpack {name}")).because(why);
    while let Some(member) = content.members.next_member().map_err(|error| reading(name, error))? {
        if stop.asked() {
            return Err(Error::cannot(Exit::Interrupted, format!("unpack {name}")));
        }
        let path = entry_name(&member.name).map_err(refused)?;
        let odd = |why: &str| refused(format!("{}: {why}", member.name.escape_ascii()));
        if member.dialect == Dialect::Extended {
            return Err(odd("dpkg does not read this form of tar header"));
        }
        let item = match &member.what {
            What::HardLink(target) => Item::HardLink(entry_name(target).map_err(refused)?.into()),
            What::Is(Kind::Symlink(target)) if target.is_empty() => return Err(odd("a symlink to nowhere")),
            What::Is(Kind::Symlink(target)) => Item::Symlink(target.as_slice().into()),
            What::Is(Kind::Folder) => Item::Folder,
            What::Is(Kind::File) => {
                staged.bytes += member.size;
                content.write(&member)?
            }
            What::Is(kind) => Item::Node(kind.clone()),
        };
        if path == b"/." && item != Item::Folder {
            return Err(odd("the top of the archive is no folder"));
        }
        let owner = owner_of(&member, &mut staged.owners);
        let entry = Entry { path: path.into(), item, mode: member.mode, owner, mtime: member.mtime };
        if matches!(entry.item, Item::Symlink(_)) { symlinks.push(entry) } else { staged.entries.push(entry) }
    }
    staged.entries.append(&mut symlinks);
    Ok(staged)
}

fn reading(name: &str, error: io::Error) -> Error {
    Error::cannot(Exit::Description, format!("unpack {name}"))
        .because(format!("its data archive cannot be read: {error}"))
}

fn owner_of(member: &Member, owners: &mut Vec<Owner>) -> usize {
    let same = |owner: &Owner| {
        (owner.uid, owner.gid, &*owner.user, &*owner.group)
            == (member.uid, member.gid, &*member.user_name, &*member.group_name)
    };
    owners.iter().position(same).unwrap_or_else(|| {
        let (user, group) = (member.user_name.as_slice().into(), member.group_name.as_slice().into());
        owners.push(Owner { uid: member.uid, gid: member.gid, user, group });
        owners.len() - 1
    })
}

/// The data archive, and where the content of its files goes.
struct Content<'a, R> {
    members: Members<R>,
    name: &'a str,
    folder: &'a Folder,
    hashing: Hashing,
    files: u32,
    buffer: Vec<u8>,
}

impl<R: Read> Content<'_, R> {
    /// Writes the file that the archive is at.
    fn write(&mut self, member: &Member) -> Result<Item> {
        let number = self.files;
        self.files += 1;
        let what = || format!("write {} of {}", member.name.escape_ascii(), self.name);
        let mut file = self.folder.create_file(number.to_string().as_bytes()).or_cannot(what)?;
        let mut hash = (self.hashing == Hashing::Md5).then(Md5::new);
        let mut left = member.size;
        while left > 0 {
            let length = left.min(self.buffer.len() as u64) as usize;
            let read = self.members.read(&mut self.buffer[..length]).map_err(|error| reading(self.name, error))?;
            if read == 0 {
                return Err(reading(self.name, io::ErrorKind::UnexpectedEof.into()));
            }
            file.write_all(&self.buffer[..read]).or_cannot(what)?;
            if let Some(hash) = &mut hash {
                hash.update(&self.buffer[..read]);
            }
            left -= read as u64;
        }
        describe(&file, member.uid, member.gid, member.mode, member.mtime).or_cannot(what)?;
        Ok(Item::File { number, md5: hash.map(|hash| hash.finalize().into()) })
    }
}
