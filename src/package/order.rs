//! In which order packages are unpacked and configured.
//!
//! In: packages in apt's order and their dependencies. Out: [`Batch`]es, such that what a package `Pre-Depends` on is
//! configured before it is unpacked (Debian Policy, 7.2). Never drops or adds a package.

use std::collections::BTreeSet;

use super::dependency::{Follow, Graph};

/// Packages to unpack, in this order, and then packages to configure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Unpacked in this order.
    pub unpack: Vec<usize>,
    /// Configured afterwards, because a later package pre-depends on them; unpacked here or earlier.
    pub configure: Vec<usize>,
}

struct Ordering<'a> {
    graph: &'a Graph<'a>,
    order: &'a [usize],
    configured: BTreeSet<usize>,
    placed: BTreeSet<usize>,
    unpacked: BTreeSet<usize>,
    batch: Vec<usize>,
    batches: Vec<Batch>,
}

/// Batches for the packages of `order`; those of `configured` are done already. What the last batch leaves
/// unconfigured is for `dpkg --configure -a`.
pub fn batches(graph: &Graph, order: &[usize], configured: &BTreeSet<usize>) -> Vec<Batch> {
    let mut ordering = Ordering {
        graph,
        order,
        configured: configured.clone(),
        placed: configured.clone(),
        unpacked: configured.clone(),
        batch: Vec::new(),
        batches: Vec::new(),
    };
    for package in order {
        ordering.place(*package);
    }
    ordering.end_batch(Vec::new());
    ordering.batches
}

impl Ordering<'_> {
    fn place(&mut self, package: usize) {
        if !self.placed.insert(package) {
            return;
        }
        let before: Vec<usize> = self.graph.needs(package, Follow::PreDepends);
        let before = self.graph.closure(before, Follow::Depends);
        // Whatever is needed for that is in `order`, or cannot be had; a cycle through the package itself is broken here.
        let before: Vec<usize> =
            self.order.iter().copied().filter(|at| before.contains(at) && *at != package).collect();
        for needed in &before {
            self.place(*needed);
        }
        // In a cycle some of them are not unpacked yet: dpkg is told to go on without.
        let ready = |at: &usize| self.unpacked.contains(at) && !self.configured.contains(at);
        let waiting: Vec<usize> = before.into_iter().filter(ready).collect();
        if !waiting.is_empty() {
            self.end_batch(waiting);
        }
        self.batch.push(package);
        self.unpacked.insert(package);
    }

    fn end_batch(&mut self, configure: Vec<usize>) {
        self.configured.extend(&configure);
        let unpack = std::mem::take(&mut self.batch);
        if !unpack.is_empty() || !configure.is_empty() {
            self.batches.push(Batch { unpack, configure });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::deb822;

    fn ordered(text: &str, order: &[usize], configured: &[usize]) -> Vec<String> {
        let stanzas = deb822::parse(text).unwrap();
        let graph = Graph::new(&stanzas);
        let names = |list: &[usize]| list.iter().map(|at| stanzas[*at].text("Package")).collect::<Vec<_>>().join(" ");
        let batches = batches(&graph, order, &configured.iter().copied().collect());
        batches.iter().map(|batch| format!("{}; {}", names(&batch.unpack), names(&batch.configure))).collect()
    }

    #[test]
    fn what_is_pre_depended_on_is_configured_first_with_what_it_needs() {
        let text = "Package: a\nDepends: b\n\nPackage: b\nPre-Depends: c\n\nPackage: c\nDepends: d\n\nPackage: d\n\nPackage: e\n";
        assert_eq!(ordered(text, &[0, 1, 2, 3, 4], &[]), ["a c d; c d", "b e; "]);
        assert_eq!(ordered(text, &[0, 1, 4], &[2, 3]), ["a b e; "]);
    }

    #[test]
    fn a_package_of_another_architecture_needs_others_of_that_one() {
        let text = "Package: libc\nArchitecture: amd64\nEssential: yes\n\nPackage: libc\nArchitecture: i386\n\n\
                    Package: a\nArchitecture: i386\nPre-Depends: libc, tool\n\nPackage: tool\nArchitecture: amd64\n\
                    Multi-Arch: foreign\n\nPackage: b\nArchitecture: all\nPre-Depends: libc\n";
        assert_eq!(ordered(text, &[0, 1, 2, 3], &[]), ["libc libc tool; libc tool", "a; "]);
        assert_eq!(ordered(text, &[1, 4, 0], &[]), ["libc libc; libc", "b; "]);
        assert_eq!(ordered(text, &[1, 4], &[0]), ["libc b; "]);
    }

    #[test]
    fn cycles_end() {
        let text = "Package: a\nPre-Depends: b\n\nPackage: b\nDepends: a\n";
        assert_eq!(ordered(text, &[0, 1], &[]), ["b; b", "a; "]);
        let text = "Package: a\nPre-Depends: b\n\nPackage: b\nPre-Depends: a\n";
        assert_eq!(ordered(text, &[1, 0], &[]), ["a; a", "b; "]);
    }
}
