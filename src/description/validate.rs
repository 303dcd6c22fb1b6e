//! A tree against the schema's table: every unknown name, wrong value and missing part at once.
//!
//! In: the root [`Node`], in the words of schema 8.5. Out: [`Problems`]. Never stops at the first one.

use super::convert::{Change, HISTORY};
use super::problem::{Problem, Problems, closest, shown};
use super::schema::{self, Attribute, Content, Element, Elsewhere, Need, Occurs, Value};
use super::source::Span;
use super::xml::Node;

/// Checks the whole tree.
pub fn validate(image: &Node, problems: &mut Problems) {
    let mut check = Check { problems, image_type: None };
    match schema::find(&image.name) {
        Some(element) if element.name == "image" => check.element(image, element),
        _ => check.problems.add(
            Problem::invalid(format!("the root element is <{}>", shown(&image.name)))
                .at(&image.name.span)
                .label("a KIWI description begins with <image>"),
        ),
    }
}

/// Checks the attributes of one element, whatever is inside.
pub(super) fn validate_attributes(node: &Node, problems: &mut Problems) {
    let image_type = node.attribute("image").map(|attribute| attribute.value.to_string());
    if let Some(element) = schema::find(&node.name) {
        Check { problems, image_type }.attributes(node, element);
    }
}

/// Writes every value as it counts: without the blanks that XML Schema takes away.
pub fn canonical(node: &mut Node) {
    if let Some(row) = schema::find(&node.name) {
        for attribute in &mut node.attributes {
            let text = row.attribute(&attribute.name).and_then(|row| row.value.canonical(&attribute.value));
            if let Some(text) = text {
                attribute.value.value = text;
            }
        }
        if let Content::Text(value) = row.content
            && let Some(text) = value.canonical(&node.text)
        {
            node.text = text;
        }
    }
    node.children.iter_mut().for_each(canonical);
}

struct Check<'a> {
    problems: &'a mut Problems,
    /// `<type image>` around the element.
    image_type: Option<String>,
}

impl Check<'_> {
    fn element(&mut self, node: &Node, element: &'static Element) {
        let outer = self.image_type.clone();
        if element.name == "type" {
            self.image_type = node.attribute("image").map(|attribute| attribute.value.to_string());
        }
        self.attributes(node, element);
        match element.content {
            Content::Elements => {
                self.no_text(node, element);
                self.children(node, element);
            }
            Content::Text(value) => self.text(node, element, value),
            Content::Foreign => self.extension(node),
        }
        self.image_type = outer;
    }

    fn attributes(&mut self, node: &Node, element: &'static Element) {
        for attribute in &node.attributes {
            self.attribute(element, &attribute.name, &attribute.name.span);
            if let Some(row) = element.attribute(&attribute.name) {
                self.value(node, row, &attribute.value, &attribute.value.span);
            }
        }
        for row in element.attributes {
            if row.need == Need::Mandatory && node.attribute(row.name).is_none() && !misspelt(node, element, row.name) {
                let problem = Problem::invalid(format!("<{}> lacks the attribute `{}`", element.name, row.name));
                self.problems.add(problem.at(&node.name.span));
            }
        }
    }

    fn attribute(&mut self, element: &'static Element, name: &str, span: &Span) {
        if element.attribute(name).is_some() || name.starts_with("xml:") || name.starts_with("xmlns:") {
            return;
        }
        if name == "xmlns" {
            let problem = Problem::invalid("KIWI's elements have no namespace").at(span).label("remove it");
            return self.problems.add(problem);
        }
        let problem = Problem::invalid(format!("unknown attribute `{}` on <{}>", shown(name), element.name)).at(span);
        // The last change is the one to name: an attribute may have had a default before it moved.
        let old = HISTORY.iter().rev().find(|step| step.element == element.name && step.attribute == name);
        let close = || closest(name, element.attributes.iter().map(|row| row.name));
        let owner = || schema::elements().find(|owner| owner.attribute(name).is_some() && related(owner, element));
        let problem = match (old, close()) {
            (Some(step), _) => {
                let ((major, minor), label) = (step.since, gone(step.change));
                problem.label(format!("schema {major}.{minor} {label}"))
            }
            (None, Some(close)) => problem.label(format!("did you mean `{close}`?")),
            (None, None) => match owner() {
                Some(owner) => problem.label(format!("it belongs on <{}>", owner.name)),
                None => problem.label(known(element)),
            },
        };
        self.problems.add(problem);
    }

    fn value(&mut self, node: &Node, row: &Attribute, value: &str, span: &Span) {
        if !row.value.accepts(value) {
            let title = format!("`{}` is not a value of `{}`", shown(value), row.name);
            self.problems.add(Problem::invalid(title).at(span).label(expected(row.value, value)));
        }
        if let Some(image_type) = &self.image_type
            && row.elsewhere == Elsewhere::Invalid
            && !row.types.is_empty()
            && !row.types.contains(&image_type.as_str())
            && schema::IMAGE_TYPES.iter().any(|(name, _)| name == image_type)
        {
            let title = format!("`{}` has no meaning for an image of type {image_type}", row.name);
            let name = node.attribute(row.name).map_or(span, |attribute| &attribute.name.span);
            let label = format!("only for {}", row.types.join(", "));
            self.problems.add(Problem::invalid(title).at(name).label(label));
        }
    }

    fn no_text(&mut self, node: &Node, element: &Element) {
        if !node.text.trim().is_empty() {
            let title = format!("text inside <{}>", element.name);
            self.problems.add(Problem::invalid(title).at(&node.text_span).label("only elements may stand here"));
        }
    }

    fn text(&mut self, node: &Node, element: &Element, value: Value) {
        if let Some(child) = node.children.first() {
            let title = format!("<{}> inside <{}>", shown(&child.name), element.name);
            self.problems.add(Problem::invalid(title).at(&child.name.span).label("only text may stand here"));
        }
        let text = node.text.trim();
        if !value.accepts(text) {
            let title = match text {
                "" => format!("<{}> is empty", element.name),
                _ => format!("`{}` is not a value of <{}>", shown(text), element.name),
            };
            self.problems.add(Problem::invalid(title).at(&node.text_span).label(expected(value, text)));
        }
    }

    fn children(&mut self, node: &Node, element: &'static Element) {
        let mut seen: Vec<&Node> = Vec::new();
        for child in &node.children {
            let row = schema::find(&child.name).filter(|row| row.within.contains(&element.name));
            let Some(row) = row else {
                self.misplaced(child, element);
                continue;
            };
            if row.occurs == Occurs::Once {
                match seen.iter().find(|first| first.name.value == *child.name) {
                    Some(first) => {
                        let title = format!("<{}> stands twice in <{}>", row.name, element.name);
                        let label = format!("first one in line {}", first.name.span.place().line);
                        self.problems.add(Problem::invalid(title).at(&child.name.span).label(label));
                    }
                    None => seen.push(child),
                }
            }
            self.element(child, row);
        }
        for needed in element.needs {
            let close = |child: &Node| schema::find(&child.name).is_none() && closest(&child.name, [*needed]).is_some();
            if node.children(needed).next().is_none() && !node.children.iter().any(close) {
                let title = format!("<{}> lacks <{needed}>", element.name);
                self.problems.add(Problem::invalid(title).at(&node.name.span));
            }
        }
    }

    fn misplaced(&mut self, child: &Node, parent: &'static Element) {
        if self.problems.is_full() {
            return self.problems.add(Problem::invalid("unknown element").at(&child.name.span));
        }
        let name = shown(&child.name);
        let problem = match schema::find(&child.name) {
            Some(row) if !row.within.is_empty() => {
                let owners: Vec<String> = row.within.iter().map(|owner| format!("<{owner}>")).collect();
                Problem::invalid(format!("<{name}> does not belong in <{}>", parent.name))
                    .label(format!("it belongs in {}", owners.join(" or ")))
            }
            _ => {
                let problem = Problem::invalid(format!("unknown element <{name}> in <{}>", parent.name));
                let old = HISTORY.iter().find(|step| step.attribute.is_empty() && step.element == *child.name);
                if let Some(step) = old {
                    let ((major, minor), label) = (step.since, gone(step.change));
                    let problem = problem.label(format!("schema {major}.{minor} {label}"));
                    return self.problems.add(problem.at(&child.name.span));
                }
                let close = closest(&child.name, schema::children_of(parent.name).map(|row| row.name))
                    .or_else(|| closest(&child.name, schema::elements().map(|row| row.name)));
                match close {
                    Some(close) => problem.label(format!("did you mean <{close}>?")),
                    None => {
                        let known: Vec<String> =
                            schema::children_of(parent.name).map(|row| format!("<{}>", row.name)).collect();
                        match known.len() {
                            0 => problem.label(format!("<{}> holds no elements", parent.name)),
                            1..=8 => problem.label(format!("known are {}", known.join(", "))),
                            _ => problem,
                        }
                    }
                }
            }
        };
        self.problems.add(problem.at(&child.name.span));
    }

    /// Foreign content is no business of ours, unless it is in our namespace.
    fn extension(&mut self, node: &Node) {
        for child in &node.children {
            let Some((local, namespace)) = namespace(node, child) else {
                self.problems.add(
                    Problem::invalid(format!("<{}> inside <extension> has no namespace", shown(&child.name)))
                        .at(&child.name.span)
                        .hint(format!("ingot's own elements need xmlns:ingot=\"{}\"", schema::NAMESPACE)),
                );
                continue;
            };
            if namespace != schema::NAMESPACE {
                continue;
            }
            match schema::EXTENSIONS.iter().find(|row| row.name == local) {
                Some(row) => self.element(child, row),
                None => {
                    let problem = Problem::invalid(format!("unknown element <{}> in <extension>", shown(&child.name)));
                    let label = match closest(local, schema::EXTENSIONS.iter().map(|row| row.name)) {
                        Some(close) => format!("did you mean `{close}`?"),
                        None => {
                            let known: Vec<&str> = schema::EXTENSIONS.iter().map(|row| row.name).collect();
                            format!("known are {}", known.join(", "))
                        }
                    };
                    self.problems.add(problem.at(&child.name.span).label(label));
                }
            }
        }
    }
}

/// Local name and namespace of an element in `<extension>`; its prefix is declared on it or on `<extension>`.
pub fn namespace<'a>(extension: &'a Node, child: &'a Node) -> Option<(&'a str, &'a str)> {
    let (declaration, local) = match child.name.split_once(':') {
        Some((prefix, local)) => (format!("xmlns:{prefix}"), local),
        None => ("xmlns".to_string(), child.name.as_str()),
    };
    let found = child.attribute(&declaration).or_else(|| extension.attribute(&declaration))?;
    Some((local, found.value.as_str()))
}

/// Whether an unknown attribute was meant to be this one, so that it is not missing too.
pub(super) fn misspelt(node: &Node, element: &Element, name: &str) -> bool {
    let unknown = node.attributes.iter().filter(|attribute| element.attribute(&attribute.name).is_none());
    unknown.into_iter().any(|attribute| closest(&attribute.name, [name]).is_some())
}

fn expected(value: Value, text: &str) -> String {
    match closest(text, value.words().iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("expected {}", value.expected()),
    }
}

fn gone(change: Change) -> String {
    match change {
        Change::Renamed(name) | Change::ElementRenamed(name) => format!("calls it `{name}`"),
        Change::IntoChild(element, attribute)
        | Change::IntoChildIfAny(element, attribute)
        | Change::IntoEveryChild(element, attribute) => format!("made it `{attribute}` on <{element}>"),
        Change::ParentSwitch(_, attribute) => format!("replaced it by `{attribute}` on <type>"),
        Change::TagsToNames => "replaced it by `additionalnames`".to_string(),
        Change::SplitConsole => "replaced it by `output_console` and `input_console`".to_string(),
        Change::Dropped
        | Change::DroppedValue(_)
        | Change::ElementDropped
        | Change::Default(..)
        | Change::VmxToOem
        | Change::Word(..) => "dropped it; remove it".to_string(),
    }
}

/// Whether a misplaced attribute may have been meant for the parent, a child or a sibling.
fn related(owner: &Element, element: &Element) -> bool {
    owner.within.contains(&element.name)
        || element.within.contains(&owner.name)
        || owner.within.iter().any(|parent| element.within.contains(parent))
}

fn known(element: &Element) -> String {
    let names: Vec<String> = element.attributes.iter().map(|row| format!("`{}`", row.name)).collect();
    match names.len() {
        0 => format!("<{}> has no attributes", element.name),
        1..=6 => format!("known are {}", names.join(", ")),
        _ => String::new(),
    }
}
