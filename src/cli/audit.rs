//! `ingot audit`: what a packed artifact carries and should not.
//!
//! In: the arguments. Out: findings on stdout, 0 where there are none, else 1. Never changes the artifact.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::AuditArguments;
use super::say::print;
use crate::audit::audit_artifact;
use crate::error::{Error, Exit, Result};
use crate::report::{Reporter, Verbosity};
use crate::scrub::{Finding, Report};

/// How the findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Leftovers, and notes counted.
    Short,
    /// Leftovers and notes.
    Long,
    /// Everything, for programs.
    Json,
}

/// Audits and prints.
pub fn run(arguments: &AuditArguments) -> Result<u8> {
    let reporter = Reporter::new(Verbosity::Steps, None, || std::time::Duration::ZERO);
    let step = reporter.step("audit");
    let report = audit_artifact(&arguments.artifact, &arguments.work_dir, &step)?;
    // The result says more than the step's last line would.
    drop(step);
    let form = match (arguments.json, arguments.verbose) {
        (true, _) => Form::Json,
        (false, true) => Form::Long,
        (false, false) => Form::Short,
    };
    print(&text(&report, form)?)?;
    Ok(exit(&report))
}

/// 0 where there is no leftover, else 1.
pub fn exit(report: &Report) -> u8 {
    if report.leftovers().next().is_none() { 0 } else { Exit::Findings.code() }
}

/// The report for a person, or as JSON; one newline at the end.
pub fn text(report: &Report, form: Form) -> Result<String> {
    if form == Form::Json {
        let json = serde_json::to_string_pretty(report);
        return json
            .map(|json| json + "\n")
            .map_err(|error| Error::cannot(Exit::Bug, "print the report").because(error));
    }
    let mut text = table(report.leftovers());
    if form == Form::Long {
        text.push_str(&table(report.notes()));
    } else {
        text.push_str(&counted(report.notes()));
    }
    let files = grouped(report.files);
    let _ = match report.leftovers().count() {
        0 => writeln!(text, "nothing found in {files} files"),
        1 => writeln!(text, "1 leftover in {files} files (exit 1)"),
        many => writeln!(text, "{many} leftovers in {files} files (exit 1)"),
    };
    Ok(text)
}

/// Class, path and reason under each other.
fn table<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let rows: Vec<(&str, String, &str)> =
        findings.map(|finding| (finding.class, finding.path.to_string(), finding.what.as_str())).collect();
    // A path that is longer than most does not push every reason to the right.
    let width = rows.iter().map(|(_, path, _)| path.chars().count()).max().unwrap_or(0).min(44);
    let mut text = String::new();
    for (class, path, what) in rows {
        let _ = writeln!(text, "{class:<20} {path:<width$}  {what}");
    }
    text
}

/// `notes: 14 setuid, 391 unowned (--verbose lists them)`.
fn counted<'a>(notes: impl Iterator<Item = &'a Finding>) -> String {
    let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
    for note in notes {
        *classes.entry(note.class).or_default() += 1;
    }
    if classes.is_empty() {
        return String::new();
    }
    let counts: Vec<String> = classes.iter().map(|(class, count)| format!("{} {class}", grouped(*count))).collect();
    format!("notes: {} (--verbose lists them)\n", counts.join(", "))
}

/// `31,204`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrub::Severity;

    fn finding(severity: Severity, class: &'static str, path: &str, what: &str) -> Finding {
        Finding { severity, class, path: path.into(), what: what.into() }
    }

    #[test]
    fn leftovers_are_listed_and_notes_are_counted() {
        let report = Report {
            findings: vec![
                finding(Severity::Leftover, "histories", "/root/.bash_history", "(412 bytes) what somebody typed"),
                finding(Severity::Leftover, "machine-id", "/etc/machine-id", "holds 5c0f..."),
                finding(Severity::Note, "setuid", "/usr/bin/su", "mode 4755"),
                finding(Severity::Note, "unowned", "/a", "x"),
                finding(Severity::Note, "unowned", "/b", "x"),
            ],
            files: 31_204,
        };
        let wanted = "\
histories            /root/.bash_history  (412 bytes) what somebody typed
machine-id           /etc/machine-id      holds 5c0f...
notes: 1 setuid, 2 unowned (--verbose lists them)
2 leftovers in 31,204 files (exit 1)
";
        assert_eq!(text(&report, Form::Short).unwrap(), wanted);
        assert_eq!(exit(&report), 1);
        assert_eq!(text(&report, Form::Long).unwrap().lines().count(), 6);
    }

    #[test]
    fn a_clean_artifact_says_so() {
        let report = Report { findings: Vec::new(), files: 999 };
        assert_eq!(text(&report, Form::Short).unwrap(), "nothing found in 999 files\n");
        assert_eq!(exit(&report), 0);
        assert_eq!(text(&report, Form::Json).unwrap(), "{\n  \"findings\": [],\n  \"files\": 999\n}\n");
    }
}
