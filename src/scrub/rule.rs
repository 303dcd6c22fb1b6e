//! The table of what a golden image must not carry: a row per rule, grouped by meaning.
//!
//! In: nothing. Out: [`rules`]: name, reason, presets, paths and what is done to them. Rules change a tree only through
//! a [`Scrubber`]; what a package owns stays unless the row says otherwise.

mod boot;
mod first_boot;
mod identity;
mod people;
mod residue;
mod services;
mod shipped;

use crate::error::{Error, Exit, Result};
use crate::plan::{ScrubPlan, ScrubPreset};
use crate::scrub::scrubber::Scrubber;

/// A row of the table.
#[derive(Debug)]
pub struct Rule {
    /// What `--scrub-except` and `<ingot:scrub except>` call it.
    pub name: &'static str,
    /// Why it must not ship, to be read after a path.
    pub why: &'static str,
    /// Where it applies.
    pub presets: Presets,
    /// What is done, in this order.
    pub parts: &'static [Part],
}

/// Where a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presets {
    /// [`ScrubPreset::Vm`] and [`ScrubPreset::Container`].
    VmAndContainer,
    /// [`ScrubPreset::Container`] only.
    Container,
}

/// One thing that a rule does.
#[derive(Debug)]
pub enum Part {
    /// Removes what the patterns match and all that is below.
    Remove(&'static [&'static str], Spares),
    /// Empties the files that the patterns match, whoever owns them.
    Truncate(&'static [&'static str]),
    /// More than removing; the function says what.
    Work(fn(&'static str, &mut Scrubber) -> Result<()>),
    /// Nothing to do in the tree: the audit looks for it, or the writers of disks and archives see to it.
    Elsewhere(&'static str),
}

/// What a removal leaves where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spares {
    /// Nothing.
    Nothing,
    /// Files that a package owns. A file of the description goes, with a warning.
    Owned,
    /// Files that a package owns or that the description put there.
    OwnedAndDescribed,
}

/// Every rule, in the order in which they run.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [residue::RULES, identity::RULES, people::RULES, services::RULES, boot::RULES, shipped::RULES].into_iter().flatten()
}

/// The names that can be excepted, in the order of the table.
pub fn rule_names() -> impl Iterator<Item = &'static str> {
    rules().map(|rule| rule.name)
}

/// The rule with this name; another name is 65, with the nearest one as the hint.
pub fn rule_named(name: &str) -> Result<&'static Rule> {
    rules().find(|rule| rule.name == name).ok_or_else(|| {
        let error = Error::new(Exit::Description, format!("there is no scrub rule `{name}`"));
        let nearest = rule_names()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min()
            .filter(|(distance, known)| *distance <= known.len().div_ceil(3));
        match nearest {
            Some((_, known)) => error.hint(format!("did you mean `{known}`?")),
            None => error.hint(format!("the rules are {}", rule_names().collect::<Vec<_>>().join(", "))),
        }
    })
}

/// The rules that a plan switches on, in the order in which they run; an unknown name in `except` is 65.
pub fn chosen(plan: &ScrubPlan) -> Result<Vec<&'static Rule>> {
    for name in &plan.except {
        rule_named(name)?;
    }
    Ok(rules().filter(|rule| rule.is_in(plan.preset) && !plan.except.iter().any(|name| name == rule.name)).collect())
}

impl Rule {
    /// Whether a preset has the rule.
    pub fn is_in(&self, preset: ScrubPreset) -> bool {
        match preset {
            ScrubPreset::Vm => self.presets == Presets::VmAndContainer,
            ScrubPreset::Container => true,
            ScrubPreset::None => false,
        }
    }

    /// Does what the row says.
    pub fn apply(&self, scrubber: &mut Scrubber) -> Result<()> {
        for part in self.parts {
            match part {
                Part::Remove(patterns, spares) => scrubber.remove_all(self.name, patterns, *spares)?,
                Part::Truncate(patterns) => {
                    for path in scrubber.matching(patterns) {
                        scrubber.truncate(self.name, &path)?;
                    }
                }
                Part::Work(work) => work(self.name, scrubber)?,
                Part::Elsewhere(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_one_name_a_reason_and_something_that_it_does() {
        let mut names: Vec<&str> = rule_names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rules().count());
        for rule in rules() {
            assert!(rule.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", rule.name);
            assert!(!rule.why.is_empty() && !rule.parts.is_empty(), "{}", rule.name);
        }
    }

    #[test]
    fn an_unknown_rule_is_refused_with_the_nearest_name() {
        let except = |name: &str| ScrubPlan { preset: ScrubPreset::Vm, except: vec![name.into()] };
        let error = chosen(&except("ssh-hostkeys")).unwrap_err();
        assert_eq!(error.exit(), Exit::Description);
        assert_eq!(error.hint_text(), Some("did you mean `ssh-host-keys`?"));
        assert!(chosen(&except("frobnicate")).unwrap_err().hint_text().unwrap().starts_with("the rules are "));
        let kept = chosen(&except("logs")).unwrap();
        assert!(kept.iter().all(|rule| rule.name != "logs"));
    }

    #[test]
    fn a_container_has_the_rules_of_a_machine_and_more() {
        let count = |preset| chosen(&ScrubPlan { preset, except: Vec::new() }).unwrap().len();
        assert_eq!(count(ScrubPreset::None), 0);
        assert_eq!(count(ScrubPreset::Vm) + 1, count(ScrubPreset::Container));
    }
}
