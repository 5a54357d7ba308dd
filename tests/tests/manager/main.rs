//! Stream-managers as processes, beside real nodes, a real Redis and a real NATS: what they answer is true.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may do this, its helpers too")]

mod commands;
mod events;
mod openapi;
mod proxy;
mod secrets;
mod truth;
