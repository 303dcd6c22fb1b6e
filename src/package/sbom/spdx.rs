//! SPDX 2.3 as JSON (spdx.github.io/spdx-spec/v2.3).
//!
//! In: what an image is and what it holds. Out: a document that describes the image, which contains the operating system
//! and each package. Never lists files: the packages' own databases do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::licence::{self, References};
use super::{Component, Subject, SubjectKind, date, object, text, uuid};

/// What nobody says anything about.
const UNKNOWN: &str = "NOASSERTION";

pub(super) fn document(subject: &Subject, components: &[Component]) -> Value {
    let mut identifiers = BTreeSet::new();
    let mut references = References::new();
    let image = identifier("Image", &subject.name, &mut identifiers);
    let mut packages = vec![object([
        ("SPDXID", json!(image)),
        ("name", json!(subject.name)),
        ("versionInfo", text(&subject.version)),
        ("downloadLocation", json!(UNKNOWN)),
        ("filesAnalyzed", json!(false)),
        (
            "primaryPackagePurpose",
            json!(match subject.kind {
                SubjectKind::Container => "CONTAINER",
                SubjectKind::Machine => "OTHER",
            }),
        ),
    ])];
    if !subject.distribution.is_empty() {
        packages.push(object([
            ("SPDXID", json!(identifier("OperatingSystem", &subject.distribution, &mut identifiers))),
            ("name", json!(subject.distribution)),
            ("versionInfo", text(&subject.release)),
            ("downloadLocation", json!(UNKNOWN)),
            ("filesAnalyzed", json!(false)),
            ("primaryPackagePurpose", json!("OPERATING-SYSTEM")),
        ]));
    }
    for component in components {
        let id = identifier("Package", &format!("{}-{}", component.name, component.arch), &mut identifiers);
        packages.push(package(id, component, subject, &mut references));
    }
    let contained = packages.iter().skip(1).map(|package| {
        json!({"spdxElementId": image, "relationshipType": "CONTAINS", "relatedSpdxElement": package["SPDXID"]})
    });
    let described =
        json!({"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": image});
    let relationships: Vec<Value> = std::iter::once(described).chain(contained).collect();
    let licences: Vec<Value> = references
        .iter()
        .map(|(reference, said)| {
            json!({"licenseId": reference, "extractedText": format!("The package says: {said}"), "name": said})
        })
        .collect();
    object([
        ("spdxVersion", json!("SPDX-2.3")),
        ("dataLicense", json!("CC0-1.0")),
        ("SPDXID", json!("SPDXRef-DOCUMENT")),
        ("name", json!(subject.stem)),
        ("documentNamespace", json!(namespace(subject, components))),
        (
            "creationInfo",
            json!({
                "created": date(subject.epoch),
                "creators": [concat!("Tool: ingot-", env!("CARGO_PKG_VERSION"))],
            }),
        ),
        ("packages", json!(packages)),
        ("relationships", json!(relationships)),
        ("hasExtractedLicensingInfos", if licences.is_empty() { Value::Null } else { json!(licences) }),
    ])
}

fn namespace(subject: &Subject, components: &[Component]) -> String {
    format!("https://spdx.org/spdxdocs/{}-{}", safe(&subject.stem), uuid(subject, components))
}

fn package(id: String, component: &Component, subject: &Subject, references: &mut References) -> Value {
    let or_unknown = |text: String| if text.is_empty() { UNKNOWN.to_string() } else { text };
    let licence = component.licence.as_deref().map(|said| licence::expression(said, references));
    let supplier = match supplier(&component.supplier) {
        text if text.is_empty() => UNKNOWN.to_string(),
        text => format!("Organization: {text}"),
    };
    let sums = component.sha256.as_ref().map(|sum| json!([{"algorithm": "SHA256", "checksumValue": sum}]));
    let (source, version) = &component.source;
    object([
        ("SPDXID", json!(id)),
        ("name", json!(component.name)),
        ("versionInfo", text(&component.version)),
        ("supplier", json!(supplier)),
        ("downloadLocation", json!(UNKNOWN)),
        ("filesAnalyzed", json!(false)),
        ("checksums", json!(sums)),
        (
            "homepage",
            Some(&component.home_page).filter(|page| is_address(page)).map_or(Value::Null, |page| json!(page)),
        ),
        ("sourceInfo", if source.is_empty() { Value::Null } else { json!(format!("built from {source} {version}")) }),
        ("licenseConcluded", json!(UNKNOWN)),
        ("licenseDeclared", json!(or_unknown(licence.unwrap_or_default()))),
        ("copyrightText", json!(UNKNOWN)),
        ("summary", text(&component.summary)),
        (
            "externalRefs",
            json!([{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": component.purl(subject),
            }]),
        ),
    ])
}

/// `Name <address>` as `Name (address)`.
fn supplier(said: &str) -> String {
    match said.split_once('<') {
        Some((name, address)) => format!("{} ({})", name.trim(), address.trim_end_matches('>').trim()),
        // Round brackets would be an address.
        None => said.replace(['(', ')'], "").trim().to_string(),
    }
}

/// Whether it is an address at which a browser may look.
pub(super) fn is_address(page: &str) -> bool {
    let rest = page.strip_prefix("https://").or_else(|| page.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && page.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&byte))
    })
}

/// `SPDXRef-KIND-NAME`, with a number where another one is called so.
fn identifier(kind: &str, name: &str, taken: &mut BTreeSet<String>) -> String {
    let name = format!("SPDXRef-{kind}-{}", safe(name));
    let mut number = 1;
    loop {
        let identifier = if number == 1 { name.clone() } else { format!("{name}-{number}") };
        if taken.insert(identifier.clone()) {
            return identifier;
        }
        number += 1;
    }
}

/// Letters, digits, `.` and `-` are all that an identifier may hold.
fn safe(text: &str) -> String {
    text.chars().map(|char| if char.is_ascii_alphanumeric() || char == '.' { char } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{component, subject};
    use super::*;

    #[test]
    fn identifiers_are_made_of_what_may_be_in_them_and_differ() {
        let document = document(&subject(), &[component("g++"), component("g--")]);
        let packages = document["packages"].as_array().unwrap();
        let identifiers: Vec<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
        let wanted = [
            "SPDXRef-Image-tiny",
            "SPDXRef-OperatingSystem-debian",
            "SPDXRef-Package-g---amd64",
            "SPDXRef-Package-g---amd64-2",
        ];
        assert_eq!(identifiers, wanted);
        assert_eq!(packages[2]["licenseDeclared"], "GPL-2.0-or-later AND MIT");
        assert_eq!(packages[2]["supplier"], "Organization: Us (us@example.org)");
        assert_eq!(document["relationships"].as_array().unwrap().len(), 4);
        assert_eq!(document.get("hasExtractedLicensingInfos"), None);
    }
}
