//! Everything that is wrong with a description, at once, each with the line it stands on.
//!
//! In: titles, places, labels, one hint each. Out: the text for a person, or an [`Error`] with its exit code.
//! Never prints.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::source::Span;
use crate::error::{Error, Exit};

/// Lines longer than this are named, not drawn.
const LONGEST_LINE_DRAWN: usize = 1000;

/// More problems than this are counted, not kept: a hostile file has as many as it likes.
const MOST_KEPT: usize = 100;

/// Whether text carries colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI sequences.
    Always,
}

/// Which kind of wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The description is wrong.
    Invalid,
    /// The description is fine for KIWI, and asks for something that this version cannot do.
    Refused,
    /// A file or folder is missing.
    Missing,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which kind.
    pub kind: Kind,
    /// What is wrong, one sentence without a full stop.
    pub title: String,
    /// Where.
    pub span: Option<Span>,
    /// What stands at the marked text.
    pub label: String,
    /// The one hint.
    pub hint: Option<String>,
}

impl Problem {
    /// Something invalid.
    pub fn invalid(title: impl Into<String>) -> Problem {
        Problem { kind: Kind::Invalid, title: title.into(), span: None, label: String::new(), hint: None }
    }

    /// Something that this version cannot do.
    pub fn refused(title: impl Into<String>) -> Problem {
        Problem { kind: Kind::Refused, ..Problem::invalid(title) }
    }

    /// A missing file or folder.
    pub fn missing(title: impl Into<String>) -> Problem {
        Problem { kind: Kind::Missing, ..Problem::invalid(title) }
    }

    /// Says where.
    pub fn at(mut self, span: &Span) -> Problem {
        self.span = Some(span.clone());
        self
    }

    /// Text beside the marked words.
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = label.into();
        self
    }

    /// The hint below.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    fn render(&self, renderer: &Renderer) -> String {
        let title = match self.kind {
            Kind::Invalid | Kind::Missing => Level::ERROR.primary_title(self.title.as_str()),
            Kind::Refused => Level::ERROR.with_name("not supported").primary_title(self.title.as_str()),
        };
        let path;
        let group = match &self.span {
            None => Group::with_title(title),
            Some(span) => {
                path = span.source().path().display().to_string();
                let (first, last) = (span.line(), Span::new(span.source(), span.end(), span.end()).line());
                let (start, line) = span.source().line(first);
                if line.len() > LONGEST_LINE_DRAWN {
                    let place = span.place();
                    let origin = Origin::path(path).line(place.line as usize).char_column(place.column as usize);
                    let group = title.element(origin);
                    if self.label.is_empty() { group } else { group.element(Level::NOTE.message(self.label.as_str())) }
                } else {
                    // A tag over several lines is marked on its first one.
                    let end = if last == first { span.end() - start } else { line.len() };
                    let from = span.start() - start;
                    let mark = from.min(line.len())..end.clamp(from, line.len().max(from));
                    let mut annotation =
                        AnnotationKind::Primary.span(mark.start..mark.end.min(line.len()).max(mark.start));
                    if !self.label.is_empty() {
                        annotation = annotation.label(self.label.as_str());
                    }
                    title.element(Snippet::source(line).line_start(first + 1).path(path).annotation(annotation))
                }
            }
        };
        let group = match &self.hint {
            None => group,
            Some(hint) => group.element(Level::HELP.message(hint.as_str())),
        };
        renderer.render(&[group])
    }
}

/// All problems, in the order of their places.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// Nothing wrong yet.
    pub fn new() -> Problems {
        Problems::default()
    }

    /// Adds one; the same problem at the same place is kept once.
    pub fn add(&mut self, problem: Problem) {
        let same = |known: &Problem| known.title == problem.title && known.span == problem.span;
        if self.list.iter().any(same) {
            return;
        }
        if self.list.len() < MOST_KEPT {
            self.list.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Problems) {
        self.more += others.more;
        others.list.into_iter().for_each(|problem| self.add(problem));
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems, in the order of files (the main one first) and places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// `value` where nothing is wrong.
    pub fn or<T>(mut self, value: T) -> Result<T, Problems> {
        if self.list.is_empty() {
            return Ok(value);
        }
        // Stable: problems without a place stay in front, those of one place in the order in which they were found.
        self.list.sort_by_key(|problem| problem.span.as_ref().map(|span| (span.place().file, span.start())));
        Err(self)
    }

    /// 66 where only files are missing, else 65.
    pub fn exit(&self) -> Exit {
        if self.list.iter().all(|problem| problem.kind == Kind::Missing) {
            Exit::InputMissing
        } else {
            Exit::Description
        }
    }

    /// Every problem with its line, and a last line that counts them; no newline at the end.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Never => Renderer::plain(),
            Colour::Always => Renderer::styled(),
        }
        .term_width(120);
        let mut text = String::new();
        for problem in &self.list {
            text.push_str(&problem.render(&renderer));
            text.push_str("\n\n");
        }
        text.push_str(&format!("{} (exit {})", self.summary(), self.exit().code()));
        text
    }

    /// `2 problems in image/config.xml`.
    pub fn summary(&self) -> String {
        let file = self.list.iter().find_map(|problem| problem.span.as_ref()).map(|span| span.source().path());
        let place = file.map(|file| format!(" in {}", file.display())).unwrap_or_default();
        match self.list.len() + self.more {
            1 => format!("1 problem{place}"),
            number => format!("{number} problems{place}"),
        }
    }

    /// The error for `main`, drawn with or without colours.
    pub fn into_error(self, colour: Colour) -> Error {
        let mut error = Error::new(self.exit(), self.summary()).rendered(self.render(colour));
        for problem in &self.list {
            error = error.because(problem);
        }
        if let Some(place) = self.list.iter().find_map(|problem| problem.span.as_ref()).map(Span::place) {
            error = error.at(place);
        }
        match self.list.iter().find_map(|problem| problem.hint.clone()) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems { list: vec![problem], more: 0 }
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Error {
        problems.into_error(Colour::Never)
    }
}

impl fmt::Display for Problem {
    /// One line: place, title, label.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(span) = &self.span {
            write!(f, "{}: ", span.place())?;
        }
        f.write_str(&self.title)?;
        if self.label.is_empty() { Ok(()) } else { write!(f, ": {}", self.label) }
    }
}

/// A value for a message: control characters escaped, at most 60 characters.
pub fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(60).flat_map(char::escape_debug).collect();
    if value.chars().nth(60).is_some() {
        text.push_str("...");
    }
    text.replace("\\'", "'").replace("\\\"", "\"")
}

/// The name among `known` that `name` was probably meant to be.
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}
