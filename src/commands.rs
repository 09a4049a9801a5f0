//! One module per command: what happens between resolved arguments and an exit code.

pub mod check;
mod ending;
pub mod eval;
mod evaluator;
pub mod shell;
pub mod weights;
