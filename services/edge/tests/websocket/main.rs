//! Each row of the websocket protocol over real sockets, and what a node does with those who break it.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod cache;
mod crowd;
mod drain;
mod ends;
mod framing;
mod half_open;
mod handshakes;
mod heartbeat;
mod interleavings;
mod keys;
mod noise;
mod notices;
mod origins;
mod paths;
mod publishers;
mod slow;
