//! Facts, and what of events is told in a word.

use proptest::prelude::*;
use relay_cluster::Journal;
use relay_cluster::journal::RedisJournal;

use relay_cluster::registry::Unavailable;
use relay_cluster::registry::redis::Config;
use relay_proto::backbone::Peer;
use relay_proto::event::{EndReason, Event, EventId, Fact, NodePhase};
use relay_proto::registry::Role;
use relay_proto::{ChannelName, Epoch};

use super::deployments::PATIENCE;
use super::registry::{config, peer};

/// One that is patient with a machine that has other things to do.
pub(crate) fn journal(url: String) -> RedisJournal {
    RedisJournal::new(Config { timeout: PATIENCE, ..config(url) }).unwrap()
}

pub(crate) fn channel(name: &str) -> ChannelName {
    name.parse().unwrap()
}

pub(crate) fn live(name: &str, epoch: u64, by: &Peer) -> Fact {
    Fact::Live { channel: channel(name), epoch: Epoch::new(epoch), peer: by.clone() }
}

pub(crate) fn stalled(name: &str, epoch: u64, by: &Peer) -> Fact {
    Fact::Stalled { channel: channel(name), epoch: Epoch::new(epoch), peer: by.clone() }
}

pub(crate) fn ended(name: &str, epoch: u64, by: &Peer, reason: EndReason) -> Fact {
    Fact::Ended { channel: channel(name), epoch: Epoch::new(epoch), peer: by.clone(), reason }
}

pub(crate) fn watched(name: &str, by: &Peer) -> Fact {
    Fact::Watched { channel: channel(name), peer: by.clone() }
}

pub(crate) fn unwatched(name: &str, by: &Peer) -> Fact {
    Fact::Unwatched { channel: channel(name), peer: by.clone() }
}

pub(crate) fn node(peer: &Peer, state: NodePhase) -> Fact {
    Fact::Node { peer: peer.clone(), state }
}

pub(crate) fn refused(node: &str, name: Option<&str>, reason: &str) -> Fact {
    let (node, channel, reason) = (node.parse().unwrap(), name.map(channel), reason.to_owned());
    Fact::Refused { node, channel, role: Role::Receive, reason }
}

/// `SEQUENCE KIND [CHANNEL/EPOCH] NODE [REASON]`.
pub(crate) fn words(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let mut words = vec![event.sequence.to_string(), event.kind.to_string()];
            match (&event.channel, event.epoch) {
                (Some(channel), Some(epoch)) => words.push(format!("{channel}/{epoch}")),
                (Some(channel), None) => words.push(channel.to_string()),
                (None, _) => {}
            }
            words.extend(event.node.iter().map(ToString::to_string));
            words.extend(event.reason.clone());
            words.join(" ")
        })
        .collect()
}

/// Everything that is kept.
pub(crate) async fn all(journal: &dyn Journal) -> Result<Vec<Event>, Unavailable> {
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(EventId::FIRST, |event: &Event| event.id);
        let more = journal.read(after, usize::MAX).await?.events;
        if more.is_empty() {
            return Ok(events);
        }
        events.extend(more);
    }
}

/// Few, so that they meet; one name is the beginning of another.
pub(crate) const CHANNELS: [&str; 3] = ["cam", "cam-1", "door"];
pub(crate) const PEERS: [(&str, u64); 5] = [("n1", 1), ("n1", 2), ("n1-a", 3), ("n2", 4), ("n2", 0xF5)];

pub(crate) fn any_peer() -> impl Strategy<Value = Peer> {
    (0..PEERS.len()).prop_map(|index| peer(PEERS[index].0, PEERS[index].1))
}

/// Of each epoch there is one origin, as the registry has it; now and then somebody is wrong about that.
fn origin(epoch: u64, other: Option<Peer>) -> Peer {
    let (node, incarnation) = PEERS[usize::try_from(epoch).unwrap() % PEERS.len()];
    other.unwrap_or_else(|| peer(node, incarnation))
}

pub(crate) fn any_fact() -> impl Strategy<Value = Fact> {
    let publication = || {
        let epoch = prop_oneof![20 => 1..9u64, 1 => Just(0), 1 => Just((1 << 53) - 1), 1 => Just(1 << 53)];
        (0..CHANNELS.len(), epoch, prop::option::weighted(0.05, any_peer()))
            .prop_map(|(name, epoch, other)| (CHANNELS[name], epoch, origin(epoch, other)))
    };
    let watch = || (0..CHANNELS.len(), any_peer()).prop_map(|(name, peer)| (CHANNELS[name], peer));
    let reason = prop_oneof![Just(EndReason::Ended), Just(EndReason::Lost), Just(EndReason::Replaced)];
    let phase = prop_oneof![
        3 => Just(NodePhase::InService),
        2 => Just(NodePhase::Draining),
        1 => Just(NodePhase::Left),
        1 => Just(NodePhase::Lost),
    ];
    prop_oneof![
        6 => publication().prop_map(|(name, epoch, peer)| live(name, epoch, &peer)),
        3 => publication().prop_map(|(name, epoch, peer)| stalled(name, epoch, &peer)),
        4 => (publication(), reason).prop_map(|((name, epoch, peer), reason)| ended(name, epoch, &peer, reason)),
        4 => watch().prop_map(|(name, peer)| watched(name, &peer)),
        3 => watch().prop_map(|(name, peer)| unwatched(name, &peer)),
        4 => (any_peer(), phase).prop_map(|(peer, phase)| node(&peer, phase)),
        1 => (any_peer(), prop::option::of(0..CHANNELS.len()), "[a-z_ \"é]{0,9}").prop_map(|(peer, name, reason)| {
            refused(peer.node.as_str(), name.map(|index| CHANNELS[index]), &reason)
        }),
    ]
}
