//! Laying the description's folders, tarballs, archives and files over the tree.
//!
//! In: folders and files of the description. Out: entries of the tree, and their paths, for the scrub to know what was
//! meant to be there. Never writes outside the tree: symlinks, in the overlay or in the tree, are resolved inside it.
//!
//! Owners become root; modes, times, hard links, holes, ACLs and extended attributes stay. A folder that the tree has
//! already keeps its own mode and time, unlike with KIWI: a checkout made under another umask must not open `/root`, nor
//! close `/tmp`. Where the tree has a symlink to a folder (`/lib` of a merged /usr), an overlay's folder is laid into
//! the folder that it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::account::Accounts;
use super::tree::{Entry, Kind, RootPath, RootTree, Rooted};
use crate::error::{Error, Exit, OrCannot, Result, Warning};
use crate::host::file;
use crate::host::untar::{self, Folders, Owners, Policy, Replace, Verdict};
use crate::plan::{Archive, File as PlannedFile, Overlay};
use crate::report::Reporter;

/// Extended attributes that belong to the content. Labels of the build host (`security.selinux`, `security.ima`) and
/// what its filesystems keep for themselves (`trusted.*`) do not.
const KEPT_ATTRIBUTES: [&[u8]; 3] = [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];

/// Lays one overlay over the tree; adds what it brought to `described`.
pub(super) fn lay(
    overlay: &Overlay,
    tree: &RootTree,
    described: &mut BTreeSet<RootPath>,
    reporter: &Reporter,
) -> Result<()> {
    match overlay {
        Overlay::Folder(folder) => {
            let source = Rooted::open(folder)?;
            lay_folder(&source, tree, described, reporter).map_err(|error| within(error, folder))
        }
        Overlay::Tarball(path) => {
            let policy = Policy { owners: Owners::Root, folders: Folders::Kept, replace: Replace::Files };
            unpack(path, &RootPath::root(), policy, tree, described, reporter).map_err(|error| within(error, path))
        }
    }
}

fn within(error: Error, path: &Path) -> Error {
    // What is wrong with an overlay's content is wrong with the description.
    let missing = error.exit() == Exit::InputMissing;
    let error = error.within(format!("lay {} over the image", path.display()));
    if missing { error.with_exit(Exit::Description) } else { error }
}

/// Extracts an `<archive>` in its target folder, owners as the archive has them.
pub(super) fn extract(
    archive: &Archive,
    tree: &RootTree,
    described: &mut BTreeSet<RootPath>,
    reporter: &Reporter,
) -> Result<()> {
    let policy = Policy { owners: Owners::FromArchive, folders: Folders::Updated, replace: Replace::Files };
    unpack(&archive.path, &RootPath::new(&archive.target), policy, tree, described, reporter)
        .map_err(|error| within(error, &archive.path).at(archive.place.clone()))
}

fn unpack(
    path: &Path,
    at: &RootPath,
    policy: Policy,
    tree: &RootTree,
    described: &mut BTreeSet<RootPath>,
    reporter: &Reporter,
) -> Result<()> {
    let archive = untar::decompressed(file::open(path)?)?;
    let there = tree.exists(at);
    let summary = untar::extract_chosen(archive, tree, at, policy, |member| {
        let name = RootPath::new(&member.name);
        // Whoever packed `.` did not mean to say how `/` is to look.
        if there && name == RootPath::root() {
            return Ok(Verdict::Skip);
        }
        described.insert(at.join(name.relative()));
        Ok(Verdict::Extract)
    })?;
    for text in summary.left_out {
        reporter.warn(Warning { text: format!("{}: {text}", path.display()), place: None });
    }
    Ok(())
}

fn lay_folder(source: &Rooted, tree: &RootTree, described: &mut BTreeSet<RootPath>, reporter: &Reporter) -> Result<()> {
    let mut links: BTreeMap<(u64, u64), RootPath> = BTreeMap::new();
    let mut folders = Vec::new();
    for entry in source.walk(&RootPath::root())?.into_iter().skip(1) {
        let path = &entry.path;
        match &entry.kind {
            Kind::Folder => {
                if make_folder(path, tree)? {
                    folders.push(entry.clone());
                }
            }
            Kind::Socket => {
                let text = format!("the overlay's socket {path} is left out: only the program that made it can use it");
                reporter.warn(Warning { text, place: None });
                continue;
            }
            kind => {
                make_way(path, tree)?;
                match (kind, links.get(&entry.inode)) {
                    (_, Some(first)) => tree.hard_link(first, path)?,
                    (Kind::File, None) => copy_file(source, &entry, tree)?,
                    (Kind::Symlink(target), None) => tree.symlink(target, path)?,
                    (kind, None) => tree.make_node(path, kind, entry.mode)?,
                }
                if !links.contains_key(&entry.inode) {
                    describe(source, &entry, tree)?;
                }
                if entry.links > 1 {
                    links.entry(entry.inode).or_insert_with(|| path.clone());
                }
            }
        }
        described.insert(path.clone());
    }
    // Last, inner ones first: what is laid into a folder changes its time.
    folders.iter().rev().try_for_each(|entry| describe(source, entry, tree))
}

/// Makes the folder unless the tree has one; whether it is new.
fn make_folder(path: &RootPath, tree: &RootTree) -> Result<bool> {
    match tree.entry(path)? {
        Some(there) if there.is_folder() => return Ok(false),
        // `/lib64 -> usr/lib64` before anything is in it: the folder is made where the symlink leads.
        Some(Entry { kind: Kind::Symlink(target), .. }) => {
            if !tree.exists(path) {
                let folder = if target.starts_with(b"/") { RootPath::new(target) } else { path.parent().join(target) };
                tree.create_folders(&folder, 0o755)?;
            }
            if tree.is_folder(path) {
                return Ok(false);
            }
            tree.remove(path)?;
        }
        Some(_) => tree.remove(path)?,
        None => {}
    }
    tree.create_folders(path, 0o755)?;
    Ok(true)
}

/// Removes a file, symlink or empty folder that stands where something else is laid.
fn make_way(path: &RootPath, tree: &RootTree) -> Result<()> {
    let Some(there) = tree.entry(path)? else { return tree.create_folders(&path.parent(), 0o755) };
    if there.is_folder() && !tree.names(path)?.is_empty() {
        return Err(Error::cannot(Exit::Description, format!("put {path} into the image"))
            .because("a folder with something in it stands there"));
    }
    tree.remove(path)
}

fn copy_file(source: &Rooted, entry: &Entry, tree: &RootTree) -> Result<()> {
    let from = source.open_file(&entry.path)?;
    let to = tree.create_file(&entry.path, 0o600)?;
    copy_data(&from, &to).or_cannot(|| format!("write {} in the image", entry.path))
}

/// Copies what is in a file, holes as holes.
fn copy_data(from: &File, to: &File) -> std::io::Result<()> {
    to.set_len(from.metadata()?.len())?;
    let mut buffer = vec![0; 128 << 10];
    for range in file::data_ranges(from).map_err(std::io::Error::other)? {
        let mut at = range.start;
        while at < range.end {
            let want = (range.end - at).min(buffer.len() as u64) as usize;
            let read = from.read_at(&mut buffer[..want], at)?;
            if read == 0 {
                break;
            }
            to.write_all_at(&buffer[..read], at)?;
            at += read as u64;
        }
    }
    Ok(())
}

/// Owner, mode, attributes and time, in the order in which one does not undo the other.
fn describe(source: &Rooted, entry: &Entry, tree: &RootTree) -> Result<()> {
    let path = &entry.path;
    tree.set_owner(path, 0, 0)?;
    if !matches!(entry.kind, Kind::Symlink(_)) {
        tree.set_mode(path, entry.mode)?;
        for (name, value) in source.xattrs(path)? {
            if name.starts_with(b"user.") || KEPT_ATTRIBUTES.contains(&name.as_slice()) {
                tree.set_xattr(path, &name, &value)?;
            }
        }
    }
    tree.set_mtime(path, entry.mtime)
}

/// Copies a `<file>` to its target, with its owner and mode.
pub(super) fn place(planned: &PlannedFile, tree: &RootTree, described: &mut BTreeSet<RootPath>) -> Result<()> {
    let mut place = || {
        let name = planned.path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let target = RootPath::new(&planned.target);
        let target = if planned.target.ends_with('/') { target.join(&name) } else { target };
        let (uid, gid) = match &planned.owner {
            Some(owner) => Accounts::read(tree)?.owner(owner)?,
            None => (0, 0),
        };
        let from = file::open(&planned.path)?;
        let metadata = from.metadata().or_cannot(|| format!("look at {}", planned.path.display()))?;
        if !metadata.is_file() {
            return Err(Error::cannot(Exit::Description, format!("copy {}", planned.path.display()))
                .because("it is not a regular file"));
        }
        make_way(&target, tree)?;
        let to = tree.create_file(&target, 0o600)?;
        copy_data(&from, &to).or_cannot(|| format!("write {target} in the image"))?;
        tree.set_owner(&target, uid, gid)?;
        tree.set_mode(&target, planned.mode.unwrap_or(metadata.mode() & 0o7777))?;
        tree.set_mtime(&target, metadata.mtime())?;
        described.insert(target);
        Ok(())
    };
    place().map_err(|error: Error| error.at(planned.place.clone()))
}
