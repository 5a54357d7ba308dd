//! How the nodes of a cluster know of each other and speak to each other.
//!
//! The [`Registry`] knows who publishes what, and decides who may; the [`Backbone`] carries messages. Each is a small trait
//! with two implementations: one in memory, for nodes of one process, and a real one, Redis and NATS. What a node makes of
//! them is the node's business; nothing here carries media out of its own accord.

pub mod backbone;
pub mod journal;
pub mod links;
mod redis;
pub mod registry;
pub mod sources;
pub mod tls;

pub use backbone::Backbone;
pub use journal::Journal;
pub use links::Links;
pub use registry::Registry;
