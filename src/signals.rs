//! Signals that stop a run: TERM, INT, USR1 and USR2.
//!
//! The first signal is a request, which the pipeline checks many times a second: it writes what is
//! scored, and drops what is in flight. The second one ends the process at once, as `kill -9` does.
//! Finished rows are safe either way. Before anything is scored, the first one ends the process at
//! once, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;

use crate::error::Exit;

/// Names and numbers.
const SIGNALS: [(&str, i32); 4] =
    [("SIGTERM", SIGTERM), ("SIGINT", SIGINT), ("SIGUSR1", SIGUSR1), ("SIGUSR2", SIGUSR2)];

/// Makes a write beyond the limit of file sizes (`ulimit -f`) an error, where the system's signal
/// would end the process without a message.
///
/// # Errors
/// When the signal cannot be handled.
pub fn report_file_limit() -> anyhow::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop).context("cannot handle SIGXFSZ")
}

/// A request to stop the run.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The number of the first signal, or 0.
    signal: Arc<AtomicUsize>,
    /// Whether the next signal ends the process.
    is_next_last: Arc<AtomicBool>,
}

/// A signal that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal(i32);

impl Stop {
    /// Installs the signal handlers. Until [`Stop::begin`] a signal ends the process at once.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub fn on_signals() -> anyhow::Result<Stop> {
        let stop = Stop::default();
        stop.is_next_last.store(true, Ordering::Relaxed);
        for (name, signal) in SIGNALS {
            let context = || format!("cannot handle {name}");
            let exit = Signal(signal).exit() as i32;
            // In this order, so that the flag is not yet set when the first signal checks it.
            let is_last = &stop.is_next_last;
            flag::register_conditional_shutdown(signal, exit, Arc::clone(is_last))
                .with_context(context)?;
            flag::register(signal, Arc::clone(is_last)).with_context(context)?;
            // Signal numbers are small and positive.
            flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)
                .with_context(context)?;
        }
        Ok(stop)
    }

    /// From now on the first signal is a request, which [`Stop::signal`] returns.
    pub fn begin(&self) {
        self.is_next_last.store(false, Ordering::Relaxed);
    }

    /// The first signal that was received.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok().map(Signal),
        }
    }

    /// Requests a stop, as SIGTERM does.
    pub fn request(&self) {
        self.signal.store(SIGTERM as usize, Ordering::Relaxed);
    }
}

impl Signal {
    /// The exit code after this signal.
    #[must_use]
    pub fn exit(self) -> Exit {
        if self.0 == SIGINT { Exit::Interrupted } else { Exit::Terminated }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = SIGNALS.iter().find(|(_, signal)| *signal == self.0);
        f.write_str(name.map_or("a signal", |(name, _)| name))
    }
}
