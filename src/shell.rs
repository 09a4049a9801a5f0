//! Words of a command line that a message prints, such that a POSIX shell reads them unchanged.

use std::borrow::Cow;

/// `word`, between single quotes where a shell would read it otherwise.
#[must_use]
pub fn word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")).into(),
    }
}

/// An option with its value. A value that begins with a hyphen is part of one word, so that it is
/// not read as an option.
#[must_use]
pub fn option(name: &str, value: &str) -> String {
    match value.starts_with('-') {
        true => word(&format!("{name}={value}")).into_owned(),
        false => format!("{name} {}", word(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_them_otherwise() {
        for (text, expected) in [
            ("hr/0801.png", "hr/0801.png"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("hr/{item}.png", "'hr/{item}.png'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), expected);
        }
    }

    #[test]
    fn a_value_with_a_hyphen_belongs_to_its_option() {
        assert_eq!(option("--dist-suffix", "_x4"), "--dist-suffix _x4");
        assert_eq!(option("--dist-suffix", "-x4"), "--dist-suffix=-x4");
        assert_eq!(option("--dist-suffix", "- x"), "'--dist-suffix=- x'");
    }
}
