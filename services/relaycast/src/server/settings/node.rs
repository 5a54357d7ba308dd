//! Every setting of a node, declared once: name, help, unit, default.

use std::net::SocketAddr;
use std::path::PathBuf;

use relay_edge::{Config, PublisherPolicy, ReceivePolicy, Rtmps};
use relay_lifecycle::config::{BitRate, ByteSize, List, TimeSpan};
use relay_proto::NodeId;
use relay_proto::registry::Role;

use super::{Choice, ClusterSettings, Named, drawn_name, host};

relay_lifecycle::settings! {
    /// Every setting of a node.
    pub(crate) struct NodeSettings {
        "Addresses" {
            /// Where clients connect; port 0 takes a free one
            listen "ADDRESS:PORT": SocketAddr = "0.0.0.0:8080",
            /// Where /healthz, /readyz and /metrics are; not for the public
            admin_listen "ADDRESS:PORT": SocketAddr = "127.0.0.1:9090",
            /// Name of this node in logs and answers; nodes of one cluster differ [default: relaycast, in a cluster the name of
            /// the host and a number drawn at random]
            node_id "NAME": NodeId,
            /// URL under which clients reach this node [default: the address it listens on, or the name of the host]
            advertise_url "URL": String,
            /// Where encoders and devices publish by RTMP [default: nowhere; of `standalone` 127.0.0.1:1935, or a free port where
            /// that is taken]
            rtmp_listen "ADDRESS:PORT": SocketAddr,
            /// The same behind TLS; needs --rtmps-certificate and --rtmps-key
            rtmps_listen "ADDRESS:PORT": SocketAddr,
            /// Certificate for RTMP behind TLS, with those that lead to it, in PEM
            rtmps_certificate "FILE": PathBuf,
            /// Its key, in PEM
            rtmps_key "FILE": PathBuf,
            /// URL under which encoders reach this node by RTMP: rtmp://HOST:PORT [default: the address it listens on, or the
            /// name of the host]
            rtmp_advertise_url "URL": String,
            /// Origins whose pages may connect, separated by commas; empty allows all
            allowed_origins "ORIGIN,…": List<String> = "",
            /// Whether the node serves its page at /
            page "true|false": bool = "true",
        }
        "Cluster" {
            /// How long a channel is pulled from another node after its last receiver here has left
            upstream_linger "DURATION": TimeSpan = "10s",
            /// Where this node runs, for whoever chooses between nodes
            region "NAME": String,
            /// Where in the region
            zone "NAME": String,
            /// What stream-managers send clients here for: publish, receive or both; whoever comes otherwise is served too
            roles "ROLE,…": List<Named<Role>> = "publish,receive",
            /// How much the network of this node takes, for stream-managers: 10Gbit, 500Mbit
            egress_max "RATE": BitRate,
        }
        "Publishers" {
            /// What a second publisher with the same key may do: reject, takeover, or takeover-if-stalled (replace the
            /// first if it sends nothing or does not answer a ping)
            publisher_policy "POLICY": Named<PublisherPolicy> = "takeover-if-stalled",
            /// A publisher that sends no media for this long is stalled
            publisher_stall_timeout "DURATION": TimeSpan = "5s",
            /// Closes a publisher that sends no media for this long; never, when not set
            publisher_media_timeout "DURATION": TimeSpan,
            /// How long a publisher has to answer the ping that a second one causes
            challenge_timeout "DURATION": TimeSpan = "2s",
            /// How long receivers are held after their publisher vanished
            grace "DURATION": TimeSpan = "15s",
            /// Largest chunk
            chunk_bytes_max "SIZE": ByteSize = "16MiB",
        }
        "Receivers" {
            /// Who may receive: publisher-key, who presents the publisher's key; open, everyone
            receive_policy "POLICY": Named<ReceivePolicy> = "publisher-key",
            /// How far behind a receiver may be before a part of the stream is left out
            lag_max "DURATION": TimeSpan = "10s",
            /// Closes a receiver after this many parts left out; a minute without one forgives all
            skips_max "NUMBER": u32 = "5",
            /// Closes a receiver whose socket takes nothing for this long
            write_timeout "DURATION": TimeSpan = "10s",
        }
        "Cache" {
            /// Media kept per channel
            cache_bytes "SIZE": ByteSize = "32MiB",
            /// Media kept by all channels together
            cache_bytes_total "SIZE": ByteSize = "1GiB",
            /// The newest GOP is dropped when it is older than this
            cache_age "DURATION": TimeSpan = "1m",
        }
        "Limits" {
            /// Open sessions
            sessions_max "NUMBER": usize = "16384",
            /// Connections that are not sessions yet
            handshakes_max "NUMBER": usize = "1024",
            /// Receivers of one channel
            receivers_per_channel_max "NUMBER": usize = "16384",
        }
        "Timing" {
            /// How long a client has to send its request
            handshake_timeout "DURATION": TimeSpan = "10s",
            /// How often the node sends a heartbeat; proxies cut what is silent for 60 s
            heartbeat_interval "DURATION": TimeSpan = "20s",
            /// Closes a client of which nothing was heard for this long
            idle_timeout "DURATION": TimeSpan = "1m",
            /// How long the kernel waits for an acknowledgement before it gives a connection up
            tcp_user_timeout "DURATION": TimeSpan = "30s",
            /// How long leaving may take after SIGTERM or SIGINT; a second signal ends it at once
            drain_deadline "DURATION": TimeSpan = "30s",
        }
    }
}

impl NodeSettings {
    /// The node's configuration. Without `..`, so that a setting which is not declared above does not compile.
    ///
    /// # Errors
    /// Where only some of what RTMPS needs is set.
    pub(in super::super) fn into_config(self, cluster: &ClusterSettings) -> Result<Config, RtmpsError> {
        let bytes = |size: ByteSize| usize::try_from(size.get()).unwrap_or(usize::MAX);
        let rtmps = match (self.rtmps_listen, self.rtmps_certificate, self.rtmps_key) {
            (Some(listen), Some(certificate), Some(key)) => Some(Rtmps { listen, certificate, key }),
            (None, None, None) => None,
            _ => return Err(RtmpsError),
        };
        let rtmp_by_host = || match (self.rtmp_listen, &rtmps) {
            (Some(listen), _) => by_host("rtmp", listen),
            (None, Some(rtmps)) => by_host("rtmps", rtmps.listen),
            (None, None) => None,
        };
        Ok(Config {
            rtmp_advertise_url: self
                .rtmp_advertise_url
                .or_else(|| cluster.is_set().then(rtmp_by_host).flatten()),
            rtmp_listen: self.rtmp_listen,
            rtmps,
            listen: self.listen,
            node_id: self.node_id.unwrap_or_else(|| if cluster.is_set() { drawn_name() } else { alone() }),
            advertise_url: self
                .advertise_url
                .or_else(|| cluster.is_set().then(|| by_host("ws", self.listen)).flatten()),
            publisher_policy: self.publisher_policy.0,
            receive_policy: self.receive_policy.0,
            publisher_stall_timeout: self.publisher_stall_timeout.get(),
            publisher_media_timeout: self.publisher_media_timeout.map(TimeSpan::get),
            challenge_timeout: self.challenge_timeout.get(),
            grace: self.grace.get(),
            registry_interval: cluster.registry_interval.get(),
            upstream_linger: self.upstream_linger.get(),
            region: self.region,
            zone: self.zone,
            roles: self.roles.0.iter().map(|role| role.0).collect(),
            egress_max: self.egress_max.map(BitRate::get),
            cache_bytes: bytes(self.cache_bytes),
            lag_max: self.lag_max.get(),
            cache_age: self.cache_age.get(),
            cache_bytes_total: bytes(self.cache_bytes_total),
            chunk_bytes_max: bytes(self.chunk_bytes_max),
            sessions_max: self.sessions_max,
            handshakes_max: self.handshakes_max,
            receivers_per_channel_max: self.receivers_per_channel_max,
            handshake_timeout: self.handshake_timeout.get(),
            heartbeat_interval: self.heartbeat_interval.get(),
            idle_timeout: self.idle_timeout.get(),
            write_timeout: self.write_timeout.get(),
            skips_max: self.skips_max,
            tcp_user_timeout: self.tcp_user_timeout.get(),
            drain_deadline: self.drain_deadline.get(),
            allowed_origins: self.allowed_origins.0,
            page: self.page,
        })
    }
}

/// What RTMPS needs is not all there.
#[derive(Debug, thiserror::Error)]
#[error("--rtmps-listen, --rtmps-certificate and --rtmps-key go together")]
pub(in super::super) struct RtmpsError;

fn alone() -> NodeId {
    relay_edge::DEFAULT_NODE_ID.parse().expect("the default follows the grammar")
}

/// Nobody reaches a node under the address that stands for all addresses.
fn by_host(scheme: &str, listen: SocketAddr) -> Option<String> {
    (listen.ip().is_unspecified() && listen.port() != 0)
        .then(|| format!("{scheme}://{}:{}", host(), listen.port()))
}

impl Choice for PublisherPolicy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("reject", Self::Reject),
        ("takeover", Self::Takeover),
        ("takeover-if-stalled", Self::TakeoverIfStalled),
    ];
}

impl Choice for ReceivePolicy {
    const NAMES: &'static [(&'static str, Self)] =
        &[("publisher-key", Self::PublisherKey), ("open", Self::Open)];
}

impl Choice for Role {
    const NAMES: &'static [(&'static str, Self)] = &[("publish", Self::Publish), ("receive", Self::Receive)];
}

#[cfg(test)]
mod tests {
    use relay_lifecycle::config::{Sources, resolve};

    use super::super::EdgeSettings;
    use super::*;

    #[test]
    fn defaults_are_those_of_the_node() {
        let ours = resolve::<EdgeSettings>(&Sources::default()).unwrap().settings;
        let ours = ours.node.into_config(&ours.cluster).unwrap();
        // The node's own default is for tests, which must not be reachable from elsewhere.
        let theirs = Config { listen: ours.listen, ..Config::default() };
        assert_eq!(format!("{ours:#?}"), format!("{theirs:#?}"));
    }

    #[test]
    fn a_choice_that_does_not_exist_names_those_that_do() {
        let error = "takeover-if".parse::<Named<PublisherPolicy>>().unwrap_err().to_string();
        assert_eq!(error, "not one of reject, takeover, takeover-if-stalled");
    }
}
