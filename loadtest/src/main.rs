//! Loads relays and measures them.

fn main() {}
