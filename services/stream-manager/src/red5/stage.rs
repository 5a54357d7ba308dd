//! Clusters to try the dialects on, in which nothing changes by itself.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use relay_proto::api::{Channel, ChannelState};
use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};
use relay_proto::report::Report;
use relay_proto::{Epoch, Incarnation, NodeId};

use super::{Known, Setup, Unplaced};
use crate::config::Addresses;
use crate::placement::{Ask, Placed, place};
use crate::urls::Public;
use crate::view::{Timing, View};

/// Ten seconds after the streams have begun.
const UNIX_MS: u64 = 1_767_323_055_000;
const BEGAN: &str = "2026-01-02T03:04:05Z";
const HEARD_MS: u64 = 1000;
const NOW_MS: u64 = 1500;

pub(super) struct Stage {
    view: RefCell<View>,
    cluster: NodeId,
    addresses: Addresses,
    public: Public,
}

impl Stage {
    /// The stage of this name.
    pub(super) fn named(name: &str) -> Self {
        let nodes = match name {
            // Two regions. The publisher of `cam` is on n1, and n2 has it for others. n3 is on its way out.
            "cluster" => vec![
                (node("n1", "wss://n1.example:8443", Some("eu")), channels("n1")),
                (node("n2", "ws://10.0.0.2:8080", Some("us")), channels("n2")),
                (
                    NodeRecord { state: NodeState::Draining, ..node("n3", "ws://10.0.0.3:8080", Some("us")) },
                    Vec::new(),
                ),
            ],
            // A node without a region, and a stream that nobody has asked for yet.
            "alone" => vec![(
                node("n1", "ws://127.0.0.1:8080", None),
                vec![channel("cam", ChannelState::Live, None, 0)],
            )],
            "proxied" => vec![(
                node("n1", "ws://10.0.0.1:8080", Some("eu")),
                vec![channel("cam", ChannelState::Live, None, 1)],
            )],
            "full" => {
                let record = node("n1", "ws://10.0.0.1:8080", Some("eu"));
                let load = Load { sessions: record.capacity.sessions, ..record.load };
                vec![(NodeRecord { load, ..record }, vec![channel("cam", ChannelState::Live, None, 1)])]
            }
            "empty" => Vec::new(),
            _ => panic!("there is no stage {name}"),
        };
        Self::of(nodes, name == "proxied")
    }

    /// One node with so many streams.
    pub(super) fn with_streams(count: usize) -> Self {
        let channels = (0..count).map(|number| channel(&format!("cam{number}"), ChannelState::Live, None, 0));
        Self::of(vec![(node("n1", "ws://10.0.0.1:8080", None), channels.collect())], false)
    }

    fn of(nodes: Vec<(NodeRecord, Vec<Channel>)>, is_proxied: bool) -> Self {
        let mut view = View::new(Timing { silent_after_ms: 4000, reservation_ms: 10_000, warm_up_ms: 0 });
        for (record, channels) in nodes {
            let record = Box::new(record);
            view.heard(Report::Whole { record, round: 1, part: 0, parts: 1, channels }, HEARD_MS);
        }
        Self {
            view: RefCell::new(view),
            cluster: "relaycast".parse().unwrap(),
            addresses: if is_proxied { Addresses::Proxied } else { Addresses::Nodes },
            public: Public::new(
                is_proxied.then_some("https://live.example"),
                "127.0.0.1:8081".parse().unwrap(),
            ),
        }
    }

    pub(super) fn setup(&self) -> Setup<'_> {
        assert_eq!(
            humantime::parse_rfc3339(BEGAN).unwrap() + Duration::from_secs(10),
            UNIX_EPOCH + Duration::from_millis(UNIX_MS)
        );
        Setup {
            app: "live",
            cluster: &self.cluster,
            addresses: self.addresses,
            public: &self.public,
            reserved_ms: 10_000,
            unix_ms: UNIX_MS,
        }
    }

    /// Places that are kept on a node.
    pub(super) fn reserved(&self, node: &str) -> u64 {
        self.view.borrow().node(&node.parse().unwrap()).unwrap().reserved()
    }
}

impl Known for Stage {
    fn look<T>(&self, look: impl FnOnce(&View, u64) -> T) -> T {
        look(&self.view.borrow(), NOW_MS)
    }

    fn place<T>(
        &self,
        ask: &Ask<'_>,
        at_least: usize,
        tell: impl FnOnce(&View, u64, &[Placed]) -> T,
    ) -> Result<T, Unplaced> {
        let found = place(&self.view.borrow(), ask, NOW_MS, &mut |_| 0);
        let placed = found.map_err(|none| Unplaced::of(&none, &self.view.borrow(), ask, NOW_MS))?;
        if placed.len() < at_least {
            return Err(Unplaced::TooFew(placed.len()));
        }
        let told = tell(&self.view.borrow(), NOW_MS, &placed);
        for placed in &placed {
            self.view.borrow_mut().reserve_at(placed.slot, 1, NOW_MS);
        }
        Ok(told)
    }
}

fn node(name: &str, url: &str, region: Option<&str>) -> NodeRecord {
    NodeRecord {
        node: name.parse().unwrap(),
        incarnation: Incarnation::new(u64::from(name.as_bytes()[1])),
        url: url.to_owned(),
        rtmp: None,
        region: region.map(str::to_owned),
        zone: region.map(|region| format!("{region}-a")),
        state: NodeState::InService,
        roles: vec![Role::Publish, Role::Receive],
        capacity: Capacity { sessions: 100, processors: 2, egress: None },
        load: Load { sessions: 3, ..Load::default() },
        version: "0.1.0".to_owned(),
        started_ms: UNIX_MS - 60_000,
    }
}

fn channels(node: &str) -> Vec<Channel> {
    let is_origin = node == "n1";
    let origin = if is_origin { None } else { Some("n1") };
    let mut channels = vec![channel("cam", ChannelState::Live, origin, if is_origin { 2 } else { 3 })];
    if is_origin {
        channels.push(channel("held", ChannelState::Held, None, 1));
        channels.push(channel("room-cam", ChannelState::Stalled, None, 0));
        channels.push(channel("waited", ChannelState::Waiting, None, 1));
    }
    channels
}

fn channel(name: &str, state: ChannelState, origin: Option<&str>, receivers: u64) -> Channel {
    Channel {
        name: name.parse().unwrap(),
        state,
        container: None,
        tracks: Vec::new(),
        receivers,
        bitrate: 1_000_000,
        epoch: Epoch::new(7),
        origin: origin.map(|origin| origin.parse().unwrap()),
        started_at: (state != ChannelState::Waiting).then(|| BEGAN.to_owned()),
    }
}
