//! What packages need of each other: which of them make the bootstrap, and what only a removed one needed.
//!
//! In: headers of packages that were chosen together, or are installed together. Out: positions among them. Never
//! decides about versions: whoever provides a name counts, so that rather too many packages belong together than too few.

use std::collections::{BTreeMap, BTreeSet};

use super::query::base_name;
use crate::package::rpmdb::Header;
use crate::plan::{Groups, Named, Recommends};

/// Who needs whom.
#[derive(Debug)]
pub(super) struct Graph {
    names: BTreeMap<String, Vec<usize>>,
    provided: BTreeMap<String, Vec<(usize, String)>>,
    files: BTreeMap<String, Vec<usize>>,
    needs: Vec<Vec<String>>,
}

impl Graph {
    /// Of these packages; with `recommends` what is recommended counts as needed.
    pub fn new(headers: &[Header], recommends: Recommends) -> Graph {
        let mut graph = Graph {
            names: BTreeMap::new(),
            provided: BTreeMap::new(),
            files: BTreeMap::new(),
            needs: Vec::with_capacity(headers.len()),
        };
        for (at, header) in headers.iter().enumerate() {
            graph.names.entry(header.name()).or_default().push(at);
            for (name, version) in header.provides() {
                graph.provided.entry(name).or_default().push((at, version));
            }
            let mut needs = header.requires();
            if recommends == Recommends::Yes {
                needs.extend(header.recommends());
            }
            graph.needs.push(needs.iter().flat_map(|need| words(need)).map(str::to_string).collect());
        }
        // Few files are ever asked for, and packages have many.
        let asked: BTreeSet<&str> =
            graph.needs.iter().flatten().map(String::as_str).filter(|name| name.starts_with('/')).collect();
        for (at, header) in headers.iter().enumerate() {
            for path in header.files().into_iter().map(|file| file.path.to_string()) {
                if asked.contains(path.as_str()) {
                    graph.files.entry(path).or_default().push(at);
                }
            }
        }
        graph
    }

    /// The packages of this name; where there is none, those that provide it.
    pub fn named(&self, written: &str) -> Vec<usize> {
        let name = base_name(written);
        match self.names.get(name) {
            Some(at) => at.clone(),
            None => self.providers(name).collect(),
        }
    }

    /// The packages that are what a list and its groups name.
    pub fn asked_for<'a>(&self, named: impl IntoIterator<Item = &'a Named>, groups: &Groups) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = named.into_iter().flat_map(|named| self.named(&named.name)).collect();
        for (capability, names) in [("pattern()", &groups.collections), ("product()", &groups.products)] {
            let of = self.provided.get(capability).into_iter().flatten();
            let of = of.filter(|(_, version)| names.iter().any(|named| named.name == *version));
            found.extend(of.map(|(at, _)| *at));
        }
        found
    }

    fn providers<'a>(&'a self, name: &str) -> impl Iterator<Item = usize> + use<'a> {
        let provided = self.provided.get(name).into_iter().flatten().map(|(at, _)| *at);
        provided.chain(self.files.get(name).into_iter().flatten().copied())
    }

    /// What a package itself needs.
    pub fn needed_by(&self, at: usize) -> BTreeSet<usize> {
        self.needs[at].iter().flat_map(|need| self.providers(need)).collect()
    }

    /// Everything that these packages need, they themselves included.
    pub fn closure(&self, roots: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        self.closure_without(roots, &BTreeSet::new())
    }

    /// The same among those that are not in `gone`.
    pub fn closure_without(&self, roots: impl IntoIterator<Item = usize>, gone: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = BTreeSet::new();
        let mut left: Vec<usize> = roots.into_iter().collect();
        while let Some(at) = left.pop() {
            if !gone.contains(&at) && found.insert(at) {
                left.extend(self.needs[at].iter().flat_map(|need| self.providers(need)));
            }
        }
        found
    }

    /// These packages and all that need one of them, where nobody else provides it.
    pub fn dependents(&self, gone: BTreeSet<usize>) -> BTreeSet<usize> {
        let mut gone = gone;
        loop {
            let lacks = |at: &usize| {
                self.needs[*at].iter().any(|need| {
                    let mut providers = self.providers(need).peekable();
                    providers.peek().is_some() && providers.all(|provider| gone.contains(&provider))
                })
            };
            let more: Vec<usize> = (0..self.needs.len()).filter(|at| !gone.contains(at)).filter(lacks).collect();
            if more.is_empty() {
                return gone;
            }
            gone.extend(more);
        }
    }
}

/// The names in a requirement: itself, or those of an expression like `(a >= 1 if b)`.
fn words(need: &str) -> Vec<&str> {
    const OPERATORS: [&str; 8] = ["and", "or", "if", "else", "unless", "with", "without", "unless"];
    if !need.starts_with('(') {
        return vec![need];
    }
    let mut found = Vec::new();
    let mut words = need.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word.starts_with(['<', '>', '=']) {
            // The version of what was named before.
            words.next();
            continue;
        }
        let word = word.trim_start_matches('(');
        // A name may have parentheses of its own: `perl(Foo)`.
        let closing = word.matches(')').count().saturating_sub(word.matches('(').count());
        let word = &word[..word.len() - closing];
        if !word.is_empty() && !OPERATORS.contains(&word) {
            found.push(word);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_expressions() {
        for (need, names) in [
            ("foo", vec!["foo"]),
            ("perl(Foo::Bar)", vec!["perl(Foo::Bar)"]),
            ("(a >= 1.0 or perl(B) < 2)", vec!["a", "perl(B)"]),
            ("(systemd if (udev and (x or y)))", vec!["systemd", "udev", "x", "y"]),
            ("(lib(64bit) = 3-1 if z)", vec!["lib(64bit)", "z"]),
        ] {
            assert_eq!(words(need), names, "{need}");
        }
    }
}
