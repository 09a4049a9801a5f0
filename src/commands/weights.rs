//! `lpips weights list|verify`.

use std::io::Write as _;

use crate::cli::{WeightsArgs, WeightsCommand};
use crate::error::Exit;
use crate::net::weights::{Listed, SearchPath, list_all, verify};

/// Prints a line per file on stdout; with `verify`, reads and hashes each.
///
/// # Errors
/// When stdout is closed.
pub fn run(args: &WeightsArgs) -> anyhow::Result<Exit> {
    let mut exit = Exit::Complete;
    let mut out = std::io::stdout().lock();
    for listed in list_all(&SearchPath::new(args.weights_dir.as_deref())) {
        let (line, good) = match args.command {
            WeightsCommand::List => (list_line(&listed), true),
            WeightsCommand::Verify => verify_line(&listed),
        };
        writeln!(out, "{line}")?;
        if !good {
            exit = Exit::Environment;
        }
    }
    Ok(exit)
}

fn list_line(listed: &Listed) -> String {
    let expected = listed.expected.unwrap_or("none published: any file of the right shapes");
    match &listed.source {
        Ok(source) => format!("{:8} {source}; SHA-256 {expected}", listed.name),
        Err(missing) => {
            format!("{:8} absent: {missing}\n         hint: {}", listed.name, missing.remedy())
        }
    }
}

/// Absent files are told, but are no fault: nobody needs every net.
fn verify_line(listed: &Listed) -> (String, bool) {
    let Ok(source) = &listed.source else { return (list_line(listed), true) };
    match verify(listed) {
        Ok(sha256) => (format!("{:8} good: {source}; SHA-256 {sha256}", listed.name), true),
        Err(error) => (format!("{:8} BAD: {error:#}", listed.name), false),
    }
}
