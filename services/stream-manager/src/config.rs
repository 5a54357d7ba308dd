//! Every setting of a stream-manager, with its default and the reason for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use relay_lifecycle::access::Access;
use relay_proto::NodeId;

use crate::webhooks::Endpoint;

/// Every setting of a stream-manager.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients and operators connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its name in logs, and on the backbone.
    pub name: NodeId,
    /// Where clients reach it, `http://…` or `https://…` without a path; `listen` where that is not set.
    pub public_url: Option<String>,
    /// What clients are told to connect to.
    pub addresses: Addresses,
    /// How often nodes tell of themselves. A node that has said nothing for twice as long is silent.
    pub registry_interval: Duration,
    /// How long a place is kept for a client that was sent to a node.
    pub reservation: Duration,
    /// How long a new node takes to get its whole share.
    pub warm_up: Duration,
    /// Up to where nodes are to be filled, 1 being full: what `desired_nodes` aims at.
    pub utilization_target: f64,
    /// Who may read.
    pub reads: Reads,
    /// Tokens that may read, and those that may also end sessions and drain nodes.
    pub access: Access,
    /// The application that streams belong to in the dialects of Red5.
    pub red5_app: String,
    /// Whom to tell what happens.
    pub webhooks: Vec<Endpoint>,
    /// Connections at a time.
    pub connections_max: usize,
}

/// What clients are told to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addresses {
    /// The nodes.
    #[default]
    Nodes,
    /// The stream-manager, which relays to the nodes; nobody is told their addresses.
    Proxied,
}

/// Who may read what the API tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// Everybody.
    #[default]
    Public,
    /// Who has a token.
    Token,
}

/// Why the settings do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an address that a path can follow.
    #[error("public-url is not http:// or https:// and a host, without a path")]
    PublicUrl,
    /// Clients cannot connect to every address of a machine.
    #[error(
        "public-url is needed where clients are told to connect to the stream-manager and it listens on all addresses"
    )]
    NoPublicUrl,
    /// Nothing would ever be asked, kept or served.
    #[error("{0} must be more than nothing")]
    Nothing(&'static str),
    /// A share that is none.
    #[error("utilization-target must be more than 0 and at most 1")]
    Target,
}

impl Config {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.public_url.as_deref().is_some_and(|url| authority(url).is_none()) {
            return Err(ConfigError::PublicUrl);
        }
        let is_told = self.addresses == Addresses::Proxied;
        if is_told && self.public_url.is_none() && self.listen.ip().is_unspecified() {
            return Err(ConfigError::NoPublicUrl);
        }
        for (name, duration) in
            [("registry-interval", self.registry_interval), ("reservation", self.reservation)]
        {
            if duration.is_zero() {
                return Err(ConfigError::Nothing(name));
            }
        }
        if self.connections_max == 0 {
            return Err(ConfigError::Nothing("connections-max"));
        }
        if !(self.utilization_target > 0.0 && self.utilization_target <= 1.0) {
            return Err(ConfigError::Target);
        }
        Ok(())
    }
}

/// The websocket scheme that goes with an HTTP address, and its host and port; `None` where it has more than that.
pub(crate) fn authority(url: &str) -> Option<(&'static str, &str)> {
    let (scheme, authority) = match url.split_once("://")? {
        ("http", authority) => ("ws", authority),
        ("https", authority) => ("wss", authority),
        _ => return None,
    };
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (!authority.is_empty() && authority.bytes().all(may_be)).then_some((scheme, authority))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            name: "manager".parse().expect("the default follows the grammar"),
            public_url: None,
            addresses: Addresses::default(),
            registry_interval: Duration::from_secs(2),
            // A browser that loads a page and connects takes a second or two; a phone on a bad line some more.
            reservation: Duration::from_secs(10),
            warm_up: Duration::from_secs(30),
            utilization_target: 0.7,
            reads: Reads::default(),
            access: Access::default(),
            red5_app: "live".to_owned(),
            webhooks: Vec::new(),
            connections_max: 16_384,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_scheme_and_host() {
        assert_eq!(authority("http://a.example"), Some(("ws", "a.example")));
        assert_eq!(authority("https://[::1]:8443"), Some(("wss", "[::1]:8443")));
        for bad in [
            "",
            "a.example",
            "ftp://a",
            "http://",
            "http://a/",
            "http://a/b",
            "http://u@a",
            "http://a?b",
            "http://a#b",
        ] {
            assert_eq!(authority(bad), None, "{bad}");
            let config = Config { public_url: Some(bad.to_owned()), ..Config::default() };
            assert_eq!(config.check(), Err(ConfigError::PublicUrl), "{bad}");
        }
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn clients_are_not_told_to_connect_to_every_address() {
        let everywhere = Config {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8081)),
            addresses: Addresses::Proxied,
            ..Config::default()
        };
        assert_eq!(everywhere.check(), Err(ConfigError::NoPublicUrl));
        let named = Config { public_url: Some("https://live.example".to_owned()), ..everywhere.clone() };
        assert_eq!(named.check(), Ok(()));
        assert_eq!(Config { addresses: Addresses::Nodes, ..everywhere }.check(), Ok(()));
    }

    #[test]
    fn settings_that_would_do_nothing_are_refused() {
        for target in [0.0, -1.0, 1.1, f64::NAN] {
            let config = Config { utilization_target: target, ..Config::default() };
            assert_eq!(config.check(), Err(ConfigError::Target), "{target}");
        }
        let config = Config { connections_max: 0, ..Config::default() };
        assert_eq!(config.check(), Err(ConfigError::Nothing("connections-max")));
        let config = Config { reservation: Duration::ZERO, ..Config::default() };
        assert_eq!(config.check(), Err(ConfigError::Nothing("reservation")));
    }
}
