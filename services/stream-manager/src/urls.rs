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
    /// The websocket's address.
    pub(crate) fn websocket(self) -> Joined<'a, 10> {
        let [scheme, delimiter, authority, prefix, node] = match self.addresses {
            Addresses::Nodes => [self.node.url.as_str(), "", "", "", ""],
            Addresses::Proxied => {
                let Public { scheme, authority } = self.public;
                [scheme, "://", authority, "/n/", self.node.node.as_str()]
            }
        };
        let kind = match self.role {
            Role::Publish => "/publish",
            Role::Receive => "/receive",
        };
        let key = self.key.map_or("{key}", StreamKey::expose);
        Joined([scheme, delimiter, authority, prefix, node, "/", self.channel(), "/", key, kind])
    }

    /// The address of the node's page, where clients reach the node.
    pub(crate) fn page(self) -> Option<Joined<'a, 7>> {
        // `ws` is `http`, and `wss` is `https`.
        let rest = self.node.url.strip_prefix("ws").filter(|_| self.addresses == Addresses::Nodes)?;
        Some(Joined(match (self.role, self.key) {
            // The page publishes by its form alone, and asks for a key that it is not given.
            (Role::Publish, _) => ["http", rest, "/", "", "", "", ""],
            (Role::Receive, None) => ["http", rest, "/", "#watch=", self.channel(), "", ""],
            (Role::Receive, Some(key)) => {
                ["http", rest, "/", "#watch=", self.channel(), "&key=", key.expose()]
            }
        }))
    }

    /// The address for RTMP, where clients reach the node and it takes that. Wherever an encoder cuts it in two, its parts are
    /// found.
    pub(crate) fn rtmp(self) -> Option<Joined<'a, 5>> {
        let reaches = self.addresses == Addresses::Nodes && self.role == Role::Publish;
        let node = self.node.rtmp.as_deref().filter(|_| reaches)?;
        let key = self.key.map_or("{key}", StreamKey::expose);
        Some(Joined([node, "/live/", self.channel(), "/", key]))
    }

    fn channel(&self) -> &'a str {
        self.channel.map_or("{channel}", ChannelName::as_str)
    }
}

/// An address in parts. It has no way out but those that are meant to show it: a key may be in it.
#[derive(Clone, Copy)]
pub(crate) struct Joined<'a, const PARTS: usize>([&'a str; PARTS]);

impl<'a, const PARTS: usize> Joined<'a, PARTS> {
    pub(crate) const fn parts(&self) -> &[&'a str; PARTS] {
        &self.0
    }
}

impl<const PARTS: usize> Display for Joined<'_, PARTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| f.write_str(part))
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
            rtmp: None,
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
        let rtmp = |target: Target<'_>| target.rtmp().map(|rtmp| rtmp.to_string());
        assert_eq!(rtmp(publish), None, "a node that does not take it");
        let pushed = NodeRecord { rtmp: Some("rtmp://n1.example:1935".to_owned()), ..node.clone() };
        let push = Target { node: &pushed, ..publish };
        assert_eq!(rtmp(push).unwrap(), "rtmp://n1.example:1935/live/cam1/k3y");
        let blank_push = Target { channel: None, key: None, ..push };
        assert_eq!(rtmp(blank_push).unwrap(), "rtmp://n1.example:1935/live/{channel}/{key}");
        assert_eq!(rtmp(Target { role: Role::Receive, ..push }), None);
        assert_eq!(rtmp(Target { addresses: Addresses::Proxied, ..push }), None);
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
