//! Real processes, real clients, real media: what the tests of this crate share, and of the crates that speak with Redis
//! and NATS.
//!
//! The tests of this crate run the binaries of this workspace, so `cargo build -p relaycast -p relaycast-loadtest` comes before them;
//! `make test` does that. They look for them in the target folder they were built in; for `relaycast`, the variable
//! `RELAYCAST_BIN` can name another.
//!
//! Whatever is random comes from one seed, which a failing test prints; `RELAYCAST_TEST_SEED` plays it again.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may do this, its helpers too")]

use std::time::Duration;

pub mod bridge;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod ffmpeg;
pub mod http;
pub mod manager;
pub mod mosquitto;
pub mod nats;
pub mod node;
pub mod numbered;
pub mod process;
pub mod redis;
pub mod seed;
pub mod server;
pub mod sim;
pub mod sink;
pub mod stream;
pub mod wire;

/// Nothing that these tests wait for takes this long, on a busy machine either; what does hangs.
pub const HANG: Duration = Duration::from_secs(60);

/// How often a condition is looked at that nobody announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until `look` finds something. A hang is reported as `what`.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(HANG, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    });
    match found.await {
        Ok(found) => found,
        Err(_) => panic!("{what}: not within {HANG:?}"),
    }
}
