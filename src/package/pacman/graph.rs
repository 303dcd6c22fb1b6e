//! Which packages belong to the bootstrap phase: the bootstrap list, and what it needs.
//!
//! In: a solution. Out: positions of packages in it. Never looks at a version: a solution holds nothing that does not fit.

use std::collections::BTreeSet;

use super::Pacman;
use super::request::base_name;
use crate::package::{Package, PackageSet};

/// Fields of pacman's database that are kept in [`Package::control`].
pub(super) const FIELDS: [&str; 3] = ["DEPENDS", "PROVIDES", "GROUPS"];

fn words<'a>(package: &'a Package, field: &str) -> impl Iterator<Item = &'a str> {
    package.control.text(field).split(", ").filter(|word| !word.is_empty())
}

/// The packages that a name stands for: the one of that name, else those that provide it, else the members of a group.
fn meant<'a>(set: &'a PackageSet, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let fits = |how: &dyn Fn(&Package) -> bool| -> Vec<usize> {
        set.packages.iter().enumerate().filter(|(_, package)| how(package)).map(|(at, _)| at).collect()
    };
    let any = |field: &'static str| move |package: &Package| words(package, field).any(|word| base_name(word) == name);
    let mut found = fits(&|package| package.name == name);
    for field in ["PROVIDES", "GROUPS"] {
        if found.is_empty() {
            found = fits(&any(field));
        }
    }
    found.into_iter()
}

impl Pacman {
    /// Positions of the packages of the bootstrap phase; everything where nothing runs between the phases.
    pub(super) fn bootstrap(&self, set: &PackageSet) -> BTreeSet<usize> {
        if !self.divided {
            return (0..set.packages.len()).collect();
        }
        let named = self.request.bootstrap.iter().chain(&self.request.bootstrap_groups.collections);
        let mut waiting: Vec<usize> = named.flat_map(|named| meant(set, base_name(&named.name))).collect();
        let mut closure = BTreeSet::new();
        while let Some(at) = waiting.pop() {
            if closure.insert(at) {
                waiting.extend(words(&set.packages[at], "DEPENDS").flat_map(|word| meant(set, base_name(word))));
            }
        }
        closure
    }
}
