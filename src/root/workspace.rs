//! The place where the tree grows: a scratch filesystem of its own, or a plain folder.
//!
//! In: a folder for scratch data. Out: a [`Workspace`] with an empty tree. As root the tree lives on a filesystem in a
//! sparse file on an autoclear loop device: it bounds what a build can write, behaves the same on every host, and is
//! gone in one step. Never ships: disks get fresh filesystems, filled from the tree.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::tree::{RootPath, RootTree};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result, Warning};
use crate::host::lock::{self, FolderLock};
use crate::host::loop_device::{Access, LoopDevice};
use crate::host::mount::Mount;
use crate::host::program::Program;
use crate::host::readahead::ReadAhead;
use crate::host::{file, namespace};
use crate::report::Reporter;

/// Work folders of all builds start with this; what is not locked is swept.
const PREFIX: &str = "ingot-work-";
/// The scratch filesystem's identifier and hash seed. Fixed, so that folders list their entries in the same order in
/// every build, whatever programs make of it.
const IDENTIFIER: &str = "696e676f-7400-4000-8000-73637261746b";
/// The scratch filesystem's image in the work folder.
const IMAGE: &str = "scratch";
/// No scratch filesystem is larger: its metadata would cost more than it gives.
const LARGEST: Bytes = Bytes::gib(256);
/// Below this a build of anything fails anyway.
const SMALLEST: Bytes = Bytes::mib(64);
/// A filesystem with less than this is full.
const FULL: Bytes = Bytes::mib(4);

/// Where the tree lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceKind {
    /// A scratch filesystem on a loop device; a folder, with a warning, where the host has none.
    Loop,
    /// A folder of the host's filesystem.
    Folder,
}

/// A locked work folder and the filesystem in it.
#[derive(Debug)]
pub struct Workspace {
    kind: WorkspaceKind,
    // Dropped in this order.
    ahead: Option<ReadAhead>,
    scratch: Option<Scratch>,
    leaving: Option<JoinHandle<Result<()>>>,
    /// Whether other builds have workspaces in this one, or it is in another one.
    is_shared: bool,
    folder: WorkFolder,
}

#[derive(Debug)]
struct Scratch {
    mount: Mount,
    device: LoopDevice,
    length: Bytes,
    /// Whether the tree was here when it was mounted: the least part of it is in memory only.
    was_filled: bool,
}

/// Removes itself.
#[derive(Debug)]
struct WorkFolder {
    path: PathBuf,
    _lock: FolderLock,
}

impl Workspace {
    /// Sweeps what killed builds left in `parent` and makes a new work folder there, without a tree. 74 where it cannot
    /// be made.
    pub fn create(parent: &Path, kind: WorkspaceKind) -> Result<Workspace> {
        file::create_folders(parent)?;
        let parent = file::canonical(parent)?;
        Workspace::sweep(&parent)?;
        let (path, lock) = lock::create_locked(&parent, PREFIX)?;
        let folder = WorkFolder { path, _lock: lock };
        Ok(Workspace { kind, ahead: None, scratch: None, leaving: None, is_shared: false, folder })
    }

    /// Makes an empty tree. 74 where there is no space, 69 where mke2fs is missing or programs may not be run there.
    pub fn lay_out(&mut self, reporter: &Reporter) -> Result<()> {
        self.scratch = match self.kind {
            WorkspaceKind::Folder => None,
            WorkspaceKind::Loop => match Scratch::create(&self.folder.path, reporter) {
                Ok(scratch) => Some(scratch),
                Err(NoScratch::NoLoopDevice(error)) => {
                    let text = format!("the tree is built in a plain folder, nothing bounds its size: {error}");
                    reporter.warn(Warning { text, place: None });
                    self.kind = WorkspaceKind::Folder;
                    None
                }
                Err(NoScratch::Failed(error)) => return Err(error),
            },
        };
        if self.kind == WorkspaceKind::Folder && file::executes_nothing(&self.folder.path)? {
            return Err(Error::cannot(Exit::HostLacks, "run programs of the image")
                .because(format!("{} is on a filesystem that is mounted noexec", self.folder.path.display()))
                .hint("choose another place with `--work-dir`, or give the build a loop device"));
        }
        file::create_folders(&self.tree_path())?;
        let tree = self.tree()?;
        tree.set_mode(&RootPath::root(), 0o755)?;
        // Every system has them, and every sandbox mounts on them.
        for (path, mode) in [("/dev", 0o755), ("/proc", 0o755), ("/run", 0o755), ("/sys", 0o755), ("/tmp", 0o1777)] {
            tree.create_folders(&path.into(), mode)?;
        }
        Ok(())
    }

    /// What the tree is in, now: without a loop device it is a folder, whatever was asked for.
    pub fn kind(&self) -> WorkspaceKind {
        self.kind
    }

    /// Puts a tree here that [`Workspace::freeze`] showed: `fill` writes the image of its filesystem, `length` bytes,
    /// into an empty file, and says whether it succeeded. False where it did not, or where there is no loop device:
    /// then there is no tree yet.
    pub fn restore(&mut self, length: Bytes, fill: impl FnOnce(&File) -> Result<bool>) -> Result<bool> {
        if self.kind == WorkspaceKind::Folder {
            return Ok(false);
        }
        let image = self.folder.path.join(IMAGE);
        if !fill(&file::create(&image)?)? {
            file::remove(&image)?;
            return Ok(false);
        }
        self.adopt(&image, length)
    }

    /// Takes the image of a tree's filesystem, `length` bytes, that is in the work folder already. False where there is
    /// no loop device.
    pub fn adopt(&mut self, image: &Path, length: Bytes) -> Result<bool> {
        file::rename(image, &self.folder.path.join(IMAGE))?;
        match Scratch::mount(&self.folder.path, length) {
            Ok(scratch) => self.scratch = Some(scratch),
            // `lay_out` meets the same and says so.
            Err(NoScratch::NoLoopDevice(_)) => return Ok(false),
            Err(NoScratch::Failed(error)) => return Err(error),
        }
        // Its content is in the image, and not yet in the filesystem's own memory.
        self.ahead = Some(ReadAhead::begin(&self.tree_path()));
        Ok(true)
    }

    /// Shows the image of the tree's filesystem and its length while nothing changes in it. Kills what programs left
    /// running. `None` where the tree is in a folder, or something keeps a file in it open for writing.
    pub fn freeze<T>(&self, look: impl FnOnce(&File, Bytes) -> Result<T>) -> Result<Option<T>> {
        let Some(scratch) = &self.scratch else { return Ok(None) };
        namespace::kill_everything_else()?;
        if !scratch.mount.forbid_writing()? {
            return Ok(None);
        }
        let seen = file::open(&self.folder.path.join(IMAGE)).and_then(|image| look(&image, scratch.length));
        scratch.mount.allow_writing()?;
        seen.map(Some)
    }

    /// Another workspace with the same tree, inside this one; `copy` copies the image of a filesystem, `length` bytes,
    /// into an empty file.
    pub fn branch(
        &mut self,
        reporter: &Reporter,
        copy: impl FnOnce(&File, &File, Bytes) -> Result<()>,
    ) -> Result<Workspace> {
        let mut branch = Workspace::create(&self.folder.path, self.kind)?;
        self.is_shared = true;
        branch.is_shared = true;
        let copied = self.freeze(|from, length| {
            branch.restore(length, |to| {
                to.set_len(length.0).or_cannot(|| "make room for a second tree")?;
                copy(from, to, length).map(|()| true)
            })
        })?;
        if copied != Some(true) {
            branch.lay_out(reporter)?;
            branch.fill_from(&self.tree_path(), reporter)?;
        }
        Ok(branch)
    }

    /// Removes what killed builds left in `parent`; what a build is using stays. [`Workspace::create`] does it, too: this
    /// is for the process that outlives a build which a second signal killed.
    pub fn sweep(parent: &Path) -> Result<()> {
        lock::sweep(parent, PREFIX)
    }

    fn tree_path(&self) -> PathBuf {
        match &self.scratch {
            Some(scratch) => scratch.mount.path().join("tree"),
            None => self.folder.path.join("tree"),
        }
    }

    /// The tree. Drop it before [`Workspace::close`].
    pub fn tree(&self) -> Result<RootTree> {
        RootTree::open(&self.tree_path())
    }

    /// The work folder, for scratch data of other stages; gone with the workspace.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Adds to an error that the workspace is full, if it is: then that is the cause (74), whatever a program said.
    pub fn explain(&self, error: Error) -> Error {
        let tree = self.tree_path();
        for place in [tree.as_path(), self.folder.path.as_path()] {
            if file::free_space(place).is_ok_and(|free| free < FULL) {
                let cause = format!("the filesystem that holds {} is full", place.display());
                let hint = "choose a larger place with `--work-dir`";
                return error.with_exit(Exit::Io).because(cause).better_hint(hint);
            }
            if file::lacks_inodes(place).unwrap_or(false) {
                let cause = format!("the filesystem that holds {} has no inodes left", place.display());
                let hint = "remove files there, or choose a larger place with `--work-dir`";
                return error.with_exit(Exit::Io).because(cause).better_hint(hint);
            }
        }
        error
    }

    /// Fills the empty tree with a copy of the one in `folder`, which stays as it is.
    pub fn fill_from(&self, folder: &Path, reporter: &Reporter) -> Result<()> {
        // `/.`: what is in the folder, and its own mode and time.
        let copy = Program::new("cp").args(["--archive", "--sparse=auto", "--one-file-system", "--"]);
        let copied = copy.arg(folder.join(".")).arg(self.tree_path()).run(reporter);
        copied.map(drop).map_err(|error| error.within(format!("copy the tree in {}", folder.display())))
    }

    /// Copies the tree as it is to `folder`, for a person to look at: all of it or nothing. 73 where something is there
    /// already.
    pub fn keep(&self, folder: &Path, reporter: &Reporter) -> Result<()> {
        let what = || format!("keep the tree in {}", folder.display());
        if !file::exists(&self.tree_path()) {
            reporter.say("there is no tree to keep yet");
            return Ok(());
        }
        if file::exists(folder) {
            return Err(Error::cannot(Exit::CannotCreate, what()).because("it exists already"));
        }
        if let Some(parent) = folder.parent() {
            file::create_folders(parent)?;
        }
        let copy = Program::new("cp").args(["--archive", "--sparse=auto", "--one-file-system", "--"]);
        let copied = copy.arg(self.tree_path()).arg(file::absolute(folder)?).run(reporter);
        copied.map(drop).map_err(|error| {
            // Half a tree is of no use, and takes the room that the log needs.
            let _ = file::remove_tree(folder);
            error.within(what())
        })
    }

    /// Ends the reading ahead of what [`Workspace::restore`] put here: before somebody looks at which files are opened.
    pub fn read_no_further(&mut self) {
        self.ahead = None;
    }

    /// Begins to clear the tree away, which nobody needs any more, while the build goes on; [`Workspace::close`] says how that
    /// ended. Kills what programs left running. Does nothing where another output is made at the same time.
    pub fn leave(&mut self) -> Result<()> {
        if !self.is_shared {
            namespace::kill_everything_else()?;
            let (tree, image) = (self.tree_path(), self.folder.path.join(IMAGE));
            let (ahead, scratch) = (self.ahead.take(), self.scratch.take());
            self.leaving = Some(std::thread::spawn(move || {
                drop(ahead);
                clear(&tree, scratch)?;
                file::remove_tree(&image)
            }));
        }
        Ok(())
    }

    /// Kills what programs left running, unmounts, detaches and removes everything.
    pub fn close(self) -> Result<()> {
        namespace::kill_everything_else()?;
        let tree = self.tree_path();
        let Workspace { scratch, folder, ahead, leaving, .. } = self;
        drop(ahead);
        match leaving.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))) {
            Some(left) => left?,
            None => clear(&tree, scratch)?,
        }
        file::remove_tree(&folder.path)
    }
}

fn clear(tree: &Path, scratch: Option<Scratch>) -> Result<()> {
    // Unmounting writes everything back that is in memory only, unless it is deleted.
    if !scratch.as_ref().is_some_and(|scratch| scratch.was_filled) {
        file::remove_tree(tree)?;
    }
    if let Some(Scratch { mount, device, .. }) = scratch {
        mount.close()?;
        device.close()?;
    }
    Ok(())
}

impl Drop for WorkFolder {
    /// The fallback when a build failed; what cannot be removed now is swept by the next build.
    fn drop(&mut self) {
        let _ = file::remove_tree(&self.path);
    }
}

/// Why there is no scratch filesystem.
enum NoScratch {
    NoLoopDevice(Error),
    Failed(Error),
}

impl From<Error> for NoScratch {
    fn from(error: Error) -> NoScratch {
        NoScratch::Failed(error)
    }
}

impl Scratch {
    fn create(folder: &Path, reporter: &Reporter) -> Result<Scratch, NoScratch> {
        let image = folder.join(IMAGE);
        let free = file::free_space(folder)?;
        // The host keeps a twentieth of what is free.
        let size = Bytes(free.0 / 20 * 19).min(LARGEST).align_down(Bytes::mib(1));
        if size < SMALLEST {
            return Err(NoScratch::Failed(
                Error::cannot(Exit::Io, format!("build in {}", folder.display()))
                    .because(format!("its filesystem has only {free} free"))
                    .hint("choose a larger place with `--work-dir`"),
            ));
        }
        file::create(&image)?.set_len(size.0).or_cannot(|| format!("make {}", image.display()))?;
        let device = Scratch::attach(folder, size)?;
        // No journal, no checksums, nothing reserved, no inode tables written before they are needed: it lives an hour.
        Program::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-i", "8192", "-I", "256", "-U", IDENTIFIER])
            .args(["-O", "^has_journal,^metadata_csum,^resize_inode"])
            .args(["-E", &format!("hash_seed={IDENTIFIER},lazy_itable_init=1,nodiscard,root_owner=0:0")])
            .arg(device.path())
            .run(reporter)?;
        Ok(Scratch::mount_device(folder, device, size, false)?)
    }

    /// The filesystem that is in the image already.
    fn mount(folder: &Path, length: Bytes) -> Result<Scratch, NoScratch> {
        Ok(Scratch::mount_device(folder, Scratch::attach(folder, length)?, length, true)?)
    }

    fn attach(folder: &Path, length: Bytes) -> Result<LoopDevice, NoScratch> {
        LoopDevice::attach(&folder.join(IMAGE), Bytes(0), length, Access::Write).map_err(|error| {
            let no_device = error.exit() == Exit::HostLacks;
            if no_device { NoScratch::NoLoopDevice(error) } else { NoScratch::Failed(error) }
        })
    }

    fn mount_device(folder: &Path, device: LoopDevice, length: Bytes, was_filled: bool) -> Result<Scratch> {
        let target = folder.join("mounted");
        file::create_folder(&target)?;
        let mount = Mount::device(device.path(), &target, "ext4", Access::Write, "noinit_itable")?;
        Ok(Scratch { mount, device, length, was_filled })
    }
}
