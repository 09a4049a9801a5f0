//! The threads that the steps of a command share.

use anyhow::Context as _;

use crate::memory;

/// Starts them, so that a limit of threads is an error here and not a panic later. Without a number
/// there is one for each processor. Threads that run already are kept.
///
/// # Errors
/// When the system has no threads left.
pub(super) fn start(threads: Option<usize>) -> anyhow::Result<()> {
    memory::share_arenas();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    match pool.build_global() {
        // Of all errors only that of a second pool has no cause.
        Err(error) if std::error::Error::source(&error).is_some() => {
            Err(error).context("cannot start the threads of the program")
        }
        _ => Ok(()),
    }
}
