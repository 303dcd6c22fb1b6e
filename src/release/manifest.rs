//! `manifest.json`: what the release is, what is in it and where that came from.
//!
//! In: plan, packages, actions, artifacts. Out: JSON, the same for the same build: no time, no host, no path of the
//! build. Never holds a secret.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::package::{PackageSet, ReleaseFile};
use crate::plan::{Plan, Repository, ScrubPlan, UpdateStack, Warning};
use crate::release::{Artifact, artifact::hex};
use crate::scrub::Action;

/// Version of the manifest's form; it grows by one when a field changes its meaning.
pub(super) const SCHEMA: u32 = 1;

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    schema: u32,
    tool: String,
    name: String,
    version: String,
    arch: String,
    profiles: Vec<String>,
    /// Seconds since 1970; no time stamp in the image is newer.
    epoch: i64,
    seed: String,
    description: DescriptionDigest,
    update_stack: UpdateStack,
    repositories: Vec<RepositoryRecord>,
    /// The containers that it is built on, the lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bases: Vec<PinnedImage>,
    /// The containers that it holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<HeldImage>,
    packages: Vec<PackageRecord>,
    /// One for each output.
    scrub: Vec<ScrubRecord>,
    /// One for each artifact and target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    preflight: Vec<PreflightRecord>,
    warnings: Vec<String>,
    artifacts: Vec<Artifact>,
}

/// SHA-256 of the description's file, and of every file beside it that went into the image.
#[derive(Clone, Debug, Serialize)]
pub struct DescriptionDigest {
    /// File name of the description.
    pub file: String,
    /// SHA-256 of the description's file.
    pub sha256: String,
    /// Inputs beside it by path relative to the description's folder.
    pub inputs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
struct RepositoryRecord {
    alias: String,
    source: String,
    releases: Vec<ReleaseFile>,
}

/// A container image that went into this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedImage {
    /// Where it came from, as the description writes it.
    pub source: String,
    /// Digest of its manifest or index; of its configuration, where it has neither.
    pub digest: String,
    /// Digests of its uncompressed layers, the lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// A container that the image holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldImage {
    /// Where it came from.
    #[serde(flatten)]
    pub image: PinnedImage,
    /// The name that it is loaded under.
    pub name: String,
    /// Where its archive is in the image.
    pub path: String,
}

/// A package as it is in the image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PackageRecord {
    /// Binary package name.
    pub name: String,
    /// Full version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// SHA-256 of the archive that was installed; `None` for a package that a script put there.
    pub sha256: Option<String>,
    /// Source package and version.
    pub source: Option<String>,
    /// Licences, where the package says it in machine-readable form.
    pub licence: Option<String>,
    /// Its line in `STEM.packages`.
    #[serde(skip)]
    pub listed: String,
}

/// What the scrub of one output was asked for, and did.
#[derive(Clone, Debug, Serialize)]
pub struct ScrubRecord {
    /// Preset and exceptions.
    pub plan: ScrubPlan,
    /// What was done to which path.
    pub actions: Vec<Action>,
}

/// What a preflight said of an artifact for a target.
#[derive(Clone, Debug, Serialize)]
pub struct PreflightRecord {
    /// File name in the result folder.
    pub artifact: String,
    /// The report, as `ingot preflight --json` prints it.
    pub report: serde_json::Value,
}

/// What a manifest is put together from.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The plan that was carried out.
    pub plan: &'a Plan,
    /// The image's date in seconds since 1970.
    pub epoch: i64,
    /// The containers that it is built on.
    pub bases: Vec<PinnedImage>,
    /// The containers that it holds.
    pub containers: Vec<HeldImage>,
    /// Digests of what the user wrote.
    pub description: DescriptionDigest,
    /// What was resolved.
    pub packages: &'a PackageSet,
    /// What is in the finished image, sorted by name.
    pub installed: Vec<PackageRecord>,
    /// What the scrubs did, one for each output.
    pub scrubs: Vec<ScrubRecord>,
    /// What the preflights said.
    pub preflight: Vec<PreflightRecord>,
    /// What the user was warned of.
    pub warnings: &'a [Warning],
    /// The files of the release.
    pub artifacts: Vec<Artifact>,
}

impl Manifest {
    /// Puts together what the stages know.
    pub fn new(parts: Parts<'_>) -> Manifest {
        let Parts {
            plan,
            epoch,
            bases,
            containers,
            description,
            packages,
            installed,
            scrubs,
            preflight,
            warnings,
            artifacts,
        } = parts;
        let repositories = plan.repositories.iter().map(|repository| record(repository, packages)).collect();
        Manifest {
            schema: SCHEMA,
            tool: concat!("ingot ", env!("CARGO_PKG_VERSION")).into(),
            name: plan.image.name.clone(),
            version: plan.image.version.clone(),
            arch: plan.image.arch.clone(),
            profiles: plan.profiles.clone(),
            epoch,
            seed: plan.seed.to_string(),
            description,
            update_stack: plan.update_stack,
            repositories,
            bases,
            containers,
            packages: installed,
            scrub: scrubs,
            preflight,
            warnings: warnings.iter().map(|warning| warning.text.clone()).collect(),
            artifacts,
        }
    }

    /// The files of the release.
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }

    /// Writes `manifest.json`, `STEM.packages` and one `FILE.sha256` per artifact into `folder`.
    pub fn write(&self, folder: &Path, stem: &str) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::cannot(Exit::Bug, "write manifest.json").because(error))?;
        file::write(&folder.join("manifest.json"), &[json, b"\n".to_vec()].concat())?;
        let lines: String = self.packages.iter().map(|package| package.listed.as_str()).collect();
        file::write(&folder.join(format!("{stem}.packages")), lines.as_bytes())?;
        for artifact in &self.artifacts {
            let line = format!("{}  {}\n", artifact.sha256, artifact.name);
            file::write(&folder.join(format!("{}.sha256", artifact.name)), line.as_bytes())?;
        }
        Ok(())
    }
}

fn record(repository: &Repository, packages: &PackageSet) -> RepositoryRecord {
    let releases = packages.releases.iter().filter(|release| release.repository == repository.alias);
    RepositoryRecord {
        alias: repository.alias.clone(),
        source: repository.source.clone(),
        releases: releases.cloned().collect(),
    }
}

/// Digests of a description's file and of its inputs (folders are walked, names in byte order). Inputs are named as seen
/// from `folder`, the description's own, absolute: the manifest is the same wherever a checkout lies.
pub fn digest_description(
    description_file: &Path,
    folder: &Path,
    inputs: &[std::path::PathBuf],
) -> Result<DescriptionDigest> {
    let mut digests = BTreeMap::new();
    for input in inputs {
        for (path, sha256) in file::digest_tree(input)? {
            digests.insert(seen_from(folder, &path), hex(&sha256));
        }
    }
    Ok(DescriptionDigest {
        file: description_file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: hex(&file::digest(description_file)?),
        inputs: digests,
    })
}
/// `path` as seen from `folder`, both absolute; as it is where nothing but `/` is common to both.
fn seen_from(folder: &Path, path: &Path) -> String {
    let mut climbed = String::new();
    for above in folder.ancestors().filter(|above| above.parent().is_some()) {
        if let Ok(below) = path.strip_prefix(above) {
            return climbed + &below.to_string_lossy();
        }
        climbed.push_str("../");
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_named_as_seen_from_the_description() {
        let table = [
            ("/a/d/config.sh", "config.sh"),
            ("/a/d/root/etc/x", "root/etc/x"),
            ("/a/overlays/o/etc/x", "../overlays/o/etc/x"),
            ("/usr/share/keyrings/k.gpg", "/usr/share/keyrings/k.gpg"),
        ];
        for (path, seen) in table {
            assert_eq!(seen_from(Path::new("/a/d"), Path::new(path)), seen);
        }
    }
}
