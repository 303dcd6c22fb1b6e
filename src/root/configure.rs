//! What the description says about the tree, once its packages are in.
//!
//! In: the plan and the tree. Out: archives, overlays, users, regional settings and files in the tree, in KIWI's order,
//! and the paths that they made. Never runs a script of the description.

use std::collections::BTreeSet;

use super::tree::{RootPath, RootTree};
use super::{overlay, regional, user};
use crate::error::Result;
use crate::host::sandbox::Sandbox;
use crate::host::signal;
use crate::plan::Plan;
use crate::report::Reporter;

/// Extracts the archives of the bootstrap phase; returns what they brought.
pub fn extract_bootstrap_archives(plan: &Plan, tree: &RootTree, reporter: &Reporter) -> Result<BTreeSet<RootPath>> {
    let mut described = BTreeSet::new();
    plan.root
        .bootstrap_archives
        .iter()
        .try_for_each(|archive| overlay::extract(archive, tree, &mut described, reporter))?;
    Ok(described)
}

/// Configures the tree; returns the paths that the description itself put there. `epoch`, in seconds since 1970, dates
/// passwords. 65 for what the description got wrong, with its place.
pub fn configure(
    plan: &Plan,
    tree: &RootTree,
    sandbox: &Sandbox,
    epoch: i64,
    reporter: &Reporter,
) -> Result<BTreeSet<RootPath>> {
    let mut described = BTreeSet::new();
    let root = &plan.root;
    for archive in &root.archives {
        signal::check()?;
        overlay::extract(archive, tree, &mut described, reporter)?;
    }
    for each in &root.overlays {
        signal::check()?;
        overlay::lay(each, tree, &mut described, reporter)?;
    }
    if let Some(id) = &plan.image.id {
        let path = RootPath::from("/etc/ImageID");
        tree.write(&path, format!("{id}\n"), 0o644)?;
        described.insert(path);
    }
    user::set_up(plan, tree, epoch, &mut described, reporter)?;
    if let Some(keytable) = &root.keytable {
        regional::set_keytable(keytable, tree, reporter)?;
    }
    if let Some(locale) = &root.locale {
        regional::set_locale(locale, tree, sandbox, reporter)?;
    }
    if let Some(zone) = &root.timezone {
        regional::set_timezone(zone, tree, reporter)?;
    }
    root.files.iter().try_for_each(|file| overlay::place(file, tree, &mut described))?;
    Ok(described)
}
