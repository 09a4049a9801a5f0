//! Paired differences of scores, and what they prove: tests, intervals, verdicts and gates.
//!
//! This module depends on numbers, ids and conditions, and not on files, run directories and
//! the command line: `commands::compare` reads inputs and writes reports.
//!
//! Everything here gives the same bits on every machine and with any number of threads.
//! Differences become integers before they are added ([`subsets`]), and limits, levels and ranks
//! are exact decimals ([`decimal`]). docs/statistics.md explains the methods in plain words.

pub mod align;
pub mod assess;
pub mod decimal;
pub mod gate;
pub mod noise;
pub mod numbers;
pub mod ranking;
pub mod subsets;
pub mod tolerance;
pub mod verdict;
