//! Every setting of a node, declared once: name, help, unit, default.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use relay_edge::{Config, PublisherPolicy, ReceivePolicy};
use relay_lifecycle::backoff::entropy;
use relay_lifecycle::config::{BitRate, ByteSize, List, TimeSpan};
use relay_lifecycle::telemetry::{Filter, Format, Log};
use relay_proto::NodeId;
use relay_proto::registry::Role;

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
            /// Origins whose pages may connect, separated by commas; empty allows all
            allowed_origins "ORIGIN,…": List<String> = "",
            /// Whether the node serves its page at /
            page "true|false": bool = "true",
        }
        "Cluster" {
            /// Registry that all nodes share: redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://… with TLS,
            /// redis+cluster://HOST,HOST,… or redis+sentinel://HOST,HOST,…/MASTER; a node without one is alone
            redis "URL": String,
            /// Backbone that all nodes share: nats://[USER:PASSWORD@]HOST[:PORT] or tls://…, several separated by commas
            nats "URL,…": String,
            /// Certificates in PEM to trust for the registry, instead of those of the system
            redis_ca_file "FILE": PathBuf,
            /// Certificates in PEM to trust for the backbone, instead of those of the system
            nats_ca_file "FILE": PathBuf,
            /// Credentials for the backbone, as nsc writes them
            nats_credentials_file "FILE": PathBuf,
            /// Name of the cluster: the first part of its keys in Redis and subjects in NATS
            cluster "NAME": NodeId = "relaycast",
            /// What keys of streams are hashed with before they go to the registry; the same on all nodes. Without one, who
            /// can read the registry can try keys until one fits
            cluster_secret "TEXT": String,
            /// How often the registry is told of this node and its channels; what it was not told of for three times as long
            /// is over
            registry_interval "DURATION": TimeSpan = "2s",
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
        "Logs" {
            /// How a line looks: auto (text on a terminal, else JSON), text or json
            log_format "FORMAT": Format = "auto",
            /// What is logged: error, warn, info, debug, trace, or pairs such as relay_edge=debug,info
            log_level "FILTER": Filter = "info",
        }
    }
}

impl NodeSettings {
    /// How to log.
    pub(super) fn log(&self) -> Log {
        Log { format: self.log_format, filter: self.log_level.clone() }
    }

    /// How to reach the other nodes, if there are to be any.
    pub(super) fn cluster(&self) -> Result<Option<Cluster>, &'static str> {
        match (&self.redis, &self.nats) {
            (None, None) => Ok(None),
            (Some(redis), Some(nats)) => Ok(Some(Cluster {
                redis: redis.clone(),
                redis_ca_file: self.redis_ca_file.clone(),
                nats: nats.clone(),
                nats_ca_file: self.nats_ca_file.clone(),
                nats_credentials_file: self.nats_credentials_file.clone(),
                name: self.cluster.clone(),
                secret: self.cluster_secret.clone(),
            })),
            (Some(_), None) => Err("--redis without --nats: a cluster takes both"),
            (None, Some(_)) => Err("--nats without --redis: a cluster takes both"),
        }
    }

    /// The node's configuration. Without `..`, so that a setting which is not declared above does not compile.
    pub(super) fn into_config(self) -> Config {
        let bytes = |size: ByteSize| usize::try_from(size.get()).unwrap_or(usize::MAX);
        Config {
            listen: self.listen,
            node_id: self.node_id.unwrap_or_else(|| if self.redis.is_some() { node_id() } else { alone() }),
            advertise_url: self
                .advertise_url
                .or_else(|| self.redis.is_some().then(|| url_by_host(self.listen)).flatten()),
            publisher_policy: self.publisher_policy.0,
            receive_policy: self.receive_policy.0,
            publisher_stall_timeout: self.publisher_stall_timeout.get(),
            publisher_media_timeout: self.publisher_media_timeout.map(TimeSpan::get),
            challenge_timeout: self.challenge_timeout.get(),
            grace: self.grace.get(),
            registry_interval: self.registry_interval.get(),
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
        }
    }
}

/// The settings of which nothing may be shown, since passwords may stand in them.
pub(super) const SECRETS: [&str; 3] = ["redis", "nats", "cluster-secret"];

/// How to reach the other nodes.
pub(super) struct Cluster {
    pub(super) redis: String,
    pub(super) redis_ca_file: Option<PathBuf>,
    pub(super) nats: String,
    pub(super) nats_ca_file: Option<PathBuf>,
    pub(super) nats_credentials_file: Option<PathBuf>,
    pub(super) name: NodeId,
    pub(super) secret: Option<String>,
}

fn alone() -> NodeId {
    relay_edge::DEFAULT_NODE_ID.parse().expect("the default follows the grammar")
}

/// Nobody reaches a node under the address that stands for all addresses.
fn url_by_host(listen: SocketAddr) -> Option<String> {
    (listen.ip().is_unspecified() && listen.port() != 0).then(|| format!("ws://{}:{}", host(), listen.port()))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A name that no other node has, and that a person can find.
fn node_id() -> NodeId {
    const HOST_CHARS_MAX: usize = 100;

    let host = host();
    let host = host.split('.').next().unwrap_or_default();
    let host: String = host
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .take(HOST_CHARS_MAX)
        .collect();
    format!("{host}-{:04x}", entropy() & 0xFFFF).parse().unwrap_or_else(|_| alone())
}

/// A choice of the node, under the name it has in settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named<T>(T);

/// What can be chosen.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    const NAMES: &'static [(&'static str, Self)];
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

/// Not one of the names.
#[derive(Debug)]
pub(crate) struct NotAChoice(Vec<&'static str>);

impl fmt::Display for NotAChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not one of {}", self.0.join(", "))
    }
}

impl<T: Choice> FromStr for Named<T> {
    type Err = NotAChoice;

    fn from_str(text: &str) -> Result<Self, NotAChoice> {
        let found = T::NAMES.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, choice)| Self(*choice))
            .ok_or_else(|| NotAChoice(T::NAMES.iter().map(|(name, _)| *name).collect()))
    }
}

#[cfg(test)]
mod tests {
    use relay_lifecycle::config::{Sources, resolve};

    use super::*;

    #[test]
    fn defaults_are_those_of_the_node() {
        let ours = resolve::<NodeSettings>(&Sources::default()).unwrap().settings.into_config();
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
