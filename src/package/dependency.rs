//! Dependencies between packages that are chosen or installed already.
//!
//! In: control fields (Debian Policy, 7). Out: a [`Graph`]: who satisfies what, and what a list of packages needs.
//! Never solves: every relation is answered from the packages that are there.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::deb822::Stanza;

/// One alternative of a dependency: `name:any (>= 1.2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Package or virtual package.
    pub name: String,
    /// Comparison and version.
    pub version: Option<(Comparison, String)>,
}

/// How a version is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<<`
    Earlier,
    /// `<=`
    AtMost,
    /// `=`
    Exactly,
    /// `>=`
    AtLeast,
    /// `>>`
    Later,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Earlier => ordering.is_lt(),
            Comparison::AtMost => ordering.is_le(),
            Comparison::Exactly => ordering.is_eq(),
            Comparison::AtLeast => ordering.is_ge(),
            Comparison::Later => ordering.is_gt(),
        }
    }
}

impl Relation {
    /// Whether it names this package, in this version. What the package provides does not count.
    pub fn covers(&self, name: &str, version: &str) -> bool {
        let right = self.version.as_ref().is_none_or(|(comparison, wanted)| comparison.holds(compare(version, wanted)));
        self.name == name && right
    }
}

/// Reads a field: all of the outer list must hold, any of an inner one.
pub fn relations(field: &str) -> Vec<Vec<Relation>> {
    let groups = field.split(',').map(|group| group.split('|').filter_map(relation).collect::<Vec<_>>());
    groups.filter(|group| !group.is_empty()).collect()
}

fn relation(text: &str) -> Option<Relation> {
    let (name, rest) = text.split_once('(').unwrap_or((text, ""));
    let name = name.trim().split([':', ' ', '[', '<']).next().filter(|name| !name.is_empty())?;
    let version = rest.split_once(')').map(|(inside, _)| inside.trim()).and_then(|inside| {
        let (comparison, version) = inside.split_at(inside.find(|char| !"<>=".contains(char))?);
        let comparison = match comparison {
            "<<" => Comparison::Earlier,
            "<=" | "<" => Comparison::AtMost,
            "=" => Comparison::Exactly,
            ">=" | ">" => Comparison::AtLeast,
            ">>" => Comparison::Later,
            _ => return None,
        };
        Some((comparison, version.trim().to_string()))
    });
    Some(Relation { name: name.to_string(), version })
}

/// Compares two versions (Debian Policy, 5.6.12).
pub fn compare(left: &str, right: &str) -> Ordering {
    let parts = |version: &str| -> (u64, String, String) {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.parse().unwrap_or(0), upstream.to_string(), revision.to_string())
    };
    let (left, right) = (parts(left), parts(right));
    let upstream = || compare_part(left.1.as_bytes(), right.1.as_bytes());
    let revision = || compare_part(left.2.as_bytes(), right.2.as_bytes());
    left.0.cmp(&right.0).then_with(upstream).then_with(revision)
}

fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    // `~` sorts before the end, the end before letters, letters before everything else.
    let weight = |part: &[u8]| match part.first() {
        Some(b'~') => -1,
        None | Some(b'0'..=b'9') => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let digits = |part: &[u8]| part.iter().take_while(|byte| byte.is_ascii_digit()).count();
    while !left.is_empty() || !right.is_empty() {
        while weight(left) != 0 || weight(right) != 0 {
            let ordering = weight(left).cmp(&weight(right));
            if ordering.is_ne() {
                return ordering;
            }
            (left, right) = (&left[1..], &right[1..]);
        }
        let (left_number, left_rest) = left.split_at(digits(left));
        let (right_number, right_rest) = right.split_at(digits(right));
        let significant = |number: &[u8]| number.iter().position(|byte| *byte != b'0').unwrap_or(number.len());
        let left_number = &left_number[significant(left_number)..];
        let right_number = &right_number[significant(right_number)..];
        let ordering = left_number.len().cmp(&right_number.len()).then_with(|| left_number.cmp(right_number));
        if ordering.is_ne() {
            return ordering;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

/// Packages and how they depend on each other. Packages are named by their position in the list it was made from.
#[derive(Debug)]
pub struct Graph<'a> {
    packages: Vec<&'a Stanza>,
    /// The architecture of the image, where something essential says it.
    native: Option<&'a str>,
    real: BTreeMap<&'a str, Vec<usize>>,
    provided: BTreeMap<String, Vec<(usize, Option<String>)>>,
}

/// Which relations a walk follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// `Pre-Depends` only.
    PreDepends,
    /// `Pre-Depends` and `Depends`.
    Depends,
    /// These and `Recommends`.
    Recommends,
    /// These, `Recommends` and `Suggests`, all alternatives and providers: what apt would not remove by itself.
    Everything,
}

impl<'a> Graph<'a> {
    /// The graph of these packages.
    pub fn new(packages: impl IntoIterator<Item = &'a Stanza>) -> Graph<'a> {
        let packages: Vec<&Stanza> = packages.into_iter().collect();
        let mut real: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut provided: BTreeMap<String, Vec<(usize, Option<String>)>> = BTreeMap::new();
        for (at, package) in packages.iter().enumerate() {
            real.entry(package.text("Package")).or_default().push(at);
            for relation in relations(package.text("Provides")).into_iter().flatten() {
                let version = relation.version.map(|(_, version)| version);
                provided.entry(relation.name).or_default().push((at, version));
            }
        }
        let mut essential = packages.iter().filter(|package| package.says_yes("Essential"));
        let native = essential.find_map(|package| Some(package.text("Architecture")).filter(|arch| *arch != "all"));
        Graph { packages, native, real, provided }
    }

    /// Whether a package is of an architecture for which it can serve another one (deb-control(5), `Multi-Arch`).
    fn serves(&self, package: usize, other: usize) -> bool {
        let native = |arch: &'a str| if arch == "all" { self.native.unwrap_or(arch) } else { arch };
        let [arch, wanted] = [package, other].map(|at| native(self.packages[at].text("Architecture")));
        arch == wanted || self.packages[package].text("Multi-Arch").trim() == "foreign"
    }

    /// Positions of the packages with this name.
    pub fn named(&self, name: &str) -> &[usize] {
        self.real.get(name).map_or(&[], Vec::as_slice)
    }

    /// Positions of the packages that satisfy a relation: those of that name first, then those that provide it.
    pub fn satisfying(&self, relation: &Relation) -> Vec<usize> {
        let fits = |version: Option<&str>| match (&relation.version, version) {
            (None, _) => true,
            (Some((comparison, wanted)), Some(version)) => comparison.holds(compare(version, wanted)),
            (Some(_), None) => false,
        };
        let real = self.named(&relation.name).iter().copied().filter(|at| fits(self.packages[*at].get("Version")));
        let provided = self.provided.get(&relation.name).map_or(&[][..], Vec::as_slice);
        let provided = provided.iter().filter(|(_, version)| fits(version.as_deref())).map(|(at, _)| *at);
        real.chain(provided).collect()
    }

    /// What a package needs directly: of each dependency the first alternative that is there; with
    /// [`Follow::Everything`] all of them.
    pub fn needs(&self, package: usize, follow: Follow) -> Vec<usize> {
        let fields: &[&str] = match follow {
            Follow::PreDepends => &["Pre-Depends"],
            Follow::Depends => &["Pre-Depends", "Depends"],
            Follow::Recommends => &["Pre-Depends", "Depends", "Recommends"],
            Follow::Everything => &["Pre-Depends", "Depends", "Recommends", "Suggests"],
        };
        let mut needed = Vec::new();
        for field in fields {
            for group in relations(self.packages[package].text(field)) {
                let satisfying =
                    group.iter().map(|relation| self.satisfying(relation)).filter(|found| !found.is_empty());
                match follow {
                    Follow::Everything => needed.extend(satisfying.flatten()),
                    // A package of that name and not also everybody who provides it; of several architectures the right one.
                    _ => needed.extend(satisfying.take(1).map(|found| {
                        let right = found.iter().find(|at| self.serves(**at, package));
                        *right.unwrap_or(&found[0])
                    })),
                }
            }
        }
        needed
    }

    /// These packages and everything they need.
    pub fn closure(&self, roots: impl IntoIterator<Item = usize>, follow: Follow) -> BTreeSet<usize> {
        self.closure_without(roots, follow, |_| false)
    }

    /// As [`Graph::closure`], but neither the packages that `ignored` names nor what only they need.
    pub fn closure_without(
        &self,
        roots: impl IntoIterator<Item = usize>,
        follow: Follow,
        ignored: impl Fn(usize) -> bool,
    ) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<usize> = roots.into_iter().collect();
        while let Some(package) = waiting.pop() {
            if !ignored(package) && found.insert(package) {
                waiting.extend(self.needs(package, follow));
            }
        }
        found
    }

    /// These packages and everything that cannot be without them: whose `Depends` nothing else satisfies.
    pub fn dependents(&self, of: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut gone: BTreeSet<usize> = of.into_iter().collect();
        loop {
            let broken = |package: &usize| {
                let fields = ["Pre-Depends", "Depends"].map(|field| relations(self.packages[*package].text(field)));
                fields.iter().flatten().any(|group| {
                    let satisfying: Vec<usize> = group.iter().flat_map(|relation| self.satisfying(relation)).collect();
                    !satisfying.is_empty() && satisfying.iter().all(|at| gone.contains(at))
                })
            };
            let more: Vec<usize> = (0..self.packages.len()).filter(|at| !gone.contains(at)).filter(broken).collect();
            if more.is_empty() {
                return gone;
            }
            gone.extend(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::deb822;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ordered = [
            "0~",
            "0",
            "1~rc1-1",
            "1~rc1-1+b1",
            "1",
            "1-1",
            "1-1+b1",
            "1-1.1",
            "1.0",
            "1.0+dfsg",
            "1.2",
            "1.10",
            "2.36-9+deb12u9",
            "2.36-9+deb12u14",
            "10",
            "1:0.1",
            "2:0",
        ];
        for (at, left) in ordered.iter().enumerate() {
            for (other, right) in ordered.iter().enumerate() {
                assert_eq!(compare(left, right), at.cmp(&other), "{left} {right}");
            }
        }
        let equal = [("1", "1-0"), ("1.00", "1.0"), ("0:1", "1")];
        for (left, right) in equal {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn relations_are_read_with_alternatives_versions_and_qualifiers() {
        let read = relations("libc6 (>= 2.36), default-mta | mail-transport-agent, perl:any, x [amd64] <!nocheck>, ");
        let names: Vec<Vec<&str>> =
            read.iter().map(|group| group.iter().map(|one| one.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["libc6"], vec!["default-mta", "mail-transport-agent"], vec!["perl"], vec!["x"]]);
        assert_eq!(read[0][0].version, Some((Comparison::AtLeast, "2.36".into())));
    }

    fn world() -> Vec<Stanza> {
        deb822::parse(
            "Package: app\nVersion: 1\nDepends: lib (>= 2), mta | postman\nRecommends: doc\n\n\
             Package: lib\nVersion: 2\nPre-Depends: libc\n\n\
             Package: libc\nVersion: 1\n\n\
             Package: exim\nVersion: 1\nProvides: mta (= 3), other\n\n\
             Package: doc\nVersion: 1\nDepends: lib\n\n\
             Package: picky\nVersion: 1\nDepends: mta (>= 9) | libc\n",
        )
        .unwrap()
    }

    #[test]
    fn a_closure_holds_what_is_needed_and_no_more() {
        let world = world();
        let graph = Graph::new(&world);
        let names = |found: BTreeSet<usize>| found.into_iter().map(|at| world[at].text("Package")).collect::<Vec<_>>();
        assert_eq!(names(graph.closure([0], Follow::Depends)), ["app", "lib", "libc", "exim"]);
        assert_eq!(names(graph.closure([0], Follow::Everything)), ["app", "lib", "libc", "exim", "doc"]);
        assert_eq!(names(graph.closure([1], Follow::PreDepends)), ["lib", "libc"]);
        assert_eq!(names(graph.closure([5], Follow::Depends)), ["libc", "picky"]);
        assert_eq!(names(graph.closure_without([0], Follow::Depends, |at| at == 1)), ["app", "exim"]);
        assert_eq!(names(graph.dependents([1])), ["app", "lib", "doc"]);
        assert_eq!(names(graph.dependents([2])), ["app", "lib", "libc", "doc", "picky"]);
    }
}
