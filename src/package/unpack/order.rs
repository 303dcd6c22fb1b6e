//! In which order packages are unpacked, and what is configured in between.
//!
//! In: the control fields of a set, in the solver's order, and of what the tree has configured. Out: [`Act`]s, in the
//! same order as the plain way of [`crate::package::dpkg`], so that scripts find the tree as they do there. Pure.

use std::collections::BTreeSet;

use crate::package::deb822::Stanza;
use crate::package::dependency::{Follow, Graph};
use crate::package::order::batches;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Place the files of these packages without running anything: the essential ones of an empty tree, which has
    /// nothing yet that could run a script.
    Place(Vec<usize>),
    /// Unpack a package: its preinst, its files (unless they are placed), its entry in the database.
    Unpack(usize),
    /// Configure these packages, which are unpacked, as later ones need them.
    Configure(Vec<usize>, Dependencies),
}

/// Whether dpkg insists on dependencies while it configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependencies {
    /// It does.
    Demanded,
    /// It does not: the first packages of a tree have none configured.
    Waived,
}

/// What the tree is like before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Nothing in it can run.
    Empty,
    /// The essential packages are configured.
    Bootstrapped,
}

/// The steps for a whole set. `configured` are the packages that the tree has.
pub fn arrange(set: &[&Stanza], configured: &[Stanza], tree: Tree) -> Vec<Act> {
    let graph = Graph::new(set.iter().copied().chain(configured));
    let mut acts = Vec::new();
    let mut done: BTreeSet<usize> = (set.len()..set.len() + configured.len()).collect();
    if tree == Tree::Empty {
        let essential = (0..set.len()).filter(|at| set[*at].says_yes("Essential"));
        let base = graph.closure(essential, Follow::Depends);
        acts.push(Act::Place(base.iter().copied().collect()));
        // It makes /etc/passwd, which the other packages' scripts need.
        let (first, others): (Vec<usize>, Vec<usize>) =
            base.iter().partition(|at| set[**at].text("Package") == "base-passwd");
        for group in [first, others] {
            acts.extend(group.iter().map(|at| Act::Unpack(*at)));
            acts.push(Act::Configure(group, Dependencies::Waived));
        }
        done.extend(base);
    }
    let rest: Vec<usize> = (0..set.len()).filter(|at| !done.contains(at)).collect();
    for batch in batches(&graph, &rest, &done) {
        acts.extend(batch.unpack.into_iter().map(Act::Unpack));
        acts.push(Act::Configure(batch.configure, Dependencies::Demanded));
    }
    acts.retain(|act| !matches!(act, Act::Place(packages) | Act::Configure(packages, _) if packages.is_empty()));
    // Nothing comes after it that could need it; the caller configures what is left.
    while matches!(acts.last(), Some(Act::Configure(..))) {
        acts.pop();
    }
    acts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::deb822;

    fn shown(set: &str, configured: &str, tree: Tree) -> String {
        let (set, configured) = (deb822::parse(set).unwrap(), deb822::parse(configured).unwrap());
        let names = |at: &[usize]| at.iter().map(|at| set[*at].text("Package")).collect::<Vec<_>>().join("+");
        let acts = arrange(&set.iter().collect::<Vec<_>>(), &configured, tree);
        let shown = acts.iter().map(|act| match act {
            Act::Place(packages) => format!("place {}", names(packages)),
            Act::Unpack(package) => names(&[*package]),
            Act::Configure(packages, _) => format!("configure {}", names(packages)),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    const DASH: &str = "Package: dash\nEssential: yes\nPre-Depends: libc\n\nPackage: libc\n\n";

    #[test]
    fn essential_packages_and_what_they_need_are_placed_before_any_script_runs() {
        let set = format!("Package: extra\n\n{DASH}Package: base-passwd\nEssential: yes\n");
        assert_eq!(
            shown(&set, "", Tree::Empty),
            "place dash+libc+base-passwd, base-passwd, configure base-passwd, dash, libc, configure dash+libc, extra"
        );
        assert_eq!(shown(DASH, "", Tree::Empty), "place dash+libc, dash, libc");
    }

    #[test]
    fn pre_depends_are_configured_first_unless_the_tree_has_them() {
        let set = "Package: a\nPre-Depends: b | c\n\nPackage: b\n";
        assert_eq!(shown(set, "", Tree::Bootstrapped), "b, configure b, a");
        let set = "Package: a\nPre-Depends: c | b\n\nPackage: b\n";
        assert_eq!(shown(set, "Package: c\n", Tree::Bootstrapped), "a, b");
        assert_eq!(shown("", "Package: c\n", Tree::Bootstrapped), "");
    }
}
