//! Removing what the build left behind, and proving that nothing is left.
//!
//! In: a [`RootTree`] after its last script. Out: a [`ScrubbedTree`], which only an audit without findings makes.
//! Never follows a symlink out of the tree, never skips a rule in silence.

pub mod asked;
pub mod audit;
mod database;
mod homes;
mod listing;
mod owned;
mod password;
mod pattern;
pub mod rule;
mod scrubber;

use serde::Serialize;

use crate::error::{Error, Exit, Result};
use crate::pieces::content::Contents;
use crate::plan::{ScrubPlan, ScrubPreset};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};
pub use asked::{Asked, BuildHost, Database, DescribedPaths};
pub use audit::{Auditor, Finding, Report, Severity, Standard, Sums, audit, audit_and_sum};
pub use rule::{chosen, rule_names};
use scrubber::Scrubber;

/// A tree that may be shipped: `disk` and `container` take nothing else.
#[derive(Debug)]
pub struct ScrubbedTree {
    tree: RootTree,
    actions: Vec<Action>,
    epoch: i64,
    report: Report,
    contents: Contents,
}

/// What a rule did to a path; the manifest records it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Action {
    /// Name of the rule.
    pub rule: &'static str,
    /// What was done.
    pub done: Done,
    /// To what.
    #[serde(serialize_with = "as_text")]
    pub path: RootPath,
}

/// What can be done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It is gone.
    Removed,
    /// The file is there and empty.
    Truncated,
    /// Some of its lines are gone or changed.
    Edited,
    /// It holds the same as on every host that builds this image.
    Reset,
    /// It was made, so that the first boot makes what was removed.
    Added,
}

fn as_text<S: serde::Serializer>(path: &RootPath, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

/// Runs the plan's rules over a tree and audits what is left.
///
/// `asked` is what the description meant to be there, `host` what must not show, `epoch` the image's date in seconds
/// since 1970. An unknown rule in the plan, a password that everybody knows and anything that the audit finds is 65;
/// nothing can be packed then.
pub fn scrub(
    plan: &ScrubPlan,
    tree: RootTree,
    asked: &Asked,
    host: &BuildHost,
    epoch: i64,
    reporter: &Reporter,
) -> Result<ScrubbedTree> {
    scrub_and_sum(plan, tree, asked, host, epoch, Sums::Unwanted, reporter)
}

/// As [`scrub`]; with [`Sums::Wanted`] the tree knows its [`ScrubbedTree::contents`].
pub fn scrub_and_sum(
    plan: &ScrubPlan,
    tree: RootTree,
    asked: &Asked,
    host: &BuildHost,
    epoch: i64,
    sums: Sums,
    reporter: &Reporter,
) -> Result<ScrubbedTree> {
    let step = reporter.step("scrub");
    let rules = rule::chosen(plan)?;
    step.total(rules.len() as u64 + 1);
    let mut scrubber = Scrubber::new(&tree, asked, host, epoch, reporter)?;
    for rule in &rules {
        step.now(rule.name);
        rule.apply(&mut scrubber)?;
        step.advance(1, 0);
    }
    database::replace(&mut scrubber)?;
    let actions = scrubber.into_actions();
    step.now("audit");
    let (report, contents) = audit_and_sum(&tree, Standard::Build { plan, asked, host }, sums)?;
    for finding in &report.findings {
        reporter
            .log_line(&format!("audit: {:?} {} {} {}", finding.severity, finding.class, finding.path, finding.what));
    }
    refuse_leftovers(&report)?;
    step.finish(&summary(plan, rules.len(), &actions, &report));
    Ok(ScrubbedTree { tree, actions, epoch, report, contents })
}

/// 65 where an audit found what may not ship.
pub fn refuse_leftovers(report: &Report) -> Result<()> {
    let leftovers: Vec<&Finding> = report.leftovers().collect();
    if leftovers.is_empty() { Ok(()) } else { Err(refusal(&leftovers)) }
}

/// How many leftovers an error names.
const SHOWN: usize = 12;

fn refusal(leftovers: &[&Finding]) -> Error {
    let mut lines: Vec<String> = leftovers
        .iter()
        .take(SHOWN)
        .map(|finding| format!("{}: {} {}", finding.class, finding.path, finding.what))
        .collect();
    if leftovers.len() > SHOWN {
        lines.push(format!("and {} more, in the log", leftovers.len() - SHOWN));
    }
    let first = leftovers[0].class;
    let hint = match rule_names().any(|name| name == first) {
        true => format!("remove it in config.sh; if it is meant to ship, `--scrub-except {first}` keeps it"),
        false => "remove it in config.sh, or do not install what brings it".to_string(),
    };
    Error::cannot(Exit::Description, "ship this image: the audit found leftovers").because(lines.join("\n")).hint(hint)
}

fn summary(plan: &ScrubPlan, rules: usize, actions: &[Action], report: &Report) -> String {
    if plan.preset == ScrubPreset::None {
        return "switched off by the description".into();
    }
    let removed = actions.iter().filter(|action| action.done == Done::Removed).count();
    let reset = actions.len() - removed;
    let kept = report.kept().count();
    let audit = if kept == 0 { "nothing left".to_string() } else { format!("{kept} kept on request") };
    format!("{rules} rules, {removed} removed, {reset} reset; audit: {audit}")
}

impl ScrubbedTree {
    /// A tree that nobody audited, for tests of what comes after the scrub. The feature `unaudited` is switched on by
    /// ingot's own dev-dependency and nowhere else: `cargo build` does not know this function.
    #[cfg(any(test, feature = "unaudited"))]
    #[doc(hidden)]
    pub fn unaudited(tree: RootTree, epoch: i64) -> ScrubbedTree {
        ScrubbedTree { tree, actions: Vec::new(), epoch, report: Report::default(), contents: Contents::default() }
    }

    /// The tree, for reading.
    pub fn tree(&self) -> &RootTree {
        &self.tree
    }

    /// What the audit noted of files that it read, for layers.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// What the scrub did.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// What the scrub did, when the tree is needed no more.
    pub fn into_actions(self) -> Vec<Action> {
        self.actions
    }

    /// What the audit saw: notes, and what the description keeps on purpose.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The image's date, seconds since 1970: no time stamp in an artifact is newer.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }
}
