//! Older schema versions: what a later one calls differently or dropped.
//!
//! In: a tree and its schema version. Out: the same tree in the words of schema 8.5.
//! Never guesses: versions before 7.4 and after 8.5 are problems.

use super::problem::{Problem, shown};
use super::source::Spanned;
use super::xml::{Attribute, Node};

/// A schema version as (major, minor).
pub type Version = (u32, u32);

/// The versions that are understood.
pub const VERSIONS: &[Version] = &[(7, 4), (7, 5), (7, 6), (8, 0), (8, 1), (8, 2), (8, 3), (8, 4), (8, 5)];

/// How something old is written in new words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The attribute has another name.
    Renamed(&'static str),
    /// The attribute is gone and had no effect worth keeping.
    Dropped,
    /// The attribute is gone where it had this value.
    DroppedValue(&'static str),
    /// The element's text has another word for this one.
    Word(&'static str, &'static str),
    /// `additionaltags="a,b"` became `additionalnames=":a,:b"`.
    TagsToNames,
    /// `console="out in"` became `output_console` and `input_console`; one word is both.
    SplitConsole,
}

/// One step of a schema's history.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Descriptions older than this version are changed.
    pub since: Version,
    /// The element.
    pub element: &'static str,
    /// The attribute, empty for the element's text.
    pub attribute: &'static str,
    /// The change.
    pub change: Change,
}

const fn step(since: Version, element: &'static str, attribute: &'static str, change: Change) -> Step {
    Step { since, element, attribute, change }
}

/// The history from 7.4 on.
pub const HISTORY: &[Step] = &[
    step((7, 5), "containerconfig", "additionaltags", Change::TagsToNames),
    step((7, 6), "packagemanager", "", Change::Word("dnf", "dnf4")),
    step((8, 1), "repository", "type", Change::DroppedValue("rpm-dir")),
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
    match version {
        Some(version) if VERSIONS.contains(&version) => Ok(version),
        Some(version) if version < VERSIONS[0] => {
            Err(problem.label("older than 7.4").hint("convert it with the stylesheets in KIWI's xsl_to_v74 first"))
        }
        Some(version) if version > VERSIONS[VERSIONS.len() - 1] => {
            Err(problem.label("newer than 8.5, the newest that this version of ingot knows"))
        }
        _ => Err(problem.label("known are 7.4 to 7.6 and 8.0 to 8.5")),
    }
}

/// Rewrites the tree; `version` is the one that it was written for.
pub fn convert(node: &mut Node, version: Version) {
    for step in HISTORY {
        if version < step.since && *node.name == step.element {
            apply(node, step);
        }
    }
    node.children.iter_mut().for_each(|child| convert(child, version));
}

fn apply(node: &mut Node, step: &Step) {
    if let Change::Word(old, new) = step.change {
        if node.text.trim() == old {
            node.text = new.to_string();
        }
        return;
    }
    let Some(index) = node.attributes.iter().position(|attribute| *attribute.name == step.attribute) else {
        return;
    };
    match step.change {
        Change::Renamed(name) => node.attributes[index].name.value = name.to_string(),
        Change::Dropped => drop(node.attributes.remove(index)),
        Change::DroppedValue(value) => {
            if *node.attributes[index].value == value {
                node.attributes.remove(index);
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
            let words = old.value.trim();
            let (output, input) = words.split_once(' ').unwrap_or((words, words));
            // One word was both, although not every output is an input too: GRUB reads the keyboard then.
            let input =
                if matches!(input.trim(), "gfxterm" | "vga_text" | "mda_text") { "console" } else { input.trim() };
            for (name, value) in [("output_console", output), ("input_console", input)] {
                let named = Spanned { value: name.to_string(), span: old.name.span.clone() };
                let value = Spanned { value: value.to_string(), span: old.value.span.clone() };
                node.attributes.push(Attribute { name: named, value });
            }
        }
        Change::Word(..) => {}
    }
}
