//! One thread of the swarm: its connections and its event loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::connection::{Connection, Got, Receiver, Role, Stage, Temper, read};
use super::share::Share;
use super::{Phase, Report, Reports, Shared, TICK};
use crate::clock::ns;
use crate::payload::{Stamp, masked_frame};
use crate::plan::Pace;
use crate::tally::{Arrival, Place, Tally};
use crate::wire::{self, Answer, BINARY, CLOSE, Message, PING};

use relay_proto::websocket::{HEARTBEAT, HEARTBEAT_INTERVAL, OpCode};

const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// Read at once from one socket.
const SCRATCH_BYTES: usize = 256 << 10;

const MASK: [u8; 4] = [0x5A, 0xC3, 0x3C, 0xA5];

/// One thread of the swarm.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    reports: Reports,
    poll: Poll,
    timer: OwnedFd,
    connections: Vec<Connection>,
    /// Still to be connected in this phase.
    to_connect: VecDeque<usize>,
    connecting: usize,
    /// When publishers are due, soonest first.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    publishers: Vec<usize>,
    /// Receivers that read at ticks.
    slow: Vec<usize>,
    healthy: Vec<usize>,
    scratch: Vec<u8>,
    tally: Tally,
    /// What the shared counters have of the tally.
    told: (u64, u64, u64),
    heartbeat_ns: u64,
    churned: f64,
    ticked_ns: u64,
    announced: Option<Phase>,
}

impl Worker {
    /// A thread's event loop; the waker is for the others.
    pub(crate) fn prepare() -> io::Result<(Poll, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((poll, waker))
    }

    pub(crate) fn new(index: usize, shared: Arc<Shared>, reports: Reports, poll: Poll) -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let Share { connections, healthy, slow, publishers } = Share::of(index, &shared.plan);
        let to_connect = (0..connections.len() - publishers.len()).collect();
        Ok(Self {
            index,
            shared,
            reports,
            poll,
            timer,
            connections,
            to_connect,
            connecting: 0,
            due: BinaryHeap::new(),
            publishers,
            slow,
            healthy,
            scratch: vec![0; SCRATCH_BYTES],
            tally: Tally::new(),
            told: (0, 0, 0),
            heartbeat_ns: 0,
            churned: 0.0,
            ticked_ns: 0,
            announced: None,
        })
    }

    /// Runs until the phase is [`Phase::Over`]. Tells what was seen, and what never came.
    pub(crate) fn run(mut self) -> io::Result<Tally> {
        let mut events = Events::with_capacity(1024);
        let mut phase = self.shared.phase();
        loop {
            let now_ns = self.shared.clock.now_ns();
            // A thread that did not run for a while has missed some, and does what it would have done.
            let next = self.shared.phase();
            for each in Phase::ALL.into_iter().filter(|each| phase < *each && *each <= next) {
                if let Some(began_ns) = self.shared.began_ns(each) {
                    self.enter(each, began_ns)?;
                }
            }
            phase = next;
            if phase == Phase::Over {
                self.tally.lost += self.missing();
                return Ok(self.tally);
            }
            self.connect_more(phase, now_ns)?;
            self.publish_due(now_ns)?;
            self.tick(phase, now_ns)?;
            self.tell();
            match self.poll.poll(&mut events, Some(TICK)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                match event.token() {
                    WAKER | TIMER => {}
                    Token(id) => self.handle(id, event.is_writable()),
                }
            }
            if matches!(self.shared.plan.pace, Pace::Window(_)) {
                for index in 0..self.publishers.len() {
                    self.publish_window(self.publishers[index]);
                }
            }
        }
    }

    fn enter(&mut self, phase: Phase, began_ns: u64) -> io::Result<()> {
        match phase {
            Phase::ConnectPublishers => self.to_connect.extend(&self.publishers),
            Phase::WarmUp => {
                if let Pace::Rate(rate) = self.shared.plan.pace {
                    // Evenly over one interval, all threads' publishers together.
                    let interval = 1e9 / rate / self.shared.plan.channels as f64;
                    for id in &self.publishers {
                        let channel = self.connections[*id].channel;
                        self.due.push(Reverse((began_ns + (interval * channel as f64) as u64, *id)));
                    }
                }
            }
            Phase::Settle => {
                // An open loop leaves nothing out because it is late.
                self.publish_due(began_ns)?;
                self.due.clear();
                // Those who did not read may have been told something.
                for index in 0..self.slow.len() {
                    self.read(self.slow[index], usize::MAX);
                }
            }
            Phase::ConnectReceivers | Phase::Measure | Phase::Over => {}
        }
        Ok(())
    }

    // ---- connections

    fn connect_more(&mut self, phase: Phase, now_ns: u64) -> io::Result<()> {
        while self.connecting < self.shared.plan.connects {
            let Some(id) = self.to_connect.pop_front() else { break };
            self.connecting += 1;
            let connection = &mut self.connections[id];
            connection.begun_ns = now_ns;
            connection.out.clear();
            let mut stream = match TcpStream::connect(self.shared.endpoint(&connection.role).address) {
                Ok(stream) => stream,
                Err(error) => {
                    self.refused(id, error.to_string());
                    continue;
                }
            };
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(id), interest)?;
            connection.stage = Stage::Connecting(stream);
        }
        let is_connecting = matches!(phase, Phase::ConnectReceivers | Phase::ConnectPublishers);
        if is_connecting
            && self.connecting == 0
            && self.to_connect.is_empty()
            && self.announced != Some(phase)
        {
            self.announced = Some(phase);
            self.reports.send(Report::Connected);
        }
        Ok(())
    }

    fn refused(&mut self, id: usize, reason: String) {
        self.connecting -= 1;
        self.connections[id].stage = Stage::Over;
        self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        self.shared.refusal.get_or_init(|| reason.clone());
        self.tally.end(format!("not connected: {reason}"));
        if matches!(self.connections[id].role, Role::Publisher(_)) {
            self.reports.send(Report::Failed(format!("a publisher could not connect: {reason}")));
        }
    }

    fn ended(&mut self, id: usize, reason: String) {
        self.connections[id].stage = Stage::Over;
        self.shared.counters.open.fetch_sub(1, Ordering::Relaxed);
        let is_publisher = matches!(self.connections[id].role, Role::Publisher(_));
        if is_publisher
            || matches!(self.shared.plan.pace, Pace::Window(_)) && self.connections[id].reads_at_once()
        {
            let who = if is_publisher { "publisher" } else { "receiver" };
            self.reports.send(Report::Failed(format!("a {who}'s connection ended: {reason}")));
        }
        self.tally.end(reason);
    }

    /// The socket has news.
    fn handle(&mut self, id: usize, writable: bool) {
        let connection = &mut self.connections[id];
        if let Stage::Connecting(stream) = &mut connection.stage {
            if !writable {
                return;
            }
            if let Ok(Some(error)) | Err(error) = stream.take_error() {
                return self.refused(id, error.to_string());
            }
            // A frame must not wait for the acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            let Stage::Connecting(stream) = std::mem::replace(&mut connection.stage, Stage::Over) else {
                return;
            };
            connection.stage = Stage::Upgrading(stream, Vec::new());
            connection.out = self.shared.endpoint(&connection.role).request(connection.channel);
        }
        if writable
            && !connection.out.is_empty()
            && let Err(error) = connection.flush()
        {
            return self.lost(id, error.to_string());
        }
        if connection.reads_at_once() || !matches!(connection.stage, Stage::Open(..)) {
            self.read(id, usize::MAX);
        }
    }

    fn lost(&mut self, id: usize, reason: String) {
        match self.connections[id].stage {
            Stage::Open(..) => self.ended(id, reason),
            _ => self.refused(id, reason),
        }
    }

    /// Reads what is there, up to about `bytes_max`. Tells how much it was.
    fn read(&mut self, id: usize, bytes_max: usize) -> usize {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut total = 0;
        while total < bytes_max {
            let Some(stream) = self.connections[id].stream() else { break };
            let room = SCRATCH_BYTES.min(bytes_max - total);
            let (count, is_full) = match read(stream, &mut scratch[..room]) {
                Ok(Got::Full(count)) => (count, true),
                Ok(Got::Some(count)) => (count, false),
                Ok(Got::Nothing) => break,
                Ok(Got::End) => {
                    self.lost(id, "closed without a close frame".to_owned());
                    break;
                }
                Err(error) => {
                    self.lost(id, error.to_string());
                    break;
                }
            };
            total += count;
            self.take(id, &scratch[..count]);
            // Those who do not read at once were told long ago that there is something, and are not told again.
            if !is_full && self.connections[id].reads_at_once() {
                break;
            }
        }
        self.scratch = scratch;
        total
    }

    /// Bytes came.
    fn take(&mut self, id: usize, bytes: &[u8]) {
        let connection = &mut self.connections[id];
        let mut bytes = bytes;
        let answer_whole;
        if let Stage::Upgrading(_, answer) = &mut connection.stage {
            answer.extend_from_slice(bytes);
            match wire::answer(answer) {
                Answer::Partial => return,
                Answer::Refused(reason) => return self.refused(id, reason),
                Answer::Open(len) => {
                    answer_whole = answer.split_off(len);
                    bytes = &answer_whole;
                    self.open(id);
                }
            }
        }
        self.frames(id, bytes);
    }

    fn open(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let Stage::Upgrading(stream, _) = std::mem::replace(&mut connection.stage, Stage::Over) else {
            return;
        };
        connection.stage = Stage::Open(stream, Box::default());
        self.connecting -= 1;
        self.shared.counters.open.fetch_add(1, Ordering::Relaxed);
        let now_ns = self.shared.clock.now_ns();
        self.tally.handshake.saturating_record(now_ns - connection.begun_ns);
        if let Role::Publisher(publisher) = &connection.role {
            let init = publisher.composer.init();
            if let Err(error) = connection.control(&init) {
                self.lost(id, error.to_string());
            }
        }
    }

    fn frames(&mut self, id: usize, bytes: &[u8]) {
        let connection = &mut self.connections[id];
        let Stage::Open(_, frames) = &mut connection.stage else { return };
        let now_ns = self.shared.clock.now_ns();
        let plan = &self.shared.plan;
        let mut pongs = Vec::new();
        let mut end = None;
        let each = |message: Message<'_>| match (message.opcode, &mut connection.role) {
            (BINARY, Role::Receiver(receiver)) => {
                let Some(stamp) = plan.form.stamp(message.head) else { return };
                self.tally.received += 1;
                self.tally.bytes += message.len;
                self.tally.damaged += u64::from(message.len != plan.bytes as u64);
                let due = receiver.place.next().unwrap_or(stamp.seq);
                if std::mem::take(&mut receiver.expects_first) {
                    self.tally.first_message.saturating_record(now_ns - connection.begun_ns);
                }
                if receiver.temper != Temper::Healthy {
                    self.tally.left_out(receiver.place.arrived(stamp.seq));
                    return;
                }
                if self.shared.is_measured(stamp.sent_ns) {
                    self.tally.latency.saturating_record(now_ns.saturating_sub(stamp.sent_ns));
                }
                let arrival = self.tally.arrived(&mut receiver.place, stamp.seq);
                if let (Pace::Window(window), Arrival::InOrder { .. }) = (plan.pace, arrival) {
                    // Who misses some has done with them too.
                    let got = &self.shared.channels[connection.channel].got;
                    let publisher = connection.channel % plan.threads;
                    for seq in due..=stamp.seq {
                        let count =
                            got[(seq % u64::from(window)) as usize].fetch_add(1, Ordering::AcqRel) + 1;
                        if count as usize == plan.receivers && publisher != self.index {
                            self.shared.wake(publisher);
                        }
                    }
                }
            }
            (PING, _) => pongs.extend(masked_frame(OpCode::Pong, message.head, MASK)),
            (CLOSE, _) => end = Some(wire::close_reason(message.head)),
            _ => {}
        };
        if frames.push(bytes, each).is_err() {
            end = Some("what came was no frame".to_owned());
        }
        if let Some(reason) = end {
            return self.ended(id, reason);
        }
        if !pongs.is_empty()
            && let Err(error) = self.connections[id].control(&pongs)
        {
            self.lost(id, error.to_string());
        }
    }

    // ---- publishing

    fn publish_due(&mut self, now_ns: u64) -> io::Result<()> {
        let Pace::Rate(rate) = self.shared.plan.pace else { return Ok(()) };
        let interval = (1e9 / rate) as u64;
        while let Some(Reverse((due_ns, id))) = self.due.peek().copied() {
            if due_ns > now_ns {
                break;
            }
            self.due.pop();
            self.due.push(Reverse((due_ns + interval, id)));
            if let Some(sent_ns) = self.publish(id, 1)
                && self.shared.is_measured(sent_ns)
            {
                self.tally.lateness.saturating_record(sent_ns - due_ns);
            }
        }
        // To the nanosecond: the timeout of a poll is in milliseconds.
        if let Some(Reverse((due_ns, _))) = self.due.peek() {
            let wait = due_ns.saturating_sub(self.shared.clock.now_ns()).max(1);
            let value =
                Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        }
        Ok(())
    }

    /// Sends as much as the window allows.
    fn publish_window(&mut self, id: usize) {
        let Pace::Window(window) = self.shared.plan.pace else { return };
        if !matches!(self.shared.phase(), Phase::WarmUp | Phase::Measure) {
            return;
        }
        let connection = &mut self.connections[id];
        let Role::Publisher(publisher) = &mut connection.role else { return };
        let got = &self.shared.channels[connection.channel].got;
        let all = self.shared.plan.receivers as u32;
        while publisher.done < publisher.sent {
            let count = &got[(publisher.done % u64::from(window)) as usize];
            if count.load(Ordering::Acquire) < all {
                break;
            }
            count.store(0, Ordering::Release);
            publisher.done += 1;
        }
        let due = u64::from(window) - (publisher.sent - publisher.done);
        if due > 0 {
            self.publish(id, due);
        }
    }

    /// Tells when, unless the connection has ended.
    fn publish(&mut self, id: usize, count: u64) -> Option<u64> {
        let connection = &mut self.connections[id];
        let Role::Publisher(publisher) = &mut connection.role else { return None };
        if !matches!(connection.stage, Stage::Open(..)) {
            return None;
        }
        let sent_ns = self.shared.clock.now_ns();
        for _ in 0..count {
            publisher.composer.append(Stamp { seq: publisher.sent, sent_ns }, &mut connection.out);
            publisher.sent += 1;
        }
        self.shared.channels[connection.channel].sent.store(publisher.sent, Ordering::Release);
        if let Err(error) = connection.flush() {
            self.lost(id, error.to_string());
        }
        Some(sent_ns)
    }

    // ---- what happens now and then

    fn tick(&mut self, phase: Phase, now_ns: u64) -> io::Result<()> {
        let elapsed = now_ns - self.ticked_ns;
        if elapsed < ns(TICK) {
            return Ok(());
        }
        self.ticked_ns = now_ns;
        if phase == Phase::Settle {
            self.shared.missing[self.index].store(self.missing(), Ordering::Release);
        }
        let bytes = self.shared.plan.slow_bytes as f64 * elapsed as f64 / 1e9;
        for index in 0..self.slow.len() {
            let id = self.slow[index];
            match &self.connections[id].role {
                Role::Receiver(receiver) if receiver.temper == Temper::Slow => {
                    self.read(id, bytes as usize);
                }
                // Frozen: it must be attached, not only connected, so it waits for a message.
                Role::Receiver(receiver) if receiver.place.next() == Some(0) => {
                    self.read(id, SCRATCH_BYTES);
                }
                _ => {}
            }
        }
        if now_ns - self.heartbeat_ns > ns(HEARTBEAT_INTERVAL) {
            self.heartbeat_ns = now_ns;
            let frame = masked_frame(OpCode::Text, HEARTBEAT.as_bytes(), MASK);
            for id in 0..self.connections.len() {
                if matches!(self.connections[id].stage, Stage::Open(..))
                    && let Err(error) = self.connections[id].control(&frame)
                {
                    self.lost(id, error.to_string());
                }
            }
        }
        if phase == Phase::Measure && self.shared.plan.churn > 0.0 {
            self.churned += self.shared.plan.churn / self.shared.plan.threads as f64 * elapsed as f64 / 1e9;
            while self.churned >= 1.0 {
                self.churned -= 1.0;
                self.replace_one()?;
            }
        }
        Ok(())
    }

    /// One receiver leaves, without a word, and another comes.
    fn replace_one(&mut self) -> io::Result<()> {
        let Some(id) = fastrand::choice(&self.healthy).copied() else { return Ok(()) };
        let connection = &mut self.connections[id];
        let Stage::Open(stream, _) = &mut connection.stage else { return Ok(()) };
        self.poll.registry().deregister(stream)?;
        connection.stage = Stage::Waiting;
        connection.role =
            Role::Receiver(Receiver { place: Place::ANYWHERE, temper: Temper::Healthy, expects_first: true });
        self.shared.counters.open.fetch_sub(1, Ordering::Relaxed);
        self.to_connect.push_back(id);
        Ok(())
    }

    fn tell(&mut self) {
        let counters = &self.shared.counters;
        let now = (self.tally.received, self.tally.bytes, self.tally.lost);
        counters.received.fetch_add(now.0 - self.told.0, Ordering::Relaxed);
        counters.bytes.fetch_add(now.1 - self.told.1, Ordering::Relaxed);
        counters.lost.fetch_add(now.2.saturating_sub(self.told.2), Ordering::Relaxed);
        self.told = now;
    }

    /// What healthy receivers that are still there have not got of the end.
    fn missing(&self) -> u64 {
        let missing = |id: &usize| {
            let connection = &self.connections[*id];
            match (&connection.role, &connection.stage) {
                (Role::Receiver(receiver), Stage::Open(..)) => {
                    let sent = self.shared.channels[connection.channel].sent.load(Ordering::Acquire);
                    receiver.place.next().map_or(0, |next| sent.saturating_sub(next))
                }
                _ => 0,
            }
        };
        self.healthy.iter().map(missing).sum()
    }
}
