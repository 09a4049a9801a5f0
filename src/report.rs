//! A leaderboard: methods ranked by metrics within groups, as Markdown, LaTeX, CSV, JSON and one
//! HTML page.
//!
//! Everything is a pure function of a [`Board`] and, for the page, of the pairs to show. This
//! module does not depend on files, run directories and the command line: `commands::report`
//! reads inputs and writes outputs.

mod board;
mod csv;
mod grid;
mod json;
mod latex;
pub mod markdown;
pub mod page;
pub mod picture;
mod rows;
pub mod select;

pub use self::board::{Board, Group, Metric, RunFacts};
pub use self::csv::csv;
pub use self::json::json;
pub use self::latex::latex;
