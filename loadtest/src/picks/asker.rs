//! Asks over some connections and one thread, in a closed loop or at a fixed rate.
//!
//! At a fixed rate the time of an answer counts from when its question was due, not from when it was sent: a question that
//! finds no free connection waits for one, and its wait counts.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::answer::{ANSWER_BYTES_MAX, Answer, Shapeless};
use crate::clock::{Clock, ns};
use crate::process::{self, Usage};

const TIMER: Token = Token(usize::MAX);

/// No poll waits longer, so that the end is noticed.
const POLL_MAX: Duration = Duration::from_millis(20);

/// What is not answered by then after the end is not answered at all.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// A minute, like all latencies here.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// How long one question alone may take that is asked before anything is measured.
const ONCE_TIMEOUT: Duration = Duration::from_secs(5);

/// When the next question is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// When the last one on its connection is answered.
    Closed,
    /// So many a second, whatever the answers do.
    Rate(f64),
}

/// How to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) address: SocketAddr,
    /// The process there.
    pub(crate) pid: u32,
    /// What to ask, one after the other, and from the start again.
    pub(crate) questions: &'a [Vec<u8>],
    pub(crate) connections: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    pub(crate) pace: Pace,
}

/// What it came to.
#[derive(Debug)]
pub(crate) struct Asked {
    /// In the measurement.
    pub(crate) answered: u64,
    /// Length of the measurement.
    pub(crate) seconds: f64,
    /// In nanoseconds, of what was due in the measurement.
    pub(crate) latency: Histogram<u64>,
    /// How late questions were sent that had a connection: the load generator's own fault. In nanoseconds.
    pub(crate) lateness: Histogram<u64>,
    /// Answers that were not as they should be, in the whole run.
    pub(crate) wrong: u64,
    /// What the first of them said.
    pub(crate) first_wrong: Option<String>,
    /// Questions without an answer.
    pub(crate) unanswered: u64,
    /// Time on a processor in the measurement, of the server.
    pub(crate) server_cpu: Duration,
    /// And of the load generator.
    pub(crate) own_cpu: Duration,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// When the question was due that is under way.
    due_ns: Option<u64>,
    answer: Vec<u8>,
    /// So much of it has come.
    filled: usize,
}

struct Asker<'a> {
    asking: Asking<'a>,
    /// Whether an answer is as it should be.
    check: &'a mut dyn FnMut(&Answer<'_>) -> bool,
    clock: Clock,
    connections: Vec<Connection>,
    /// Those without a question, the longest so first.
    idle: VecDeque<usize>,
    /// Questions sent.
    sent: usize,
    /// When the next question is due, at a fixed rate.
    next_ns: u64,
    interval_ns: f64,
    /// Questions that were due.
    due: u64,
    /// Whether questions wait for a connection.
    waits: bool,
    /// Ticks whenever a question is due: the timeout of a poll is in milliseconds.
    timer: OwnedFd,
    /// What is due from here on is recorded.
    from_ns: u64,
    /// And what is due from here on is not asked.
    until_ns: u64,
    asked: Asked,
}

/// Asks, and has each answer checked.
///
/// # Errors
/// The server cannot be reached, ends a connection, or answers what has no shape.
pub(crate) fn ask(asking: Asking<'_>, check: &mut dyn FnMut(&Answer<'_>) -> bool) -> io::Result<Asked> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::new();
    for id in 0..asking.connections {
        let stream = StdTcpStream::connect(asking.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(id), Interest::READABLE)?;
        connections.push(Connection { stream, due_ns: None, answer: vec![0; ANSWER_BYTES_MAX], filled: 0 });
    }
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
    let mut interval_ns = 0.0;
    if let Pace::Rate(rate) = asking.pace {
        interval_ns = 1e9 / rate;
        let interval = Duration::from_nanos(interval_ns as u64);
        let spec = Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: interval.subsec_nanos().into() };
        let ticks = Itimerspec { it_interval: spec, it_value: spec };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &ticks)?;
    }
    let histogram = || Histogram::new_with_max(LATENCY_MAX_NS, 3).map_err(io::Error::other);
    let asked = Asked {
        answered: 0,
        seconds: asking.duration.as_secs_f64(),
        latency: histogram()?,
        lateness: histogram()?,
        wrong: 0,
        first_wrong: None,
        unanswered: 0,
        server_cpu: Duration::ZERO,
        own_cpu: Duration::ZERO,
    };
    let asker = Asker {
        asking,
        check,
        clock: Clock::start(),
        idle: (0..connections.len()).collect(),
        connections,
        sent: 0,
        next_ns: 0,
        interval_ns,
        due: 0,
        waits: false,
        timer,
        from_ns: u64::MAX,
        until_ns: u64::MAX,
        asked,
    };
    asker.run(&mut poll)
}

impl Asker<'_> {
    fn run(mut self, poll: &mut Poll) -> io::Result<Asked> {
        let mut events = Events::with_capacity(1024);
        let warm_ns = ns(self.asking.warmup);
        while self.clock.now_ns() < warm_ns {
            self.turn(poll, &mut events)?;
        }
        let before = self.usage();
        self.from_ns = self.clock.now_ns();
        self.until_ns = self.from_ns + ns(self.asking.duration);
        while self.clock.now_ns() < self.until_ns {
            self.turn(poll, &mut events)?;
        }
        let after = self.usage();
        let took = |of: usize| after[of].cpu.saturating_sub(before[of].cpu);
        (self.asked.server_cpu, self.asked.own_cpu) = (took(0), took(1));
        let deadline = self.clock.now_ns() + ns(SETTLE_MAX);
        while !self.is_settled() && self.clock.now_ns() < deadline {
            self.turn(poll, &mut events)?;
        }
        let open = self.connections.len() - self.idle.len();
        let unsent = if self.is_due(self.until_ns) { self.until_ns - self.next_ns } else { 0 };
        self.asked.unanswered = open as u64 + (unsent as f64 / self.interval_ns.max(1.0)).ceil() as u64;
        Ok(self.asked)
    }

    fn usage(&self) -> [Usage; 2] {
        let server = process::usage(&[self.asking.pid]);
        [Usage::sum(&server), process::own()]
    }

    /// Whether a question is due at a fixed rate that was not sent.
    fn is_due(&self, now_ns: u64) -> bool {
        self.asking.pace != Pace::Closed && self.next_ns < self.until_ns && self.next_ns <= now_ns
    }

    fn is_settled(&self) -> bool {
        self.idle.len() == self.connections.len() && !self.is_due(self.until_ns)
    }

    /// Sends what is due, and takes what has come.
    fn turn(&mut self, poll: &mut Poll, events: &mut Events) -> io::Result<()> {
        match self.asking.pace {
            Pace::Closed => {
                while self.clock.now_ns() < self.until_ns
                    && let Some(id) = self.idle.pop_front()
                {
                    self.send(id, self.clock.now_ns())?;
                }
            }
            Pace::Rate(_) => self.send_due()?,
        }
        let within = match self.asking.pace {
            // Whoever sleeps must be woken, and on one machine that is a server's work: in a profile it was a quarter of a
            // stream-manager's time, and half as much of a server that is faster than questions come.
            Pace::Closed => Duration::ZERO,
            Pace::Rate(_) => POLL_MAX,
        };
        match poll.poll(events, Some(within)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in events.iter() {
            match event.token() {
                // It ticks on when it was read; what is due is reckoned from the clock.
                TIMER => match rustix::io::read(&self.timer, &mut [0u8; 8]) {
                    Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                    Err(error) => return Err(error.into()),
                },
                Token(id) => self.receive(id)?,
            }
        }
        Ok(())
    }

    fn send_due(&mut self) -> io::Result<()> {
        while let now_ns = self.clock.now_ns()
            && self.is_due(now_ns)
        {
            let Some(id) = self.idle.pop_front() else {
                self.waits = true;
                return Ok(());
            };
            if !self.waits && self.next_ns >= self.from_ns {
                self.asked.lateness.saturating_record(now_ns - self.next_ns);
            }
            self.send(id, self.next_ns)?;
            self.due += 1;
            // From the start, so that nothing adds up.
            self.next_ns = (self.due as f64 * self.interval_ns) as u64;
        }
        self.waits = false;
        Ok(())
    }

    fn send(&mut self, id: usize, due_ns: u64) -> io::Result<()> {
        let question = &self.asking.questions[self.sent % self.asking.questions.len()];
        self.sent += 1;
        let connection = &mut self.connections[id];
        connection.due_ns = Some(due_ns);
        connection.filled = 0;
        // It is the only one under way there: a socket takes it whole.
        connection.stream.write_all(question)
    }

    fn receive(&mut self, id: usize) -> io::Result<()> {
        let connection = &mut self.connections[id];
        loop {
            let room = &mut connection.answer[connection.filled..];
            let whole = room.len();
            match connection.stream.read(room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    connection.filled += count;
                    let answer = Answer::read(&connection.answer[..connection.filled])?;
                    if let Some(answer) = answer {
                        let Some(due_ns) = connection.due_ns.take() else { return Err(Shapeless.into()) };
                        if answer.len() != connection.filled {
                            return Err(Shapeless.into());
                        }
                        let now_ns = self.clock.now_ns();
                        if !(self.check)(&answer) {
                            self.asked.wrong += 1;
                            self.asked.first_wrong.get_or_insert_with(|| answer.words());
                        }
                        if (self.from_ns..self.until_ns).contains(&now_ns) {
                            self.asked.answered += 1;
                        }
                        if (self.from_ns..self.until_ns).contains(&due_ns) {
                            self.asked.latency.saturating_record(now_ns - due_ns);
                        }
                        connection.filled = 0;
                        if self.asking.pace == Pace::Closed && now_ns < self.until_ns {
                            self.send(id, now_ns)?;
                        } else {
                            self.idle.push_back(id);
                        }
                        return Ok(());
                    }
                    if count < whole {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Asks one question on a connection of its own, and hands over the answer.
pub(crate) fn ask_once<T>(
    address: SocketAddr,
    question: &[u8],
    take: impl FnOnce(&Answer<'_>) -> T,
) -> io::Result<T> {
    let mut stream = StdTcpStream::connect(address)?;
    stream.set_read_timeout(Some(ONCE_TIMEOUT))?;
    stream.write_all(question)?;
    let mut bytes = vec![0; ANSWER_BYTES_MAX];
    let mut filled = 0;
    loop {
        if let Some(answer) = Answer::read(&bytes[..filled])? {
            return Ok(take(&answer));
        }
        match stream.read(&mut bytes[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
}

impl From<Shapeless> for io::Error {
    fn from(error: Shapeless) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    /// Answers so many questions on one connection, of which the first waits.
    fn server(first_waits: Duration, answers: usize) -> (SocketAddr, thread::JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for count in 0..answers {
                let mut question = [0; 4];
                if stream.read_exact(&mut question).is_err() {
                    return;
                }
                assert_eq!(&question, b"what");
                if count == 0 {
                    let until = std::time::Instant::now() + first_waits;
                    while let left = until.saturating_duration_since(std::time::Instant::now())
                        && !left.is_zero()
                    {
                        thread::park_timeout(left);
                    }
                }
                if stream.write_all(ANSWER).is_err() {
                    return;
                }
            }
        });
        (address, server)
    }

    fn asking(address: SocketAddr, questions: &[Vec<u8>], pace: Pace) -> Asking<'_> {
        Asking {
            address,
            pid: std::process::id(),
            questions,
            connections: 1,
            warmup: Duration::ZERO,
            duration: Duration::from_millis(300),
            pace,
        }
    }

    #[test]
    fn a_server_that_pauses_delays_all_that_was_due_meanwhile() {
        let (address, server) = server(Duration::from_millis(200), usize::MAX);
        let questions = [b"what".to_vec()];
        let asked = ask(asking(address, &questions, Pace::Rate(100.0)), &mut |_| true).unwrap();
        server.join().unwrap();
        assert_eq!((asked.wrong, asked.unanswered), (0, 0));
        // All that was due is accounted for, though one connection could not take it.
        assert!((29..=30).contains(&asked.latency.len()), "{}", asked.latency.len());
        let late = asked.latency.iter_recorded().filter(|step| step.value_iterated_to() > 45_000_000);
        let late: u64 = late.map(|step| step.count_at_value()).sum();
        assert!(late >= 14, "of 20 that were due in the pause, {late} were late by the most of it");
    }

    #[test]
    fn a_closed_loop_asks_again_with_each_answer() {
        let (address, server) = server(Duration::ZERO, usize::MAX);
        let questions = [b"what".to_vec()];
        let mut checked = 0;
        let asked = ask(asking(address, &questions, Pace::Closed), &mut |answer| {
            checked += 1;
            answer.body == b"{}" && checked != 3
        })
        .unwrap();
        server.join().unwrap();
        assert!(asked.answered > 10 && asked.answered <= checked, "{} of {checked}", asked.answered);
        assert_eq!((asked.wrong, asked.unanswered), (1, 0));
        assert_eq!(asked.first_wrong.as_deref(), Some("HTTP/1.1 200 OK: {}"));
        assert_eq!(asked.seconds, 0.3);
    }

    #[test]
    fn a_server_that_goes_is_told() {
        let (address, server) = server(Duration::ZERO, 3);
        let questions = [b"what".to_vec()];
        let error = ask(asking(address, &questions, Pace::Closed), &mut |_| true).unwrap_err();
        server.join().unwrap();
        assert!(
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
            "{error}"
        );
    }
}
