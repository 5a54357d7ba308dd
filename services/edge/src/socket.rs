//! One websocket after its handshake, as two halves over one TCP stream: [`Inbound`] reads, [`Outlet`] writes.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::task::consume_budget;

use crate::inbound::{Decoder, InboundLimits, Received};
use crate::outlet::Outlet;

/// The reading half: frames in, messages out. Answers pings and close frames through the outlet.
#[derive(Debug)]
pub(crate) struct Inbound {
    decoder: Decoder,
    outlet: Arc<Outlet>,
    received_bytes: u64,
}

/// Splits a connection whose handshake is done. `read_ahead` is what was read beyond the handshake.
pub(crate) fn split(
    stream: TcpStream,
    read_ahead: Vec<u8>,
    limits: &InboundLimits,
) -> (Inbound, Arc<Outlet>) {
    let outlet = Arc::new(Outlet::new(stream));
    let decoder = Decoder::new(read_ahead, limits);
    (Inbound { decoder, outlet: Arc::clone(&outlet), received_bytes: 0 }, outlet)
}

impl Inbound {
    /// The next thing the client does. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Received {
        // Whoever sends without end leaves others on this thread their turn. Before anything is taken, so that nothing is
        // lost when this is cancelled.
        consume_budget().await;
        loop {
            let mut wire = Wire { outlet: &self.outlet, received_bytes: &mut self.received_bytes };
            if let Some(received) = self.decoder.read(&mut wire) {
                return received;
            }
            if self.outlet.readable().await.is_err() {
                return Received::Lost;
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
        loop {
            consume_budget().await;
            // What is read into does not live across a wait: it would be part of every session's task from its beginning.
            let read = self.outlet.try_read(&mut [0; 4096]);
            match read {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.outlet.readable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// What the decoder sees as its stream: reads from the socket, writes to the outlet.
struct Wire<'a> {
    outlet: &'a Outlet,
    received_bytes: &'a mut u64,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.outlet.try_read(buffer)?;
        *self.received_bytes += count as u64;
        Ok(count)
    }
}

impl Write for Wire<'_> {
    /// The decoder writes whole frames, pongs and close replies, since its own write buffer is off.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.outlet.control(&Bytes::copy_from_slice(frame));
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
