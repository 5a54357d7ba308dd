//! A connection: bytes from and to its socket, and what they mean.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use relay_lifecycle::backoff::entropy;
use relay_rtmp::Error;
use relay_rtmp::server::{Event, Limits, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::consume_budget;
use tokio::time::Instant;

use super::Line;

/// Read at once: a message of a common size, or many small ones.
const READ_BYTES: usize = 64 << 10;

/// What came of a connection.
#[derive(Debug)]
pub(crate) enum Received {
    Event(Event),
    /// The connection ended.
    Lost,
    /// What came breaks a rule.
    Broken(Error),
}

/// A socket and the protocol on it.
#[derive(Debug)]
pub(crate) struct Link<S> {
    stream: S,
    server: Server,
    read: Box<[u8]>,
    /// What of it is read and not taken.
    ahead: std::ops::Range<usize>,
    line: Arc<Line>,
    received_bytes: u64,
    blocked_since: Option<Instant>,
    is_flushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(crate) fn new(stream: S, limits: Limits) -> Self {
        Self {
            stream,
            server: Server::new(limits, entropy()),
            read: vec![0; READ_BYTES].into(),
            ahead: 0..0,
            line: Arc::new(Line::new()),
            received_bytes: 0,
            blocked_since: None,
            is_flushed: true,
        }
    }

    /// What the client is told goes with the next [`Link::next`].
    pub(crate) fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Bytes read from the socket.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Since when the socket has taken nothing although something was to be sent.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// The next thing the client does. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Received {
        // Whoever sends without end leaves others on this thread their turn.
        consume_budget().await;
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next thing the client did, if it is there already. [`Link::next`] must follow.
    pub(crate) fn try_next(&mut self) -> Option<Received> {
        self.next().now_or_never()
    }

    /// Sends what is to be sent, says that nothing follows, and reads on until the client has closed too: a socket that is
    /// closed with unread bytes in it is reset, and the reset can overtake what was sent.
    pub(crate) async fn close(&mut self) {
        let sent = std::mem::take(self.server.output());
        if self.stream.write_all(&sent).await.is_err() {
            return;
        }
        self.line.note_sent(sent.len());
        if self.stream.shutdown().await.is_ok() {
            while matches!(self.stream.read(&mut self.read).await, Ok(1..)) {}
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        loop {
            let mut input = &self.read[self.ahead.clone()];
            let taken = self.server.take(&mut input);
            self.ahead.start = self.ahead.end - input.len();
            match taken {
                Ok(Some(event)) => return Poll::Ready(Received::Event(event)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Received::Broken(error)),
            }
            if let Poll::Ready(Err(_)) = self.poll_send(context) {
                return Poll::Ready(Received::Lost);
            }
            match ready!(self.poll_read(context)) {
                Ok(0) | Err(_) => return Poll::Ready(Received::Lost),
                Ok(read) => {
                    self.ahead = 0..read;
                    self.received_bytes += read as u64;
                    self.line.heard().note();
                }
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.read);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.server.output().is_empty() {
            let Poll::Ready(sent) = Pin::new(&mut self.stream).poll_write(context, self.server.output())
            else {
                self.blocked_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            let sent = sent?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.server.output().drain(..sent);
            self.line.note_sent(sent);
            self.blocked_since = None;
            self.is_flushed = false;
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
