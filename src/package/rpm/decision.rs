//! What the manager decides, or decided when it was asked the same about the same repositories.
//!
//! In: a manager that can be asked ([`Solver`]), and what an earlier build remembered of its answer. Out: a [`Decision`].
//! Metadata is brought up to date in each build, by the manager itself: another `repomd.xml` is another question. Never
//! takes a remembered archive whose digest is not the one that it had when the manager verified it, nor anything that the
//! caller's own check refuses, whoever decided.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dnf::ModuleState;
use super::folder::ManagerFolder;
use super::{Chosen, Repository, Rpm, repomd};
use crate::bytes::Bytes;
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result, Warning};
use crate::host::file;
use crate::package::Solution;
use crate::package::remembered::Answer;
use crate::package::solver::HostSolver;
use crate::plan::Signed;
use crate::report::Reporter;

/// Digests of the `repomd.xml` of repositories, by their names: they say what all other metadata is.
pub(super) type Metadata = BTreeMap<String, String>;

/// A manager of the host.
pub(super) trait Solver: Sync {
    /// Everything that its answer follows from, but for the repositories' metadata. Configuration is written before.
    /// `None` where that is not known.
    fn question(&self) -> Result<Option<String>>;

    /// Brings the metadata up to date and decides; where the metadata is `known` it need not.
    fn ask(&self, known: Option<&Metadata>) -> Result<Answered>;
}

/// What a manager says.
pub(super) enum Answered {
    /// The metadata is what was known.
    Unchanged,
    /// This is to be installed.
    Decided(Decision),
}

/// Whether packages may be installed; an error says why not.
pub(super) type Check<'a> = dyn Fn(&[Chosen]) -> Result<()> + Sync + 'a;

/// What is to be installed; it is in the manager's cache, or in a repository on this host.
#[derive(Clone, Debug, Default)]
pub(super) struct Decision {
    pub chosen: Vec<Chosen>,
    /// What the manager passed over.
    pub warnings: Vec<String>,
    /// Streams of modules (dnf only).
    pub modules: Vec<ModuleState>,
}

/// A [`Decision`] in the cache.
#[derive(Serialize, Deserialize)]
struct Kept {
    packages: Vec<KeptPackage>,
    warnings: Vec<String>,
    modules: Vec<ModuleState>,
}

#[derive(Serialize, Deserialize)]
struct KeptPackage {
    /// Below the cache, or absolute.
    archive: PathBuf,
    repository: String,
    asked_for: bool,
    sha256: String,
    size: Bytes,
}

impl KeptPackage {
    /// Where it should be; not read yet.
    fn chosen(&self, folder: &ManagerFolder) -> Chosen {
        Chosen::new(folder.cache.join(&self.archive), self.repository.clone(), self.asked_for)
    }
}

/// Asks, or remembers. What was chosen passes `check`, which looks at signatures.
pub(super) fn decide(
    solver: &dyn Solver,
    folder: &ManagerFolder,
    used: &[&Repository],
    check: &Check<'_>,
    reporter: &Reporter,
) -> Result<(Decision, Solution)> {
    let question = solver.question()?;
    let earlier = match &question {
        None => Err("this host has no gpgv, or nothing says which version of the package manager it has"),
        Some(question) => remembered(question, folder, used)?,
    };
    let (mut decision, why) = match earlier {
        Err(why) => (None, why),
        Ok((known, kept)) => {
            // Whether the archives are still what they were, and good, is seen while the manager asks the mirrors.
            let (whole, answered) = rayon::join(|| verified(kept, folder, check), || solver.ask(Some(&known)));
            match (answered?, whole) {
                (Answered::Unchanged, Ok(Some(decision)))
                    if repomd::digests(folder, used)?.as_ref() == Some(&known) =>
                {
                    warn(&decision, reporter);
                    reporter.log_line(
                        "the repositories and the request are those of an earlier build: its solution is used again",
                    );
                    return Ok((decision, Solution::Remembered));
                }
                (Answered::Unchanged, _) => (None, "an archive of it is no longer what it was"),
                (Answered::Decided(decision), _) => (Some(decision), "a repository changed"),
            }
        }
    };
    if decision.is_none() {
        decision = match solver.ask(None)? {
            Answered::Decided(decision) => Some(decision),
            Answered::Unchanged => None,
        };
    }
    let mut decision = decision.ok_or_else(|| {
        Error::cannot(Exit::Bug, "resolve the packages").because("the package manager was asked and did not decide")
    })?;
    warn(&decision, reporter);
    let chosen = std::mem::take(&mut decision.chosen);
    let digest = || chosen.clone().into_par_iter().map(Chosen::with_digest).collect::<Result<_>>();
    decision.chosen = beside_check(check, &chosen, digest)?;
    if let (Some(question), Some(metadata)) = (&question, repomd::digests(folder, used)?) {
        answer(question, &metadata, folder).put(&keep(&decision, folder)?)?;
    }
    Ok((decision, Solution::Made(why.to_string())))
}

fn warn(decision: &Decision, reporter: &Reporter) {
    decision.warnings.iter().for_each(|text| reporter.warn(Warning { text: text.clone(), place: None }));
}

fn answer(question: &str, metadata: &Metadata, folder: &ManagerFolder) -> Answer {
    let lines: String = metadata.iter().map(|(name, digest)| format!("{name} {digest}\n")).collect();
    Answer::to(&format!("{question}\n{lines}"), &folder.solutions())
}

/// The metadata in the manager's cache and what was decided from it; else why not.
fn remembered(
    question: &str,
    folder: &ManagerFolder,
    used: &[&Repository],
) -> Result<std::result::Result<(Metadata, Kept), &'static str>> {
    let Some(metadata) = repomd::digests(folder, used)? else {
        return Ok(Err("the repositories are read for the first time"));
    };
    let kept = answer(question, &metadata, folder).get(|text| serde_json::from_str::<Kept>(text).ok())?;
    Ok(match kept {
        None => Err("the request or the package manager is new, or a repository changed"),
        Some(kept) if !kept.packages.iter().all(|one| is_there(&folder.cache.join(&one.archive), one.size)) => {
            Err("an archive of it is no longer there")
        }
        Some(kept) => Ok((metadata, kept)),
    })
}

fn is_there(path: &Path, size: Bytes) -> bool {
    file::metadata(path).is_some_and(|metadata| metadata.is_file() && metadata.len() == size.0)
}

/// The decision, if each archive is what it was, and passes the check.
fn verified(kept: Kept, folder: &ManagerFolder, check: &Check<'_>) -> Result<Option<Decision>> {
    let one = |kept: &KeptPackage| -> Result<Option<Chosen>> {
        let chosen = kept.chosen(folder).with_digest()?;
        Ok((chosen.digest.to_string() == kept.sha256).then_some(chosen))
    };
    let all = || kept.packages.par_iter().map(one).collect::<Result<Option<Vec<Chosen>>>>();
    let named: Vec<Chosen> = kept.packages.iter().map(|kept| kept.chosen(folder)).collect();
    let chosen = beside_check(check, &named, all)?;
    Ok(chosen.map(|chosen| Decision { chosen, warnings: kept.warnings, modules: kept.modules }))
}

/// Does `work` while a program looks at signatures, of which an error is told first.
fn beside_check<T>(check: &Check<'_>, chosen: &[Chosen], work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::thread::scope(|scope| {
        let checking = scope.spawn(|| check(chosen));
        let done = work();
        checking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        done
    })
}

fn keep(decision: &Decision, folder: &ManagerFolder) -> Result<String> {
    let package = |one: &Chosen| KeptPackage {
        archive: one.archive.strip_prefix(&folder.cache).unwrap_or(&one.archive).to_path_buf(),
        repository: one.repository.clone(),
        asked_for: one.asked_for,
        sha256: one.digest.to_string(),
        size: one.size,
    };
    let kept = Kept {
        packages: decision.chosen.iter().map(package).collect(),
        warnings: decision.warnings.clone(),
        modules: decision.modules.clone(),
    };
    serde_json::to_string(&kept).map_err(|error| Error::cannot(Exit::Bug, "remember a solution").because(error))
}

/// What every manager's answer follows from; `None` where it is not known which manager this is, or nobody could say
/// whether signatures are still good.
pub(super) fn common(
    rpm: &Rpm,
    manager: &HostSolver<'_>,
    folder: &ManagerFolder,
    used: &[&Repository],
) -> Result<Option<Vec<String>>> {
    let Some(identity) = manager.identity()? else { return Ok(None) };
    // Metadata that did not change is verified by nobody else.
    let verifiers = ["/usr/local/bin/gpgv", "/usr/bin/gpgv", "/bin/gpgv"];
    let is_signed = used.iter().any(|repository| repository.source.signed == Signed::Required);
    if is_signed && !verifiers.iter().any(|path| file::is_file(Path::new(path))) {
        return Ok(None);
    }
    let mut lines = vec![format!("ingot {} for {}", env!("CARGO_PKG_VERSION"), rpm.arch), identity];
    for (path, content) in rpm.beneath.database() {
        lines.push(format!("on top of {path} {}", Sha256::of(content)));
    }
    for repository in used {
        let path = folder.scratch.join("repos.d").join(format!("{}.repo", repository.id()));
        lines.push(format!("{} is {}", repository.id(), repository.source.alias));
        lines.push(settings(&path, folder)?);
    }
    Ok(Some(lines))
}

/// A file of the build's own configuration, without what differs from build to build and without passwords.
pub(super) fn settings(path: &Path, folder: &ManagerFolder) -> Result<String> {
    let text = file::read_text(path)?;
    let text = text.replace(&folder.scratch.display().to_string(), "SCRATCH");
    let text = text.replace(&folder.cache.display().to_string(), "CACHE");
    let private = |line: &&str| line.starts_with("username=") || line.starts_with("password=");
    Ok(text.lines().filter(|line| !private(line)).map(|line| format!("{line}\n")).collect())
}
