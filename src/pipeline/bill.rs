//! The bill of materials of an image that is there: of a disk, a container or a root tarball, whoever made it.
//!
//! In: an artifact. Out: both documents, made from the package database in it as those of a build are. Never runs anything
//! of the image, never mounts it, never trusts it; unpacks no more of it than says which packages it has.

use std::cell::{Cell, RefCell};
use std::path::Path;

use super::inventory::{Os, component, licence_of};
use crate::audit::{self, Opened, Witness};
use crate::bytes::Bytes;
use crate::cache::Sha256;
use crate::container;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format::DiskReader;
use crate::host::file;
use crate::host::rooted::Kind;
use crate::host::untar::{Member, Owners, Verdict, What};
use crate::package::installed;
use crate::package::sbom::{self, Component, Documents, Subject, SubjectKind};
use crate::plan::ScrubPreset;
use crate::report::Step;
use crate::root::tree::Entry;
use crate::root::{RootPath, RootTree};
use crate::scrub::Standard;

/// More than the database, the licences and the links of any system take.
const MOST: Bytes = Bytes::gib(1);
/// How names of artifacts end.
const ENDS: [&str; 22] = [
    ".docker.tar",
    ".oci.tar",
    ".tar",
    ".qcow2",
    ".raw",
    ".vmdk",
    ".vhdx",
    ".vhd",
    ".vhdfixed",
    ".vdi",
    ".img",
    ".gz",
    ".xz",
    ".zst",
    ".tgz",
    ".tbz",
    ".ext4",
    ".json",
    ".bin",
    ".ova",
    ".box",
    ".wsl",
];

/// Both documents of the artifact at `path`. What has to be unpacked is unpacked in `work_dir`.
///
/// 66 where there is no such file; 65 where it is no image that this version reads, or has no package database.
pub fn of_artifact(path: &Path, work_dir: &Path, step: &Step) -> Result<Documents> {
    let make = || {
        let scratch = tempfile::Builder::new().prefix("ingot-sbom-").tempdir_in(work_dir);
        let scratch = scratch.or_cannot(|| format!("make a folder in {}", work_dir.display()))?;
        let tree = RootTree::open(scratch.path())?;
        let (kind, epoch) = match audit::open(path, work_dir, step)? {
            Opened::Disk(disk) => (SubjectKind::Machine, of_disk(disk, &tree, step)?),
            Opened::Archive(kind) => {
                step.now("reading the archive");
                let epoch = of_archive(path, &tree)?;
                (if kind == audit::Kind::Container { SubjectKind::Container } else { SubjectKind::Machine }, epoch)
            }
        };
        step.now("reading the package database");
        let mut components = Vec::<Component>::new();
        for package in installed::read(&tree)? {
            let licence = licence_of(&tree, &package)?;
            components.push(component(&package, None, licence));
        }
        if components.is_empty() {
            return Err(nothing_installed(&tree)?);
        }
        sbom::documents(&subject(path, kind, epoch, &tree)?, components)
    };
    make().map_err(|error: Error| error.within(format!("list the packages of {}", path.display())))
}

/// Why there are no packages; an image may have a list of them in place of their database.
fn nothing_installed(tree: &RootTree) -> Result<Error> {
    let error = Error::cannot(Exit::Description, "read its package database").because("it has none");
    let folder = RootPath::new(sbom::FOLDER);
    let documents = if tree.is_folder(&folder) { tree.names(&folder)? } else { Vec::new() };
    Ok(match documents.first() {
        Some(name) => error.hint(format!("the image has a bill of materials of its own: {}", folder.join(name))),
        None => error,
    })
}

fn subject(path: &Path, kind: SubjectKind, epoch: i64, tree: &RootTree) -> Result<Subject> {
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let mut stem = file.as_str();
    while let Some(shorter) = ENDS.iter().find_map(|end| stem.strip_suffix(end)).filter(|stem| !stem.is_empty()) {
        stem = shorter;
    }
    // What says exactly which artifact was read.
    let content = if file::is_folder(path) { path.join("index.json") } else { path.to_path_buf() };
    let (digest, _) = Sha256::of_reader(file::open(&content)?).or_cannot(|| format!("read {}", content.display()))?;
    let os = Os::of(tree)?;
    Ok(Subject {
        name: stem.to_string(),
        version: format!("sha256:{digest}"),
        stem: stem.to_string(),
        kind,
        epoch,
        distribution: os.id,
        release: os.version,
    })
}

/// Whether a file's content says which packages there are, or what they say of themselves.
fn is_wanted(path: &RootPath) -> bool {
    const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
    let bytes = path.as_bytes();
    let is_copyright = bytes.starts_with(b"/usr/share/doc/") && path.name() == b"copyright";
    installed::is_database(path)
        || is_copyright
        || FILES.iter().any(|file| bytes == file.as_bytes())
        || path.parent().as_bytes() == b"/var/lib/dpkg/status.d"
        || path.is_below(&RootPath::new(sbom::FOLDER))
}

/// Lays what is wanted of a container or a root tarball into the tree; returns the image's date.
fn of_archive(path: &Path, tree: &RootTree) -> Result<i64> {
    let (newest, taken) = (Cell::new(0), Cell::new(0_u64));
    let choose = |member: &Member| {
        newest.set(newest.get().max(member.mtime));
        let path = RootPath::new(&member.name);
        let wanted = match &member.what {
            What::Is(Kind::Folder | Kind::Symlink(_)) => true,
            What::Is(Kind::File) => is_wanted(&path),
            What::HardLink(target) => is_wanted(&path) && is_wanted(&RootPath::new(target)),
            What::Is(_) => false,
        };
        taken.set(taken.get().saturating_add(if wanted { member.size } else { 0 }));
        if wanted && taken.get() <= MOST.0 { Verdict::Extract } else { Verdict::Skip }
    };
    container::unpack_chosen(path, tree, Owners::Caller, choose)?;
    if taken.get() > MOST.0 {
        return Err(too_large());
    }
    Ok(newest.get())
}

fn too_large() -> Error {
    Error::cannot(Exit::Description, "read its package database").because(format!("it takes more than {MOST}"))
}

/// The same of a disk.
fn of_disk(disk: DiskReader, tree: &RootTree, step: &Step) -> Result<i64> {
    let mut kept = Kept::default();
    let look = audit::look(disk, Standard::Artifact(ScrubPreset::Vm), &mut kept, step)?;
    if !look.has_root {
        let why = match look.unread.as_slice() {
            [] => "there is no root filesystem on the disk".to_string(),
            unread => unread.join("; "),
        };
        return Err(Error::cannot(Exit::Description, "read the disk").because(why));
    }
    if kept.left_out.get() {
        return Err(too_large());
    }
    for (path, content) in kept.files.into_inner() {
        tree.create_folders(&path.parent(), 0o755)?;
        tree.write(&path, content, 0o600)?;
    }
    for (path, target) in kept.symlinks {
        if !tree.exists(&path.parent()) {
            tree.create_folders(&path.parent(), 0o755)?;
        }
        if tree.entry(&path)?.is_none() {
            tree.symlink(target, &path)?;
        }
    }
    Ok(kept.newest)
}

/// What a disk's files say of its packages.
#[derive(Debug, Default)]
struct Kept {
    files: RefCell<Vec<(RootPath, Vec<u8>)>>,
    symlinks: Vec<(RootPath, Vec<u8>)>,
    taken: Cell<u64>,
    left_out: Cell<bool>,
    newest: i64,
}

impl Witness for Kept {
    fn wants(&self, entry: &Entry) -> Bytes {
        if !is_wanted(&entry.path) {
            return Bytes::ZERO;
        }
        let taken = self.taken.get().saturating_add(entry.size.0);
        if taken > MOST.0 {
            self.left_out.set(true);
            return Bytes::ZERO;
        }
        self.taken.set(taken);
        entry.size
    }

    fn see(&mut self, entry: &Entry, content: Vec<u8>) {
        self.newest = self.newest.max(entry.mtime);
        match &entry.kind {
            Kind::File if is_wanted(&entry.path) => self.files.get_mut().push((entry.path.clone(), content)),
            Kind::Symlink(target) => self.symlinks.push((entry.path.clone(), target.clone())),
            _ => {}
        }
    }
}
