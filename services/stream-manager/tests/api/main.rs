//! The API of a stream-manager, as clients see it.

#![allow(clippy::unwrap_used, reason = "a test may do this, its helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod channels;
mod commands;
mod connections;
mod documents;
mod events;
mod nodes;
mod noise;
mod outages;
mod picks;
mod sessions;
mod snapshots;
mod sources;
