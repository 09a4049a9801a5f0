//! `lpips report`: reads the runs, ranks their methods, and writes tables and a page.

mod gather;
mod maps;
mod pairs;

use std::path::Path;

use self::gather::{Gathered, gather};
use super::outputs;
use crate::cli::ReportArgs;
use crate::error::{Exit, Refusal};
use crate::progress::print_line;
use crate::report::{self, markdown::markdown};
use crate::run::cells::TextCells;
use crate::spool::Spool;

/// Writes the leaderboard of runs.
///
/// # Errors
/// When a run cannot be read, runs do not fit together, or an output cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<Exit> {
    let ReportArgs { html, markdown: md, latex, csv, json, .. } = args;
    outputs::check(&[html, md, latex, csv, json])?;
    if html.as_deref() == Some(Path::new("-")) {
        return Err(Refusal::usage("`--html` writes a file")
            .hint("name it, such as `--html report.html`")
            .into());
    }
    let roots = pairs::roots(&args.root)?;
    super::threads::start(None)?;
    // Tables of runs that are not finished.
    let spool = Spool::create()?;
    let gathered = gather(args, &spool)?;
    let Gathered { board, .. } = &gathered;
    for text in board.unfinished().iter().chain(&board.warnings) {
        print_line(&format!("warning: {text}"));
    }
    let text = TextCells::of(args.csv_safe);
    let write = |content: Vec<u8>, path: &Path| outputs::write(content, Some(path));
    if let Some(path) = md {
        write(markdown(board).into_bytes(), path)?;
    }
    if let Some(path) = latex {
        write(report::latex(board).into_bytes(), path)?;
    }
    if let Some(path) = csv {
        write(report::csv(board, |cell| text.write(cell))?, path)?;
    }
    if let Some(path) = json {
        write(outputs::pretty(&report::json(board))?, path)?;
    }
    if let Some(path) = html {
        write(pairs::page(&gathered, args, &roots)?.into_bytes(), path)?;
    }
    if [html, md, latex, csv, json].iter().all(|output| output.is_none()) {
        outputs::write(markdown(board), None)?;
    }
    Ok(Exit::Complete)
}
