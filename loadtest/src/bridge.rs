//! What a bridge costs beside a client that only hears what cameras and docks say, and how much later viewers see it.
//!
//! Cameras are behind one connection: the protocol tells each what is asked of all, which is the broker's cost and not the
//! bridge's. Each camera has a viewer, so that each is asked for its pictures.

pub(crate) mod bare;
mod viewers;

use std::fmt::Write;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use relay_proto::source::{SourceId, SourceKeys};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::bare::Bare;
use self::viewers::Seen;
use crate::cluster::servers::{Cluster, Programs, SECRET, StartError, listening};
use crate::cluster::verdict::Verdict;
use crate::compare::server::free_port;
use crate::process::{Usage, usage};
use crate::report::Quantiles;

/// The hub of the cameras.
const HUB: &str = "load";

/// How long it may take until all cameras are seen.
const SEEN_TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked whether they are.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What the bridge may take, of what the bare client takes.
const CPU_RATIO_MAX: f64 = 1.5;

/// Which share of the pictures that are due the bare client has to hear. With less, this machine is what was measured.
const HEARD_SHARE_MIN: f64 = 0.9;

/// How much later a viewer may see 99 of 100 pictures, in milliseconds.
const ADDED_P99_MS_MAX: f64 = 50.0;

/// What is measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Plan {
    pub(crate) cameras: usize,
    pub(crate) docks: usize,
    pub(crate) image_bytes: usize,
    #[serde(skip)]
    pub(crate) mosquitto: PathBuf,
    #[serde(skip)]
    pub(crate) bridge_flags: Vec<String>,
    /// Before anything is counted, once all are seen.
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

/// What a process took in the measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    /// Processors kept busy.
    cpus: f64,
    rss_bytes: u64,
}

impl Cost {
    fn between(before: &Usage, after: &Usage, seconds: f64) -> Self {
        Self { cpus: after.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds, rss_bytes: after.rss }
    }
}

/// What it came to.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    plan: Plan,
    /// From the first viewer until each had seen a picture.
    all_seen_seconds: Option<f64>,
    seconds: f64,
    /// Viewers who saw a picture in the measurement.
    seeing: usize,
    /// Viewers who were sent away in it.
    ends: u64,
    viewed: u64,
    heard: Bare,
    viewer_delay_us: Quantiles,
    bridge: Cost,
    bare: Cost,
    node: Cost,
    broker: Cost,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the bare client: {0}")]
    Bare(#[from] serde_json::Error),
    #[error("'{0}' is no source")]
    Source(String),
}

/// A process of this program, which is killed when this is dropped.
#[derive(Debug)]
struct Own(Child);

impl Own {
    fn start(args: &[&str], command: impl FnOnce(&mut Command) -> &mut Command) -> io::Result<Self> {
        let mut own = Command::new(std::env::current_exe()?);
        own.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command(&mut own).spawn()?))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // One that has ended is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The bare client, which tells what it heard since it was last asked.
#[derive(Debug)]
struct Listener {
    process: Own,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Listener {
    fn start(port: u16) -> io::Result<Self> {
        let port = port.to_string();
        let pictures = format!("--filter=kerberos/hub/{HUB}");
        let mut args = vec!["bare-mqtt", "--port", &port, &pictures];
        args.extend([
            "--filter=sys/product/+/status",
            "--filter=thing/product/+/state",
            "--filter=thing/product/+/osd",
        ]);
        let mut process = Own::start(&args, |command| command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let questions = process.0.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let answers = BufReader::new(process.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        Ok(Self { process, questions, answers })
    }

    fn ask(&mut self) -> Result<Bare, Error> {
        writeln!(self.questions)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// Starts everything, and measures.
pub(crate) fn measure(programs: Programs, plan: Plan) -> Result<Outcome, Error> {
    let port = free_port()?;
    let broker = listening(&plan.mosquitto, port, &["-p", &port.to_string()], &[])?;
    let mqtt = format!("mqtt://127.0.0.1:{port}");
    let cluster = Cluster::start(programs, 1)?;
    let manager = cluster.start_manager()?;
    let mut flags = vec![format!("--kerberos-hub-key={HUB}")];
    flags.extend((1..=plan.cameras).map(|number| format!("--kerberos-camera=cam{number}")));
    flags.extend(plan.bridge_flags.iter().cloned());
    let bridge = cluster.start_bridge(&mqtt, manager.address(), &flags)?;
    let mut listener = Listener::start(port)?;
    let (cameras, bytes) = (plan.cameras.to_string(), plan.image_bytes.to_string());
    let mut args = vec!["sim", "kerberos", "--mqtt", &mqtt, "--hub", HUB, "--one-connection"];
    args.extend(["--count", &cameras, "--image-bytes", &bytes]);
    let _cameras = Own::start(&args, |command| command)?;
    let docks = plan.docks.to_string();
    let args = ["sim", "dock", "--mqtt", &mqtt, "--sn", "IDLE", "--no-push", "--count", &docks];
    let _docks = (plan.docks > 0).then(|| Own::start(&args, |command| command)).transpose()?;

    let node = cluster.node(0);
    let pids = [bridge.pid(), listener.process.0.id(), node.pid(), broker.pid()];
    let paths = (1..=plan.cameras).map(path).collect::<Result<Vec<_>, _>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let seen = Seen::new(plan.cameras)?;
        let mut viewing = JoinSet::new();
        for (number, path) in paths.into_iter().enumerate() {
            viewing.spawn(viewers::view(node.address(), path, number, seen.clone()));
        }
        let all_seen_seconds = all_seen(&seen, plan.cameras).await;
        sleep(plan.warmup).await;
        listener.ask()?;
        seen.take();
        let (begun, before) = (Instant::now(), usage(&pids));
        sleep(plan.duration).await;
        let (seconds, after) = (begun.elapsed().as_secs_f64(), usage(&pids));
        let (heard, sight) = (listener.ask()?, seen.take());
        let costs: Vec<_> = before.iter().zip(&after).map(|(a, b)| Cost::between(a, b, seconds)).collect();
        let Ok([bridge, bare, node, broker]) = <[Cost; 4]>::try_from(costs) else {
            return Err(Error::Io(io::Error::other("a process was not measured")));
        };
        Ok(Outcome {
            plan,
            all_seen_seconds,
            seconds,
            seeing: sight.seeing(),
            ends: sight.ends,
            viewed: sight.pictures,
            heard,
            viewer_delay_us: Quantiles::from(&sight.delays),
            bridge,
            bare,
            node,
            broker,
        })
    })
}

/// How long until each viewer has seen a picture; nothing where that takes too long.
async fn all_seen(seen: &Seen, viewers: usize) -> Option<f64> {
    let begun = Instant::now();
    while seen.seeing() < viewers {
        if begun.elapsed() > SEEN_TIMEOUT {
            return None;
        }
        sleep(LOOK_INTERVAL).await;
    }
    Some(begun.elapsed().as_secs_f64())
}

/// Where a viewer of this camera looks.
fn path(number: usize) -> Result<String, Error> {
    let id = format!("kerberos/{HUB}/cam{number}");
    let channel = id.parse::<SourceId>().map_err(|_| Error::Source(id.clone()))?.channel();
    let keys = SourceKeys::of(SECRET.as_bytes(), &channel).ok_or(Error::Source(id))?;
    Ok(format!("/{channel}/{}/receive", keys.watch.expose()))
}

impl Outcome {
    fn ratio(&self) -> f64 {
        self.bridge.cpus / self.bare.cpus
    }

    /// Milliseconds that viewers see pictures later than the bare client.
    fn added_ms(&self, quantile: impl Fn(&Quantiles) -> f64) -> f64 {
        (quantile(&self.viewer_delay_us) - quantile(&self.heard.delay_us)) / 1e3
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let added_p99 = if self.viewed == 0 { f64::NAN } else { self.added_ms(|quantiles| quantiles.p99) };
        let due = self.plan.cameras as f64 * HEARD_SHARE_MIN;
        let heard = self.heard.pictures as f64 / self.seconds;
        vec![
            Verdict::at_least("pictures heard a second", due, heard, ""),
            Verdict::at_least("cameras that are seen", self.plan.cameras as f64, self.seeing as f64, ""),
            Verdict::at_most("CPU of the bridge beside the bare client", CPU_RATIO_MAX, self.ratio(), "×"),
            Verdict::at_most("delay that is added, p99", ADDED_P99_MS_MAX, added_p99, "ms"),
        ]
    }

    /// For people, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from("| process | processors | µs per picture | MiB |\n|---|---|---|---|\n");
        for (name, cost) in [
            ("bridge", &self.bridge),
            ("bare client", &self.bare),
            ("node", &self.node),
            ("broker", &self.broker),
        ] {
            let per_picture = cost.cpus * self.seconds * 1e6 / self.heard.pictures as f64;
            let mib = cost.rss_bytes as f64 / f64::from(1 << 20);
            // A string takes all.
            let _ = writeln!(table, "| {name} | {:.3} | {per_picture:.0} | {mib:.1} |", cost.cpus);
        }
        let Self { plan, seeing, viewed, heard, ends, .. } = self;
        let rate = heard.pictures as f64 / self.seconds;
        let _ = writeln!(
            table,
            "\n{} cameras with pictures of {} bytes, {} docks: {rate:.0} pictures a second were heard, {viewed} were seen of {}, \
             by {seeing} viewers; {ends} were sent away.\n",
            plan.cameras, plan.image_bytes, plan.docks, heard.pictures
        );
        table.push_str("| delay | p50 ms | p99 ms |\n|---|---|---|\n");
        for (name, quantiles) in [("viewer", &self.viewer_delay_us), ("bare client", &heard.delay_us)] {
            let _ = writeln!(table, "| {name} | {:.1} | {:.1} |", quantiles.p50 / 1e3, quantiles.p99 / 1e3);
        }
        let (p50, p99) = (self.added_ms(|each| each.p50), self.added_ms(|each| each.p99));
        let _ = writeln!(table, "| added | {p50:.1} | {p99:.1} |");
        table
    }
}
