//! Filesystems of a build's own, each in a sparse file on an autoclear loop device.
//!
//! In: a work folder, or the image of such a filesystem. Out: a mounted filesystem. It bounds what a build can write,
//! behaves the same on every host, and is gone in one step. Never ships.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::loop_device::{Access, LoopDevice};
use crate::host::loss::Loss;
use crate::host::mount::Mount;
use crate::host::program::Program;
use crate::report::Reporter;

/// No scratch filesystem is larger: its metadata would cost more than it gives.
const LARGEST: Bytes = Bytes::gib(256);
/// Below this a build of anything fails anyway.
const SMALLEST: Bytes = Bytes::mib(64);

/// ext4(5). Nothing is written before it has to be: no inode tables, no file because another one takes its name, and the
/// image's disk is never waited for. Who keeps an image compares its digest.
const OPTIONS: &str = "noinit_itable,noauto_da_alloc,barrier=0";

/// What a filesystem is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    /// Its image in the work folder.
    image: &'static str,
    /// Where it is mounted there.
    mounted: &'static str,
    /// Identifier and hash seed. Fixed, so that folders list their entries in the same order in every build, whatever
    /// programs make of it.
    identifier: &'static str,
}

/// For the tree.
pub(super) const TREE: Purpose =
    Purpose { image: "scratch", mounted: "mounted", identifier: "696e676f-7400-4000-8000-73637261746b" };
/// For what became different of a tree that stays as it is.
pub(super) const CHANGES: Purpose =
    Purpose { image: "changes", mounted: "changed", identifier: "696e676f-7400-4000-8000-6368616e6765" };

/// A mounted filesystem.
#[derive(Debug)]
pub(super) struct Scratch {
    // Dropped in this order.
    /// What is written to it; nothing is where it is somebody else's.
    loss: Option<Loss>,
    mount: Mount,
    device: LoopDevice,
    length: Bytes,
    image: Option<PathBuf>,
    /// Whether everything is in the image: else the least part of it is anywhere but in memory.
    is_written: AtomicBool,
}

/// Why there is no such filesystem.
#[derive(Debug)]
pub(super) enum NoScratch {
    /// The host cannot have one.
    Host(Error),
    /// It could.
    Failed(Error),
}

impl From<Error> for NoScratch {
    fn from(error: Error) -> NoScratch {
        NoScratch::Failed(error)
    }
}

impl Scratch {
    /// Makes an empty one in `folder`, as large as there is room for.
    pub fn create(folder: &Path, purpose: Purpose, reporter: &Reporter) -> Result<Scratch, NoScratch> {
        let image = folder.join(purpose.image);
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
        let file = file::create(&image)?;
        file.set_len(size.0).or_cannot(|| format!("make {}", image.display()))?;
        let device = attach(&file, &image, size, Access::Write)?;
        // No journal, nothing reserved, no inode tables written before they are needed: it lives an hour.
        Program::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-i", "8192", "-I", "256", "-U", purpose.identifier])
            .args(["-O", "^has_journal,^metadata_csum,^resize_inode,uninit_bg"])
            .args(["-E", &format!("hash_seed={},lazy_itable_init=1,nodiscard,root_owner=0:0", purpose.identifier)])
            .arg(device.path())
            .run(reporter)?;
        let mount = mount(folder, purpose, &device, Access::Write)?;
        let loss = Some(Loss::watch(mount.path(), &device, &file, &image)?);
        Ok(Scratch { loss, mount, device, length: size, image: Some(image), is_written: AtomicBool::new(false) })
    }

    /// The filesystem in the image of this purpose, `length` bytes, which is in `folder` already.
    pub fn filled(folder: &Path, purpose: Purpose, length: Bytes) -> Result<Scratch, NoScratch> {
        let image = folder.join(purpose.image);
        let file = file::open_for_update(&image)?;
        let device = attach(&file, &image, length, Access::Write)?;
        let mount = mount(folder, purpose, &device, Access::Write)?;
        let loss = Some(Loss::watch(mount.path(), &device, &file, &image)?);
        Ok(Scratch { loss, mount, device, length, image: Some(image), is_written: AtomicBool::new(true) })
    }

    /// The filesystem in somebody else's image, of which nothing changes.
    pub fn shown(folder: &Path, purpose: Purpose, image: &File, length: Bytes) -> Result<Scratch, NoScratch> {
        let device = attach(image, Path::new("stage"), length, Access::Read)?;
        let mount = mount(folder, purpose, &device, Access::Read)?;
        Ok(Scratch { loss: None, mount, device, length, image: None, is_written: AtomicBool::new(true) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    /// Length of the image.
    pub fn length(&self) -> Bytes {
        self.length
    }

    /// The image, unless it is somebody else's.
    pub fn image(&self) -> Option<&Path> {
        self.image.as_deref()
    }

    /// Does `look` while nothing can change in the image. `None` where something keeps a file open for writing.
    pub fn frozen<T>(&self, look: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if !self.mount.forbid_writing()? {
            return Ok(None);
        }
        let seen = self.nothing_is_lost().and_then(|()| look());
        self.mount.allow_writing()?;
        seen.map(Some)
    }

    /// Writes everything to the image and nothing of what was deleted; nobody changes anything from then on. False where
    /// something keeps a file open for writing.
    pub fn write_out(&self) -> Result<bool> {
        self.mount.give_back_free_blocks();
        let is_written = self.mount.forbid_writing()?;
        self.nothing_is_lost()?;
        if is_written {
            self.is_written.store(true, Ordering::Relaxed);
        }
        Ok(is_written)
    }

    /// 74 where what was written is not what is read, now or when memory is needed for something else.
    pub fn nothing_is_lost(&self) -> Result<()> {
        self.loss.as_ref().map_or(Ok(()), Loss::check)
    }

    /// Unmounts, detaches, and removes the image. `content` names what is in it.
    pub fn clear(self, content: &[&str]) -> Result<()> {
        // Unmounting writes everything back that is in memory only, unless it is deleted.
        if !self.is_written.load(Ordering::Relaxed) {
            content.iter().try_for_each(|name| file::remove_whole_tree(&self.mount.path().join(name)))?;
        }
        drop(self.loss);
        self.mount.close()?;
        self.device.close()?;
        self.image.map_or(Ok(()), |image| file::remove(&image))
    }
}

fn attach(image: &File, name: &Path, length: Bytes, access: Access) -> Result<LoopDevice, NoScratch> {
    LoopDevice::attach_open(image, name, Bytes(0), length, access).map_err(|error| match error.exit() {
        Exit::HostLacks => NoScratch::Host(error),
        _ => NoScratch::Failed(error),
    })
}

fn mount(folder: &Path, purpose: Purpose, device: &LoopDevice, access: Access) -> Result<Mount> {
    let target = folder.join(purpose.mounted);
    if !file::is_folder(&target) {
        file::create_folder(&target)?;
    }
    Mount::device(device.path(), &target, "ext4", access, OPTIONS)
}
