//! Resolved, pinned, fetched and verified packages.
//!
//! In: the [`Plan`](crate::plan::Plan)'s repositories and names. Out: a [`PackageSet`], every archive in the
//! content-addressed store; later, their files in a tree. Never touches the host's own package database.

pub mod unpack;

use std::path::PathBuf;

use serde::Serialize;

use crate::bytes::Bytes;
use crate::plan::Signed;

/// What was resolved: pinned and verified, in the order in which the manager installs it.
#[derive(Clone, Debug, Serialize)]
pub struct PackageSet {
    /// Packages in installation order.
    pub packages: Vec<Package>,
    /// The repositories' metadata that was used.
    pub releases: Vec<ReleaseFile>,
    /// Date of the newest signed Release file, seconds since 1970.
    pub newest_release: i64,
}

/// One package archive.
#[derive(Clone, Debug, Serialize)]
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
}

/// A repository's signed (or not) table of contents.
#[derive(Clone, Debug, Serialize)]
pub struct ReleaseFile {
    /// Alias of the repository.
    pub repository: String,
    /// `Origin`/`Suite`/`Codename` for people.
    pub title: String,
    /// `Date`, seconds since 1970.
    pub date: i64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Whether a signature was verified.
    pub signed: Signed,
    /// Fingerprint of the key that signed it.
    pub signed_by: Option<String>,
}
