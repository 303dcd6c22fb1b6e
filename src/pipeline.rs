//! The recipe: every stage in its order, from a plan to the files of a release.
//!
//! In: a [`Plan`] and an [`Order`]. Out: files in the order's folder, complete with manifest. Never makes anything
//! visible to the user: that is `release::Staging`'s one step, after the build's namespaces are gone.
//!
//! [`cast`] goes all the way; [`prepare`] stops at a tree and [`create`] goes on from there, through the same stages.

pub mod bill;
mod early;
mod foresight;
mod ground;
mod images;
pub mod initrds;
mod inventory;
mod notes;
mod pack;
mod pieces;
pub mod prepared;
pub mod stages;
mod target;
pub mod unchanged;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use crate::cache::PackageStore;
use crate::container::{Base, Registries, embed};
use crate::error::{Error, Exit, Result, Warning};
use crate::host::sandbox::{Network, Sandbox};
use crate::package::{self, Beneath, Mirrors, PackageManager, PackageSet, Phase, Unpacker};
use crate::plan::{Epoch, NetworkForScripts, Output, PackageDatabase, Plan, ScriptPhase};
use crate::preflight::Own;
use crate::release::manifest::{DescriptionDigest, Manifest, Parts, PreflightRecord, ScrubRecord};
use crate::release::{Artifact, changes, verified};
use crate::report::Reporter;
use crate::root::{self, RootPath, RootTree, Workspace, WorkspaceKind};
use crate::scrub::{self, Asked, BuildHost, DescribedPaths, Standard, Sums};
use crate::{disk, host};
use early::Early;
use foresight::Foreseen;
use images::Embeds;
use initrds::KeptInitrds;
use inventory::Inventory;
use pack::{Packed, audit_packed, pack};
pub use prepared::Prepared;
use stages::{Explain, Memory, Point, Reuse, Stages};

/// Where a build works and what it may use, beside the plan.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where the files of the release are written; hidden names are scratch.
    pub folder: PathBuf,
    /// Scratch space for the tree.
    pub work_dir: PathBuf,
    /// Where the tree lives.
    pub workspace: WorkspaceKind,
    /// Who unpacks packages.
    pub unpacker: Unpacker,
    /// Where packages and stages are kept between builds.
    pub cache_dir: PathBuf,
    /// Whether stages are.
    pub reuse: Reuse,
    /// The folder that the result will be published in, where what is there already may be enough.
    pub published: Option<PathBuf>,
    /// Whether the user wants to know which stages were reused, and why not.
    pub explain: Explain,
    /// What identifies this very ingot: another one may make other trees.
    pub tool: String,
    /// What `mirror://NAME` means.
    pub mirrors: Mirrors,
    /// How registries of containers are reached.
    pub registries: Registries,
    /// Whether the tree is kept for the user to look at.
    pub keep_root: KeepRoot,
    /// What identifies the build host, to prove that none of it is in the image.
    pub build_host: BuildHost,
    /// Digests of the description.
    pub description: DescriptionDigest,
    /// What is written about the image beside the manifest.
    pub reports: Reports,
}

/// Where the tree is copied to, and after which builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepRoot {
    /// It goes with the build.
    No,
    /// There, where the build succeeds.
    OfGoodBuild(PathBuf),
    /// There, in any case.
    OfAnyBuild(PathBuf),
}

/// Texts about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// The manifest says it all.
    Manifest,
    /// KIWI's `.verified`, too.
    Verified,
    /// KIWI's `.verified` and `.changes`, too.
    VerifiedAndChanges,
}

/// Builds everything that `plans` ask for, one plan for each output; their packages are the same
/// ([`crate::plan::together`]). Runs as PID 1 of its own namespaces (`host::namespace::isolated`).
pub fn cast(plans: &[Plan], order: &Order, reporter: &Reporter) -> Result<()> {
    let Some((plan, others)) = plans.split_first() else { return Ok(()) };
    in_workspace(order, reporter, |workspace| {
        let own = unchanged::own_key(plans, order)?;
        let earlier = unchanged::Earlier::look(&own, order)?;
        let early = if earlier.is_other() { Early::begin(plan, order, workspace)? } else { None };
        let supplies = if early.is_some() {
            resolve_beside(plan, order, workspace, reporter, Workspace::make_ready)?
        } else if earlier.is_other() && stages::none_is_kept(plan, order)? {
            // No earlier build left a tree that could take its place.
            let lay_out = |workspace: &mut Workspace, reporter: &Reporter| {
                workspace.lay_out(reporter).and_then(|()| workspace.make_ready(reporter))
            };
            resolve_beside(plan, order, workspace, reporter, lay_out)?
        } else {
            Supplies::resolve(plan, order, workspace.folder(), reporter)?
        };
        if unchanged::is_there(earlier, &own, order, &supplies, reporter)? {
            return Ok(());
        }
        let memory = install(plan, plans, order, workspace, &supplies, early, reporter)?;
        let mut branches = others.iter().map(|_| branch(workspace, reporter)).collect::<Result<Vec<Workspace>>>()?;
        // Each output has a tree of its own from here on, and is the same as if it were built alone.
        let disk_among_them = plans.iter().any(is_disk);
        let made = std::thread::scope(|scope| {
            let trees = std::iter::once(&mut *workspace).chain(&mut branches);
            let at_work: Vec<_> = std::iter::zip(plans, trees)
                .map(|(plan, workspace)| {
                    let (supplies, memory) = (&supplies, memory.clone());
                    let make = move || make(plan, order, workspace, supplies, memory, reporter);
                    let gives_way = disk_among_them && !is_disk(plan);
                    scope.spawn(move || if gives_way { beside(make) } else { make() })
                })
                .collect();
            let made = at_work.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            made.collect::<Vec<Result<Made>>>()
        });
        branches.into_iter().try_for_each(Workspace::close)?;
        let made = made.into_iter().collect::<Result<Vec<Made>>>()?;
        release(plan, order, &supplies, made, reporter)?;
        unchanged::note(&own, order, &supplies)
    })
}

fn is_disk(plan: &Plan) -> bool {
    matches!(plan.output, Output::Disk(_))
}

/// Does `work`, which has a thread of its own, with less right to a core than what goes on beside it: a disk is made for a long
/// time by one program, its initrd's, and a container by all cores.
fn beside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    host::step_back();
    let pool = rayon::ThreadPoolBuilder::new().start_handler(|_| host::step_back()).build();
    match pool {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

/// A workspace of its own for another output, with the same tree.
fn branch(workspace: &mut Workspace, reporter: &Reporter) -> Result<Workspace> {
    let step = reporter.step("branch");
    let branch =
        workspace.branch(reporter, |from, to, length| crate::cache::stages::copy(from, to, length).map(drop))?;
    step.finish("a tree for another output");
    Ok(branch)
}

/// KIWI's `system prepare`: the tree as it is before its image is made, copied to `root`, which must not exist.
pub fn prepare(plan: &Plan, order: &Order, root: &Path, reporter: &Reporter) -> Result<Prepared> {
    in_workspace(order, reporter, |workspace| {
        let early = Early::begin(plan, order, workspace)?;
        let supplies = Supplies::resolve(plan, order, workspace.folder(), reporter)?;
        let memory = install(plan, std::slice::from_ref(plan), order, workspace, &supplies, early, reporter)?;
        let tree = workspace.tree()?;
        let grown = configure(plan, &supplies, &tree, memory, reporter)?;
        host::namespace::kill_everything_else()?;
        drop(tree);
        workspace.keep(root, reporter)?;
        workspace.nothing_is_lost()?;
        let Grown { described, builds_began, .. } = grown;
        let base = supplies.base.as_ref().map(Base::digest).unwrap_or_default();
        let embedded = supplies.embedded.records();
        Ok(Prepared { packages: supplies.packages, epoch: supplies.epoch, described, builds_began, base, embedded })
    })
}

/// KIWI's `system create`: an image of a copy of the tree in `root`; the tree itself stays as it is.
pub fn create(plan: &Plan, order: &Order, root: &Path, prepared: Prepared, reporter: &Reporter) -> Result<()> {
    in_workspace(order, reporter, |workspace| {
        workspace.lay_out(reporter)?;
        workspace.fill_from(root, reporter)?;
        let base = images::open_base(plan, order, workspace.folder(), reporter)?;
        let manager = open_manager(plan, order, workspace.folder(), base.as_ref())?;
        let Prepared { packages, epoch, described, builds_began, base: prepared_on, embedded } = prepared;
        if base.as_ref().map(Base::digest).unwrap_or_default() != prepared_on {
            return Err(Error::cannot(Exit::Integrity, "make an image of this tree")
                .because(format!("the container below is no longer the one that it was prepared on, {prepared_on}")));
        }
        let supplies = Supplies { manager, packages, epoch, base, embedded: Embeds::There(embedded) };
        let grown = Grown { described, builds_began, foreseen: None };
        let tree = workspace.tree()?;
        let made = finish(plan, order, workspace, &supplies, tree, grown, reporter)?;
        release(plan, order, &supplies, vec![made], reporter)
    })
}

/// Does `work` in a workspace of its own and clears it away, whatever came of it.
fn in_workspace<T>(order: &Order, reporter: &Reporter, work: impl FnOnce(&mut Workspace) -> Result<T>) -> Result<T> {
    let mut workspace = Workspace::create(&order.work_dir, order.workspace)?;
    let done = work(&mut workspace).map_err(|error| workspace.explain(error));
    let kept = match (&order.keep_root, &done) {
        (KeepRoot::OfAnyBuild(folder), _) | (KeepRoot::OfGoodBuild(folder), Ok(_)) => workspace.keep(folder, reporter),
        (KeepRoot::OfGoodBuild(_), Err(_)) | (KeepRoot::No, _) => Ok(()),
    };
    // A failed build is cleaned up too, but the first failure is the one that is told.
    if let (Err(error), Err(_)) = (&kept, &done) {
        reporter.warn(Warning { text: error.to_string(), place: None });
    }
    let closed = workspace.close();
    let done = done?;
    kept.and(closed).map(|()| done)
}

/// What a tree grows from: the package manager, what it resolved, and the image's date.
struct Supplies {
    manager: Box<dyn PackageManager>,
    packages: PackageSet,
    epoch: i64,
    /// The container that it begins as.
    base: Option<Base>,
    /// The containers that it holds.
    embedded: Embeds,
}

impl Supplies {
    fn resolve(plan: &Plan, order: &Order, scratch: &Path, reporter: &Reporter) -> Result<Supplies> {
        let base = images::open_base(plan, order, scratch, reporter)?;
        let mut manager = open_manager(plan, order, scratch, base.as_ref())?;
        let packages = manager.resolve(reporter)?;
        let epoch = match plan.epoch {
            Epoch::Fixed(epoch) => epoch,
            // An image is not older than what it is built on.
            Epoch::NewestRelease => base.as_ref().and_then(Base::created).unwrap_or(0).max(packages.newest_release),
        };
        let embedded = images::open_embedded(plan, order, scratch, reporter)?;
        Ok(Supplies { manager, packages, epoch, base, embedded })
    }
}

/// Resolves packages, and prepares the workspace meanwhile.
fn resolve_beside(
    plan: &Plan,
    order: &Order,
    workspace: &mut Workspace,
    reporter: &Reporter,
    prepare: impl FnOnce(&mut Workspace, &Reporter) -> Result<()> + Send,
) -> Result<Supplies> {
    let (scratch, beside) = (workspace.folder().to_path_buf(), reporter.holding_back());
    let (supplies, prepared) = std::thread::scope(|scope| {
        let preparing = scope.spawn(|| prepare(workspace, &beside));
        let supplies = Supplies::resolve(plan, order, &scratch, reporter);
        (supplies, preparing.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let supplies = supplies?;
    beside.let_go();
    prepared.map(|()| supplies)
}

fn open_manager(plan: &Plan, order: &Order, scratch: &Path, base: Option<&Base>) -> Result<Box<dyn PackageManager>> {
    let store = PackageStore::open(&order.cache_dir)?;
    let beneath = match base {
        Some(base) => Beneath::Base(base.package_database()),
        None => Beneath::Nothing,
    };
    package::open(plan, &order.mirrors, &store, order.unpacker, scratch, beneath)
}

/// Programs in the tree: those of packages, and the description's scripts with the network that they may use.
fn sandboxes(plan: &Plan, tree: &RootTree, epoch: i64) -> (Sandbox, Sandbox) {
    let sandbox = Sandbox::new(tree.host_path()).env("SOURCE_DATE_EPOCH", epoch.to_string());
    let scripts = sandbox.clone().network(match plan.root.network {
        NetworkForScripts::None => Network::None,
        NetworkForScripts::Host => Network::Host,
    });
    (sandbox, scripts)
}

/// A tree with its packages and its configuration, beside the tree itself.
struct Grown {
    /// What the description put there.
    described: DescribedPaths,
    /// When the builds began that wrote to it.
    builds_began: Vec<i64>,
    /// What of its layer is compressed already.
    foreseen: Option<Foreseen>,
}

/// Packages, in an empty workspace or on top of what an earlier build left in the cache. All `plans` have those of `plan`.
fn install(
    plan: &Plan,
    plans: &[Plan],
    order: &Order,
    workspace: &mut Workspace,
    supplies: &Supplies,
    early: Option<Early>,
    reporter: &Reporter,
) -> Result<Memory> {
    let Supplies { manager, packages, epoch, base, .. } = supplies;
    let stages = Stages::of(plan, order, supplies, workspace, reporter)?;
    let (reached, mut memory) = stages.resume(workspace, early)?;
    memory.builds_began.extend(&order.build_host.builds_began);
    if reached == Point::Nothing && !workspace.is_laid_out() {
        workspace.lay_out(reporter)?;
    }
    let tree = workspace.tree()?;
    if let (Point::Nothing, Some(base)) = (reached, base) {
        base.lay_out(&tree, reporter)?;
    }
    let (sandbox, scripts) = sandboxes(plan, &tree, *epoch);
    let all_at_once = manager.members(packages, Phase::Image).is_empty();
    if reached < Point::Bootstrapped {
        let install = |reporter: &Reporter| manager.install(packages, Phase::Bootstrap, &tree, &sandbox, reporter);
        memory.foreseen = match all_at_once {
            true => foresight::meanwhile(plans, order, &tree, *epoch, reporter, install)?,
            false => install(reporter).map(|()| None)?,
        };
        let described = root::extract_bootstrap_archives(plan, &tree, reporter)?;
        memory.described = described.iter().map(|path| path.as_bytes().to_vec()).collect();
        root::run_script(ScriptPhase::PostBootstrap, plan, &tree, &scripts, reporter)?;
        stages.keep(Point::Bootstrapped, &mut memory, workspace)?;
    }
    if reached < Point::Installed {
        let install = |reporter: &Reporter| manager.install(packages, Phase::Image, &tree, &sandbox, reporter);
        match all_at_once {
            true => install(reporter)?,
            false => memory.foreseen = foresight::meanwhile(plans, order, &tree, *epoch, reporter, install)?,
        }
        let host = build_host(order, *epoch, &memory.builds_began);
        memory.is_plain = !ground::lay(plan, supplies, workspace, tree, &host, reporter)?;
        stages.keep(Point::Installed, &mut memory, workspace)?;
    }
    Ok(memory)
}

/// The build host, as it is recognised in an image of this date.
fn build_host(order: &Order, epoch: i64, builds_began: &[i64]) -> BuildHost {
    BuildHost { builds_began: builds_began.to_vec(), epoch: Some(epoch), ..order.build_host.clone() }
}

/// Overlays, accounts and scripts, in KIWI's order: the rest of what `system prepare` does.
fn configure(plan: &Plan, supplies: &Supplies, tree: &RootTree, memory: Memory, reporter: &Reporter) -> Result<Grown> {
    let Supplies { manager, packages, epoch, embedded, .. } = supplies;
    let (sandbox, scripts) = sandboxes(plan, tree, *epoch);
    manager.settle(packages, tree, &sandbox, reporter)?;
    let mut described = root::trust(plan, tree, &sandbox, reporter)?;
    manager.uninstall(&plan.packages.withdrawn, packages, tree, &sandbox, reporter)?;
    described.extend(root::configure(plan, tree, &sandbox, *epoch, reporter)?);
    described.extend(embedded.put(tree, reporter)?);
    described.extend(memory.described.iter().map(RootPath::new));
    root::run_script(ScriptPhase::Config, plan, tree, &scripts, reporter)?;
    manager.uninstall(&plan.packages.uninstall, packages, tree, &sandbox, reporter)?;
    manager.delete(tree, &sandbox, reporter)?;
    embed::check(&plan.root.containers, tree)?;
    let Memory { builds_began, foreseen, .. } = memory;
    Ok(Grown { described: described.into_iter().collect(), builds_began, foreseen })
}

/// An output, and what the manifest says of it.
struct Made {
    artifacts: Vec<Artifact>,
    inventory: Inventory,
    scrub: ScrubRecord,
    preflight: Vec<PreflightRecord>,
}

/// From the installed tree to the files of one output.
fn make(
    plan: &Plan,
    order: &Order,
    workspace: &mut Workspace,
    supplies: &Supplies,
    memory: Memory,
    reporter: &Reporter,
) -> Result<Made> {
    let tree = notes::tree(plan, order, workspace, &memory)?;
    let grown = configure(plan, supplies, &tree, memory, reporter)?;
    finish(plan, order, workspace, supplies, tree, grown, reporter)
}

/// From a grown tree to the files of one output: what `system create` does.
fn finish(
    plan: &Plan,
    order: &Order,
    workspace: &mut Workspace,
    supplies: &Supplies,
    tree: RootTree,
    grown: Grown,
    reporter: &Reporter,
) -> Result<Made> {
    let Supplies { manager, packages, epoch, base, .. } = supplies;
    if is_disk(plan) {
        // What an initrd is made from is seen by what is opened.
        workspace.read_no_further();
    }
    let initrds = KeptInitrds::of(plan, order, workspace, &tree, reporter)?;
    let keeper: &disk::boot::initrd::Keeper<'_> = &|wanted, make| initrds.get(wanted, make);
    let asked_for = complete(plan, manager.as_ref(), packages, &tree, *epoch, keeper, reporter)?;
    let Grown { mut described, builds_began, foreseen } = grown;
    described.extend(asked_for);
    let inventory = Inventory::take(plan, &tree, packages, *epoch)?;
    let asked = Asked {
        paths: described,
        passwords: root::passwords(plan),
        update_stack: plan.update_stack,
        database: inventory.database(plan, &tree)?,
    };
    let folder = Some(workspace.folder().to_path_buf());
    let build_host = BuildHost { workspace: folder, ..build_host(order, *epoch, &builds_began) };
    // What a layer has to know of files is found out while they are read for the audit.
    let sums = if is_disk(plan) { Sums::Unwanted } else { Sums::Wanted };
    let scrubbed = scrub::scrub_and_sum(&plan.scrub, tree, &asked, &build_host, *epoch, sums, reporter)?;
    let standard = Standard::Build { plan: &plan.scrub, asked: &asked, host: &build_host };
    let Packed { artifacts, inherited, to_audit } =
        pack(plan, &scrubbed, base.as_ref(), foreseen, standard, order, reporter)?;
    report(plan, order, scrubbed.tree(), reporter)?;
    workspace.nothing_is_lost()?;
    let learned = scrubbed.tree().learned()?;
    let scrub = ScrubRecord { plan: plan.scrub.clone(), actions: scrubbed.into_actions() };
    if order.keep_root == KeepRoot::No {
        workspace.leave()?;
    }
    if let Some(packed) = to_audit {
        audit_packed(packed, &inherited, standard, order, reporter)?;
    }
    notes::keep(plan, order, learned)?;
    let preflight = target::check(plan, &artifacts, Own { standard, inherited: &inherited }, order, reporter)?;
    Ok(Made { artifacts, inventory, scrub, preflight })
}

/// The manifest and what else describes the files of the release. The outputs have the same packages: those of the
/// first are listed.
fn release(plan: &Plan, order: &Order, supplies: &Supplies, made: Vec<Made>, reporter: &Reporter) -> Result<()> {
    let step = reporter.step("release");
    let (mut artifacts, mut inventory, mut scrubs, mut preflight) = (Vec::new(), None, Vec::new(), Vec::new());
    for made in made {
        artifacts.extend(made.artifacts);
        preflight.extend(made.preflight);
        scrubs.push(made.scrub);
        inventory.get_or_insert(made.inventory);
    }
    let inventory = inventory.unwrap_or_default();
    if order.reports == Reports::Manifest {
        inventory.write(&order.folder, &plan.image.stem())?;
    }
    let manifest = Manifest::new(Parts {
        plan,
        epoch: supplies.epoch,
        bases: images::pinned(supplies.base.as_ref()),
        containers: supplies.embedded.held(),
        description: order.description.clone(),
        packages: &supplies.packages,
        installed: inventory.records,
        scrubs,
        preflight,
        warnings: &reporter.warnings(),
        artifacts,
    });
    manifest.write(&order.folder, &plan.image.stem())?;
    step.finish("manifest, packages, sha256");
    Ok(())
}

/// What KIWI writes about an image, for those who ask for it.
fn report(plan: &Plan, order: &Order, tree: &RootTree, reporter: &Reporter) -> Result<()> {
    let stem = plan.image.stem();
    if order.reports != Reports::Manifest && plan.package_database != PackageDatabase::Keep {
        let text = format!("{stem}.verified is empty: nothing in the image says what its files were");
        reporter.warn(Warning { text, place: None });
    }
    let write = |end: &str, text: &[u8]| host::file::write(&order.folder.join(format!("{stem}.{end}")), text);
    if order.reports != Reports::Manifest {
        write("verified", verified::text(tree)?.as_bytes())?;
    }
    if order.reports == Reports::VerifiedAndChanges {
        write("changes", &changes::text(tree)?)?;
    }
    Ok(())
}

/// The last scripts, boot files, and no package manager where none is wanted. Returns what scripts asked for.
fn complete(
    plan: &Plan,
    manager: &dyn PackageManager,
    packages: &PackageSet,
    tree: &RootTree,
    epoch: i64,
    initrds: &disk::boot::initrd::Keeper<'_>,
    reporter: &Reporter,
) -> Result<Vec<RootPath>> {
    let (sandbox, scripts) = sandboxes(plan, tree, epoch);
    let script = |phase| root::run_script(phase, plan, tree, &scripts, reporter);
    script(ScriptPhase::Images)?;
    if let Output::Disk(plan_of_disk) = &plan.output {
        disk::boot::prepare(plan_of_disk, epoch, tree, &sandbox, initrds, reporter)?;
        script(ScriptPhase::EditBootConfig)?;
        script(ScriptPhase::PreDiskSync)?;
        // The disk is written from this tree, never mounted: what KIWI's script finds in the disk is here already.
        script(ScriptPhase::Disk)?;
    }
    manager.finish(packages, tree, &sandbox, reporter)?;
    // Nothing of a sandbox outlives its program, so nothing is left that could still write.
    let asked_for = root::asked_for(tree)?;
    root::remove_surroundings(tree)?;
    Ok(asked_for)
}
