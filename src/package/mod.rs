//! Resolved, pinned, fetched and verified packages.
//!
//! In: the [`Plan`](crate::plan::Plan)'s repositories and names. Out: a [`PackageSet`], every archive in the
//! content-addressed store; later, their files in a tree. Never touches the host's own package database.

pub mod alternatives;
pub mod apt;
pub mod apt_folder;
pub mod certificates;
pub mod database;
pub mod deb822;
pub mod deferred;
pub mod dependency;
pub mod dpkg;
pub mod failure;
pub mod fetch;
pub mod host_sources;
pub mod image_sources;
pub mod installed;
pub mod keyring;
pub mod lists;
pub mod manager;
pub mod mirror;
pub mod order;
pub mod pacman;
pub mod release_file;
pub mod remembered;
pub mod removal;
pub mod repository;
pub mod rpm;
pub mod rpmdb;
pub mod sbom;
mod signing_keys;
pub mod solution;
pub mod solver;
pub mod unpack;
pub mod update_stack;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::plan::Signed;
pub use apt::Apt;
pub use dpkg::Unpacker;
pub use manager::{Beneath, PackageManager, Phase, open};
pub use mirror::Mirrors;
pub use remembered::Solution;

/// What was resolved: pinned and verified, in the order in which the manager installs it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PackageSet {
    /// Packages in installation order.
    pub packages: Vec<Package>,
    /// The repositories' metadata that was used.
    pub releases: Vec<ReleaseFile>,
    /// Date of the newest signed Release file, seconds since 1970.
    pub newest_release: i64,
    /// Who decided that it is these packages.
    #[serde(skip)]
    pub solution: Solution,
}

/// One package archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Package {
    /// Binary package name.
    pub name: String,
    /// Full version, epoch included.
    pub version: String,
    /// `amd64`, `all`, ...
    pub arch: String,
    /// Source package name and version.
    pub source: String,
    /// See `source`.
    pub source_version: String,
    /// SHA-256 of the archive in hexadecimal; verified.
    pub sha256: String,
    /// Length of the archive.
    pub size: Bytes,
    /// Installed size as the package claims it.
    pub installed_size: Bytes,
    /// Alias of the repository it came from.
    pub repository: String,
    /// The archive in the store, on the host.
    #[serde(skip)]
    pub archive: PathBuf,
    /// `Essential: yes`.
    #[serde(skip)]
    pub essential: bool,
    /// Named by the description, not only pulled in by a dependency.
    pub requested: bool,
    /// Its control fields, as the signed index has them.
    #[serde(skip)]
    pub control: deb822::Stanza,
}

/// A repository's signed (or not) table of contents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseFile {
    /// Alias of the repository.
    pub repository: String,
    /// `Origin`/`Suite`/`Codename` for people.
    pub title: String,
    /// `Date`, seconds since 1970; only the Release file of an unsigned repository may lack it.
    pub date: Option<i64>,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Whether a signature was verified.
    pub signed: Signed,
    /// Fingerprint of the key that signed it.
    pub signed_by: Option<String>,
}

/// The name most like `name`, where one is like it at all.
fn similar<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|other| (strsim::damerau_levenshtein(name, other), other));
    let (distance, other) = scored.min()?;
    (distance > 0 && distance <= 1 + name.len() / 5).then_some(other)
}
