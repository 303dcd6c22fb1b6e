//! Whether a finished artifact will work where it is meant to go: said by reading the artifact, not the recipe.
//!
//! In: a file and a [`Target`]. Out: a [`Report`]: per rule what holds, what does not, with evidence and remedy, and what
//! could not be said. `--fix` repairs what can be repaired without looking into a filesystem. Never mounts, never runs
//! anything of the image, never trusts it; never changes a file but by putting a new one in its place.

mod boot;
mod boot_code;
mod command_line;
mod container;
mod drivers;
mod envelope;
mod evidence;
mod files;
pub mod fix;
pub mod form;
mod gce;
mod initrd;
mod network;
mod pe;
pub mod rule;
mod system;
mod units;

use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::plan::Target;
use crate::report::Step;
use crate::scrub::Standard;
use evidence::Evidence;
use form::Format;
pub use rule::Severity;
use rule::{FORMAT, Outcome, RULES};

/// Something that does not fit the target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The rule.
    pub rule: &'static str,
    /// What was found.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

/// A rule and a sentence: the evidence that it holds, or why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The rule.
    pub rule: &'static str,
    /// The sentence.
    pub what: String,
}

/// What a preflight found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Where the artifact is meant to go.
    pub target: Target,
    /// What the artifact is.
    pub format: &'static str,
    /// What does not fit, in the order of the rules.
    pub findings: Vec<Finding>,
    /// What could not be said: it is neither good nor bad.
    pub unknown: Vec<Remark>,
    /// What holds.
    pub good: Vec<Remark>,
}

impl Report {
    /// What the target would refuse.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Refuse)
    }

    /// What works, and not as one expects.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Warn)
    }
}

/// What a build's own audit of its artifact judges by.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// What the description asked for.
    pub standard: Standard<'a>,
    /// Digests of layers that come from another image.
    pub inherited: &'a [String],
}

/// Reads an artifact once and judges it for each of the targets. `own` is what a build's audit judges by; `None`: as an
/// artifact from anywhere. 66 where there is no such file, 74 where it cannot be read.
pub fn preflight(
    path: &Path,
    targets: &[Target],
    own: Option<Own<'_>>,
    work_dir: &Path,
    step: &Step,
) -> Result<Vec<Report>> {
    let gathered = evidence::gather(path, own, work_dir, step);
    let evidence = gathered.map_err(|error| error.within(format!("check {}", path.display())))?;
    Ok(targets.iter().map(|target| judge(&evidence, *target)).collect())
}

fn judge(evidence: &Evidence, target: Target) -> Report {
    let mut report = Report {
        target,
        format: evidence.form.format.name(),
        findings: Vec::new(),
        unknown: Vec::new(),
        good: Vec::new(),
    };
    // A container says nothing of what a disk should, and the other way round: its format is refused, and that is it.
    let is_kind = (target == Target::Registry) == (evidence.form.format == Format::Container);
    for rule in RULES.iter().filter(|rule| is_kind || rule.name == FORMAT) {
        let Some(severity) = rule.severity(target) else { continue };
        for outcome in (rule.check)(evidence, target) {
            let name = rule.name;
            match outcome {
                Outcome::Good(what) => report.good.push(Remark { rule: name, what }),
                Outcome::Unknown(what) => report.unknown.push(Remark { rule: name, what }),
                Outcome::Bad { evidence, remedy } => {
                    report.findings.push(Finding { severity, rule: name, evidence, remedy });
                }
                Outcome::Note { evidence, remedy } => {
                    report.findings.push(Finding { severity: Severity::Warn, rule: name, evidence, remedy });
                }
            }
        }
    }
    report
}
