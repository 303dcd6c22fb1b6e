//! Two packages, one path: who wins (Debian Policy, 7.6; dpkg's rules in detail).
//!
//! In: the package that is being unpacked and the one that has the path already. Out: a [`Verdict`]. Pure.

use super::control::Control;
use super::database::{Known, State};
use crate::package::dependency::relations;

/// What happens to the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No conflict: it is placed, and both lists keep it unless the new one replaces it.
    Place,
    /// The new package replaces the old one's.
    Replace,
    /// The old package's stays, and the new one does not get the path.
    Keep,
    /// Neither gives way: an error.
    Conflict,
}

/// Decides about a path that is in both packages and no folder in both. `diverted_by` says whether the path is
/// diverted, and by whom; `conffile` whether the path is a conffile of the new package.
pub fn verdict(new: &Control, old: &Known, path: &[u8], diverted_by: Option<Option<&str>>, conffile: bool) -> Verdict {
    if let Some(Some(by)) = diverted_by
        && (by == new.name || by == old.name)
    {
        return Verdict::Place;
    }
    if old.state == State::ConfigFiles {
        return Verdict::Place;
    }
    if conffile && old.conffiles.iter().any(|conffile| conffile.obsolete && conffile.path == path) {
        return Verdict::Place;
    }
    // dpkg looks at the first alternative only; the field has no others.
    let covers =
        |field: &str, name: &str, version: &str| relations(field).iter().any(|group| group[0].covers(name, version));
    if covers(new.stanza.text("Replaces"), &old.name, &old.version) {
        Verdict::Replace
    } else if covers(&old.replaces, &new.name, &new.version) {
        Verdict::Keep
    } else {
        Verdict::Conflict
    }
}
