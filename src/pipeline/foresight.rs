//! Using the cores that idle while packages are installed and their scripts run, one after the other.
//!
//! In: a tree that packages are being installed into, and how far that is. Out: most of a container's layer, compressed already
//! ([`container::foresee`]). Never decides what is in the layer; never in the way of the scripts: its threads have the
//! lowest priority. Nothing is foreseen where an earlier build left its pieces.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::Order;
use super::pieces;
use crate::container;
use crate::error::Result;
use crate::host;
use crate::host::rooted::Rooted;
use crate::pieces::Search;
use crate::plan::{LayerCompression, LayerSplit, Output, Plan};
use crate::report::Reporter;

/// Compressed pieces of the coming layer.
#[derive(Clone, Debug)]
pub(super) struct Foreseen {
    /// How they are compressed.
    pub how: LayerCompression,
    /// Finds them.
    pub search: Search,
}

/// How many times a tree is gone through, about, while it grows.
const ROUNDS: u64 = 16;

/// Does `work`, which changes `tree` and tells the reporter how far it is, and foresees the layer meanwhile.
pub(super) fn meanwhile(
    plans: &[Plan],
    order: &Order,
    tree: &Rooted,
    epoch: i64,
    reporter: &Reporter,
    work: impl FnOnce(&Reporter) -> Result<()>,
) -> Result<Option<Foreseen>> {
    let Some(how) = wanted(plans, order)? else { return work(reporter).map(|()| None) };
    let Ok(scratch) = host::file::anonymous(&order.folder) else { return work(reporter).map(|()| None) };
    let growth = Arc::new(Growth::default());
    std::thread::scope(|scope| {
        // Ends the thread whatever comes of the work.
        let _end = End(&growth);
        let at_work = scope.spawn(|| {
            let threads = rayon::current_num_threads().saturating_sub(1).max(1);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).start_handler(|_| host::give_way());
            let pool = pool.build().ok()?;
            Some(pool.install(|| container::foresee(tree, epoch, how, &scratch, &growth.ended, &|| growth.wait())))
        });
        let heard = Arc::clone(&growth);
        work(&reporter.heard_by(move |_, total| heard.more(total)))?;
        growth.end();
        Ok(at_work.join().ok().flatten().map(|search| Foreseen { how, search }))
    })
}

/// What has come to a tree since it was gone through.
#[derive(Debug, Default)]
struct Growth {
    since: Mutex<Since>,
    changed: Condvar,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Since {
    items: u64,
    /// How many are worth going through it again.
    enough: u64,
}

impl Growth {
    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// One of `total` items has come.
    fn more(&self, total: u64) {
        let mut since = self.since();
        since.items += 1;
        since.enough = (total / ROUNDS).max(1);
        self.changed.notify_all();
    }

    fn end(&self) {
        let _since = self.since();
        self.ended.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Waits until enough has come; false where nothing will come any more.
    fn wait(&self) -> bool {
        let mut since = self.since();
        while !self.ended.load(Ordering::Relaxed) && (since.enough == 0 || since.items < since.enough) {
            since = self.changed.wait(since).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        since.items = 0;
        !self.ended.load(Ordering::Relaxed)
    }
}

struct End<'a>(&'a Growth);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// How the first container is compressed whose one layer will be made from nothing.
fn wanted(plans: &[Plan], order: &Order) -> Result<Option<LayerCompression>> {
    for plan in plans {
        let Output::Container(container) = &plan.output else { continue };
        let compresses = container.compression != LayerCompression::None;
        if compresses && container.layers == LayerSplit::One && container.bases.is_empty() {
            let are_kept = pieces::are_kept(pieces::of_container(container.compression), plan, order)?;
            return Ok((!are_kept).then_some(container.compression));
        }
    }
    Ok(None)
}
