//! What the servers of this program can be told: every setting, declared once.

mod bridge;
mod manager;
mod node;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use relay_lifecycle::access::{Access, Role};
use relay_lifecycle::backoff::entropy;
use relay_lifecycle::config::{List, Setting, Settings, TimeSpan};
use relay_lifecycle::telemetry::{Filter, Format, Log};
use relay_proto::NodeId;

pub(super) use bridge::BridgeSettings;
pub(super) use manager::ManagerSettings;
pub(super) use node::NodeSettings;

relay_lifecycle::settings! {
    /// Of `relaycast edge`.
    pub(super) struct EdgeSettings {
        node: NodeSettings,
        cluster: ClusterSettings,
        logs: LogSettings,
    }
}

relay_lifecycle::settings! {
    /// Of `relaycast standalone`.
    pub(super) struct StandaloneSettings {
        node: NodeSettings,
        listen: BesideNode,
        manager: ManagerSettings,
        bridge: BridgeSettings,
        cluster: ClusterSettings,
        logs: LogSettings,
    }
}

relay_lifecycle::settings! {
    /// Of `relaycast manager`.
    pub(super) struct ManagerRoleSettings {
        listen: Alone,
        manager: ManagerSettings,
        cluster: ClusterSettings,
        logs: LogSettings,
    }
}

relay_lifecycle::settings! {
    /// Of `relaycast bridge`.
    pub(super) struct BridgeRoleSettings {
        alone: BridgeAlone,
        bridge: BridgeSettings,
        cluster: ClusterSettings,
        logs: LogSettings,
    }
}

relay_lifecycle::settings! {
    /// What a bridge has to be told that has the process to itself.
    pub(super) struct BridgeAlone {
        "Addresses" {
            /// Where its REST is; port 0 takes a free one
            listen "ADDRESS:PORT": SocketAddr = "127.0.0.1:8082",
            /// Where /healthz, /readyz and /metrics are; not for the public
            admin_listen "ADDRESS:PORT": SocketAddr = "127.0.0.1:9092",
        }
        "MQTT bridge" {
            /// Stream-managers that are asked for nodes: http://… or https://…, separated by commas
            manager "URL,…": List<String> = "http://127.0.0.1:8081",
            /// Token that they are shown, where they ask for one to read
            manager_token "TOKEN": String,
            /// Tokens that may read, separated by commas
            reader_tokens "TOKEN,…": List<String> = "",
            /// Tokens that may read and tell devices what to do, separated by commas; without any, only this machine may
            operator_tokens "TOKEN,…": List<String> = "",
        }
    }
}

relay_lifecycle::settings! {
    /// Where a stream-manager listens that has the process to itself.
    pub(super) struct Alone {
        "Addresses" {
            /// Where clients and operators connect; port 0 takes a free one
            listen "ADDRESS:PORT": SocketAddr = "0.0.0.0:8081",
            /// Where /healthz, /readyz and /metrics are; not for the public
            admin_listen "ADDRESS:PORT": SocketAddr = "127.0.0.1:9091",
        }
    }
}

relay_lifecycle::settings! {
    /// Where what is in the process of a node listens.
    pub(super) struct BesideNode {
        "Addresses" {
            /// Where the stream-manager and its console are; port 0 takes a free one
            manager_listen "ADDRESS:PORT": SocketAddr = "127.0.0.1:8081",
            /// Where the REST of the MQTT bridge is; port 0 takes a free one
            bridge_listen "ADDRESS:PORT": SocketAddr = "127.0.0.1:8082",
            /// Where the MQTT broker is, unless --mqtt names another one; asks nobody who they are [default: 127.0.0.1:1883, or a
            /// free port where that is taken]
            mqtt_listen "ADDRESS:PORT": SocketAddr,
        }
    }
}

relay_lifecycle::settings! {
    /// How processes find each other.
    pub(super) struct ClusterSettings {
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
        }
    }
}

relay_lifecycle::settings! {
    /// What is logged.
    pub(super) struct LogSettings {
        "Logs" {
            /// How a line looks: auto (text on a terminal, else JSON), text or json
            log_format "FORMAT": Format = "auto",
            /// What is logged: error, warn, info, debug, trace, or pairs such as relay_edge=debug,info
            log_level "FILTER": Filter = "info",
        }
    }
}

impl LogSettings {
    /// How to log.
    pub(super) fn log(self) -> Log {
        Log { format: self.log_format, filter: self.log_level }
    }
}

/// How to reach the others.
pub(super) struct Cluster {
    pub(super) redis: String,
    pub(super) redis_ca_file: Option<PathBuf>,
    pub(super) nats: String,
    pub(super) nats_ca_file: Option<PathBuf>,
    pub(super) nats_credentials_file: Option<PathBuf>,
    pub(super) name: NodeId,
    pub(super) secret: Option<String>,
}

impl ClusterSettings {
    /// Whether there are to be others.
    pub(super) fn is_set(&self) -> bool {
        self.redis.is_some()
    }

    /// How to reach them, if there are to be any.
    pub(super) fn cluster(self) -> Result<Option<Cluster>, &'static str> {
        match (self.redis, self.nats) {
            (None, None) => Ok(None),
            (Some(redis), Some(nats)) => Ok(Some(Cluster {
                redis,
                redis_ca_file: self.redis_ca_file,
                nats,
                nats_ca_file: self.nats_ca_file,
                nats_credentials_file: self.nats_credentials_file,
                name: self.cluster,
                secret: self.cluster_secret,
            })),
            (Some(_), None) => Err("--redis without --nats: a cluster takes both"),
            (None, Some(_)) => Err("--nats without --redis: a cluster takes both"),
        }
    }
}

/// The settings of which nothing may be shown, since passwords may stand in them.
pub(super) const SECRETS: [&str; 16] = [
    "redis",
    "nats",
    "cluster-secret",
    "reader-tokens",
    "operator-tokens",
    "manager-token",
    "mqtt",
    "kerberos-hub-key",
    "kerberos-hub-private-key",
    "kerberos-symmetric-key",
    "dji-whip-url",
    "dji-gb28181-url",
    "dji-agora-url",
    "dji-app-id",
    "dji-app-key",
    "dji-app-license",
];

/// The settings of every server, each once.
pub(super) fn of_all_servers() -> Vec<&'static Setting> {
    let mut all = StandaloneSettings::declared();
    all.extend(ManagerRoleSettings::declared());
    all.extend(BridgeRoleSettings::declared());
    all.sort_by_key(|setting| setting.field);
    all.dedup_by_key(|setting| setting.field);
    all
}

/// A secret that is checked here, and not where its setting is declared: there it would be shown with what is wrong with it.
pub(super) fn secret<T: FromStr<Err: fmt::Display>>(setting: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{setting}: {error}"))
}

/// The tokens of an API.
pub(super) fn access(readers: List<String>, operators: List<String>) -> Result<Access, String> {
    let readers = readers.0.iter().map(|text| Ok((Role::Reader, secret("reader-tokens", text)?)));
    let operators = operators.0.iter().map(|text| Ok((Role::Operator, secret("operator-tokens", text)?)));
    readers.chain(operators).collect::<Result<_, _>>().map(Access)
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A name that no other process has, and that a person can find.
pub(super) fn drawn_name() -> NodeId {
    const HOST_CHARS_MAX: usize = 100;

    let host = host();
    let host = host.split('.').next().unwrap_or_default();
    let host: String = host
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .take(HOST_CHARS_MAX)
        .collect();
    let name = format!("{host}-{:04x}", entropy() & 0xFFFF);
    name.parse().expect("letters, digits and dashes, and not too many")
}

/// A choice, under the name it has in settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<T>(T);

/// What can be chosen.
pub(super) trait Choice: Copy + PartialEq + 'static {
    const NAMES: &'static [(&'static str, Self)];
}

/// Not one of the names.
#[derive(Debug)]
pub(super) struct NotAChoice(Vec<&'static str>);

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
