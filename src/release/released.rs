//! A release that lies in its folder, as its manifest tells.
//!
//! In: a folder with `manifest.json`. Out: what the release is, and its artifacts. Never trusts a name in the manifest to
//! stay in the folder; whether a file is still what the manifest says is for who reads it to check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::artifact::hex;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, Result};
use crate::host::file;

/// See the module.
#[derive(Clone, Debug)]
pub struct Released {
    /// Where it is, absolute.
    pub folder: PathBuf,
    /// The image's name.
    pub name: String,
    /// The image's version.
    pub version: String,
    /// The image's architecture: `x86_64`.
    pub arch: String,
    /// SHA-256 over the description and its inputs.
    pub description: String,
    /// SHA-256 over the packages, the lock.
    pub packages: String,
    /// Its files, in the manifest's order.
    pub artifacts: Vec<ListedArtifact>,
}

/// A file of a release, as the manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedArtifact {
    /// File name in the folder.
    pub name: String,
    /// Format: `raw`, `qcow2`, `docker`.
    pub format: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Length of the file.
    pub size: Bytes,
}

#[derive(Deserialize)]
struct ManifestText {
    schema: u32,
    name: String,
    version: String,
    arch: String,
    description: DescriptionText,
    packages: Vec<PackageText>,
    artifacts: Vec<ListedArtifact>,
}

#[derive(Deserialize)]
struct DescriptionText {
    file: String,
    sha256: String,
    inputs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct PackageText {
    name: String,
    version: String,
    arch: String,
    sha256: Option<String>,
}

impl Released {
    /// Reads the manifest of a release. 66 where there is none, 65 where it is not one that this version understands.
    pub fn open(folder: &Path) -> Result<Released> {
        let path = folder.join("manifest.json");
        let cannot = |exit| Error::cannot(exit, format!("read the release {}", folder.display()));
        if !file::is_file(&path) {
            return Err(cannot(Exit::InputMissing)
                .because(format!("there is no {}", path.display()))
                .hint("name the folder that `ingot build --target-dir` wrote"));
        }
        let manifest: ManifestText = serde_json::from_slice(&file::read(&path)?)
            .map_err(|error| cannot(Exit::Description).because(format!("{}: {error}", path.display())))?;
        if manifest.schema != super::manifest::SCHEMA {
            return Err(cannot(Exit::Description)
                .because(format!("its manifest has form {}, which this version does not know", manifest.schema)));
        }
        for artifact in &manifest.artifacts {
            let name = &artifact.name;
            if name.is_empty() || name.starts_with(['.', '-']) || name.contains(['/', '\0', '\n']) {
                return Err(cannot(Exit::Description).because(format!("its manifest names a file `{name}`")));
            }
        }
        let DescriptionText { file: description, sha256, inputs } = manifest.description;
        let files = inputs.iter().map(|(path, sha256)| format!("{sha256}  {path}\n"));
        let packages = manifest.packages.iter().map(|package| {
            let PackageText { name, version, arch, sha256 } = package;
            format!("{name} {version} {arch} {}\n", sha256.as_deref().unwrap_or("-"))
        });
        Ok(Released {
            folder: file::absolute(folder)?,
            name: manifest.name,
            version: manifest.version,
            arch: manifest.arch,
            description: digest(std::iter::once(format!("{sha256}  {description}\n")).chain(files)),
            packages: digest(packages),
            artifacts: manifest.artifacts,
        })
    }
}

fn digest(lines: impl Iterator<Item = String>) -> String {
    hex(&Sha256::digest(lines.collect::<String>()))
}
