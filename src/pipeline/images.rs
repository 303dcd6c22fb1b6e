//! Images that others made: those that a container is built on, and those that a system holds.
//!
//! In: a plan, and where this build may look. Out: a [`Base`], and [`Embeds`]; what the manifest says of both. Never
//! opens one twice.

use std::collections::BTreeSet;
use std::path::Path;

use super::Order;
use crate::bytes::Bytes;
use crate::cache;
use crate::container::{Base, BaseRecord, Embedded, EmbeddedRecord, Finder, embed};
use crate::disk;
use crate::error::{Result, Warning};
use crate::plan::{DiskPlan, DiskSize, Load, Output, Plan};
use crate::release::manifest::{HeldImage, PinnedImage};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};

/// What a system that starts for the first time writes beside its containers.
const SPARE: Bytes = Bytes::mib(64);

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
    scratch: &Path,
    reporter: &Reporter,
    find: impl FnOnce(Finder<'_>) -> Result<T>,
) -> Result<T> {
    find(Finder {
        image: &plan.image,
        scratch,
        kept: &cache::bases::folder(&order.cache_dir),
        registries: &order.registries,
        reporter,
    })
}

/// The containers that the image is built on.
pub fn open_base(plan: &Plan, order: &Order, scratch: &Path, reporter: &Reporter) -> Result<Option<Base>> {
    let Output::Container(container) = &plan.output else { return Ok(None) };
    find_images(plan, order, scratch, reporter, |finder| Base::open(&container.bases, finder))
}

/// The containers that the system holds.
pub fn open_embedded(plan: &Plan, order: &Order, scratch: &Path, reporter: &Reporter) -> Result<Embeds> {
    let open = |finder: Finder<'_>| embed::open(&plan.root.containers, finder);
    find_images(plan, order, scratch, reporter, open).map(Embeds::Found)
}

/// A disk that is as large as its content also has room for the containers that its first start loads: it may start
/// where it cannot grow.
pub fn with_room(plan: &Plan, disk: &DiskPlan, tree: &RootTree, reporter: &Reporter) -> Result<DiskPlan> {
    let mut disk = disk.clone();
    let loaded = plan.root.containers.iter().any(|container| container.load == Load::AtFirstBoot);
    if loaded && disk::boot::is_read_only(&disk) {
        let text = "containers are not loaded when the system starts: the root filesystem is mounted read-only".into();
        reporter.warn(Warning { text, place: None });
    } else if loaded && disk.size == DiskSize::ToFit {
        let room = embed::room_to_load(&plan.root.containers, tree)?;
        disk.size = DiskSize::ContentPlus(room + SPARE);
        reporter.log_line(&format!("{room} are left free for loading containers"));
    }
    Ok(disk)
}

/// What the manifest says of the containers below.
pub fn pinned(base: Option<&Base>) -> Vec<PinnedImage> {
    base.map(Base::records).unwrap_or_default().iter().map(pin).collect()
}

fn pin(record: &BaseRecord) -> PinnedImage {
    PinnedImage { source: record.source.clone(), digest: record.digest.clone(), layers: record.layers.clone() }
}
