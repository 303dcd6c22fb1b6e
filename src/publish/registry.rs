//! A container registry.
//!
//! In: an OCI or Docker archive. Out: the image under its tag; the id is the repository with the digest of its manifest.
//! An OCI archive arrives with the digests that it has; of a Docker archive, whose manifest is made on the way, the image
//! id stays, which covers the layers. Never deletes a tag: an interrupted copy leaves none.

use super::checksum::Kind;
use super::step::{Check, Find, Invocation, Missing, Pick, Plan, Step, Verb, Wanted, Word};
use super::toml_table::Table;
use super::{Cloud, Image};
use crate::error::Result;

/// `[registry]` of publish.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    tls_verify: bool,
    tags: Vec<String>,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters { tls_verify: true, tags: Vec::new() }
    }
}

impl Parameters {
    /// Reads the table.
    pub fn read(mut table: Table<'_>) -> Result<Parameters> {
        let good = |tag: &str| {
            let plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
            tag.len() <= 128 && !tag.starts_with(['.', '-']) && tag.chars().all(plain)
        };
        let parameters = Parameters {
            tls_verify: table.yes("tls-verify")?.unwrap_or(true),
            tags: table.list_that("tags", "a list of tags in quotes: letters, digits and ._-", good)?,
        };
        table.finish()?;
        Ok(parameters)
    }
}

/// A reference, and how to publish there.
pub struct Registry<'a> {
    /// `HOST/NAME:TAG`.
    pub reference: &'a str,
    /// The parameters.
    pub parameters: &'a Parameters,
}

impl Cloud for Registry<'_> {
    fn formats(&self) -> &'static [&'static str] {
        &["oci", "docker"]
    }

    fn checksums(&self) -> &'static [Kind] {
        &[]
    }

    fn plan(&self, image: &Image, _step: &crate::report::Step) -> Result<Plan> {
        let is_oci = image.format == "oci";
        let transport = if is_oci { "oci-archive:" } else { "docker-archive:" };
        let local = || Word::from(transport).then(Word::artifact());
        let remote = format!("docker://{}", self.reference);
        // What must be the same here and there.
        let same = || if is_oci { Pick::Digest } else { Pick::at("/config/digest") };
        let check = || Check {
            what: if is_oci { "digest" } else { "image id" }.into(),
            pick: same(),
            wanted: Wanted::Learned("local".into()),
            missing: Missing::Wrong,
        };
        let inspect = || self.skopeo("inspect", "--tls-verify").arg("--raw").arg(&remote);
        let copy = |from: Word, to: &str| {
            let copy = self.skopeo("copy", "--dest-tls-verify");
            let copy = if is_oci { copy.arg("--preserve-digests") } else { copy };
            copy.arg(from).arg(to)
        };
        let mut steps = vec![
            Step::run(Verb::Inspect, Invocation::new("skopeo").args(["inspect", "--raw"]).arg(local()))
                .learns("local", same()),
            Step::run(Verb::Upload, copy(local(), &remote))
                .makes(self.reference)
                .find(Find::new(inspect(), "found", Pick::Digest).ours(check()).takes_over())
                .image(),
            Step::run(Verb::Compare, inspect()).learns("digest", Pick::Digest).checks(check()),
        ];
        let repository = self.reference.rsplit_once(':').map_or(self.reference, |(repository, _)| repository);
        let pinned = || Word::from(format!("{repository}@")).then(Word::learned("digest"));
        for tag in &self.parameters.tags {
            // Copies within a registry move nothing but the manifest.
            let mut copy = self.skopeo("copy", "--dest-tls-verify").arg("--preserve-digests");
            if !self.parameters.tls_verify {
                copy = copy.arg("--src-tls-verify=false");
            }
            let from = Word::from("docker://").then(pinned());
            steps.push(Step::run(Verb::Tag, copy.arg(from).arg(format!("docker://{repository}:{tag}"))));
        }
        Ok(Plan { steps, id: pinned() })
    }
}

impl Registry<'_> {
    fn skopeo(&self, operation: &str, verify: &str) -> Invocation {
        let command = Invocation::new("skopeo").arg(operation);
        if self.parameters.tls_verify { command } else { command.arg(format!("{verify}=false")) }
    }
}
