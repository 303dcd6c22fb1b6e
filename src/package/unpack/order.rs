//! In which order packages are unpacked, and what must be configured in between.
//!
//! In: the relations of the packages of a set, in the order that the solver gave. Out: [`Act`]s. dpkg demands that
//! `Pre-Depends` be configured before a package is unpacked; what that can change is seen by the package's preinst
//! alone, so that packages are configured early only where a preinst will run that may need them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::control::Control;
use super::relation::{Alternative, Relations};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Place the files of these packages without running anything: the essential ones of an empty tree, which has
    /// nothing yet that could run a script.
    Place(Vec<usize>),
    /// Unpack a package: its preinst, its files (unless they are placed), its entry in the database.
    Unpack(usize),
    /// Configure these packages, which are unpacked.
    Configure(Vec<usize>),
}

/// What the order depends on.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Package name.
    pub name: String,
    /// Names it provides.
    pub provides: Vec<String>,
    /// `Essential: yes`.
    pub essential: bool,
    /// Whether it has a preinst.
    pub preinst: bool,
    /// Whether configuring it changes anything but its state.
    pub configures: bool,
    /// `Pre-Depends`.
    pub pre_depends: Relations,
    /// `Depends`.
    pub depends: Relations,
}

impl Needs {
    /// Those of a package.
    pub fn of(control: &Control) -> Needs {
        let provides = control.relations("Provides").0.into_iter().flatten().map(|provided| provided.name).collect();
        Needs {
            name: control.name.clone(),
            provides,
            essential: control.stanza.says_yes("Essential"),
            preinst: control.has("preinst"),
            configures: control.configures(),
            pre_depends: control.relations("Pre-Depends"),
            depends: control.relations("Depends"),
        }
    }
}

/// What the tree is like before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Nothing in it can run.
    Empty,
    /// The essential packages are configured.
    Bootstrapped,
}

/// The steps for a whole set. `configured` says whether the tree has a package of a name configured already.
pub fn arrange(packages: &[Needs], tree: Tree, configured: impl Fn(&str) -> bool) -> Vec<Act> {
    let mut arrangement = Arrangement::new(packages, &configured);
    if tree == Tree::Empty {
        arrangement.bootstrap();
    }
    for package in 0..packages.len() {
        arrangement.unpack(package);
    }
    arrangement.acts
}

struct Arrangement<'a> {
    packages: &'a [Needs],
    /// Who is meant by a name, in the set's order; the package of that name itself first.
    by_name: BTreeMap<&'a str, Vec<usize>>,
    in_tree: &'a dyn Fn(&str) -> bool,
    unpacked: BTreeSet<usize>,
    configured: BTreeSet<usize>,
    /// The essential packages, until they are configured.
    base: Vec<usize>,
    acts: Vec<Act>,
}

impl<'a> Arrangement<'a> {
    fn new(packages: &'a [Needs], in_tree: &'a dyn Fn(&str) -> bool) -> Arrangement<'a> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, package) in packages.iter().enumerate() {
            by_name.entry(&package.name).or_default().push(number);
        }
        for (number, package) in packages.iter().enumerate() {
            for name in &package.provides {
                by_name.entry(name).or_default().push(number);
            }
        }
        let (unpacked, configured, base, acts) = (BTreeSet::new(), BTreeSet::new(), Vec::new(), Vec::new());
        Arrangement { packages, by_name, in_tree, unpacked, configured, base, acts }
    }

    /// The packages of the set that a field asks for. Alternatives: the first one that is in the set, unless the tree
    /// has one; versions are the solver's affair.
    fn wanted(&self, relations: &Relations) -> Vec<usize> {
        let member =
            |one: &Alternative| self.by_name.get(one.name.as_str()).and_then(|numbers| numbers.first()).copied();
        let groups = relations.0.iter().filter(|group| !group.iter().any(|one| (self.in_tree)(&one.name)));
        groups.filter_map(|group| group.iter().find_map(member)).collect()
    }

    /// Everything that these packages need to be configured, themselves included, in the set's order.
    fn closure(&self, from: Vec<usize>) -> BTreeSet<usize> {
        let (mut found, mut open) = (BTreeSet::new(), from);
        while let Some(package) = open.pop() {
            if found.insert(package) {
                open.extend(self.wanted(&self.packages[package].pre_depends));
                open.extend(self.wanted(&self.packages[package].depends));
            }
        }
        found
    }

    fn bootstrap(&mut self) {
        let essential = (0..self.packages.len()).filter(|number| self.packages[*number].essential).collect();
        let base: Vec<usize> = self.closure(essential).into_iter().collect();
        if base.is_empty() {
            return;
        }
        self.acts.push(Act::Place(base.clone()));
        self.acts.extend(base.iter().map(|package| Act::Unpack(*package)));
        self.unpacked.extend(&base);
        self.base = base;
    }

    fn unpack(&mut self, package: usize) {
        if !self.unpacked.insert(package) {
            return;
        }
        let before = self.closure(self.wanted(&self.packages[package].pre_depends));
        // Usually they are there: solvers put them first.
        for needed in before.iter().filter(|needed| **needed != package) {
            self.unpack(*needed);
        }
        if self.packages[package].preinst {
            let base = std::mem::take(&mut self.base);
            self.configure(base);
            let missing: Vec<usize> = before.into_iter().filter(|needed| *needed != package).collect();
            if missing.iter().any(|needed| self.packages[*needed].configures && !self.configured.contains(needed)) {
                self.configure(missing);
            }
        }
        self.acts.push(Act::Unpack(package));
    }

    fn configure(&mut self, mut packages: Vec<usize>) {
        packages.retain(|package| self.configured.insert(*package));
        if !packages.is_empty() {
            self.acts.push(Act::Configure(packages));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name: flags [pre: ...] [dep: ...] [pro: ...]`, flags being e(ssential), p(reinst), c(onfigures).
    fn needs(lines: &[&str]) -> Vec<Needs> {
        let one = |line: &&str| {
            let mut needs = Needs::default();
            for (number, part) in line.split(';').map(str::trim).enumerate() {
                match part.split_once(':') {
                    _ if number == 0 => {
                        let (name, flags) = part.split_once(' ').unwrap_or((part, ""));
                        needs.name = name.into();
                        needs.essential = flags.contains('e');
                        needs.preinst = flags.contains('p');
                        needs.configures = flags.contains('c');
                    }
                    Some(("pre", value)) => needs.pre_depends = Relations::parse(value).unwrap(),
                    Some(("dep", value)) => needs.depends = Relations::parse(value).unwrap(),
                    Some(("pro", value)) => needs.provides = value.split(',').map(|name| name.trim().into()).collect(),
                    _ => panic!("{part}"),
                }
            }
            needs
        };
        lines.iter().map(one).collect()
    }

    fn shown(lines: &[&str], tree: Tree, configured: &[&str]) -> String {
        let packages = needs(lines);
        let names = |numbers: &[usize]| {
            numbers.iter().map(|number| packages[*number].name.as_str()).collect::<Vec<_>>().join("+")
        };
        let acts = arrange(&packages, tree, |name| configured.contains(&name));
        let shown = acts.iter().map(|act| match act {
            Act::Place(packages) => format!("place {}", names(packages)),
            Act::Unpack(package) => names(&[*package]),
            Act::Configure(packages) => format!("configure {}", names(packages)),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn essential_packages_and_what_they_need_are_placed_before_any_script_runs() {
        let lines = [
            "libc c",
            "extra",
            "dash ep; pre: libc",
            "dpkg e; dep: tar",
            "tar",
            "awk-user e; pre: awk",
            "mawk; pro: awk",
        ];
        assert_eq!(
            shown(&lines, Tree::Empty, &[]),
            "place libc+dash+dpkg+tar+awk-user+mawk, libc, dash, dpkg, tar, awk-user, mawk, extra"
        );
    }

    #[test]
    fn the_base_is_configured_before_the_first_later_preinst_and_only_then() {
        assert_eq!(
            shown(&["libc ec", "a", "b p", "c p"], Tree::Empty, &[]),
            "place libc, libc, a, configure libc, b, c"
        );
        assert_eq!(shown(&["libc ec", "a"], Tree::Empty, &[]), "place libc, libc, a");
    }

    #[test]
    fn pre_depends_are_configured_where_a_preinst_may_need_them() {
        let lines =
            ["debconf c; dep: perl", "perl", "lib; pre: debconf", "pam p; pre: debconf", "late p; pre: debconf"];
        assert_eq!(shown(&lines, Tree::Bootstrapped, &[]), "debconf, perl, lib, configure debconf+perl, pam, late");
        assert_eq!(shown(&lines, Tree::Bootstrapped, &["debconf"]), "debconf, perl, lib, pam, late");
        let inert = ["helper", "a p; pre: helper"];
        assert_eq!(shown(&inert, Tree::Bootstrapped, &[]), "helper, a");
    }

    #[test]
    fn pre_depends_come_first_and_cycles_end() {
        assert_eq!(
            shown(&["a p; pre: b", "b c; dep: c", "c; dep: a"], Tree::Bootstrapped, &[]),
            "b, c, configure b+c, a"
        );
        assert_eq!(shown(&["a; pre: b", "b; pre: a"], Tree::Bootstrapped, &[]), "b, a");
        assert_eq!(shown(&["a; pre: x | y", "y", "x"], Tree::Bootstrapped, &[]), "x, a, y");
    }
}
