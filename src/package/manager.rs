//! What every package manager can do, whatever its packages are.
//!
//! In: the plan's repositories and names. Out: a [`PackageSet`], and later a tree with it. One solution for everything
//! that a description asks for; two halves of an installation, because `post_bootstrap.sh` runs between them. Never
//! touches the host's own package database.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use super::pacman::Pacman;
use super::rpm::Rpm;
use super::{Apt, Mirrors, Package, PackageSet, Unpacker};
use crate::cache::PackageStore;
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::plan::{Manager, Named, Plan};
use crate::report::Reporter;

/// The two halves of an installation; between them `post_bootstrap.sh` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Essential packages, the bootstrap list, and what they need.
    Bootstrap,
    /// The rest.
    Image,
}

/// What a tree begins as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beneath {
    /// Nothing.
    #[default]
    Nothing,
    /// A container with these files of a package database ([`is_database`](super::installed::is_database)), where they
    /// really are; none: it has no packages.
    Base(BTreeMap<RootPath, Vec<u8>>),
}

impl Beneath {
    /// The files of the package database.
    pub fn database(&self) -> impl Iterator<Item = (&RootPath, &[u8])> {
        let files = match self {
            Beneath::Nothing => None,
            Beneath::Base(files) => Some(files),
        };
        files.into_iter().flatten().map(|(path, content)| (path, content.as_slice()))
    }

    /// dpkg's status file; empty where there are no packages of dpkg.
    pub fn status(&self) -> &[u8] {
        let status = RootPath::from(super::database::STATUS);
        self.database().find(|(path, _)| **path == status).map(|(_, content)| content).unwrap_or_default()
    }
}

/// A package manager for one image.
pub trait PackageManager: Debug + Send + Sync {
    /// Solves, fetches and verifies: signatures of the repositories, digests of the archives.
    /// 65 for a request that cannot be satisfied, 75 for a mirror that fails, 76 for a bad signature or digest.
    fn resolve(&mut self, reporter: &Reporter) -> Result<PackageSet>;

    /// The packages of one phase, in the order of the set.
    fn members<'a>(&self, set: &'a PackageSet, phase: Phase) -> Vec<&'a Package>;

    /// Installs one phase of `set` into `tree`, whose programs run in `sandbox`.
    /// 65 for a package that cannot be installed, 74 where the tree is full, 76 for a damaged archive.
    fn install(
        &self,
        set: &PackageSet,
        phase: Phase,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<()>;

    /// Tells the package manager of an image that keeps it what was asked for, and where packages come from. After
    /// [`Phase::Image`]; its own step because it depends on repositories, and what is installed does not.
    fn settle(&self, set: &PackageSet, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<()>;

    /// `--delete-package` and `<packages type="uninstall">`: removes what is named, with what only it needed. Returns
    /// the names of what went.
    fn uninstall(
        &self,
        named: &[Named],
        set: &PackageSet,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<Vec<String>>;

    /// `<packages type="delete">`: removes without looking at dependencies. Returns the names of what went.
    fn delete(&self, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>>;

    /// Ends the work on packages, after the last script: no package manager where none is wanted, and a database that
    /// describes what is left. Returns the names of the packages that it removed.
    fn finish(&self, set: &PackageSet, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>>;

    /// What influences an installation beside the packages themselves: names for people, and values.
    fn influences(&self) -> Vec<(&'static str, String)>;

    /// A digest of where packages come from and of the keys that sign them: the image's own sources follow from it.
    fn fingerprint(&self) -> String;
}

/// The package manager that the plan asks for. Touches no network; `scratch` is a folder of this build alone.
/// 65 for a repository that cannot be used, 69 where the host lacks the program, 78 for a mirror that nobody knows.
pub fn open(
    plan: &Plan,
    mirrors: &Mirrors,
    store: &PackageStore,
    unpacker: Unpacker,
    scratch: &Path,
    beneath: Beneath,
) -> Result<Box<dyn PackageManager>> {
    match plan.packages.manager {
        Manager::Apt => Ok(Box::new(Apt::open(plan, mirrors, store, scratch)?.unpacker(unpacker).on_top_of(beneath))),
        Manager::Pacman => Ok(Box::new(Pacman::open(plan, mirrors, store, scratch)?.on_top_of(beneath))),
        _ => Ok(Box::new(Rpm::open(plan, mirrors, store, scratch)?.on_top_of(beneath))),
    }
}

impl PackageManager for Apt {
    fn resolve(&mut self, reporter: &Reporter) -> Result<PackageSet> {
        Apt::resolve(self, reporter)
    }

    fn members<'a>(&self, set: &'a PackageSet, phase: Phase) -> Vec<&'a Package> {
        Apt::members(self, set, phase)
    }

    fn install(
        &self,
        set: &PackageSet,
        phase: Phase,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<()> {
        Apt::install(self, set, phase, tree, sandbox, reporter)
    }

    fn settle(&self, set: &PackageSet, tree: &Rooted, _sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
        Apt::settle(self, set, tree, reporter)
    }

    fn uninstall(
        &self,
        named: &[Named],
        set: &PackageSet,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<Vec<String>> {
        Apt::uninstall(self, named, set, tree, sandbox, reporter)
    }

    fn delete(&self, tree: &Rooted, _sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>> {
        Apt::delete(self, tree, reporter)
    }

    fn finish(&self, set: &PackageSet, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>> {
        Apt::finish(self, set, tree, sandbox, reporter)
    }

    fn influences(&self) -> Vec<(&'static str, String)> {
        Apt::influences(self).into()
    }

    fn fingerprint(&self) -> String {
        Apt::fingerprint(self)
    }
}
