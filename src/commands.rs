//! One module per command: what happens between resolved arguments and an exit code.

pub mod check;
pub mod eval;
mod evaluator;
mod ranking;
pub mod shell;
pub mod weights;
