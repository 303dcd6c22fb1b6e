//! CycloneDX 1.5 as JSON (cyclonedx.org/docs/1.5/json).
//!
//! In: what an image is and what it holds. Out: a document whose main component is the image, with the operating system
//! and each package. Never says which package needs which: what is there was decided when it was built.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::licence::{self, References};
use super::spdx::is_address;
use super::{Component, Subject, SubjectKind, date, object, text, uuid};

/// What names the image inside the document.
const IMAGE: &str = "image";

pub(super) fn document(subject: &Subject, components: &[Component]) -> Value {
    let kind = match subject.kind {
        SubjectKind::Container => "container",
        SubjectKind::Machine => "operating-system",
    };
    let mut listed = Vec::new();
    if !subject.distribution.is_empty() {
        listed.push(object([
            ("type", json!("operating-system")),
            ("bom-ref", json!("operating-system")),
            ("name", json!(subject.distribution)),
            ("version", text(&subject.release)),
        ]));
    }
    let mut taken = BTreeSet::new();
    // A package that is there twice in the same version counts once.
    let components = components.iter().filter(|component| taken.insert(component.purl(subject)));
    let components: Vec<&Component> = components.collect();
    listed.extend(components.iter().map(|component| described(component, subject)));
    let references: Vec<&Value> = listed.iter().map(|component| &component["bom-ref"]).collect();
    let owned: Vec<Component> = components.iter().map(|component| (*component).clone()).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", uuid(subject, &owned)),
        "version": 1,
        "metadata": {
            "timestamp": date(subject.epoch),
            "tools": {
                "components": [{"type": "application", "name": "ingot", "version": env!("CARGO_PKG_VERSION")}],
            },
            "component": {"type": kind, "bom-ref": IMAGE, "name": subject.name, "version": subject.version},
        },
        "components": listed,
        "dependencies": [{"ref": IMAGE, "dependsOn": references}],
    })
}

fn described(component: &Component, subject: &Subject) -> Value {
    let purl = component.purl(subject);
    let page = Some(&component.home_page).filter(|page| is_address(page));
    let licences = component.licence.as_deref().map(|said| {
        let mut references = References::new();
        let expression = licence::expression(said, &mut references);
        match references.is_empty() {
            true => json!([{"expression": expression}]),
            // Its own words are all that there is to say.
            false => json!([{"license": {"name": said}}]),
        }
    });
    object([
        ("type", json!("library")),
        ("bom-ref", json!(purl)),
        ("publisher", text(&component.supplier)),
        ("name", json!(component.name)),
        ("version", json!(component.version)),
        ("description", text(&component.summary)),
        ("hashes", json!(component.sha256.as_ref().map(|sum| json!([{"alg": "SHA-256", "content": sum}])))),
        ("licenses", json!(licences)),
        ("purl", json!(purl)),
        ("externalReferences", json!(page.map(|page| json!([{"type": "website", "url": page}])))),
    ])
}
