//! Which packages own a path: dpkg's file lists, the other way round.
//!
//! In: packages by number and the paths in their lists. Out: the owners of a path, and which packages own nothing
//! alone any more (dpkg makes such packages disappear). Knows paths as text only, never looks at a tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A package's number in the database.
pub type Number = u32;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    One(Number),
    Many(Box<[Number]>),
}

/// All paths of all packages.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    paths: HashMap<Box<[u8]>, Node>,
    /// How many paths a package owns alone, or with itself of other architectures only; packages without any path (but
    /// `/.`) are not in it.
    alone: BTreeMap<Number, u32>,
    /// Packages in `alone` with 0.
    shadows: BTreeSet<Number>,
    /// The first one of packages that are one package of several architectures (`Multi-Arch: same`).
    families: HashMap<Number, Number>,
}

impl Owners {
    /// Notes that two packages, which own nothing yet, are one package of two architectures.
    pub fn same_package(&mut self, first: Number, other: Number) {
        self.families.insert(other, first);
    }

    fn family(&self, package: Number) -> Number {
        self.families.get(&package).copied().unwrap_or(package)
    }

    /// Whether these owners of a path are one package.
    fn are_alone(&self, owners: &[Number]) -> bool {
        owners.split_first().is_some_and(|(first, others)| {
            let family = self.family(*first);
            others.iter().all(|other| self.family(*other) == family)
        })
    }

    /// Notes that `package` has `path` in its list. `/.`, which everybody has, is not kept.
    pub fn add(&mut self, path: &[u8], package: Number) {
        if path == b"/." {
            return;
        }
        match self.paths.get_mut(path) {
            None => {
                self.paths.insert(path.into(), Node::One(package));
                self.count(package, 1);
            }
            Some(Node::One(owner)) if *owner == package => {}
            Some(node) => {
                let before = match node {
                    Node::One(owner) => vec![*owner],
                    Node::Many(owners) if owners.contains(&package) => return,
                    Node::Many(owners) => owners.to_vec(),
                };
                let after = [before.as_slice(), &[package]].concat();
                *node = Node::Many(after.clone().into());
                self.count(package, 0);
                self.recount(&before, &after);
            }
        }
    }

    /// The owners of a path have changed.
    fn recount(&mut self, before: &[Number], after: &[Number]) {
        for (owners, change) in [(before, -1), (after, 1)] {
            if self.are_alone(owners) {
                owners.iter().for_each(|owner| self.count(*owner, change));
            }
        }
    }

    /// Takes `path` out of the list of `package`.
    pub fn remove(&mut self, path: &[u8], package: Number) {
        match self.paths.get_mut(path) {
            Some(Node::One(owner)) if *owner == package => {
                self.paths.remove(path);
                self.count(package, -1);
            }
            Some(node @ Node::Many(_)) => {
                let Node::Many(owners) = &*node else { return };
                let before = owners.to_vec();
                let after: Vec<Number> = before.iter().copied().filter(|owner| *owner != package).collect();
                if after.len() == before.len() {
                    return;
                }
                *node = if let [owner] = *after { Node::One(owner) } else { Node::Many(after.clone().into()) };
                self.recount(&before, &after);
            }
            _ => {}
        }
    }

    /// The owners of a path, in the order in which they came.
    pub fn of(&self, path: &[u8]) -> &[Number] {
        match self.paths.get(path) {
            None => &[],
            Some(Node::One(owner)) => std::slice::from_ref(owner),
            Some(Node::Many(owners)) => owners,
        }
    }

    /// A package that would own nothing alone if `package` had these paths, too: dpkg would look whether it has been
    /// replaced completely.
    pub fn would_vanish<'a>(&self, paths: impl Iterator<Item = &'a [u8]>, package: Number) -> Option<Number> {
        let (mut lost, family): (BTreeMap<Number, u32>, _) = (BTreeMap::new(), self.family(package));
        for path in paths {
            let owners = self.of(path);
            if self.are_alone(owners) && self.family(owners[0]) != family {
                owners.iter().for_each(|owner| *lost.entry(*owner).or_default() += 1);
            }
        }
        let newly = lost.into_iter().find(|(owner, lost)| self.alone.get(owner) == Some(lost)).map(|(owner, _)| owner);
        newly.or_else(|| self.shadows.iter().copied().find(|owner| self.family(*owner) != family))
    }

    fn count(&mut self, package: Number, change: i32) {
        let alone = self.alone.entry(package).or_default();
        *alone = alone.saturating_add_signed(change);
        if *alone == 0 {
            self.shadows.insert(package)
        } else {
            self.shadows.remove(&package)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(lists: &[(Number, &[&str])]) -> Owners {
        let mut owners = Owners::default();
        for (package, paths) in lists {
            paths.iter().for_each(|path| owners.add(path.as_bytes(), *package));
        }
        owners
    }

    #[test]
    fn a_path_has_all_its_owners_in_order() {
        let mut found = owners(&[(1, &["/.", "/usr", "/usr/a"]), (0, &["/.", "/usr", "/usr"])]);
        assert_eq!(
            (found.of(b"/usr"), found.of(b"/usr/a"), found.of(b"/.")),
            ([1, 0].as_slice(), [1].as_slice(), [].as_slice())
        );
        found.remove(b"/usr", 1);
        assert_eq!(found.of(b"/usr"), [0]);
        found.remove(b"/usr", 0);
        found.remove(b"/usr", 0);
        assert_eq!(found.of(b"/usr"), [] as [Number; 0]);
    }

    #[test]
    fn a_package_vanishes_when_all_it_has_is_shared() {
        let found = owners(&[(1, &["/usr", "/usr/a", "/usr/b"]), (2, &["/usr", "/usr/c"])]);
        let vanishes = |paths: &[&str], package| found.would_vanish(paths.iter().map(|path| path.as_bytes()), package);
        assert_eq!(vanishes(&["/usr", "/usr/a"], 3), None);
        assert_eq!(vanishes(&["/usr", "/usr/a", "/usr/b"], 3), Some(1));
        assert_eq!(vanishes(&["/usr/c"], 2), None);
        let shadow = owners(&[(1, &["/usr"]), (2, &["/usr", "/usr/c"])]);
        assert_eq!(shadow.would_vanish([b"/x".as_slice()].into_iter(), 3), Some(1));
        assert_eq!(shadow.would_vanish([b"/x".as_slice()].into_iter(), 1), None);
    }

    #[test]
    fn a_package_of_two_architectures_is_saved_by_what_it_shares_with_itself() {
        let mut found = Owners::default();
        found.same_package(1, 2);
        for (package, path) in [(0, "/usr"), (1, "/usr"), (1, "/usr/a"), (2, "/usr"), (2, "/usr/a")] {
            found.add(path.as_bytes(), package);
        }
        found.add(b"/opt", 0);
        let vanishes = |found: &Owners, path: &str| found.would_vanish([path.as_bytes()].into_iter(), 3);
        assert_eq!(
            (vanishes(&found, "/x"), vanishes(&found, "/usr/a"), vanishes(&found, "/opt")),
            (None, Some(1), Some(0))
        );
        found.remove(b"/usr/a", 1);
        assert_eq!(vanishes(&found, "/x"), Some(1));
    }
}
