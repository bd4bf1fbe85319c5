//! The jetsweep binary.
fn main() {}
