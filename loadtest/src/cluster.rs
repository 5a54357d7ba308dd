//! The cluster: what a hop between nodes costs, and what becomes of streams whose node is killed.
//!
//! It starts its own Redis, NATS and nodes, and ends them. Whatever is compared is measured in turns, round after round, so
//! that what else the machine does hits all of it alike.

pub(crate) mod bare;
pub(crate) mod client;
pub(crate) mod cold;
pub(crate) mod cost;
pub(crate) mod hop;
pub(crate) mod killed;
pub(crate) mod servers;
pub(crate) mod spread;
pub(crate) mod verdict;

use std::io;
use std::time::Duration;

use crate::plan::{Endpoint, Plan, Profile, Server};
use crate::progress::Progress;
use crate::report::Outcome;
use crate::run::RunError;
use servers::{Cluster, Node, StartError};

/// Why a scenario has no outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{what}: {source}")]
    Run { what: String, source: RunError },
    #[error("bare NATS: {0}")]
    Bare(String),
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) rounds: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

/// A load that websockets and bare NATS can both be given. Messages without structure: what they mean is no part of a hop.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Load {
    pub(crate) channels: usize,
    /// Messages per second and channel.
    pub(crate) rate: f64,
    pub(crate) bytes: usize,
}

impl Load {
    fn plan(self, rounds: Rounds) -> Plan {
        let Rounds { warmup, duration, .. } = rounds;
        let pace = crate::plan::Pace::Rate(self.rate);
        let Self { channels, bytes, .. } = self;
        Plan { channels, receivers: 1, bytes, pace, warmup, duration, ..Profile::Event.plan() }
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { channels, rate, bytes } = self;
        let channels = if *channels == 1 { "1 channel".to_owned() } else { format!("{channels} channels") };
        write!(f, "{channels}, {} at {rate}/s", crate::report::bytes(*bytes as f64))
    }
}

/// Publishes on one node and receives from another, or the same. `name` is part of the channels' names: no run meets what
/// another left behind.
fn relay(
    cluster: &Cluster,
    (publish, receive): (&Node, &Node),
    load: Load,
    rounds: Rounds,
    name: &str,
    title: &str,
) -> Result<Outcome, Error> {
    let server =
        Server { publish: endpoint(publish, name, "publish"), receive: endpoint(receive, name, "receive") };
    let plan = load.plan(rounds);
    let mut progress = Progress::new(&plan);
    progress.name(format!("{title}: "));
    let pids = [publish.pid(), receive.pid(), cluster.nats_pid()];
    let outcome = crate::run::run(&plan, &server, &pids, &mut progress);
    progress.finish();
    outcome.map_err(|source| Error::Run { what: title.to_owned(), source })
}

/// Where a kind of client of some channels connects.
fn endpoint(node: &Node, name: &str, kind: &str) -> Endpoint {
    let path = format!("/{name}-{{channel}}/load-test/{kind}");
    Endpoint { address: node.address(), host: node.address().to_string(), path }
}
