//! A cluster whose parts can be made to fail.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use relay_tests::client::Publisher;
use relay_tests::manager::Manager;
use relay_tests::nats::Nats;
use relay_tests::node::Node;
use relay_tests::redis::{Redis, Reply};
use relay_tests::until;
use relay_tests::wire::{Mode, Wire};
use tokio::time::sleep;

use crate::faults::{Fault, NODES};

/// Where the nodes are at the moment; `None` for one that is not there.
pub(crate) type Addresses = Mutex<[Option<SocketAddr>; NODES]>;

pub(crate) struct Nodes {
    redis: Redis,
    nats: Nats,
    wires: Vec<Wires>,
    nodes: Vec<Node>,
    managers: [Manager; 2],
    addresses: Arc<Addresses>,
}

/// From one node to the registry and to the backbone.
struct Wires {
    redis: Wire,
    nats: Wire,
}

impl Nodes {
    pub(crate) async fn start() -> Self {
        let (redis, nats) = (Redis::start().await, Nats::start().await);
        let mut wires = Vec::new();
        for _ in 0..NODES {
            wires
                .push(Wires { redis: Wire::to(redis.address()).await, nats: Wire::to(nats.address()).await });
        }
        let mut nodes = Vec::new();
        for (number, wires) in wires.iter().enumerate() {
            nodes.push(start(number, wires).await);
        }
        let addresses = std::array::from_fn(|number| Some(nodes[number].address()));
        let managers = [
            Manager::start(redis.address(), nats.address(), &[]).await,
            Manager::start(redis.address(), nats.address(), &[]).await,
        ];
        let this = Self { redis, nats, wires, nodes, managers, addresses: Arc::new(Mutex::new(addresses)) };
        for node in &this.nodes {
            until("the node is ready", async || (node.readyz().await.0 == 200).then_some(())).await;
        }
        this
    }

    pub(crate) fn addresses(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// The stream-managers, at which nothing is made to fail but what they depend on.
    pub(crate) fn managers(&self) -> &[Manager] {
        &self.managers
    }

    pub(crate) fn all(&self) -> &[Node] {
        &self.nodes
    }

    /// Makes something fail for so long.
    pub(crate) async fn fail(&mut self, fault: Fault, time: Duration) {
        match fault {
            Fault::NodeKilled(number) => self.replace(number, time, Node::kill).await,
            Fault::NodeStopped(number) => {
                self.nodes[number].stop().await;
                sleep(time).await;
                self.nodes[number].resume();
            }
            Fault::NodeDrained(number) => {
                self.set_address(number, None);
                let drained = self.nodes.remove(number);
                let left = drained.drain();
                self.nodes.insert(number, start(number, &self.wires[number]).await);
                self.set_address(number, Some(self.nodes[number].address()));
                left.await;
            }
            Fault::RegistryCut(number) => wire(&self.wires[number].redis, Mode::Cut, time).await,
            Fault::RegistryStalled(number) => wire(&self.wires[number].redis, Mode::Stall, time).await,
            Fault::BackboneCut(number) => wire(&self.wires[number].nats, Mode::Cut, time).await,
            Fault::BackboneStalled(number) => wire(&self.wires[number].nats, Mode::Stall, time).await,
            Fault::RegistryKilled => {
                self.redis.kill();
                sleep(time).await;
                self.redis.restart().await;
            }
            Fault::RegistryFlushed => {
                self.redis.flush_all().await;
            }
            Fault::BackboneKilled => {
                self.nats.kill();
                sleep(time).await;
                self.nats.restart().await;
            }
            Fault::EverythingKilled(number) => {
                self.redis.kill();
                self.nats.kill();
                self.replace(number, time, Node::kill).await;
                self.redis.restart().await;
                self.nats.restart().await;
            }
        }
    }

    async fn replace(&mut self, number: usize, time: Duration, end: impl FnOnce(Node)) {
        self.set_address(number, None);
        end(self.nodes.remove(number));
        sleep(time).await;
        self.nodes.insert(number, start(number, &self.wires[number]).await);
        self.set_address(number, Some(self.nodes[number].address()));
    }

    fn set_address(&self, number: usize, address: Option<SocketAddr>) {
        self.addresses.lock().unwrap()[number] = address;
    }

    /// A metric, summed over its labels and all nodes.
    pub(crate) async fn sum(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += node.metric(name).await;
        }
        sum
    }

    /// Leases that the registry says are live.
    pub(crate) async fn live_leases(&self) -> usize {
        let Reply::List(time) = self.redis.command(&["TIME"]).await else { panic!("no time") };
        let now = time[0].text().parse::<u64>().unwrap() * 1000;
        let Reply::List(keys) = self.redis.command(&["KEYS", "*:lease"]).await else { panic!("no keys") };
        let mut live = 0;
        for key in keys {
            let until = self.redis.command(&["HGET", key.text(), "live_until"]).await;
            live += usize::from(until.text().parse::<u64>().unwrap() > now);
        }
        live
    }

    /// Nobody is kept from publishing by what has been.
    pub(crate) async fn every_channel_is_free(&self, channels: usize) {
        for channel in 0..channels {
            let node = &self.nodes[channel % NODES];
            let mut publisher =
                Publisher::connect(&node.url(&format!("c{channel}/another-key/publish"))).await;
            publisher.chunk("once more".into()).await;
            publisher.finish().await;
        }
        until("all of them published", async || {
            (self.sum("relaycast_publications").await == 0.0).then_some(())
        })
        .await;
    }
}

async fn wire(wire: &Wire, mode: Mode, time: Duration) {
    wire.set(mode);
    sleep(time).await;
    wire.set(Mode::Pass);
}

async fn start(number: usize, wires: &Wires) -> Node {
    let redis = format!("--redis=redis://{}", wires.redis.address());
    let nats = format!("--nats=nats://{}", wires.nats.address());
    let name = format!("--node-id=n{number}");
    Node::start(&[
        &redis,
        &nats,
        &name,
        "--cluster-secret=chaos",
        "--registry-interval=500ms",
        "--upstream-linger=1s",
        "--drain-deadline=5s",
        "--log-level=relay_edge=debug,info",
    ])
    .await
}
