//! Publishers and receivers by the thousand, from few threads.
//!
//! Each thread has its own connections and its own event loop. The threads share the phase of the run, and per channel
//! what a publisher must know of its receivers.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use mio::Waker;

use crate::clock::Clock;
use crate::plan::{Endpoint, Pace, Plan, Server};

use connection::Role;
pub(crate) use worker::Worker;

mod connection;
mod share;
mod worker;

/// What all threads do now. They go from one to the next in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    ConnectReceivers,
    ConnectPublishers,
    /// Messages flow and nothing is recorded.
    WarmUp,
    Measure,
    /// Nobody sends any more; what is on its way arrives.
    Settle,
    /// Every connection is dropped.
    Over,
}

impl Phase {
    const ALL: [Self; 6] = [
        Self::ConnectReceivers,
        Self::ConnectPublishers,
        Self::WarmUp,
        Self::Measure,
        Self::Settle,
        Self::Over,
    ];
}

/// No run lasts so long.
const NEVER: u64 = u64::MAX;

/// What threads tell the one that conducts them.
#[derive(Debug)]
pub(crate) enum Report {
    /// All connections of the phase are made, or refused.
    Connected,
    /// The run makes no sense any more.
    Failed(String),
}

/// What the threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) server: Server,
    pub(crate) clock: Clock,
    phase: AtomicU8,
    /// When each phase began; [`NEVER`], until it has.
    began_ns: [AtomicU64; Phase::ALL.len()],
    channels: Vec<ChannelState>,
    /// What each thread's receivers have still to get, as it found since it was last asked.
    missing: Vec<AtomicU64>,
    pub(crate) counters: Counters,
    /// Why the first connection was refused.
    refusal: OnceLock<String>,
    wakers: Vec<Waker>,
}

/// For the progress line and for rates: one writer's worth of adding per turn of a loop, so that they cost nothing.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) open: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// What a publisher knows of its receivers.
#[derive(Debug)]
struct ChannelState {
    /// Messages sent.
    sent: AtomicU64,
    /// In a closed loop: how many receivers have got message `n`, at index `n` modulo the length.
    got: Vec<AtomicU32>,
}

impl Shared {
    pub(crate) fn new(plan: Plan, server: Server, wakers: Vec<Waker>) -> Self {
        let window = match plan.pace {
            Pace::Window(window) => window as usize,
            Pace::Rate(_) | Pace::Silent => 0,
        };
        let channel = || ChannelState {
            sent: AtomicU64::new(0),
            got: (0..window).map(|_| AtomicU32::new(0)).collect(),
        };
        Self {
            channels: (0..plan.channels).map(|_| channel()).collect(),
            plan,
            server,
            clock: Clock::start(),
            phase: AtomicU8::new(Phase::ConnectReceivers as u8),
            began_ns: [const { AtomicU64::new(NEVER) }; Phase::ALL.len()],
            missing: wakers.iter().map(|_| AtomicU64::new(u64::MAX)).collect(),
            counters: Counters::default(),
            refusal: OnceLock::new(),
            wakers,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Sends all threads into the next phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.began_ns[phase as usize].store(self.clock.now_ns(), Ordering::Release);
        self.phase.store(phase as u8, Ordering::Release);
        for index in 0..self.wakers.len() {
            self.wake(index);
        }
    }

    /// When a phase began, however late a thread hears of it; `None` where it has not, or the run had no use for it.
    fn began_ns(&self, phase: Phase) -> Option<u64> {
        Some(self.began_ns[phase as usize].load(Ordering::Acquire)).filter(|began_ns| *began_ns < NEVER)
    }

    /// Whether a message that was sent then belongs to the measurement, however late it comes.
    fn is_measured(&self, sent_ns: u64) -> bool {
        self.began_ns(Phase::Measure).is_some_and(|began_ns| began_ns <= sent_ns)
    }

    /// Whether every thread has found, since this was last asked, that its receivers have got all that was sent.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing.iter().map(|missing| missing.swap(u64::MAX, Ordering::AcqRel)).max() == Some(0)
    }

    /// Where a connection goes.
    fn endpoint(&self, role: &Role) -> &Endpoint {
        match role {
            Role::Publisher(_) => &self.server.publish,
            Role::Receiver(_) => &self.server.receive,
        }
    }

    /// Why the first connection that was refused was.
    pub(crate) fn refusal(&self) -> &str {
        self.refusal.get().map_or("no reason", String::as_str)
    }

    /// Messages that have been sent on all channels.
    pub(crate) fn sent(&self) -> u64 {
        self.channels.iter().map(|channel| channel.sent.load(Ordering::Acquire)).sum()
    }

    fn wake(&self, worker: usize) {
        // Fails only without memory; then the worker comes by at its next tick.
        let _ = self.wakers[worker].wake();
    }
}

/// What a thread has in its hands beside its connections.
#[derive(Debug)]
pub(crate) struct Reports(pub(crate) mpsc::Sender<Report>);

impl Reports {
    fn send(&self, report: Report) {
        // Nobody listens any more when the run has failed elsewhere.
        let _ = self.0.send(report);
    }
}

/// How often a thread looks around although nothing happens.
const TICK: Duration = Duration::from_millis(50);
