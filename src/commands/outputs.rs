//! Files that a command writes beside or instead of what it prints: `FILE`, or `-` for stdout.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::error::Refusal;
use crate::stdout;

/// Refuses several outputs to stdout.
///
/// # Errors
/// A [`Refusal`].
pub(super) fn check(outputs: &[&Option<PathBuf>]) -> Result<(), Refusal> {
    let to_stdout = outputs.iter().copied().flatten().filter(|path| is_stdout(path)).count();
    if to_stdout > 1 {
        return Err(Refusal::usage(format!("{to_stdout} outputs are to be written to stdout"))
            .hint("write `-` for one of them, and names of files for the others"));
    }
    Ok(())
}

/// Whether one of the outputs goes to stdout.
pub(super) fn go_to_stdout(outputs: &[&Option<PathBuf>]) -> bool {
    outputs.iter().copied().flatten().any(|path| is_stdout(path))
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// JSON for people and programs.
///
/// # Errors
/// Never, since keys are strings.
pub(super) fn pretty(value: &serde_json::Value) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Writes to a file, or to stdout.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(content: impl AsRef<[u8]>, path: Option<&Path>) -> anyhow::Result<()> {
    let content = content.as_ref();
    match path.filter(|path| !is_stdout(path)) {
        Some(path) => fs_err::write(path, content).with_context(|| {
            Refusal::environment(format!("cannot write `{}`", path.display()))
                .hint("name a file in a folder that can be written")
        }),
        None => {
            let mut out = stdout::data();
            out.write_all(content).and_then(|()| out.flush()).with_context(|| {
                Refusal::environment("cannot write to stdout").hint("see whether the disk is full")
            })
        }
    }
}
