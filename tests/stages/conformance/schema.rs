//! Every attribute and text of the schema, with values of every kind: what KIWI's RELAX NG and Schematron accept is
//! what we accept.

use std::collections::BTreeMap;
use std::fs;

use ingot::description;
use ingot::description::schema::{self, Content, Element, Need};
use serde_json::{Value as Json, json};

use super::super::samples::{VALUES, document, element, escape, good, image};

/// Where we are stricter on purpose: what the problem says, and why.
const STRICTER: &[(&str, &str)] = &[
    ("no profile is called", "a section for a profile that nobody can select is a misspelt name"),
    ("`` is not a value of", "an empty name names nothing; KIWI fails later, or does nothing"),
    ("`123456789012345678901234567890123` is not", "no machine counts so far"),
    ("profile `true` is defined twice", "the second one could never be chosen"),
    ("`targettype` has no meaning for the boot loader grub2", "KIWI takes grub2 for a part of grub2_s390x_emu"),
];

/// The same, by what follows the value.
const STRICTER_BEHIND: &[(&str, &str)] = &[
    ("is not a value of `groups`", "groupadd would fail later"),
    ("has no meaning for a container's volume", "KIWI reads the name alone"),
];

/// Where we are laxer: documents whose key ends so, and why.
const LAXER: &[(&str, &str)] = &[("=+5 #0 oem", "a plus is no part of a number, whichever pattern the number has")];

/// One document for each attribute or text and each value; the key says which it is.
fn documents() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut add = |key: String, row: &Element, text: String, kind: &str| {
        for (index, document) in document(row, text, kind).into_iter().enumerate() {
            let inside = document.strip_prefix("<image").and_then(|rest| rest.split_once('>')).map(|(_, rest)| rest);
            let inside = inside.and_then(|rest| rest.strip_suffix("</image>")).unwrap_or_default();
            found.insert(format!("{key} #{index} {kind}"), image(inside));
        }
    };
    let kinds = schema::IMAGE_TYPES.iter().map(|(name, _)| *name);
    for row in schema::elements().filter(|row| !matches!(row.name, "image" | "include" | "extension")) {
        for attribute in row.attributes {
            let mut values: Vec<&str> = VALUES.to_vec();
            values.extend(attribute.value.words());
            values.push(good(attribute.value));
            for value in values {
                let kind = attribute.types.first().copied().unwrap_or("oem");
                let kind = if row.name == "history" { "appx" } else { kind };
                let mut given = vec![(attribute.name, value)];
                if row.name == "type" && attribute.name != "image" {
                    given.push(("image", kind));
                }
                add(format!("{}@{}={value}", row.name, attribute.name), row, element(row, &given, ""), kind);
            }
            if row.name == "type" && attribute.name != "image" {
                for kind in kinds.clone() {
                    let given = [("image", kind), (attribute.name, good(attribute.value))];
                    add(format!("type@{}", attribute.name), row, element(row, &given, ""), kind);
                }
                for filesystem in ["ext4", "xfs"] {
                    let given = [("image", "oem"), ("filesystem", filesystem), (attribute.name, good(attribute.value))];
                    if attribute.name != "filesystem" {
                        add(format!("type@{} {filesystem}", attribute.name), row, element(row, &given, ""), "oem");
                    }
                }
            }
            if row.name == "bootloader" && attribute.name != "name" {
                for loader in ["grub2", "grub2_s390x_emu", "systemd_boot", "custom", "zipl"] {
                    let given = [("name", loader), (attribute.name, good(attribute.value))];
                    add(format!("bootloader@{} {loader}", attribute.name), row, element(row, &given, ""), "oem");
                }
            }
        }
        if row.within.contains(&"type") {
            for kind in kinds.clone() {
                add(format!("<{}>", row.name), row, element(row, &[], ""), kind);
            }
        }
        if let Content::Text(value) = row.content {
            for text in VALUES.iter().chain(value.words()).filter(|text| !text.is_empty()) {
                add(format!("{}={text}", row.name), row, element(row, &[], &escape(text)), "oem");
            }
        }
        // Twice in one parent, and without what it needs.
        let twice = element(row, &[], "").repeat(2);
        add(format!("<{}> twice", row.name), row, twice, "oem");
        for attribute in row.attributes.iter().filter(|attribute| attribute.need == Need::Mandatory) {
            let bare = element(row, &[], "").replacen(
                &format!(" {}=\"{}\"", attribute.name, escape(good(attribute.value))),
                "",
                1,
            );
            add(format!("{} without {}", row.name, attribute.name), row, bare, "oem");
        }
    }
    found
}

#[test]
fn what_kiwis_schema_accepts_is_what_we_accept() {
    let Some(python) = super::python() else { return };
    let documents = documents();
    let texts: Vec<&String> = documents.values().collect();
    let answers = super::ask(&python, "validate", &json!(texts));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.xml");
    let mut complaints: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut accepted = 0;
    for ((key, text), answer) in documents.iter().zip(&answers) {
        let kiwi = answer[0] == Json::Bool(true) && answer[1] == Json::Bool(true);
        fs::write(&file, text).unwrap();
        let ours = description::load(&file);
        accepted += usize::from(kiwi);
        if kiwi == ours.is_ok() {
            continue;
        }
        let what = key.split(['=', ' ']).next().unwrap();
        let stricter = |title: &str| {
            STRICTER.iter().any(|(start, _)| title.starts_with(start))
                || STRICTER_BEHIND.iter().any(|(end, _)| title.ends_with(end))
        };
        if ours.is_ok() && LAXER.iter().any(|(end, _)| key.ends_with(end)) {
            continue;
        }
        if ours.as_ref().is_err_and(|problems| problems.iter().all(|problem| stricter(&problem.title))) {
            continue;
        }
        let says = match ours {
            Ok(_) => "accepted by us".to_string(),
            Err(problems) => problems.iter().map(|problem| problem.title.clone()).collect::<Vec<_>>().join("; "),
        };
        complaints.entry(what.to_string()).or_default().push(format!("  {key}: KIWI {answer}, {says}"));
    }
    println!("{} documents, KIWI accepts {accepted}", documents.len());
    let lines: Vec<String> = complaints
        .into_iter()
        .flat_map(|(what, lines)| {
            let more = lines.len().saturating_sub(4);
            std::iter::once(what)
                .chain(lines.into_iter().take(4))
                .chain((more > 0).then(|| format!("  and {more} more")))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}
