//! `lpips weights`: what is there, what comes and what goes.

mod files;

use std::io::Write as _;

use crate::cli::{WeightsArgs, WeightsCommand};
use crate::error::Exit;
use crate::net::Net;
use crate::net::weights::{Listed, SearchPath, list_all, verify};
use crate::progress::shown;
use crate::stdout;

/// Prints a line per file on stdout, or moves weights.
///
/// # Errors
/// When stdout cannot be written, or a file is not what it should be or cannot be written.
pub fn run(args: &WeightsArgs) -> anyhow::Result<Exit> {
    let search = SearchPath::new(args.weights_dir.as_deref());
    match &args.command {
        WeightsCommand::List => each(&search, &|listed| (list_line(listed), true)),
        WeightsCommand::Verify { net } => each(&search, &|listed| verify_line(listed, net)),
        WeightsCommand::Import { file, output } => files::import(file, output.as_deref(), &search),
        WeightsCommand::Fetch { net, url } => files::fetch(*net, url.as_deref(), &search),
        WeightsCommand::Export { net, lpips_version, output } => {
            files::export(*net, *lpips_version, output, &search)
        }
    }
}

/// A line for each file, below it the remedy if it is absent, and whether all are good.
fn each(search: &SearchPath, line: &dyn Fn(&Listed) -> (String, bool)) -> anyhow::Result<Exit> {
    let mut exit = Exit::Complete;
    let mut out = stdout::data();
    for listed in list_all(search) {
        let (line, good) = line(&listed);
        writeln!(out, "{:8} {}", listed.name, shown(&line))?;
        if let Err(missing) = &listed.source {
            writeln!(out, "{:8} hint: {}", "", shown(&missing.remedy()))?;
        }
        if !good {
            exit = Exit::Environment;
        }
    }
    Ok(exit)
}

fn list_line(listed: &Listed) -> String {
    match &listed.source {
        Ok(source) => format!("{source}; SHA-256 {}", listed.expected),
        Err(missing) => format!("absent: {missing}"),
    }
}

/// Absent weights are a fault only if they are among those that were named.
fn verify_line(listed: &Listed, named: &[Net]) -> (String, bool) {
    let Ok(source) = &listed.source else {
        let is_named = named.iter().any(|net| net.name() == listed.name);
        return (list_line(listed), !is_named);
    };
    match verify(listed) {
        Ok(sha256) => (format!("good: {source}; SHA-256 {sha256}"), true),
        Err(error) => (format!("BAD: {error:#}"), false),
    }
}
