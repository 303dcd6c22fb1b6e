//! The moment from which a tree stays as it is: its packages are installed, and what comes after them is quick.
//!
//! In: a workspace whose tree has its packages. Out: the same tree, lying under its changes ([`Workspace::cover`]). In every
//! build, also where no stage is kept: folders list their entries in another order there, and programs may depend
//! on it. Never leaves a time of this build in the tree, so that nothing of it has to be changed for that later.

use super::Supplies;
use super::stages::post_bootstrap;
use crate::error::Result;
use crate::plan::Plan;
use crate::report::Reporter;
use crate::root::tree::Entry;
use crate::root::{RootTree, Workspace};
use crate::scrub::BuildHost;

/// Machines whose programs may know inode numbers of 32 bits only; those of a tree under its changes are longer.
const SHORT_NUMBERS: [&str; 13] = [
    "i386", "i486", "i586", "i686", "ix86", "armv5el", "armv5tel", "armv6l", "armv6hl", "armv7l", "armv7hl", "ppc",
    "s390",
];
/// overlayfs keeps its own marks there, and shows nobody else's.
const MARKS: &[u8] = b"trusted.overlay.";

/// Gives what this build wrote to `tree`, which is in `workspace`, the image's date, as the scrub would do in the end. From
/// here on changes are kept apart; false where that cannot be.
pub(super) fn lay(
    plan: &Plan,
    supplies: &Supplies,
    workspace: &mut Workspace,
    tree: RootTree,
    host: &BuildHost,
    reporter: &Reporter,
) -> Result<bool> {
    let entries = tree.walk_whole()?;
    let late = entries.iter().filter(|entry| host.wrote_at(entry.mtime));
    late.map(|entry| &entry.path).try_for_each(|path| tree.set_mtime(path, supplies.epoch))?;
    let obstacle = obstacle(plan, supplies, &tree, &entries)?;
    drop(tree);
    match obstacle {
        Some(obstacle) => reporter.log_line(&format!("the tree does not lie under its changes: {obstacle}")),
        None => return workspace.cover(reporter),
    }
    Ok(false)
}

/// Why a tree cannot be shown by overlayfs as it is.
fn obstacle(plan: &Plan, supplies: &Supplies, tree: &RootTree, entries: &[Entry]) -> Result<Option<String>> {
    if SHORT_NUMBERS.contains(&plan.image.arch.as_str()) {
        return Ok(Some(format!("programs of {} may not know its inode numbers", plan.image.arch)));
    }
    if let Some(entry) = entries.iter().find(|entry| entry.is_whiteout()) {
        return Ok(Some(format!("{} would not be seen", entry.path)));
    }
    // Packages have no such attributes.
    if supplies.base.is_some() || !plan.root.bootstrap_archives.is_empty() || post_bootstrap(plan) {
        for Entry { path, .. } in entries {
            if tree.xattrs(path)?.iter().any(|(name, _)| name.starts_with(MARKS)) {
                return Ok(Some(format!("an attribute of {path} would not be seen")));
            }
        }
    }
    Ok(None)
}
