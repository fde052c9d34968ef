//! The `agent0` command.
fn main() {}
