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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    /// A socket that takes what it is told to, and keeps some of it until it is flushed.
    #[derive(Clone, Default)]
    struct Socket(Arc<Mutex<Taken>>);

    #[derive(Default)]
    struct Taken {
        /// How much of each write is taken; nothing at 0. Without an end all is.
        takes: VecDeque<usize>,
        kept: Vec<u8>,
        passed_on: Vec<u8>,
    }

    impl AsyncRead for Socket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let mut taken = self.0.lock().unwrap();
            match taken.takes.pop_front().unwrap_or(usize::MAX) {
                0 => Poll::Pending,
                most => {
                    let count = most.min(bytes.len());
                    taken.kept.extend_from_slice(&bytes[..count]);
                    Poll::Ready(Ok(count))
                }
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut taken = self.0.lock().unwrap();
            if taken.takes.pop_front() == Some(0) {
                return Poll::Pending;
            }
            let kept = std::mem::take(&mut taken.kept);
            taken.passed_on.extend(kept);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn frames_stay_whole_and_in_order_whatever_the_socket_takes(
            takes in prop::collection::vec(0_usize..9, 0..60),
            steps in prop::collection::vec((0_u8..3, 1_usize..20), 0..40),
        ) {
            let socket = Socket::default();
            socket.0.lock().unwrap().takes = takes.into();
            let mut line = Line::new(Box::new(socket.clone()));
            let mut context = Context::from_waker(Waker::noop());
            let mut said = Vec::new();
            for (number, (step, len)) in steps.into_iter().enumerate() {
                let frame = vec![number as u8; len];
                match step {
                    0 => line.send(&frame),
                    1 => prop_assert!(matches!(line.poll_send(&mut context, &frame), Poll::Ready(Ok(count)) if count == len)),
                    _ => {
                        let is_drained = line.poll_drain(&mut context).is_ready();
                        prop_assert_eq!(is_drained, line.is_clear());
                        continue;
                    }
                }
                said.extend(frame);
            }
            while line.poll_drain(&mut context).is_pending() {}
            prop_assert!(line.is_clear());
            let taken = socket.0.lock().unwrap();
            prop_assert!(taken.kept.is_empty(), "all is passed on");
            prop_assert_eq!(&taken.passed_on, &said);
        }
    }

    #[test]
    fn a_socket_that_takes_nothing_is_told_little() {
        let socket = Socket::default();
        socket.0.lock().unwrap().takes = vec![0; 2].into();
        let mut line = Line::new(Box::new(socket));
        let mut context = Context::from_waker(Waker::noop());
        assert!(line.poll_send(&mut context, &[0; WAITING_BYTES_MAX - 1]).is_ready());
        assert!(line.poll_send(&mut context, &[0]).is_ready(), "below the bound");
        assert!(line.poll_send(&mut context, &[0]).is_pending(), "at it");
        assert!(line.poll_send(&mut context, &[0]).is_pending());
        assert!(line.poll_send(&mut context, &[0]).is_ready(), "it takes something again");
    }
}
