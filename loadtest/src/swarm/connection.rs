//! One connection of the swarm.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use crate::payload::Composer;
use crate::tally::Place;
use crate::wire::Frames;

/// Answers to handshakes that come in pieces, and control frames that a socket does not take at once, are short.
const OUT_BYTES_MAX: usize = 64 << 10;

/// One connection, through all its stages.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stage: Stage,
    pub(super) role: Role,
    pub(super) channel: usize,
    /// When the connection was begun.
    pub(super) begun_ns: u64,
    /// What the socket has not taken yet.
    pub(super) out: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Not yet begun.
    Waiting,
    Connecting(TcpStream),
    /// The request is on its way; so much of the answer came.
    Upgrading(TcpStream, Vec<u8>),
    Open(TcpStream, Box<Frames>),
    Over,
}

#[derive(Debug)]
pub(super) enum Role {
    Publisher(Publisher),
    Receiver(Receiver),
}

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) composer: Composer,
    /// Messages sent.
    pub(super) sent: u64,
    /// Messages that every receiver has got, in a closed loop.
    pub(super) done: u64,
}

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) place: Place,
    pub(super) temper: Temper,
    /// Whether it waits for its first message while messages flow.
    pub(super) expects_first: bool,
}

/// How a receiver reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temper {
    /// Whatever comes, at once.
    Healthy,
    /// A bounded number of bytes per second.
    Slow,
    /// One message, then nothing.
    Frozen,
}

impl Connection {
    pub(super) fn new(role: Role, channel: usize) -> Self {
        Self { stage: Stage::Waiting, role, channel, begun_ns: 0, out: Vec::new() }
    }

    pub(super) fn stream(&mut self) -> Option<&mut TcpStream> {
        match &mut self.stage {
            Stage::Connecting(stream) | Stage::Upgrading(stream, _) | Stage::Open(stream, _) => Some(stream),
            Stage::Waiting | Stage::Over => None,
        }
    }

    /// Whether the swarm reads what comes as soon as it comes.
    pub(super) fn reads_at_once(&self) -> bool {
        !matches!(&self.role, Role::Receiver(receiver) if receiver.temper != Temper::Healthy)
    }

    /// Sends a small frame after what is pending, or drops it when too much is.
    pub(super) fn control(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.out.len() + frame.len() <= OUT_BYTES_MAX || self.out.is_empty() {
            self.out.extend_from_slice(frame);
        }
        self.flush()
    }

    /// Gives the socket what is pending.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let (Stage::Connecting(stream) | Stage::Upgrading(stream, _) | Stage::Open(stream, _)) =
            &mut self.stage
        else {
            return Ok(());
        };
        let mut taken = 0;
        let result = loop {
            if taken == self.out.len() {
                break Ok(());
            }
            match stream.write(&self.out[taken..]) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.out.drain(..taken);
        result
    }
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// So many bytes, and there may be more.
    Full(usize),
    /// So many bytes, and nothing more for now.
    Some(usize),
    Nothing,
    /// The other side closed.
    End,
}

/// Reads once. A buffer that is not filled means that the socket is empty: with edge-triggered readiness it tells when
/// there is more (epoll(7)).
pub(super) fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Got> {
    loop {
        return match stream.read(buffer) {
            Ok(0) => Ok(Got::End),
            Ok(count) if count == buffer.len() => Ok(Got::Full(count)),
            Ok(count) => Ok(Got::Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Got::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}
