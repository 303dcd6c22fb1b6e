//! The place where the tree grows: a scratch filesystem of its own, or a plain folder.
//!
//! In: a folder for scratch data. Out: a [`Workspace`] with an empty tree. As root the tree lives on a filesystem in a
//! sparse file on an autoclear loop device. From a moment on that tree can stay as it is, and whatever becomes different
//! goes to a second such filesystem ([`Workspace::cover`]): then another workspace may show it, too, and a later build.
//! Never ships: disks get fresh filesystems, filled from the tree.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::known::{Ground, Known, Notes};
use super::scratch::{NoScratch, Scratch, TREE};
use super::tree::{RootPath, RootTree};
use super::view::View;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result, Warning};
use crate::host::lock::{self, FolderLock};
use crate::host::program::Program;
use crate::host::readahead::ReadAhead;
use crate::host::{file, namespace, signal};
use crate::report::Reporter;

/// Work folders of all builds start with this; what is not locked is swept.
const PREFIX: &str = "ingot-work-";
/// The tree's folder, in its filesystem or in the work folder.
const FOLDER: &str = "tree";
/// The scratch filesystem's image in the work folder.
const IMAGE: &str = "scratch";
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
    view: Option<View>,
    /// For a view that is still to come.
    changes: Option<Scratch>,
    /// Other views may show it, too.
    scratch: Option<Arc<Scratch>>,
    /// What is done with a tree that stays as it is, while the build goes on.
    aside: Option<JoinHandle<()>>,
    leaving: Option<JoinHandle<Result<()>>>,
    /// Whether other builds have workspaces in this one, or it is in another one.
    is_shared: bool,
    folder: WorkFolder,
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
        let (ahead, view, changes, scratch, aside, leaving) = (None, None, None, None, None, None);
        Ok(Workspace { kind, ahead, view, changes, scratch, aside, leaving, is_shared: false, folder })
    }

    /// Makes an empty tree. 74 where there is no space, 69 where mke2fs is missing or programs may not be run there.
    pub fn lay_out(&mut self, reporter: &Reporter) -> Result<()> {
        self.scratch = match self.kind {
            WorkspaceKind::Folder => None,
            WorkspaceKind::Loop => match Scratch::create(&self.folder.path, TREE, reporter) {
                Ok(scratch) => Some(Arc::new(scratch)),
                Err(NoScratch::Host(error)) => {
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

    /// Prepares [`Workspace::cover`] or [`Workspace::show`], while somebody else resolves packages. 74 where there is no space.
    pub fn make_ready(&mut self, reporter: &Reporter) -> Result<()> {
        if self.kind == WorkspaceKind::Loop && self.view.is_none() && self.changes.is_none() {
            self.changes = match View::make_ready(&self.folder.path, reporter) {
                Ok(changes) => Some(changes),
                // Whoever needs it meets the same and says so.
                Err(NoScratch::Host(_)) => None,
                Err(NoScratch::Failed(error)) => return Err(error),
            };
        }
        Ok(())
    }

    /// Whether there is a tree.
    pub fn is_laid_out(&self) -> bool {
        file::is_folder(&self.tree_path())
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
        match Scratch::filled(&self.folder.path, TREE, length) {
            Ok(scratch) => self.scratch = Some(Arc::new(scratch)),
            // `lay_out` meets the same and says so.
            Err(NoScratch::Host(_)) => return Ok(false),
            Err(NoScratch::Failed(error)) => return Err(error),
        }
        self.read_ahead();
        Ok(true)
    }

    /// Shows the tree in the image of a filesystem, `length` bytes, which stays as it is, as after [`Workspace::cover`]. False,
    /// and a line in the log, where the host cannot: then there is no tree yet.
    pub fn show(&mut self, image: &File, length: Bytes, reporter: &Reporter) -> Result<bool> {
        if self.kind == WorkspaceKind::Folder {
            return Ok(false);
        }
        let shown = Scratch::shown(&self.folder.path, TREE, image, length).and_then(|scratch| {
            let view = View::open(&self.folder.path, &scratch.path().join(FOLDER), self.changes.take(), reporter)?;
            Ok((scratch, view))
        });
        let Some((scratch, view)) = or_copied(shown, reporter)? else { return Ok(false) };
        (self.scratch, self.view) = (Some(Arc::new(scratch)), Some(view));
        self.read_ahead();
        Ok(true)
    }

    /// From here on the tree's filesystem stays as it is, and changes go to one of their own. Kills what programs left
    /// running. The tree must hold nothing that overlayfs takes for a mark of its own. False where the tree is in a
    /// folder, and, with a line in the log, where the host cannot.
    pub fn cover(&mut self, reporter: &Reporter) -> Result<bool> {
        let (Some(scratch), None) = (&self.scratch, &self.view) else { return Ok(self.view.is_some()) };
        namespace::kill_everything_else()?;
        let view = View::open(&self.folder.path, &scratch.path().join(FOLDER), self.changes.take(), reporter);
        self.view = or_copied(view, reporter)?;
        Ok(self.view.is_some())
    }

    /// Its content is in the image, and not yet in the filesystem's own memory. A view shows what is in memory there.
    fn read_ahead(&mut self) {
        self.ahead = self.scratch.as_ref().map(|scratch| ReadAhead::begin(&scratch.path().join(FOLDER)));
    }

    /// Does `work` with the image of the tree that is covered, and its length, while the build goes on; without them where
    /// something still writes to it. False, and nothing is done, where there is no such image of ours.
    pub fn aside(&mut self, work: impl FnOnce(Option<(&Path, Bytes)>) + Send + 'static) -> bool {
        let (Some(scratch), Some(_), None) = (&self.scratch, &self.view, &self.aside) else { return false };
        let scratch = Arc::clone(scratch);
        let Some(image) = scratch.image().map(Path::to_path_buf) else { return false };
        self.aside = Some(std::thread::spawn(move || {
            let is_written = signal::caught().is_none() && matches!(scratch.write_out(), Ok(true));
            work(is_written.then_some((&image, scratch.length())));
        }));
        true
    }

    /// Shows the image of the tree's filesystem and its length while nothing changes in it. Kills what programs left
    /// running. `None` where the tree is in a folder, or covered, or something keeps a file in it open for writing.
    pub fn freeze<T>(&self, look: impl FnOnce(&File, Bytes) -> Result<T>) -> Result<Option<T>> {
        let (Some(scratch), None) = (&self.scratch, &self.view) else { return Ok(None) };
        namespace::kill_everything_else()?;
        let Some(image) = scratch.image() else { return Ok(None) };
        scratch.frozen(|| file::open(image).and_then(|image| look(&image, scratch.length())))
    }

    /// Another workspace with the same tree, inside this one; `copy` copies the image of a filesystem, `length` bytes,
    /// into an empty file, where the tree is not covered.
    pub fn branch(
        &mut self,
        reporter: &Reporter,
        copy: impl FnOnce(&File, &File, Bytes) -> Result<()>,
    ) -> Result<Workspace> {
        let mut branch = Workspace::create(&self.folder.path, self.kind)?;
        self.is_shared = true;
        branch.is_shared = true;
        if let (Some(scratch), Some(view)) = (&self.scratch, &self.view)
            && view.is_unchanged()?
        {
            let view = View::open(&branch.folder.path, &scratch.path().join(FOLDER), None, reporter);
            branch.view = or_copied(view, reporter)?;
            if branch.view.is_some() {
                branch.scratch = Some(Arc::clone(scratch));
                return Ok(branch);
            }
        }
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
        match (&self.view, &self.scratch) {
            (Some(view), _) => view.path().to_path_buf(),
            (None, Some(scratch)) => scratch.path().join(FOLDER),
            (None, None) => self.folder.path.join(FOLDER),
        }
    }

    /// The tree. Drop it before [`Workspace::close`].
    pub fn tree(&self) -> Result<RootTree> {
        RootTree::open(&self.tree_path())
    }

    /// The tree, and `notes` about what it was when it was covered; `ground` names exactly that. Without them where it is not.
    pub fn tree_knowing(&self, ground: &Ground, notes: Notes) -> Result<RootTree> {
        let tree = self.tree()?;
        let (Some(scratch), Some(view)) = (&self.scratch, &self.view) else { return Ok(tree) };
        Ok(tree.knowing(Known::new(Arc::clone(ground), scratch.path().join(FOLDER), view.upper(), notes)))
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

    /// 74 where something of the tree was written to a disk that is full or failed, so that it may be read as something else:
    /// nothing that was made of the tree may be used then.
    pub fn nothing_is_lost(&self) -> Result<()> {
        self.view.as_ref().map_or(Ok(()), View::nothing_is_lost)?;
        self.scratch.as_ref().map_or(Ok(()), |scratch| scratch.nothing_is_lost())
    }

    /// Ends the reading ahead: before somebody looks at which files are opened.
    pub fn read_no_further(&mut self) {
        self.ahead = None;
    }

    /// Begins to clear the tree away, which nobody needs any more, while the build goes on; [`Workspace::close`] says how that
    /// ended. Kills what programs left running. Does nothing where another output is made at the same time.
    pub fn leave(&mut self) -> Result<()> {
        if !self.is_shared {
            namespace::kill_everything_else()?;
            let grounds = self.take_grounds();
            self.leaving = Some(std::thread::spawn(move || grounds.clear()));
        }
        Ok(())
    }

    /// Kills what programs left running, unmounts, detaches and removes everything.
    pub fn close(mut self) -> Result<()> {
        namespace::kill_everything_else()?;
        match self.leaving.take().map(joined) {
            Some(left) => left?,
            None => self.take_grounds().clear()?,
        }
        file::remove_tree(&self.folder.path)
    }

    fn take_grounds(&mut self) -> Grounds {
        let folder = self.scratch.is_none().then(|| self.tree_path());
        let (ahead, view, changes) = (self.ahead.take(), self.view.take(), self.changes.take());
        Grounds { ahead, view, changes, scratch: self.scratch.take(), aside: self.aside.take(), folder }
    }
}

/// What a tree stands on, until it is cleared away.
struct Grounds {
    ahead: Option<ReadAhead>,
    view: Option<View>,
    changes: Option<Scratch>,
    scratch: Option<Arc<Scratch>>,
    aside: Option<JoinHandle<()>>,
    /// The tree, where it has no filesystem of its own.
    folder: Option<PathBuf>,
}

impl Grounds {
    fn clear(self) -> Result<()> {
        drop(self.ahead);
        if let Some(aside) = self.aside {
            joined(aside);
        }
        if let Some(view) = self.view {
            view.close()?;
        }
        if let Some(changes) = self.changes {
            changes.clear(&[])?;
        }
        // Whoever shows the same tree last clears it away.
        if let Some(scratch) = self.scratch.and_then(Arc::into_inner) {
            scratch.clear(&[FOLDER])?;
        }
        self.folder.map_or(Ok(()), |folder| file::remove_tree(&folder))
    }
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// `None`, and a line in the log, where the host cannot: then what would have been shown is copied.
fn or_copied<T>(shown: Result<T, NoScratch>, reporter: &Reporter) -> Result<Option<T>> {
    match shown {
        Ok(shown) => Ok(Some(shown)),
        Err(NoScratch::Host(error)) => {
            reporter
                .log_line(&format!("trees are copied, because this host cannot lay one under its changes: {error}"));
            Ok(None)
        }
        Err(NoScratch::Failed(error)) => Err(error),
    }
}

impl Drop for WorkFolder {
    /// The fallback when a build failed; what cannot be removed now is swept by the next build.
    fn drop(&mut self) {
        let _ = file::remove_tree(&self.path);
    }
}
