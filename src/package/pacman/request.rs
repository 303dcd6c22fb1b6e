//! What pacman is asked for.
//!
//! In: the description's names, and what the repositories offer. Out: words for `pacman -S`, sorted; what must not be
//! installed. Never chooses between packages: pacman does.

use std::collections::{BTreeMap, BTreeSet};

use super::Pacman;
use super::database::Offered;
use super::stack::STACK;
use crate::error::{Error, Exit, Result};
use crate::plan::{Named, UpdateStack, Warning};
use crate::report::Reporter;

/// `core/foo>=1.2` without its repository and version.
pub(super) fn base_name(word: &str) -> &str {
    let word = word.rsplit('/').next().unwrap_or_default();
    word.split(['<', '>', '=']).next().unwrap_or_default()
}

impl Pacman {
    /// The words for `pacman -S`: names, and the members of groups.
    pub(super) fn words(&self, offered: &BTreeMap<String, Vec<Offered>>, reporter: &Reporter) -> Result<Vec<String>> {
        let all = || offered.values().flatten();
        let mut words = BTreeSet::new();
        for named in self.named() {
            let name = base_name(&named.name);
            if named.name.split_once('/').is_some_and(|(database, _)| !offered.contains_key(database)) {
                return Err(Error::cannot(Exit::Description, "resolve the packages")
                    .because(format!("`{}` is not in a database that the description names", named.name))
                    .at(named.place.clone())
                    .hint("a package is NAME or DATABASE/NAME; make a repository of a file with repo-add"));
            }
            if self.update_stack == UpdateStack::None && STACK.contains(&name) {
                let text = format!("`{name}` is part of the update stack and is left out with it");
                reporter.warn(Warning { text, place: Some(named.place.clone()) });
                continue;
            }
            let is_package = all().any(|package| {
                package.name == name || package.provides.iter().any(|provided| base_name(provided) == name)
            });
            match is_package {
                true => drop(words.insert(named.name.clone())),
                false => words.extend(self.members_of(named, offered).unwrap_or_else(|| vec![named.name.clone()])),
            }
        }
        let groups = [&self.request.bootstrap_groups, &self.request.image_groups];
        for named in groups.into_iter().flat_map(|groups| &groups.collections) {
            let members = self.members_of(named, offered).ok_or_else(|| {
                let groups = all().flat_map(|package| package.groups.iter().map(String::as_str));
                let error = Error::cannot(Exit::Description, "resolve the packages")
                    .because(format!("no repository has a group `{}`", named.name))
                    .at(named.place.clone());
                match crate::package::similar(&named.name, groups) {
                    Some(other) => error.hint(format!("did you mean `{other}`?")),
                    None => error,
                }
            })?;
            words.extend(members);
        }
        Ok(words.into_iter().collect())
    }

    /// The members of a group that are not ignored; `None` where there is no such group.
    fn members_of(&self, named: &Named, offered: &BTreeMap<String, Vec<Offered>>) -> Option<Vec<String>> {
        let in_group = |package: &&Offered| package.groups.contains(&named.name);
        let members: BTreeSet<&str> =
            offered.values().flatten().filter(in_group).map(|package| package.name.as_str()).collect();
        let is_wanted = |name: &&str| {
            let left_out = self.update_stack == UpdateStack::None && STACK.contains(name);
            !left_out && !self.request.ignore.iter().any(|ignored| ignored.name == **name)
        };
        (!members.is_empty()).then(|| members.into_iter().filter(is_wanted).map(str::to_string).collect())
    }

    /// pacman installs what it is told to ignore where something needs it.
    pub(super) fn refuse_ignored(&self, chosen: &[(String, String, String)]) -> Result<()> {
        let ignored = |(_, name, _): &(String, String, String)| {
            self.request.ignore.iter().find(|ignored| base_name(&ignored.name) == name)
        };
        match chosen.iter().find_map(ignored) {
            None => Ok(()),
            Some(ignored) => Err(Error::cannot(Exit::Description, "resolve the packages")
                .because(format!("`{}` is ignored, and what is asked for needs it", ignored.name))
                .at(ignored.place.clone())),
        }
    }

    /// What is taken for installed while pacman decides, where the image has no update stack: nothing depends on a package
    /// manager but to be installed or configured by it.
    pub(super) fn assume(&mut self, offered: &BTreeMap<String, Vec<Offered>>) {
        if self.update_stack == UpdateStack::Kept {
            return;
        }
        let stack = offered.values().flatten().filter(|package| STACK.contains(&package.name.as_str()));
        let words = stack.flat_map(|package| {
            std::iter::once(format!("{}={}", package.name, package.version)).chain(package.provides.iter().cloned())
        });
        self.assumed = words.collect::<BTreeSet<String>>().into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_pacmans_has_a_name_in_it() {
        for word in ["foo", "foo>=1.2", "foo=1:2-3", "core/foo", "core/foo<2"] {
            assert_eq!(base_name(word), "foo");
        }
    }
}
