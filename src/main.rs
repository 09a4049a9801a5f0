//! The `lpips` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(lpips::commands::main(std::env::args_os().skip(1)))
}
