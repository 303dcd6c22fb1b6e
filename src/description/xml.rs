//! XML text to a tree of elements, each with its place.
//!
//! In: a [`Source`]. Out: the root [`Node`], or the first thing that is not well-formed XML.
//! Never expands entities other than XML's own five, never reads another file, never goes deeper than [`DEEPEST`].

use std::sync::Arc;

use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, errors::SyntaxError};

use super::problem::{Problem, shown};
use super::source::{Source, Span, Spanned};

/// Elements may be nested so deep; KIWI's own need seven levels.
pub const DEEPEST: usize = 64;

/// A document may hold so many elements: ten times as many as the largest published one, and few enough that no work
/// on them takes long.
pub const MOST_ELEMENTS: usize = 20_000;

/// An element may carry so many attributes; `<type>` knows about a hundred.
pub const MOST_ATTRIBUTES: usize = 256;

/// An element as it was written.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name with its prefix.
    pub name: Spanned<String>,
    /// The whole start tag.
    pub tag: Span,
    /// In the order in which they were written; namespace declarations are among them.
    pub attributes: Vec<Attribute>,
    /// Elements inside, in order.
    pub children: Vec<Node>,
    /// All text directly inside, references resolved, not trimmed.
    pub text: String,
    /// Where the text that is not blank begins and ends; the start tag where there is none.
    pub text_span: Span,
}

/// An attribute as it was written.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its name with its prefix.
    pub name: Spanned<String>,
    /// Its value: references resolved, line breaks and tabs turned into blanks (XML 1.0, 3.3.3).
    pub value: Spanned<String>,
}

impl Node {
    /// The attribute with this name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| *attribute.name == *name)
    }

    /// The children with this name.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children.iter().filter(move |child| *child.name == *name)
    }

    /// The text inside, trimmed.
    pub fn trimmed(&self) -> Spanned<String> {
        Spanned { value: self.text.trim().to_string(), span: self.text_span.clone() }
    }
}

/// An element and all in it as XML, indented by two blanks, with a newline at the end.
pub fn text(node: &Node) -> String {
    let mut text = String::new();
    write(node, 0, &mut text);
    text
}

fn write(node: &Node, depth: usize, text: &mut String) {
    let escaped =
        |part: &str| part.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let indent = "  ".repeat(depth);
    text.push_str(&format!("{indent}<{}", node.name.value));
    for attribute in &node.attributes {
        text.push_str(&format!(" {}=\"{}\"", attribute.name.value, escaped(&attribute.value)));
    }
    let content = node.text.trim();
    match (content.is_empty(), node.children.is_empty()) {
        (true, true) => return text.push_str("/>\n"),
        (false, true) => return text.push_str(&format!(">{}</{}>\n", escaped(content), node.name.value)),
        (true, false) => text.push_str(">\n"),
        (false, false) => text.push_str(&format!(">{}\n", escaped(content))),
    }
    node.children.iter().for_each(|child| write(child, depth + 1, text));
    text.push_str(&format!("{indent}</{}>\n", node.name.value));
}

/// Reads one document.
pub fn parse(source: &Arc<Source>) -> Result<Node, Problem> {
    Parser { source, open: Vec::new(), root: None, elements: 0 }.run()
}

struct Parser<'a> {
    source: &'a Arc<Source>,
    open: Vec<Node>,
    root: Option<Node>,
    elements: usize,
}

impl Parser<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.source, start, end)
    }

    fn run(mut self) -> Result<Node, Problem> {
        let source = self.source.clone();
        let text = source.text();
        if let Some(at) = text.find(|char: char| char < ' ' && !matches!(char, '\n' | '\r' | '\t')) {
            return Err(Problem::invalid("control character in XML")
                .at(&self.span(at, at + 1))
                .label("XML allows none but tab and line breaks"));
        }
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_comments = true;
        loop {
            let start = reader.buffer_position() as usize;
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(error) => return Err(self.malformed(&error, reader.error_position() as usize)),
            };
            let end = reader.buffer_position() as usize;
            match event {
                Event::Start(tag) => {
                    let node = self.node(&tag, start, end)?;
                    if self.open.len() >= DEEPEST {
                        return Err(Problem::invalid(format!("elements are nested more than {DEEPEST} deep"))
                            .at(&node.name.span));
                    }
                    self.open.push(node);
                }
                Event::Empty(tag) => {
                    let node = self.node(&tag, start, end)?;
                    self.close(node)?;
                }
                Event::End(_) => {
                    if let Some(node) = self.open.pop() {
                        self.close(node)?;
                    }
                }
                Event::Text(content) => self.text(&content.xml10_content(), start, end)?,
                Event::CData(content) => self.text(&content.xml10_content(), start, end)?,
                Event::GeneralRef(reference) => {
                    let name: &str = &reference;
                    let character = self.reference(name, start, end)?;
                    self.text(&character.to_string(), start, end)?;
                }
                Event::DocType(_) => {
                    return Err(Problem::invalid("a document type declaration is not allowed")
                        .at(&self.span(start, start + "<!DOCTYPE".len()))
                        .label("remove it")
                        .hint("a description needs no entities: use <include> for shared parts"));
                }
                Event::Decl(declaration) => {
                    let encoding = declaration.encoding().and_then(Result::ok).unwrap_or("UTF-8".into()).to_uppercase();
                    if !matches!(encoding.as_str(), "UTF-8" | "US-ASCII") {
                        return Err(Problem::invalid(format!("encoding {} is not supported", shown(&encoding)))
                            .at(&self.span(start, end))
                            .label("descriptions are UTF-8"));
                    }
                }
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if let Some(node) = self.open.last() {
            return Err(Problem::invalid(format!("<{}> is never closed", shown(&node.name)))
                .at(&node.name.span)
                .label(format!("no </{}> before the end of the file", shown(&node.name))));
        }
        let nothing = self.span(0, 0);
        self.root.ok_or_else(|| Problem::invalid("the file holds no element").at(&nothing))
    }

    fn close(&mut self, node: Node) -> Result<(), Problem> {
        match (self.open.last_mut(), &self.root) {
            (Some(parent), _) => parent.children.push(node),
            (None, None) => self.root = Some(node),
            (None, Some(_)) => {
                return Err(Problem::invalid("a second root element").at(&node.name.span).label("XML allows one"));
            }
        }
        Ok(())
    }

    fn text(&mut self, content: &str, start: usize, end: usize) -> Result<(), Problem> {
        let raw = self.source.text().get(start..end).unwrap_or_default();
        let lead = raw.len() - raw.trim_start().len();
        let span = Span::new(self.source, start + lead, start + raw.trim_end().len().max(lead));
        let blank = content.trim().is_empty();
        match self.open.last_mut() {
            Some(node) => {
                if !blank {
                    let known = !node.text.trim().is_empty();
                    let start = if known { node.text_span.start() } else { span.start() };
                    node.text_span = Span::new(self.source, start, span.end());
                }
                node.text.push_str(content);
                Ok(())
            }
            None if blank || raw == "\u{feff}" => Ok(()),
            None => Err(Problem::invalid("text outside of the root element").at(&span)),
        }
    }

    fn node(&mut self, tag: &BytesStart<'_>, start: usize, end: usize) -> Result<Node, Problem> {
        let text = self.source.text();
        let name = tag.name().0.to_string();
        let name_span = self.span(start + 1, start + 1 + name.len());
        if !is_name(&name) {
            return Err(Problem::invalid("malformed tag").at(&self.span(start, start + 1 + name.len())).label(
                if name.is_empty() {
                    "a name must follow `<`; write `&lt;` for the character"
                } else {
                    "not a valid name"
                },
            ));
        }
        self.elements += 1;
        if self.elements > MOST_ELEMENTS {
            return Err(Problem::invalid(format!("more than {MOST_ELEMENTS} elements")).at(&name_span));
        }
        let mut attributes: Vec<Attribute> = Vec::new();
        for attribute in tag.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| self.malformed_attribute(&error, start + 1))?;
            if attributes.len() == MOST_ATTRIBUTES {
                return Err(Problem::invalid(format!("more than {MOST_ATTRIBUTES} attributes")).at(&name_span));
            }
            let key = attribute.key.0;
            // Both borrow from the source's text, so that their addresses are their places.
            let key_at = offset(text, key).unwrap_or(start);
            let value_at = offset(text, &attribute.value).unwrap_or(start);
            let name = Spanned { value: key.to_string(), span: self.span(key_at, key_at + key.len()) };
            if !is_name(key) {
                return Err(Problem::invalid("malformed attribute").at(&name.span).label("not a valid name"));
            }
            if let Some(first) = attributes.iter().find(|known| *known.name == key) {
                return Err(Problem::invalid(format!(
                    "attribute `{}` stands twice on <{}>",
                    shown(key),
                    shown(tag.name().0)
                ))
                .at(&name.span)
                .label(format!("first one in column {}", first.name.span.place().column)));
            }
            let value = Spanned {
                value: self.attribute_value(&attribute.value, value_at)?,
                span: self.span(value_at, value_at + attribute.value.len()),
            };
            attributes.push(Attribute { name, value });
        }
        let tag = self.span(start, end);
        Ok(Node {
            name: Spanned { value: name, span: name_span },
            text_span: tag.clone(),
            tag,
            attributes,
            children: Vec::new(),
            text: String::new(),
        })
    }

    fn attribute_value(&self, raw: &str, at: usize) -> Result<String, Problem> {
        if let Some(found) = raw.find('<') {
            return Err(Problem::invalid("`<` inside an attribute's value")
                .at(&self.span(at + found, at + found + 1))
                .label("write `&lt;`, or close the quotes before it"));
        }
        let mut value = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(found) = rest.find('&') {
            value.extend(rest[..found].chars().map(blank));
            let place = at + raw.len() - rest.len() + found;
            let Some(length) = rest[found..].find(';') else {
                return Err(Problem::invalid("`&` begins no reference")
                    .at(&self.span(place, place + 1))
                    .label("write `&amp;` for the character"));
            };
            value.push(self.reference(&rest[found + 1..found + length], place, place + length + 1)?);
            rest = &rest[found + length + 1..];
        }
        value.extend(rest.chars().map(blank));
        Ok(value)
    }

    /// The character that `&name;` stands for.
    fn reference(&self, name: &str, start: usize, end: usize) -> Result<char, Problem> {
        let wrong = |label: &str| {
            Err(Problem::invalid(format!("unknown reference `&{};`", shown(name)))
                .at(&self.span(start, end))
                .label(label))
        };
        let number = match name {
            "amp" => return Ok('&'),
            "lt" => return Ok('<'),
            "gt" => return Ok('>'),
            "quot" => return Ok('"'),
            "apos" => return Ok('\''),
            _ => match name.strip_prefix('#') {
                None => return wrong("only amp, lt, gt, quot, apos and numbers are known"),
                Some(digits) => match digits.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => digits.parse::<u32>(),
                },
            },
        };
        match number.ok().and_then(char::from_u32) {
            Some(char) if char >= ' ' || matches!(char, '\n' | '\r' | '\t') => Ok(char),
            _ => wrong("not a character that XML allows"),
        }
    }

    fn malformed(&self, error: &quick_xml::Error, at: usize) -> Problem {
        use quick_xml::errors::IllFormedError;
        let rest = self.source.text().get(at..).unwrap_or_default();
        let end = at + rest.find(['>', '\n']).map_or(1, |length| length + 1);
        let problem = Problem::invalid("malformed XML");
        match error {
            quick_xml::Error::IllFormed(IllFormedError::MismatchedEndTag { expected, found }) => {
                let open = self.open.last().map(|node| node.name.span.place().line);
                let opened = open.map(|line| format!(" (line {line})")).unwrap_or_default();
                Problem::invalid(format!("</{}> does not close <{}>{opened}", shown(found), shown(expected)))
                    .at(&self.span(at, end))
                    .label(format!("expected </{}>", shown(expected)))
            }
            quick_xml::Error::IllFormed(IllFormedError::UnmatchedEndTag(found)) => {
                Problem::invalid(format!("</{}> closes nothing", shown(found))).at(&self.span(at, at + found.len() + 3))
            }
            quick_xml::Error::Syntax(SyntaxError::UnclosedTag) => {
                problem.at(&self.span(at, at + 1)).label("this tag is never closed by `>`")
            }
            quick_xml::Error::Syntax(
                SyntaxError::UnclosedSingleQuotedAttributeValue | SyntaxError::UnclosedDoubleQuotedAttributeValue,
            ) => problem.at(&self.span(at, at + 1)).label("a quote in this tag is never closed"),
            quick_xml::Error::InvalidAttr(error) => self.malformed_attribute(error, at),
            other => problem.at(&self.span(at, at + 1)).label(other.to_string()),
        }
    }

    fn malformed_attribute(&self, error: &AttrError, tag: usize) -> Problem {
        let (at, label) = match error {
            AttrError::ExpectedEq(at) => (*at, "an attribute needs `=` and a value in quotes"),
            AttrError::ExpectedValue(at) => (*at, "a value in quotes must follow"),
            AttrError::UnquotedValue(at) => (*at, "a value needs quotes"),
            AttrError::ExpectedQuote(at, _) => (*at, "the quote is never closed"),
            AttrError::Duplicated(at, _) => (*at, "stands twice"),
        };
        Problem::invalid("malformed attribute").at(&self.span(tag + at, tag + at + 1)).label(label)
    }
}

/// Where `part` begins in `whole`, if it is a part of the same memory.
fn offset(whole: &str, part: &str) -> Option<usize> {
    let at = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (at + part.len() <= whole.len()).then_some(at)
}

fn blank(char: char) -> char {
    if matches!(char, '\n' | '\r' | '\t') { ' ' } else { char }
}

/// XML 1.0 names, with the ASCII characters spelt out and every letter outside of ASCII taken.
pub(super) fn is_name(name: &str) -> bool {
    let start = |char: char| char.is_alphabetic() || matches!(char, '_' | ':');
    name.starts_with(start)
        && name.chars().all(|char| start(char) || char.is_numeric() || matches!(char, '-' | '.' | '\u{b7}'))
}
