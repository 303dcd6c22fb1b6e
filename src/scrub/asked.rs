//! What the scrub must know beside the tree: what the description asked for, and what identifies the build host.
//!
//! In: paths that overlays, archives, files and users of the description made; the host's names. Out: two values
//! that the rules and the audit compare the tree with. Never touches the tree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::host::file;
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
    /// What becomes of the database of packages, once nothing needs it any more.
    pub database: Database,
}

/// What becomes of the database of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Database {
    /// It stays.
    #[default]
    Kept,
    /// It goes.
    Replaced {
        /// What packages own, as they name it: nothing else in the image knows it afterwards.
        owned: BTreeSet<RootPath>,
        /// What takes its place, with the content.
        by: Option<(RootPath, Vec<u8>)>,
    },
}

/// The files of overlays, archives, `<file>` and the homes of `<user>`: the root stage collects them. What scripts
/// write does not count, because a script cannot say what it meant to leave behind; but the keys that `baseVagrantSetup`
/// was called for do.
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

impl Extend<RootPath> for DescribedPaths {
    fn extend<I: IntoIterator<Item = RootPath>>(&mut self, paths: I) {
        self.paths.extend(paths);
    }
}

impl FromIterator<RootPath> for DescribedPaths {
    fn from_iter<I: IntoIterator<Item = RootPath>>(paths: I) -> DescribedPaths {
        DescribedPaths { paths: paths.into_iter().collect() }
    }
}

/// What would tell which machine built the image, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildHost {
    /// Its host names, short and qualified; never `localhost`.
    pub names: BTreeSet<String>,
    /// Content of its /etc/resolv.conf.
    pub resolver: Vec<u8>,
    /// The folder of the build's workspace, as programs in the build may have seen it.
    pub workspace: Option<PathBuf>,
    /// When the build began, in seconds since 1970 by the host's clock, and when those began whose stages it goes on
    /// from. Empty where nothing was built.
    pub builds_began: Vec<i64>,
    /// The image's date, to which times are set back: it tells nothing, even where a repository is newer than the build.
    pub epoch: Option<i64>,
}

impl BuildHost {
    /// This machine. `workspace` is the build's folder, `started` the host's clock when the build began.
    pub fn this_machine(workspace: &Path, started: i64) -> BuildHost {
        let read = |path: &str| file::read(Path::new(path)).unwrap_or_default();
        let kernel = rustix::system::uname().nodename().to_bytes().to_vec();
        let mut names = BTreeSet::new();
        for name in [kernel, read("/etc/hostname"), read("/etc/mailname")] {
            let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
            names.insert(name.split('.').next().unwrap_or_default().to_string());
            names.insert(name);
        }
        names.retain(|name| !name.is_empty() && name != "localhost" && !name.starts_with("localhost."));
        BuildHost {
            names,
            resolver: read("/etc/resolv.conf"),
            workspace: Some(workspace.into()),
            builds_began: vec![started],
            epoch: None,
        }
    }

    /// No machine at all: for trees that were not built here.
    pub fn unknown() -> BuildHost {
        BuildHost {
            names: BTreeSet::new(),
            resolver: Vec::new(),
            workspace: None,
            builds_began: Vec::new(),
            epoch: None,
        }
    }

    /// Whether the build wrote something at this time, seconds since 1970. A package's file may be dated later than a
    /// host's clock that is behind, so the time that counts ends a day after the build began.
    pub fn wrote_at(&self, time: i64) -> bool {
        self.epoch != Some(time) && self.builds_began.iter().any(|began| (*began..began + 86_400).contains(&time))
    }

    /// Whether these bytes are one of its names.
    pub fn is_named(&self, name: &[u8]) -> bool {
        self.names.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether these bytes are its resolv.conf.
    pub fn is_resolver(&self, content: &[u8]) -> bool {
        !content.trim_ascii().is_empty() && content.trim_ascii() == self.resolver.trim_ascii()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_own_date_does_not_tell_when_it_was_built() {
        let host = BuildHost { builds_began: vec![1000], epoch: Some(1005), ..BuildHost::unknown() };
        let wrote: Vec<i64> =
            [999, 1000, 1004, 1005, 1006, 90_000].into_iter().filter(|at| host.wrote_at(*at)).collect();
        assert_eq!(wrote, [1000, 1004, 1006]);
    }
}
