//! A file's text and the places in it.
//!
//! In: a path and its text. Out: [`Span`]s that know file, line, column and the text they cover.
//! Never reads a file itself.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Place;

/// One file of a description.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    /// Byte offset of the begin of each line.
    lines: Vec<usize>,
    /// How many characters begin before each multiple of [`STRIDE`] bytes, so that a column in a line of megabytes
    /// costs no more than one in a short line.
    characters: Vec<usize>,
}

const STRIDE: usize = 4096;

/// How many characters begin in these bytes of UTF-8.
fn characters_in(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

impl Source {
    /// A file with this text, named `path` in every message.
    pub fn new(path: &Path, text: String) -> Arc<Source> {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut count = 0;
        let mut characters = vec![0];
        for chunk in text.as_bytes().chunks(STRIDE) {
            count += characters_in(chunk);
            characters.push(count);
        }
        Arc::new(Source { path: path.to_path_buf(), text, lines, characters })
    }

    /// As the user named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many characters begin before the byte at `offset`.
    fn characters_before(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let stride = offset / STRIDE;
        self.characters[stride] + characters_in(&self.text.as_bytes()[stride * STRIDE..offset])
    }

    /// Offset of the byte with which the character with this 0-based number begins; the end where there are fewer.
    pub fn offset_of_character(&self, number: usize) -> usize {
        // The last stride that begins at or before it.
        let stride = self.characters.partition_point(|count| *count <= number).saturating_sub(1);
        let mut start = stride * STRIDE;
        let mut left = number - self.characters.get(stride).copied().unwrap_or(0);
        // A character that the stride's border cuts belongs to the stride before.
        while start < self.text.len() && !self.text.is_char_boundary(start) {
            start += 1;
        }
        for (at, _) in self.text.get(start..).unwrap_or_default().char_indices() {
            if left == 0 {
                return start + at;
            }
            left -= 1;
        }
        self.text.len()
    }

    /// 0-based line that holds the byte at `offset`.
    fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// The line with this 0-based number, without its newline, and its offset.
    pub fn line(&self, number: usize) -> (usize, &str) {
        let start = self.lines.get(number).copied().unwrap_or(self.text.len());
        let end = self.lines.get(number + 1).copied().unwrap_or(self.text.len());
        (start, self.text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r']))
    }
}

/// A range of bytes in a [`Source`]. Cheap to clone.
#[derive(Clone)]
pub struct Span {
    source: Arc<Source>,
    start: usize,
    end: usize,
}

impl Span {
    /// The bytes `start..end`; ends beyond the text and inside a character are moved to where they are valid.
    pub fn new(source: &Arc<Source>, start: usize, end: usize) -> Span {
        let valid = |mut at: usize| {
            at = at.min(source.text.len());
            while !source.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = valid(start);
        Span { source: source.clone(), start, end: valid(end).max(start) }
    }

    /// The file.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Offset of the first byte.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Offset behind the last byte.
    pub fn end(&self) -> usize {
        self.end
    }

    /// 0-based number of the line on which it begins.
    pub fn line(&self) -> usize {
        self.source.line_of(self.start)
    }

    /// File, line and column.
    pub fn place(&self) -> Place {
        let line = self.line();
        let (start, _) = self.source.line(line);
        let column = self.source.characters_before(self.start) - self.source.characters_before(start) + 1;
        Place { file: self.source.path.clone(), line: line as u32 + 1, column: column as u32 }
    }
}

impl PartialEq for Span {
    fn eq(&self, other: &Span) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && (self.start, self.end) == (other.start, other.end)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place())
    }
}

/// A value with the place where it stands. Derefs to the value.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// The same place with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_a_number_of_characters_in_lines_of_any_length() {
        let text = format!("first\r\n{}x\n", "äb".repeat(5000));
        let source = Source::new(Path::new("f"), text.clone());
        for (found, expected) in [("first", (1, 1)), ("ä", (2, 1)), ("b", (2, 2)), ("x", (2, 10_001))] {
            let at = text.find(found).unwrap();
            let place = Span::new(&source, at, at + 1).place();
            assert_eq!((place.line, place.column), expected, "{found}");
        }
        for (number, (at, char)) in text.char_indices().enumerate() {
            assert_eq!(source.offset_of_character(number), at, "{char}");
        }
        assert_eq!(source.offset_of_character(usize::MAX), text.len());
        let end = Span::new(&source, usize::MAX, 0).place();
        assert_eq!((end.line, end.column), (3, 1));
        assert_eq!(source.line(0), (0, "first"));
    }
}
