//! `ingot schema`: every element and attribute of a description, what it says and what ingot makes of it.
//!
//! In: the name of an element, or none for all. Out: text or JSON on stdout. Never looks at a description.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::SchemaArguments;
use crate::description::closest;
use crate::description::schema::{self, Attribute, Content, Element, Need, Occurs, Status};
use crate::error::{Error, Exit, Result};

/// Prints what was asked for.
pub fn run(arguments: &SchemaArguments) -> Result<u8> {
    let element = arguments.element.as_deref();
    super::say::print(&if arguments.json { json(element)? } else { text(element)? })?;
    Ok(0)
}

/// Everything about one element, or a line about each.
pub fn text(element: Option<&str>) -> Result<String> {
    let found = find(element)?;
    Ok(match element {
        Some(_) => found.iter().map(|(prefix, element)| details(prefix, element)).collect(),
        None => overview(&found),
    })
}

/// Everything about one element or all of them, as JSON.
pub fn json(element: Option<&str>) -> Result<String> {
    json_text(&find(element)?)
}

fn find(name: Option<&str>) -> Result<Vec<(&'static str, &'static Element)>> {
    let Some(name) = name else { return Ok(all().collect()) };
    let name = name.trim_start_matches('<').trim_end_matches(['>', '/']);
    let found: Vec<_> = all().filter(|(prefix, element)| name == format!("{prefix}{}", element.name)).collect();
    if found.is_empty() { Err(unknown(name)) } else { Ok(found) }
}

/// KIWI's elements, and ingot's own with their prefix.
fn all() -> impl Iterator<Item = (&'static str, &'static Element)> {
    schema::elements().map(|element| ("", element)).chain(schema::EXTENSIONS.iter().map(|element| ("ingot:", element)))
}

fn unknown(name: &str) -> Error {
    let error = Error::cannot(Exit::Usage, format!("describe <{name}>")).because("there is no such element");
    let names: Vec<String> = all().map(|(prefix, element)| format!("{prefix}{}", element.name)).collect();
    let owners = || {
        let owners = schema::elements().filter(|element| element.attribute(name).is_some());
        owners.map(|element| format!("<{}>", element.name)).collect::<Vec<_>>().join(", ")
    };
    match closest(name, names.iter().map(String::as_str)) {
        Some(close) => error.hint(format!("did you mean <{close}>?")),
        None if !owners().is_empty() => error.hint(format!("`{name}` is an attribute of {}", owners())),
        None => error.hint("`ingot schema` lists them"),
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Honoured => "honoured",
        Status::Refused(_) => "refused",
        Status::Ignored(_) => "ignored",
    }
}

/// `refused: volumes are not made yet`.
fn status_line(status: Status) -> String {
    match status {
        Status::Honoured => "honoured".to_string(),
        Status::Refused(reason) => format!("refused: {reason}"),
        Status::Ignored(reason) => format!("ignored with a warning: {reason}"),
    }
}

fn overview(elements: &[(&str, &Element)]) -> String {
    let mut text = String::new();
    for (prefix, element) in elements {
        let name = format!("<{prefix}{}>", element.name);
        let _ = writeln!(text, "{name:<26} {:<9} {}", status_word(schema::status_of(element)), element.about);
    }
    text.push_str("\n`ingot schema ELEMENT` tells more about one of them.\n");
    text
}

fn details(prefix: &str, element: &Element) -> String {
    let mut text = String::new();
    let within: Vec<String> = element.within.iter().map(|parent| format!("<{parent}>")).collect();
    let often = match element.occurs {
        Occurs::Once => "once",
        Occurs::Often => "any number of times",
    };
    let _ = write!(text, "<{prefix}{}>", element.name);
    let _ = match within.is_empty() {
        true => writeln!(text, " is the root"),
        false => writeln!(text, " in {}, {often}", within.join(" or ")),
    };
    let _ = writeln!(text, "    {}", element.about);
    let _ = writeln!(text, "    {}", status_line(schema::status_of(element)));
    match element.content {
        Content::Text(value) => {
            let _ = writeln!(text, "    holds {}", value.expected());
            if let Some(honoured) = schema::honoured_words(element.name, "") {
                let _ = writeln!(text, "    refused: all but {}", honoured.join(", "));
            }
        }
        Content::Foreign => text.push_str("    holds elements of other namespaces\n"),
        Content::Elements => {
            let children: Vec<String> =
                schema::children_of(element.name).map(|child| format!("<{}>", child.name)).collect();
            if !children.is_empty() && prefix.is_empty() {
                let _ = writeln!(text, "    holds {}", children.join(" "));
            }
        }
    }
    for attribute in element.attributes {
        let need = if attribute.need == Need::Mandatory { ", mandatory" } else { "" };
        let _ = writeln!(text, "\n  {}: {}{need}", attribute.name, attribute.value.expected());
        let _ = writeln!(text, "      {}", attribute.about);
        if !attribute.types.is_empty() {
            let _ = writeln!(text, "      for images of type {}", attribute.types.join(", "));
        }
        let _ = writeln!(text, "      {}", status_line(schema::status_of_attribute(element, attribute)));
        let refused = refused_values(element, attribute);
        if !refused.is_empty() {
            let _ = writeln!(text, "      refused: {}", refused.join(", "));
        }
    }
    text.push('\n');
    text
}

/// Words that the attribute may be and that are refused.
fn refused_values(element: &Element, attribute: &Attribute) -> Vec<&'static str> {
    let words = attribute.value.words().iter().copied();
    match (schema::status_of_attribute(element, attribute), schema::honoured_words(element.name, attribute.name)) {
        (Status::Honoured, Some(honoured)) => words.filter(|word| !honoured.contains(word)).collect(),
        _ => Vec::new(),
    }
}

fn status_json(status: Status) -> Json {
    match status {
        Status::Honoured => json!({ "status": "honoured" }),
        Status::Refused(reason) => json!({ "status": "refused", "reason": reason }),
        Status::Ignored(reason) => json!({ "status": "ignored", "reason": reason }),
    }
}

fn merged(mut value: Json, status: Status) -> Json {
    if let (Json::Object(into), Json::Object(more)) = (&mut value, status_json(status)) {
        into.extend(more);
    }
    value
}

fn json_text(elements: &[(&str, &Element)]) -> Result<String> {
    let found = elements.iter().map(|(prefix, element)| {
        let attributes = element.attributes.iter().map(|attribute| {
            let value = json!({
                "name": attribute.name,
                "about": attribute.about,
                "value": attribute.value.expected(),
                "words": attribute.value.words(),
                "mandatory": attribute.need == Need::Mandatory,
                "image_types": attribute.types,
                "refused_words": refused_values(element, attribute),
            });
            merged(value, schema::status_of_attribute(element, attribute))
        });
        let text = match element.content {
            Content::Text(value) => Some(value.expected()),
            _ => None,
        };
        let value = json!({
            "name": format!("{prefix}{}", element.name),
            "about": element.about,
            "within": element.within,
            "repeatable": element.occurs == Occurs::Often,
            "text": text,
            "needs": element.needs,
            "attributes": attributes.collect::<Vec<_>>(),
        });
        merged(value, schema::status_of(element))
    });
    let text = serde_json::to_string_pretty(&found.collect::<Vec<_>>());
    text.map(|text| text + "\n").map_err(|error| Error::cannot(Exit::Bug, "write the schema as JSON").because(error))
}
