//! What is in a tree, by its real paths.
//!
//! In: one walk through the tree. Out: entries, folders' contents, and paths with their symlinks resolved inside the
//! tree. No path in a listing leads through a symlink, so that a rule that takes its paths from here cannot be led
//! astray by `/var/log -> /etc`.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::error::Result;
use crate::host::rooted::Kind;
use crate::root::tree::Entry;
use crate::root::{RootPath, RootTree};

/// How many symlinks a path may lead through (path_resolution(7)).
const MOST_SYMLINKS: usize = 40;

/// Everything in a tree.
#[derive(Debug)]
pub struct Listing {
    /// By path, because the byte order of paths keeps a folder's content together.
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Listing {
    /// Walks through the tree once.
    pub fn read(tree: &RootTree) -> Result<Listing> {
        Ok(tree.walk_whole()?.into_iter().collect())
    }

    /// The entry with exactly this path.
    pub fn get(&self, path: &RootPath) -> Option<&Entry> {
        self.entries.get(path.as_bytes())
    }

    /// All entries, a folder before its content.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// What is at `path` and below it.
    pub fn at_and_below(&self, path: &[u8]) -> impl Iterator<Item = &Entry> {
        let below = match path {
            b"/" => (Bound::Excluded(b"/".to_vec()), Bound::Unbounded),
            // `0` follows `/` in ASCII: exactly the paths that start with `path/`.
            path => (Bound::Included([path, b"/"].concat()), Bound::Excluded([path, b"0"].concat())),
        };
        self.entries.get(path).into_iter().chain(self.entries.range(below).map(|(_, entry)| entry))
    }

    /// What is directly in a folder, sorted.
    pub fn children(&self, folder: &RootPath) -> Vec<RootPath> {
        let children = self.at_and_below(folder.as_bytes()).map(|entry| &entry.path);
        children.filter(|path| *path != folder && path.parent() == *folder).cloned().collect()
    }

    /// Forgets an entry and what is below it, after it was removed from the tree.
    pub fn forget(&mut self, path: &RootPath) {
        let gone: Vec<Vec<u8>> =
            self.at_and_below(path.as_bytes()).map(|entry| entry.path.as_bytes().to_vec()).collect();
        for path in gone {
            self.entries.remove(&path);
        }
    }

    /// Puts an entry in, after it was made or changed.
    pub fn put(&mut self, entry: Entry) {
        self.entries.insert(entry.path.as_bytes().to_vec(), entry);
    }

    /// The path with the symlinks of its folders resolved inside the tree; the last component stays what it is.
    /// A path that leads nowhere stays as far as it could be resolved.
    pub fn real(&self, path: &RootPath) -> RootPath {
        let mut budget = MOST_SYMLINKS;
        if path.name().is_empty() {
            return path.clone();
        }
        self.resolve(&path.parent(), &mut budget).join(path.name())
    }

    /// As [`Listing::real`], a symlink in the last component resolved too.
    pub fn target(&self, path: &RootPath) -> RootPath {
        self.resolve(path, &mut { MOST_SYMLINKS })
    }

    fn resolve(&self, path: &RootPath, budget: &mut usize) -> RootPath {
        let mut at = RootPath::root();
        for component in path.relative().split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            let next = at.join(component);
            at = match self.get(&next).map(|entry| &entry.kind) {
                Some(Kind::Symlink(target)) if *budget > 0 => {
                    *budget -= 1;
                    let target = if target.starts_with(b"/") { RootPath::new(target) } else { at.join(target) };
                    self.resolve(&target, budget)
                }
                _ => next,
            };
        }
        at
    }
}

impl FromIterator<Entry> for Listing {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Listing {
        Listing { entries: entries.into_iter().map(|entry| (entry.path.as_bytes().to_vec(), entry)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlinks_of_a_usr_merged_tree_resolve_and_loops_end() {
        let folder = tempfile::tempdir().unwrap();
        let tree = RootTree::open(folder.path()).unwrap();
        tree.write(&"/usr/lib/x/y".into(), "", 0o644).unwrap();
        tree.symlink("usr/lib", &"/lib".into()).unwrap();
        tree.symlink("/lib/../lib/x", &"/short".into()).unwrap();
        tree.symlink("loop", &"/loop".into()).unwrap();
        let listing = Listing::read(&tree).unwrap();
        for (path, real) in [
            ("/lib/x/y", "/usr/lib/x/y"),
            ("/short/y", "/usr/lib/x/y"),
            ("/lib", "/lib"),
            ("/nowhere/y", "/nowhere/y"),
            ("/loop/y", "/loop/y"),
            ("/", "/"),
        ] {
            assert_eq!(listing.real(&path.into()), RootPath::from(real), "{path}");
        }
        assert_eq!(listing.target(&"/lib".into()), RootPath::from("/usr/lib"));
    }

    #[test]
    fn a_folder_is_not_mixed_up_with_a_longer_name() {
        let folder = tempfile::tempdir().unwrap();
        let tree = RootTree::open(folder.path()).unwrap();
        for path in ["/a/x/y", "/a-b", "/a/z", "/a0"] {
            tree.write(&path.into(), "", 0o644).unwrap();
        }
        let mut listing = Listing::read(&tree).unwrap();
        assert_eq!(listing.children(&"/a".into()), [RootPath::from("/a/x"), RootPath::from("/a/z")]);
        assert_eq!(listing.children(&RootPath::root()).len(), 3);
        listing.forget(&"/a".into());
        let left: Vec<String> = listing.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(left, ["/", "/a-b", "/a0"]);
    }
}
