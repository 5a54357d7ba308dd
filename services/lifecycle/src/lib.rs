//! How every Relaycast process starts, is watched, is called and ends.
//!
//! Owns no media and no protocol. Each module is one concern:
//! [`drain`] leaves in order, [`readiness`] says when to send traffic, [`admin`] shows both and the metrics,
//! [`telemetry`] writes logs, [`process`] measures the process, [`config`] reads settings, [`backoff`] spaces retries,
//! [`access`] says who may call an API over HTTP, and [`problem`] is how somebody is told what is wrong.

pub mod access;
pub mod admin;
pub mod backoff;
pub mod config;
pub mod drain;
pub mod problem;
pub mod process;
pub mod readiness;
pub mod telemetry;
