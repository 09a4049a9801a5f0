//! The run directory: its files, what has been agreed on, what is finished, and the tables.
//!
//! A run directory holds `plan.json`, on which all processes of the run have agreed, a copy of the
//! manifest, a journal per attempt at a shard, and in the end `pairs.csv`, `summary.csv` and
//! `run.json`, which appear by rename. This module depends on files and columns, and not on how
//! scores are made.

pub mod attempt;
pub mod cells;
pub mod counts;
mod dir;
pub mod disk;
pub mod facts;
pub mod finished;
mod identity;
pub mod inputs;
pub mod joined;
pub mod journal;
pub mod known;
pub mod maps;
pub mod outputs;
pub mod owner;
pub mod plan;
mod reads;
pub mod records;
pub mod resume;
pub mod reuse;
pub mod tables;
pub mod twoafc;

pub use self::dir::{RunDir, names};
pub use self::identity::Identical;
pub use self::reads::Changed;
