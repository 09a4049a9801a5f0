//! What people are told while a run goes on: a bar on a terminal, a line now and then elsewhere.
//!
//! Everything goes to stderr; stdout is for data. This is the only module that looks at the clock
//! for the sake of people.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::pipeline::Counts;

/// Seconds between two lines where stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// How much people want to be told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Progress and results.
    Normal,
    /// Decisions as well.
    Verbose,
}

/// Writes a line to stderr. A closed stderr is no reason to lose a run.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    expected: usize,
    started: Instant,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// Starts to show the progress of `expected` pairs.
    #[must_use]
    pub fn new(expected: usize, verbosity: Verbosity) -> Progress {
        let started = Instant::now();
        let shown = if verbosity == Verbosity::Quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            Shown::Bar(bar(expected as u64))
        } else {
            Shown::Lines { last: started }
        };
        Progress { expected, started, shown }
    }

    /// Seconds since the start.
    #[must_use]
    pub fn elapsed_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Says how many pairs are done.
    pub fn set(&mut self, counts: Counts) {
        let done = counts.scored + counts.failed;
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                if counts.failed > 0 {
                    bar.set_message(format!(", {} failed", counts.failed));
                }
                bar.set_position(done as u64);
            }
            Shown::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                tell(&line(counts, self.expected, self.started.elapsed().as_secs_f64()));
            }
            Shown::Lines { .. } => {}
        }
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(expected: u64) -> ProgressBar {
    let template = "{bar:32} {pos}/{len} pairs, {per_sec}, ETA {eta}{msg}";
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("per_sec", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            // A formatter that fails leaves the bar short, nothing more.
            let _ = write!(out, "{:.1} pairs/s", state.per_sec());
        });
    let bar = ProgressBar::with_draw_target(Some(expected), ProgressDrawTarget::stderr());
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn line(counts: Counts, expected: usize, elapsed_s: f64) -> String {
    let done = counts.scored + counts.failed;
    let rate = done as f64 / elapsed_s.max(1e-9);
    let eta = humanized((expected - done) as f64 / rate.max(1e-9));
    let failed = match counts.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    format!("{done}/{expected} pairs, {rate:.1} pairs/s, ETA {eta}{failed}")
}

/// `42 s`, `3 min 05 s` or `2 h 07 min`.
#[must_use]
pub fn humanized(seconds: f64) -> String {
    let seconds = seconds.min(1e9).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_remaining_time_and_failures() {
        let counts = Counts { scored: 90, failed: 10 };
        assert_eq!(
            line(counts, 400, 50.0),
            "100/400 pairs, 2.0 pairs/s, ETA 2 min 30 s, 10 failed"
        );
        let counts = Counts { scored: 400, failed: 0 };
        assert_eq!(line(counts, 400, 10.0), "400/400 pairs, 40.0 pairs/s, ETA 0 s");
    }
}
