//! A wire between a client and a server that can be cut, stalled, slowed or made unreliable at any moment.
//!
//! It carries bytes in order and makes none up. Once [`Wire::set`] has returned, no byte passes that the new mode would
//! not let pass: whoever writes holds the mode while it does.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// More connections than a test makes.
const CONNECTIONS_MAX: usize = 1024;

/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// What one direction of a connection holds while it waits to be due: a gigabit per second for a quarter of one. Beyond
/// that the wire takes no more, as a link whose queue is full.
const DELAYED_BYTES_MAX: usize = 32 << 20;

/// What a wire does. Every mode can follow every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass as they come.
    Pass,
    /// Connections are reset; new ones are reset as soon as they are there.
    Cut,
    /// Nothing passes, the end of a connection neither, and connections stay. New ones are taken and hear nothing. What was
    /// sent meanwhile passes when the stall is over, as TCP would send it again.
    Stall,
    /// Everything takes this long in each direction, in order. How much passes is not limited by it.
    Delay(Duration),
    /// Bytes pass until a connection is reset: after so many of both directions, from its beginning on, as the seed and the
    /// number of the connection say.
    Resets {
        /// The same seed resets the same connections after the same number of bytes.
        seed: u64,
        /// No connection carries more.
        bytes_max: u64,
    },
}

/// A wire to a server. Dropping it ends every connection.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Accepts, and owns the connections.
    _task: JoinSet<()>,
}

impl Wire {
    /// A wire that passes everything.
    ///
    /// # Panics
    /// When there is no port for it.
    pub async fn to(server: SocketAddr) -> Self {
        Self::between(Ipv4Addr::LOCALHOST, server).await
    }

    /// The same, for clients that reach this machine at that address.
    ///
    /// # Panics
    /// When there is no port for it, or the machine has no such address.
    pub async fn between(host: Ipv4Addr, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, seen) = watch::channel(Mode::Pass);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, server, seen));
        Self { address, mode, _task: task }
    }

    /// Where clients connect instead.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the mode, for the connections that are there and for those to come.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            Some(ended) = connections.join_next() => ended.expect("a connection does not panic"),
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let (client, _) = accepted.expect("a test has file descriptors");
                number += 1;
                let mode = mode.clone();
                connections.spawn(async move { connect(client, server, mode, number).await });
            }
        }
    }
}

/// From the first byte of a connection to its end, which is in order or a reset of both sides.
async fn connect(mut client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>, number: u64) {
    let over = mode.wait_for(|mode| *mode != Mode::Stall).await.map(|mode| *mode);
    let connected = match over {
        Ok(Mode::Cut) | Err(_) => Err(reset()),
        Ok(_) => TcpStream::connect(server).await,
    };
    let Ok(mut server) = connected else {
        let _ = client.set_zero_linger();
        return;
    };
    // A wire has no reason to hold back what is small.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let link = Link { mode, number, passed: AtomicU64::new(0) };
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let ended = tokio::try_join!(link.carry(from_client, to_server), link.carry(from_server, to_client));
    if ended.is_err() {
        // A side that is gone already has nothing to reset.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// What both directions of a connection share.
#[derive(Debug)]
struct Link {
    mode: watch::Receiver<Mode>,
    number: u64,
    /// Bytes of both directions.
    passed: AtomicU64,
}

impl Link {
    /// Carries one direction to its end.
    async fn carry(&self, from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<()> {
        let mut changes = self.mode.clone();
        let mut queue = Queue::default();
        loop {
            let mode = *changes.borrow_and_update();
            let (flows, delay, held_max) = match mode {
                Mode::Cut => return Err(reset()),
                Mode::Stall => (false, Duration::ZERO, 0),
                Mode::Pass | Mode::Resets { .. } => (true, Duration::ZERO, READ_BYTES),
                Mode::Delay(delay) => (true, delay, DELAYED_BYTES_MAX),
            };
            let due = queue.came_at().map(|came| came + delay).filter(|_| flows);
            let is_due = due.is_some_and(|due| due <= Instant::now());
            if is_due && queue.is_at_end() {
                return to.shutdown().await;
            }
            tokio::select! {
                biased;
                changed = changes.changed() => changed.map_err(|_| reset())?,
                writable = to.writable(), if is_due => {
                    writable?;
                    self.pass(&to, &mut queue)?;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !is_due => {}
                readable = from.readable(), if flows && !queue.is_ended && queue.bytes < held_max => {
                    readable?;
                    queue.take(&from)?;
                }
            }
        }
    }

    /// Writes what the socket takes of what is due.
    fn pass(&self, to: &WriteHalf<'_>, queue: &mut Queue) -> Result<()> {
        // Held until the bytes are written: who changes the mode waits for it.
        let mode = self.mode.borrow();
        let left = match *mode {
            Mode::Cut | Mode::Stall => return Ok(()),
            Mode::Pass | Mode::Delay(_) => u64::MAX,
            Mode::Resets { seed, bytes_max } => {
                let lifetime = lifetime(seed, self.number, bytes_max);
                lifetime.saturating_sub(self.passed.load(Ordering::Relaxed))
            }
        };
        let written = match left {
            0 => return Err(reset()),
            left => queue.give(to, usize::try_from(left).unwrap_or(usize::MAX))?,
        };
        self.passed.fetch_add(written as u64, Ordering::Relaxed);
        if written as u64 == left { Err(reset()) } else { Ok(()) }
    }
}

/// After how many bytes the connection of this number is reset.
fn lifetime(seed: u64, number: u64, bytes_max: u64) -> u64 {
    fastrand::Rng::with_seed(seed.wrapping_add(number)).u64(1..=bytes_max.max(1))
}

/// What came on one side and did not go out on the other.
#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// An empty part stands last, and nothing follows.
    is_ended: bool,
}

impl Queue {
    /// When the first part came.
    fn came_at(&self) -> Option<Instant> {
        self.parts.front().map(|part| part.0)
    }

    fn is_at_end(&self) -> bool {
        self.parts.front().is_some_and(|part| part.1.is_empty())
    }

    fn take(&mut self, from: &ReadHalf<'_>) -> Result<()> {
        let mut part = Vec::with_capacity(READ_BYTES);
        match from.try_read_buf(&mut part) {
            Ok(len) => {
                self.is_ended = len == 0;
                self.bytes += len;
                part.shrink_to_fit();
                self.parts.push_back((Instant::now(), part.into()));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes of the first part, which is not the end, and returns how much.
    fn give(&mut self, to: &WriteHalf<'_>, max: usize) -> Result<usize> {
        let (_, part) = self.parts.front_mut().expect("something is due");
        let written = match to.try_write(&part[..part.len().min(max)]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            written => written?,
        };
        part.advance(written);
        self.bytes -= written;
        if part.is_empty() {
            self.parts.pop_front();
        }
        Ok(written)
    }
}

fn reset() -> Error {
    ErrorKind::ConnectionReset.into()
}

#[cfg(test)]
mod tests;
