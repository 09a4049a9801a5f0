//! The grammar of conditions.
//!
//! ```text
//! condition = [ scope ":" ] statistic ( ">" | "<" ) number [ "%" ] [ "@" number "%" ]
//! scope     = column [ "[" group "=" value { "," group "=" value } "]" ]
//! statistic = "mean" | "median" | "p90" | "p95" | "p99" | "max" | "share" "(" number ")"
//! ```
//!
//! A value that holds `,` `]` `:` or `"` is quoted as in CSV.

use super::{Gate, Limit, Operator, Scope, Statistic};
use crate::compare::decimal::{Confidence, Decimal};

/// The statistics that a condition may name.
const STATISTICS: &str = "`mean`, `median`, `p90`, `p95`, `p99`, `max` or `share(X)`";

/// A condition that cannot be read, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyntaxError {
    text: String,
    /// Characters before the faulty word.
    at: usize,
    /// Characters of the faulty word.
    len: usize,
    message: String,
}

impl SyntaxError {
    /// An error about the characters `span` of `text`.
    fn new(text: &str, span: Span, message: String) -> SyntaxError {
        let chars = |range: &str| range.chars().count();
        let (at, len) = (chars(&text[..span.start]), chars(&text[span.start..span.end]));
        SyntaxError { text: text.to_owned(), at, len: len.max(1), message }
    }

    /// An error about the name of the column or of a group.
    pub fn in_scope(gate: &Gate, name: &str, message: String) -> SyntaxError {
        let start = gate.text.find(name).unwrap_or(0);
        let end = (start + name.len()).min(gate.text.len());
        SyntaxError::new(&gate.text, Span { start, end }, message)
    }
}

/// The message, the condition, and a line of carets under the word at fault.
impl std::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SyntaxError { text, at, len, message } = self;
        let (indent, carets) = (" ".repeat(*at), "^".repeat(*len));
        // A tab or a line break would move the carets.
        let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        write!(f, "{message}\n  {shown}\n  {indent}{carets}")
    }
}

impl std::error::Error for SyntaxError {}

/// Bytes of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    start: usize,
    end: usize,
}

/// Where the parts are whose meaning depends on the column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spans {
    operator: Span,
    limit: Span,
}

impl Spans {
    pub(super) fn operator(self, text: &str, message: String) -> SyntaxError {
        SyntaxError::new(text, self.operator, message)
    }

    pub(super) fn limit(self, text: &str, message: String) -> SyntaxError {
        SyntaxError::new(text, self.limit, message)
    }
}

pub(super) fn gate(text: &str) -> Result<Gate, SyntaxError> {
    let mut cursor = Cursor { text, at: 0 };
    let scope = match has_scope(text) {
        true => Some(scope(&mut cursor)?),
        false => None,
    };
    let statistic = statistic(&mut cursor)?;
    let (operator, operator_span) = operator(&mut cursor)?;
    let (number, mut limit_span) = cursor.number("a number, such as `0.005` or `2%`")?;
    let limit = match cursor.take('%') {
        Some(percent) => {
            limit_span.end = percent.end;
            Limit::Percent(number)
        }
        None => Limit::Number(number),
    };
    let level = level(&mut cursor, statistic)?;
    let rest = cursor.word();
    if rest.start < text.len() {
        let expected = match (level, limit) {
            (None, Limit::Number(_)) => "`%`, `@ 95%` or the end",
            (None, Limit::Percent(_)) => "`@ 95%` or the end",
            (Some(_), _) => "the end",
        };
        return Err(cursor.unexpected(rest, expected));
    }
    let spans = Spans { operator: operator_span, limit: limit_span };
    Ok(Gate { text: text.to_owned(), scope, statistic, operator, limit, level, spans })
}

/// Whether there is a colon outside of quotes.
fn has_scope(text: &str) -> bool {
    let mut quoted = false;
    text.chars().any(|c| {
        quoted ^= c == '"';
        c == ':' && !quoted
    })
}

fn scope(cursor: &mut Cursor<'_>) -> Result<Scope, SyntaxError> {
    let column = cursor.name(&['[', ':'], "the name of a column before `[` or `:`")?;
    let mut groups = Vec::new();
    if cursor.take('[').is_some() {
        loop {
            let name = cursor.name(&['=', ',', ']', ':'], "the name of a group column")?;
            cursor.expect('=')?;
            let value = cursor.name(&[',', ']', ':'], "a value")?;
            groups.push((name, value));
            if cursor.take(',').is_none() {
                break;
            }
        }
        cursor.expect(']')?;
    }
    cursor.expect(':')?;
    Ok(Scope { column, groups })
}

fn statistic(cursor: &mut Cursor<'_>) -> Result<Statistic, SyntaxError> {
    let word = cursor.word();
    let statistic = match &cursor.text[word.start..word.end] {
        "mean" => Statistic::Mean,
        "median" => Statistic::Quantile(50),
        "p90" => Statistic::Quantile(90),
        "p95" => Statistic::Quantile(95),
        "p99" => Statistic::Quantile(99),
        "max" => Statistic::Max,
        "share" => {
            cursor.at = word.end;
            cursor.expect('(')?;
            let (bound, _) = cursor.number("a number")?;
            cursor.expect(')')?;
            return Ok(Statistic::Share(bound));
        }
        _ => return Err(cursor.unexpected(word, STATISTICS)),
    };
    cursor.at = word.end;
    Ok(statistic)
}

fn operator(cursor: &mut Cursor<'_>) -> Result<(Operator, Span), SyntaxError> {
    for (sign, operator) in [('>', Operator::Above), ('<', Operator::Below)] {
        if let Some(span) = cursor.take(sign) {
            if cursor.text[cursor.at..].starts_with('=') {
                let span = Span { end: span.end + 1, ..span };
                let message = format!("expected `{sign}`, found `{sign}=`");
                return Err(cursor.error(span, &message));
            }
            return Ok((operator, span));
        }
    }
    let word = cursor.word();
    Err(cursor.unexpected(word, "`>` or `<`"))
}

fn level(cursor: &mut Cursor<'_>, statistic: Statistic) -> Result<Option<Confidence>, SyntaxError> {
    let Some(at) = cursor.take('@') else { return Ok(None) };
    if statistic != Statistic::Mean {
        return Err(
            cursor.error(at, "`@` goes with `mean` only: other statistics have no interval")
        );
    }
    let (percent, span) = cursor.number("a level of confidence, such as `95%`")?;
    cursor.expect('%')?;
    match Confidence::of_percent(percent) {
        Some(level) => Ok(Some(level)),
        None => Err(cursor.error(span, "expected a level above 0 and below 100 percent")),
    }
}

/// A position in the text of a condition.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl Cursor<'_> {
    fn skip_spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes `sign` if it comes next.
    fn take(&mut self, sign: char) -> Option<Span> {
        self.skip_spaces();
        if !self.text[self.at..].starts_with(sign) {
            return None;
        }
        let start = self.at;
        self.at += sign.len_utf8();
        Some(Span { start, end: self.at })
    }

    fn expect(&mut self, sign: char) -> Result<(), SyntaxError> {
        match self.take(sign) {
            Some(_) => Ok(()),
            None => {
                let word = self.word();
                Err(self.unexpected(word, &format!("`{sign}`")))
            }
        }
    }

    /// The word that comes next: letters and digits, or one other character, or nothing.
    fn word(&mut self) -> Span {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        let is_letter = |c: char| c.is_alphanumeric() || c == '_';
        let letters = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        let len = if letters > 0 { letters } else { rest.chars().next().map_or(0, char::len_utf8) };
        Span { start: self.at, end: self.at + len }
    }

    fn number(&mut self, expected: &str) -> Result<(Decimal, Span), SyntaxError> {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '+' | '-' | '_');
        let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let span = Span { start: self.at, end: self.at + len };
        match Decimal::parse(&rest[..len]) {
            Some(number) => {
                self.at = span.end;
                Ok((number, span))
            }
            None if len > 0 => Err(self.unexpected(span, expected)),
            None => {
                let word = self.word();
                Err(self.unexpected(word, expected))
            }
        }
    }

    /// A name that ends before one of `ends`, or a quoted one.
    fn name(&mut self, ends: &[char], expected: &str) -> Result<String, SyntaxError> {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        if rest.starts_with('"') {
            return self.quoted();
        }
        let len = rest.find(ends).unwrap_or(rest.len());
        let name = rest[..len].trim_end();
        if name.is_empty() {
            let word = self.word();
            return Err(self.unexpected(word, expected));
        }
        if let Some(quote) = name.find('"') {
            let start = self.at + quote;
            let message = "a name with `\"` must be quoted as a whole, as in CSV";
            return Err(self.error(Span { start, end: start + 1 }, message));
        }
        self.at += len;
        Ok(name.to_owned())
    }

    /// A name in quotes, in which two quotes stand for one.
    fn quoted(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        let mut name = String::new();
        let mut chars = self.text[start + 1..].char_indices().peekable();
        while let Some((index, c)) = chars.next() {
            if c != '"' {
                name.push(c);
            } else if chars.next_if(|&(_, next)| next == '"').is_some() {
                name.push('"');
            } else {
                self.at = start + 1 + index + 1;
                return Ok(name);
            }
        }
        let span = Span { start, end: self.text.len() };
        Err(self.error(span, "the closing `\"` is missing"))
    }

    fn error(&self, span: Span, message: &str) -> SyntaxError {
        SyntaxError::new(self.text, span, message.to_owned())
    }

    fn unexpected(&self, span: Span, expected: &str) -> SyntaxError {
        let found = match &self.text[span.start..span.end] {
            "" => "the end".to_owned(),
            word => format!("`{word}`"),
        };
        self.error(span, &format!("expected {expected}, found {found}"))
    }
}
