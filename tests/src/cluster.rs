//! A cluster of nodes, each with wires of its own to Redis and to NATS, so that one can be cut off from either.
//!
//! A single NATS server tells its clients of no other address, so nobody finds a way past a wire.

use std::net::SocketAddr;
use std::time::Duration;

use crate::nats::Nats;
use crate::node::Node;
use crate::redis::{Client, Redis, Reply};
use crate::until;
use crate::wire::Wire;

/// What keys are hashed with.
pub const SECRET: &str = "the-secret-of-the-cluster";

/// How often nodes tell the registry of themselves.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// Short times, so that what expires does so within a test.
const SETTINGS: [&str; 6] = [
    "--registry-interval=500ms",
    "--grace=10s",
    "--upstream-linger=1s",
    "--challenge-timeout=500ms",
    "--log-level=relay_edge=debug,info",
    "--cluster-secret=the-secret-of-the-cluster",
];

/// A running cluster. Dropping it kills all.
#[derive(Debug)]
pub struct Cluster<const N: usize> {
    /// The nodes `n1`, `n2` and so on.
    pub members: [Member; N],
    /// What they share as registry.
    pub redis: Redis,
    /// What they share as backbone.
    pub nats: Nats,
}

/// A node, and its wires.
#[derive(Debug)]
pub struct Member {
    /// The node.
    pub node: Node,
    /// Between it and Redis.
    pub redis: Wire,
    /// Between it and NATS.
    pub nats: Wire,
}

impl<const N: usize> Cluster<N> {
    /// Starts it, and returns once every node takes sessions. Each flag is `--NAME=VALUE`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(flags: &[&str]) -> Self {
        let (redis, nats) = (Redis::start().await, Nats::start().await);
        let mut members = Vec::new();
        for number in 1..=N {
            members.push(Member::start(&format!("n{number}"), redis.address(), nats.address(), flags).await);
        }
        for member in &members {
            until_ready(&member.node).await;
        }
        Self { members: members.try_into().expect("as many as were started"), redis, nats }
    }
}

impl Member {
    /// Starts a node of this name, which is not ready yet.
    pub async fn start(name: &str, redis: SocketAddr, nats: SocketAddr, flags: &[&str]) -> Self {
        let (redis, nats) = (Wire::to(redis).await, Wire::to(nats).await);
        let (registry, backbone) =
            (format!("redis://{}/", redis.address()), format!("nats://{}", nats.address()));
        let node = Node::start(&as_str(&node_flags(name, &registry, &backbone, flags))).await;
        Self { node, redis, nats }
    }
}

/// The flags of a node of this name, with short times unless `flags` say otherwise.
pub fn node_flags(name: &str, redis: &str, nats: &str, flags: &[&str]) -> Vec<String> {
    let named = |flag: &str| flag.split('=').next().map(str::to_owned);
    let is_own = |setting: &&&str| flags.iter().all(|flag| named(flag) != named(setting));
    let mut all: Vec<_> = SETTINGS.iter().filter(is_own).map(|setting| (*setting).to_owned()).collect();
    all.extend(flags.iter().map(|flag| (*flag).to_owned()));
    all.extend([format!("--node-id={name}"), format!("--redis={redis}"), format!("--nats={nats}")]);
    all
}

/// As [`Node::start`] wants them.
pub fn as_str(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Waits until a node takes sessions; it lives all the while.
pub async fn until_ready(node: &Node) {
    until("the node is ready", async || {
        assert_eq!(node.healthz().await.0, 200);
        (node.readyz().await.0 == 200).then_some(())
    })
    .await;
}

/// Waits until a node takes no sessions because of this; it lives all the while.
pub async fn until_misses(node: &Node, part: &str) {
    until(&format!("the node misses {part}"), async || {
        assert_eq!(node.healthz().await.0, 200);
        let (status, body) = node.readyz().await;
        (status == 503 && body.contains(part)).then_some(())
    })
    .await;
}

/// What Redis has of a channel's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// Who has it.
    pub node: String,
    /// The publication.
    pub epoch: String,
    /// Whether it is live by the clock of Redis.
    pub is_live: bool,
}

/// Looks into Redis for a channel's lease.
///
/// # Panics
/// When Redis does not answer.
pub async fn lease(redis: &mut Client, channel: &str) -> Option<Leased> {
    let key = format!("relaycast:{{{channel}}}:lease");
    let fields = redis.command(&["HMGET", &key, "node", "epoch", "live_until"]).await.unwrap();
    let [Reply::Text(node), Reply::Text(epoch), Reply::Text(until)] = fields.list() else { return None };
    let time = redis.command(&["TIME"]).await.unwrap();
    let part = |index: usize| time.list()[index].text().parse::<u64>().unwrap();
    let now = part(0) * 1000 + part(1) / 1000;
    let is_live = until.parse::<u64>().unwrap() > now;
    Some(Leased { node: node.clone(), epoch: epoch.clone(), is_live })
}

/// Waits until the lease of a channel is as wanted.
pub async fn until_leased(redis: &Redis, channel: &str, wanted: impl Fn(&Leased) -> bool) -> Leased {
    let mut client = redis.client().await;
    until(&format!("the lease of {channel}"), async || lease(&mut client, channel).await.filter(&wanted))
        .await
}
