//! Every setting of a node, with its default and the reason for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use relay_proto::NodeId;
use relay_proto::registry::Role;
use relay_proto::websocket::{CHUNK_BYTES_MAX, HEARTBEAT_INTERVAL, IDLE_TIMEOUT};

use crate::auth::ReceivePolicy;

/// What a second publisher on a channel may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublisherPolicy {
    /// Nothing, as long as the first is there.
    Reject,
    /// Replace the first, if it has the same key.
    Takeover,
    /// Replace the first, if it has the same key and the first sends no media or does not answer a ping.
    #[default]
    TakeoverIfStalled,
}

/// Where publishers connect by RTMP behind TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtmps {
    /// The address. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate and those that lead to it, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// Every setting of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The node's name in logs and answers.
    pub node_id: NodeId,
    /// The URL under which clients reach this node, where that is not `listen`.
    pub advertise_url: Option<String>,
    /// Where publishers connect by RTMP, if they may. Port 0 takes a free one.
    pub rtmp_listen: Option<SocketAddr>,
    /// The same behind TLS.
    pub rtmps: Option<Rtmps>,
    /// The URL under which clients reach RTMP, where that is not the address: `rtmp://HOST:PORT`.
    pub rtmp_advertise_url: Option<String>,
    /// What a second publisher may do.
    pub publisher_policy: PublisherPolicy,
    /// Who may receive.
    pub receive_policy: ReceivePolicy,
    /// A publisher that sends no media for this long is stalled: it shows in the API, and it may be taken over.
    pub publisher_stall_timeout: Duration,
    /// A stalled publisher is closed after this long without media; `None` never.
    pub publisher_media_timeout: Option<Duration>,
    /// How long an incumbent has to answer the ping that a second publisher causes.
    pub challenge_timeout: Duration,
    /// How long receivers are held after their publisher vanished.
    pub grace: Duration,
    /// How often the registry is told of this node and its leases. What it is not told of for three times as long is over.
    pub registry_interval: Duration,
    /// How long a channel is pulled from another node after the last receiver has left.
    pub upstream_linger: Duration,
    /// Where the node runs, for whoever chooses between nodes.
    pub region: Option<String>,
    /// Where in the region.
    pub zone: Option<String>,
    /// What stream-managers send clients here for. Whoever comes otherwise is served all the same.
    pub roles: Vec<Role>,
    /// Bits per second to receivers that the network takes, for stream-managers; `None` where nobody said.
    pub egress_max: Option<u64>,
    /// Bytes cached per channel. 32 MiB are ten seconds of 25 Mbit/s.
    pub cache_bytes: usize,
    /// How far behind a receiver may be before chunks are left out.
    pub lag_max: Duration,
    /// The newest GOP is dropped when it is older than this.
    pub cache_age: Duration,
    /// Bytes cached by all channels together.
    pub cache_bytes_total: usize,
    /// Largest message from a publisher.
    pub chunk_bytes_max: usize,
    /// Open sessions.
    pub sessions_max: usize,
    /// Connections that are not sessions yet: handshakes and page requests.
    pub handshakes_max: usize,
    /// Receivers of one channel.
    pub receivers_per_channel_max: usize,
    /// How long a client has to send its request.
    pub handshake_timeout: Duration,
    /// How often the node sends a heartbeat.
    pub heartbeat_interval: Duration,
    /// A client of which nothing was heard for this long is closed.
    pub idle_timeout: Duration,
    /// A receiver whose socket takes nothing for this long is closed.
    pub write_timeout: Duration,
    /// A receiver that skips more often than this is closed; a minute without a skip forgives all.
    pub skips_max: u32,
    /// How long the kernel waits for an acknowledgement before it gives a connection up (TCP_USER_TIMEOUT).
    pub tcp_user_timeout: Duration,
    /// How long a drain may take.
    pub drain_deadline: Duration,
    /// Origins whose pages may open websockets; empty allows all. Clients that send no `Origin` are always allowed.
    pub allowed_origins: Vec<String>,
    /// Whether the node serves its page at `/`.
    pub page: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            node_id: DEFAULT_NODE_ID.parse().expect("the default follows the grammar"),
            advertise_url: None,
            rtmp_listen: None,
            rtmps: None,
            rtmp_advertise_url: None,
            publisher_policy: PublisherPolicy::default(),
            receive_policy: ReceivePolicy::default(),
            publisher_stall_timeout: Duration::from_secs(5),
            publisher_media_timeout: None,
            challenge_timeout: Duration::from_secs(2),
            grace: Duration::from_secs(15),
            registry_interval: Duration::from_secs(2),
            upstream_linger: Duration::from_secs(10),
            region: None,
            zone: None,
            roles: vec![Role::Publish, Role::Receive],
            egress_max: None,
            cache_bytes: 32 << 20,
            lag_max: Duration::from_secs(10),
            cache_age: Duration::from_secs(60),
            cache_bytes_total: 1 << 30,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            sessions_max: 16_384,
            handshakes_max: 1024,
            receivers_per_channel_max: 16_384,
            handshake_timeout: Duration::from_secs(10),
            heartbeat_interval: HEARTBEAT_INTERVAL,
            idle_timeout: IDLE_TIMEOUT,
            write_timeout: Duration::from_secs(10),
            skips_max: 5,
            tcp_user_timeout: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(30),
            allowed_origins: Vec::new(),
            page: true,
        }
    }
}

/// The node's name when nobody gave it one.
pub const DEFAULT_NODE_ID: &str = "relaycast";

/// A setting that contradicts another, or can never work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct ConfigError {
    setting: &'static str,
    problem: &'static str,
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.cache_bytes > 0, "cache-bytes", "must not be 0"),
            (
                self.cache_bytes_total >= self.cache_bytes,
                "cache-bytes-total",
                "must not be less than cache-bytes",
            ),
            (self.chunk_bytes_max > 0, "chunk-bytes-max", "must not be 0"),
            (self.sessions_max > 0, "sessions-max", "must not be 0"),
            (self.handshakes_max > 0, "handshakes-max", "must not be 0"),
            (self.receivers_per_channel_max > 0, "receivers-per-channel-max", "must not be 0"),
            (!self.heartbeat_interval.is_zero(), "heartbeat-interval", "must not be 0"),
            (
                self.idle_timeout > self.heartbeat_interval,
                "idle-timeout",
                "must be longer than heartbeat-interval, or every quiet client is cut",
            ),
            (!self.registry_interval.is_zero(), "registry-interval", "must not be 0"),
            (!self.handshake_timeout.is_zero(), "handshake-timeout", "must not be 0"),
            (!self.write_timeout.is_zero(), "write-timeout", "must not be 0"),
            (
                self.rtmp_advertise_url.as_deref().is_none_or(is_rtmp_url),
                "rtmp-advertise-url",
                "must be rtmp://HOST:PORT or rtmps://HOST:PORT",
            ),
            (!self.roles.is_empty(), "roles", "must name at least one"),
            (self.egress_max != Some(0), "egress-max", "must not be 0"),
            (self.cache_age >= self.lag_max, "cache-age", "must not be less than lag-max"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, setting, problem)) => Err(ConfigError { setting, problem }),
            None => Ok(()),
        }
    }
}

/// Without a path: channel and key are appended.
fn is_rtmp_url(url: &str) -> bool {
    let host = url.strip_prefix("rtmp://").or_else(|| url.strip_prefix("rtmps://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_together() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_contradiction_is_named() {
        let config = Config { cache_bytes_total: 1, ..Config::default() };
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "cache-bytes-total must not be less than cache-bytes"
        );
    }
}
