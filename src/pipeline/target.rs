//! Whether what was built will work where it is meant to go.
//!
//! In: the files of one output, its plan. Out: records for the manifest; a warning for each finding, an error where a target
//! that somebody named would refuse the image. Never changes a file.

use crate::error::{Error, Exit, Result, Warning};
use crate::plan::{Demand, Output, Plan};
use crate::preflight::{Own, Report, preflight, rule::FORMAT};
use crate::release::Artifact;
use crate::release::manifest::PreflightRecord;
use crate::report::Reporter;

use super::Order;

/// Reads each artifact once and judges it for the plan's targets. An artifact whose format a target does not take is left
/// out where another one of the same disk is taken. 65 with the rules' names where a named target would refuse the image.
pub(super) fn check(
    plan: &Plan,
    artifacts: &[Artifact],
    own: Own<'_>,
    order: &Order,
    reporter: &Reporter,
) -> Result<Vec<PreflightRecord>> {
    if plan.targets.is_empty() {
        return Ok(Vec::new());
    }
    let step = reporter.step("preflight");
    let targets: Vec<_> = plan.targets.iter().map(|planned| planned.target).collect();
    let mut reports: Vec<(&str, Report)> = Vec::new();
    // The container around a disk is judged by the disk in it.
    let disks = matches!(plan.output, Output::Disk(_));
    for artifact in artifacts.iter().filter(|one| !disks || !matches!(one.format.as_str(), "oci" | "docker")) {
        let path = order.folder.join(&artifact.name);
        let found = preflight(&path, &targets, Some(own), &order.work_dir, &step)?;
        reports.extend(found.into_iter().map(|report| (artifact.name.as_str(), report)));
    }
    let mut records = Vec::new();
    let mut refused: Vec<String> = Vec::new();
    let mut warned: Vec<String> = Vec::new();
    for planned in &plan.targets {
        let (taken, others): (Vec<_>, Vec<_>) = reports
            .iter()
            .filter(|(_, report)| report.target == planned.target)
            .partition(|(_, report)| report.refusals().all(|finding| finding.rule != FORMAT));
        let judged = if taken.is_empty() { others } else { taken };
        for (name, report) in judged {
            let target = planned.target.name();
            let line = |rule: &str, evidence: &str, remedy: &str| format!("{target}: {rule}: {evidence} ({remedy})");
            for finding in &report.findings {
                let text = line(finding.rule, &finding.evidence, &finding.remedy);
                let is_refusal = report.refusals().any(|refusal| refusal == finding);
                if is_refusal && planned.demand == Demand::Named {
                    refused.push(text);
                } else if !warned.contains(&text) {
                    // Several formats of one disk are warned of once.
                    warned.push(text.clone());
                    reporter.warn(Warning { text, place: None });
                }
            }
            records.push(record(name, report)?);
        }
    }
    refused.dedup();
    if !refused.is_empty() {
        let error = Error::cannot(Exit::Description, "ship an image that its target would refuse");
        let hint = "see docs/clouds.md; without <ingot:target> and --for nothing is refused";
        return Err(refused.into_iter().fold(error, |error, why| error.because(why)).hint(hint));
    }
    let names: Vec<&str> = targets.iter().map(|target| target.name()).collect();
    step.finish(&match warned.len() {
        0 => format!("fits {}", names.join(", ")),
        1 => format!("fits {}, 1 warning", names.join(", ")),
        number => format!("fits {}, {number} warnings", names.join(", ")),
    });
    Ok(records)
}

fn record(name: &str, report: &Report) -> Result<PreflightRecord> {
    let report = serde_json::to_value(report);
    let report = report.map_err(|error| Error::cannot(Exit::Bug, "write the preflight's report").because(error))?;
    Ok(PreflightRecord { artifact: name.to_string(), report })
}
