//! `ingot preflight`: whether an artifact will work where it is meant to go.
//!
//! In: the arguments. Out: findings on stdout, 0 where no target would refuse it, else 1. Changes the artifact with `--fix`
//! only.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::say::{print, print_line, say};
use crate::error::{Error, Exit, Result};
use crate::plan::Target;
use crate::preflight::{Finding, Report, Severity, fix, preflight};
use crate::report::{Reporter, Verbosity};

/// `ingot preflight`.
#[derive(Debug, Args)]
pub struct PreflightArguments {
    /// A disk image, a docker archive or an OCI layout; it is not changed without --fix
    #[arg(value_name = "ARTIFACT")]
    pub artifact: PathBuf,
    /// Where it is meant to go (repeat for several)
    #[arg(long = "for", value_name = "TARGET", required = true, value_parser = target_parser())]
    pub targets: Vec<Target>,
    /// Repair the size and the partition tables; the new file takes the old one's place when it is whole
    #[arg(long)]
    pub fix: bool,
    /// List what holds, too, and by what evidence
    #[arg(short, long)]
    pub verbose: bool,
    /// Print everything as JSON: a list with one report for each target
    #[arg(long, conflicts_with = "verbose")]
    pub json: bool,
    /// Scratch space for what has to be unpacked
    #[arg(long, value_name = "DIR", env = "INGOT_WORK_DIR", default_value = "/var/tmp")]
    pub work_dir: PathBuf,
}

/// Targets by their names.
pub fn target_parser() -> impl TypedValueParser<Value = Target> {
    let names = PossibleValuesParser::new(Target::ALL.map(Target::name));
    names.try_map(|name| Target::named(&name).ok_or("no such target"))
}

/// Repairs where asked to, checks and prints.
pub fn run(arguments: &PreflightArguments) -> Result<u8> {
    let reporter = Reporter::new(Verbosity::Steps, None, || Duration::ZERO);
    let path = &arguments.artifact;
    let mut targets = arguments.targets.clone();
    targets.sort();
    targets.dedup();
    if arguments.fix {
        let step = reporter.step("fix");
        let fixed = fix::fix(path, &targets, &arguments.work_dir, &step)?;
        // What was done is said below, in lines that can be kept.
        drop(step);
        for what in &fixed.done {
            say(&format!("fixed: {what}"));
        }
        if fixed.done.is_empty() {
            say("fixed: nothing, sizes and tables are right");
        }
        for file in &fixed.updated {
            say(&format!("updated: {}", file.display()));
        }
        for file in &fixed.stale {
            say(&format!("warning: {} is about the old file: make it again", file.display()));
        }
    }
    // What a manifest says of a file that is another one now is said anew.
    let recorded = if arguments.fix { fix::recorded(path)? } else { Vec::new() };
    let wanted: Vec<Target> =
        targets.iter().copied().chain(recorded.iter().copied().filter(|target| !targets.contains(target))).collect();
    let step = reporter.step("preflight");
    let mut reports = preflight(path, &wanted, None, &arguments.work_dir, &step)?;
    drop(step);
    if !recorded.is_empty() {
        fix::record(path, &reports)?;
    }
    reports.truncate(targets.len());
    if arguments.json {
        let json = serde_json::to_string_pretty(&reports);
        print_line(json.map_err(|error| Error::cannot(Exit::Bug, "print the reports").because(error))?)?;
    } else {
        print(&reports.iter().map(|report| text(report, arguments.verbose)).collect::<String>())?;
    }
    Ok(exit(&reports))
}

/// 0 where no target would refuse it, else 1.
fn exit(reports: &[Report]) -> u8 {
    if reports.iter().all(|report| report.refusals().next().is_none()) { 0 } else { Exit::Findings.code() }
}

/// A report for a person; one newline at the end.
fn text(report: &Report, everything: bool) -> String {
    let mut text = String::new();
    let mut line = |mark: &str, rule: &str, what: &str| {
        let _ = writeln!(text, "{mark:<8} {rule:<17} {what}");
    };
    let mark = |finding: &Finding| if finding.severity == Severity::Refuse { "refuse" } else { "warn" };
    for finding in report.refusals().chain(report.warnings()) {
        line(mark(finding), finding.rule, &finding.evidence);
        line("", "", &format!("remedy: {}", finding.remedy));
    }
    for unknown in &report.unknown {
        line("unknown", unknown.rule, &unknown.what);
    }
    if everything {
        for good in &report.good {
            line("good", good.rule, &good.what);
        }
    }
    let target = report.target.name();
    let counted = |number: usize, one: &str, many: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        number => Some(format!("{number} {many}")),
    };
    let parts: Vec<String> = [
        counted(report.refusals().count(), "refusal", "refusals"),
        counted(report.warnings().count(), "warning", "warnings"),
        counted(report.unknown.len(), "rule that could not be checked", "rules that could not be checked"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let _ = match (parts.is_empty(), report.refusals().next()) {
        (true, _) => writeln!(text, "{target}: all of {} rules hold", report.good.len()),
        (false, None) => writeln!(text, "{target}: {}", parts.join(", ")),
        (false, Some(_)) => writeln!(text, "{target}: {} (exit 1)", parts.join(", ")),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Remark;

    fn finding(severity: Severity, rule: &'static str) -> Finding {
        Finding { severity, rule, evidence: "seen".into(), remedy: "do it".into() }
    }

    #[test]
    fn findings_are_shown_with_their_remedies_and_refusals_first() {
        let mut report = Report {
            target: Target::Aws,
            format: "raw",
            findings: vec![finding(Severity::Warn, "console"), finding(Severity::Refuse, "size")],
            unknown: vec![Remark { rule: "kernel", what: "xfs".into() }],
            good: vec![Remark { rule: "format", what: "raw".into() }],
        };
        let wanted = "\
refuse   size              seen
                           remedy: do it
warn     console           seen
                           remedy: do it
unknown  kernel            xfs
aws: 1 refusal, 1 warning, 1 rule that could not be checked (exit 1)
";
        assert_eq!(text(&report, false), wanted);
        assert_eq!(text(&report, true).lines().count(), 7);
        assert_eq!(exit(std::slice::from_ref(&report)), 1);
        report.findings.remove(1);
        assert_eq!(exit(std::slice::from_ref(&report)), 0);
        (report.findings, report.unknown) = (Vec::new(), Vec::new());
        assert_eq!(text(&report, false), "aws: all of 1 rules hold\n");
    }
}
