//! What each failure of a cluster does, as `ARCHITECTURE.md` says it: whole nodes, a real Redis, a real NATS.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may do this, its helpers too")]

mod backbone;
mod commands;
mod everything;
mod keys;
mod nodes;
mod partition;
mod registry;
