//! Conducts one run: connect, warm up, measure, settle, add up.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, atomic::Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::clock::ns;
use crate::plan::{Plan, Server};
use crate::process::{self, Usage};
use crate::progress::Progress;
use crate::report::{Measured, Outcome, Snapshot};
use crate::swarm::{Phase, Report, Reports, Shared, Worker};
use crate::tally::Tally;
use crate::wire::{self, Answer};

/// How long all connections together may take, beyond which something is stuck.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long nothing may come of what is on its way still. What is missing then is lost.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is looked whether all has come.
const SETTLE_LOOK: Duration = Duration::from_millis(250);

/// How long somebody connects again and again while all others leave.
const STAMPEDE: Duration = Duration::from_secs(1);

/// How often somebody looks at the numbers while a run goes on.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{0}")]
    Failed(String),
    #[error("nobody could connect: {0}")]
    NobodyConnected(String),
    #[error("not all connections were made within {} s", CONNECT_TIMEOUT.as_secs())]
    ConnectTimeout,
    #[error("a thread of the load generator panicked")]
    Panicked,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Does what the plan says. `pids` are the server's processes, for what they cost.
pub(crate) fn run(
    plan: &Plan,
    server: &Server,
    pids: &[u32],
    progress: &mut Progress,
) -> Result<Outcome, RunError> {
    let mut run = Run::start(plan, server, pids, progress)?;
    let outcome = run.conduct();
    // Whatever happened, the threads end and are waited for.
    run.shared.enter(Phase::Over);
    let mut tally = Tally::new();
    if plan.stampede && outcome.is_ok() {
        handshakes(server, STAMPEDE, &mut tally.stampede)?;
    }
    for thread in run.threads.drain(..) {
        tally.add(&thread.join().map_err(|_| RunError::Panicked)??);
    }
    let measured = outcome?;
    Ok(Outcome::new(measured, &tally))
}

/// Connects again and again, for as long as told.
fn handshakes(server: &Server, lasting: Duration, into: &mut Histogram<u64>) -> Result<(), RunError> {
    let until = Instant::now() + lasting;
    let endpoint = &server.receive;
    let mut answer = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(endpoint.address)?;
        stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        stream.write_all(&endpoint.request(0))?;
        answer.clear();
        loop {
            let mut some = [0; 1024];
            let count = stream.read(&mut some)?;
            answer.extend_from_slice(&some[..count]);
            match wire::answer(&answer) {
                Answer::Open(_) => break,
                Answer::Partial if count > 0 => {}
                Answer::Partial => {
                    return Err(RunError::NobodyConnected("closed without an answer".to_owned()));
                }
                Answer::Refused(reason) => return Err(RunError::NobodyConnected(reason)),
            }
        }
        into.saturating_record(ns(begun.elapsed()));
    }
    Ok(())
}

struct Run<'a> {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<Tally>>>,
    reports: Receiver<Report>,
    pids: &'a [u32],
    progress: &'a mut Progress,
    began: Instant,
}

impl<'a> Run<'a> {
    fn start(
        plan: &Plan,
        server: &Server,
        pids: &'a [u32],
        progress: &'a mut Progress,
    ) -> Result<Self, RunError> {
        let prepared: Vec<_> = (0..plan.threads).map(|_| Worker::prepare()).collect::<Result<_, _>>()?;
        let (polls, wakers): (Vec<_>, Vec<_>) = prepared.into_iter().unzip();
        let shared = Arc::new(Shared::new(plan.clone(), server.clone(), wakers));
        let (sender, reports) = mpsc::channel();
        let mut threads = Vec::new();
        for (index, poll) in polls.into_iter().enumerate() {
            let worker = Worker::new(index, Arc::clone(&shared), Reports(sender.clone()), poll)?;
            threads.push(thread::Builder::new().name(format!("swarm-{index}")).spawn(|| worker.run())?);
        }
        Ok(Self { shared, threads, reports, pids, progress, began: Instant::now() })
    }

    fn conduct(&mut self) -> Result<Measured, RunError> {
        let plan = self.shared.plan.clone();
        let before_connect = self.snapshot();
        self.connected(Phase::ConnectReceivers)?;
        let connected = self.snapshot();
        if plan.receivers_total() > 0 && connected.open == 0 {
            return Err(RunError::NobodyConnected(self.shared.refusal().to_owned()));
        }
        if plan.publishes() {
            self.shared.enter(Phase::ConnectPublishers);
            self.connected(Phase::ConnectPublishers)?;
        }
        self.shared.enter(Phase::WarmUp);
        self.watch(Phase::WarmUp, plan.warmup)?;
        self.shared.enter(Phase::Measure);
        let from = self.snapshot();
        self.watch(Phase::Measure, plan.duration)?;
        let to = self.snapshot();
        self.shared.enter(Phase::Settle);
        self.settle()?;
        Ok(Measured { before_connect, connected, from, to, sent: self.shared.sent() })
    }

    /// Waits until all threads have made their connections.
    fn connected(&mut self, phase: Phase) -> Result<(), RunError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut left = self.threads.len();
        while left > 0 {
            if Instant::now() > deadline {
                return Err(RunError::ConnectTimeout);
            }
            match self.reports.recv_timeout(SAMPLE_INTERVAL) {
                Ok(Report::Connected) => left -= 1,
                Ok(Report::Failed(why)) => return Err(RunError::Failed(why)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::Panicked),
            }
            self.sample(phase);
        }
        Ok(())
    }

    /// Lets time pass.
    fn watch(&mut self, phase: Phase, duration: Duration) -> Result<(), RunError> {
        let until = Instant::now() + duration;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            match self.reports.recv_timeout(left.min(SAMPLE_INTERVAL)) {
                Ok(Report::Failed(why)) => return Err(RunError::Failed(why)),
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::Panicked),
                Ok(Report::Connected) | Err(RecvTimeoutError::Timeout) => {}
            }
            self.sample(phase);
        }
    }

    /// Waits until all has come, and nothing any more.
    fn settle(&mut self) -> Result<(), RunError> {
        let mut received = self.shared.counters.received.load(Ordering::Relaxed);
        let (mut quiet, mut whole) = (Duration::ZERO, 0);
        loop {
            self.watch(Phase::Settle, SETTLE_LOOK)?;
            let now = self.shared.counters.received.load(Ordering::Relaxed);
            quiet = if now == received { quiet + SETTLE_LOOK } else { Duration::ZERO };
            received = now;
            // Twice in a row: after the first time no thread publishes any more.
            whole = if self.shared.is_whole() { whole + 1 } else { 0 };
            if quiet >= SETTLE_TIMEOUT || (whole >= 2 && quiet >= 2 * SETTLE_LOOK) {
                return Ok(());
            }
        }
    }

    fn sample(&mut self, phase: Phase) {
        let snapshot = self.snapshot();
        self.progress.sample(phase, &snapshot);
    }

    fn snapshot(&self) -> Snapshot {
        let counters = &self.shared.counters;
        // The time last: reading `/proc` takes a while on a busy machine.
        let (server, generator) = self.usage();
        Snapshot {
            received: counters.received.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
            open: counters.open.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            server,
            generator,
            at: self.began.elapsed(),
        }
    }

    fn usage(&self) -> (Vec<Usage>, Usage) {
        (process::usage(self.pids), process::own())
    }
}
