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

    /// Something that this version cannot do: `image type iso`, `<systemdisk>`.
    pub fn refused(what: impl fmt::Display) -> Problem {
        Problem { kind: Kind::Refused, ..Problem::invalid(format!("{what} is not supported")) }
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
        let title = Level::ERROR.primary_title(self.title.as_str());
        let path;
        let group = match &self.span {
            None => Group::with_title(title),
            Some(span) => {
                path = span.source().path().display().to_string();
                let (first, last) = (span.line(), Span::new(span.source(), span.end(), span.end()).line());
                let (start, line) = span.source().line(first);
                let line = without_secrets(line);
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
                    title.element(Snippet::source(line.clone()).line_start(first + 1).path(path).annotation(annotation))
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

    /// Whether further ones are only counted, so that no work on their texts is worth its time.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MOST_KEPT
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
        .term_width(100);
        let mut text = String::new();
        for problem in &self.list {
            text.push_str(&problem.render(&renderer));
            text.push_str("\n\n");
        }
        if self.more > 0 {
            text.push_str(&format!("and {} more\n\n", self.more));
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

/// The line with the values of `password` and `luks` and the logins in addresses starred out, byte by byte, so that
/// every offset stays what it was. What is drawn ends in logs.
fn without_secrets(line: &str) -> String {
    let mut bytes = line.as_bytes().to_vec();
    let mut hide = |range: std::ops::Range<usize>| bytes[range].fill(b'*');
    for name in ["password", "luks"] {
        for (at, _) in line.match_indices(name) {
            let rest = line[at + name.len()..].trim_start_matches(['"', '\'']).trim_start();
            let Some(value) = rest.strip_prefix(['=', ':']).map(str::trim_start) else { continue };
            let begin = line.len() - value.len();
            match value.chars().next().filter(|char| matches!(char, '"' | '\'')) {
                Some(quote) => {
                    let begin = begin + 1;
                    hide(begin..line[begin..].find(quote).map_or(line.len(), |length| begin + length));
                }
                // YAML needs no quotes, and XML and TOML have none in what is malformed.
                None => hide(begin..begin + value.trim_end().len()),
            }
        }
    }
    for (at, found) in line.match_indices("://") {
        let begin = at + found.len();
        let host = line[begin..].split(['/', '"', '\'', '<', ' ']).next().unwrap_or_default();
        if let Some(login) = host.rfind('@') {
            hide(begin..begin + login);
        }
    }
    // Only whole characters were replaced, by ASCII.
    String::from_utf8(bytes).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_line_shows_no_secret_and_keeps_its_length() {
        let table = [
            (r#"<user name="a" password="geheim" id="x"/>"#, r#"<user name="a" password="******" id="x"/>"#),
            (r#"<type luks = 'pä' luks_version="luks2">"#, r#"<type luks = '***' luks_version="luks2">"#),
            (r#"<source path="https://me:word@host/a@b"/>"#, r#"<source path="https://*******@host/a@b"/>"#),
            (r#"<user password="not closed"#, r#"<user password="**********"#),
            (r#"<source path="https://host/a"/>"#, r#"<source path="https://host/a"/>"#),
            ("password luks //", "password luks //"),
            ("  '@password': geheim", "  '@password': ******"),
            (r#"{"@luks": "geheim", "@id": 1}"#, r#"{"@luks": "******", "@id": 1}"#),
        ];
        for (line, expected) in table {
            assert_eq!(without_secrets(line), expected);
            assert_eq!(without_secrets(line).len(), line.len());
        }
    }

    #[test]
    fn the_closest_name_is_close() {
        let names = ["filesystem", "format", "firmware", "image"];
        let table =
            [("filesytem", Some("filesystem")), ("Image", Some("image")), ("fromat", Some("format")), ("x", None)];
        for (name, expected) in table {
            assert_eq!(closest(name, names), expected, "{name}");
        }
    }

    #[test]
    fn a_shown_value_has_no_control_characters_and_an_end() {
        assert_eq!(shown("a\u{1b}[31m\n\"b'"), "a\\u{1b}[31m\\n\"b'");
        assert_eq!(shown(&"x".repeat(100)), "x".repeat(60) + "...");
    }

    #[test]
    fn more_problems_than_a_person_reads_are_counted() {
        let mut problems = Problems::new();
        (0..250).for_each(|number| problems.add(Problem::invalid(format!("number {number}"))));
        let text = problems.render(Colour::Never);
        assert!(text.contains("number 99") && !text.contains("number 100"));
        assert!(text.ends_with("and 150 more\n\n250 problems (exit 65)"), "{text}");
    }
}
