//! `ingot schema`: what it says is there, and is true.

use std::collections::BTreeSet;
use std::fs;

use ingot::cli::schema::{json, text};
use ingot::description::schema::{self, Attribute, Content, Element, Need, Status};
use ingot::description::{self, Kind};
use ingot::plan::{self, Choices, Password};

use super::samples::{VALUES, document, element, escape, good, image};

/// Image types that are made.
const MADE: &[&str] = &["oem", "docker", "oci", "tbz"];

/// What is honoured and shows nowhere in the plan of a small description, and why.
const SHOWN_ELSEWHERE: &[(&str, &str)] = &[
    ("image@schemaversion", "the conversions are chosen by it"),
    ("image@xsi:noNamespaceSchemaLocation", "for editors"),
    ("image@xsi:schemaLocation", "for editors"),
    ("license@", "for people"),
    ("profile@description", "for people"),
    ("type@primary", "of one type there is no choice"),
    ("type@target_removable", "every disk starts without an entry in the firmware"),
    ("machine@ovftype", "VMware's is the only kind"),
    ("profile@name", "tests of plans: profiles are those chosen or imported and what they require"),
    ("profile@import", "the same"),
    ("profile@arch", "the same"),
    ("requires@profile", "the same"),
    ("requires@arch", "the same"),
];

/// What only packages of rpm have, so that zypper is asked, or dnf about modules: elements, and attributes or words of them.
const OF_RPM: &[(&str, &str)] = &[
    ("collectionModule", ""),
    ("namedCollection", ""),
    ("product", ""),
    ("release-version", ""),
    ("rpm-check-signatures", ""),
    ("rpm-excludedocs", ""),
    ("rpm-locale-filtering", ""),
    ("repository", "package_gpgcheck"),
    ("repository", "sourcetype"),
    ("repository", "rpm-md"),
];

/// The same document for a manager of rpm's packages.
fn for_rpm(text: String, row: &Element) -> String {
    let manager = if row.name == "collectionModule" { "dnf4" } else { "zypper" };
    let text = text.replace("<packagemanager>apt<", &format!("<packagemanager>{manager}<"));
    text.replace("<rpm-locale-filtering>", "<locale>de_DE</locale><rpm-locale-filtering>")
}

/// Names and values.
type Attributes = &'static [(&'static str, &'static str)];

/// What an attribute needs beside it to be read.
const COMPANY: &[(&str, &str, Attributes)] = &[
    ("type", "eficsm", &[("firmware", "efi")]),
    ("type", "efimountoptions", &[("firmware", "efi")]),
    ("type", "efipartsize", &[("firmware", "efi")]),
    ("type", "force_mbr", &[("firmware", "efi")]),
    ("type", "bootfilesystem", &[("bootpartition", "true")]),
    ("type", "bootpartsize", &[("bootpartition", "true")]),
    ("type", "formatoptions", &[("format", "qcow2")]),
    ("type", "vhdfixedtag", &[("format", "vhd-fixed")]),
    ("type", "gcelicense", &[("format", "gce")]),
    ("bootloader", "targettype", &[("name", "zipl")]),
    ("vagrantconfig", "virtualbox_guest_additions_present", &[("provider", "virtualbox")]),
    ("repository", "password", &[("username", "u")]),
];

/// What an element needs inside to be read.
const INSIDE: &[(&str, &str)] = &[("packages", "<package name=\"zz\"/>"), ("preferences", "<locale>de_DE</locale>")];

/// What planning makes of a document: everything that it decides but the variables of `.profile`, or every problem.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    plan: String,
    warnings: Vec<String>,
    refused: Vec<String>,
    other: Vec<String>,
}

fn outcome(text: &str, kind: &str) -> Option<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.xml");
    fs::write(&file, text).unwrap();
    // `<file>` and `<archive>` are called so.
    fs::write(folder.path().join("true"), "").unwrap();
    let description = description::load(&file).ok()?;
    let image_type = Some(kind.to_string()).filter(|kind| text.contains(&format!("image=\"{kind}\"")));
    let choices =
        Choices { arch: "x86_64".to_string(), image_type, profiles: vec!["P".to_string()], ..Choices::default() };
    let mut outcome = Outcome { plan: String::new(), warnings: Vec::new(), refused: Vec::new(), other: Vec::new() };
    match plan::make(&description, &choices) {
        Ok(mut plan) => {
            plan.root.variables.clear();
            outcome.warnings = plan.warnings.drain(..).map(|warning| warning.text).collect();
            let secrets: Vec<String> = plan
                .root
                .users
                .iter()
                .map(|user| match &user.password {
                    Some(Password::Plain(text)) => format!("plain {text}"),
                    Some(Password::Encrypted(text)) => format!("encrypted {text}"),
                    None => "none".to_string(),
                })
                .collect();
            let credentials: Vec<_> = plan.repositories.iter().map(|repository| &repository.credentials).collect();
            let folder = folder.path().display().to_string();
            outcome.plan =
                format!("{} {secrets:?} {credentials:?}", serde_json::to_string(&plan).unwrap()).replace(&folder, "");
        }
        Err(problems) => {
            for problem in problems.iter() {
                let list = if problem.kind == Kind::Refused { &mut outcome.refused } else { &mut outcome.other };
                list.push(problem.title.clone());
            }
        }
    }
    Some(outcome)
}

/// Every document with these attributes on the element, in each of its parents and for image types that are made.
fn outcomes(row: &Element, given: &[(&str, &str)], inside: &str) -> Vec<Outcome> {
    let mut found = Vec::new();
    let company = COMPANY
        .iter()
        .filter(|(element, name, _)| *element == row.name && given.iter().any(|(given, _)| given == name));
    let company: Vec<(&str, &str)> = company.flat_map(|(_, _, with)| with.iter().copied()).collect();
    let inside = INSIDE.iter().find(|(element, _)| *element == row.name).map_or(inside, |(_, inside)| inside);
    for kind in MADE {
        let mut given = [given, &company].concat();
        if row.name == "type" && !given.iter().any(|(name, _)| *name == "image") {
            given.push(("image", kind));
        }
        for document in document(row, element(row, &given, inside), kind) {
            let root = document.strip_prefix("<image").and_then(|rest| rest.split_once('>')).map(|(_, rest)| rest);
            let root = root.and_then(|rest| rest.strip_suffix("</image>")).unwrap_or_default();
            let is_of_rpm = OF_RPM.iter().any(|(element, word)| {
                *element == row.name
                    && (word.is_empty() || given.iter().any(|(name, value)| name == word || value == word))
            });
            let text = image(root);
            found.extend(outcome(&if is_of_rpm { for_rpm(text, row) } else { text }, kind));
        }
    }
    found
}

fn values(attribute: &Attribute) -> Vec<&'static str> {
    let mut values: Vec<&str> = attribute.value.words().to_vec();
    values.extend([good(attribute.value), "512"].into_iter().filter(|text| attribute.value.accepts(text)));
    if attribute.value == schema::Value::Text {
        values.extend(["!", "*"]);
    }
    if attribute.value == schema::Value::Profiles {
        values.push("Q");
    }
    values.extend(VALUES.iter().filter(|text| attribute.value.accepts(text) && !text.is_empty()).take(6));
    values
}

#[test]
fn what_the_schema_says_of_each_attribute_is_what_planning_does() {
    let mut wrong = BTreeSet::new();
    for row in schema::elements().filter(|row| !matches!(row.name, "image" | "include" | "extension")) {
        let status = schema::status_of(row);
        for attribute in row.attributes {
            let what = format!("{}@{}", row.name, attribute.name);
            let status = schema::status_of_attribute(row, attribute);
            if !attribute.types.is_empty() && !attribute.types.iter().any(|kind| MADE.contains(kind)) {
                assert_ne!(status, Status::Honoured, "{what} is for images that are not made");
                continue;
            }
            let named = |text: &String| text.contains(attribute.name) || text.contains(&format!("<{}", row.name));
            let all: Vec<(&str, Vec<Outcome>)> = values(attribute)
                .into_iter()
                .map(|value| (value, outcomes(row, &[(attribute.name, value)], "")))
                .collect();
            let any = |of: &dyn Fn(&Outcome) -> bool| all.iter().flat_map(|(_, found)| found).any(of);
            match status {
                Status::Honoured => {
                    // What the document is without it, or with its first value where it must be there.
                    let base = match attribute.need {
                        Need::Optional => outcomes(row, &[], ""),
                        Need::Mandatory => all
                            .first()
                            .map(|(value, _)| outcomes(row, &[(attribute.name, *value)], ""))
                            .unwrap_or_default(),
                    };
                    let elsewhere = SHOWN_ELSEWHERE.iter().any(|(known, _)| *known == what);
                    if !any(&|outcome| !base.contains(outcome)) && !elsewhere {
                        wrong.insert(format!("{what} is honoured, and planning does not read it"));
                    }
                    if let Some(honoured) = schema::honoured_words(row.name, attribute.name) {
                        for (word, found) in all.iter().filter(|(word, _)| attribute.value.words().contains(word)) {
                            let refused = found.iter().any(|outcome| !outcome.refused.is_empty());
                            if refused == honoured.contains(word) && !found.is_empty() {
                                wrong.insert(format!("{what}={word}: refused is {refused}"));
                            }
                        }
                    } else if all
                        .iter()
                        .filter(|(word, _)| attribute.value.words().contains(word))
                        .any(|(_, found)| found.iter().any(|outcome| outcome.refused.iter().any(named)))
                    {
                        wrong.insert(format!("{what} is honoured, and words of it are refused"));
                    }
                }
                Status::Refused(_) => {
                    if !any(&|outcome| !outcome.refused.is_empty()) {
                        wrong.insert(format!("{what} is refused, and planning does not refuse it"));
                    }
                }
                Status::Ignored(_) => {
                    if !any(&|outcome| outcome.warnings.iter().any(|text| text.contains("is ignored:"))) {
                        wrong.insert(format!("{what} is ignored, and no warning says so"));
                    }
                }
            }
        }
        if let Content::Text(value) = row.content {
            let what = format!("{}@", row.name);
            let texts = VALUES.iter().chain(value.words()).filter(|text| value.accepts(text) && !text.is_empty());
            let all: Vec<Outcome> = texts.take(12).flat_map(|text| outcomes(row, &[], &escape(text))).collect();
            let right = match status {
                Status::Honoured => {
                    let different: BTreeSet<String> = all.iter().map(|outcome| format!("{outcome:?}")).collect();
                    different.len() > 1 || SHOWN_ELSEWHERE.iter().any(|(known, _)| *known == what)
                }
                Status::Refused(_) => all.iter().any(|outcome| !outcome.refused.is_empty()),
                Status::Ignored(_) => {
                    all.iter().any(|outcome| outcome.warnings.iter().any(|text| text.contains("is ignored:")))
                }
            };
            if !right {
                wrong.insert(format!("<{}> is {status:?}, and planning does otherwise", row.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} claims\n{}", wrong.len(), wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_command_lists_everything_and_tells_about_one() {
    let all = text(None).unwrap();
    for element in schema::elements() {
        assert!(all.contains(&format!("<{}> ", element.name)), "{}", element.name);
    }
    let bootloader = text(Some("bootloader")).unwrap();
    assert!(
        bootloader.starts_with("<bootloader> in <type>, once\n    The boot loader\n    honoured\n"),
        "{bootloader}"
    );
    assert!(
        bootloader.contains("\n  timeout: a whole number\n      Seconds until the menu goes on; 10\n      honoured\n")
    );
    assert!(bootloader.contains("      refused: grub2_s390x_emu, systemd_boot, custom, zipl\n"), "{bootloader}");
    assert!(text(Some("<systemdisk>")).unwrap().contains("    refused: volumes are not made yet"));
    assert!(text(Some("ingot:scrub")).unwrap().contains("  preset: one of `vm`, `container`, `none`"));
    let archive = text(Some("type")).unwrap();
    assert!(
        archive.contains(
            "      for images of type kis\n      refused: kernel, initrd and system archives are not made yet"
        )
    );
    let hint = |name: &str| text(Some(name)).unwrap_err().hint_text().unwrap().to_string();
    assert_eq!(hint("bootlaoder"), "did you mean <bootloader>?");
    assert_eq!(hint("kernelcmdline"), "`kernelcmdline` is an attribute of <type>");
    let found: serde_json::Value = serde_json::from_str(&json(None).unwrap()).unwrap();
    let elements = found.as_array().unwrap();
    assert_eq!(elements.len(), 111 + schema::EXTENSIONS.len());
    for element in elements {
        for row in element["attributes"].as_array().unwrap().iter().chain([element]) {
            let reason = row["reason"].as_str().is_some_and(|reason| !reason.is_empty());
            assert_eq!(row["status"] != "honoured", reason, "{row}");
        }
    }
}

#[test]
fn everything_that_is_refused_is_in_the_guide_with_what_to_do_instead() {
    let guide = fs::read_to_string("docs/switching.md").unwrap();
    let section = guide.split("## Refused, by name").nth(1).unwrap().split("\n## ").next().unwrap();
    let is_refused = |status| matches!(status, Status::Refused(_));
    let mut names: BTreeSet<&str> = BTreeSet::new();
    // A volume of a container is honoured, one of a disk belongs to <systemdisk>.
    for row in schema::elements().filter(|row| row.name != "volume") {
        if is_refused(schema::status_of(row)) {
            // Its children and attributes are refused with it.
            let above =
                row.within.iter().any(|name| schema::find(name).is_some_and(|row| is_refused(schema::status_of(row))));
            names.extend((!above).then_some(row.name));
            continue;
        }
        let refused = row.attributes.iter().filter(|attribute| is_refused(schema::status_of_attribute(row, attribute)));
        names.extend(refused.map(|attribute| attribute.name));
    }
    names.extend(schema::IMAGE_TYPES.iter().filter(|(_, status)| is_refused(*status)).map(|(name, _)| *name));
    let missing: Vec<&str> = names.into_iter().filter(|name| !section.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/switching.md does not say why and what instead: {missing:?}");
}
