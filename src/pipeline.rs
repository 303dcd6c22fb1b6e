//! The recipe: every stage in its order, from a plan to the files of a release.
//!
//! In: a [`Plan`] and an [`Order`]. Out: files in the order's folder, complete with manifest. Never makes anything
//! visible to the user: that is `release::Staging`'s one step, after the build's namespaces are gone.

use std::path::PathBuf;

use crate::cache::PackageStore;
use crate::error::Result;
use crate::host::sandbox::{Network, Sandbox};
use crate::package::{self, Apt, Mirrors, PackageSet, Phase, Unpacker, database};
use crate::plan::{Epoch, FormatChoice, NetworkForScripts, Output, Plan, ScriptPhase};
use crate::release::manifest::{DescriptionDigest, Manifest, PackageRecord, Parts};
use crate::release::{Artifact, licence};
use crate::report::Reporter;
use crate::root::{self, RootPath, RootTree, Workspace, WorkspaceKind};
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
    /// Who unpacks packages.
    pub unpacker: Unpacker,
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
pub fn cast(plan: &Plan, order: &Order, reporter: &Reporter) -> Result<()> {
    let workspace = Workspace::create(&order.work_dir, order.workspace, reporter)?;
    let done = fill(plan, order, &workspace, reporter).map_err(|error| workspace.explain(error));
    let kept = order.keep_root.as_ref().map_or(Ok(()), |folder| workspace.keep(folder, reporter));
    // A failed build is cleaned up too, but the first failure is the one that is told.
    let closed = workspace.close();
    done.and(kept).and(closed)
}

/// From an empty workspace to the files of the release.
fn fill(plan: &Plan, order: &Order, workspace: &Workspace, reporter: &Reporter) -> Result<()> {
    let store = PackageStore::open(&order.cache_dir)?;
    let mut apt = Apt::open(plan, &order.mirrors, &store, workspace.folder())?.unpacker(order.unpacker);
    let packages = apt.resolve(reporter)?;
    let epoch = match plan.epoch {
        Epoch::Fixed(epoch) => epoch,
        Epoch::NewestRelease => packages.newest_release,
    };
    let tree = workspace.tree()?;
    let described = grow(plan, &mut apt, &packages, &tree, epoch, reporter)?;
    let asked = Asked { paths: described, passwords: root::passwords(plan), update_stack: plan.update_stack };
    let build_host = BuildHost { workspace: Some(workspace.folder().to_path_buf()), ..order.build_host.clone() };
    let scrubbed = scrub::scrub(&plan.scrub, tree, &asked, &build_host, epoch, reporter)?;
    let artifacts = pack(plan, &scrubbed, order, reporter)?;
    let installed = installed(&scrubbed, &packages)?;
    let step = reporter.step("release");
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
    step.finish("manifest, packages, sha256");
    Ok(())
}

/// Packages, overlays, accounts, scripts and boot files, in KIWI's order.
fn grow(
    plan: &Plan,
    apt: &mut Apt,
    packages: &PackageSet,
    tree: &RootTree,
    epoch: i64,
    reporter: &Reporter,
) -> Result<DescribedPaths> {
    let sandbox = Sandbox::new(tree.host_path()).env("SOURCE_DATE_EPOCH", epoch.to_string());
    let scripts = sandbox.clone().network(match plan.root.network {
        NetworkForScripts::None => Network::None,
        NetworkForScripts::Host => Network::Host,
    });
    let script = |phase| root::run_script(phase, plan, tree, &scripts, reporter);

    apt.install(packages, Phase::Bootstrap, tree, &sandbox, reporter)?;
    let mut described = root::extract_bootstrap_archives(plan, tree, reporter)?;
    script(ScriptPhase::PostBootstrap)?;
    apt.install(packages, Phase::Image, tree, &sandbox, reporter)?;
    described.extend(root::configure(plan, tree, &sandbox, epoch, reporter)?);
    script(ScriptPhase::Config)?;
    apt.uninstall(packages, tree, &sandbox, reporter)?;
    apt.delete(tree, reporter)?;
    script(ScriptPhase::Images)?;
    if let Output::Disk(plan_of_disk) = &plan.output {
        disk::boot::prepare(plan_of_disk, epoch, tree, &sandbox, reporter)?;
        script(ScriptPhase::PreDiskSync)?;
    }
    apt.finish(packages, tree, &sandbox, reporter)?;
    root::remove_surroundings(tree)?;
    host::namespace::kill_everything_else()?;
    Ok(described.into_iter().collect())
}

/// From the scrubbed tree to the files that are shipped.
fn pack(plan: &Plan, tree: &ScrubbedTree, order: &Order, reporter: &Reporter) -> Result<Vec<Artifact>> {
    let (folder, stem) = (order.folder.as_path(), plan.image.stem());
    match &plan.output {
        Output::Disk(plan) => {
            let raw = disk::write(tree, plan, &folder.join(".disk.raw"), reporter)?;
            let write = |choice: &FormatChoice| {
                let step = reporter.step("format");
                let artifact = format::write(choice, &raw, folder, &stem, &step)?;
                step.finish(&format!("{}, {}", artifact.format, artifact.size));
                Ok(artifact)
            };
            plan.formats.iter().map(write).collect()
        }
        Output::Container(container) => {
            let step = reporter.step("container");
            let artifact = container::write(tree, container, &plan.image, folder, &stem, &step)?;
            step.finish(&format!("{}, {}", artifact.format, artifact.size));
            Ok(vec![artifact])
        }
        Output::RootTarball => {
            let step = reporter.step("container");
            let artifact = container::write_root_tarball(tree, folder, &stem, &step)?;
            step.finish(&format!("{}, {}", artifact.format, artifact.size));
            Ok(vec![artifact])
        }
    }
}

/// What is in the finished image, with what is known of where it came from.
fn installed(tree: &ScrubbedTree, packages: &PackageSet) -> Result<Vec<PackageRecord>> {
    let mut records = Vec::new();
    for stanza in database::status(tree.tree())?.iter().filter(|stanza| database::is_installed(stanza)) {
        let [name, version, arch] = ["Package", "Version", "Architecture"].map(|field| stanza.text(field).to_string());
        let is_origin =
            |package: &&package::Package| (&package.name, &package.version, &package.arch) == (&name, &version, &arch);
        let origin = packages.packages.iter().find(is_origin);
        let copyright = RootPath::new(format!("/usr/share/doc/{name}/copyright"));
        let copyright = tree.tree().read_if_there(&copyright)?.unwrap_or_default();
        records.push(PackageRecord {
            sha256: origin.map(|package| package.sha256.clone()),
            source: origin.map(|package| format!("{} {}", package.source, package.source_version)),
            licence: licence::from_copyright(&String::from_utf8_lossy(&copyright)),
            name,
            version,
            arch,
        });
    }
    records.sort();
    Ok(records)
}
