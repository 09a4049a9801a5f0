//! What is checked and counted while a manifest is opened.

use std::io::ErrorKind;

use super::*;

/// A pipe would be empty when it is read again, and a device never ends.
pub(super) fn expect_file(location: &Location) -> anyhow::Result<()> {
    let of = fs_err::metadata(&location.file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => cannot_read(&location.file).into(),
        _ => anyhow::Error::new(error).context(cannot_read(&location.file)),
    })?;
    if of.is_dir() {
        return Err(cannot_read(&location.file).into());
    }
    let refusal = if !of.is_file() {
        let refusal = Refusal::inputs("not a regular file");
        refusal.hint("name a CSV, TSV or JSON-lines file, or `-` and pipe the rows into it")
    } else if of.len() > BYTES_MAX {
        let text = format!("{} bytes; at most {BYTES_MAX} are read", of.len());
        Refusal::inputs(text).hint("split the manifest")
    } else {
        return Ok(());
    };
    Err(location.located(refusal).into())
}

/// The hint guesses what was meant instead.
pub(super) fn cannot_read(file: &Path) -> Refusal {
    let shown = file.display();
    let why = if file.exists() { "" } else { ": there is no such file" };
    let refusal = Refusal::inputs(format!("cannot read the manifest `{shown}`{why}"));
    match nearest_file(file) {
        _ if file.is_dir() => refusal.hint("to pair folders by name, use `--ref DIR --dist DIR`"),
        Some(near) if !file.exists() => refusal.hint(format!("did you mean `{near}`?")),
        _ => refusal.hint("name a CSV, TSV or JSON-lines file that can be read"),
    }
}

/// Why a file of JSON lines names no columns.
pub(super) fn no_object(location: &Location) -> Refusal {
    let is_empty = fs_err::metadata(&location.file).is_ok_and(|of| of.len() == 0);
    let what = if is_empty { "the file is empty" } else { "the first line has no key" };
    location
        .located(Refusal::inputs(what))
        .hint("write one object a line: {\"ref\": \"a.png\", \"dist\": \"b.png\"}")
}

/// A file that is read once to the end; counts its bytes, line feeds and carriage returns.
pub(super) struct Counted<'a> {
    pub(super) file: &'a mut File,
    pub(super) ends: [usize; 2],
    pub(super) bytes: usize,
}

impl std::io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.file.read(buffer)?;
        for (count, end) in self.ends.iter_mut().zip(*b"\n\r") {
            *count += buffer[..len].iter().filter(|&&byte| byte == end).count();
        }
        self.bytes += len;
        Ok(len)
    }
}

/// Sorts rows so that those of one reference are together, references by their first row.
pub(super) fn scoring_order(mut references: Vec<(u64, Row)>) -> Vec<Row> {
    references.sort_unstable();
    let mut firsts: Vec<(Row, Row)> = Vec::with_capacity(references.len());
    for same in references.chunk_by(|a, b| a.0 == b.0) {
        firsts.extend(same.iter().map(|&(_, row)| (same[0].1, row)));
    }
    drop(references);
    firsts.sort_unstable();
    firsts.into_iter().map(|(_, row)| row).collect()
}
