//! Older schema versions: what a later one calls differently, keeps elsewhere or dropped.
//!
//! In: a tree and its schema version. Out: the same tree in the words of schema 8.5, and what was left out on the way.
//! Never guesses: versions before 6.0 and after 8.5 are problems.

use super::problem::{Problem, shown};
use super::source::{Span, Spanned};
use super::xml::{Attribute, Node};

/// A schema version as (major, minor).
pub type Version = (u32, u32);

/// The versions that are understood.
pub const VERSIONS: &[Version] = &[
    (6, 0),
    (6, 1),
    (6, 2),
    (6, 3),
    (6, 4),
    (6, 5),
    (6, 6),
    (6, 7),
    (6, 8),
    (6, 9),
    (7, 0),
    (7, 1),
    (7, 2),
    (7, 3),
    (7, 4),
    (7, 5),
    (7, 6),
    (8, 0),
    (8, 1),
    (8, 2),
    (8, 3),
    (8, 4),
    (8, 5),
];

/// Versions that KIWI had before, oldest first: there is no rewrite from any of them to the next.
const ANCIENT: &[Version] = &[
    (1, 4),
    (2, 0),
    (2, 4),
    (3, 5),
    (3, 7),
    (3, 8),
    (3, 9),
    (4, 1),
    (4, 2),
    (4, 3),
    (4, 4),
    (4, 5),
    (4, 6),
    (4, 7),
    (4, 8),
    (4, 9),
    (5, 0),
    (5, 1),
    (5, 2),
    (5, 3),
    (5, 4),
    (5, 5),
    (5, 6),
    (5, 7),
    (5, 8),
    (5, 9),
];

/// How something old is written in new words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The attribute has another name.
    Renamed(&'static str),
    /// The attribute is gone and had no effect worth keeping.
    Dropped,
    /// The attribute is gone where it had one of these values.
    DroppedValue(&'static [&'static str]),
    /// The attribute has this value where it was not written, on images of these types.
    Default(&'static str, &'static [&'static str]),
    /// The attribute became the attribute of a child, which is made where it is missing.
    IntoChild(&'static str, &'static str),
    /// The attribute became the attribute of a child, and is gone where there is no such child.
    IntoChildIfAny(&'static str, &'static str),
    /// The attribute became the attribute of every child of a name.
    IntoEveryChild(&'static str, &'static str),
    /// Where the attribute had this value, the parent has an attribute instead, with the value `true`.
    ParentSwitch(&'static str, &'static str),
    /// The element's text has another word for this one.
    Word(&'static str, &'static str),
    /// The element has another name.
    ElementRenamed(&'static str),
    /// The element is gone, and what was in it.
    ElementDropped,
    /// `additionaltags="a,b"` became `additionalnames=":a,:b"`.
    TagsToNames,
    /// `console="out in"` became `output_console` and `input_console`.
    SplitConsole,
    /// `image="vmx"` became `image="oem"` with `<oem-resize>false</oem-resize>`.
    VmxToOem,
}

/// One step of a schema's history.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Descriptions older than this version are changed.
    pub since: Version,
    /// The element.
    pub element: &'static str,
    /// The attribute, empty where the element itself or its text changes.
    pub attribute: &'static str,
    /// The change.
    pub change: Change,
}

const fn step(since: Version, element: &'static str, attribute: &'static str, change: Change) -> Step {
    Step { since, element, attribute, change }
}

/// Repository types that schema 7.1 gave up.
const GONE_REPOSITORIES: &[&str] = &["red-carpet", "slack-site", "up2date-mirrors", "urpmi", "yast2"];

/// The history from 6.0 on, in the order in which it happened.
pub const HISTORY: &[Step] = &[
    step((6, 1), "opensuseProduct", "", Change::ElementRenamed("product")),
    step((6, 2), "type", "bootloader", Change::Default("grub2", &["oem", "vmx"])),
    step((6, 3), "type", "fsreadonly", Change::Dropped),
    step((6, 3), "type", "fsreadwrite", Change::Dropped),
    step((6, 3), "type", "zfsoptions", Change::Dropped),
    step((6, 3), "split", "", Change::ElementDropped),
    step((6, 4), "users", "group", Change::IntoEveryChild("user", "groups")),
    step((6, 4), "users", "id", Change::Dropped),
    step((6, 5), "type", "container", Change::IntoChild("containerconfig", "name")),
    step((6, 6), "machine", "domain", Change::ParentSwitch("dom0", "xen_server")),
    step((6, 7), "image", "kiwirevision", Change::Dropped),
    step((6, 7), "type", "checkprebuilt", Change::Dropped),
    step((6, 7), "type", "fsnocheck", Change::Dropped),
    step((6, 7), "repository", "status", Change::Dropped),
    step((6, 7), "repository", "prefer-license", Change::Dropped),
    step((6, 7), "package", "replaces", Change::Dropped),
    step((6, 7), "defaultprebuilt", "", Change::ElementDropped),
    step((6, 7), "defaultdestination", "", Change::ElementDropped),
    step((6, 7), "defaultroot", "", Change::ElementDropped),
    step((6, 7), "partitioner", "", Change::ElementDropped),
    step((6, 7), "rpm-force", "", Change::ElementDropped),
    step((6, 8), "hwclock", "", Change::ElementDropped),
    step((6, 9), "type", "hybrid", Change::Dropped),
    step((6, 9), "oem-ataraid-scan", "", Change::ElementDropped),
    step((7, 0), "pxedeploy", "", Change::ElementDropped),
    step((7, 1), "repository", "type", Change::DroppedValue(GONE_REPOSITORIES)),
    step((7, 2), "type", "bootloader", Change::IntoChild("bootloader", "name")),
    step((7, 2), "type", "bootloader_console", Change::IntoChildIfAny("bootloader", "console")),
    step((7, 2), "type", "boottimeout", Change::IntoChildIfAny("bootloader", "timeout")),
    step((7, 2), "type", "zipl_targettype", Change::IntoChildIfAny("bootloader", "targettype")),
    step((7, 3), "type", "image", Change::VmxToOem),
    step((7, 4), "packagemanager", "", Change::Word("apt-get", "apt")),
    step((7, 4), "packagemanager", "", Change::Word("yum", "dnf")),
    step((7, 5), "containerconfig", "additionaltags", Change::TagsToNames),
    step((7, 6), "packagemanager", "", Change::Word("dnf", "dnf4")),
    step((8, 1), "repository", "type", Change::DroppedValue(&["rpm-dir"])),
    step((8, 2), "repository", "use_for_bootstrap", Change::Dropped),
    step((8, 3), "type", "btrfs_root_is_snapshot", Change::Renamed("btrfs_root_is_snapper_snapshot")),
    step((8, 4), "bootloader", "console", Change::SplitConsole),
    step((8, 5), "type", "vga", Change::Dropped),
];

/// The version that `<image schemaversion>` states.
pub fn version(image: &Node) -> Result<Version, Problem> {
    let Some(stated) = image.attribute("schemaversion") else {
        return Err(Problem::invalid("<image> lacks the attribute `schemaversion`")
            .at(&image.name.span)
            .hint("the newest is 8.5"));
    };
    let text = stated.value.trim();
    let version = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let problem = Problem::invalid(format!("schema version `{}` is not supported", shown(text))).at(&stated.value.span);
    let known = "known are 6.0 to 6.9, 7.0 to 7.6 and 8.0 to 8.5";
    let Some(version) = version else { return Err(problem.label(known)) };
    if VERSIONS.contains(&version) {
        return Ok(version);
    }
    if version > VERSIONS[VERSIONS.len() - 1] {
        return Err(problem.label("newer than 8.5, the newest that this version of ingot knows"));
    }
    match ANCIENT.iter().position(|known| *known == version) {
        None => Err(problem.label(known)),
        Some(index) => {
            let (major, minor) = ANCIENT.get(index + 1).copied().unwrap_or(VERSIONS[0]);
            Err(problem
                .label(format!("there is no rewrite from {text} to {major}.{minor}; the first is from 6.0 to 6.1"))
                .hint("convert it with the stylesheets in KIWI's xsl_to_v74 first"))
        }
    }
}

/// Rewrites the tree; `version` is the one that it was written for. What had no equivalent is returned as it was
/// written, with the version that dropped it, so that a warning can name it.
pub fn convert(image: &mut Node, version: Version) -> Vec<Spanned<String>> {
    let mut dropped = Vec::new();
    for step in HISTORY.iter().filter(|step| version < step.since) {
        walk(image, step, &mut dropped);
    }
    dropped
}

fn walk(node: &mut Node, step: &Step, dropped: &mut Vec<Spanned<String>>) {
    if *node.name == step.element {
        apply(node, step, dropped);
    }
    if let Change::ElementDropped = step.change {
        node.children.retain(|child| {
            let stays = *child.name != step.element;
            if !stays {
                dropped.push(left_out(format!("<{}>", step.element), step, &child.name.span));
            }
            stays
        });
    }
    if let Change::ParentSwitch(value, attribute) = step.change {
        let on = |child: &Node| {
            *child.name == step.element && child.attribute(step.attribute).is_some_and(|found| *found.value == value)
        };
        if let Some(place) = node.children.iter().find(|child| on(child)).map(|child| child.name.span.clone()) {
            set(node, attribute, Spanned { value: "true".to_string(), span: place });
        }
        for child in node.children.iter_mut().filter(|child| *child.name == step.element) {
            child.attributes.retain(|found| *found.name != step.attribute);
        }
    }
    node.children.iter_mut().for_each(|child| walk(child, step, dropped));
}

fn left_out(what: String, step: &Step, span: &Span) -> Spanned<String> {
    let (major, minor) = step.since;
    Spanned { value: format!("{what} is ignored: schema {major}.{minor} dropped it"), span: span.clone() }
}

/// Sets an attribute, over one that was there.
fn set(node: &mut Node, name: &str, value: Spanned<String>) {
    node.attributes.retain(|attribute| *attribute.name != name);
    let name = Spanned { value: name.to_string(), span: value.span.clone() };
    node.attributes.push(Attribute { name, value });
}

/// An element that the author did not write, at the place of what it was made from.
fn made(name: &str, place: &Span) -> Node {
    Node {
        name: Spanned { value: name.to_string(), span: place.clone() },
        tag: place.clone(),
        attributes: Vec::new(),
        children: Vec::new(),
        text: String::new(),
        text_span: place.clone(),
    }
}

fn child<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    node.children.iter_mut().find(|child| *child.name == name)
}

fn apply(node: &mut Node, step: &Step, dropped: &mut Vec<Spanned<String>>) {
    match step.change {
        Change::Word(old, new) => {
            if node.text.trim() == old {
                node.text = new.to_string();
            }
            return;
        }
        Change::ElementRenamed(name) => {
            node.name.value = name.to_string();
            return;
        }
        Change::Default(value, types) => {
            let image = node.attribute("image").map(|image| image.value.value.clone()).unwrap_or_default();
            if node.attribute(step.attribute).is_none() && types.contains(&image.as_str()) {
                let span = node.name.span.clone();
                set(node, step.attribute, Spanned { value: value.to_string(), span });
            }
            return;
        }
        _ => {}
    }
    let Some(index) = node.attributes.iter().position(|attribute| *attribute.name == step.attribute) else {
        return;
    };
    let mut drop_it = |node: &mut Node| {
        let old = node.attributes.remove(index);
        let what = format!("{}=\"{}\" on <{}>", step.attribute, shown(&old.value), step.element);
        dropped.push(left_out(what, step, &old.name.span));
    };
    match step.change {
        Change::Renamed(name) => node.attributes[index].name.value = name.to_string(),
        Change::Dropped => drop_it(node),
        Change::DroppedValue(values) => {
            if values.contains(&node.attributes[index].value.as_str()) {
                drop_it(node);
            }
        }
        Change::IntoChild(element, attribute) => {
            let old = node.attributes.remove(index);
            if old.value.is_empty() {
                return;
            }
            if child(node, element).is_none() {
                node.children.insert(0, made(element, &old.name.span));
            }
            if let Some(child) = child(node, element) {
                set(child, attribute, old.value);
            }
        }
        Change::IntoChildIfAny(element, attribute) => match child(node, element).is_some() {
            true => {
                let old = node.attributes.remove(index);
                if let (Some(child), false) = (child(node, element), old.value.is_empty()) {
                    set(child, attribute, old.value);
                }
            }
            false => drop_it(node),
        },
        Change::IntoEveryChild(element, attribute) => {
            let old = node.attributes.remove(index);
            for child in node.children.iter_mut().filter(|child| *child.name == element) {
                set(child, attribute, old.value.clone());
            }
        }
        Change::TagsToNames => {
            let attribute = &mut node.attributes[index];
            attribute.name.value = "additionalnames".to_string();
            let names: Vec<String> = attribute.value.split(',').map(|tag| format!(":{}", tag.trim())).collect();
            attribute.value.value = names.join(",");
        }
        Change::SplitConsole => {
            let old = node.attributes.remove(index);
            let words: Vec<&str> = old.value.trim().splitn(2, ' ').map(str::trim).collect();
            for (name, value) in ["output_console", "input_console"].into_iter().zip(words) {
                let named = Spanned { value: name.to_string(), span: old.name.span.clone() };
                let value = Spanned { value: value.to_string(), span: old.value.span.clone() };
                node.attributes.push(Attribute { name: named, value });
            }
        }
        Change::VmxToOem => {
            if *node.attributes[index].value != "vmx" {
                return;
            }
            node.attributes[index].value.value = "oem".to_string();
            let place = node.attributes[index].value.span.clone();
            if child(node, "oemconfig").is_none() {
                node.children.push(made("oemconfig", &place));
            }
            if let Some(config) = child(node, "oemconfig") {
                config.children.retain(|child| *child.name != "oem-resize");
                config.children.push(Node { text: "false".to_string(), ..made("oem-resize", &place) });
            }
        }
        Change::Word(..)
        | Change::ElementRenamed(_)
        | Change::ElementDropped
        | Change::Default(..)
        | Change::ParentSwitch(..) => {}
    }
}
