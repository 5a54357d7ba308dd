//! One websocket after its handshake, as two halves over one TCP stream: [`Inbound`] reads, [`Outlet`] writes.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::consume_budget;

use crate::inbound::{Decoder, Received};
use crate::outlet::Outlet;

/// Read at once from a publisher: a chunk of a common size, or many small ones.
const CHUNKS_READ_BYTES: usize = 64 << 10;

/// Read at once from everyone else: many heartbeats and pongs.
const SIGNS_READ_BYTES: usize = 1 << 10;

/// What is read from a client.
#[derive(Debug)]
pub(crate) struct InboundLimits {
    /// Largest message, whole or in fragments.
    pub(crate) message_bytes_max: usize,
    pub(crate) traffic: Traffic,
}

/// What a client mostly sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    Chunks,
    /// Heartbeats and pongs.
    SignsOfLife,
}

/// The reading half: frames in, messages out. Answers pings through the outlet.
#[derive(Debug)]
pub(crate) struct Inbound {
    stream: OwnedReadHalf,
    decoder: Decoder,
    outlet: Arc<Outlet>,
    /// Read and, from `ahead_from` on, not decoded.
    ahead: Vec<u8>,
    ahead_from: usize,
    traffic: Traffic,
    received_bytes: u64,
}

/// Splits a connection whose handshake is done. `read_ahead` is what was read beyond the handshake.
pub(crate) fn split(
    stream: TcpStream,
    read_ahead: Vec<u8>,
    limits: &InboundLimits,
) -> (Inbound, Arc<Outlet>) {
    let (stream, writing) = stream.into_split();
    let outlet = Arc::new(Outlet::new(writing));
    let inbound = Inbound {
        stream,
        decoder: Decoder::new(limits.message_bytes_max),
        outlet: Arc::clone(&outlet),
        ahead: read_ahead,
        ahead_from: 0,
        traffic: limits.traffic,
        received_bytes: 0,
    };
    (inbound, outlet)
}

impl Inbound {
    /// The next thing the client does. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Received {
        // Whoever sends without end leaves others on this thread their turn. Before anything is taken, so that nothing is
        // lost when this is cancelled.
        consume_budget().await;
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next thing the client did, if it is there already. `None` too when it is others' turn; either way nobody is
    /// called when there is more, so [`Inbound::next`] must follow.
    pub(crate) fn try_next(&mut self) -> Option<Received> {
        self.next().now_or_never()
    }

    /// Bytes read from the socket.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Reads on after our close frame until the client has closed too: a socket that is closed with unread bytes in it
    /// is reset, and the reset can overtake the close frame.
    pub(crate) async fn drain(&mut self) {
        self.ahead = Vec::new();
        poll_fn(|context| {
            loop {
                let mut rest = [MaybeUninit::uninit(); SIGNS_READ_BYTES];
                let mut rest = ReadBuf::uninit(&mut rest);
                let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut rest));
                if read.is_err() || rest.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        loop {
            let mut input = &self.ahead[self.ahead_from..];
            let received = self.decoder.take(&mut input, |pong| self.outlet.control(&pong));
            self.ahead_from = self.ahead.len() - input.len();
            if let Some(received) = received {
                return Poll::Ready(received);
            }
            match ready!(self.poll_read(context)) {
                Ok(None) => {}
                Ok(Some(received)) => return Poll::Ready(received),
                Err(_) => return Poll::Ready(Received::Lost),
            }
        }
    }

    /// Reads once, after everything that was read before is decoded. In [`AsyncRead`]'s way, which takes a read that does
    /// not fill its buffer as a sign that the socket is empty: the next does not ask it in vain. Therefore only what would
    /// fill the read buffer goes straight to a chunk.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Received>>> {
        self.ahead = Vec::new();
        self.ahead_from = 0;
        let stream = &mut self.stream;
        let filled = self.decoder.fill(CHUNKS_READ_BYTES, |chunk| poll_read_onto(stream, chunk, context));
        if let Some(count) = filled {
            return Poll::Ready(self.count(ready!(count)?).map(|()| None));
        }
        match self.traffic {
            Traffic::Chunks => self.poll_take::<CHUNKS_READ_BYTES>(context),
            Traffic::SignsOfLife => self.poll_take::<SIGNS_READ_BYTES>(context),
        }
    }

    /// Reads to the stack, so that no session holds a buffer: what it is read to is warm, whatever the number of sessions.
    /// Never inlined, or every poll would make room for the largest buffer.
    #[inline(never)]
    fn poll_take<const BYTES: usize>(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Received>>> {
        let mut buffer = [MaybeUninit::uninit(); BYTES];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let mut input = buffer.filled();
        self.count(input.len())?;
        let received = self.decoder.take(&mut input, |pong| self.outlet.control(&pong));
        if !input.is_empty() {
            self.ahead = input.to_vec();
        }
        Poll::Ready(Ok(received))
    }

    /// So many bytes came; none at the end.
    fn count(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received_bytes += bytes as u64;
        self.outlet.heard().note();
        Ok(())
    }
}

/// Reads into the room that a buffer has, which is not filled with anything first.
fn poll_read_onto(
    stream: &mut OwnedReadHalf,
    buffer: &mut impl BufMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(buffer)).poll(context)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use relay_proto::websocket::{FrameHeader, OpCode};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::chunk::Chunk;

    const PUBLISHER: InboundLimits = InboundLimits { message_bytes_max: 4 << 20, traffic: Traffic::Chunks };
    const IDLE: InboundLimits = InboundLimits { message_bytes_max: 4 << 10, traffic: Traffic::SignsOfLife };

    async fn connected(read_ahead: Vec<u8>, limits: &InboundLimits) -> (TcpStream, Inbound) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (client, split(stream, read_ahead, limits).0)
    }

    /// A frame under a mask of zeros, which leaves the payload as it is.
    fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader::new(opcode, payload.len());
        let mut frame = header.as_bytes().to_vec();
        frame[1] |= 0x80;
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    fn numbered(number: u8) -> Vec<u8> {
        frame(OpCode::Binary, &[number; 3])
    }

    fn chunk(payload: &[u8]) -> Received {
        Received::Binary(Chunk::copy_from(payload))
    }

    #[tokio::test]
    async fn what_is_there_already_is_had_without_waiting() {
        let ahead = [numbered(1), numbered(2), numbered(3)].concat();
        let (mut client, mut inbound) = connected(ahead, &PUBLISHER).await;
        assert_eq!(inbound.next().await, chunk(&[1; 3]));
        assert_eq!(inbound.try_next(), Some(chunk(&[2; 3])));
        assert_eq!(inbound.try_next(), Some(chunk(&[3; 3])));
        assert_eq!(inbound.try_next(), None);
        let four = numbered(4);
        client.write_all(&four[..5]).await.unwrap();
        let (received, sent) = tokio::join!(inbound.next(), client.write_all(&four[5..]));
        sent.unwrap();
        assert_eq!(received, chunk(&[4; 3]), "who found nothing is called for what comes");
        drop(client);
        assert_eq!(inbound.next().await, Received::Lost);
        assert_eq!(inbound.received_bytes(), four.len() as u64);
    }

    #[tokio::test]
    async fn chunks_larger_than_any_buffer_come_whole_and_so_does_what_follows() {
        let (mut client, mut inbound) = connected(vec![], &PUBLISHER).await;
        let payload: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        for len in [64 << 10, (128 << 10) - 1, 128 << 10, (80 << 10) + 1, 1 << 20, 3 << 20] {
            let bytes = [frame(OpCode::Binary, &payload[..len]), numbered(1), numbered(2)].concat();
            let received = async { [inbound.next().await, inbound.next().await, inbound.next().await] };
            let (received, sent) = tokio::join!(received, client.write_all(&bytes));
            sent.unwrap();
            assert!(received == [chunk(&payload[..len]), chunk(&[1; 3]), chunk(&[2; 3])], "{len}");
        }
    }

    #[tokio::test]
    async fn who_has_little_to_say_costs_no_buffer_while_nothing_comes() {
        let beat = frame(OpCode::Text, b"h");
        let beats =
            [&beat[..], &beat, &frame(OpCode::Ping, b""), &frame(OpCode::Binary, &[5; 4000]), &beat].concat();
        let (mut client, mut inbound) = connected(beat, &IDLE).await;
        client.write_all(&beats).await.unwrap();
        for _ in 0..3 {
            assert_eq!(inbound.next().await, Received::Heartbeat);
        }
        assert_eq!(inbound.next().await, Received::Sign);
        assert_eq!(inbound.next().await, chunk(&[5; 4000]));
        assert_eq!(inbound.next().await, Received::Heartbeat);
        assert_eq!(inbound.try_next(), None);
        assert_eq!(inbound.ahead.capacity(), 0);
        assert!(size_of::<Inbound>() <= 224, "{}", size_of::<Inbound>());
    }

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn who_sends_without_end_is_left_for_others_and_called_again() {
        let endless = numbered(1).repeat(10_000);
        let (_client, mut inbound) = connected(endless, &PUBLISHER).await;
        let calls = Arc::new(Calls::default());
        let waker = Waker::from(Arc::clone(&calls));
        let mut taken = 0;
        while inbound.try_next().is_some() {
            taken += 1;
        }
        assert!(taken < 10_000, "others have their turn");
        assert!(pin!(inbound.next()).poll(&mut Context::from_waker(&waker)).is_pending());
        tokio::task::yield_now().await;
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
        assert_eq!(inbound.next().await, chunk(&[1; 3]));
    }
}
