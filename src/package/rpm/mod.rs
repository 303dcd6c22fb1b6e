//! Packages of rpm: a manager of the host decides, fetches and verifies; rpm itself installs.
//!
//! In: the plan's repositories and names. Out: a [`PackageSet`] with every archive verified, and a tree in which rpm
//! installed them, in one transaction where nothing has to run between the two phases. zypper and dnf work in a folder of
//! the cache ([`folder`]): no configuration, log, lock, cache or history of theirs is ever in the image or on the host.
//! Never trusts a key that a repository brings along: only those that the description names.

mod decision;
mod dnf;
mod failure;
mod folder;
mod graph;
mod image_sources;
mod install;
mod query;
mod removal;
mod repomd;
mod stack;
mod zypper;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::deferred::Initrds;
use super::manager::PackageManager;
use super::repository::{Source, with_authority};
use super::rpmdb::Header;
use super::{Beneath, Mirrors, Package, PackageSet, Phase, ReleaseFile};
use crate::bytes::Bytes;
use crate::cache::{PackageStore, Sha256};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::program::Program;
use crate::host::rooted::Rooted;
use crate::host::sandbox::Sandbox;
use crate::plan::{Address, Manager, Named, PackageRequest, Plan, RepositoryUse, ScriptPhase, Signed, UpdateStack};
use crate::report::Reporter;
use dnf::ModuleState;
use folder::ManagerFolder;
use graph::Graph;

/// Where the image's rpm finds its database.
pub const DATABASE: &str = "/usr/lib/sysimage/rpm";

/// What to say where something needs what the description ignores.
const IGNORED: &str = "<ignore> leaves out what is needed: remove it there, or do not ask for it";

/// A repository with every name resolved.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    pub source: Source,
    pub signed_packages: Signed,
    pub address: Address,
}

impl Repository {
    /// Its name as files, sections and options of the managers take it: letters, digits, `_`, `-`, `.`.
    pub fn id(&self) -> String {
        let alias = &self.source.alias;
        let good = |char: char| char.is_ascii_alphanumeric() || "_-.".contains(char);
        if alias.starts_with(|char: char| char.is_ascii_alphanumeric()) && alias.chars().all(good) && alias != "main" {
            return alias.clone();
        }
        let safe: String = alias.chars().map(|char| if good(char) { char } else { '_' }).collect();
        format!("r-{safe}-{}", &Sha256::of(alias).to_string()[..8])
    }

    /// Its URL as zypper and dnf take it.
    pub fn url(&self) -> String {
        with_authority(&self.source.url)
    }
}

/// A package manager for one image.
#[derive(Debug)]
pub struct Rpm {
    manager: Manager,
    request: PackageRequest,
    update_stack: UpdateStack,
    repositories: Vec<Repository>,
    arch: String,
    scratch: PathBuf,
    store: PackageStore,
    /// Whether something runs between the two phases.
    divided: bool,
    /// The certificates of the description, which downloads trust beside those of the host.
    certificates: Vec<PathBuf>,
    initrds: Initrds,
    /// What the tree begins as.
    beneath: Beneath,
    /// What the host's rpm says it is; known once packages are resolved.
    version: String,
    /// Digests of the packages of the bootstrap phase; known once they are resolved.
    bootstrap: BTreeSet<String>,
    /// Known once packages are resolved.
    dependencies: Dependencies,
    /// Streams of modules that were chosen; known once packages are resolved.
    modules: Vec<ModuleState>,
}

/// Whether packages have everything that they require.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Dependencies {
    /// They do.
    #[default]
    Whole,
    /// What only serves an update stack is left out, though one of them requires it.
    WithoutStack,
}

impl Rpm {
    /// Decides where everything comes from; touches no network.
    pub fn open(plan: &Plan, mirrors: &Mirrors, store: &PackageStore, scratch: &Path) -> Result<Rpm> {
        let resolve = |repository: &crate::plan::Repository| {
            Ok(Repository {
                source: Source::resolve(repository, mirrors)?,
                signed_packages: repository.signed_packages,
                address: repository.address,
            })
        };
        let script = plan.root.scripts.iter().any(|script| script.phase == ScriptPhase::PostBootstrap);
        Ok(Rpm {
            manager: plan.packages.manager,
            request: plan.packages.clone(),
            update_stack: plan.update_stack,
            repositories: plan.repositories.iter().map(resolve).collect::<Result<_>>()?,
            arch: plan.image.arch.clone(),
            scratch: scratch.to_path_buf(),
            store: store.clone(),
            divided: script || !plan.root.bootstrap_archives.is_empty(),
            certificates: plan.trusted_files(),
            initrds: Initrds::of(plan),
            beneath: Beneath::Nothing,
            version: String::new(),
            bootstrap: BTreeSet::new(),
            dependencies: Dependencies::Whole,
            modules: Vec::new(),
        })
    }

    /// Says what the tree begins as.
    pub fn on_top_of(mut self, beneath: Beneath) -> Rpm {
        self.beneath = beneath;
        self
    }

    /// Whether the packages of a base are all that is wanted.
    fn asks_for_nothing(&self) -> bool {
        self.beneath != Beneath::Nothing && self.named().next().is_none() && !self.request.has_groups()
    }

    /// What the description names, in both lists.
    fn named(&self) -> impl Iterator<Item = &Named> {
        self.request.bootstrap.iter().chain(&self.request.image)
    }

    fn used(&self) -> Vec<&Repository> {
        self.repositories.iter().filter(|one| one.source.used != RepositoryUse::ImageOnly).collect()
    }

    /// Takes the update stack, and what only it needs, out of what the manager chose. Says whether the rest still has
    /// everything that it requires.
    fn leave_out_stack(
        &self,
        chosen: &mut Vec<Chosen>,
        headers: &mut Vec<Header>,
        reporter: &Reporter,
    ) -> Result<Dependencies> {
        let graph = Graph::new(headers, self.request.recommends);
        let request = &self.request;
        let mut wanted = graph.asked_for(&request.bootstrap, &request.bootstrap_groups);
        wanted.extend(graph.asked_for(&request.image, &request.image_groups));
        wanted.extend((0..chosen.len()).filter(|at| chosen[*at].asked_for));
        let left_out = stack::left_out(self, headers, &wanted, reporter)?;
        let mut at = 0..;
        chosen.retain(|_| at.next().is_some_and(|at| !left_out.places.contains(&at)));
        let mut at = 0..;
        headers.retain(|_| at.next().is_some_and(|at| !left_out.places.contains(&at)));
        Ok(if left_out.required { Dependencies::WithoutStack } else { Dependencies::Whole })
    }

    /// Positions of the packages of the bootstrap phase: all where nothing runs between the two.
    fn bootstrap_of(&self, graph: &Graph, packages: usize) -> BTreeSet<usize> {
        let request = &self.request;
        // A group of dnf is no package, so that nobody can tell its members from the others.
        let dnf_groups = self.manager != Manager::Zypper && !request.bootstrap_groups.collections.is_empty();
        if !self.divided || dnf_groups {
            return (0..packages).collect();
        }
        graph.closure(graph.asked_for(&request.bootstrap, &request.bootstrap_groups))
    }
}

impl PackageManager for Rpm {
    fn resolve(&mut self, reporter: &Reporter) -> Result<PackageSet> {
        if self.asks_for_nothing() {
            return Ok(PackageSet::default());
        }
        let step = reporter.step("resolve");
        let used = self.used();
        if used.is_empty() {
            return Err(
                Error::cannot(Exit::Description, "resolve the packages").because("no repository is used for the build")
            );
        }
        let folder = ManagerFolder::open(self, &used, reporter)?;
        let (decided, version) = std::thread::scope(|scope| {
            // Not in the folder's sandbox: the manager works there meanwhile.
            let version = Program::new("rpm").arg("--version").env("HOME", folder.scratch.join("home"));
            let version = scope.spawn(|| version.run(reporter));
            let check = |chosen: &[Chosen]| query::verify(&folder, chosen, &used, reporter);
            let decided = match self.manager {
                Manager::Zypper => zypper::solve(self, &folder, &used, &check, reporter),
                _ => dnf::solve(self, &folder, &used, &check, reporter),
            };
            (decided, version.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let ((decision, solution), version) = (decided?, version?);
        let (mut chosen, modules) = (decision.chosen, decision.modules);
        let releases = used.iter().map(|repository| repomd::read(repository, &used, &folder, reporter));
        let releases: Vec<ReleaseFile> = releases.collect::<Result<_>>()?;
        let signed = releases.iter().filter(|release| release.signed == Signed::Required).count();
        let kept = self.scratch.join("rpm").join("archives");
        file::create_folders(&kept)?;
        let mut headers = chosen.iter().map(|one| query::header(&one.archive)).collect::<Result<Vec<Header>>>()?;
        if self.update_stack == UpdateStack::None {
            self.dependencies = self.leave_out_stack(&mut chosen, &mut headers, reporter)?;
        }
        let used = self.used();
        let summary = format!("{} packages from {} repositories, {signed} signed", chosen.len(), used.len());
        let graph = Graph::new(&headers, self.request.recommends);
        let request = &self.request;
        let mut requested = graph.asked_for(&request.bootstrap, &request.bootstrap_groups);
        requested.extend(graph.asked_for(&request.image, &request.image_groups));
        let bootstrap = self.bootstrap_of(&graph, headers.len());
        let mut packages = Vec::new();
        let mut of_bootstrap = BTreeSet::new();
        for (at, (one, header)) in std::iter::zip(chosen, &headers).enumerate() {
            let requested = requested.contains(&at) || one.asked_for;
            let package = package(one, header, &kept, requested)?;
            if bootstrap.contains(&at) {
                of_bootstrap.insert(package.sha256.clone());
            }
            packages.push(package);
        }
        packages.sort_by(|a, b| (&a.name, &a.version, &a.arch).cmp(&(&b.name, &b.version, &b.arch)));
        let newest = releases.iter().filter(|release| release.signed == Signed::Required);
        let newest = newest.filter_map(|release| release.date).max();
        let newest = newest.or_else(|| releases.iter().filter_map(|release| release.date).max());
        self.version = String::from_utf8_lossy(&version.stdout).trim().to_string();
        self.bootstrap = of_bootstrap;
        step.finish(&summary);
        self.modules = modules;
        Ok(PackageSet { packages, releases, newest_release: newest.unwrap_or(0), solution })
    }

    fn members<'a>(&self, set: &'a PackageSet, phase: Phase) -> Vec<&'a Package> {
        let wanted = |package: &&Package| self.bootstrap.contains(&package.sha256) == (phase == Phase::Bootstrap);
        set.packages.iter().filter(wanted).collect()
    }

    fn install(
        &self,
        set: &PackageSet,
        phase: Phase,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<()> {
        install::install(self, &self.members(set, phase), phase, tree, sandbox, reporter)
    }

    fn settle(&self, _set: &PackageSet, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
        if self.update_stack == UpdateStack::Kept {
            image_sources::write(self, tree, sandbox, reporter)?;
            if self.manager.is_dnf() {
                dnf::write_modules(self, tree)?;
            }
        }
        Ok(())
    }

    fn uninstall(
        &self,
        named: &[Named],
        set: &PackageSet,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<Vec<String>> {
        removal::uninstall(self, named, set, tree, sandbox, reporter)
    }

    fn delete(&self, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>> {
        removal::delete(self, tree, sandbox, reporter)
    }

    fn finish(
        &self,
        _set: &PackageSet,
        tree: &Rooted,
        _sandbox: &Sandbox,
        _reporter: &Reporter,
    ) -> Result<Vec<String>> {
        install::forget_traces(tree)?;
        if self.update_stack == UpdateStack::None {
            stack::forget_state(tree)?;
        }
        Ok(Vec::new())
    }

    fn influences(&self) -> Vec<(&'static str, String)> {
        vec![
            ("the architecture", self.arch.clone()),
            ("what rpm is told", format!("{:?}", self.request.rpm)),
            ("the package manager", self.manager.word().to_string()),
            ("the host's rpm", self.version.clone()),
            (
                "the packages of the base",
                format!("{:?}", self.beneath.database().map(|(_, file)| Sha256::of(file)).collect::<Vec<_>>()),
            ),
            ("when initrds are made", self.initrds.word().to_string()),
            ("the phases", if self.divided { "two".into() } else { "one".into() }),
        ]
    }

    fn fingerprint(&self) -> String {
        let modules: Vec<_> = self.request.modules.iter().map(|one| (one.spelled(), one.enabled)).collect();
        Sha256::of(format!("{:?} {modules:?}", self.repositories)).to_string()
    }
}

/// A package that the manager chose.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Where the manager put it.
    pub archive: PathBuf,
    /// Alias of its repository.
    pub repository: String,
    /// Whether the manager says that it is in a group that the description names; what it names itself need not be.
    pub asked_for: bool,
    /// Known once it is read.
    pub digest: Sha256,
    /// Known once it is read.
    pub size: Bytes,
}

impl Chosen {
    /// Not read yet.
    pub fn new(archive: PathBuf, repository: String, asked_for: bool) -> Chosen {
        Chosen { archive, repository, asked_for, digest: Sha256::of(""), size: Bytes(0) }
    }

    /// Reads it.
    pub fn with_digest(self) -> Result<Chosen> {
        let (digest, size) = Sha256::of_reader(file::open(&self.archive)?)
            .map_err(|error| Error::cannot(Exit::Io, format!("read {}", self.archive.display())).because(error))?;
        Ok(Chosen { digest, size, ..self })
    }
}

fn package(chosen: Chosen, header: &Header, kept: &Path, requested: bool) -> Result<Package> {
    let Chosen { digest, size, .. } = chosen;
    // The manager's cache may lose it while the image is built: another build cleans it.
    let archive = kept.join(format!("{digest}.rpm"));
    if !file::is_file(&archive) && file::hard_link(&chosen.archive, &archive).is_err() {
        file::copy(&chosen.archive, &archive)?;
    }
    let (source, source_version) = query::source(header);
    Ok(Package {
        name: header.name(),
        version: header.version(),
        arch: header.arch(),
        source,
        source_version,
        sha256: digest.to_string(),
        size,
        installed_size: Bytes(header.size()),
        repository: chosen.repository,
        archive,
        essential: false,
        requested,
        control: Default::default(),
    })
}
