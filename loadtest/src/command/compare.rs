//! `relaycast-loadtest compare`.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Exit;
use crate::command::run::pin;
use crate::compare::plot;
use crate::compare::server::Server;
use crate::compare::summary::Summary;
use crate::plan::{Plan, Profile};
use crate::progress::Progress;
use crate::report::Outcome;

/// Compares servers: the same load on each, one after the other, round after round
///
/// Each server runs on processors of its own. What is told is the median over the rounds, and its ratio to the ceiling:
/// absolute figures say more of a machine than of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which servers (repeatable; default: all)
    #[arg(long = "server", value_enum, value_name = "NAME")]
    servers: Vec<Server>,

    /// Which profiles (repeatable; default: event, many, small, bulk and idle)
    #[arg(long = "profile", value_enum, value_name = "NAME")]
    profiles: Vec<Profile>,

    /// How often each server runs each profile
    #[arg(long, value_name = "NUMBER", default_value = "3")]
    rounds: usize,

    /// How long each run measures
    #[arg(long, value_name = "DURATION")]
    duration: Option<humantime::Duration>,

    /// How long messages flow before anything is recorded
    #[arg(long, value_name = "DURATION")]
    warmup: Option<humantime::Duration>,

    /// The servers' processors, as taskset(1) takes them
    #[arg(long, value_name = "LIST", default_value = "0")]
    server_cpus: String,

    /// The load generator's processors (repeatable)
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    cpu: Vec<usize>,

    /// The folder with what the other servers need
    #[arg(long, value_name = "FOLDER", default_value = "loadtest/compare")]
    peers: PathBuf,

    /// Where comparison.md, comparison.svg and comparison.jsonl go
    #[arg(long, value_name = "FOLDER", default_value = "target/comparison")]
    out: PathBuf,
}

/// What is run where nobody asks for less.
const PROFILES: [Profile; 5] = [Profile::Event, Profile::Many, Profile::Small, Profile::Bulk, Profile::Idle];

fn or_all<'a, T>(asked: &'a [T], all: &'a [T]) -> &'a [T] {
    if asked.is_empty() { all } else { asked }
}

/// A line of comparison.jsonl.
#[derive(Debug, Serialize)]
struct Line<'a> {
    round: usize,
    server: Server,
    profile: Profile,
    plan: &'a Plan,
    outcome: &'a Outcome,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        let servers = or_all(&self.servers, &Server::ALL);
        let profiles = or_all(&self.profiles, &PROFILES);
        fs::create_dir_all(&self.out)?;
        let mut lines = fs::File::create(self.out.join("comparison.jsonl"))?;
        pin(&self.cpu)?;
        let mut summary = Summary::default();
        for round in 1..=self.rounds {
            for &profile in profiles {
                let mut plan = profile.plan();
                plan.duration = self.duration.map_or(plan.duration, Into::into);
                plan.warmup = self.warmup.map_or(plan.warmup, Into::into);
                for server in servers {
                    let outcome = self.measure(round, profile, &plan, *server)?;
                    let line = Line { round, server: *server, profile, plan: &plan, outcome: &outcome };
                    writeln!(lines, "{}", serde_json::to_string(&line)?)?;
                    summary.add(profile, *server, outcome);
                }
            }
        }
        let rounds = self.rounds;
        let note = when_and_where()?;
        let note = format!("{note}, server and load generator on one core each, median of {rounds}");
        let table = summary.table();
        write!(io::stdout(), "{table}")?;
        fs::write(self.out.join("comparison.md"), format!("{note}\n\n{table}"))?;
        fs::write(self.out.join("comparison.svg"), plot::svg(&summary, &note))?;
        Ok(Exit::Done)
    }

    fn measure(
        &self,
        round: usize,
        profile: Profile,
        plan: &Plan,
        server: Server,
    ) -> Result<Outcome, Box<dyn Error>> {
        let running = server.start(&self.server_cpus, &self.peers)?;
        let mut progress = Progress::new(plan);
        progress.name(format!("round {round} of {}, {}, {server}: ", self.rounds, profile.name()));
        let outcome = crate::run::run(plan, &running.target, &[running.pid()], &mut progress);
        progress.finish();
        let outcome = outcome.map_err(|error| format!("{server}, {}: {error}", profile.name()))?;
        if outcome.lost + outcome.refused > 0 {
            let problem = format!(
                "note: {server}, {}: {} messages lost, {} handshakes refused",
                profile.name(),
                outcome.lost,
                outcome.refused
            );
            writeln!(io::stderr(), "{problem}")?;
        }
        Ok(outcome)
    }
}

/// When and where this was measured.
pub(crate) fn when_and_where() -> io::Result<String> {
    let date = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let (date, _) = date.split_once('T').unwrap_or((&date, ""));
    let cpuinfo = fs::read_to_string(Path::new("/proc/cpuinfo"))?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = kernel.split('-').next().unwrap_or_default().trim().to_owned();
    Ok(format!("{date}, {model}, Linux {kernel}"))
}
