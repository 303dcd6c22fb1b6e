//! What the scrub must know beside the tree: what the description asked for, and what identifies the build host.
//!
//! In: paths that overlays, archives, files and users of the description made; the host's names. Out: two values
//! that the rules and the audit compare the tree with. Never touches the tree.

use std::collections::BTreeSet;

use crate::plan::UpdateStack;
use crate::root::RootPath;

/// What the description asked for and a rule would otherwise take for a leftover.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Files that the description itself put into the image.
    pub paths: DescribedPaths,
    /// Login names whose password the description sets (`<user password>`).
    pub passwords: BTreeSet<String>,
    /// With [`UpdateStack::None`], a package manager that is left is a leftover.
    pub update_stack: UpdateStack,
}

/// The files of overlays, archives, `<file>` and the homes of `<user>`: the root stage collects them. What scripts
/// write does not count, because a script cannot say what it meant to leave behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedPaths {
    paths: BTreeSet<RootPath>,
}

impl DescribedPaths {
    /// Whether the description put exactly this path there.
    pub fn contains(&self, path: &RootPath) -> bool {
        self.paths.contains(path)
    }

    /// In byte order.
    pub fn iter(&self) -> impl Iterator<Item = &RootPath> {
        self.paths.iter()
    }
}

impl FromIterator<RootPath> for DescribedPaths {
    fn from_iter<I: IntoIterator<Item = RootPath>>(paths: I) -> DescribedPaths {
        DescribedPaths { paths: paths.into_iter().collect() }
    }
}

/// What would tell which machine built the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildHost {
    /// Its host names, short and qualified; never `localhost`.
    pub names: BTreeSet<String>,
    /// Content of its /etc/resolv.conf.
    pub resolver: Vec<u8>,
    /// The folder of the build's workspace.
    pub workspace: Option<std::path::PathBuf>,
}
