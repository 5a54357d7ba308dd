//! What clients of Red5 Pro do, over real TCP: the calls of its published web clients and load bots, and what they read of the
//! answers.

#![allow(clippy::unwrap_used, reason = "a test may do this")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod clients;
