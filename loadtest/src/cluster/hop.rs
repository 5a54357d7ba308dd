//! A hop: how much later a message comes through two nodes than through one, beside what bare NATS takes for it.

use serde::Serialize;

use super::servers::Cluster;
use super::spread::Spread;
use super::verdict::Verdict;
use super::{Error, Load, Rounds, bare, relay};

/// Small, as cameras send, and as large as few frames are.
pub(crate) const LOADS: [Load; 3] = [
    Load { channels: 1, rate: 50.0, bytes: 1 << 10 },
    Load { channels: 1, rate: 50.0, bytes: 16 << 10 },
    Load { channels: 1, rate: 30.0, bytes: 100 << 10 },
];

/// What a hop may add, of what bare NATS takes at its best.
const OF_BARE_MAX: f64 = 1.5;

/// And beside that, in milliseconds: nodes hand a message from task to task and thread to thread, and write it once more.
const MORE_MS_MAX: f64 = 0.3;

/// Milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Hop {
    load: Load,
    one_node_p50: Spread,
    two_nodes_p50: Spread,
    two_nodes_p99: Spread,
    added_p50: Spread,
    bare_p50: Spread,
    bare_p99: Spread,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
}

pub(crate) fn measure(cluster: &Cluster, load: Load, rounds: Rounds) -> Result<Hop, Error> {
    let (a, b) = (cluster.node(0), cluster.node(1));
    let (mut one, mut two, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds.rounds {
        let title = |what: &str| format!("hop, {load}, round {round} of {}, {what}", rounds.rounds);
        let name = |nodes| format!("hop-{}-{round}-{nodes}", load.bytes);
        one.push(relay(cluster, (a, a), load, rounds, &name(1), &title("one node"))?);
        two.push(relay(cluster, (a, b), load, rounds, &name(2), &title("two nodes"))?);
        bare.push(bare::measure(cluster, load, rounds, &title("bare NATS"))?);
    }
    let ms = |us: f64| us / 1e3;
    let added = one.iter().zip(&two).map(|(one, two)| ms(two.latency_us.p50 - one.latency_us.p50));
    let all = || one.iter().chain(&two);
    Ok(Hop {
        load,
        one_node_p50: Spread::of(one.iter().map(|outcome| ms(outcome.latency_us.p50))),
        two_nodes_p50: Spread::of(two.iter().map(|outcome| ms(outcome.latency_us.p50))),
        two_nodes_p99: Spread::of(two.iter().map(|outcome| ms(outcome.latency_us.p99))),
        added_p50: Spread::of(added),
        bare_p50: Spread::of(bare.iter().map(|bare| ms(bare.latency_us.p50))),
        bare_p99: Spread::of(bare.iter().map(|bare| ms(bare.latency_us.p99))),
        delivered: all().map(|outcome| outcome.delivered).sum(),
        lost: all().map(|outcome| outcome.lost).chain(bare.iter().map(|bare| bare.lost)).sum(),
    })
}

impl Hop {
    pub(crate) fn verdict(&self) -> Verdict {
        let at_most = OF_BARE_MAX * self.bare_p50.median + MORE_MS_MAX;
        Verdict::at_most(format!("hop, {}: p50 added", self.load), at_most, self.added_p50.median, "ms")
    }
}

/// A table in Markdown.
pub(crate) fn table(hops: &[Hop]) -> String {
    let head = "| hop, ms | one node p50 | two nodes p50 | added p50 | bare NATS p50 | two nodes p99 | bare NATS p99 |\n\
                |---|---|---|---|---|---|---|\n";
    let row = |hop: &Hop| {
        let Hop { load, one_node_p50, two_nodes_p50, two_nodes_p99, added_p50, bare_p50, bare_p99, .. } = hop;
        let figures = [one_node_p50, two_nodes_p50, added_p50, bare_p50, two_nodes_p99, bare_p99];
        format!("| {load} | {} |\n", figures.map(|spread| spread.text(2)).join(" | "))
    };
    hops.iter().map(row).fold(head.to_owned(), |table, row| table + &row)
}
