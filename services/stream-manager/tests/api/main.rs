//! The API of a stream-manager, as clients see it.

#[path = "../support/mod.rs"]
mod support;

mod channels;
mod nodes;
mod picks;
