//! The stage that a build will probably go on from, copied while its packages are resolved.
//!
//! In: the stage that this image used last. Out: its copy in the work folder, read through, if it is the one that is wanted in
//! the end. What is wanted is decided by the key alone, as without; a wrong guess is dropped, and costs what the
//! cores did while the build waited for a mirror.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::Order;
use super::stages::{INSTALLED, Memory, Reuse, TOOL};
use crate::bytes::Bytes;
use crate::cache::stages::{Key, Stage, StageStore};
use crate::error::Result;
use crate::host::file;
use crate::plan::Plan;
use crate::root::{Workspace, WorkspaceKind};

/// The copy's name in the work folder, until it is the tree's filesystem.
const IMAGE: &str = "early";

/// A stage that is being copied. Dropping it ends that.
#[derive(Debug)]
pub struct Early {
    key: Key,
    payload: serde_json::Value,
    length: Bytes,
    image: PathBuf,
    in_vain: Arc<AtomicBool>,
    copying: Option<JoinHandle<Result<bool>>>,
}

impl Early {
    /// Begins to copy the stage with all packages that was used last for this image, by this very ingot; `None` where
    /// there is none, or where stages are not used.
    pub(super) fn begin(plan: &Plan, order: &Order, workspace: &Workspace) -> Result<Option<Early>> {
        let Reuse::UpTo(limit) = order.reuse else { return Ok(None) };
        if workspace.kind() == WorkspaceKind::Folder {
            return Ok(None);
        }
        let store = StageStore::open(&order.cache_dir, limit)?;
        let stages = store.alike(&Key::new(INSTALLED, &plan.image.name))?;
        let Some(stage) = stages.into_iter().find(|stage| stage.key().get(TOOL) == Some(&order.tool)) else {
            return Ok(None);
        };
        let image = workspace.folder().join(IMAGE);
        let in_vain = Arc::new(AtomicBool::new(false));
        let (key, payload, length) = (stage.key().clone(), stage.payload().clone(), stage.length());
        let copying = {
            let (image, in_vain) = (image.clone(), Arc::clone(&in_vain));
            std::thread::spawn(move || copy(&stage, &image, &in_vain))
        };
        Ok(Some(Early { key, payload, length, image, in_vain, copying: Some(copying) }))
    }

    /// Whether it is this stage.
    pub fn is(&self, key: &Key) -> bool {
        self.key == *key
    }

    /// Makes it the workspace's tree; `None` where it was damaged.
    pub(super) fn restore(mut self, workspace: &mut Workspace) -> Result<Option<Memory>> {
        let copied = self.copying.take().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        let Ok(memory) = serde_json::from_value(self.payload.clone()) else { return Ok(None) };
        // Where it cannot be copied, copying it again says why.
        let there = matches!(copied, Some(Ok(true))) && workspace.adopt(&self.image, self.length)?;
        Ok(there.then_some(memory))
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.in_vain.store(true, Ordering::Relaxed);
        // It has nothing to say any more.
        let _ = self.copying.take().map(JoinHandle::join);
        if file::is_file(&self.image) {
            // Else it goes with the work folder.
            let _ = file::remove(&self.image);
        }
    }
}

fn copy(stage: &Stage, image: &Path, in_vain: &AtomicBool) -> Result<bool> {
    let copy = || stage.copy_until(&file::create(image)?, in_vain);
    // Not the threads that resolving packages needs.
    rayon::ThreadPoolBuilder::new().build().map_or_else(|_| copy(), |pool| pool.install(copy))
}
