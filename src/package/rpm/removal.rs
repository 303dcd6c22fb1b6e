//! KIWI's lists of packages to remove.
//!
//! In: `--delete-package`, `<packages type="uninstall">` and `type="delete"`. Out: a tree without them. `uninstall` removes with whatever depends
//! on them and with what only they needed; `delete` takes the named packages out, runs no scriptlet and looks at no
//! dependency. Never removes a package that was asked for because nobody needs it.

use std::collections::BTreeSet;

use super::graph::Graph;
use super::install::{Database, RpmProgram, forget_traces, judge};
use super::{Rpm, query};
use crate::error::{Error, Exit, Result};
use crate::host::rooted::Rooted;
use crate::host::sandbox::Sandbox;
use crate::package::PackageSet;
use crate::package::rpmdb::{self, Header};
use crate::plan::{Named, Recommends, Warning};
use crate::report::Reporter;

/// Removes what is named. Returns the names of all packages that went. 65 where none of the list is installed.
pub(super) fn uninstall(
    rpm: &Rpm,
    named: &[Named],
    set: &PackageSet,
    tree: &Rooted,
    sandbox: &Sandbox,
    reporter: &Reporter,
) -> Result<Vec<String>> {
    let Some(first) = named.first() else { return Ok(Vec::new()) };
    let headers = packages(tree)?;
    let graph = Graph::new(&headers, rpm.request.recommends);
    let named = positions("uninstall", named, &headers, reporter)?;
    let mut gone = Graph::new(&headers, Recommends::No).dependents(named);
    let automatic =
        |header: &Header| set.packages.iter().any(|package| !package.requested && package.name == header.name());
    let stays = |at: &usize| !gone.contains(at) && !automatic(&headers[*at]);
    let kept = graph.closure_without((0..headers.len()).filter(stays), &gone);
    gone.extend((0..headers.len()).filter(|at| automatic(&headers[*at]) && !kept.contains(at)));
    let step = reporter.step("uninstall");
    erase(rpm, &headers, &gone, &["--erase", "--noplugins", "--allmatches"], tree, sandbox, reporter)
        .map_err(|error| error.within("uninstall packages from the image").at(first.place.clone()))?;
    step.finish(&format!("{} packages", gone.len()));
    Ok(gone.iter().map(|at| headers[*at].name()).collect())
}

/// Removes the delete list, without their scriptlets. 65 where none of the list is installed.
pub(super) fn delete(rpm: &Rpm, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>> {
    let list = &rpm.request.delete;
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let headers = packages(tree)?;
    let gone = positions("delete", list, &headers, reporter)?;
    let step = reporter.step("delete");
    let words = ["--erase", "--noplugins", "--nodeps", "--noscripts", "--notriggers", "--allmatches"];
    erase(rpm, &headers, &gone, &words, tree, sandbox, reporter)
        .map_err(|error| error.within("delete packages from the image").at(list[0].place.clone()))?;
    step.finish(&format!("{} packages", gone.len()));
    Ok(gone.iter().map(|at| headers[*at].name()).collect())
}

/// Installed packages; not the keys, which rpm lists among them.
fn packages(tree: &Rooted) -> Result<Vec<Header>> {
    Ok(rpmdb::installed(tree)?.into_iter().filter(|header| !header.is_key()).collect())
}

fn erase(
    rpm: &Rpm,
    headers: &[Header],
    gone: &BTreeSet<usize>,
    words: &[&str],
    tree: &Rooted,
    sandbox: &Sandbox,
    reporter: &Reporter,
) -> Result<()> {
    let database = Database::of(tree)?;
    let program = RpmProgram { rpm, tree, sandbox, database: &database, see: &|_| {} };
    let exactly = |at: &usize| {
        let (name, version, arch) = headers[*at].identity();
        let version = version.split_once(':').map_or(version.as_str(), |(_, version)| version).to_string();
        format!("{name}-{version}.{arch}")
    };
    let names: Vec<String> = gone.iter().map(exactly).collect();
    let words: Vec<&str> = words.iter().copied().chain(names.iter().map(String::as_str)).collect();
    judge(&program.run("rpm", &words, reporter)?)?;
    forget_traces(tree)
}

/// Where the named packages stand; those that are not installed are warned about.
fn positions(list: &str, named: &[Named], headers: &[Header], reporter: &Reporter) -> Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for one in named {
        let name = query::base_name(&one.name);
        let before = found.len();
        found.extend((0..headers.len()).filter(|at| headers[*at].name() == name));
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
