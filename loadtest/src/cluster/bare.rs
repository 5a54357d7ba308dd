//! Bare NATS: a process that publishes and one that subscribes, with the client library that nodes use and nothing else.
//!
//! They are processes of their own, this program's once more, so that what each costs can be told apart. Each goes on until
//! its standard input ends, and so never outlives who started it; then it tells in a line of JSON what it did.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::Subject;
use futures_util::StreamExt;
use futures_util::stream::select_all;
use hdrhistogram::Histogram;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;

use super::servers::Cluster;
use super::{Error, Load, Rounds};
use crate::process;
use crate::progress::Steps;
use crate::report::Quantiles;

/// Number and time of a message, big-endian.
const STAMP_BYTES: usize = 16;

/// What comes after a subscriber was told to end has been on its way for no longer than this.
const QUIET: Duration = Duration::from_millis(200);

/// What one round came to.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) latency_us: Quantiles,
    pub(crate) lost: u64,
    /// Microseconds of processor per message.
    pub(crate) publisher_us: f64,
    pub(crate) subscriber_us: f64,
    pub(crate) server_us: f64,
}

/// What a publisher did.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Published {
    messages: u64,
    seconds: f64,
}

/// What a subscriber got.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Subscribed {
    messages: u64,
    latency_us: Quantiles,
}

/// Has a load published and subscribed to, and measures both.
pub(crate) fn measure(cluster: &Cluster, load: Load, rounds: Rounds, title: &str) -> Result<Bare, Error> {
    let Rounds { warmup, duration, .. } = rounds;
    let nats = cluster.nats_url();
    let own = env::current_exe()?;
    let steps = Steps::new();
    steps.now(title.to_owned());
    let skip_ms = warmup.as_millis().to_string();
    let channels = load.channels.to_string();
    let mut subscriber =
        Role::start(&own, &["subscribe", "--nats", &nats, "--channels", &channels, "--skip-ms", &skip_ms])?;
    subscriber.ready()?;
    let (rate, bytes) = (load.rate.to_string(), load.bytes.to_string());
    let load_args = ["--channels", &channels, "--rate", &rate, "--bytes", &bytes];
    let publisher = Role::start(&own, &[&["publish", "--nats", &nats], &load_args[..]].concat())?;
    let pids = [publisher.child.id(), subscriber.child.id(), cluster.nats_pid()];
    steps.wait(warmup);
    let (before, began) = (process::usage(&pids), Instant::now());
    steps.wait(duration);
    let (after, seconds) = (process::usage(&pids), began.elapsed().as_secs_f64());
    let published: Published = publisher.end()?;
    let subscribed: Subscribed = subscriber.end()?;
    let messages = published.messages as f64 / published.seconds * seconds;
    let us = |index: usize| {
        let (before, after) = (&before[index], &after[index]);
        after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / messages
    };
    Ok(Bare {
        latency_us: subscribed.latency_us,
        lost: published.messages.saturating_sub(subscribed.messages),
        publisher_us: us(0),
        subscriber_us: us(1),
        server_us: us(2),
    })
}

/// One of the two processes, as the one that started it sees it.
#[derive(Debug)]
struct Role {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Role {
    fn start(own: &Path, args: &[&str]) -> Result<Self, Error> {
        let mut command = Command::new(own);
        command.arg("bare-nats").args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Error::Bare("no standard output".to_owned()))?;
        Ok(Self { child, stdout: BufReader::new(stdout) })
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line)? {
            0 => Err(Error::Bare("a process ended too soon".to_owned())),
            _ => Ok(line),
        }
    }

    fn ready(&mut self) -> Result<(), Error> {
        self.line().map(|_| ())
    }

    /// Tells it to end, and hears what it did.
    fn end<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        drop(self.child.stdin.take());
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| Error::Bare(error.to_string()))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // After its last line it has nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The side that publishes.
pub(crate) async fn publish(nats: &str, load: Load) -> Result<Published, Box<dyn std::error::Error>> {
    let client = async_nats::connect(nats).await?;
    let subjects: Vec<Subject> = (0..load.channels).map(subject).collect();
    let mut payload: Vec<u8> = (0..load.bytes).map(|index| (index % 251) as u8).collect();
    let mut sent = 0u64;
    let began = Instant::now();
    let timer = every(Duration::from_secs_f64(1.0 / load.rate / load.channels as f64))?;
    let mut end = std::pin::pin!(ended());
    loop {
        let due = tokio::select! {
            () = &mut end => break,
            due = expired(&timer) => due?,
        };
        for _ in 0..due {
            let channel = sent % load.channels as u64;
            payload[..8].copy_from_slice(&(sent / load.channels as u64).to_be_bytes());
            payload[8..STAMP_BYTES].copy_from_slice(&now_ns().to_be_bytes());
            // A copy of its own, as a node makes for the envelope.
            let message = payload.clone().into();
            client.publish(subjects[channel as usize].clone(), message).await?;
            sent += 1;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    client.flush().await?;
    Ok(Published { messages: sent, seconds })
}

/// The side that subscribes. What comes in the first `skip` after the first message is counted, but its latency is not.
pub(crate) async fn subscribe(
    nats: &str,
    channels: usize,
    skip: Duration,
    ready: impl FnOnce(),
) -> Result<Subscribed, Box<dyn std::error::Error>> {
    let client = async_nats::connect(nats).await?;
    let mut subscriptions = Vec::new();
    for channel in 0..channels {
        subscriptions.push(client.subscribe(subject(channel)).await?);
    }
    client.flush().await?;
    ready();
    let mut all = select_all(subscriptions);
    // A minute, like all latencies here.
    let mut latency = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
    let mut messages = 0;
    let mut first = None;
    let mut end = std::pin::pin!(ended());
    let mut is_over = false;
    loop {
        let message = tokio::select! {
            () = &mut end, if !is_over => {
                is_over = true;
                client.flush().await?;
                continue;
            }
            message = all.next() => message,
            () = tokio::time::sleep(QUIET), if is_over => None,
        };
        let Some(message) = message else { break };
        let now = now_ns();
        messages += 1;
        let stamp = message.payload.get(8..STAMP_BYTES).and_then(|stamp| stamp.first_chunk());
        let sent = stamp.map(|stamp| u64::from_be_bytes(*stamp)).ok_or("a message without a stamp")?;
        if Duration::from_nanos(now - *first.get_or_insert(now)) >= skip {
            latency.saturating_record(now.saturating_sub(sent));
        }
    }
    Ok(Subscribed { messages, latency_us: (&latency).into() })
}

fn subject(channel: usize) -> Subject {
    format!("bare.{channel}").into()
}

/// Waits until whoever started this process ends it, or ends itself.
async fn ended() {
    let mut stdin = tokio::io::stdin();
    let mut byte = [0];
    while let Ok(1..) = stdin.read(&mut byte).await {}
}

/// The clock that all processes of a machine share.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Ticks exactly: the runtime's own timer has steps of a millisecond, in which messages would gather and be sent together.
fn every(interval: Duration) -> std::io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let spec = Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: interval.subsec_nanos().into() };
    let ticks = Itimerspec { it_interval: spec, it_value: spec };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &ticks)?;
    #[expect(deprecated, reason = "what takes its place is unsafe; an OwnedFd is all that it asks for")]
    AsyncFd::new(timer)
}

/// How often it has ticked since it was last asked.
async fn expired(timer: &AsyncFd<std::os::fd::OwnedFd>) -> std::io::Result<u64> {
    loop {
        let mut guard = timer.readable().await?;
        let mut count = [0; 8];
        let read = guard.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?));
        if let Ok(read) = read {
            read?;
            return Ok(u64::from_ne_bytes(count));
        }
    }
}
