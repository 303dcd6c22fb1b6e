//! The stage that a build will probably go on from, read through while its packages are resolved.
//!
//! In: the stage that this image used last. Out: whether it is what was kept, if it is the one that is wanted in the
//! end. What is wanted is decided by the key alone, as without; a wrong guess is dropped, and costs what the
//! cores did while the build waited for a mirror.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::Order;
use super::stages::{INSTALLED, Reuse, TOOL};
use crate::cache::stages::{Key, Stage, StageStore};
use crate::error::Result;
use crate::plan::Plan;
use crate::root::{Workspace, WorkspaceKind};

/// A stage that is being read. Dropping it ends that.
#[derive(Debug)]
pub struct Early {
    stage: Arc<Stage>,
    in_vain: Arc<AtomicBool>,
    reading: Option<JoinHandle<Result<bool>>>,
}

impl Early {
    /// Begins to read the stage with all packages that was used last for this image, by this very ingot; `None` where
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
        let (stage, in_vain) = (Arc::new(stage), Arc::new(AtomicBool::new(false)));
        let reading = {
            let (stage, in_vain) = (Arc::clone(&stage), Arc::clone(&in_vain));
            std::thread::spawn(move || read(&stage, &in_vain))
        };
        Ok(Some(Early { stage, in_vain, reading: Some(reading) }))
    }

    /// Whether it is this stage.
    pub fn is(&self, key: &Key) -> bool {
        self.stage.key() == key
    }

    /// The stage, if it is what was kept.
    pub(super) fn intact(mut self) -> Result<Option<Arc<Stage>>> {
        let read = self.reading.take().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        Ok(read.transpose()?.unwrap_or(false).then(|| Arc::clone(&self.stage)))
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.in_vain.store(true, Ordering::Relaxed);
        // It has nothing to say any more.
        let _ = self.reading.take().map(JoinHandle::join);
    }
}

fn read(stage: &Stage, in_vain: &AtomicBool) -> Result<bool> {
    let read = || stage.is_intact(in_vain);
    // Not the threads that resolving packages needs.
    rayon::ThreadPoolBuilder::new().build().map_or_else(|_| read(), |pool| pool.install(read))
}
