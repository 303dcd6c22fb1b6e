//! Installing packages with the real dpkg, inside the tree.
//!
//! In: verified archives in apt's order and a tree. Out: the same tree with every package installed and configured,
//! and dpkg's audit empty. `Unpacker::Dpkg` is the plain way and the oracle of the parallel unpacker. Never runs a
//! maintainer script outside the sandbox, never asks a question, never starts a service (policy-rc.d).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::apt::Apt;
use super::database;
use super::dependency::{Follow, Graph};
use super::order::{self, Batch};
use super::solution;
use super::unpack;
use super::{Beneath, Package, PackageSet, Phase};
use crate::cache::{UnpackedStore, unpacked};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::program::{Program, status_text};
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::host::untar::{self, Folders, Owners, Policy, Replace};
use crate::plan::UpdateStack;
use crate::report::{Reporter, Step};

/// Who unpacks archives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unpacker {
    /// dpkg, one archive after the other.
    #[default]
    Dpkg,
    /// ingot, on all cores; dpkg only configures.
    Parallel,
}

/// Where programs in the sandbox find the archives.
const ARCHIVES: &str = "/run/ingot-packages";

/// Says no to every init script that wants to start a service while the image is built (invoke-rc.d(8)).
pub(super) const POLICY: &str = "/usr/sbin/policy-rc.d";
pub(super) const POLICY_TEXT: &str = "#!/bin/sh\nexit 101\n";

/// Questions about configuration files have one answer: the package's if nobody changed the file, else the file.
const OPTIONS: &[&str] = &["--force-confdef", "--force-confold", "--force-unsafe-io"];

/// How many lines before an error are shown.
const TAIL: usize = 8;

impl Apt {
    /// Installs one phase of `set` into `tree`, whose programs run in `sandbox`.
    ///
    /// # Errors
    ///
    /// 65 for a package that cannot be installed: its name, its script, the end of what it printed; 74 where the
    /// tree is full; 76 for a damaged archive.
    pub fn install(
        &self,
        set: &PackageSet,
        phase: Phase,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<()> {
        let graph = Graph::new(set.packages.iter().map(|package| &package.control));
        let bootstrap = self.bootstrap_set(set, &graph);
        let members: Vec<usize> =
            (0..set.packages.len()).filter(|at| bootstrap.contains(at) == (phase == Phase::Bootstrap)).collect();
        let packages = |at: &[usize]| at.iter().map(|at| set.packages[*at].clone()).collect::<Vec<Package>>();
        // A base may have no package manager that could do nothing.
        if members.is_empty() && self.beneath != Beneath::Nothing {
            return Ok(());
        }
        if phase == Phase::Bootstrap {
            lay_out(self, tree)?;
        }
        match self.unpacker {
            Unpacker::Parallel => {
                let step = reporter.step("unpack");
                step.total(members.len() as u64);
                let store = UnpackedStore::open(self.store.cache(), unpacked::LIMIT)?;
                unpack::unpack(&packages(&members), tree, sandbox, &store, &step)?;
                step.finish(&format!("{} packages", members.len()));
                let step = reporter.step("configure");
                step.total(members.len() as u64);
                self.configure(tree, sandbox, &step)?;
                step.finish(&format!("{} packages", members.len()));
            }
            Unpacker::Dpkg => {
                let archives = Archives::link(&set.packages, &self.scratch)?;
                let shown = sandbox.clone().bind(&archives.folder, &ARCHIVES.into());
                let name = if phase == Phase::Bootstrap { "bootstrap" } else { "install" };
                let step = reporter.step(name);
                let run = Run { sandbox: &shown, step: &step };
                run.step.total(members.len() as u64);
                let mut configured = if phase == Phase::Image { bootstrap.clone() } else { BTreeSet::new() };
                let mut rest = members.clone();
                if phase == Phase::Bootstrap && self.beneath.status().is_empty() {
                    configured = install_essential(set, &graph, tree, &run, &archives, &self.scratch)?;
                    rest.retain(|at| !configured.contains(at));
                }
                for batch in order::batches(&graph, &rest, &configured) {
                    install_batch(&batch, set, &run, &archives)?;
                }
                self.configure(tree, sandbox, run.step)?;
                step.finish(&format!("{} packages", members.len()));
            }
        }
        check(&packages(&members), tree, sandbox, reporter)
    }

    /// Tells the package manager of an image that keeps it what was installed by hand, and where packages come from.
    /// After [`Phase::Image`]; its own step because it depends on repositories, and what is installed does not.
    pub fn settle(&self, set: &PackageSet, tree: &Rooted, reporter: &Reporter) -> Result<()> {
        if self.update_stack == UpdateStack::Kept {
            if !self.asks_for_nothing() {
                self.write_extended_states(set, tree)?;
            }
            self.write_sources(tree, reporter)?;
        }
        Ok(())
    }

    /// Configures everything that is unpacked.
    fn configure(&self, tree: &Rooted, sandbox: &Sandbox, step: &Step) -> Result<()> {
        self.initrds.deferred(tree, sandbox, |sandbox| Run { sandbox, step }.dpkg(&["--configure", "-a"]))
    }

    /// What influences an installation beside the packages themselves: names for people, and values.
    pub fn influences(&self) -> [(&'static str, String); 3] {
        let architectures = [std::slice::from_ref(&self.native), &self.foreign].concat().join(" ");
        let unpacker = match self.unpacker {
            Unpacker::Dpkg => "dpkg",
            Unpacker::Parallel => "parallel",
        };
        [
            ("the architecture", architectures),
            ("the unpacker", unpacker.into()),
            ("when initrds are made", self.initrds.word().into()),
        ]
    }

    /// A digest of where packages come from and of the keys that sign them: the image's own sources follow from it.
    pub fn fingerprint(&self) -> String {
        crate::cache::Sha256::of(format!("{:?} {:?}", self.sources, self.keyrings)).to_string()
    }

    /// The packages of one phase, in the order of the set.
    pub fn members<'a>(&self, set: &'a PackageSet, phase: Phase) -> Vec<&'a Package> {
        let bootstrap = self.bootstrap_set(set, &Graph::new(set.packages.iter().map(|package| &package.control)));
        let indexed = set.packages.iter().enumerate();
        indexed.filter(|(at, _)| bootstrap.contains(at) == (phase == Phase::Bootstrap)).map(|(_, one)| one).collect()
    }

    /// Essential packages, the bootstrap list, and what they need.
    fn bootstrap_set(&self, set: &PackageSet, graph: &Graph) -> BTreeSet<usize> {
        let essential = (0..set.packages.len()).filter(|at| set.packages[*at].essential);
        let named = self.request.bootstrap.iter().flat_map(|named| {
            let relation = super::dependency::relations(solution::base_name(&named.name));
            relation.iter().flatten().flat_map(|relation| graph.satisfying(relation)).collect::<Vec<_>>()
        });
        graph.closure(essential.chain(named), Follow::Depends)
    }
}

/// What dpkg expects before the first package: the merged /usr, an empty database, and no services.
fn lay_out(apt: &Apt, tree: &Rooted) -> Result<()> {
    // Debian 12 and Ubuntu 24.04 and later are merged; before that, both ways worked.
    let wide: &[&str] = match apt.native.as_str() {
        "amd64" | "ppc64el" | "loong64" => &["bin", "sbin", "lib", "lib64"],
        _ => &["bin", "sbin", "lib"],
    };
    for name in wide {
        let path = RootPath::root().join(name);
        tree.create_folders(&RootPath::from("/usr").join(name), 0o755)?;
        if tree.entry(&path)?.is_none() {
            tree.symlink(format!("usr/{name}"), &path)?;
        }
    }
    for folder in ["alternatives", "info", "parts", "triggers", "updates"] {
        tree.create_folders(&RootPath::from("/var/lib/dpkg").join(folder), 0o755)?;
    }
    for empty in [database::STATUS, "/var/lib/dpkg/available"] {
        if tree.entry(&empty.into())?.is_none() {
            tree.write(&empty.into(), "", 0o644)?;
        }
    }
    if !apt.foreign.is_empty() {
        let text: String = std::iter::once(&apt.native).chain(&apt.foreign).map(|arch| format!("{arch}\n")).collect();
        tree.write(&"/var/lib/dpkg/arch".into(), text, 0o644)?;
    }
    if tree.entry(&POLICY.into())?.is_none() {
        tree.write(&POLICY.into(), POLICY_TEXT, 0o755)?;
    }
    Ok(())
}

/// Archives under names of their own in one folder that the sandbox can show.
struct Archives {
    folder: PathBuf,
}

impl Archives {
    fn link(packages: &[Package], scratch: &Path) -> Result<Archives> {
        let folder = scratch.join("archives");
        file::create_folders(&folder)?;
        for package in packages {
            let target = folder.join(name_of(package));
            // Another filesystem has no hard links to the store.
            if !file::is_file(&target) && file::hard_link(&package.archive, &target).is_err() {
                file::copy(&package.archive, &target)?;
            }
        }
        Ok(Archives { folder })
    }

    fn inside(&self, package: &Package) -> String {
        format!("{ARCHIVES}/{}", name_of(package))
    }
}

/// apt's name for an archive.
fn name_of(package: &Package) -> String {
    format!("{}_{}_{}.deb", package.name, package.version.replace(':', "%3a"), package.arch)
}

/// dpkg cannot run before it and what it needs are there: the essential packages' files are laid out first, by
/// ourselves, and then installed over that. Returns what is configured afterwards.
fn install_essential(
    set: &PackageSet,
    graph: &Graph,
    tree: &Rooted,
    run: &Run,
    archives: &Archives,
    scratch: &Path,
) -> Result<BTreeSet<usize>> {
    let essential = (0..set.packages.len()).filter(|at| set.packages[*at].essential);
    let base = graph.closure(essential, Follow::Depends);
    if base.is_empty() {
        return Ok(base);
    }
    let spool = scratch.join("data.tar");
    let policy = Policy { owners: Owners::FromArchive, folders: Folders::Kept, replace: Replace::Files };
    for at in &base {
        let package = &set.packages[*at];
        run.step.now(&package.name);
        let program = Program::new("dpkg-deb").arg("--fsys-tarfile").arg(&package.archive);
        program.run_into(run.step.reporter(), file::create(&spool)?)?;
        untar::extract(file::open(&spool)?, tree, &RootPath::root(), policy)
            .map_err(|error| error.within(format!("lay out the package {}", package.name)))?;
    }
    file::remove(&spool)?;
    // Its preinst makes /etc/passwd, which the other packages' scripts need.
    let (first, others): (Vec<usize>, Vec<usize>) =
        base.iter().partition(|at| set.packages[**at].name == "base-passwd");
    for group in [first, others].iter().filter(|group| !group.is_empty()) {
        let paths: Vec<String> = group.iter().map(|at| archives.inside(&set.packages[*at])).collect();
        let arguments = ["--install", "--force-depends"].into_iter().chain(paths.iter().map(String::as_str));
        run.dpkg(&arguments.collect::<Vec<_>>())?;
    }
    Ok(base)
}

fn install_batch(batch: &Batch, set: &PackageSet, run: &Run, archives: &Archives) -> Result<()> {
    if !batch.unpack.is_empty() {
        let paths: Vec<String> = batch.unpack.iter().map(|at| archives.inside(&set.packages[*at])).collect();
        let arguments = ["--unpack", "--auto-deconfigure"].into_iter().chain(paths.iter().map(String::as_str));
        run.dpkg(&arguments.collect::<Vec<_>>())?;
    }
    if !batch.configure.is_empty() {
        let name = |at: &usize| format!("{}:{}", set.packages[*at].name, set.packages[*at].arch);
        let names: Vec<String> = batch.configure.iter().map(name).collect();
        let arguments = ["--configure"].into_iter().chain(names.iter().map(String::as_str));
        run.dpkg(&arguments.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Runs of dpkg within one step.
struct Run<'a> {
    sandbox: &'a Sandbox,
    step: &'a Step,
}

impl Run<'_> {
    fn dpkg(&self, arguments: &[&str]) -> Result<()> {
        run_dpkg(self.sandbox, self.step.reporter(), arguments, |line| {
            self.step.now(line);
            if line.starts_with("Setting up ") {
                self.step.advance(1, 0);
            }
        })
    }
}

/// Runs dpkg with the usual options; `watch` sees each line that it prints. Fails as [`Apt::install`].
pub(super) fn run_dpkg(
    sandbox: &Sandbox,
    reporter: &Reporter,
    arguments: &[&str],
    mut watch: impl FnMut(&str) + Send,
) -> Result<()> {
    let mut said: Vec<String> = Vec::new();
    let words: Vec<&str> =
        ["dpkg"].into_iter().chain(OPTIONS.iter().copied()).chain(arguments.iter().copied()).collect();
    let ended = sandbox.run_to_end(reporter, &words, |line| {
        watch(line);
        said.push(line.to_string());
    })?;
    if ended.status.success() {
        return Ok(());
    }
    Err(failure(&format!("dpkg {}", arguments.first().unwrap_or(&"")), &status_text(ended.status), &said))
}

/// The error for a failed run of dpkg: the package, its script, its status, and what it printed last.
fn failure(command: &str, status: &str, said: &[String]) -> Error {
    let full = said.iter().any(|line| line.contains("No space left on device"));
    let exit = if full { Exit::Io } else { Exit::Description };
    let at = said.iter().position(|line| line.starts_with("dpkg: error processing "));
    let Some(at) = at else {
        let last = said[said.len().saturating_sub(TAIL)..].join("\n");
        return Error::cannot(exit, "install packages into the image")
            .because(format!("{command}: {status}"))
            .because(last);
    };
    // dpkg: error processing package NAME (--configure):
    //  installed NAME package post-installation script subprocess returned error exit status 3
    let subject = said[at].trim_start_matches("dpkg: error processing ").split(" (").next().unwrap_or_default();
    let subject = subject.trim_start_matches("package ").trim_start_matches("archive ");
    let subject = subject.rsplit('/').next().unwrap_or_default().trim_end_matches(':');
    let chatter =
        ["Setting up ", "Unpacking ", "Preparing to unpack ", "Selecting previously ", "Processing triggers "];
    let is_chatter = |line: &&str| chatter.iter().any(|start| line.starts_with(start));
    let after = said[at + 1..].iter().map(|line| line.trim());
    let why: Vec<&str> =
        after.take_while(|line| !line.starts_with("Errors were")).filter(|line| !is_chatter(line)).collect();
    let mut before: Vec<&str> = said[..at].iter().map(String::as_str).collect();
    if let Some(last) = before.iter().rposition(is_chatter) {
        let earlier: Vec<&str> = before.drain(..=last).filter(|line| !is_chatter(line)).collect();
        if before.is_empty() {
            // dpkg talks through one pipe, a script's complaint comes through the other one and may be here first.
            before = earlier;
        }
    }
    let before = &before[before.len().saturating_sub(TAIL)..];
    let mut error = Error::cannot(exit, format!("install the package {subject}"))
        .because(why.into_iter().take(3).collect::<Vec<_>>().join("\n"));
    if !before.is_empty() {
        let lines: Vec<String> = before.iter().map(|line| format!("| {line}")).collect();
        error = error.because(format!("last lines of its output\n{}", lines.join("\n")));
    }
    if full { error.hint("the build tree is full") } else { error }
}

/// Every package is installed, and dpkg has no complaint.
fn check(packages: &[Package], tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
    let what = "install packages into the image";
    let status = database::status(tree)?;
    let installed: BTreeSet<(&str, &str, &str)> = status
        .iter()
        .filter(|stanza| database::is_installed(stanza))
        .map(|stanza| (stanza.text("Package"), stanza.text("Version"), stanza.text("Architecture")))
        .collect();
    let there = |package: &&Package| !installed.contains(&(&*package.name, &*package.version, &*package.arch));
    if let Some(package) = packages.iter().find(there) {
        let why = format!("{} {} is not installed and configured afterwards", package.name, package.version);
        return Err(Error::cannot(Exit::Description, what).because(why));
    }
    let audit = sandbox.run(reporter, &["dpkg", "--audit"])?;
    if audit.stdout.is_empty() {
        return Ok(());
    }
    Err(Error::cannot(Exit::Description, what).because("dpkg --audit").because(String::from_utf8_lossy(&audit.stdout)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_maintainer_script_is_named_with_its_status_and_last_lines() {
        let said = "Setting up other (1) ...\nSetting up broken (1.0) ...\n+ false\nit broke\n\
                    dpkg: error processing package broken (--configure):\n \
                    installed broken package post-installation script subprocess returned error exit status 3\n\
                    Errors were encountered while processing:\n broken";
        let said: Vec<String> = said.lines().map(str::to_string).collect();
        let error = failure("dpkg --configure", "exit status 1", &said);
        assert_eq!(
            error.text(),
            "error: cannot install the package broken\
             \n  cause: installed broken package post-installation script subprocess returned error exit status 3\
             \n         last lines of its output\
             \n         | + false\
             \n         | it broke"
        );
        let archive =
            ["dpkg: error processing archive /run/x/a_1_all.deb (--unpack):", " new a package pre-installation script"];
        let archive: Vec<String> = archive.iter().map(|line| line.to_string()).collect();
        assert_eq!(
            failure("dpkg --unpack", "exit status 1", &archive).what(),
            "cannot install the package a_1_all.deb"
        );
        let full = vec!["dpkg: unrecoverable fatal error, aborting: write: No space left on device".to_string()];
        assert_eq!(failure("dpkg --unpack", "exit status 2", &full).exit(), Exit::Io);
    }
}
