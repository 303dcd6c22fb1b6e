//! Looking for what a golden image must not carry, with other eyes than the rules'.
//!
//! In: a tree, or files seen one by one in a packed artifact. Out: a [`Report`]. Never changes anything, never uses the
//! rules' patterns: a mistake there shall be found here. What decides is a file's own path and content.

mod class;
mod content;
mod judge;

use std::io::Read;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{OrCannot, Result};
use crate::pieces::content::{Content, Contents};
use crate::plan::{ScrubPlan, ScrubPreset, UpdateStack};
use crate::root::tree::Entry;
use crate::root::{RootPath, RootTree};
use crate::scrub::{Asked, BuildHost};
pub use content::Mark;
use content::Window;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Must not ship.
    Leftover,
    /// Would be a leftover if its rule were not switched off.
    Kept,
    /// A person should know it.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The rule that should have removed it, or the name of the note.
    pub class: &'static str,
    /// Where.
    #[serde(serialize_with = "crate::scrub::as_text")]
    pub path: RootPath,
    /// What is wrong with it, to be read after the path.
    pub what: String,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Leftovers first; within them by class and path.
    pub findings: Vec<Finding>,
    /// How many entries were looked at.
    pub files: u64,
}

impl Report {
    /// Adds what was found outside of any file, and keeps the order.
    pub fn add(&mut self, finding: Finding) {
        let at = self.findings.partition_point(|other| *other < finding);
        self.findings.insert(at, finding);
    }

    /// What must not ship.
    pub fn leftovers(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Leftover)
    }

    /// What a switched-off rule leaves where it is.
    pub fn kept(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Kept)
    }

    /// What a person should know.
    pub fn notes(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Note)
    }
}

/// What the audit judges by.
#[derive(Clone, Copy, Debug)]
pub enum Standard<'a> {
    /// A tree of our own build: what the description asked for is no leftover, and what it excepted is only noted.
    Build {
        /// Which rules apply.
        plan: &'a ScrubPlan,
        /// What the description asked for.
        asked: &'a Asked,
        /// What must not show.
        host: &'a BuildHost,
    },
    /// An artifact from anywhere: nobody can say what its author meant, so that hostname and authorized_keys are notes.
    Artifact(ScrubPreset),
}

impl Standard<'_> {
    fn update_stack(&self) -> UpdateStack {
        match self {
            Standard::Build { asked, .. } => asked.update_stack,
            Standard::Artifact(_) => UpdateStack::Kept,
        }
    }
}

/// Looks at the files of one image, in any order, and then says what it thinks of them.
#[derive(Debug)]
pub struct Auditor<'a> {
    standard: Standard<'a>,
    seen: Vec<Sighting>,
    window: Window,
}

/// A file that was looked at.
#[derive(Clone, Debug)]
pub struct Sighting {
    entry: Entry,
    marks: Vec<Mark>,
    /// The whole content, of small files that are judged by what they say.
    content: Option<Vec<u8>>,
}

impl<'a> Auditor<'a> {
    /// Nothing has been seen yet.
    pub fn new(standard: Standard<'a>) -> Auditor<'a> {
        Auditor { standard, seen: Vec::new(), window: Window::new() }
    }

    /// Looks at an entry; `content` is read to its end if the entry is a regular file.
    pub fn see(&mut self, entry: Entry, content: &mut dyn Read) -> std::io::Result<()> {
        let sighting = content::look(entry, content, &self.standard, &mut self.window, None)?;
        self.seen.push(sighting);
        Ok(())
    }

    /// `path` is another name of `known`, which was seen before; where it was not, nothing is known of the content.
    pub fn see_again(&mut self, known: &RootPath, path: &RootPath) {
        let same = self.seen.iter().rfind(|sighting| sighting.entry.path == *known).cloned();
        self.seen.extend(same.map(|mut sighting| {
            sighting.entry.path = path.clone();
            sighting
        }));
    }

    /// Takes over what another one has seen, as if it had been seen now.
    pub fn take_over(&mut self, other: Auditor<'a>) {
        self.seen.extend(other.seen);
    }

    /// The judgement on everything that was seen.
    pub fn report(self) -> Report {
        judge::judge(&self.standard, &self.seen)
    }
}

/// Audits a whole tree, on all processors. A file in which an earlier audit found nothing, and which is judged by nothing but
/// what can be found in it, is not read again.
pub fn audit(tree: &RootTree, standard: Standard) -> Result<Report> {
    audit_and_sum(tree, standard, Sums::Unwanted).map(|(report, _)| report)
}

/// Whether an audit says what layers have to know of the files that it reads anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// Yes.
    Wanted,
    /// No: nothing is said.
    Unwanted,
}

/// As [`audit`], with what layers have to know of the files.
pub fn audit_and_sum(tree: &RootTree, standard: Standard, sums: Sums) -> Result<(Report, Contents)> {
    let entries = tree.walk_whole()?;
    let unchanged = tree.unchanged()?;
    let look = |window: &mut Window, entry: Entry| {
        let (path, mut chunks) = (entry.path.clone(), Vec::new());
        let named = |content| Some((path.as_bytes().to_vec(), content));
        let known = if sums == Sums::Wanted { unchanged.content(&entry).cloned() } else { None };
        let is_known = sums == Sums::Unwanted || known.is_some() || entry.size.0 == 0;
        if is_known && unchanged.is_clean(&entry) && !content::is_wanted(&entry) {
            return Ok((Sighting { entry, marks: Vec::new(), content: None }, known.and_then(named)));
        }
        let wanted = (sums == Sums::Wanted).then_some(&mut chunks);
        let sighting = match entry.is_file() {
            true => content::look(entry, &mut tree.open_file(&path)?, &standard, window, wanted),
            false => content::look(entry, &mut std::io::empty(), &standard, window, None),
        };
        let sighting = sighting.or_cannot(|| format!("read {path} in the image"))?;
        let content = (!chunks.is_empty()).then(|| Content::of(chunks));
        if let Some(content) = &content {
            unchanged.learn_content(&sighting.entry, content);
        }
        Ok((sighting, content.and_then(named)))
    };
    let seen = entries.into_par_iter().map_init(Window::new, look).collect::<Result<Vec<_>>>()?;
    let (seen, contents): (Vec<Sighting>, Vec<_>) = seen.into_iter().unzip();
    seen.iter()
        .filter(|sighting| sighting.marks.is_empty())
        .for_each(|sighting| unchanged.learn_clean(&sighting.entry));
    Ok((judge::judge(&standard, &seen), contents.into_iter().flatten().collect()))
}

#[cfg(test)]
mod tests;
