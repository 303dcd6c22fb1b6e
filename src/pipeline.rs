//! The recipe: every stage in its order, from a plan to the files of a release.
//!
//! In: a [`Plan`] and an [`Order`]. Out: files in the order's folder, complete with manifest. Never makes anything
//! visible to the user: that is `release::Staging`'s one step, after the build's namespaces are gone.

use std::path::PathBuf;

use crate::error::Result;
use crate::package::{Apt, Mirrors, PackageSet, PackageStore, Phase};
use crate::plan::{DiskPlan, Epoch, Output, Plan, ScriptPhase, UpdateStack};
use crate::release::manifest::{DescriptionDigest, Manifest, PackageRecord, Parts};
use crate::release::{Artifact, licence};
use crate::report::Reporter;
use crate::root::{self, RootTree, Workspace, WorkspaceKind};
use crate::scrub::{self, Asked, BuildHost, DescribedPaths, ScrubbedTree};
use crate::{container, disk, format, host};

/// Where a build works and what it may use, beside the plan.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where the files of the release are written; hidden names are scratch.
    pub folder: PathBuf,
    /// Scratch space for the tree.
    pub work_dir: PathBuf,
    /// Where the tree lives.
    pub workspace: WorkspaceKind,
    /// Where packages are kept between builds.
    pub cache_dir: PathBuf,
    /// What `mirror://NAME` means.
    pub mirrors: Mirrors,
    /// Where the tree is kept for the user to look at, if asked for.
    pub keep_root: Option<PathBuf>,
    /// What identifies the build host, to prove that none of it is in the image.
    pub build_host: BuildHost,
    /// Digests of the description.
    pub description: DescriptionDigest,
}

/// Builds everything that `plan` asks for. Runs as PID 1 of its own namespaces (`host::namespace::isolated`).
pub fn cast(plan: &Plan, order: &Order, reporter: &Reporter) -> Result<Manifest> {
    let store = PackageStore::open(&order.cache_dir)?;
    let apt = Apt::open(plan, &order.mirrors, &store, &order.work_dir)?;
    let packages = apt.resolve(reporter)?;
    let epoch = match plan.epoch {
        Epoch::Fixed(epoch) => epoch,
        Epoch::NewestRelease => packages.newest_release,
    };
    let workspace = Workspace::create(&order.work_dir, order.workspace, reporter)?;
    let tree = workspace.tree()?;
    let described = grow(plan, &apt, &packages, &tree, epoch, reporter)?;
    host::namespace::kill_everything_else()?;
    let asked = Asked { paths: described, passwords: plan.passwords(), update_stack: plan.update_stack };
    let scrubbed = scrub::scrub(&plan.scrub, tree, &asked, &order.build_host, epoch, reporter)?;
    let artifacts = pack(plan, &scrubbed, order, reporter)?;
    let installed = installed_packages(&scrubbed, &packages)?;
    let manifest = Manifest::new(Parts {
        plan,
        epoch,
        description: order.description.clone(),
        packages: &packages,
        installed,
        actions: scrubbed.actions(),
        warnings: &reporter.warnings(),
        artifacts,
    });
    manifest.write(&order.folder, &plan.image.stem())?;
    drop(scrubbed);
    workspace.close()?;
    Ok(manifest)
}
