//! A description's tree as text, in any of the languages.
//!
//! In: a tree. Out: text that reads as the same tree, but that elements of one name stand together, in their order; no
//! element's meaning depends on elements of another name before it. Never writes comments: the tree holds none.

use serde_json::{Map, Value};

use super::super::xml::{self, Node};
use super::Language;

/// The whole document, with a newline at the end. Every value is a quoted text: nothing is taken for a number or a date.
pub fn text(image: &Node, language: Language) -> String {
    let document = || Map::from_iter([(image.name.to_string(), value(image))]);
    match language {
        Language::Xml => format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{}", xml::text(image)),
        Language::Json => format!("{:#}\n", Value::Object(document())),
        Language::Yaml => {
            let mut text = String::new();
            yaml(&document(), 0, &mut text);
            text
        }
        Language::Toml => {
            let mut text = String::new();
            for (name, value) in document() {
                match value {
                    Value::Object(entries) => toml(&entries, &key(&name), &mut text),
                    value => text.push_str(&format!("{} = {}\n", key(&name), quoted(&value))),
                }
            }
            text
        }
    }
}

/// Text alone, or a mapping of `@attribute`, `#text` and elements.
fn value(node: &Node) -> Value {
    let content = node.text.trim();
    if node.attributes.is_empty() && node.children.is_empty() {
        return content.into();
    }
    let mut entries = Map::new();
    for attribute in &node.attributes {
        entries.insert(format!("@{}", attribute.name.value), attribute.value.as_str().into());
    }
    if !content.is_empty() {
        entries.insert("#text".into(), content.into());
    }
    for child in &node.children {
        if entries.contains_key(child.name.as_str()) {
            continue;
        }
        let mut all: Vec<Value> = node.children(&child.name).map(value).collect();
        let whole = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
        entries.insert(child.name.to_string(), whole);
    }
    Value::Object(entries)
}

/// A text in double quotes; JSON's escapes are YAML's, and TOML's but for U+007F, which is written as an escape.
fn quoted(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007f")
}

/// A key in quotes where it is not plain.
fn key(name: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if name.chars().all(plain) { name.to_string() } else { quoted(&name.into()) }
}

fn yaml(entries: &Map<String, Value>, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for (name, value) in entries {
        text.push_str(&format!("{indent}{}:", key(name)));
        match value {
            Value::Object(entries) => {
                text.push('\n');
                yaml(entries, depth + 1, text);
            }
            Value::Array(list) => {
                text.push('\n');
                for value in list {
                    let mut item = String::new();
                    match value {
                        Value::Object(entries) => yaml(entries, depth + 2, &mut item),
                        value => item = format!("{}{}\n", "  ".repeat(depth + 2), quoted(value)),
                    }
                    // The item's first line begins behind its dash.
                    text.push_str(&format!("{indent}  - {}", item.trim_start()));
                }
            }
            value => text.push_str(&format!(" {}\n", quoted(value))),
        }
    }
}

/// The table `path`: its own values first, since whatever follows a header belongs to that header's table.
fn toml(entries: &Map<String, Value>, path: &str, text: &mut String) {
    let is_table = |value: &Value| match value {
        Value::Array(list) => list.iter().any(Value::is_object),
        value => value.is_object(),
    };
    if entries.is_empty() || entries.values().any(|value| !is_table(value)) {
        text.push_str(&format!("[{path}]\n"));
    }
    toml_values(entries, path, text, is_table);
}

fn toml_values(entries: &Map<String, Value>, path: &str, text: &mut String, is_table: impl Fn(&Value) -> bool + Copy) {
    for (name, value) in entries.iter().filter(|(_, value)| !is_table(value)) {
        text.push_str(&format!("{} = {}\n", key(name), quoted(value)));
    }
    for (name, value) in entries.iter().filter(|(_, value)| is_table(value)) {
        let path = format!("{path}.{}", key(name));
        match value {
            Value::Object(entries) => toml(entries, &path, text),
            Value::Array(list) => {
                for value in list {
                    text.push_str(&format!("[[{path}]]\n"));
                    match value {
                        Value::Object(entries) => toml_values(entries, &path, text, is_table),
                        // A text among mappings: an element without attributes.
                        value => text.push_str(&format!("\"#text\" = {}\n", quoted(value))),
                    }
                }
            }
            _ => {}
        }
    }
}
