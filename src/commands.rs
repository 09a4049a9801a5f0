//! One module per command: what happens between resolved arguments and an exit code.

mod begin;
pub mod check;
pub mod doctor;
mod ending;
pub mod eval;
mod evaluator;
mod finish;
pub mod merge;
pub mod shell;
pub mod weights;
