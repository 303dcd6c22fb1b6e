//! Every attribute and text of the schema, with values of every kind: what KIWI's RELAX NG and Schematron accept is
//! what we accept.

use std::collections::BTreeMap;
use std::fs;

use ingot::description;
use ingot::description::schema::{self, Content, Element, Need};
use serde_json::{Value as Json, json};

/// Values of every kind, right ones and wrong ones, beside the words that an attribute names itself.
const VALUES: &[&str] = &[
    "",
    "true",
    "1",
    "yes",
    "0",
    "5",
    "-5",
    "+5",
    "2048",
    "40000",
    "1.5",
    "0x5",
    "10M",
    "10G",
    "10K",
    "all",
    "abc",
    "a b",
    "a/b",
    "a.b-c_d",
    "a,b",
    "a:5",
    "ä",
    "x86_64",
    "x86_64,aarch64",
    "en_US",
    "POSIX",
    "POSIX,en_US",
    "en",
    "80/tcp",
    "file:///k",
    "this://k",
    "https://h/x",
    "1.2.3.4",
    "1.2.3",
    "70000.1.1.1",
    "3f1c0000-0000-4000-8000-00000000000a",
    "00:16:3e:00:00:01",
    "docker:qcow2",
    "oci:vagrant",
    "123456789012345678901234567890123",
    "true ",
    " 5",
];

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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// A value that the kind of value takes.
fn good(value: schema::Value) -> &'static str {
    match value {
        schema::Value::Profiles => "P",
        schema::Value::OneOf(words) => words[0],
        value => VALUES.iter().copied().find(|text| !text.is_empty() && value.accepts(text)).unwrap_or(""),
    }
}

/// The element as small as can be, with `attributes` and `inside`.
fn element(row: &Element, attributes: &[(&str, &str)], inside: &str) -> String {
    let mut given: Vec<(&str, &str)> = attributes.to_vec();
    for attribute in row.attributes.iter().filter(|attribute| attribute.need == Need::Mandatory) {
        if !given.iter().any(|(name, _)| *name == attribute.name) {
            given.push((attribute.name, good(attribute.value)));
        }
    }
    let needs = |name: &'static str, value: &'static str, given: &mut Vec<(&str, &str)>| {
        if !given.iter().any(|(known, _)| *known == name) {
            given.push((name, value));
        }
    };
    let has = |name: &str, given: &[(&str, &str)]| given.iter().any(|(known, _)| *known == name);
    match row.name {
        "type" => {
            let image = given.iter().find(|(name, _)| *name == "image").map_or("", |(_, value)| *value).to_string();
            if image == "oem" {
                needs("filesystem", "btrfs", &mut given);
            }
            if image == "appx" {
                needs("metadata_path", "m", &mut given);
            }
            if has("embed_verity_metadata", &given) {
                needs("verity_blocks", "all", &mut given);
            }
            if has("embed_integrity_metadata", &given) || has("integrity_legacy_hmac", &given) {
                needs("standalone_integrity", "true", &mut given);
            }
            if inside.contains("<luksformat") {
                needs("luks", "x", &mut given);
            }
            if inside.contains("<installmedia") {
                needs("installiso", "true", &mut given);
            }
            if has("derived_from", &given) && image == "oem" {
                needs("format", "docker:qcow2", &mut given);
            }
        }
        "entrypoint" | "subcommand" if !has("clear", &given) => needs("execute", "x", &mut given),
        _ => {}
    }
    let mut children = inside.to_string();
    for needed in row.needs.iter().filter(|needed| !inside.contains(&format!("<{needed}"))) {
        children += &element(schema::find(needed).unwrap(), &[], "");
    }
    if let (Content::Text(value), "") = (row.content, inside) {
        children += &escape(good(value));
    }
    let attributes: String = given.iter().map(|(name, value)| format!(" {name}=\"{}\"", escape(value))).collect();
    format!("<{}{attributes}>{children}</{}>", row.name, row.name)
}

/// A whole description around an element; `within` is the chain of parents that was chosen.
fn document(row: &Element, text: String, image: &str) -> Vec<String> {
    let mut documents = Vec::new();
    let parents: Vec<&str> = row.within.to_vec();
    if row.name == "image" {
        return vec![text];
    }
    for parent in parents {
        let above = schema::find(parent).unwrap();
        let attributes: Vec<(&str, &str)> = match parent {
            "type" => vec![("image", image)],
            "bootloader" if row.name == "securelinux" => vec![("name", "zipl")],
            "bootloader" => vec![("name", "grub2")],
            "packages" if row.name == "collectionModule" => vec![("type", "bootstrap")],
            _ => Vec::new(),
        };
        let outer = element(above, &attributes, &text);
        documents.extend(document(above, outer, image));
    }
    documents
}

/// `<image>` with what every description has, and these children.
fn image(inside: &str) -> String {
    let mut text = String::from("<image schemaversion=\"8.5\" name=\"n\">");
    if !inside.contains("<description") {
        text += "<description type=\"system\"><author>A</author><contact>c</contact><specification>S</specification></description>";
    }
    if !inside.contains("<profiles") {
        text += "<profiles><profile name=\"P\" description=\"p\"/></profiles>";
    }
    let preferences =
        "<preferences><version>1.0.0</version><packagemanager>apt</packagemanager><type image=\"tbz\"/></preferences>";
    if !inside.contains("<preferences") {
        text += preferences;
    }
    if !inside.contains("<repository") {
        text += "<repository><source path=\"https://h/x\"/></repository>";
    }
    if !inside.contains("<packages") {
        text += "<packages type=\"bootstrap\"><package name=\"a\"/></packages>";
    }
    text + inside + "</image>"
}

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
