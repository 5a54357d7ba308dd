//! Operators that take a node out of service and bring it back, and see its sessions.

use std::time::Duration;

use relay_cluster::registry::MemoryRegistry;
use relay_cluster::{Backbone, Registry};
use relay_edge::Config;
use relay_proto::api::Sessions;
use relay_proto::backbone::{
    Peer, Request, SESSIONS_BYTES_MAX, Stated, Subjects, from_json, from_json_within, to_json,
};
use relay_proto::registry::NodeState;
use relay_proto::{NodeId, SessionId};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::nodes::{Nodes, config};
use crate::support::{HANG, Node};

const LEAVING: &str = "ERROR: The node is leaving service";

/// A node as others address it.
struct Asked<'a, B> {
    backbone: &'a B,
    registry: &'a MemoryRegistry,
    peer: Peer,
}

impl<'a, B: Backbone> Asked<'a, B> {
    async fn named(name: &str, registry: &'a MemoryRegistry, backbone: &'a B) -> Self {
        let node: NodeId = name.parse().unwrap();
        let found = async {
            loop {
                let nodes = registry.nodes().await.unwrap();
                if let Some(record) = nodes.into_iter().find(|record| record.node == node) {
                    return record.incarnation;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        let incarnation = timeout(HANG, found).await.unwrap();
        Self { backbone, registry, peer: Peer { node, incarnation } }
    }

    async fn ask(&self, request: &Request) -> bytes::Bytes {
        let subjects = Subjects::new("relaycast".parse().unwrap());
        let subject = subjects.node(&self.peer.node, self.peer.incarnation);
        self.backbone.request(&subject, to_json(request).into(), HANG).await.unwrap()
    }

    async fn state(&self, request: &Request) -> NodeState {
        from_json::<Stated>(&self.ask(request).await).unwrap().state
    }

    async fn sessions(&self, channel: Option<&str>, after: Option<SessionId>, max: u32) -> Sessions {
        let channel = channel.map(|channel| channel.parse().unwrap());
        let answer = self.ask(&Request::Sessions { channel, after, max }).await;
        assert!(answer.len() <= 1000, "no longer than the backbone takes");
        from_json_within(&answer, SESSIONS_BYTES_MAX).unwrap()
    }

    /// Waits until the registry says so.
    async fn until(&self, state: NodeState) {
        let said = async {
            while self
                .registry
                .nodes()
                .await
                .unwrap()
                .iter()
                .all(|record| record.node != self.peer.node || record.state != state)
            {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(HANG, said).await.unwrap();
    }
}

/// Connections that do nothing but be there: each lets the sessions of a drain take two milliseconds longer.
async fn crowd(node: &Node, count: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        crowd.push(TcpStream::connect(node.address).await.unwrap());
    }
    node.until("relaycast_connections", |open| open >= count as f64).await;
    crowd
}

/// Heartbeats do not come to the help of what should be told at once.
fn silent() -> Config {
    Config { registry_interval: Duration::from_secs(600), ..config() }
}

#[tokio::test]
async fn a_node_that_is_drained_sends_everybody_elsewhere_and_stays() {
    let Nodes { nodes: [one, two], ends, registry } = Nodes::start(silent()).await;
    let asked = Asked::named("n1", &registry, &*ends[1]).await;
    let publisher = one.publish("/cam/secret/publish", b"first").await.stay();
    let receiver = one.wait_for("/cam/secret/receive").await.stay();
    assert_eq!(asked.state(&Request::Drain).await, NodeState::Draining);
    assert_eq!(one.readiness.check(), Err(vec!["draining"]));
    assert_eq!(one.metric("relaycast_draining", &[]), 1.0);
    asked.until(NodeState::Draining).await;
    receiver.was_refused(LEAVING, 1012).await;
    publisher.was_refused(LEAVING, 1012).await;
    for kind in ["publish", "receive", "probe"] {
        one.open(&format!("/cam/secret/{kind}")).await.is_refused(LEAVING, 1012).await;
    }
    let _elsewhere = two.publish("/cam/secret/publish", b"second").await;
    assert_eq!(asked.state(&Request::Drain).await, NodeState::Draining, "said twice");

    assert_eq!(asked.state(&Request::Undrain).await, NodeState::InService);
    assert_eq!(one.readiness.check(), Ok(()));
    assert_eq!(one.metric("relaycast_draining", &[]), 0.0);
    asked.until(NodeState::InService).await;
    let mut receiver = one.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"second");
    let _publisher = one.publish("/other/secret/publish", b"first").await;
}

#[tokio::test]
async fn who_has_not_left_when_the_node_comes_back_stays() {
    let Nodes { nodes: [one, _two], ends, registry } = Nodes::start(silent()).await;
    let asked = Asked::named("n1", &registry, &*ends[1]).await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    // Publishers leave after all of these have had two milliseconds, and within as long again.
    let _crowd = crowd(&one, 300).await;
    let began = Instant::now();
    asked.state(&Request::Drain).await;
    asked.until(NodeState::Draining).await;
    asked.state(&Request::Undrain).await;
    assert!(began.elapsed() < Duration::from_millis(600), "the machine is too slow for this test");
    let mut receiver = one.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    sleep_until(began + Duration::from_millis(1300)).await;
    publisher.send(b"second").await;
    assert_eq!(receiver.chunk().await, b"second");
    asked.state(&Request::Drain).await;
    let staying = publisher.stay();
    assert_eq!(one.readiness.check(), Err(vec!["draining"]));
    staying.was_refused(LEAVING, 1012).await;
}

#[tokio::test]
async fn a_signal_ends_a_node_that_is_drained_or_was() {
    for back in [false, true] {
        let Nodes { nodes: [one, _two], ends, registry } = Nodes::start(silent()).await;
        let asked = Asked::named("n1", &registry, &*ends[1]).await;
        let publisher = one.publish("/cam/secret/publish", b"first").await.stay();
        let mut silent = one.connect().await;
        one.until("relaycast_connections", |open| open == 2.0).await;
        asked.state(&Request::Drain).await;
        if back {
            asked.state(&Request::Undrain).await;
        }
        one.trigger.advance();
        publisher.was_refused(LEAVING, 1012).await;
        // It is still there for the one that has not said what it wants.
        assert_eq!(asked.state(&Request::Undrain).await, NodeState::Draining, "for good");
        assert_eq!(one.readiness.check(), Err(vec!["draining"]));
        silent.write("GET /v1/channels HTTP/1.1\r\nHost: x\r\n\r\n").await;
        silent.everything().await;
        one.ended().await;
    }
}

#[tokio::test]
async fn sessions_come_in_pages_that_fit() {
    let Nodes { nodes: [one, two], ends, registry } = Nodes::start(config()).await;
    let asked = Asked::named("n1", &registry, &*ends[1]).await;
    let _publisher = one.publish("/cam/secret/publish", b"first").await;
    let mut receivers = Vec::new();
    for channel in ["cam", "other"].into_iter().cycle().take(20) {
        receivers.push(one.wait_for(&format!("/{channel}/secret/receive")).await);
    }
    let _elsewhere = two.wait_for("/cam/secret/receive").await;
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = asked.sessions(None, after, 1000).await;
        assert!(!page.sessions.is_empty() && page.sessions.len() < 10, "cut where it does not fit");
        all.extend(page.sessions);
        after = all.last().map(|session| session.session);
        if !page.more {
            break;
        }
    }
    assert!(all.is_sorted_by(|one, next| one.session < next.session));
    let kinds = |kind: &str| all.iter().filter(|session| session.kind == kind).count();
    assert_eq!((kinds("publish"), kinds("receive")), (1, 20));

    let first = asked.sessions(None, None, 2).await;
    assert_eq!((first.sessions.len(), first.more), (2, true));
    let none = asked.sessions(None, None, 0).await;
    assert_eq!((none.sessions.len(), none.more), (0, true));
    assert_eq!(asked.sessions(None, after, 2).await, Sessions { sessions: vec![], more: false });
    let nobody = asked.sessions(Some("nobody"), None, 2).await;
    assert_eq!(nobody, Sessions { sessions: vec![], more: false });
    let others = asked.sessions(Some("other"), None, 2).await;
    assert!(others.sessions.iter().all(|session| session.channel.as_str() == "other"));
    assert_eq!((others.sessions.len(), others.more), (2, true));
}
