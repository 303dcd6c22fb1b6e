//! Packages of Arch Linux and its derivatives: the host's pacman decides, fetches, verifies and installs.
//!
//! In: the plan's repositories and names. Out: a [`PackageSet`] with every archive in the store, and a tree in which pacman
//! installed them, in one transaction where nothing has to run between the two phases. pacman works in a folder of the
//! cache ([`folder`]), sees the host read-only, and has no network while it installs: no lock, log, cache, keyring or list
//! of a repository is ever in the image or on the host. On top of a container pacman decides with that one's packages
//! installed ([`beneath`]). Never trusts a key that the description does not name, and never asks a key server for one.

mod beneath;
mod database;
mod decision;
mod failure;
mod folder;
mod graph;
mod image_sources;
mod install;
mod request;
mod stack;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::manager::PackageManager;
use super::repository::Source;
use super::{Beneath, Mirrors, Package, PackageSet, Phase, ReleaseFile, Solution, deb822::Stanza, release_file};
use crate::bytes::Bytes;
use crate::cache::{PackageStore, Sha256};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::rooted::Rooted;
use crate::host::sandbox::Sandbox;
use crate::plan::{Named, PackageRequest, Plan, RepositoryUse, ScriptPhase, Signed, UpdateStack, Warning};
use crate::report::Reporter;
use database::{Entry, Offered};
use decision::Decided;
use folder::PacmanFolder;

/// The name of a package's archive in [`Package::control`].
const FILE_NAME: &str = "FILENAME";
/// The name of the database that a package is in.
const DATABASE: &str = "DATABASE";

/// A database of a repository, with every name resolved.
#[derive(Clone, Debug)]
struct Section {
    /// Its name in pacman.conf(5): the database is `NAME.db`.
    name: String,
    source: Source,
    signed_packages: Signed,
}

/// A package manager for one image.
#[derive(Debug)]
pub struct Pacman {
    request: PackageRequest,
    update_stack: UpdateStack,
    sections: Vec<Section>,
    arch: String,
    /// A folder of this build alone.
    scratch: PathBuf,
    store: PackageStore,
    /// Whether something runs between the two phases.
    divided: bool,
    /// The certificates of the description, which downloads trust beside those of the host.
    certificates: Vec<PathBuf>,
    /// What the tree begins as.
    beneath: Beneath,
    /// What is taken for installed, once the repositories are known.
    assumed: Vec<String>,
}

/// Arch Linux's name for a machine, from what `uname -m` says.
fn arch_linux_architecture(machine: &str) -> &str {
    match machine {
        "armv7l" | "armv7hl" => "armv7h",
        "armv6l" | "armv6hl" => "armv6h",
        "i386" | "i586" | "ix86" => "i686",
        other => other,
    }
}

impl Pacman {
    /// Decides where everything comes from; touches no network.
    pub fn open(plan: &Plan, mirrors: &Mirrors, store: &PackageStore, scratch: &Path) -> Result<Pacman> {
        let mut sections: Vec<Section> = Vec::new();
        for repository in &plan.repositories {
            let source = Source::resolve(repository, mirrors)?;
            let own = [repository.alias.clone()];
            let names = if repository.components.is_empty() { &own[..] } else { &repository.components };
            for name in names {
                let refused = |why: String| {
                    Error::cannot(Exit::Description, format!("use the repository `{}`", repository.alias))
                        .because(why)
                        .at(repository.place.clone())
                        .hint("components=\"...\" names its databases: core is the one in core.db")
                };
                if !is_section(name) {
                    return Err(refused(format!("`{name}` is not the name of a database of packages")));
                }
                if sections.iter().any(|section| section.name == *name) {
                    return Err(refused(format!("another repository has a database called `{name}`, too")));
                }
                let signed_packages = repository.signed_packages;
                sections.push(Section { name: name.clone(), source: source.clone(), signed_packages });
            }
        }
        let script = plan.root.scripts.iter().any(|script| script.phase == ScriptPhase::PostBootstrap);
        Ok(Pacman {
            request: plan.packages.clone(),
            update_stack: plan.update_stack,
            sections,
            arch: arch_linux_architecture(&plan.image.arch).to_string(),
            scratch: scratch.join("pacman"),
            store: store.clone(),
            divided: script || !plan.root.bootstrap_archives.is_empty(),
            certificates: plan.trusted_files(),
            beneath: Beneath::Nothing,
            assumed: Vec::new(),
        })
    }

    /// Says what the tree begins as.
    pub fn on_top_of(mut self, beneath: Beneath) -> Pacman {
        self.beneath = beneath;
        self
    }

    /// What the description names, in both lists.
    fn named(&self) -> impl Iterator<Item = &Named> {
        self.request.bootstrap.iter().chain(&self.request.image)
    }

    /// The databases that this build uses.
    fn used(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| section.source.used != RepositoryUse::ImageOnly)
    }

    fn warn_of_priorities(&self, reporter: &Reporter) {
        for section in self.used().filter(|section| section.source.priority.is_some()) {
            let text = format!(
                "priority of `{}` is ignored: pacman takes a package from the first repository that has it",
                section.source.alias
            );
            reporter.warn(Warning { text, place: Some(section.source.place.clone()) });
        }
    }

    /// What each repository says of itself, its signature checked once more: pacman trusts the keys of all for each.
    fn releases(
        &self,
        folder: &PacmanFolder,
        offered: &BTreeMap<String, Vec<Offered>>,
        reporter: &Reporter,
    ) -> Result<Vec<ReleaseFile>> {
        let mut releases = Vec::new();
        for section in self.used() {
            let source = &section.source;
            let path = folder.database(&section.name);
            let signed_by = match source.signed {
                Signed::NotChecked => None,
                Signed::Required => {
                    let signature = PathBuf::from(format!("{}.sig", path.display()));
                    let keyring = folder.keys(&section.name);
                    release_file::signer(&path, Some(&signature), &keyring, reporter).map_err(|error| {
                        error
                            .within(format!("verify the signature of the repository `{}`", source.alias))
                            .at(source.place.clone())
                            .hint("name the key that signs it with <signing key=.../>")
                    })?
                }
            };
            let dates = offered.get(&section.name).into_iter().flatten().filter_map(|package| package.built);
            releases.push(ReleaseFile {
                repository: source.alias.clone(),
                title: section.name.clone(),
                date: dates.max(),
                sha256: Sha256::of(file::read(&path)?).to_string(),
                signed: source.signed,
                signed_by,
            });
        }
        Ok(releases)
    }

    /// The archives of what pacman chose, in the store; what is there already is not fetched again.
    fn fetch(
        &self,
        folder: &PacmanFolder,
        words: &[String],
        releases: &[ReleaseFile],
        offered: &BTreeMap<String, Vec<Offered>>,
        reporter: &Reporter,
    ) -> Result<(Vec<Package>, Solution)> {
        let answer = self.answer(folder, words, releases)?;
        if let Some(answer) = &answer
            && let Some(packages) = self.remembered(folder, answer, offered, reporter)?
        {
            folder.keep_lists(self)?;
            let step = reporter.step("fetch");
            let size: Bytes = packages.iter().map(|package| package.size).sum();
            step.cache(packages.len() as u64, 0);
            step.finish(&format!("{} packages, {size}, of an earlier build's solution", packages.len()));
            return Ok((packages, Solution::Remembered));
        }
        let (words, chosen) = self.choose(folder, words, reporter)?;
        let words = words.as_slice();
        self.refuse_ignored(&chosen)?;
        let step = reporter.step("fetch");
        let mut wanted = Vec::new();
        for (repository, name, version) in &chosen {
            let is_it = |package: &&Offered| package.name == *name && package.version == *version;
            let package = offered.get(repository).and_then(|packages| packages.iter().find(is_it));
            let package = package.ok_or_else(|| {
                Error::cannot(Exit::Integrity, format!("fetch the package {name} {version}"))
                    .because(format!("the database {repository} does not say its SHA-256, its size and its file"))
            })?;
            wanted.push((repository, package));
        }
        let mut stored = 0;
        for (_, package) in &wanted {
            if let Some(path) = self.store.get(package.digest, package.size)? {
                file::remove(&folder.archive(&package.file))?;
                file::hard_link(&path, &folder.archive(&package.file))?;
                stored += 1;
            }
        }
        let installed = folder.commit(self, words, reporter)?;
        let size: Bytes = wanted.iter().map(|(_, package)| package.size).sum();
        let base = beneath::packages(&self.beneath);
        let (mut packages, mut decided) = (Vec::new(), Vec::new());
        for entry in installed.into_iter().filter(|entry| !base.contains(entry)) {
            let found = wanted.iter().find(|(_, package)| entry.is(package));
            let (repository, offered) = found.ok_or_else(|| {
                Error::cannot(Exit::Bug, format!("tell where {} comes from", entry.text("NAME")))
                    .because("pacman did not choose it and installed it")
            })?;
            let path = folder.archive(&offered.file);
            if let Some(keyring) = folder.keys_of_packages(repository) {
                let signature = PathBuf::from(format!("{}.sig", path.display()));
                release_file::signer(&path, Some(&signature), &keyring, reporter)
                    .map_err(|error| error.within(format!("verify the signature of {}", offered.file)))?;
            }
            let archive = self.keep(offered, &path)?;
            packages.push(self.package(&entry, repository, offered, archive));
            decided.push(Decided { database: repository.to_string(), entry });
        }
        for (_, package) in &wanted {
            file::remove(&folder.archive(&package.file))?;
        }
        let (count, downloaded) = (wanted.len(), wanted.len() - stored);
        step.cache(stored as u64, downloaded as u64);
        step.finish(&format!("{count} packages, {size}: {stored} from the store, {downloaded} downloaded"));
        // Sorted by name, as what is installed is.
        let Some(answer) = answer else {
            let why = "it is on top of a base, or nothing says which pacman this host has";
            return Ok((packages, Solution::Made(why.into())));
        };
        decision::keep(&answer, &decided)?;
        Ok((packages, Solution::new_question()))
    }

    /// The archive's place in the store.
    fn keep(&self, offered: &Offered, path: &Path) -> Result<PathBuf> {
        let incoming = self.store.receive(offered.digest, offered.size)?;
        if let Some(stored) = self.store.get(offered.digest, offered.size)? {
            return Ok(stored);
        }
        file::remove(incoming.path())?;
        file::hard_link(path, incoming.path())?;
        self.store.accept(incoming, &offered.name)
    }
}

/// `[options]` is no repository, and `local` is what is installed (pacman.conf(5)).
fn is_section(name: &str) -> bool {
    let odd = |char: char| char.is_whitespace() || char.is_control() || "/[]#\"'\\".contains(char);
    !name.is_empty() && !["options", "local"].contains(&name) && !name.starts_with(['.', '-']) && !name.contains(odd)
}

fn package(entry: &Entry, offered: &Offered, repository: String, archive: PathBuf) -> Package {
    let version = entry.text("VERSION").to_string();
    let mut control = Stanza::default();
    control.set(FILE_NAME, &offered.file);
    for name in graph::FIELDS {
        control.set(name, entry.words(name).join(", "));
    }
    let base = entry.text("BASE");
    Package {
        source: if base.is_empty() { offered.name.clone() } else { base.to_string() },
        source_version: version.clone(),
        name: offered.name.clone(),
        version,
        arch: entry.text("ARCH").to_string(),
        sha256: offered.digest.to_string(),
        size: offered.size,
        installed_size: Bytes(entry.text("SIZE").parse().unwrap_or(0)),
        repository,
        archive,
        essential: false,
        requested: !entry.is_dependency(),
        control,
    }
}

impl PackageManager for Pacman {
    fn resolve(&mut self, reporter: &Reporter) -> Result<PackageSet> {
        if self.asks_for_nothing() {
            return Ok(PackageSet::default());
        }
        let step = reporter.step("resolve");
        if self.used().next().is_none() {
            return Err(
                Error::cannot(Exit::Description, "resolve the packages").because("no repository is used for the build")
            );
        }
        self.warn_of_priorities(reporter);
        let folder = PacmanFolder::open(self, reporter)?;
        folder.refresh(self, reporter)?;
        let mut offered = BTreeMap::new();
        for section in self.used() {
            let packages = database::read(&folder.database(&section.name), &section.name)
                .map_err(|error| error.at(section.source.place.clone()))?;
            offered.insert(section.name.clone(), packages);
        }
        let releases = self.releases(&folder, &offered, reporter)?;
        self.assume(&offered);
        let words = self.words(&offered, reporter)?;
        let signed = releases.iter().filter(|release| release.signed == Signed::Required).count();
        step.finish(&format!("{} names in {} databases, {signed} signed", words.len(), releases.len()));
        let (packages, solution) = match words.is_empty() {
            true => (Vec::new(), Solution::None),
            false => self.fetch(&folder, &words, &releases, &offered, reporter)?,
        };
        let dates = |wanted: Option<Signed>| {
            let fits = |release: &&ReleaseFile| wanted.is_none_or(|wanted| release.signed == wanted);
            releases.iter().filter(fits).filter_map(|release| release.date).max()
        };
        let newest_release = dates(Some(Signed::Required)).or_else(|| dates(None)).unwrap_or(0);
        Ok(PackageSet { packages, newest_release, releases, solution })
    }

    fn members<'a>(&self, set: &'a PackageSet, phase: Phase) -> Vec<&'a Package> {
        let bootstrap = self.bootstrap(set);
        let indexed = set.packages.iter().enumerate();
        indexed.filter(|(at, _)| bootstrap.contains(at) == (phase == Phase::Bootstrap)).map(|(_, one)| one).collect()
    }

    fn install(
        &self,
        set: &PackageSet,
        phase: Phase,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<()> {
        Pacman::install(self, &self.members(set, phase), phase, tree, sandbox, reporter)
    }

    fn settle(&self, _set: &PackageSet, tree: &Rooted, _sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
        match self.update_stack {
            UpdateStack::Kept => self.write_sources(tree, reporter),
            UpdateStack::None => Ok(()),
        }
    }

    fn uninstall(
        &self,
        named: &[Named],
        _set: &PackageSet,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<Vec<String>> {
        Pacman::uninstall(self, named, tree, sandbox, reporter)
    }

    fn delete(&self, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>> {
        Pacman::delete(self, tree, sandbox, reporter)
    }

    fn finish(&self, _set: &PackageSet, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>> {
        Pacman::finish(self, tree, sandbox, reporter)
    }

    fn influences(&self) -> Vec<(&'static str, String)> {
        vec![
            ("the package manager", "pacman".to_string()),
            ("the architecture", self.arch.clone()),
            ("the phases", if self.divided { "two".into() } else { "one".into() }),
            ("what is taken for installed", format!("{:?}", self.update_stack)),
            (
                "the packages of the base",
                format!("{:?}", self.beneath.database().map(|(_, file)| Sha256::of(file)).collect::<Vec<_>>()),
            ),
        ]
    }

    fn fingerprint(&self) -> String {
        Sha256::of(format!("{:?}", self.sections)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_the_name_of_a_file_and_not_one_of_pacmans_own() {
        for name in ["core", "Arch_Extra_standard", "multilib-testing"] {
            assert!(is_section(name), "{name}");
        }
        for name in ["", "options", "local", "../x", "a b", "a]", "-x", ".x"] {
            assert!(!is_section(name), "{name}");
        }
    }

    #[test]
    fn machines_have_their_names_in_arch_linux() {
        for (machine, arch) in [("x86_64", "x86_64"), ("aarch64", "aarch64"), ("armv7l", "armv7h"), ("ix86", "i686")] {
            assert_eq!(arch_linux_architecture(machine), arch);
        }
    }
}
