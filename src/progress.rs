//! Progress of a run on stderr: a bar on a terminal, a line every 30 seconds elsewhere, or JSON for
//! programs.
//!
//! Everything goes to stderr; stdout is for data.

mod bars;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

pub use self::bars::{Count, Download};
use crate::run::counts::Counts;

/// Seconds between two lines where stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Seconds between two lines for programs.
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// Length of the bar, in characters.
const BAR_CELLS: usize = 30;

/// How much is printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Progress and results.
    Normal,
    /// Decisions as well.
    Verbose,
}

/// Writes a line to stderr. A closed stderr does not stop a run.
///
/// Ids, paths and messages of libraries are data: what could steer a terminal is escaped.
pub fn print_line(line: &str) {
    match JSON_LINES.load(Ordering::Relaxed) {
        true => print_json(&serde_json::json!({ "event": "message", "text": line })),
        false => {
            let _ = writeln!(std::io::stderr(), "{}", escaped(line, |c| c == '\n'));
        }
    }
}

/// Whether every line on stderr is an object in JSON.
static JSON_LINES: AtomicBool = AtomicBool::new(false);

/// From now on every line on stderr is an object in JSON, for programs: [`Style::Jsonl`].
pub fn use_json_lines() {
    JSON_LINES.store(true, Ordering::Relaxed);
}

/// Prints the error that ends the program.
pub fn print_error(error: &anyhow::Error, exit: u8) {
    let rendered = crate::error::render(error);
    match JSON_LINES.load(Ordering::Relaxed) {
        true => {
            let (text, hint) = rendered.split_once("\nhint: ").unzip();
            let text = text.unwrap_or(&rendered).trim_start_matches("error: ");
            let event = serde_json::json!({
                "event": "error", "exit": exit, "error": text, "hint": hint,
            });
            print_json(&event);
        }
        false => print_line(&rendered),
    }
}

/// A closed stderr does not stop a run. JSON escapes control characters itself.
fn print_json(event: &impl Serialize) {
    // Numbers and strings always serialise.
    let line = serde_json::to_string(event).unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "{}", escaped(&line, |_| false));
}

/// A name as a part of a line: what could steer a terminal, or begin another line, is escaped.
#[must_use]
pub fn shown(name: &str) -> Cow<'_, str> {
    escaped(name, |_| false)
}

/// Escapes control characters, and those that change the direction of text, unless `is_kept`.
fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_direction = |c: char| {
        let code = u32::from(c);
        [0x200e..=0x200f, 0x202a..=0x202e, 0x2066..=0x2069].iter().any(|one| one.contains(&code))
    };
    let steers = |c: char| (c.is_control() || is_direction(c)) && !is_kept(c);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match steers(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// How progress is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Style {
    /// A bar on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// A bar with rate, remaining time and failures.
    Bar,
    /// A line every 30 seconds.
    Lines,
    /// A JSON object a second, one a line, for programs.
    Jsonl,
    /// Nothing until the end.
    Off,
}

/// One line of [`Style::Jsonl`].
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Event<'a> {
    /// `progress`, and at the end `finished` or `stopped`.
    event: &'static str,
    /// Pairs that this process has to score.
    expected: usize,
    /// Those of them that were scored or failed.
    done: usize,
    failed: usize,
    elapsed_s: f64,
    pairs_per_s: f64,
    /// Estimated seconds until the end; null before the first pair.
    eta_s: Option<f64>,
    /// The mean of each column over the pairs that this process has scored; `"inf"` if it is
    /// infinite.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    means: BTreeMap<&'a str, Mean>,
    /// Failed pairs by the code of their reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    failures: BTreeMap<String, usize>,
    /// Pairs with a warning, by code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    warnings: BTreeMap<&'static str, usize>,
    /// What was written; only at the end.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    files: &'a [String],
    /// Why the run cannot continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A mean in JSON.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(untagged)]
enum Mean {
    Finite(f64),
    Infinite(&'static str),
}

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    expected: usize,
    started: Instant,
    counts: Counts,
    columns: Vec<String>,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Instant },
    Jsonl { last: Instant },
}

impl Progress {
    /// Starts to show the progress of `expected` pairs.
    #[must_use]
    pub fn new(expected: usize, style: Style, verbosity: Verbosity) -> Progress {
        let started = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        let shown = match style {
            _ if verbosity == Verbosity::Quiet => Shown::Nothing,
            Style::Off => Shown::Nothing,
            Style::Jsonl => Shown::Jsonl { last: started },
            Style::Lines => Shown::Lines { last: started },
            Style::Auto if !is_terminal => Shown::Lines { last: started },
            Style::Auto | Style::Bar => Shown::Bar(bar(ProgressDrawTarget::stderr())),
        };
        let (counts, columns) = (Counts::default(), Vec::new());
        let progress = Progress { expected, started, counts, columns, shown };
        if let Shown::Jsonl { .. } = progress.shown {
            progress.print_event("progress", &[]);
        }
        progress
    }

    /// Names the columns whose means events for programs carry.
    pub fn name_columns(&mut self, names: impl Iterator<Item = String>) {
        self.columns = names.collect();
    }

    /// The mean of each column so far.
    fn means(&self) -> BTreeMap<&str, Mean> {
        let sums = self.columns.iter().zip(&self.counts.sums).filter(|(_, (_, count))| *count > 0);
        let mean = |sum: f64, count: usize| match sum / count as f64 {
            mean if mean.is_finite() => Mean::Finite(mean),
            _ => Mean::Infinite("inf"),
        };
        sums.map(|(name, &(sum, count))| (name.as_str(), mean(sum, count))).collect()
    }

    /// Seconds since the start.
    #[must_use]
    pub fn elapsed_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Shows how many pairs are done.
    pub fn set(&mut self, counts: &Counts) {
        self.counts.clone_from(counts);
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                let elapsed_s = self.started.elapsed().as_secs_f64();
                bar.set_message(bar_line(&self.counts, self.expected, elapsed_s));
            }
            Shown::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                print_line(&line(
                    &self.counts,
                    self.expected,
                    self.started.elapsed().as_secs_f64(),
                ));
            }
            Shown::Jsonl { last } if last.elapsed() >= EVENT_EVERY => {
                *last = Instant::now();
                self.print_event("progress", &[]);
            }
            Shown::Lines { .. } | Shown::Jsonl { .. } => {}
        }
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    /// Prints the event of a finished run with the files that it wrote. Returns false, and prints
    /// nothing, if the style is not [`Style::Jsonl`].
    pub fn print_finished(&self, files: &[String]) -> bool {
        let is_machine = matches!(self.shown, Shown::Jsonl { .. });
        if is_machine {
            self.print_event("finished", files);
        }
        is_machine
    }

    fn print_event(&self, event: &'static str, files: &[String]) {
        let of = event_of(event, &self.counts, self.expected, self.elapsed_s(), files);
        print_json(&Event { means: self.means(), ..of });
    }

    /// Prints the event of a run that ends early, if the style is [`Style::Jsonl`]. `main` prints
    /// the error itself.
    pub fn print_stopped(&self, error: &anyhow::Error) {
        if matches!(self.shown, Shown::Jsonl { .. }) {
            let event = event_of("stopped", &self.counts, self.expected, self.elapsed_s(), &[]);
            let error = Some(format!("{error:#}"));
            print_json(&Event { means: self.means(), error, ..event });
        }
    }
}

fn event_of<'a>(
    event: &'static str,
    counts: &Counts,
    expected: usize,
    elapsed_s: f64,
    files: &'a [String],
) -> Event<'a> {
    let done = counts.scored + counts.failed;
    let pairs_per_s = done as f64 / elapsed_s.max(1e-9);
    let eta_s = (done > 0).then(|| (expected - done) as f64 / pairs_per_s);
    let warnings = counts.warnings();
    let (failed, failures) = (counts.failed, counts.failure_codes());
    Event {
        event,
        expected,
        done,
        failed,
        elapsed_s,
        pairs_per_s,
        eta_s,
        means: BTreeMap::new(),
        failures,
        warnings,
        files,
        error: None,
    }
}

/// A line that ends where the terminal does, at every draw: however narrow it is, or becomes.
fn bar(target: ProgressDrawTarget) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The numbers, and behind them, where a narrow terminal cuts, the bar.
fn bar_line(counts: &Counts, expected: usize, elapsed_s: f64) -> String {
    let full = counts.done() * BAR_CELLS / expected.max(1);
    let (full, empty) = ("█".repeat(full), "░".repeat(BAR_CELLS - full));
    format!("{} {full}{empty}", line(counts, expected, elapsed_s))
}

fn line(counts: &Counts, expected: usize, elapsed_s: f64) -> String {
    let done = counts.scored + counts.failed;
    let rate = done as f64 / elapsed_s.max(1e-9);
    let eta = humanized((expected - done) as f64 / rate.max(1e-9));
    let failed = match counts.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    format!("{done}/{expected} pairs, {rate:.1} pairs/s, ETA {eta}{failed}")
}

/// `4.2 s`, `42 s`, `3 min 05 s` or `2 h 07 min`.
#[must_use]
pub fn humanized(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.min(1e9).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    #[test]
    fn a_line_has_rate_remaining_time_and_failures() {
        let counts = Counts { scored: 90, failed: 10, ..Counts::default() };
        assert_eq!(
            line(&counts, 400, 50.0),
            "100/400 pairs, 2.0 pairs/s, ETA 2 min 30 s, 10 failed"
        );
        let counts = Counts { scored: 400, ..Counts::default() };
        assert_eq!(line(&counts, 400, 10.0), "400/400 pairs, 40.0 pairs/s, ETA 0.0 s");
    }

    /// A terminal whose width changes.
    #[derive(Clone, Debug, Default)]
    struct Terminal(Arc<Mutex<(u16, Vec<String>)>>);

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            self.0.lock().unwrap().0
        }
        fn move_cursor_up(&self, _n: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _n: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _n: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _n: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.0.lock().unwrap().1.push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_fits_every_width_and_those_that_follow() {
        let terminal = Terminal::default();
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let bar = bar(target);
        bar.disable_steady_tick();
        let counts = Counts { scored: 1_234_000, failed: 566, ..Counts::default() };
        bar.set_message(bar_line(&counts, 2_000_000, 3700.0));
        let whole = "1234566/2000000 pairs, 333.7 pairs/s, ETA 38 min 14 s, 566 failed \
                     ██████████████████░░░░░░░░░░░░";
        for width in [200, 120, 79, 20, 7, 1, 50] {
            *terminal.0.lock().unwrap() = (width, Vec::new());
            bar.tick();
            let drawn: String = terminal.0.lock().unwrap().1.concat();
            let drawn = drawn.trim_start_matches('\r').trim_end();
            let fitting: String = whole.chars().take(width.into()).collect();
            assert_eq!(drawn, fitting.trim_end(), "{width}");
        }
    }

    #[test]
    fn an_event_for_programs_has_numbers_only() {
        let counts = Counts { scored: 90, failed: 10, ..Counts::default() };
        let event = event_of("progress", &counts, 400, 50.0, &[]);
        let expected = r#"{"event":"progress","expected":400,"done":100,"failed":10,"#.to_owned()
            + r#""elapsed_s":50.0,"pairs_per_s":2.0,"eta_s":150.0}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), expected);
        let event = event_of("progress", &Counts::default(), 400, 0.0, &[]);
        assert!(serde_json::to_string(&event).unwrap().contains("\"eta_s\":null"));
    }
}
