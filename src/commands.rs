//! One module per command: what happens between resolved arguments and an exit code.

pub mod check;
pub mod compare;
pub mod doctor;
pub mod eval;
mod finish;
mod gates;
mod inputs;
pub mod merge;
mod messages;
mod missing;
mod outputs;
mod protocol;
mod ranking;
mod references;
pub mod report;
mod rows;
mod script;
pub mod shell;
mod start;
mod threads;
pub mod weights;
