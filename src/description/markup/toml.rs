//! TOML to values with places.
//!
//! In: text. Out: the document's value, or the first thing that is wrong. Never interprets numbers and dates: they are
//! the text that was written.

use std::sync::Arc;

use toml::Spanned as Toml;
use toml::de::{DeTable, DeValue};

use super::super::problem::Problem;
use super::super::source::{Source, Span, Spanned};
use super::{Budget, Data, Quotes, Value};

/// Reads a document.
pub fn parse(source: &Arc<Source>) -> Result<Value, Problem> {
    let table = DeTable::parse(source.text()).map_err(|error| {
        let place = error.span().unwrap_or(0..0);
        let message = error.message().to_string();
        Problem::invalid("malformed TOML").at(&Span::new(source, place.start, place.end)).label(message)
    })?;
    let span = Span::new(source, 0, 0);
    table_value(table.get_ref(), span, source, 0, &mut Budget::default())
}

fn table_value(
    table: &DeTable<'_>,
    span: Span,
    source: &Arc<Source>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Value, Problem> {
    let mut entries = Vec::new();
    for (key, value) in table.iter() {
        let place = Span::new(source, key.span().start, key.span().end);
        let key = Spanned { value: key.get_ref().to_string(), span: place };
        entries.push((key, self::value(value, source, depth + 1, budget)?));
    }
    // Tables are kept by name; the order in which they were written is the order that counts.
    entries.sort_by_key(|(key, _)| key.span.start());
    Ok(Value { data: Data::Map(entries), span, count: 1 })
}

fn value(
    written: &Toml<DeValue<'_>>,
    source: &Arc<Source>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Value, Problem> {
    let span = Span::new(source, written.span().start, written.span().end);
    budget.take(1, depth, &span)?;
    let data = match written.get_ref() {
        DeValue::Table(table) => return table_value(table, span, source, depth, budget),
        DeValue::String(text) => Data::Text(text.to_string(), Quotes::Some),
        DeValue::Array(list) => {
            let list = list.iter().map(|value| self::value(value, source, depth + 1, budget));
            Data::List(list.collect::<Result<_, _>>()?)
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            let text = source.text().get(written.span()).unwrap_or_default();
            Data::Text(text.trim().to_string(), Quotes::None)
        }
    };
    Ok(Value { data, span, count: 1 })
}
