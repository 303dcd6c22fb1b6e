//! The bill of materials of an image, in the two forms that scanners read: SPDX 2.3 and CycloneDX 1.5, as JSON.
//!
//! In: what is installed, and what the image is. Out: two documents that name the same components by their package URLs,
//! the same bytes for the same image. Never says more than a package database knows: what is unknown is `NOASSERTION` or
//! not there.

mod cyclonedx;
mod licence;
mod purl;
mod spdx;

use serde::Serialize;
use serde_json::Value;

use super::installed::Family;
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::report::civil_date;

/// Where an image without package database has its SPDX document: the folder in which images of Wolfi have theirs, and the
/// end of the name by which Trivy and Syft know it.
pub const FOLDER: &str = "/var/lib/db/sbom";

/// What an image is, for a bill of materials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `NAME.ARCH-VERSION`: the name of the document.
    pub stem: String,
    /// Whether it is a container.
    pub kind: SubjectKind,
    /// Its date, seconds since 1970.
    pub epoch: i64,
    /// `ID` of os-release(5); empty where there is none.
    pub distribution: String,
    /// `VERSION_ID` of os-release(5); empty where there is none.
    pub release: String,
}

/// What an image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// A container engine.
    Container,
    /// A machine.
    Machine,
}

/// A package in a bill of materials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Whose package it is.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its version as its family writes it.
    pub version: String,
    /// Its architecture.
    pub arch: String,
    /// Name and version of what it was built from.
    pub source: (String, String),
    /// SHA-256 of its archive in hexadecimal, where it is known.
    pub sha256: Option<String>,
    /// What it says of its licence.
    pub licence: Option<String>,
    /// Who made it; empty where it does not say.
    pub supplier: String,
    /// One line about it; empty where there is none.
    pub summary: String,
    /// Its home page; empty where there is none.
    pub home_page: String,
}

impl Component {
    /// `pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12` (the package URL specification).
    pub fn purl(&self, subject: &Subject) -> String {
        purl::of(self, subject)
    }
}

/// Both documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// SPDX 2.3.
    pub spdx: Vec<u8>,
    /// CycloneDX 1.5.
    pub cyclonedx: Vec<u8>,
}

/// Writes both documents. `components` are sorted first.
pub fn documents(subject: &Subject, mut components: Vec<Component>) -> Result<Documents> {
    components.sort_by(|a, b| (&a.name, &a.version, &a.arch).cmp(&(&b.name, &b.version, &b.arch)));
    Ok(Documents {
        spdx: printed(&spdx::document(subject, &components))?,
        cyclonedx: printed(&cyclonedx::document(subject, &components))?,
    })
}

fn printed(document: &Value) -> Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(document);
    let mut text = text.map_err(|error| Error::cannot(Exit::Bug, "write a bill of materials").because(error))?;
    text.push(b'\n');
    Ok(text)
}

/// A UUID that another image, or the same with other packages, does not have.
fn uuid(subject: &Subject, components: &[Component]) -> String {
    let purls: Vec<String> = components.iter().map(|component| component.purl(subject)).collect();
    let digest = Sha256::of(format!("{subject:?} {purls:?}")).to_string();
    // Version 8: made from a digest of one's own (RFC 9562, 5.8).
    let groups = [&digest[..8], &digest[8..12], &digest[13..16], &digest[17..20], &digest[20..32]];
    format!("{}-{}-8{}-8{}-{}", groups[0], groups[1], groups[2], groups[3], groups[4])
}

/// RFC 3339 in UTC, without fractions, as SPDX demands it.
fn date(epoch: i64) -> String {
    let (year, month, day) = civil_date(epoch.div_euclid(86_400));
    let rest = epoch.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// An object without the members that are null.
fn object<T: Serialize>(members: impl IntoIterator<Item = (&'static str, T)>) -> Value {
    let members = members.into_iter().map(|(name, value)| (name, serde_json::to_value(value).unwrap_or_default()));
    Value::Object(
        members.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_string(), value)).collect(),
    )
}

/// A text; null where it is empty.
fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn subject() -> Subject {
        Subject {
            name: "tiny".into(),
            version: "1.0.0".into(),
            stem: "tiny.x86_64-1.0.0".into(),
            kind: SubjectKind::Container,
            epoch: 1_700_000_000,
            distribution: "debian".into(),
            release: "12".into(),
        }
    }

    pub fn component(name: &str) -> Component {
        Component {
            family: Family::Dpkg,
            name: name.into(),
            version: "1:2.0+x~1-3".into(),
            arch: "amd64".into(),
            source: ("base".into(), "2.0".into()),
            sha256: Some("ab".repeat(32)),
            licence: Some("GPL-2+ AND Expat".into()),
            supplier: "Us <us@example.org>".into(),
            summary: "a thing".into(),
            home_page: "https://example.org".into(),
        }
    }

    #[test]
    fn the_order_of_packages_changes_nothing_and_another_package_changes_the_identity() {
        let made = |names: &[&str]| documents(&subject(), names.iter().map(|name| component(name)).collect()).unwrap();
        assert_eq!(made(&["a", "b"]), made(&["b", "a"]));
        let namespace = |documents: &Documents| {
            let value: Value = serde_json::from_slice(&documents.spdx).unwrap();
            value["documentNamespace"].as_str().unwrap().to_string()
        };
        assert_ne!(namespace(&made(&["a"])), namespace(&made(&["b"])));
        assert!(namespace(&made(&["a"])).starts_with("https://"));
    }

    #[test]
    fn dates_are_rfc_3339() {
        assert_eq!(date(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
    }
}
