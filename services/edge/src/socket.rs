//! One websocket after its handshake, as two halves over one TCP stream: [`Inbound`] reads, [`Outlet`] writes.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Every byte that goes to a client passes its outlet, and frames never interleave: what the    │
//! │ socket took in part is finished before anything else is sent.                                │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! An outlet never waits. Whoever has something to send tries; what the socket does not take at once is finished by
//! the session's own task, which [`Outlet::wake`] calls.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use relay_proto::websocket::{Close, FrameHeader, HEARTBEAT, OpCode};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{self, Message};

/// Most chunks in one vectored write; Linux takes 1024 pieces, a few dozen already hide the system call.
pub(crate) const BATCH_FRAMES_MAX: usize = 64;

/// Control frames that may wait for a blocked socket. A client that pings faster than it reads loses pongs, nothing else.
const CONTROL_BYTES_MAX: usize = 16 << 10;

/// The writing half. Shared by the session's task and the publisher's fan-out.
#[derive(Debug)]
pub(crate) struct Outlet {
    stream: TcpStream,
    out: Mutex<Out>,
    wake: Notify,
    /// When the last byte came. Bytes and not messages: in the middle of a long chunk there is no place for a pong.
    heard: watch::Sender<Instant>,
}

#[derive(Debug, Default)]
struct Out {
    /// Accepted and not yet taken by the socket, in order; the first may be the rest of a frame.
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
    state: State,
    /// Since when the socket has taken nothing although something was due.
    blocked_since: Option<Instant>,
    sent_bytes: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The close frame is accepted: nothing may follow it.
    Closing,
    Failed,
}

/// What became of an attempt to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The socket took everything.
    Clear,
    /// The socket is full; the session's task goes on when it can.
    Blocked,
    /// The connection is gone, or closing.
    Over,
}

impl Outlet {
    fn new(stream: TcpStream) -> Self {
        let heard = watch::Sender::new(Instant::now());
        Self { stream, out: Mutex::default(), wake: Notify::new(), heard }
    }

    /// Tries to send one ready frame. With [`Flow::Blocked`], `accepted` tells whether the frame is on its way in part.
    pub(crate) fn offer(&self, frame: &Bytes) -> (Flow, bool) {
        let mut out = self.lock();
        if out.state != State::Open {
            return (Flow::Over, false);
        }
        if !out.pending.is_empty() {
            return (Flow::Blocked, false);
        }
        match self.stream.try_write(frame) {
            Ok(taken) if taken == frame.len() => {
                out.progress(taken);
                (Flow::Clear, true)
            }
            Ok(taken) => {
                out.progress(taken);
                out.pending_bytes = frame.len() - taken;
                out.pending.push_back(frame.slice(taken..));
                (Flow::Blocked, true)
            }
            Err(error) => (out.refused(&error), false),
        }
    }

    /// Tries to send ready frames in one vectored write, after what is pending. Tells how many were accepted: taken
    /// whole, or in part with the rest pending.
    pub(crate) fn send(&self, frames: &[Bytes]) -> (Flow, usize) {
        let mut out = self.lock();
        let mut accepted = 0;
        loop {
            match self.flush_locked(&mut out) {
                Flow::Clear if accepted < frames.len() => {}
                flow => return (flow, accepted),
            }
            let mut slices = [IoSlice::new(&[]); BATCH_FRAMES_MAX];
            let due = frames[accepted..].iter().take(BATCH_FRAMES_MAX);
            let count = due.len();
            for (slice, frame) in slices.iter_mut().zip(due) {
                *slice = IoSlice::new(frame);
            }
            let mut taken = match self.stream.try_write_vectored(&slices[..count]) {
                Ok(taken) => taken,
                Err(error) => return (out.refused(&error), accepted),
            };
            out.progress(taken);
            while taken > 0 {
                let frame = &frames[accepted];
                accepted += 1;
                if taken < frame.len() {
                    out.pending_bytes = frame.len() - taken;
                    out.pending.push_back(frame.slice(taken..));
                }
                taken = taken.saturating_sub(frame.len());
            }
        }
    }

    /// Accepts frames whatever the socket takes now: the few that start a stream, or a message of our own.
    pub(crate) fn queue(&self, frames: impl IntoIterator<Item = Bytes>) -> Flow {
        let mut out = self.lock();
        if out.state == State::Open {
            for frame in frames {
                out.pending_bytes += frame.len();
                out.pending.push_back(frame);
            }
        }
        self.flush_locked(&mut out)
    }

    /// Sends a TEXT message; dropped when too much is waiting already.
    pub(crate) fn text(&self, text: &str) {
        self.control(&frame(OpCode::Text, text.as_bytes()));
    }

    /// Sends the protocol's heartbeat and a websocket ping, so that a client that knows only one of them answers.
    pub(crate) fn heartbeat(&self) {
        self.text(HEARTBEAT);
        self.ping();
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self) {
        self.control(&frame(OpCode::Ping, &[]));
    }

    /// Sends the error text, if there is one, and the close frame. Nothing is accepted after that.
    pub(crate) fn close(&self, close: Close) -> Flow {
        let mut out = self.lock();
        if out.state == State::Open {
            if let Some(text) = close.error_text() {
                out.push(frame(OpCode::Text, text.as_bytes()));
            }
            let mut payload = close.code().to_be_bytes().to_vec();
            payload.extend_from_slice(close.reason().as_bytes());
            out.push(frame(OpCode::Close, &payload));
            out.state = State::Closing;
        }
        self.flush_locked(&mut out)
    }

    /// Sends what is pending.
    pub(crate) fn flush(&self) -> Flow {
        self.flush_locked(&mut self.lock())
    }

    /// Waits until everything that was accepted is sent, or the connection is gone.
    pub(crate) async fn flushed(&self) {
        loop {
            self.flush();
            if self.lock().pending.is_empty() {
                return;
            }
            self.writable().await;
        }
    }

    /// Nothing is due any more: what the socket would not take was left out.
    pub(crate) fn nothing_due(&self) {
        let mut out = self.lock();
        if out.pending.is_empty() {
            out.blocked_since = None;
        }
    }

    /// Since when the socket has taken nothing although something was due.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.lock().blocked_since
    }

    /// Bytes that the socket took.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.lock().sent_bytes
    }

    /// Waits until the socket may take something.
    pub(crate) async fn writable(&self) {
        // An error makes the socket writable too, and the next attempt to write meets it.
        let _ = self.stream.writable().await;
    }

    /// When the last byte came from the client.
    pub(crate) fn heard(&self) -> watch::Receiver<Instant> {
        self.heard.subscribe()
    }

    /// Calls the session's task.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for [`Outlet::wake`].
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells the client that no byte follows; what it still sends can be read.
    pub(crate) fn shut(&self) {
        // Fails when the connection is gone already, which is what was wanted.
        let _ = SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    fn control(&self, frame: &Bytes) {
        let mut out = self.lock();
        if out.state != State::Open || out.pending_bytes > CONTROL_BYTES_MAX && out.pending.len() > 1 {
            return;
        }
        out.push(frame.clone());
        if self.flush_locked(&mut out) == Flow::Blocked {
            self.wake();
        }
    }

    fn flush_locked(&self, out: &mut Out) -> Flow {
        if out.state == State::Failed {
            return Flow::Over;
        }
        while let Some(front) = out.pending.front_mut() {
            match self.stream.try_write(front) {
                Ok(taken) => {
                    front.advance(taken);
                    if front.is_empty() {
                        out.pending.pop_front();
                    }
                    out.pending_bytes -= taken;
                    out.progress(taken);
                }
                Err(error) => return out.refused(&error),
            }
        }
        if out.state == State::Open { Flow::Clear } else { Flow::Over }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Out {
    fn push(&mut self, frame: Bytes) {
        self.pending_bytes += frame.len();
        self.pending.push_back(frame);
    }

    fn progress(&mut self, taken: usize) {
        self.sent_bytes += taken as u64;
        if taken > 0 {
            self.blocked_since = None;
        }
    }

    fn refused(&mut self, error: &io::Error) -> Flow {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.blocked_since.get_or_insert_with(Instant::now);
            Flow::Blocked
        } else {
            self.state = State::Failed;
            self.pending.clear();
            self.pending_bytes = 0;
            Flow::Over
        }
    }
}

/// A whole message.
pub(crate) fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let header = FrameHeader::new(opcode, payload.len());
    let mut frame = BytesMut::with_capacity(header.as_bytes().len() + payload.len());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(payload);
    frame.freeze()
}

/// The reading half: frames in, messages out. Answers pings and close frames through the outlet.
#[derive(Debug)]
pub(crate) struct Inbound {
    context: WebSocketContext,
    outlet: Arc<Outlet>,
    received_bytes: u64,
}

/// What is read from a client.
#[derive(Debug)]
pub(crate) struct InboundLimits {
    /// Largest message, whole or in fragments.
    pub(crate) message_bytes_max: usize,
    /// Memory that a session holds for reading even when nothing comes.
    pub(crate) read_buffer_bytes: usize,
}

/// What a client did.
#[derive(Debug)]
pub(crate) enum Received {
    /// A chunk.
    Binary(Bytes),
    /// The heartbeat.
    Heartbeat,
    /// Any other text.
    Text,
    /// A ping or pong: a sign of life.
    Sign,
    /// The client closed the websocket, with a code that says that it was done, or with another.
    Closed(Farewell),
    /// The connection ended without a close frame.
    Lost,
    /// What came breaks a rule.
    Invalid(Close),
}

/// What a client's close frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// It is done: no code, 1000, or 1001 from a page that is left.
    Done,
    /// Something went wrong at its end, and it may be back.
    Trouble,
}

impl From<Option<CloseFrame>> for Farewell {
    fn from(frame: Option<CloseFrame>) -> Self {
        match frame.map(|frame| frame.code) {
            None | Some(CloseCode::Normal | CloseCode::Away) => Self::Done,
            Some(_) => Self::Trouble,
        }
    }
}

/// Splits a connection whose handshake is done. `read_ahead` is what was read beyond the handshake.
pub(crate) fn split(
    stream: TcpStream,
    read_ahead: Vec<u8>,
    limits: &InboundLimits,
) -> (Inbound, Arc<Outlet>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits.read_buffer_bytes)
        .write_buffer_size(0)
        .max_message_size(Some(limits.message_bytes_max))
        .max_frame_size(Some(limits.message_bytes_max));
    let context = WebSocketContext::from_partially_read(read_ahead, Role::Server, Some(config));
    let outlet = Arc::new(Outlet::new(stream));
    (Inbound { context, outlet: Arc::clone(&outlet), received_bytes: 0 }, outlet)
}

impl Inbound {
    /// The next thing the client does. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            let mut wire = Wire { outlet: &self.outlet, received_bytes: &mut self.received_bytes };
            match self.context.read(&mut wire) {
                Ok(Message::Binary(payload)) => return Received::Binary(payload),
                Ok(Message::Text(text)) if text.as_str() == HEARTBEAT => return Received::Heartbeat,
                Ok(Message::Text(_)) => return Received::Text,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => return Received::Sign,
                Ok(Message::Close(frame)) => return Received::Closed(frame.into()),
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.outlet.stream.readable().await.is_err() {
                        return Received::Lost;
                    }
                }
                Err(tungstenite::Error::Capacity(_)) => return Received::Invalid(Close::ChunkTooBig),
                Err(tungstenite::Error::Utf8(_)) => return Received::Invalid(Close::BadText),
                Err(tungstenite::Error::Protocol(
                    tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
                )) => return Received::Lost,
                Err(tungstenite::Error::Protocol(_)) => return Received::Invalid(Close::ProtocolViolation),
                Err(_) => return Received::Lost,
            }
        }
    }

    /// Bytes read from the socket.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Reads on after our close frame until the client has closed too: a socket that is closed with unread bytes in it
    /// is reset, and the reset can overtake the close frame.
    pub(crate) async fn drain(&mut self) {
        let mut rest = [0; 4096];
        loop {
            match self.outlet.stream.try_read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.outlet.stream.readable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// What tungstenite sees as its stream: reads from the socket, writes to the outlet.
struct Wire<'a> {
    outlet: &'a Outlet,
    received_bytes: &'a mut u64,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.outlet.stream.try_read(buffer)?;
        *self.received_bytes += count as u64;
        if count > 0 {
            self.outlet.heard.send_replace(Instant::now());
        }
        Ok(count)
    }
}

impl Write for Wire<'_> {
    /// Tungstenite writes whole frames (pongs and close replies), since its own write buffer is off.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.outlet.control(&Bytes::copy_from_slice(frame));
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
