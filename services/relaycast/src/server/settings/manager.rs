//! Every setting of a stream-manager but where it listens, declared once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use relay_lifecycle::config::{List, TimeSpan};
use relay_proto::NodeId;
use relay_stream_manager::config::{Addresses, Config, Reads};
use relay_stream_manager::webhooks::{self, Endpoint};

use super::{Choice, Named, access};

relay_lifecycle::settings! {
    /// Every setting of a stream-manager but where it listens.
    pub(in super::super) struct ManagerSettings {
        "Stream-manager" {
            /// URL under which clients reach the stream-manager [default: the address it listens on]
            public_url "URL": String,
            /// Where clients are told to connect to: nodes; or proxied, through the stream-manager, for those who cannot reach
            /// nodes
            addresses "WHERE": Named<Addresses> = "nodes",
            /// Whether everybody may read what the API tells of nodes, channels and picks; else it takes a token
            public_reads "true|false": bool = "true",
            /// Tokens that may read, separated by commas
            reader_tokens "TOKEN,…": List<String> = "",
            /// Tokens that may read, end sessions and drain nodes, separated by commas; without any, only this machine may
            operator_tokens "TOKEN,…": List<String> = "",
            /// Where events are sent to, a TOML file with a [[webhook]] for each
            webhooks_file "FILE": PathBuf,
            /// How long a place is kept for a client that was sent to a node
            reservation "DURATION": TimeSpan = "10s",
            /// How long a new node takes to get its whole share of clients
            warm_up "DURATION": TimeSpan = "30s",
            /// Percentage up to which nodes are to be filled: what the wanted number of nodes is reckoned with
            utilization_target "PERCENT": u8 = "70",
            /// Connections to the stream-manager at a time
            connections_max "NUMBER": usize = "16384",
            /// Application that streams belong to for clients of Red5
            red5_app "NAME": NodeId = "live",
        }
    }
}

impl ManagerSettings {
    /// The stream-manager's configuration. Without `..`, so that a setting which is not declared above does not compile.
    pub(in super::super) fn into_config(
        self,
        listen: SocketAddr,
        name: NodeId,
        registry_interval: TimeSpan,
    ) -> Result<Config, String> {
        Ok(Config {
            listen,
            name,
            public_url: self.public_url,
            addresses: self.addresses.0,
            registry_interval: registry_interval.get(),
            reservation: self.reservation.get(),
            warm_up: self.warm_up.get(),
            utilization_target: f64::from(self.utilization_target) / 100.0,
            reads: if self.public_reads { Reads::Public } else { Reads::Token },
            access: access(self.reader_tokens, self.operator_tokens)?,
            red5_app: self.red5_app.to_string(),
            webhooks: self.webhooks_file.as_deref().map_or(Ok(Vec::new()), webhooks)?,
            connections_max: self.connections_max,
        })
    }
}

/// Read once: whoever changes the file starts the stream-manager again.
fn webhooks(file: &Path) -> Result<Vec<Endpoint>, String> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    webhooks::parse(&text).map_err(|problems| {
        let placed: Vec<_> =
            problems.to_string().lines().map(|problem| format!("{name}:{problem}")).collect();
        placed.join("\n")
    })
}

impl Choice for Addresses {
    const NAMES: &'static [(&'static str, Self)] = &[("nodes", Self::Nodes), ("proxied", Self::Proxied)];
}
