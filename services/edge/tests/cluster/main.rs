//! Several nodes of one cluster in this process: one registry and one backbone in memory, real sockets for the clients.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

#[path = "../support/mod.rs"]
mod support;

mod nodes;

mod beside;
mod commands;
mod ends;
mod events;
mod pulls;
mod reports;
mod service;
mod sources;
mod takeovers;
