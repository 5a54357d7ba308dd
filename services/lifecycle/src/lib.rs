//! How every Relaycast process starts, is watched and ends.
//!
//! Owns no media and no protocol. Each module is one concern, and none needs the others:
//! [`drain`] leaves in order, [`readiness`] says when to send traffic, [`admin`] shows both and the metrics,
//! [`telemetry`] writes logs, [`process`] measures the process, [`config`] reads settings, [`backoff`] spaces retries.

pub mod admin;
pub mod backoff;
pub mod config;
pub mod drain;
pub mod process;
pub mod readiness;
pub mod telemetry;
