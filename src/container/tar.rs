//! A tree as a tar stream.
//!
//! In: a [`ScrubbedTree`]. Out: the same bytes for the same tree: sorted names, numeric owners, times clamped to the
//! image's date, hard links, devices, extended attributes. Never crosses into another filesystem, never carries what
//! only means something on the host that built it.

use std::collections::HashMap;
use std::io::{Read, Write};

use super::header::{BLOCK, Header, Type};
use crate::error::{Error, Exit, OrCannot, Result, Warning};
use crate::host::rooted::{Entry, Kind, RootPath, Rooted};
use crate::report::Step;
use crate::scrub::ScrubbedTree;

/// Folders whose content belongs to a running system and never into an archive.
const EMPTY: &[&str] = &["/dev", "/proc", "/run", "/sys", "/tmp"];

/// Writes every entry of the tree and the end of the archive to `out`. Names have no leading `./`; the tree's root is
/// the member `./`. Sockets are left out with a warning.
pub fn write(tree: &ScrubbedTree, out: &mut impl Write, step: &Step) -> Result<()> {
    let entries: Vec<Entry> =
        tree.tree().walk(&RootPath::root())?.into_iter().filter(|entry| belongs(&entry.path)).collect();
    step.total(entries.len() as u64);
    let mut writer = TarWriter { tree: tree.tree(), epoch: tree.epoch(), out, links: HashMap::new(), step };
    let mut buffer = vec![0; 256 << 10];
    for entry in &entries {
        writer.entry(entry, &mut buffer)?;
    }
    // Two blocks of zeros end an archive.
    writer.out.write_all(&[0; 2 * BLOCK]).or_cannot(|| "write the archive")
}

fn belongs(path: &RootPath) -> bool {
    let inside = |folder: &&str| path.is_below(&RootPath::new(folder)) && *path != RootPath::new(folder);
    !EMPTY.iter().any(inside)
}

struct TarWriter<'a, W> {
    tree: &'a Rooted,
    epoch: i64,
    out: &'a mut W,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    step: &'a Step,
}

impl<W: Write> TarWriter<'_, W> {
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
        let mut xattrs = self.tree.xattrs(path)?;
        xattrs.retain(|(name, _)| travels(name));
        let strange = |(name, _): &(Vec<u8>, Vec<u8>)| name.contains(&b'=');
        for (name, _) in xattrs.extract_if(.., |xattr| strange(xattr)) {
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

/// Labels of the host's security modules, and what its overlay mounts keep, mean nothing elsewhere.
fn travels(name: &[u8]) -> bool {
    let host_only: &[&[u8]] = &[b"security.selinux", b"security.evm", b"security.apparmor", b"security.SMACK64"];
    let acl: &[&[u8]] = &[b"system.posix_acl_access", b"system.posix_acl_default"];
    if name.starts_with(b"system.") {
        return acl.contains(&name);
    }
    !host_only.iter().any(|prefix| name.starts_with(prefix))
        && !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
}
