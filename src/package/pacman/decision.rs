//! What pacman decides, or decided when it was asked the same about the same databases.
//!
//! In: the words for it, and the digests of the databases, which were brought up to date and verified in this build. Out:
//! the packages of an earlier build, if each archive is still in the store and, where packages must be signed, its signature
//! is still good; and a note of this build's. Never remembers what was decided on top of a base.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::database::{Entry, Offered};
use super::folder::PacmanFolder;
use super::{DATABASE, Pacman};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::package::remembered::Answer;
use crate::package::solver::HostSolver;
use crate::package::{Beneath, Package, ReleaseFile, release_file};
use crate::plan::Signed;
use crate::report::Reporter;

/// A package of the decision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Decided {
    /// The name of its database.
    pub database: String,
    /// What pacman notes of it once it is installed.
    pub entry: Entry,
}

impl Pacman {
    /// The place of the answer; `None` where it is not remembered.
    pub(super) fn answer(
        &self,
        folder: &PacmanFolder,
        words: &[String],
        releases: &[ReleaseFile],
    ) -> Result<Option<Answer>> {
        let manager = HostSolver { program: "/usr/bin/pacman", libraries: &["libalpm.so"], modules: &[] };
        let (Beneath::Nothing, Some(identity)) = (&self.beneath, manager.identity()?) else { return Ok(None) };
        let mut lines = vec![format!("ingot {} for {}", env!("CARGO_PKG_VERSION"), self.arch), identity];
        // The order of databases is that of their priority.
        for (section, release) in std::iter::zip(self.used(), releases) {
            let level = super::folder::level(section.source.signed, section.signed_packages);
            lines.push(format!("{} of {} {level} {}", section.name, section.source.alias, release.sha256));
        }
        lines.extend(words.iter().map(|word| format!("install {word}")));
        lines.extend(self.assumed.iter().map(|word| format!("assume {word}")));
        lines.extend(self.request.ignore.iter().map(|named| format!("not {}", named.name)));
        Ok(Some(Answer::to(&lines.join("\n"), &folder.solutions())))
    }

    /// The packages of an earlier build. 76 for one whose signature is no longer good.
    pub(super) fn remembered(
        &self,
        folder: &PacmanFolder,
        answer: &Answer,
        offered: &BTreeMap<String, Vec<Offered>>,
        reporter: &Reporter,
    ) -> Result<Option<Vec<Package>>> {
        let kept = answer.get(|text| serde_json::from_str::<Vec<Decided>>(text).ok())?;
        let mut packages = Vec::new();
        for Decided { database, entry } in kept.into_iter().flatten() {
            let found = offered.get(&database).and_then(|packages| packages.iter().find(|one| entry.is(one)));
            let Some(offered) = found else { return Ok(None) };
            let Some(archive) = self.store.get(offered.digest, offered.size)? else { return Ok(None) };
            if self.must_be_signed(&database) && !signature_is_good(folder, &database, offered, &archive, reporter)? {
                return Ok(None);
            }
            packages.push(self.package(&entry, &database, offered, archive));
        }
        Ok((!packages.is_empty()).then_some(packages))
    }

    /// The package as the rest of the build knows it.
    pub(super) fn package(&self, entry: &Entry, database: &str, offered: &Offered, archive: PathBuf) -> Package {
        let alias = self.used().find(|section| section.name == database).map(|one| one.source.alias.clone());
        let mut package = super::package(entry, offered, alias.unwrap_or_default(), archive);
        package.control.set(DATABASE, database);
        package
    }

    fn must_be_signed(&self, database: &str) -> bool {
        self.used().any(|section| section.name == database && section.signed_packages == Signed::Required)
    }
}

/// Keeps what was decided.
pub(super) fn keep(answer: &Answer, decided: &[Decided]) -> Result<()> {
    let text = serde_json::to_string(decided)
        .map_err(|error| Error::cannot(Exit::Bug, "remember a solution").because(error))?;
    answer.put(&text)
}

/// Whether the signature that pacman fetched beside the archive is there, and whoever made it is trusted: false where
/// nobody can say, so that pacman is asked. 76 where it is bad.
fn signature_is_good(
    folder: &PacmanFolder,
    database: &str,
    offered: &Offered,
    archive: &std::path::Path,
    reporter: &Reporter,
) -> Result<bool> {
    let signature = PathBuf::from(format!("{}.sig", folder.archive(&offered.file).display()));
    if !file::is_file(&signature) {
        return Ok(false);
    }
    let signer = release_file::signer(archive, Some(&signature), &folder.keys(database), reporter)
        .map_err(|error| error.within(format!("verify the signature of {}", offered.file)))?;
    Ok(signer.is_some())
}
