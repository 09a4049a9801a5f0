//! Bars of what is no run: downloads and checks.

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of a download: a bar on a terminal, nothing elsewhere.
#[derive(Debug)]
pub struct Download(ProgressBar);

impl Download {
    /// Shows a bar for the download of `name`.
    #[must_use]
    pub fn new(name: &str) -> Download {
        let bar = ProgressBar::no_length();
        let template = "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        Download(bar)
    }

    /// Shows that `have` bytes were received, of `total` if that is known.
    pub fn set(&mut self, have: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.0.set_length(total);
        }
        self.0.set_position(have);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// The progress of work that is counted: a bar on a terminal, nothing elsewhere.
#[derive(Debug)]
pub struct Count(ProgressBar);

impl Count {
    /// Shows a bar for `total` of `things`; `doing` says what is done with them.
    #[must_use]
    pub fn new(doing: &str, total: usize, things: &str) -> Count {
        let bar = ProgressBar::new(total as u64);
        let template = format!("{doing} {{wide_bar}} {{pos}}/{{len}} {things}, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Count(bar)
    }

    /// Shows that so many more are done.
    pub fn add(&self, done: usize) {
        self.0.inc(done as u64);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
