//! What a chunk costs that goes from node to node: processor time of each process, beside the same of bare NATS.

use serde::Serialize;

use super::servers::Cluster;
use super::spread::Spread;
use super::{Error, Load, Rounds, bare, relay};

/// Microseconds of processor per message.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    load: Load,
    /// Takes from publishers and gives to receivers.
    one_node: Spread,
    /// Takes from publishers and gives to the backbone.
    origin: Spread,
    /// Takes from the backbone and gives to receivers.
    edge: Spread,
    nats_of_nodes: Spread,
    bare_publisher: Spread,
    bare_subscriber: Spread,
    nats_of_bare: Spread,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
}

pub(crate) fn measure(cluster: &Cluster, load: Load, rounds: Rounds) -> Result<Cost, Error> {
    let (a, b) = (cluster.node(0), cluster.node(1));
    let (mut one, mut two, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds.rounds {
        let title = |what: &str| format!("cost, {load}, round {round} of {}, {what}", rounds.rounds);
        one.push(relay(cluster, (a, a), load, rounds, &format!("cost-{round}-1"), &title("one node"))?);
        two.push(relay(cluster, (a, b), load, rounds, &format!("cost-{round}-2"), &title("two nodes"))?);
        bare.push(bare::measure(cluster, load, rounds, &title("bare NATS"))?);
    }
    // Publisher's node, receiver's node, NATS: where the nodes are one, it counts as the first.
    let each = |outcomes: &[crate::report::Outcome], index: usize| {
        let of = |outcome: &crate::report::Outcome| {
            Some(*outcome.server.as_ref()?.cpu_us_per_message_each.get(index)?)
        };
        Spread::of(outcomes.iter().filter_map(of))
    };
    let all = || one.iter().chain(&two);
    Ok(Cost {
        load,
        one_node: each(&one, 0),
        origin: each(&two, 0),
        edge: each(&two, 1),
        nats_of_nodes: each(&two, 2),
        bare_publisher: Spread::of(bare.iter().map(|bare| bare.publisher_us)),
        bare_subscriber: Spread::of(bare.iter().map(|bare| bare.subscriber_us)),
        nats_of_bare: Spread::of(bare.iter().map(|bare| bare.server_us)),
        delivered: all().map(|outcome| outcome.delivered).sum(),
        lost: all().map(|outcome| outcome.lost).chain(bare.iter().map(|bare| bare.lost)).sum(),
    })
}

impl Cost {
    /// A table in Markdown.
    pub(crate) fn table(&self) -> String {
        let rows = [
            ("origin: from websockets to NATS", self.origin),
            ("edge: from NATS to websockets", self.edge),
            ("NATS server between them", self.nats_of_nodes),
            ("one node: from websockets to websockets", self.one_node),
            ("bare NATS: publisher", self.bare_publisher),
            ("bare NATS: subscriber", self.bare_subscriber),
            ("bare NATS: server", self.nats_of_bare),
        ];
        let head = format!("| CPU per chunk, {} | µs |\n|---|---|\n", self.load);
        rows.iter().fold(head, |table, (name, spread)| table + &format!("| {name} | {} |\n", spread.text(1)))
    }
}
