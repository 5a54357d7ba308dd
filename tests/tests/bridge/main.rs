//! Cameras and docks on a real broker, and everything between them and who watches: nodes, a stream-manager, bridges.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod dji;
mod failures;
mod kerberos;
mod stage;
mod standalone;
mod telemetry;
