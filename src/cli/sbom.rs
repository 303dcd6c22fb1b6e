//! `ingot sbom`: which packages an image has, as scanners read it.
//!
//! In: the arguments. Out: one document on stdout. Never changes the artifact.

use super::say::print;
use super::{BillChoice, SbomArguments};
use crate::error::{Error, Exit, Result};
use crate::pipeline::bill::of_artifact;
use crate::report::{Reporter, Verbosity};

/// Reads and prints.
pub fn run(arguments: &SbomArguments) -> Result<u8> {
    let reporter = Reporter::new(Verbosity::Steps, None, || std::time::Duration::ZERO);
    let step = reporter.step("sbom");
    let documents = of_artifact(&arguments.artifact, &arguments.work_dir, &step)?;
    // The document says more than the step's last line would.
    drop(step);
    let document = match arguments.format {
        BillChoice::Spdx => documents.spdx,
        BillChoice::Cyclonedx => documents.cyclonedx,
    };
    let text = String::from_utf8(document);
    print(&text.map_err(|error| Error::cannot(Exit::Bug, "print a bill of materials").because(error))?)?;
    Ok(0)
}
