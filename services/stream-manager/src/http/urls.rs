//! What clients are told to connect to.

use std::fmt::{self, Display};
use std::net::SocketAddr;

use relay_proto::registry::{NodeRecord, Role};
use relay_proto::{ChannelName, StreamKey};

use crate::config::{Addresses, authority};

/// How clients reach the stream-manager.
#[derive(Debug, Clone)]
pub(crate) struct Public {
    scheme: &'static str,
    authority: String,
}

impl Public {
    /// The address that was configured, else the one that was taken.
    pub(crate) fn new(url: Option<&str>, bound: SocketAddr) -> Self {
        match url.and_then(authority) {
            Some((scheme, authority)) => Self { scheme, authority: authority.to_owned() },
            None => Self { scheme: "ws", authority: bound.to_string() },
        }
    }
}

/// A stream on a node. `{channel}` and `{key}` stand for what is not known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) addresses: Addresses,
    pub(crate) public: &'a Public,
    pub(crate) node: &'a NodeRecord,
    pub(crate) channel: Option<&'a ChannelName>,
    pub(crate) key: Option<&'a StreamKey>,
    pub(crate) role: Role,
}

impl<'a> Target<'a> {
    /// Prints as the websocket's address.
    pub(crate) const fn websocket(self) -> Websocket<'a> {
        Websocket(self)
    }

    /// Prints as the address of the node's page, where clients reach the node.
    pub(crate) fn page(self) -> Option<Page<'a>> {
        // `ws` is `http`, and `wss` is `https`.
        let rest = self.node.url.strip_prefix("ws")?;
        (self.addresses == Addresses::Nodes).then_some(Page(self, rest))
    }

    fn channel(&self) -> &'a str {
        self.channel.map_or("{channel}", ChannelName::as_str)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Websocket<'a>(Target<'a>);

impl Display for Websocket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(target) = self;
        match target.addresses {
            Addresses::Nodes => f.write_str(&target.node.url)?,
            Addresses::Proxied => {
                let Public { scheme, authority } = target.public;
                for part in [scheme, "://", authority, "/n/", target.node.node.as_str()] {
                    f.write_str(part)?;
                }
            }
        }
        let kind = match target.role {
            Role::Publish => "/publish",
            Role::Receive => "/receive",
        };
        for part in ["/", target.channel(), "/", target.key.map_or("{key}", StreamKey::expose), kind] {
            f.write_str(part)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a>(Target<'a>, &'a str);

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(target, rest) = self;
        for part in ["http", rest, "/"] {
            f.write_str(part)?;
        }
        // The page publishes by its form alone, and asks for a key that it is not given.
        if target.role == Role::Receive {
            f.write_str("#watch=")?;
            f.write_str(target.channel())?;
            if let Some(key) = target.key {
                f.write_str("&key=")?;
                f.write_str(key.expose())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use relay_proto::Incarnation;
    use relay_proto::registry::{Capacity, Load, NodeState};

    use super::*;

    fn record(url: &str) -> NodeRecord {
        NodeRecord {
            node: "n1".parse().unwrap(),
            incarnation: Incarnation::new(1),
            url: url.to_owned(),
            region: None,
            zone: None,
            state: NodeState::InService,
            roles: vec![Role::Receive],
            capacity: Capacity { sessions: 1, processors: 1, egress: None },
            load: Load::default(),
            version: String::new(),
            started_ms: 0,
        }
    }

    #[test]
    fn urls_are_pinned() {
        let (channel, key) = ("cam1".parse().unwrap(), "k3y".parse().unwrap());
        let bound = SocketAddr::from(([10, 0, 0, 9], 8081));
        let node = record("wss://n1.example:8443");
        let public = Public::new(Some("https://live.example"), bound);
        let target = Target {
            addresses: Addresses::Nodes,
            public: &public,
            node: &node,
            channel: Some(&channel),
            key: Some(&key),
            role: Role::Receive,
        };
        let page = |target: Target<'_>| target.page().map(|page| page.to_string());
        assert_eq!(target.websocket().to_string(), "wss://n1.example:8443/cam1/k3y/receive");
        assert_eq!(page(target).unwrap(), "https://n1.example:8443/#watch=cam1&key=k3y");
        let blank = Target { channel: None, key: None, ..target };
        assert_eq!(blank.websocket().to_string(), "wss://n1.example:8443/{channel}/{key}/receive");
        assert_eq!(page(blank).unwrap(), "https://n1.example:8443/#watch={channel}");
        let publish = Target { role: Role::Publish, ..target };
        assert_eq!(publish.websocket().to_string(), "wss://n1.example:8443/cam1/k3y/publish");
        assert_eq!(page(publish).unwrap(), "https://n1.example:8443/");
        let proxied = Target { addresses: Addresses::Proxied, ..target };
        assert_eq!(proxied.websocket().to_string(), "wss://live.example/n/n1/cam1/k3y/receive");
        assert_eq!(page(proxied), None);
        let public = Public::new(None, bound);
        let here = Target { public: &public, ..proxied };
        assert_eq!(here.websocket().to_string(), "ws://10.0.0.9:8081/n/n1/cam1/k3y/receive");
        let odd = record("tcp://n1");
        assert_eq!(page(Target { node: &odd, ..target }), None);
    }
}
