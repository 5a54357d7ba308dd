//! `relaycast-loadtest picks`.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::Exit;
use crate::cluster::Rounds;
use crate::cluster::servers::Programs;
use crate::cluster::verdict::{self, Verdict};
use crate::command::compare::when_and_where;
use crate::compare::server::beside_this;
use crate::picks::{self, Outcome, Plan};

/// Measures a stream-manager: how many picks it answers a second on one processor, and how soon
///
/// It starts a Redis, a NATS server, a stream-manager and a bare server of HTTP on free ports of this machine, and ends
/// them. Nodes are simulated: they report as nodes do, and clients arrive where they were sent. The bare server answers with
/// a pick that never changes. Both are asked in turns, round after round; what is told is the median, with the lowest and the
/// highest round. It takes some minutes; a threshold that is missed is told on standard error.
///
/// First each connection asks again as soon as it has its answer (closed loop): look at the rate and at CPU per answer. Then
/// questions come at a fixed rate whatever happens (open loop), the same for both: look at latency, which counts from when a
/// question was due. Wanted: 0.6 × the bare server's rate, and a p99 of at most 2 × the bare server's.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  relaycast-loadtest picks
  relaycast-loadtest picks --rounds 9 --out target/picks
  relaycast-loadtest picks --nodes 1000 --manager-flag=--reservation=3s")]
pub(crate) struct Args {
    /// How often everything is measured
    #[arg(long, value_name = "NUMBER", default_value = "5")]
    rounds: usize,

    /// How long questions are asked before anything is recorded
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    warmup: humantime::Duration,

    /// How long each turn measures
    #[arg(long, value_name = "DURATION", default_value = "4s")]
    duration: humantime::Duration,

    /// Nodes to choose from, each with 40 live channels
    #[arg(long, value_name = "NUMBER", default_value = "50", value_parser = clap::value_parser!(u16).range(1..=1000))]
    nodes: u16,

    /// Connections, each with one question at a time
    #[arg(long, value_name = "NUMBER", default_value = "32", value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,

    /// Percentage of the slower one's rate at which latency is measured
    #[arg(long, value_name = "PERCENT", default_value = "50", value_parser = clap::value_parser!(u8).range(1..=100))]
    load: u8,

    /// The servers' processor
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    server_cpu: usize,

    /// The processor of the load generator, Redis and NATS
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    cpu: usize,

    /// The Redis to start
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis_server: PathBuf,

    /// The NATS server to start
    #[arg(long, value_name = "PROGRAM", default_value = "nats-server")]
    nats_server: PathBuf,

    /// The program of the stream-manager [default: relaycast beside this program]
    #[arg(long, value_name = "PROGRAM")]
    relaycast: Option<PathBuf>,

    /// A further flag of the stream-manager (repeatable)
    #[arg(long = "manager-flag", value_name = "FLAG", allow_hyphen_values = true)]
    manager_flags: Vec<String>,

    /// Where the stream-manager's log goes; nowhere, when not given
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,

    /// Where picks.md and picks.json go; nowhere, when not given
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    /// When and where.
    note: String,
    rounds: usize,
    #[serde(flatten)]
    outcome: Outcome,
    thresholds: Vec<Verdict>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        let Self { rounds, server_cpu, cpu, .. } = self;
        if rounds == 0 {
            return Err("rounds must be more than 0".into());
        }
        for folder in self.logs.iter().chain(&self.out) {
            fs::create_dir_all(folder)?;
        }
        let plan = Plan {
            rounds: Rounds { rounds, warmup: self.warmup.into(), duration: self.duration.into() },
            nodes: self.nodes.into(),
            connections: self.connections.into(),
            share: f64::from(self.load) / 100.0,
            server_cpu,
            own_cpu: cpu,
        };
        let programs = Programs {
            redis: self.redis_server,
            nats: self.nats_server,
            relaycast: self.relaycast.map_or_else(|| beside_this("relaycast"), Ok)?,
            relaycast_flags: self.manager_flags,
            relaycast_cpus: vec![server_cpu],
            logs: self.logs,
        };
        let outcome = picks::measure(programs, &plan)?;
        let note = format!(
            "{}, {rounds} rounds, server on processor {server_cpu}, everything else on {cpu}",
            when_and_where()?
        );
        let report = Report { note, rounds, thresholds: outcome.verdicts(), outcome };
        let table = format!("{}\n{}", report.outcome.table(), verdict::table(&report.thresholds));
        write!(io::stdout(), "{table}")?;
        if let Some(folder) = &self.out {
            fs::write(folder.join("picks.md"), format!("{}\n\n{table}", report.note))?;
            fs::write(folder.join("picks.json"), serde_json::to_string_pretty(&report)?)?;
        }
        if let Some(words) = report.outcome.first_wrong() {
            writeln!(io::stderr(), "note: the first answer that is no pick: {words}")?;
        }
        let missed: Vec<_> = report.thresholds.iter().filter(|verdict| !verdict.holds()).collect();
        for verdict in &missed {
            writeln!(io::stderr(), "missed: {}", verdict.words())?;
        }
        Ok(if missed.is_empty() { Exit::Done } else { Exit::ThresholdMissed })
    }
}
