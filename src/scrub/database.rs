//! The database of packages goes where the image is to have none, after every rule that asks it who owns a file.
//!
//! In: a scrub that is otherwise done. Out: a tree without package database, with what takes its place. Never touches the
//! database of an image that keeps it.

use std::collections::BTreeSet;

use super::Database;
use super::rule::Spares;
use super::scrubber::Scrubber;
use crate::error::Result;
use crate::host::rooted::RootPath;

/// The name under which it is recorded and judged.
pub(super) const CLASS: &str = "package-database";

/// Folders that hold nothing but what package managers know of packages, and symlinks in their places.
pub(super) const FOLDERS: [&str; 4] = ["/usr/lib/sysimage/rpm", "/var/lib/dpkg", "/var/lib/pacman", "/var/lib/rpm"];

/// Removes the database and writes what takes its place. The folders around it have the image's date afterwards.
pub(super) fn replace(scrubber: &mut Scrubber<'_>) -> Result<()> {
    let Database::Replaced { by, .. } = &scrubber.asked.database else { return Ok(()) };
    let mut touched: BTreeSet<RootPath> = BTreeSet::new();
    for folder in FOLDERS.map(RootPath::from) {
        if scrubber.listing().get(&folder).is_some() {
            scrubber.remove(CLASS, &folder, Spares::Nothing)?;
            touched.insert(folder.parent());
        }
    }
    // What held only it is as empty as if no package had ever been.
    let above = RootPath::from("/usr/lib/sysimage");
    if scrubber.listing().get(&above).is_some() && scrubber.listing().children(&above).is_empty() {
        scrubber.remove(CLASS, &above, Spares::Nothing)?;
        touched.remove(&above);
        touched.insert(above.parent());
    }
    if let Some((path, content)) = by {
        scrubber.add(CLASS, path, content, 0o644)?;
        let mut new = path.clone();
        while new != RootPath::from("/var/lib") && new != RootPath::root() {
            touched.insert(new.clone());
            new = new.parent();
        }
        touched.insert(new);
    }
    let epoch = scrubber.epoch;
    let touched = touched.into_iter().filter(|path| scrubber.listing().get(path).is_some());
    touched.collect::<Vec<_>>().iter().try_for_each(|path| scrubber.set_time(path, epoch))
}
