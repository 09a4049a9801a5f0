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

/// The progress of a check: a bar on a terminal, nothing elsewhere.
#[derive(Debug)]
pub struct Examination(ProgressBar);

impl Examination {
    /// Shows a bar for `pairs` pairs.
    #[must_use]
    pub fn new(pairs: usize) -> Examination {
        let bar = ProgressBar::new(pairs as u64);
        let template = "checking {wide_bar} {pos}/{len} pairs, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Examination(bar)
    }

    /// Shows that so many more pairs are examined.
    pub fn add(&self, pairs: usize) {
        self.0.inc(pairs as u64);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// The progress of a page: a bar on a terminal, nothing elsewhere.
#[derive(Debug)]
pub struct Drawing(ProgressBar);

impl Drawing {
    /// Shows a bar for so many items.
    #[must_use]
    pub fn new(items: usize) -> Drawing {
        let bar = ProgressBar::new(items as u64);
        let template = "drawing {wide_bar} {pos}/{len} items, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Drawing(bar)
    }

    /// Shows that so many more items are drawn.
    pub fn add(&self, items: usize) {
        self.0.inc(items as u64);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
