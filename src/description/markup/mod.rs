//! Descriptions in YAML, JSON and TOML, by KIWI's convention: `@name` is an attribute, `#text` the text of an element
//! that has attributes, a list is an element that stands several times, every other key is an element.
//!
//! In: a [`Source`] in one of these languages. Out: the tree that the same description has in XML, each part with its
//! place. Also the way back, [`text`]. Never expands an alias into more than a document may hold, and never changes what a text says.

mod toml;
mod write;
mod yaml;

use std::sync::Arc;

use super::Value as Kind;
use super::problem::{Problem, shown};
use super::schema::{self, Content};
use super::source::{Source, Span, Spanned};
use super::xml::{self, Attribute, DEEPEST, MOST_ELEMENTS, Node};

pub use write::text;

/// What a description may be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The language of every published description but two.
    Xml,
    /// YAML 1.2.
    Yaml,
    /// TOML 1.0.
    Toml,
    /// JSON, which YAML's parser reads.
    Json,
}

impl Language {
    /// What the text looks like; `None` where it is no description in any language.
    pub fn of(text: &str) -> Option<Language> {
        let start = text.trim_start_matches('\u{feff}').trim_start();
        if start.starts_with('<') {
            return Some(Language::Xml);
        }
        if let Some(rest) = start.strip_prefix('{') {
            return rest.trim_start().starts_with("\"image\"").then_some(Language::Json);
        }
        let comment = |line: &&str| line.trim().is_empty() || line.starts_with(['#', '%']) || line.trim() == "---";
        let key = start.lines().find(|line| !comment(line))?.trim_end();
        let yaml = ["image:", "'image':", "\"image\":"].iter().any(|start| key.starts_with(start));
        let toml = ["[image", "image.", "image ="].iter().any(|start| key.starts_with(start));
        match (yaml, toml) {
            (true, _) => Some(Language::Yaml),
            (_, true) => Some(Language::Toml),
            _ => None,
        }
    }
}

/// Reads one document in whichever language it is written in.
pub fn parse(source: &Arc<Source>) -> Result<Node, Problem> {
    let value = match Language::of(source.text()) {
        Some(Language::Yaml | Language::Json) => yaml::parse(source)?,
        Some(Language::Toml) => toml::parse(source)?,
        Some(Language::Xml) | None => return xml::parse(source),
    };
    let Data::Map(entries) = value.data else {
        return Err(Problem::invalid("the document is no mapping").at(&value.span).label("`image` is expected"));
    };
    let mut entries = entries.into_iter();
    let (Some((name, value)), other) = (entries.next(), entries.next()) else {
        return Err(Problem::invalid("the document is empty").at(&value.span));
    };
    if let Some((other, _)) = other {
        return Err(Problem::invalid("a second root element").at(&other.span).label("only `image` stands here"));
    }
    let mut nodes = elements(name, value)?;
    match (nodes.pop(), nodes.is_empty()) {
        (Some(node), true) => Ok(node),
        _ => Err(Problem::invalid("`image` is a list").at(&value_span(source)).label("one description is one mapping")),
    }
}

fn value_span(source: &Arc<Source>) -> Span {
    Span::new(source, 0, 1)
}

/// A value of any of the languages.
#[derive(Clone, Debug)]
struct Value {
    data: Data,
    span: Span,
    /// How many values it is, with itself.
    count: usize,
}

#[derive(Clone, Debug)]
enum Data {
    Nothing,
    /// Text, and whether it was written without quotes.
    Text(String, Quotes),
    List(Vec<Value>),
    Map(Vec<(Spanned<String>, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    None,
    Some,
}

/// The values of one document, counted.
#[derive(Default)]
struct Budget {
    values: usize,
}

impl Budget {
    /// Takes `count` values at `span`, and complains where a document holds too many or goes too deep.
    fn take(&mut self, count: usize, depth: usize, span: &Span) -> Result<(), Problem> {
        self.values = self.values.saturating_add(count);
        if self.values > MOST_ELEMENTS * 4 {
            return Err(Problem::invalid(format!("more than {} values", MOST_ELEMENTS * 4)).at(span));
        }
        if depth > DEEPEST {
            return Err(Problem::invalid(format!("values are nested more than {DEEPEST} deep")).at(span));
        }
        Ok(())
    }
}

/// The elements that a key and its value are: several for a list.
fn elements(name: Spanned<String>, value: Value) -> Result<Vec<Node>, Problem> {
    match value.data {
        Data::List(list) => {
            let mut nodes = Vec::with_capacity(list.len());
            for value in list {
                if let Data::List(_) = value.data {
                    return Err(Problem::invalid("a list inside a list").at(&value.span));
                }
                nodes.push(element(name.clone(), value)?);
            }
            Ok(nodes)
        }
        _ => Ok(vec![element(name, value)?]),
    }
}

fn element(name: Spanned<String>, value: Value) -> Result<Node, Problem> {
    if !xml::is_name(&name) {
        return Err(Problem::invalid(format!("`{}` is not the name of an element", shown(&name))).at(&name.span));
    }
    let row = schema::find(&name);
    let mut node = Node {
        tag: name.span.clone(),
        text_span: value.span.clone(),
        name,
        attributes: Vec::new(),
        children: Vec::new(),
        text: String::new(),
    };
    let text_kind = match row.map(|row| row.content) {
        Some(Content::Text(kind)) => Some(kind),
        _ => None,
    };
    match value.data {
        Data::Nothing => {}
        Data::Text(text, quotes) => node.text = plain(text, quotes, text_kind, &value.span)?,
        Data::List(_) => return Err(Problem::invalid("a list inside a list").at(&value.span)),
        Data::Map(entries) => {
            for (key, value) in entries {
                if let Some(attribute) = key.strip_prefix('@') {
                    let kind = row.and_then(|row| row.attribute(attribute)).map(|row| row.value);
                    let attribute = Spanned { value: attribute.to_string(), span: key.span.clone() };
                    node.attributes.push(self::attribute(attribute, value, kind)?);
                } else if *key == "#text" {
                    node.text_span = value.span.clone();
                    node.text = scalar(value, &key, text_kind)?;
                } else {
                    node.children.extend(elements(key, value)?);
                }
            }
        }
    }
    Ok(node)
}

fn attribute(name: Spanned<String>, value: Value, kind: Option<Kind>) -> Result<Attribute, Problem> {
    if !xml::is_name(&name) {
        return Err(Problem::invalid(format!("`@{}` is not the name of an attribute", shown(&name))).at(&name.span));
    }
    let span = value.span.clone();
    let value = Spanned { value: scalar(value, &name, kind)?, span };
    Ok(Attribute { name, value })
}

fn scalar(value: Value, name: &Spanned<String>, kind: Option<Kind>) -> Result<String, Problem> {
    match value.data {
        Data::Nothing => Ok(String::new()),
        Data::Text(text, quotes) => plain(text, quotes, kind, &value.span),
        Data::List(_) | Data::Map(_) => {
            let title = format!("`{}` is not one value", shown(name));
            Err(Problem::invalid(title).at(&value.span).label("a text is expected"))
        }
    }
}

/// The text as written; what these languages call true and false is what XML calls so, where a boolean is expected.
fn plain(text: String, quotes: Quotes, kind: Option<Kind>, span: &Span) -> Result<String, Problem> {
    if let Some(odd) = text.chars().find(|char| *char < ' ' && !matches!(char, '\n' | '\r' | '\t')) {
        let title = format!("control character {odd:?} in a text");
        return Err(Problem::invalid(title).at(span).label("XML allows none but tab and line breaks"));
    }
    if quotes == Quotes::None && kind == Some(Kind::Boolean) {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => return Ok("true".to_string()),
            "false" | "no" | "off" => return Ok("false".to_string()),
            _ => {}
        }
    }
    Ok(text)
}
