//! KIWI's lists of packages to remove.
//!
//! In: `--delete-package`, `<packages type="uninstall">` and `type="delete"`. Out: a tree without them. `uninstall` removes through dpkg,
//! with whatever depends on them and with what only they needed; `delete` takes the named packages out and looks at
//! no dependency. Configuration files go in both cases. Never removes an essential package by way of `uninstall`.

use std::collections::BTreeSet;

use super::apt::Apt;
use super::database;
use super::deb822::{self, Stanza};
use super::dependency::{Follow, Graph};
use super::{PackageSet, removal, solution};
use crate::error::{Error, Exit, Result};
use crate::host::rooted::Rooted;
use crate::host::sandbox::Sandbox;
use crate::plan::{Named, UpdateStack, Warning};
use crate::report::Reporter;

impl Apt {
    /// Removes what is named. Returns the names of all packages that went.
    /// 65 where none of the list is installed (as in KIWI), or an essential package would go.
    pub fn uninstall(
        &self,
        named: &[Named],
        set: &PackageSet,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<Vec<String>> {
        let Some(first) = named.first() else { return Ok(Vec::new()) };
        let status = database::status(tree)?;
        let graph = Graph::new(&status);
        let mut gone = graph.dependents(positions("uninstall", named, &status, reporter)?);
        if let Some(at) = gone.iter().find(|at| status[**at].says_yes("Essential")) {
            let error = Error::cannot(Exit::Description, "uninstall packages from the image");
            let error = error.because(format!("`{}` is essential", status[*at].text("Package")));
            return Err(error.at(first.place.clone()).hint("type=\"delete\" looks at no dependency"));
        }
        let automatic = self.automatic(set, tree, &status)?;
        let stays = |at: &usize| !gone.contains(at) && !automatic.contains(at);
        let kept = graph.closure_without((0..status.len()).filter(stays), Follow::Everything, |at| gone.contains(&at));
        gone.extend(automatic.into_iter().filter(|at| !kept.contains(at)));
        let step = reporter.step("uninstall");
        step.total(gone.len() as u64);
        let names: Vec<String> = gone.iter().map(|at| database::info_name(&status[*at])).collect();
        let words = ["dpkg", "--force-unsafe-io", "--purge", "--"].into_iter().chain(names.iter().map(String::as_str));
        sandbox
            .run(reporter, &words.collect::<Vec<_>>())
            .map_err(|error| error.with_exit(Exit::Description).within("uninstall packages from the image"))?;
        step.finish(&format!("{} packages", names.len()));
        Ok(gone.iter().map(|at| status[*at].text("Package").to_string()).collect())
    }

    /// Removes the delete list, without their scripts. 65 where none of the list is installed, as in KIWI.
    pub fn delete(&self, tree: &Rooted, reporter: &Reporter) -> Result<Vec<String>> {
        if self.request.delete.is_empty() {
            return Ok(Vec::new());
        }
        let status = database::status(tree)?;
        let gone = positions("delete", &self.request.delete, &status, reporter)?;
        let step = reporter.step("delete");
        let names: Vec<String> = gone.iter().map(|at| status[*at].text("Package").to_string()).collect();
        removal::remove(tree, status, &gone)?;
        step.finish(&format!("{} packages", names.len()));
        Ok(names)
    }

    /// Packages that only dependencies brought: as apt in the image noted, else as they were resolved.
    fn automatic(&self, set: &PackageSet, tree: &Rooted, status: &[Stanza]) -> Result<BTreeSet<usize>> {
        let noted = tree.read_if_there(&"/var/lib/apt/extended_states".into())?;
        let stanzas = noted.map(|bytes| deb822::parse(&String::from_utf8_lossy(&bytes)).unwrap_or_default());
        let names: BTreeSet<String> = match stanzas {
            Some(stanzas) if self.update_stack == UpdateStack::Kept => {
                let automatic = stanzas.iter().filter(|stanza| stanza.text("Auto-Installed") == "1");
                automatic.map(|stanza| stanza.text("Package").to_string()).collect()
            }
            _ => {
                let automatic = set.packages.iter().filter(|package| !package.requested && !package.essential);
                automatic.map(|package| package.name.clone()).collect()
            }
        };
        Ok((0..status.len()).filter(|at| names.contains(status[*at].text("Package"))).collect())
    }
}

/// Where the named packages stand; those that are not installed are warned about.
fn positions(list: &str, named: &[Named], status: &[Stanza], reporter: &Reporter) -> Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for one in named {
        let name = solution::base_name(&one.name);
        let here =
            (0..status.len()).filter(|at| status[*at].text("Package") == name && database::is_installed(&status[*at]));
        let before = found.len();
        found.extend(here);
        if found.len() == before {
            let text = format!("`{name}`, which is not installed, is in a list to {list}");
            reporter.warn(Warning { text, place: Some(one.place.clone()) });
        }
    }
    if found.is_empty() {
        let error = Error::cannot(Exit::Description, format!("{list} packages from the image"));
        return Err(error.because("none of the list is installed").at(named[0].place.clone()));
    }
    Ok(found)
}
