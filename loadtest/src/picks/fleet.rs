//! Nodes that are none: what stream-managers hear of them is all there is.
//!
//! Whoever asks a stream-manager for a node says so here, and the node's next report tells of a session more: were nobody to
//! arrive, reservations would fill every node up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use relay_proto::api::{Channel, ChannelState, Track};
use relay_proto::backbone::Subjects;
use relay_proto::registry::{Capacity, DEFAULT_CLUSTER, Load, NodeRecord, NodeState, Role};
use relay_proto::report::Report;
use relay_proto::{ChannelName, Epoch, Incarnation, NodeId};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

/// As nodes report by default.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// Channels that are live on each node: their reports are of some kilobytes.
pub(crate) const CHANNELS_PER_NODE: usize = 40;

/// What a node takes: no pick of a whole interval fills one up.
const SESSIONS: u64 = 80_000;

/// And how many bits per second it can send.
const EGRESS: u64 = 40_000_000_000;

/// Nodes are in service for so long that none is new.
const AGE: Duration = Duration::from_secs(60 * 60);

/// Names of nodes begin so; a number follows.
const NAME: &str = "simulated-";

/// Clients that were sent to each node so far.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals(Arc<[AtomicU64]>);

impl Arrivals {
    pub(crate) fn of(nodes: usize) -> Self {
        Self((0..nodes).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether there is a node of this name; a client arrives there.
    pub(crate) fn arrive(&self, name: &[u8]) -> bool {
        let node = self.find(name);
        if let Some(node) = node {
            // A count that nothing else hangs on.
            node.fetch_add(1, Ordering::Relaxed);
        }
        node.is_some()
    }

    /// Whether there is a node of this name.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &[u8]) -> Option<&AtomicU64> {
        let number = name.strip_prefix(NAME.as_bytes())?;
        self.0.get(std::str::from_utf8(number).ok()?.parse::<usize>().ok()?)
    }

    /// How many arrived at each.
    pub(crate) fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

/// Nodes that report until this is dropped.
#[derive(Debug)]
pub(crate) struct Fleet {
    end: Option<oneshot::Sender<()>>,
    reporter: Option<JoinHandle<Result<(), String>>>,
}

impl Fleet {
    /// The first report of every node is out within [`REPORT_INTERVAL`].
    pub(crate) fn start(nats: String, arrivals: Arrivals) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let report = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(report(&nats, &arrivals, ended)).map_err(|error| error.to_string())
        };
        let reporter = thread::Builder::new().name("fleet".to_owned()).spawn(report)?;
        Ok(Self { end: Some(end), reporter: Some(reporter) })
    }

    /// Ends it, and tells what went wrong with it.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.join()
    }

    fn join(&mut self) -> Result<(), String> {
        drop(self.end.take());
        let done = self.reporter.take().map(JoinHandle::join);
        done.unwrap_or(Ok(Ok(()))).unwrap_or_else(|_| Err("nodes reported no more".to_owned()))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Whoever drops it without asking has another error to tell.
        let _ = self.join();
    }
}

async fn report(
    nats: &str,
    arrivals: &Arrivals,
    mut ended: oneshot::Receiver<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let client = async_nats::connect(nats).await?;
    let subject = Subjects::new(DEFAULT_CLUSTER.parse()?).reports();
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let started_ms = now_ms().saturating_sub(AGE.as_millis() as u64);
    let nodes = arrivals.0.len();
    // One after the other, as the reports of many nodes come.
    let mut tick = interval(REPORT_INTERVAL / u32::try_from(nodes)?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for count in 0.. {
        tokio::select! {
            // The sender sends nothing: it goes.
            _ = &mut ended => break,
            _ = tick.tick() => {}
        }
        let (round, node) = (count / nodes, count % nodes);
        let report = Report::Whole {
            record: Box::new(record(node, started_ms, arrivals.0[node].load(Ordering::Relaxed))?),
            round: round as u64,
            part: 0,
            parts: 1,
            channels: (0..CHANNELS_PER_NODE).map(|number| live(node, number)).collect::<Result<_, _>>()?,
        };
        client.publish(subject.clone(), serde_json::to_vec(&report)?.into()).await?;
    }
    client.flush().await?;
    Ok(())
}

fn record(node: usize, started_ms: u64, arrived: u64) -> Result<NodeRecord, Box<dyn std::error::Error>> {
    // Unlike each other, as nodes are: from a fifth to two fifths full.
    let part = (node * 37 % 100) as u64;
    let sessions = SESSIONS / 5 + SESSIONS / 500 * part;
    Ok(NodeRecord {
        node: name(node)?,
        incarnation: Incarnation::new(node as u64 + 1),
        url: format!("ws://10.0.{}.{}:8080", node / 256, node % 256),
        rtmp: None,
        region: Some("eu-1".to_owned()),
        zone: Some(format!("eu-1{}", ['a', 'b', 'c'][node % 3])),
        state: NodeState::InService,
        roles: vec![Role::Publish, Role::Receive],
        capacity: Capacity { sessions: SESSIONS, processors: 8, egress: Some(EGRESS) },
        load: Load {
            sessions,
            publications: CHANNELS_PER_NODE as u64,
            receivers: sessions - CHANNELS_PER_NODE as u64,
            upstreams: 0,
            egress: EGRESS / 5 + EGRESS / 500 * part,
            accepted: sessions + arrived,
            cpu_permille: 200 + part as u32,
            memory_permille: 300,
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms,
    })
}

fn live(node: usize, number: usize) -> Result<Channel, Box<dyn std::error::Error>> {
    let track = |kind: &str, codec: &str| Track {
        kind: kind.to_owned(),
        codec: codec.to_owned(),
        width: None,
        height: None,
        sample_rate: None,
        channels: None,
    };
    Ok(Channel {
        name: channel(node * CHANNELS_PER_NODE + number)?,
        state: ChannelState::Live,
        container: Some("flv".to_owned()),
        tracks: vec![track("video", "avc1.64001f"), track("audio", "mp4a.40.2")],
        receivers: 100,
        bitrate: 2_000_000,
        epoch: Epoch::new(1),
        origin: None,
        started_at: Some("2026-01-01T00:00:00Z".to_owned()),
    })
}

/// The name of a node: all are equally long.
fn name(node: usize) -> Result<NodeId, Box<dyn std::error::Error>> {
    Ok(format!("{NAME}{node:03}").parse()?)
}

/// The name of a channel: all are equally long, and those from [`CHANNELS_PER_NODE`] times the nodes on do not exist.
pub(crate) fn channel(number: usize) -> Result<ChannelName, Box<dyn std::error::Error>> {
    Ok(format!("camera-{number:06}").parse()?)
}

#[cfg(test)]
mod tests {
    use relay_proto::report::REPORT_BYTES_MAX;

    use super::*;

    #[test]
    fn clients_arrive_where_there_is_a_node() {
        let arrivals = Arrivals::of(3);
        for node in [0, 2, 2] {
            assert!(arrivals.arrive(name(node).unwrap().as_str().as_bytes()));
        }
        for name in ["simulated-003", "simulated-", "simulated--1", "other-000", ""] {
            assert!(!arrivals.arrive(name.as_bytes()) && !arrivals.has(name.as_bytes()), "{name}");
        }
        assert_eq!(arrivals.counts(), [1, 0, 2]);
    }

    #[test]
    fn a_report_fits_in_one_part() {
        let channels: Vec<_> = (0..CHANNELS_PER_NODE).map(|number| live(999, number).unwrap()).collect();
        let record = record(999, 0, u64::from(u32::MAX)).unwrap();
        let json = serde_json::to_vec(&channels).unwrap().len() + serde_json::to_vec(&record).unwrap().len();
        assert!(json < REPORT_BYTES_MAX / 2, "{json}");
    }

    #[test]
    fn no_node_is_near_its_limits() {
        for node in 0..1000 {
            let NodeRecord { capacity, load, .. } = record(node, 0, 0).unwrap();
            assert!(load.sessions * 2 < capacity.sessions && load.cpu_permille < 500);
            assert!(capacity.egress.is_some_and(|egress| load.egress * 2 < egress));
        }
    }
}
