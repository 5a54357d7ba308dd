//! `relaycast-loadtest run`.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ArgGroup;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;

use crate::Exit;
use crate::payload::Form;
use crate::plan::{Endpoint, Pace, Plan, Profile, Server};
use crate::progress::Progress;
use crate::report::Outcome;
use crate::threshold::Thresholds;

/// Runs one profile against a server
///
/// A profile is a set of numbers with a name; every one of them can be changed. In an open loop publishers send at a
/// fixed rate whatever happens, as cameras do: look at latency and at CPU per message. In a closed loop (--window) they
/// send as fast as all receivers take it: look at the rate.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  relaycast-loadtest run event --pid $(pidof relaycast)
  relaycast-loadtest run many --channels 1000 --rate 10 --duration 1m --json results.jsonl
  relaycast-loadtest run small --threads 2 --min-rate 500000
  relaycast-loadtest run event --max-p99 20ms --max-lost 0")]
#[command(group = ArgGroup::new("pace").args(["rate", "window"]))]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum, value_name = "PROFILE", default_value = "event")]
    profile: Profile,

    /// The server: ws://HOST:PORT
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080")]
    url: Url,

    /// The path that publishes on a channel
    #[arg(long, value_name = "PATH", default_value = "/{channel}/load-test/publish")]
    publish_path: String,

    /// The path that receives a channel
    #[arg(long, value_name = "PATH", default_value = "/{channel}/load-test/receive")]
    receive_path: String,

    /// The server's process, with all it started, for CPU, memory and context switches (repeatable)
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,

    /// Channels, each with one publisher
    #[arg(long, value_name = "NUMBER")]
    channels: Option<usize>,

    /// Receivers per channel
    #[arg(long, value_name = "NUMBER")]
    receivers: Option<usize>,

    /// Bytes per message
    #[arg(long, value_name = "BYTES")]
    bytes: Option<usize>,

    /// What the messages look like
    #[arg(long, value_enum, value_name = "FORM")]
    form: Option<Form>,

    /// Messages per second and channel (open loop)
    #[arg(long, value_name = "NUMBER")]
    rate: Option<f64>,

    /// Messages on their way per channel (closed loop)
    #[arg(long, value_name = "NUMBER")]
    window: Option<u32>,

    /// Receivers of the first channel that stop reading, beyond the others
    #[arg(long, value_name = "NUMBER")]
    frozen: Option<usize>,

    /// Receivers of the first channel that read too slowly, beyond the others
    #[arg(long, value_name = "NUMBER")]
    slow: Option<usize>,

    /// Bytes per second that each slow receiver reads
    #[arg(long, value_name = "BYTES")]
    slow_bytes: Option<usize>,

    /// Receivers that leave and come back, per second
    #[arg(long, value_name = "NUMBER")]
    churn: Option<f64>,

    /// Handshakes under way at a time, per thread
    #[arg(long, value_name = "NUMBER")]
    connects: Option<usize>,

    /// How long messages flow before anything is recorded
    #[arg(long, value_name = "DURATION")]
    warmup: Option<humantime::Duration>,

    /// How long is measured
    #[arg(long, value_name = "DURATION")]
    duration: Option<humantime::Duration>,

    /// Threads of the load generator
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    threads: usize,

    /// Keeps the load generator on this processor, so that it does not compete with the server (repeatable)
    #[arg(long, value_name = "NUMBER")]
    cpu: Vec<usize>,

    /// Appends a line of JSON with the plan and the outcome to a file; - for standard output instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// A name for the server in the JSON line
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,

    #[command(flatten)]
    thresholds: Thresholds,
}

/// The line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    label: &'a str,
    profile: Profile,
    plan: &'a Plan,
    outcome: &'a Outcome,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        let plan = self.plan()?;
        let server = self.server()?;
        pin(&self.cpu)?;
        let mut progress = Progress::new(&plan);
        let outcome = crate::run::run(&plan, &server, &self.pid, &mut progress);
        progress.finish();
        let outcome = outcome?;
        let line = Line { label: &self.label, profile: self.profile, plan: &plan, outcome: &outcome };
        let line = serde_json::to_string(&line)?;
        match &self.json {
            Some(path) if path.as_os_str() == "-" => writeln!(io::stdout(), "{line}")?,
            path => {
                write!(io::stdout(), "{}", outcome.table())?;
                if let Some(path) = path {
                    writeln!(OpenOptions::new().create(true).append(true).open(path)?, "{line}")?;
                }
            }
        }
        let missed = self.thresholds.missed(&outcome);
        for missed in &missed {
            writeln!(io::stderr(), "missed: {missed}")?;
        }
        Ok(if missed.is_empty() { Exit::Done } else { Exit::ThresholdMissed })
    }

    fn plan(&self) -> Result<Plan, String> {
        let profile = self.profile.plan();
        let pace = match (self.rate, self.window) {
            (Some(rate), _) => Pace::Rate(rate),
            (_, Some(window)) => Pace::Window(window),
            _ => profile.pace,
        };
        let plan = Plan {
            channels: self.channels.unwrap_or(profile.channels),
            receivers: self.receivers.unwrap_or(profile.receivers),
            form: self.form.unwrap_or(profile.form),
            bytes: self.bytes.unwrap_or(profile.bytes),
            pace,
            frozen: self.frozen.unwrap_or(profile.frozen),
            slow: self.slow.unwrap_or(profile.slow),
            slow_bytes: self.slow_bytes.unwrap_or(profile.slow_bytes),
            churn: self.churn.unwrap_or(profile.churn),
            stampede: profile.stampede,
            connects: self.connects.unwrap_or(profile.connects),
            warmup: self.warmup.map_or(profile.warmup, Into::into),
            duration: self.duration.map_or(profile.duration, Into::into),
            threads: self.threads,
        };
        plan.check().map(|()| plan)
    }

    fn server(&self) -> Result<Server, Box<dyn Error>> {
        let host = self.url.0.clone();
        let address = host.to_socket_addrs()?.next().ok_or_else(|| format!("{host} has no address"))?;
        let endpoint = |path: &str| Endpoint { address, host: host.clone(), path: path.to_owned() };
        Ok(Server { publish: endpoint(&self.publish_path), receive: endpoint(&self.receive_path) })
    }
}

/// Keeps this process, and the threads it will start, on these processors; on any, if there are none.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Host and port of a `ws://` URL.
#[derive(Debug, Clone)]
struct Url(String);

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let rest = url.strip_prefix("ws://").ok_or("only ws:// URLs: a load test of TLS measures TLS")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err("a path is given by --publish-path and --receive-path");
        }
        Ok(Self(if host.contains(':') { host.to_owned() } else { format!("{host}:80") }))
    }
}
