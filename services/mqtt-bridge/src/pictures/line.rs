//! The bytes to a node, in order, whoever writes them.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What is written is whole frames: where the socket took a part of one, the rest goes before   │
//! │ anything else.                                                                               │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Frames that wait beside a picture: a node that takes nothing is asked for no more answers than this.
const WAITING_BYTES_MAX: usize = 4 << 10;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection, and what it has not taken yet.
pub(super) struct Line {
    stream: Box<dyn Stream>,
    unsent: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
    /// Whether all was taken, but perhaps not passed on: TLS keeps some.
    flushed: bool,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("unsent", &(self.unsent.len() - self.taken)).finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, unsent: Vec::new(), taken: 0, flushed: true }
    }

    /// Whether nothing waits.
    pub(super) fn is_clear(&self) -> bool {
        self.unsent.is_empty() && self.flushed
    }

    /// Adds a frame. As much of it as the connection takes is gone when this returns; what is not is for [`Self::poll_drain`],
    /// and so is why not.
    pub(super) fn send(&mut self, frame: &[u8]) {
        let mut taken = 0;
        if self.is_clear() {
            self.flushed = false;
            // Nobody is woken for this: who drains asks anew.
            let mut context = Context::from_waker(Waker::noop());
            while taken < frame.len() {
                match Pin::new(&mut self.stream).poll_write(&mut context, &frame[taken..]) {
                    Poll::Ready(Ok(count)) if count > 0 => taken += count,
                    _ => break,
                }
            }
            if taken == frame.len() {
                self.flushed =
                    matches!(Pin::new(&mut self.stream).poll_flush(&mut context), Poll::Ready(Ok(())));
                return;
            }
        }
        self.unsent.extend_from_slice(&frame[taken..]);
    }

    /// Ready when nothing waits any more.
    pub(super) fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.unsent.len() {
            self.flushed = false;
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent[self.taken..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.taken += count,
            }
        }
        // Of a picture there may have been much; there is one of these for each camera.
        (self.unsent, self.taken) = (Vec::new(), 0);
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes frames whole, unless too much waits.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>, frames: &[u8]) -> Poll<io::Result<usize>> {
        if self.unsent.len() - self.taken >= WAITING_BYTES_MAX {
            ready!(self.poll_drain(context))?;
        }
        self.unsent.extend_from_slice(frames);
        Poll::Ready(Ok(frames.len()))
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }

    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
