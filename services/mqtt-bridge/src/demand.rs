//! Which channels of sources somebody wants, and which of them have media: from what nodes report.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Silence ends nothing while nobody is heard: without a backbone what was known goes on to count. │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::{BTreeSet, HashMap};

use relay_proto::api::{Channel, ChannelState};
use relay_proto::backbone::Peer;
use relay_proto::report::Report;
use relay_proto::source::is_source;
use relay_proto::{ChannelName, Epoch, Incarnation, NodeId};

/// Channels of sources that are kept of one node. A node has no more sessions than that, so no more channels.
const CHANNELS_PER_NODE_MAX: usize = 65_536;

/// Nodes that are kept, as a registry tells of no more.
const NODES_MAX: usize = relay_proto::registry::NODES_MAX;

/// What is known of the channels of sources.
#[derive(Debug)]
pub(crate) struct Demand {
    silent_after_ms: u64,
    nodes: HashMap<NodeId, Node>,
    /// Which nodes have a channel.
    carriers: HashMap<ChannelName, BTreeSet<NodeId>>,
}

#[derive(Debug)]
struct Node {
    incarnation: Incarnation,
    heard_ms: u64,
    round: u64,
    /// Parts of the round that have come.
    parts: BTreeSet<u32>,
    channels: HashMap<ChannelName, Carried>,
}

/// A channel on one node.
#[derive(Debug, Clone)]
struct Carried {
    /// The last round in which the node had it.
    round: u64,
    receivers: u64,
    media: Option<Media>,
}

/// A channel on all nodes together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Attached or waiting.
    pub(crate) receivers: u64,
    /// The newest publication, if it runs.
    pub(crate) media: Option<Media>,
}

/// A publication that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Media {
    /// Where it is published.
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
    /// Whether media comes: a publisher may be connected and send nothing.
    pub(crate) flows: bool,
}

impl Demand {
    /// A node that has said nothing for so long is not there any more.
    pub(crate) fn new(silent_after_ms: u64) -> Self {
        Self { silent_after_ms, nodes: HashMap::new(), carriers: HashMap::new() }
    }

    /// What is known of a channel.
    pub(crate) fn of(&self, channel: &ChannelName) -> Seen {
        let mut seen = Seen::default();
        let nodes = self.carriers.get(channel).into_iter().flatten();
        let carried = nodes.filter_map(|node| self.nodes.get(node)?.channels.get(channel));
        for Carried { receivers, media, .. } in carried {
            seen.receivers = seen.receivers.saturating_add(*receivers);
            let newest = seen.media.as_ref().map(|media| (media.epoch, media.flows));
            if media.as_ref().map(|media| (media.epoch, media.flows)) > newest {
                seen.media.clone_from(media);
            }
        }
        seen
    }

    /// A node has said something. Tells of which channels something else may be known now.
    pub(crate) fn heard(&mut self, report: Report, now_ms: u64) -> BTreeSet<ChannelName> {
        let mut changed = BTreeSet::new();
        match report {
            Report::Whole { record, round, part, parts, channels } => {
                let peer = Peer { node: record.node, incarnation: record.incarnation };
                let Some(node) = self.node(&peer, now_ms, &mut changed) else { return changed };
                if round < node.round {
                    return changed;
                }
                if round > node.round {
                    node.round = round;
                    node.parts.clear();
                }
                node.parts.insert(part);
                let is_whole = node.parts.len() >= parts as usize;
                for channel in channels {
                    self.carry(&peer.node, channel, &mut changed);
                }
                if is_whole {
                    self.keep_of_round(&peer.node, round, &mut changed);
                }
            }
            Report::Channel { peer, channel } => {
                if self.node(&peer, now_ms, &mut changed).is_some() {
                    self.carry(&peer.node, channel, &mut changed);
                }
            }
            Report::Gone { peer } => {
                if self.nodes.get(&peer.node).is_some_and(|node| node.incarnation == peer.incarnation) {
                    self.remove(&peer.node, &mut changed);
                }
            }
        }
        changed
    }

    /// Time has passed, in which nodes could be heard or not. Tells of which channels something else may be known now.
    pub(crate) fn tick(&mut self, now_ms: u64, hears: bool) -> BTreeSet<ChannelName> {
        let mut changed = BTreeSet::new();
        if !hears {
            // Each has its time again, from when it can be heard.
            for node in self.nodes.values_mut() {
                node.heard_ms = now_ms;
            }
            return changed;
        }
        let is_silent = |node: &Node| now_ms.saturating_sub(node.heard_ms) >= self.silent_after_ms;
        let silent: Vec<_> =
            self.nodes.iter().filter(|(_, node)| is_silent(node)).map(|(name, _)| name.clone()).collect();
        for name in silent {
            self.remove(&name, &mut changed);
        }
        changed
    }

    /// The run of a node that has said something. Another run of that name has nothing of the one before.
    fn node(&mut self, peer: &Peer, now_ms: u64, changed: &mut BTreeSet<ChannelName>) -> Option<&mut Node> {
        let known = self.nodes.get(&peer.node).map(|node| node.incarnation);
        if known.is_some_and(|incarnation| incarnation != peer.incarnation) {
            self.remove(&peer.node, changed);
        } else if known.is_none() && self.nodes.len() == NODES_MAX {
            return None;
        }
        let node = self.nodes.entry(peer.node.clone()).or_insert_with(|| Node::new(peer.incarnation));
        node.heard_ms = now_ms;
        Some(node)
    }

    fn carry(&mut self, name: &NodeId, channel: Channel, changed: &mut BTreeSet<ChannelName>) {
        let Some(node) = self.nodes.get_mut(name).filter(|_| is_source(&channel.name)) else { return };
        let flows = match channel.state {
            // Whoever only connected has sent nothing that could be told apart.
            ChannelState::Live => Some(channel.container.is_some()),
            ChannelState::Stalled => Some(false),
            ChannelState::Waiting | ChannelState::Held => None,
        };
        let origin = channel.origin.unwrap_or_else(|| name.clone());
        let media = flows.map(|flows| Media { node: origin, epoch: channel.epoch, flows });
        let carried = Carried { round: node.round, receivers: channel.receivers, media };
        if carried.receivers == 0 && carried.media.is_none() {
            return self.forget(name, &channel.name, changed);
        }
        if let Some(before) = node.channels.get_mut(&channel.name) {
            if (before.receivers, &before.media) != (carried.receivers, &carried.media) {
                changed.insert(channel.name);
            }
            *before = carried;
        } else if node.channels.len() < CHANNELS_PER_NODE_MAX {
            node.channels.insert(channel.name.clone(), carried);
            self.carriers.entry(channel.name.clone()).or_default().insert(name.clone());
            changed.insert(channel.name);
        }
    }

    /// What a whole round did not have, the node does not carry any more.
    fn keep_of_round(&mut self, name: &NodeId, round: u64, changed: &mut BTreeSet<ChannelName>) {
        let channels = self.nodes.get(name).into_iter().flat_map(|node| &node.channels);
        let gone: Vec<_> = channels.filter(|(_, carried)| carried.round < round).collect();
        let gone: Vec<_> = gone.into_iter().map(|(channel, _)| channel.clone()).collect();
        for channel in gone {
            self.forget(name, &channel, changed);
        }
    }

    fn remove(&mut self, name: &NodeId, changed: &mut BTreeSet<ChannelName>) {
        let channels: Vec<_> =
            self.nodes.get(name).into_iter().flat_map(|node| node.channels.keys().cloned()).collect();
        for channel in channels {
            self.forget(name, &channel, changed);
        }
        self.nodes.remove(name);
    }

    fn forget(&mut self, name: &NodeId, channel: &ChannelName, changed: &mut BTreeSet<ChannelName>) {
        let carried = self.nodes.get_mut(name).and_then(|node| node.channels.remove(channel));
        if carried.is_none() {
            return;
        }
        if let Some(carriers) = self.carriers.get_mut(channel) {
            carriers.remove(name);
            if carriers.is_empty() {
                self.carriers.remove(channel);
            }
        }
        changed.insert(channel.clone());
    }
}

impl Node {
    fn new(incarnation: Incarnation) -> Self {
        Self { incarnation, heard_ms: 0, round: 0, parts: BTreeSet::new(), channels: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};

    use super::*;

    const SILENT_AFTER_MS: u64 = 6000;

    fn peer(node: &str, run: u64) -> Peer {
        Peer { node: node.parse().unwrap(), incarnation: Incarnation::new(run) }
    }

    fn channel(name: &str, state: ChannelState, receivers: u64, epoch: u64) -> Channel {
        Channel {
            name: format!("source-{name}").parse().unwrap(),
            state,
            container: Some("mjpeg".to_owned()),
            tracks: Vec::new(),
            receivers,
            bitrate: 0,
            epoch: Epoch::new(epoch),
            origin: None,
            started_at: None,
        }
    }

    fn waits(name: &str, receivers: u64) -> Channel {
        channel(name, ChannelState::Waiting, receivers, 0)
    }

    fn whole(peer: &Peer, round: u64, (part, parts): (u32, u32), channels: Vec<Channel>) -> Report {
        let record = NodeRecord {
            node: peer.node.clone(),
            incarnation: peer.incarnation,
            url: String::new(),
            rtmp: None,
            region: None,
            zone: None,
            state: NodeState::InService,
            roles: vec![Role::Publish],
            capacity: Capacity { sessions: 1, processors: 1, egress: None },
            load: Load::default(),
            version: String::new(),
            started_ms: 0,
        };
        Report::Whole { record: Box::new(record), round, part, parts, channels }
    }

    fn one(peer: &Peer, channel: Channel) -> Report {
        Report::Channel { peer: peer.clone(), channel }
    }

    fn receivers(demand: &Demand, name: &str) -> u64 {
        demand.of(&format!("source-{name}").parse().unwrap()).receivers
    }

    fn media(demand: &Demand, name: &str) -> Option<(String, u64, bool)> {
        let media = demand.of(&format!("source-{name}").parse().unwrap()).media?;
        Some((media.node.to_string(), media.epoch.number(), media.flows))
    }

    fn names(changed: BTreeSet<ChannelName>) -> Vec<String> {
        changed.into_iter().map(|name| name.as_str()["source-".len()..].to_owned()).collect()
    }

    #[test]
    fn receivers_of_all_nodes_count_those_that_wait_too() {
        let mut demand = Demand::new(SILENT_AFTER_MS);
        assert_eq!(names(demand.heard(one(&peer("a", 1), waits("x", 2)), 0)), ["x"]);
        assert_eq!(names(demand.heard(one(&peer("b", 2), waits("x", 3)), 0)), ["x"]);
        assert_eq!(receivers(&demand, "x"), 5);
        assert_eq!(names(demand.heard(one(&peer("b", 2), waits("x", 3)), 0)), [""; 0], "no news");
        demand.heard(one(&peer("a", 1), waits("x", 0)), 0);
        assert_eq!(receivers(&demand, "x"), 3);
        let other = Channel { name: "cam".parse().unwrap(), ..waits("x", 9) };
        assert_eq!(names(demand.heard(one(&peer("a", 1), other), 0)), [""; 0], "no source's channel");
    }

    #[test]
    fn the_newest_publication_counts_wherever_it_is_seen() {
        let mut demand = Demand::new(SILENT_AFTER_MS);
        demand.heard(one(&peer("a", 1), channel("x", ChannelState::Live, 0, 7)), 0);
        assert_eq!(media(&demand, "x"), Some(("a".to_owned(), 7, true)));
        let pulled =
            Channel { origin: Some("c".parse().unwrap()), ..channel("x", ChannelState::Stalled, 1, 8) };
        demand.heard(one(&peer("b", 1), pulled), 0);
        assert_eq!(media(&demand, "x"), Some(("c".to_owned(), 8, false)));
        demand.heard(one(&peer("b", 1), channel("x", ChannelState::Held, 1, 8)), 0);
        assert_eq!(media(&demand, "x"), Some(("a".to_owned(), 7, true)));
    }

    #[test]
    fn a_publisher_that_has_sent_nothing_yet_is_no_media() {
        let mut demand = Demand::new(SILENT_AFTER_MS);
        let connected = Channel { container: None, ..channel("x", ChannelState::Live, 0, 7) };
        demand.heard(one(&peer("a", 1), connected), 0);
        assert_eq!(media(&demand, "x"), Some(("a".to_owned(), 7, false)));
    }

    #[test]
    fn what_a_whole_round_does_not_have_is_gone_once_all_its_parts_have_come() {
        let mut demand = Demand::new(SILENT_AFTER_MS);
        let node = peer("a", 1);
        demand.heard(whole(&node, 1, (0, 1), vec![waits("x", 1), waits("y", 1)]), 0);
        demand.heard(whole(&node, 2, (1, 2), vec![waits("y", 1)]), 0);
        demand.heard(whole(&node, 2, (1, 2), vec![waits("y", 1)]), 0);
        assert_eq!(receivers(&demand, "x"), 1, "a part twice is one part");
        demand.heard(one(&node, waits("z", 1)), 0);
        assert_eq!(names(demand.heard(whole(&node, 2, (0, 2), vec![]), 0)), ["x"]);
        assert_eq!((receivers(&demand, "y"), receivers(&demand, "z")), (1, 1), "said between the parts");
        demand.heard(whole(&node, 1, (0, 1), vec![]), 0);
        assert_eq!(receivers(&demand, "y"), 1, "an older round");
    }

    #[test]
    fn a_node_that_is_gone_wants_nothing() {
        let mut demand = Demand::new(SILENT_AFTER_MS);
        demand.heard(one(&peer("a", 1), waits("x", 1)), 0);
        demand.heard(Report::Gone { peer: peer("a", 2) }, 0);
        assert_eq!(receivers(&demand, "x"), 1, "another run");
        assert_eq!(names(demand.heard(Report::Gone { peer: peer("a", 1) }, 0)), ["x"]);
        demand.heard(one(&peer("a", 2), waits("x", 1)), 0);
        assert_eq!(names(demand.heard(whole(&peer("a", 3), 1, (0, 1), vec![]), 0)), ["x"], "another run");
        assert_eq!(receivers(&demand, "x"), 0);
    }

    #[test]
    fn silence_counts_only_while_others_could_be_heard() {
        let mut demand = Demand::new(SILENT_AFTER_MS);
        demand.heard(one(&peer("a", 1), waits("x", 1)), 0);
        assert_eq!(names(demand.tick(SILENT_AFTER_MS - 1, true)), [""; 0]);
        demand.tick(100 * SILENT_AFTER_MS, false);
        demand.tick(101 * SILENT_AFTER_MS - 1, true);
        assert_eq!(receivers(&demand, "x"), 1);
        assert_eq!(names(demand.tick(101 * SILENT_AFTER_MS, true)), ["x"]);
        assert_eq!(receivers(&demand, "x"), 0);
    }

    #[test]
    fn so_many_nodes_are_kept_and_no_more() {
        let mut demand = Demand::new(SILENT_AFTER_MS);
        for number in 0..=NODES_MAX {
            demand.heard(one(&peer(&format!("n{number}"), 1), waits("x", 1)), 0);
        }
        assert_eq!(receivers(&demand, "x"), NODES_MAX as u64);
    }

    proptest! {
        /// Whatever is heard in whatever order, a whole round of each node tells all there is to know.
        #[test]
        fn the_last_whole_round_is_what_is_known(
            before in prop::collection::vec((0..3_u64, 0..2_u64, 0..4_u64, 0..3_u64, any::<bool>()), 0..40),
        ) {
            let mut demand = Demand::new(SILENT_AFTER_MS);
            for (node, run, name, receivers, is_whole) in before {
                let (peer, channels) = (peer(&format!("n{node}"), run), vec![waits(&name.to_string(), receivers)]);
                let report = if is_whole {
                    whole(&peer, 1 + receivers, (0, 2), channels)
                } else {
                    one(&peer, channels[0].clone())
                };
                demand.heard(report, 0);
            }
            for node in 0..3 {
                demand.heard(whole(&peer(&format!("n{node}"), 9), 99, (0, 1), vec![waits("0", node)]), 0);
            }
            prop_assert_eq!(receivers(&demand, "0"), 3);
            for name in 1..4 {
                prop_assert_eq!(receivers(&demand, &name.to_string()), 0);
            }
            prop_assert_eq!(demand.carriers.len(), 1);
        }
    }
}
