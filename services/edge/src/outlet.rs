//! The writing half of a websocket.
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
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use relay_proto::websocket::{Close, FrameHeader, HEARTBEAT, OpCode};
use socket2::SockRef;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::batch::{BATCH_FRAMES_MAX, Batch, Sent, Wire};
use crate::gop::Seq;
use crate::heard::Heard;

/// Control frames that may wait for a blocked socket. A client that pings faster than it reads loses pongs, nothing else.
const CONTROL_BYTES_MAX: usize = 16 << 10;

/// The writing half. Shared by the session's task and the publisher's fan-out.
#[derive(Debug)]
pub(crate) struct Outlet {
    stream: OwnedWriteHalf,
    out: Mutex<Out>,
    wake: Notify,
    /// When the last byte came. Bytes and not messages: in the middle of a long chunk there is no place for a pong.
    heard: Heard,
}

/// Small, and all in one piece: the fan-out goes from one to the next, and each is a visit to cold memory.
#[derive(Debug, Default)]
struct Out {
    /// While the receiver is caught up with its feed: the chunk that the fan-out brings next.
    due: Option<Seq>,
    pending: Option<Box<Pending>>,
    state: State,
    /// Since when the socket has taken nothing although something was due.
    blocked_since: Option<Instant>,
    sent_bytes: u64,
    /// Somebody else wants the session to end.
    dismissed: Option<Close>,
}

/// Accepted and not yet taken by the socket. Never empty.
#[derive(Debug)]
struct Pending {
    /// In order; the first may be the rest of a frame.
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// A socket that takes a byte now and then is not blocked, and pins what is pending.
    since: Instant,
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

/// What became of chunks that were offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// So much was due, and the socket took it.
    Sent(Sent),
    /// The receiver is not caught up any more: its task has to go on after this.
    Left(Sent),
}

impl Outlet {
    pub(crate) fn new(stream: OwnedWriteHalf) -> Self {
        Self { stream, out: Mutex::default(), wake: Notify::new(), heard: Heard::new() }
    }

    /// The receiver has everything up to this chunk: from now on the fan-out brings what follows.
    pub(crate) fn caught_up(&self, next: Seq) {
        self.lock().due = Some(next);
    }

    /// From now on the fan-out passes this receiver by. Tells which chunk is due, if it was caught up.
    pub(crate) fn take_over(&self) -> Option<Seq> {
        self.lock().due.take()
    }

    pub(crate) fn is_caught_up(&self) -> bool {
        self.lock().due.is_some()
    }

    /// The fan-out brings chunks: whoever is caught up gets in one write what is due.
    pub(crate) fn offer(&self, batch: &Batch<'_>) -> Offered {
        let mut out = self.lock();
        // What the receiver's task has fetched between the append and this pass is not due.
        let Some(due) = out.due.filter(|due| *due < batch.end()) else {
            return Offered::Sent(Sent::default());
        };
        if due < batch.first() || out.state != State::Open || out.pending.is_some() {
            return Offered::Left(Sent::default());
        }
        let (frames, wire) = batch.from(due);
        let taken = match wire {
            Wire::Whole(bytes) => self.stream.try_write(bytes),
            Wire::Pieces(slices) => self.stream.try_write_vectored(slices),
        };
        let accepted = match taken {
            Ok(taken) => out.accept(frames, taken),
            Err(error) => {
                out.refused(&error);
                0
            }
        };
        out.due = Some(due + accepted as u64);
        let sent = Sent::of(&frames[..accepted]);
        if accepted == frames.len() && out.pending.is_none() {
            Offered::Sent(sent)
        } else {
            Offered::Left(sent)
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
            match self.stream.try_write_vectored(&slices[..count]) {
                Ok(taken) => accepted += out.accept(&frames[accepted..], taken),
                Err(error) => return (out.refused(&error), accepted),
            }
        }
    }

    /// Accepts frames whatever the socket takes now: the few that start a stream, or a message of our own.
    pub(crate) fn queue(&self, frames: impl IntoIterator<Item = Bytes>) -> Flow {
        let mut out = self.lock();
        if out.state == State::Open {
            for frame in frames {
                out.push(frame);
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
        // In one piece: who is so far behind that something is dropped loses both or neither.
        let both = [frame(OpCode::Text, HEARTBEAT.as_bytes()), frame(OpCode::Ping, &[])].concat();
        self.control(&both.into());
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
            if self.lock().pending.is_none() {
                return;
            }
            self.writable().await;
        }
    }

    /// Nothing is due any more: what the socket would not take was left out.
    pub(crate) fn nothing_due(&self) {
        let mut out = self.lock();
        if out.pending.is_none() {
            out.blocked_since = None;
        }
    }

    /// When the client counts as too slow: the socket has taken nothing for `write_timeout` although something was due, or
    /// not all of what is pending for `pending_timeout`.
    pub(crate) fn too_slow_at(&self, write_timeout: Duration, pending_timeout: Duration) -> Option<Instant> {
        let out = self.lock();
        let blocked = out.blocked_since.map(|since| since + write_timeout);
        let pending = out.pending.as_ref().map(|pending| pending.since + pending_timeout);
        blocked.into_iter().chain(pending).min()
    }

    /// Bytes that the socket took.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.lock().sent_bytes
    }

    /// Waits until the socket may take something. For the session's own task only: the socket calls one task, the last
    /// that asked. In return a session holds no state for this, which would be most of what an idle one costs.
    pub(crate) async fn writable(&self) {
        // An error makes the socket writable too, and the next attempt to write meets it.
        let _ = poll_fn(|context| self.stream.as_ref().poll_write_ready(context)).await;
    }

    /// When the last byte came from the client.
    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Calls the session's task.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Asks the session to end with this. The first who asks is heard.
    pub(crate) fn dismiss(&self, close: Close) {
        self.lock().dismissed.get_or_insert(close);
        self.wake();
    }

    /// With what the session is asked to end.
    pub(crate) fn dismissed(&self) -> Option<Close> {
        self.lock().dismissed
    }

    /// Waits for [`Outlet::wake`].
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells the client that no byte follows; what it still sends can be read.
    pub(crate) fn shut(&self) {
        // Fails when the connection is gone already, which is what was wanted.
        let _ = SockRef::from(self.stream.as_ref()).shutdown(std::net::Shutdown::Write);
    }

    /// Sends a small frame of its own, or drops it when too much is waiting already.
    pub(crate) fn control(&self, frame: &Bytes) {
        let mut out = self.lock();
        let is_too_much = |pending: &Pending| pending.bytes > CONTROL_BYTES_MAX && pending.frames.len() > 1;
        if out.state != State::Open || out.pending.as_deref().is_some_and(is_too_much) {
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
        while let Some(pending) = &mut out.pending {
            let Some(front) = pending.frames.front_mut() else { break };
            match self.stream.try_write(front) {
                Ok(taken) => {
                    front.advance(taken);
                    if front.is_empty() {
                        pending.frames.pop_front();
                    }
                    pending.bytes -= taken;
                    if pending.frames.is_empty() {
                        out.pending = None;
                    }
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
        let empty = || Box::new(Pending { frames: VecDeque::new(), bytes: 0, since: Instant::now() });
        let pending = self.pending.get_or_insert_with(empty);
        pending.bytes += frame.len();
        pending.frames.push_back(frame);
    }

    /// The socket took this many bytes of these frames. The rest of one that it took in part is pending. Tells how many
    /// frames that were.
    fn accept(&mut self, frames: &[Bytes], taken: usize) -> usize {
        self.progress(taken);
        let mut left = taken;
        let mut accepted = 0;
        while left > 0 {
            let frame = &frames[accepted];
            accepted += 1;
            if left < frame.len() {
                self.push(frame.slice(left..));
            }
            left = left.saturating_sub(frame.len());
        }
        accepted
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
            self.pending = None;
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
