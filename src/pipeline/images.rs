//! Images that others made: those that a container is built on, and those that a system holds.
//!
//! In: a plan, and where this build may look. Out: a [`Base`], and [`Embeds`]; what the manifest says of both. Never
//! opens one twice.

use std::collections::BTreeSet;

use super::Order;
use crate::container::{Base, BaseRecord, Embedded, EmbeddedRecord, Finder, embed};
use crate::error::Result;
use crate::plan::{Output, Plan};
use crate::release::manifest::{HeldImage, PinnedImage};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree, Workspace};

/// Containers that a tree holds.
pub enum Embeds {
    /// They were found, and are put into it.
    Found(Vec<Embedded>),
    /// They are in it.
    There(Vec<EmbeddedRecord>),
}

impl Embeds {
    /// What is pinned of each.
    pub fn records(&self) -> Vec<EmbeddedRecord> {
        match self {
            Embeds::Found(all) => all.iter().map(Embedded::record).collect(),
            Embeds::There(records) => records.clone(),
        }
    }

    /// The same, for the manifest.
    pub fn held(&self) -> Vec<HeldImage> {
        let held =
            |record: EmbeddedRecord| HeldImage { image: pin(&record.image), name: record.name, path: record.path };
        self.records().into_iter().map(held).collect()
    }

    /// Puts them into the tree, where they are not there; returns what was put there.
    pub fn put(&self, tree: &RootTree, reporter: &Reporter) -> Result<BTreeSet<RootPath>> {
        match self {
            Embeds::Found(all) => embed::put(all, tree, reporter),
            Embeds::There(_) => Ok(BTreeSet::new()),
        }
    }
}

fn find_images<T>(
    plan: &Plan,
    order: &Order,
    workspace: &Workspace,
    reporter: &Reporter,
    find: impl FnOnce(Finder<'_>) -> Result<T>,
) -> Result<T> {
    find(Finder {
        image: &plan.image,
        scratch: workspace.folder(),
        kept: &order.cache_dir.join("bases"),
        registries: &order.registries,
        reporter,
    })
}

/// The containers that the image is built on.
pub fn open_base(plan: &Plan, order: &Order, workspace: &Workspace, reporter: &Reporter) -> Result<Option<Base>> {
    let Output::Container(container) = &plan.output else { return Ok(None) };
    find_images(plan, order, workspace, reporter, |finder| Base::open(&container.bases, finder))
}

/// The containers that the system holds.
pub fn open_embedded(plan: &Plan, order: &Order, workspace: &Workspace, reporter: &Reporter) -> Result<Embeds> {
    let open = |finder: Finder<'_>| embed::open(&plan.root.containers, finder);
    find_images(plan, order, workspace, reporter, open).map(Embeds::Found)
}

/// What the manifest says of the containers below.
pub fn pinned(base: Option<&Base>) -> Vec<PinnedImage> {
    base.map(Base::records).unwrap_or_default().iter().map(pin).collect()
}

fn pin(record: &BaseRecord) -> PinnedImage {
    PinnedImage { source: record.source.clone(), digest: record.digest.clone(), layers: record.layers.clone() }
}
