//! The `lpips` program.
fn main() {}
