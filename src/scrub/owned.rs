//! Which paths a package owns, as the tree's own package database says.
//!
//! In: what [`crate::package::installed`] reads, and dpkg's `diversions` (dpkg-divert(1)). Out: whether a path is
//! owned. Never asks the host's database.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::package::installed::owned_paths;
pub use crate::package::installed::{DIVERSIONS, brought, is_file_list};
use crate::root::{RootPath, RootTree};
use crate::scrub::listing::Listing;

/// Paths that packages own, with the symlinks of their folders resolved: `/lib/x` and `/usr/lib/x` are the same.
#[derive(Debug, Default)]
pub struct Owned {
    paths: BTreeSet<RootPath>,
}

impl Owned {
    /// Reads the package database of the tree; a tree without one owns nothing.
    pub fn read(tree: &RootTree, listing: &Listing) -> Result<Owned> {
        let mut owned = Owned::default();
        for entry in listing.iter().filter(|entry| entry.is_file() && is_file_list(&entry.path)) {
            owned.add_list(&entry.path, &tree.read(&entry.path)?, listing);
        }
        let diversions = RootPath::from(DIVERSIONS);
        if listing.get(&diversions).is_some_and(|entry| entry.is_file()) {
            owned.add_diversions(&tree.read(&diversions)?, listing);
        }
        Ok(owned)
    }

    /// Adds the paths of one file list; `path` tells which kind of list it is.
    pub fn add_list(&mut self, path: &RootPath, content: &[u8], listing: &Listing) {
        self.paths.extend(owned_paths(path, content).iter().map(|owned| listing.real(owned)));
    }

    /// Adds paths that packages own, as they name them.
    pub fn add<'p>(&mut self, paths: impl IntoIterator<Item = &'p RootPath>, listing: &Listing) {
        self.paths.extend(paths.into_iter().map(|owned| listing.real(owned)));
    }

    /// Where a file was diverted to is owned, too: three lines each, from, to, by whom.
    pub fn add_diversions(&mut self, content: &[u8], listing: &Listing) {
        let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
        for diversion in lines.chunks_exact(3) {
            if self.contains(&listing.real(&RootPath::new(diversion[0]))) {
                self.paths.insert(listing.real(&RootPath::new(diversion[1])));
            }
        }
    }

    /// Whether a package owns this path, which must be a real one ([`Listing::real`]).
    pub fn contains(&self, path: &RootPath) -> bool {
        self.paths.contains(path)
    }

    /// Whether nothing is known of any package.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merged_usr_and_a_diversion_change_nothing_about_who_owns_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let tree = RootTree::open(folder.path()).unwrap();
        tree.symlink("usr/bin", &"/bin".into()).unwrap();
        tree.create_folders(&"/usr/bin".into(), 0o755).unwrap();
        let list = "/.\n/bin\n/bin/sh\n/usr\n/usr/bin\n/usr/share/doc/a b\n";
        tree.write(&"/var/lib/dpkg/info/dash:amd64.list".into(), list, 0o644).unwrap();
        let sums = "d41d8cd98f00b204e9800998ecf8427e  usr/share/x\n";
        tree.write(&"/var/lib/dpkg/status.d/base.md5sums".into(), sums, 0o644).unwrap();
        tree.write(&DIVERSIONS.into(), "/bin/sh\n/bin/sh.distrib\ndash\n/etc/x\n/etc/y\n:\n", 0o644).unwrap();
        let owned = Owned::read(&tree, &Listing::read(&tree).unwrap()).unwrap();
        for (path, wanted) in [
            ("/usr/bin/sh", true),
            ("/usr/bin/sh.distrib", true),
            ("/bin", true),
            ("/bin/sh", false),
            ("/usr/share/doc/a b", true),
            ("/usr/share/x", true),
            ("/etc/y", false),
            ("/", false),
        ] {
            assert_eq!(owned.contains(&path.into()), wanted, "{path}");
        }
    }
}
