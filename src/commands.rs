//! One module per command: what happens between resolved arguments and an exit code.

pub mod eval;
pub mod weights;
