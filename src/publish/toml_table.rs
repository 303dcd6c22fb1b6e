//! A table of publish.toml, read strictly.
//!
//! In: a table with the places of its keys. Out: typed values, or an error with line, column and what was probably meant.
//! Never ignores a key.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Exit, Place, Result};

/// A whole file.
pub struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    table: Spanned<DeTable<'a>>,
}

/// One table of it.
pub struct Table<'a> {
    document: &'a Document<'a>,
    name: &'static str,
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Document<'a> {
    /// Parses it; 78 where it is no TOML.
    pub fn parse(path: &'a Path, text: &'a str) -> Result<Document<'a>> {
        let table = DeTable::parse(text).map_err(|error| {
            let wrong = Error::new(Exit::Configuration, "malformed TOML").because(error.message());
            wrong.at(place(path, text, error.span().unwrap_or(0..0)))
        })?;
        Ok(Document { path, text, table })
    }

    /// The table of this name; an empty one where there is none.
    pub fn table(&'a self, name: &'static str) -> Result<Table<'a>> {
        let table = match self.table.get_ref().get(name) {
            None => None,
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => Some(table),
                _ => return Err(self.wrong(format!("`{name}` is no table"), value.span())),
            },
        };
        Ok(Table { document: self, name, table, known: Vec::new() })
    }

    /// Refuses tables that are not known.
    pub fn only(&self, known: &[&'static str]) -> Result<()> {
        for (key, _) in self.table.get_ref().iter() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                return Err(hinted(self.wrong(format!("unknown table [{name}]"), key.span()), name, known));
            }
        }
        Ok(())
    }

    fn wrong(&self, what: String, span: Range<usize>) -> Error {
        Error::new(Exit::Configuration, what).at(place(self.path, self.text, span))
    }
}

fn hinted(error: Error, name: &str, known: &[&'static str]) -> Error {
    let scored = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    let near = scored.filter(|(distance, known)| *distance <= 1 + known.len() / 4).min();
    match near {
        Some((_, near)) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("known are {}", known.join(", "))),
    }
}

fn place(path: &Path, text: &str, span: Range<usize>) -> Place {
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
    Place { file: path.into(), line, column }
}

impl<'a> Table<'a> {
    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table?.get(key)
    }

    fn wrong<T>(&self, key: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> Result<T> {
        Err(self.document.wrong(format!("`{key}` of [{}] must be {wanted}", self.name), value.span()))
    }

    /// A text that is not empty and has no control character in it.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match string(value) {
            Some(text) => Ok(Some(text)),
            None => self.wrong(key, "a text in quotes, of one line", value),
        }
    }

    /// A text that fulfils a rule.
    pub fn text_that(
        &mut self,
        key: &'static str,
        wanted: &str,
        good: impl Fn(&str) -> bool,
    ) -> Result<Option<String>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match string(value).filter(|text| good(text)) {
            Some(text) => Ok(Some(text)),
            None => self.wrong(key, wanted, value),
        }
    }

    /// One of some words.
    pub fn word(&mut self, key: &'static str, words: &[&str]) -> Result<Option<String>> {
        self.text_that(key, &format!("one of {}", words.join(", ")), |text| words.contains(&text))
    }

    /// True or false.
    pub fn yes(&mut self, key: &'static str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(yes) => Ok(Some(*yes)),
            _ => self.wrong(key, "true or false", value),
        }
    }

    /// A whole number.
    pub fn number(&mut self, key: &'static str, range: Range<u64>) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => self.wrong(key, &format!("a whole number from {} to {}", range.start, range.end - 1), value),
        }
    }

    /// A list of texts that fulfil a rule; empty where there is none.
    pub fn list_that(&mut self, key: &'static str, wanted: &str, good: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let list = match value.get_ref() {
            DeValue::Array(list) => list.iter().map(string).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        match list.filter(|list| list.iter().all(|text| good(text))) {
            Some(list) => Ok(list),
            None => self.wrong(key, wanted, value),
        }
    }

    /// Names with texts.
    pub fn pairs(&mut self, key: &'static str) -> Result<BTreeMap<String, String>> {
        let Some(value) = self.get(key) else { return Ok(BTreeMap::new()) };
        let pairs = match value.get_ref() {
            DeValue::Table(table) => {
                let pair = |(name, value): (&Spanned<_>, _)| {
                    Some((AsRef::<str>::as_ref(name.get_ref()).to_string(), string(value)?))
                };
                table.iter().map(pair).collect::<Option<BTreeMap<String, String>>>()
            }
            _ => None,
        };
        let good = |name: &String| !name.is_empty() && !name.starts_with('-') && !name.contains(['=', ',', '\n']);
        let pairs = pairs.filter(|pairs| pairs.keys().all(good));
        let reserved = |name: &&String| name.starts_with("ingot-") || name.starts_with("ingot_");
        match pairs {
            Some(pairs) => match pairs.keys().find(reserved) {
                Some(_) => self.wrong(key, "without names that begin with `ingot`: those are ingot's own", value),
                None => Ok(pairs),
            },
            None => self.wrong(key, "a table of names with texts in quotes", value),
        }
    }

    /// Whether the file has this key.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Refuses keys that would be ignored: `place` says where that is so.
    pub fn needless(&self, keys: &[&str], place: &str) -> Result<()> {
        for (key, _) in self.table.into_iter().flat_map(DeTable::iter) {
            let name: &str = key.get_ref();
            if keys.contains(&name) {
                let what = format!("`{name}` of [{}] means nothing {place}", self.name);
                return Err(self.document.wrong(what, key.span()).hint("remove it"));
            }
        }
        Ok(())
    }

    /// Refuses keys that nobody asked for.
    pub fn finish(self) -> Result<()> {
        for (key, _) in self.table.into_iter().flat_map(DeTable::iter) {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let wrong = self.document.wrong(format!("unknown key `{name}` in [{}]", self.name), key.span());
                return Err(hinted(wrong, name, &self.known));
            }
        }
        Ok(())
    }
}

/// A text as the value of an option: not one that could be taken for an option.
fn string(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) if !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_control) => {
            Some(text.to_string())
        }
        _ => None,
    }
}
