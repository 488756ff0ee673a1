//! The `realtime-bench` load generator.
fn main() {}
