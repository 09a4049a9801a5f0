//! JSON objects, one a line, as cells.

use std::collections::HashMap;

use csv::StringRecord;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::Fault;

const STRINGS: &str = "use strings, numbers, true, false or null";

/// The keys of the first line, and which of them name files.
#[derive(Debug)]
pub(super) struct Keys {
    places: HashMap<String, usize>,
    paths: Vec<usize>,
}

impl Keys {
    pub(super) fn new(header: &[String]) -> Keys {
        let places = header.iter().cloned().enumerate().map(|(place, key)| (key, place));
        Keys { places: places.collect(), paths: Vec::new() }
    }

    /// Values of these columns must be strings.
    pub(super) fn expect_paths(&mut self, columns: &[usize]) {
        self.paths = columns.to_vec();
    }

    /// Puts the values of the object in line `line` into the order of the header; absent ones are
    /// empty.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn split(
        &self,
        text: &str,
        line: u64,
        cells: &mut StringRecord,
    ) -> Result<(), Fault> {
        let fault = |message, hint| Err(Fault::at_line(line, message, hint));
        let mut values: Vec<Option<String>> = vec![None; self.places.len()];
        for (key, value) in object(text, line)? {
            let Some(&place) = self.places.get(&key) else {
                let message = format!("the key `{key}` is not in the first line");
                return fault(message, "name every key in the first line");
            };
            if self.paths.contains(&place) && !matches!(value.get().as_bytes(), [b'"' | b'n', ..]) {
                let message = format!("the value of `{key}` is not a string: {}", value.get());
                return fault(message, "write paths between double quotes");
            }
            if values[place].replace(cell(&value, line)?).is_some() {
                return fault(format!("the key `{key}` appears twice"), "keep one of the two");
            }
        }
        for value in values {
            cells.push_field(value.as_deref().unwrap_or_default());
        }
        Ok(())
    }
}

/// The keys of an object in the order of the text, repeated ones too.
pub(super) fn keys(text: &str, line: u64) -> Result<Vec<String>, Fault> {
    Ok(object(text, line)?.into_iter().map(|(key, _)| key).collect())
}

fn object(text: &str, line: u64) -> Result<Vec<(String, Box<RawValue>)>, Fault> {
    if text.trim_start().starts_with('[') {
        let message = "not a JSON object but an array";
        let hint = "write one object a line; `jq -c '.[]' FILE` makes such lines of an array";
        return Err(Fault::at_line(line, message, hint));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = deserializer.deserialize_map(InOrder).and_then(|object| {
        deserializer.end()?;
        Ok(object)
    });
    object.map_err(|error| {
        // The parser counts lines of the text that it was given, which is one line of the file.
        let (column, reason) = (error.column(), error.to_string());
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
        let message = format!("not a JSON object: {reason}, at byte {column}");
        Fault::at_line(line, message, "write one object a line, without line breaks")
    })
}

/// A value as text. Numbers keep the digits that were written.
fn cell(value: &RawValue, line: u64) -> Result<String, Fault> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map_err(|error| {
            let message = format!("not a JSON string: {error}");
            Fault::at_line(line, message, "escape it as JSON requires")
        }),
        Some(b'n') => Ok(String::new()),
        Some(b'{' | b'[') => Err(Fault::at_line(line, "a value is an object or a list", STRINGS)),
        _ => Ok(raw.to_owned()),
    }
}

/// Keeps the order of the keys, and keys that appear twice.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
