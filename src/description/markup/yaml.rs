//! YAML and JSON to values with places.
//!
//! In: text. Out: the one document's value, or the first thing that is wrong. Never follows a merge key, never takes a
//! tag of one's own.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::super::problem::{Problem, shown};
use super::super::source::{Source, Span, Spanned};
use super::{Budget, Data, Quotes, Value};

/// Reads the only document of a text.
pub fn parse(source: &Arc<Source>) -> Result<Value, Problem> {
    let parser = Parser::new_from_str(source.text());
    let mut reader = Reader { source, parser, anchors: HashMap::new(), budget: Budget::default(), last: (0, 0) };
    let mut found = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            Event::DocumentStart(_) if found.is_some() => {
                return Err(Problem::invalid("a second document").at(&span).label("a description is one"));
            }
            Event::DocumentStart(_) => {
                let (event, span) = reader.next()?;
                found = Some(reader.value(event, span, 0)?);
            }
            Event::StreamEnd => {
                let nothing = Span::new(source, 0, 0);
                return found.ok_or_else(|| Problem::invalid("the file holds no document").at(&nothing));
            }
            _ => return Err(Problem::invalid("malformed YAML").at(&span)),
        }
    }
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Value>,
    budget: Budget,
    /// The character looked up last, and its byte: places come nearly in order.
    last: (usize, usize),
}

impl<'a> Reader<'a> {
    fn at(&mut self, marker: &Marker) -> usize {
        let number = marker.index();
        let (last, byte) = self.last;
        let at = match number.checked_sub(last) {
            Some(ahead) => {
                let rest = self.source.text().get(byte..).unwrap_or_default();
                rest.char_indices().nth(ahead).map_or(self.source.text().len(), |(at, _)| byte + at)
            }
            None => self.source.offset_of_character(number),
        };
        self.last = (number, at);
        at
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let (start, end) = (self.at(&span.start), self.at(&span.end));
                Ok((event, Span::new(self.source, start, end)))
            }
            Some(Err(error)) => {
                let at = self.at(error.marker());
                Err(Problem::invalid("malformed YAML").at(&Span::new(self.source, at, at + 1)).label(error.info()))
            }
            None => {
                let end = self.source.text().len();
                Err(Problem::invalid("malformed YAML").at(&Span::new(self.source, end, end)))
            }
        }
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Value, Problem> {
        self.budget.take(1, depth, &span)?;
        let (data, anchor) = match event {
            Event::Alias(id) => {
                let Some(known) = self.anchors.get(&id) else {
                    return Err(Problem::invalid("an alias inside of what it names").at(&span));
                };
                // Counted before it is copied: aliases of aliases grow beyond every machine.
                self.budget.take(known.count, depth, &span)?;
                return Ok(known.clone());
            }
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_deref(), &span)?;
                let text = text.into_owned();
                let data = match (style, text.as_str()) {
                    (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Data::Nothing,
                    (ScalarStyle::Plain, _) => Data::Text(text, Quotes::None),
                    _ => Data::Text(text, Quotes::Some),
                };
                (data, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), &span)?;
                let mut list = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if let Event::SequenceEnd = event {
                        break (Data::List(list), anchor);
                    }
                    list.push(self.value(event, span, depth + 1)?);
                }
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), &span)?;
                (self.mapping(depth)?, anchor)
            }
            _ => return Err(Problem::invalid("malformed YAML").at(&span)),
        };
        let count = 1 + match &data {
            Data::List(list) => list.iter().map(|value| value.count).sum(),
            Data::Map(entries) => entries.iter().map(|(_, value)| value.count).sum(),
            _ => 0,
        };
        let value = Value { data, span, count };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn mapping(&mut self, depth: usize) -> Result<Data, Problem> {
        let mut entries: Vec<(Spanned<String>, Value)> = Vec::new();
        let mut known: HashMap<String, Span> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Data::Map(entries)),
                Event::Scalar(text, ..) => Spanned { value: text.into_owned(), span },
                _ => return Err(Problem::invalid("a key that is no text").at(&span)),
            };
            if *key == "<<" {
                return Err(Problem::refused("a merge key").at(&key.span).label("write the entries out"));
            }
            if let Some(first) = known.insert(key.value.clone(), key.span.clone()) {
                let title = format!("`{}` stands twice in one mapping", shown(&key));
                let label = format!("first one in line {}; several elements are a list", first.place().line);
                return Err(Problem::invalid(title).at(&key.span).label(label));
            }
            let (event, span) = self.next()?;
            let value = self.value(event, span, depth + 1)?;
            entries.push((key, value));
        }
    }
}

fn check_tag(tag: Option<&Tag>, span: &Span) -> Result<(), Problem> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            let title = format!("tag {}{}", shown(&tag.handle), shown(&tag.suffix));
            Err(Problem::refused(title).at(span).label("a description is made of texts, lists and mappings"))
        }
        _ => Ok(()),
    }
}
