//! A pattern: a path with fields in braces, such as `out/{method}/{item}_x{scale}.png`.
//!
//! ```text
//! pattern = *(text / "{" name "}")        name = 1*(letter / digit / "_" / "-")
//! ```
//!
//! A field stands for one or more characters and never for a `/`; a field that comes twice stands
//! for the same text. A path may have several readings (`0801x2x4` is item `0801` or `0801x2`);
//! which one is meant is for the pairing to decide. Text is compared in Unicode's normal form C.

use unicode_normalization::UnicodeNormalization as _;

use crate::error::Refusal;

/// A path has at most so many readings; one more makes it ambiguous.
pub(super) const READINGS_MAX: usize = 1000;

/// A path with fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// As it was typed, without what names the method.
    pub text: String,
    /// The method that all of its files are of, if it was typed as `NAME=PATTERN`.
    pub method: Option<String>,
    segments: Vec<Vec<Piece>>,
    fields: Vec<String>,
}

/// A part of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    /// Index of a field.
    Field(usize),
}

/// Values of the fields of a pattern.
pub(super) type Values = Vec<String>;

impl Pattern {
    /// Reads a pattern of which all files are of `method`, if that is given; `None` if `text` holds
    /// no brace.
    ///
    /// # Errors
    /// A [`Refusal`] for braces that make no field, and for a pattern that names no file.
    pub fn parse(text: &str, method: Option<String>) -> Result<Option<Pattern>, Refusal> {
        if !text.contains(['{', '}']) {
            return Ok(None);
        }
        let refuse = |what: &str, hint: &str| {
            let message = format!("`{text}` is no path that exists, and as a pattern {what}");
            Err(Refusal::usage(message).hint(hint))
        };
        let mut fields: Vec<String> = Vec::new();
        let mut segments = Vec::new();
        for (index, segment) in text.split('/').enumerate() {
            if segment.is_empty() && index > 0 {
                continue;
            }
            match pieces(segment, &mut fields) {
                Some(pieces) => segments.push(pieces),
                None => {
                    return refuse(
                        "it has a brace that belongs to no field",
                        "write a field as its name between braces, as in `{item}`; names are made \
                         of letters, digits, `_` and `-`",
                    );
                }
            }
        }
        if text.ends_with('/') {
            return refuse(
                "it names folders, not files",
                "end it with the names of the files, as in `{item}.png`",
            );
        }
        Ok(Some(Pattern { text: text.to_owned(), method, segments, fields }))
    }

    /// Names of the fields, in the order in which they first come.
    #[must_use]
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The folder above all of its files, such that a walk of it finds them.
    pub(super) fn root(&self) -> String {
        let last = self.segments.len() - 1;
        let literal = self.segments[..last].iter().map_while(|pieces| literal(pieces));
        let root = literal.collect::<Vec<_>>().join("/");
        match (root.as_str(), self.text.starts_with('/')) {
            ("", true) => "/".to_owned(),
            ("", false) => ".".to_owned(),
            _ => root,
        }
    }

    /// Whether the extension of its files is spelled out, so that it need not be one of an image.
    pub(super) fn has_extension(&self) -> bool {
        let last = self.segments.last().and_then(|pieces| pieces.last());
        matches!(last, Some(Piece::Text(text)) if text.contains('.'))
    }

    /// All readings of `path`, or the first [`READINGS_MAX`] + 1.
    pub(super) fn readings(&self, path: &str) -> Vec<Values> {
        let path: String = path.nfc().collect();
        let names: Vec<&str> = path.split('/').collect();
        if names.len() != self.segments.len() {
            return Vec::new();
        }
        let mut readings = vec![vec![None; self.fields.len()]];
        for (pieces, name) in self.segments.iter().zip(names) {
            let mut longer = Vec::new();
            for mut bound in readings {
                bind(pieces, name, &mut bound, &mut longer);
            }
            readings = longer;
        }
        let values = |bound: Vec<Option<&str>>| {
            bound.into_iter().map(|value| value.unwrap_or_default().to_owned()).collect()
        };
        readings.into_iter().map(values).collect()
    }

    /// The path in which `value_of` gives the text of fields; others stay in braces.
    pub(super) fn filled<'a>(&self, value_of: &dyn Fn(&str) -> Option<&'a str>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(index) => match value_of(&self.fields[*index]) {
                Some(value) => value.to_owned(),
                None => format!("{{{}}}", self.fields[*index]),
            },
        };
        let segment = |pieces: &Vec<Piece>| pieces.iter().map(piece).collect::<String>();
        self.segments.iter().map(segment).collect::<Vec<_>>().join("/")
    }

    /// How many of its leading folders `path` is in, and in which respect it differs then.
    pub(super) fn miss(&self, path: &str) -> (usize, String) {
        let path: String = path.nfc().collect();
        let names: Vec<&str> = path.split('/').collect();
        let is_read = |(pieces, name): &(&Vec<Piece>, &&str)| {
            let mut found = Vec::new();
            bind(pieces, name, &mut vec![None; self.fields.len()], &mut found);
            !found.is_empty()
        };
        let matched = self.segments.iter().zip(&names).take_while(is_read).count();
        let what = match (self.segments.get(matched), names.get(matched)) {
            (Some(pieces), Some(name)) => format!("`{name}` is not `{}`", self.shown(pieces)),
            (None, Some(_)) => "it lies deeper".to_owned(),
            (Some(_), None) => "it lies higher".to_owned(),
            (None, None) => "a field that comes twice has two values".to_owned(),
        };
        (matched, what)
    }

    fn shown(&self, pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(index) => format!("{{{}}}", self.fields[*index]),
        };
        pieces.iter().map(piece).collect()
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.method {
            Some(method) => write!(f, "{method}={}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// The pieces of one segment; `None` for a brace that belongs to no field.
fn pieces(segment: &str, fields: &mut Vec<String>) -> Option<Vec<Piece>> {
    let is_name = |name: &str| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        !name.is_empty() && name.chars().all(is_part)
    };
    let mut pieces = Vec::new();
    let mut rest = segment;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, field) = rest.split_at(at);
        let (name, after) = field.strip_prefix('{')?.split_once('}')?;
        if !is_name(name) {
            return None;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.nfc().collect()));
        }
        let known = fields.iter().position(|field| field == name);
        pieces.push(Piece::Field(known.unwrap_or_else(|| {
            fields.push(name.to_owned());
            fields.len() - 1
        })));
        rest = after;
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest.nfc().collect()));
    }
    Some(pieces)
}

fn literal(pieces: &[Piece]) -> Option<&str> {
    match pieces {
        [Piece::Text(text)] => Some(text),
        _ => None,
    }
}

/// Appends to `found` every way to read `name` as `pieces`, given the fields that are `bound`.
fn bind<'a>(
    pieces: &[Piece],
    name: &'a str,
    bound: &mut Vec<Option<&'a str>>,
    found: &mut Vec<Vec<Option<&'a str>>>,
) {
    if found.len() > READINGS_MAX {
        return;
    }
    let Some((first, others)) = pieces.split_first() else {
        if name.is_empty() {
            found.push(bound.clone());
        }
        return;
    };
    let (index, known) = match first {
        Piece::Text(text) => {
            if let Some(after) = name.strip_prefix(text.as_str()) {
                bind(others, after, bound, found);
            }
            return;
        }
        Piece::Field(index) => (*index, bound[*index]),
    };
    if let Some(value) = known {
        if let Some(after) = name.strip_prefix(value) {
            bind(others, after, bound, found);
        }
        return;
    }
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    // The last piece takes everything that is left.
    let ends = ends.filter(|&end| !others.is_empty() || end == name.len());
    for end in ends {
        bound[index] = Some(&name[..end]);
        bind(others, &name[end..], bound, found);
    }
    bound[index] = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text, None).unwrap().unwrap()
    }

    fn readings(text: &str, path: &str) -> Vec<String> {
        let pattern = pattern(text);
        pattern.readings(path).into_iter().map(|values| values.join("|")).collect()
    }

    #[test]
    fn fields_stand_for_text_within_one_name() {
        for (text, path, expected) in [
            ("hr/{item}.png", "hr/0801.png", &["0801"][..]),
            ("hr/{item}.png", "hr/a/0801.png", &[]),
            ("hr/{item}.png", "hr/.png", &[]),
            ("hr/{item}.png", "hr/0801.jpg", &[]),
            ("{m}/{d}/{i}.{e}", "edsr/Set5/baby.png", &["edsr|Set5|baby|png"]),
            ("{i}x{s}.png", "0801x4.png", &["0801|4"]),
            ("{i}x{s}.png", "0801x2x4.png", &["0801|2x4", "0801x2|4"]),
            ("{d}/{d}_{i}.png", "Set5/Set5_baby.png", &["Set5|baby"]),
            ("{d}/{d}_{i}.png", "Set5/Set14_baby.png", &[]),
            ("{i}_{i}.png", "a_a.png", &["a"]),
            ("./hr//{i}.png", "./hr/a.png", &["a"]),
            ("/data/{i}.png", "/data/a.png", &["a"]),
            ("é/{i}.png", "e\u{301}/u\u{308}.png", &["ü"]),
        ] {
            assert_eq!(readings(text, path), expected, "{text} {path}");
        }
    }

    #[test]
    fn the_root_is_the_folder_before_the_first_field() {
        for (text, root) in [
            ("hr/{item}.png", "hr"),
            ("a/b/{m}/c/{item}.png", "a/b"),
            ("{m}/{item}.png", "."),
            ("x{m}.png", "."),
            ("/{m}/{item}.png", "/"),
            ("/data/{item}.png", "/data"),
            ("../a/{item}.png", "../a"),
        ] {
            assert_eq!(pattern(text).root(), root, "{text}");
        }
    }

    #[test]
    fn braces_that_make_no_field_are_refused() {
        for text in ["a{", "a}", "{}", "{a b}.png", "{a/b}.png", "{{a}}", "{a}/"] {
            assert!(Pattern::parse(text, None).is_err(), "{text}");
        }
        assert_eq!(Pattern::parse("hr", None).unwrap(), None);
    }

    #[test]
    fn a_path_with_very_many_readings_is_not_read_to_the_end() {
        let count = readings("{a}{b}{c}{d}{e}.png", &format!("{}.png", "x".repeat(200))).len();
        assert_eq!(count, READINGS_MAX + 1);
    }

    #[test]
    fn a_miss_is_explained_by_the_first_name_that_differs() {
        let pattern = pattern("out/{m}/x4/{i}.png");
        assert_eq!(pattern.miss("out/a/x2/b.png"), (2, "`x2` is not `x4`".to_owned()));
        assert_eq!(pattern.miss("out/a/x4/b.jpg"), (3, "`b.jpg` is not `{i}.png`".to_owned()));
        assert_eq!(pattern.miss("out/a"), (2, "it lies higher".to_owned()));
        let filled = pattern.filled(&|field| (field == "i").then_some("b"));
        assert_eq!(filled, "out/{m}/x4/b.png");
    }
}
