//! `relaycast-loadtest bridge`.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::Exit;
use crate::bridge::{self, Outcome, Plan};
use crate::cluster::servers::Programs;
use crate::cluster::verdict::{self, Verdict};
use crate::command::compare::when_and_where;
use crate::compare::server::beside_this;

/// Measures a bridge: what thousands of cameras and docks cost it beside a client that only hears them
///
/// It starts a Mosquitto, a Redis, a NATS server, a node, a stream-manager and a bridge on free ports of this machine, and ends
/// them; cameras and docks are simulated. Each camera has a viewer at the node. A bare client hears the same messages at the
/// same time and decodes their pictures. Wanted: 1.5 × the bare client's CPU, and viewers who see 99 of 100 pictures at most
/// 50 ms later than the bare client.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  relaycast-loadtest bridge
  relaycast-loadtest bridge --cameras 100 --docks 10 --duration 5s --out target/bridge")]
pub(crate) struct Args {
    /// Cameras that send a picture a second
    #[arg(long, value_name = "NUMBER", default_value = "2000", value_parser = clap::value_parser!(u16).range(1..=2500))]
    cameras: u16,

    /// Docks that have nothing to do
    #[arg(long, value_name = "NUMBER", default_value = "500", value_parser = clap::value_parser!(u16).range(..=2500))]
    docks: u16,

    /// The bytes of a picture
    #[arg(long, value_name = "NUMBER", default_value = "30000", value_parser = clap::value_parser!(u32).range(..=4_194_304))]
    image_bytes: u32,

    /// How long nothing is recorded once every camera is seen
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    warmup: humantime::Duration,

    /// How long is measured
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    duration: humantime::Duration,

    /// The broker to start
    #[arg(long, value_name = "PROGRAM", default_value = "mosquitto")]
    mosquitto: PathBuf,

    /// The Redis to start
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis_server: PathBuf,

    /// The NATS server to start
    #[arg(long, value_name = "PROGRAM", default_value = "nats-server")]
    nats_server: PathBuf,

    /// The program of the node, the stream-manager and the bridge [default: relaycast beside this program]
    #[arg(long, value_name = "PROGRAM")]
    relaycast: Option<PathBuf>,

    /// A further flag of the bridge (repeatable)
    #[arg(long = "bridge-flag", value_name = "FLAG", allow_hyphen_values = true)]
    bridge_flags: Vec<String>,

    /// Where logs go; nowhere, when not given
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,

    /// Where bridge.md and bridge.json go; nowhere, when not given
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    /// When and where.
    note: String,
    #[serde(flatten)]
    outcome: Outcome,
    thresholds: Vec<Verdict>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        for folder in self.logs.iter().chain(&self.out) {
            fs::create_dir_all(folder)?;
        }
        let plan = Plan {
            cameras: self.cameras.into(),
            docks: self.docks.into(),
            image_bytes: self.image_bytes as usize,
            mosquitto: self.mosquitto,
            bridge_flags: self.bridge_flags,
            warmup: self.warmup.into(),
            duration: self.duration.into(),
        };
        let programs = Programs {
            redis: self.redis_server,
            nats: self.nats_server,
            relaycast: self.relaycast.map_or_else(|| beside_this("relaycast"), Ok)?,
            relaycast_flags: Vec::new(),
            relaycast_cpus: Vec::new(),
            logs: self.logs,
        };
        let outcome = bridge::measure(programs, plan)?;
        let report = Report { note: when_and_where()?, thresholds: outcome.verdicts(), outcome };
        let table = format!("{}\n{}", report.outcome.table(), verdict::table(&report.thresholds));
        write!(io::stdout(), "{table}")?;
        if let Some(folder) = &self.out {
            fs::write(folder.join("bridge.md"), format!("{}\n\n{table}", report.note))?;
            fs::write(folder.join("bridge.json"), serde_json::to_string_pretty(&report)?)?;
        }
        let missed: Vec<_> = report.thresholds.iter().filter(|verdict| !verdict.holds()).collect();
        for verdict in &missed {
            writeln!(io::stderr(), "missed: {}", verdict.words())?;
        }
        Ok(if missed.is_empty() { Exit::Done } else { Exit::ThresholdMissed })
    }
}
