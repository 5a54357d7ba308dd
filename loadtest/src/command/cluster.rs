//! `relaycast-loadtest cluster`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::Exit;
use crate::cluster::client::Stream;
use crate::cluster::cold::{self, Cold};
use crate::cluster::cost::{self, Cost};
use crate::cluster::hop::{self, Hop};
use crate::cluster::killed::{self, Killed};
use crate::cluster::servers::{Cluster, Programs};
use crate::cluster::verdict::{self, Verdict};
use crate::cluster::{Load, Rounds};
use crate::command::compare::when_and_where;
use crate::compare::server::beside_this;

/// Measures a cluster: what a hop between nodes takes, and how soon streams go on when a node is killed
///
/// It starts a Redis, a NATS server and three nodes on free ports of this machine, and ends them. What is compared is
/// measured in turns, round after round; what is told is the median, with the lowest and the highest round. It takes some
/// minutes; a threshold that is missed is told on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Scenarios:
  hop    publisher on one node, receiver on another, and both on one: the difference is what the hop adds. Beside it
         bare NATS: a process that publishes and one that subscribes. Wanted: at most 1.5 × bare NATS + 0.3 ms
  cost   the same with many channels: processor time per message of each process
  cold   the first receiver on a node of a stream that another node has. Wanted: 99 of 100 get a byte within 100 ms
  kill   kill -9 of the node with the publishers, who come back through another at once, seen by receivers on a third.
         Wanted: 99 of 100 get new bytes within 2 s

Examples:
  relaycast-loadtest cluster
  relaycast-loadtest cluster --scenario hop --rounds 9 --out target/cluster
  relaycast-loadtest cluster --scenario kill --logs target/cluster --node-flag=--log-level=relay_edge=debug,info")]
pub(crate) struct Args {
    /// What to measure (repeatable; default: all)
    #[arg(long = "scenario", value_enum, value_name = "NAME")]
    scenarios: Vec<Scenario>,

    /// How often everything is measured, and how many nodes are killed
    #[arg(long, value_name = "NUMBER", default_value = "5")]
    rounds: usize,

    /// How long messages flow before anything is recorded, and streams before a start or a kill
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    warmup: humantime::Duration,

    /// How long each turn of hop and cost measures
    #[arg(long, value_name = "DURATION", default_value = "4s")]
    duration: humantime::Duration,

    /// Channels of cost, each with one receiver
    #[arg(long, value_name = "NUMBER", default_value = "200")]
    channels: usize,

    /// Messages per second and channel of cost
    #[arg(long, value_name = "NUMBER", default_value = "10")]
    rate: f64,

    /// Bytes per message of cost
    #[arg(long, value_name = "BYTES", default_value = "8192")]
    bytes: usize,

    /// Streams per round of cold and kill: FLV with H.264, 8 KiB at 25/s
    #[arg(long, value_name = "NUMBER", default_value = "20")]
    streams: usize,

    /// The Redis to start
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis_server: PathBuf,

    /// The NATS server to start
    #[arg(long, value_name = "PROGRAM", default_value = "nats-server")]
    nats_server: PathBuf,

    /// The node to start [default: relaycast beside this program]
    #[arg(long, value_name = "PROGRAM")]
    relaycast: Option<PathBuf>,

    /// A further flag of each node (repeatable)
    #[arg(long = "node-flag", value_name = "FLAG", allow_hyphen_values = true)]
    node_flags: Vec<String>,

    /// Where the nodes' logs go; nowhere, when not given
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,

    /// Where cluster.md and cluster.json go; nowhere, when not given
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// What a hop adds to the latency
    Hop,
    /// Processor time per message
    Cost,
    /// The first receiver on a node
    Cold,
    /// Nodes that are killed
    Kill,
}

/// A fleet of cameras.
const STREAM: Stream = Stream { rate: 25.0, bytes: 8 << 10 };

/// One that is killed, one that takes its publishers, one with receivers.
const NODES: usize = 3;

/// All that was measured.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// When and where.
    note: String,
    rounds: usize,
    hop: Vec<Hop>,
    cost: Option<Cost>,
    cold: Option<Cold>,
    killed: Option<Killed>,
    thresholds: Vec<Verdict>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        for folder in self.logs.iter().chain(&self.out) {
            fs::create_dir_all(folder)?;
        }
        let report = self.measure()?;
        let table = report.table();
        write!(io::stdout(), "{table}")?;
        if let Some(folder) = &self.out {
            fs::write(folder.join("cluster.md"), format!("{}\n\n{table}", report.note))?;
            fs::write(folder.join("cluster.json"), serde_json::to_string_pretty(&report)?)?;
        }
        let missed: Vec<_> = report.thresholds.iter().filter(|verdict| !verdict.holds()).collect();
        for verdict in &missed {
            writeln!(io::stderr(), "missed: {}", verdict.words())?;
        }
        Ok(if missed.is_empty() { Exit::Done } else { Exit::ThresholdMissed })
    }

    fn measure(&self) -> Result<Report, Box<dyn Error>> {
        let Self { rounds, channels, streams, .. } = *self;
        if rounds == 0 || channels == 0 || streams == 0 || !(self.rate.is_finite() && self.rate > 0.0) {
            return Err("rounds, channels, streams and rate must be more than 0".into());
        }
        let rounds = Rounds { rounds, warmup: self.warmup.into(), duration: self.duration.into() };
        let mut cluster = Cluster::start(self.programs()?, NODES)?;
        // On one thread: between the moment of a kill and the kill nothing else is done.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut report = Report {
            note: format!("{}, all on this machine, {} rounds", when_and_where()?, rounds.rounds),
            rounds: rounds.rounds,
            ..Report::default()
        };
        if self.wants(Scenario::Hop) {
            for load in hop::LOADS {
                report.hop.push(hop::measure(&cluster, load, rounds)?);
            }
        }
        if self.wants(Scenario::Cost) {
            let load = Load { channels, rate: self.rate, bytes: self.bytes };
            report.cost = Some(cost::measure(&cluster, load, rounds)?);
        }
        if self.wants(Scenario::Cold) {
            report.cold = Some(runtime.block_on(cold::measure(&cluster, STREAM, streams, rounds))?);
        }
        if self.wants(Scenario::Kill) {
            report.killed = Some(runtime.block_on(killed::measure(&mut cluster, STREAM, streams, rounds))?);
        }
        report.thresholds = report.verdicts();
        Ok(report)
    }

    fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }

    fn programs(&self) -> io::Result<Programs> {
        Ok(Programs {
            redis: self.redis_server.clone(),
            nats: self.nats_server.clone(),
            relaycast: self.relaycast.clone().map_or_else(|| beside_this("relaycast"), Ok)?,
            relaycast_flags: self.node_flags.clone(),
            relaycast_cpus: Vec::new(),
            logs: self.logs.clone(),
        })
    }
}

impl Report {
    fn verdicts(&self) -> Vec<Verdict> {
        let Self { hop, cost, cold, killed, .. } = self;
        let lost = hop.iter().map(|hop| hop.lost).chain(cost.iter().map(|cost| cost.lost));
        let lost: u64 = lost.chain(killed.iter().map(|killed| killed.lost)).sum();
        let mut verdicts: Vec<_> = hop.iter().map(Hop::verdict).collect();
        verdicts.extend(cold.iter().flat_map(Cold::verdicts));
        verdicts.extend(killed.iter().flat_map(Killed::verdicts));
        verdicts.push(Verdict::at_most("messages lost", 0.0, lost as f64, ""));
        verdicts
    }

    /// In Markdown.
    fn table(&self) -> String {
        let mut table = String::new();
        if !self.hop.is_empty() {
            table += &hop::table(&self.hop);
            table.push('\n');
        }
        if let Some(cost) = &self.cost {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{}", cost.table());
        }
        if self.cold.is_some() || self.killed.is_some() {
            table += "| ms | times | p50 | p99 | longest |\n|---|---|---|---|---|\n";
            table += &self.cold.as_ref().map(Cold::rows).unwrap_or_default();
            table += &self.killed.as_ref().map(Killed::rows).unwrap_or_default();
            table.push('\n');
        }
        table + &verdict::table(&self.thresholds)
    }
}
