//! The command `angarium`.
fn main() {}
