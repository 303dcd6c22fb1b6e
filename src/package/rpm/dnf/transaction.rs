//! What dnf chose, as dnf itself writes it down: nothing is read from what it prints.
//!
//! In: the report of our plugin (dnf4) or the stored transaction (dnf5), both JSON. Out: [`Chosen`]. Never trusts a path
//! outside the folders that dnf was given, but for a repository on this host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::modules::State;
use super::{Dnf, Generation};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::program::{Ended, failure};
use crate::package::rpm::Chosen;

/// The environment variable that tells the plugin where to write.
pub(super) const REPORT: &str = "INGOT_DNF_REPORT";

/// What dnf5 calls its answer.
const STORED: &str = "transaction.json";

#[derive(Debug, Deserialize)]
struct Transaction {
    #[serde(default)]
    rpms: Vec<Item>,
    /// Streams that were enabled because a group is called `NAME:STREAM`; dnf4 only.
    #[serde(default)]
    modules: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Item {
    nevra: String,
    repo_id: String,
    package_path: Option<PathBuf>,
    /// Always `Install`, in an empty root.
    action: String,
    /// Who wanted it: `User`, `Group`, `Dependency` ...
    reason: String,
}

/// Options of `install`.
pub(super) fn options(dnf: &Dnf<'_>) -> Vec<String> {
    match dnf.generation {
        Generation::Four => vec!["--downloadonly".into()],
        Generation::Five => vec![format!("--store={}", dnf.inside(&dnf.stored()))],
    }
}

/// Removes the answer to an earlier question; what was fetched for it stays.
pub(super) fn forget(dnf: &Dnf<'_>) -> Result<()> {
    file::remove(&dnf.report())?;
    file::remove(&dnf.known())?;
    file::remove(&dnf.stored().join(STORED))
}

/// Reads the answer, and what the image's own dnf must know of it.
pub(super) fn read(dnf: &Dnf<'_>, ended: &Ended) -> Result<(Vec<Chosen>, Vec<State>)> {
    let (path, folder) = match dnf.generation {
        Generation::Four => (dnf.report(), PathBuf::new()),
        Generation::Five => (dnf.stored().join(STORED), dnf.stored()),
    };
    if !file::is_file(&path) {
        return Err(failure(dnf.program, ended).with_exit(Exit::Bug).within("learn what dnf chose"));
    }
    let text = file::read_text(&path)?;
    let transaction: Transaction =
        serde_json::from_str(&text).map_err(|error| Error::cannot(Exit::Bug, "learn what dnf chose").because(error))?;
    let modules = dnf.module_states(&transaction.modules)?;
    let chosen = transaction.rpms.into_iter().map(|item| chosen(dnf, item, &folder));
    Ok((chosen.collect::<Result<_>>()?, modules))
}

fn chosen(dnf: &Dnf<'_>, item: Item, folder: &Path) -> Result<Chosen> {
    let wrong = |why: String| Error::cannot(Exit::Bug, format!("use what dnf chose: {}", item.nevra)).because(why);
    if item.action != "Install" {
        return Err(wrong(format!("in an empty root there is nothing to {}", item.action.to_lowercase())));
    }
    // dnf5 says `@stored_transaction(ID)`.
    let stored = item.repo_id.strip_prefix("@stored_transaction(").and_then(|rest| rest.strip_suffix(')'));
    let id = stored.unwrap_or(&item.repo_id);
    let Some(repository) = dnf.repository(id) else {
        return Err(wrong(format!("`{id}` is no repository of the description")));
    };
    let path = item.package_path.as_ref().ok_or_else(|| wrong("dnf does not say where it is".into()))?;
    let archive = dnf.outside(&folder.join(path));
    if !file::is_file(&archive) {
        return Err(wrong(format!("{} is not there", archive.display())));
    }
    Ok(Chosen::new(archive, repository.source.alias.clone(), item.reason == "Group"))
}
