//! Using the cores that idle while maintainer scripts run, one after the other.
//!
//! In: a tree that packages are being installed into. Out: most of a container's layer, compressed already
//! ([`container::foresee`]). Never decides what is in the layer; never in the way of the scripts: its threads have the
//! lowest priority. Nothing is foreseen where an earlier build left its pieces.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Order;
use super::pieces;
use crate::container;
use crate::error::Result;
use crate::host;
use crate::host::rooted::Rooted;
use crate::pieces::Search;
use crate::plan::{LayerCompression, LayerSplit, Output, Plan};

/// Compressed pieces of the coming layer.
#[derive(Clone, Debug)]
pub(super) struct Foreseen {
    /// How they are compressed.
    pub how: LayerCompression,
    /// Finds them.
    pub search: Search,
}

/// Does `work`, which changes `tree`, and foresees the layer meanwhile.
pub(super) fn meanwhile(
    plans: &[Plan],
    order: &Order,
    tree: &Rooted,
    epoch: i64,
    work: impl FnOnce() -> Result<()>,
) -> Result<Option<Foreseen>> {
    let Some(how) = wanted(plans, order)? else { return work().map(|()| None) };
    let Ok(scratch) = host::file::anonymous(&order.folder) else { return work().map(|()| None) };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Ends the thread whatever comes of the work.
        let _end = End(&stop);
        let at_work = scope.spawn(|| {
            let threads = rayon::current_num_threads().saturating_sub(1).max(1);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).start_handler(|_| host::give_way());
            let pool = pool.build().ok()?;
            Some(pool.install(|| container::foresee(tree, epoch, how, &scratch, &stop)))
        });
        work()?;
        stop.store(true, Ordering::Relaxed);
        Ok(at_work.join().ok().flatten().map(|search| Foreseen { how, search }))
    })
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
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
