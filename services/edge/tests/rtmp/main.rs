//! Publishers by RTMP over real sockets: what they send, who they are, and what a node does with those who are slow, silent or lie.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

#[path = "../support/mod.rs"]
mod support;

mod bad_peers;
mod commands;
mod ffmpeg;
mod publishers;
mod pusher;
mod streams;
