//! The batch script that scores a shard, as a journal states it: text that may hold anything.
//!
//! `lpips merge` prints a line that people run. So the text is read as plain words, the first of
//! which must be a file outside the run directory, and the line is made from these words alone,
//! quoted anew.

use std::path::Path;

use crate::progress::shown;
use crate::shell;

/// A script and its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Script(Vec<String>);

impl Script {
    /// Reads the words of `text`, as bash's `printf %q` writes them.
    ///
    /// # Errors
    /// Why it is not printed: a sentence without its subject, which is the script.
    pub(super) fn parse(text: &str, run_dir: &Path) -> Result<Script, String> {
        let words = words(text).ok_or("its arguments are not plain words")?;
        let script = words.first().map_or(Path::new(""), Path::new);
        if !script.is_absolute() || !script.is_file() {
            let name = script.display().to_string();
            return Err(format!("`{}` is no absolute path of a file", shown(&name)));
        }
        let real = |path: &Path| fs_err::canonicalize(path).ok();
        if real(run_dir).is_none_or(|folder| real(script).is_none_or(|at| at.starts_with(folder))) {
            return Err("it lies in the run directory".to_owned());
        }
        Ok(Script(words))
    }
}

impl std::fmt::Display for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<_> = self.0.iter().map(|word| shell::word(word)).collect();
        f.write_str(&words.join(" "))
    }
}

/// Splits at white space, and takes backslashes and single quotes away. `None` if there is anything
/// else that a shell would not take unchanged, or a control character.
fn words(text: &str) -> Option<Vec<String>> {
    if text.contains(|c: char| c.is_control()) {
        return None;
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            c if "\"$`;&|<>()*?[]{}!".contains(c) => return None,
            '~' | '#' if word.is_none() => return None,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_quoted_anew() {
        let cases = [
            ("/a/b.sbatch 16 run", Some("/a/b.sbatch 16 run")),
            (r"/a\ b 'c d' ''", Some("'/a b' 'c d' ''")),
            (r"/a it\'s \$x", Some(r"/a 'it'\''s' '$x'")),
            ("/a;rm -rf x", None),
            ("/a $(rm x)", None),
            ("/a `rm x`", None),
            ("/a\nrm x", None),
            ("/a 'open", None),
            ("/a \\", None),
        ];
        for (text, expected) in cases {
            let found = words(text).map(|words| Script(words).to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_script_is_a_file_outside_the_run_directory() {
        let folder = tempfile::tempdir().unwrap();
        let (run_dir, script) = (folder.path().join("run"), folder.path().join("a.sbatch"));
        fs_err::create_dir(&run_dir).unwrap();
        fs_err::write(&script, "").unwrap();
        fs_err::write(run_dir.join("b.sbatch"), "").unwrap();
        let parse = |text: &str| Script::parse(text, &run_dir);
        let line = format!("{} 16 run", script.display());
        assert_eq!(parse(&line).unwrap().to_string(), line);
        let inside = format!("{}/../run/b.sbatch", run_dir.display());
        for text in ["", "--wrap=id", "a.sbatch", "/no/such.sbatch", &inside] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
