//! What a client sends: frames (RFC 6455, section 5) to messages, and what each means here.
//!
//! Pure: reads from and writes to whatever is given. What is received depends on the bytes alone, never on how they were
//! cut.

use std::io::{self, Read, Write};

use bytes::Bytes;
use relay_proto::websocket::{Close, HEARTBEAT};
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Message, Role, WebSocketConfig, WebSocketContext,
};

/// What is read from a client.
#[derive(Debug)]
pub(crate) struct InboundLimits {
    /// Largest message, whole or in fragments.
    pub(crate) message_bytes_max: usize,
    /// Memory that a session holds for reading even when nothing comes.
    pub(crate) read_buffer_bytes: usize,
}

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Frames in, messages out.
#[derive(Debug)]
pub(crate) struct Decoder {
    context: WebSocketContext,
}

impl Decoder {
    /// `read_ahead` is what was read beyond the handshake.
    pub(crate) fn new(read_ahead: Vec<u8>, limits: &InboundLimits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(limits.read_buffer_bytes)
            .write_buffer_size(0)
            .max_message_size(Some(limits.message_bytes_max))
            .max_frame_size(Some(limits.message_bytes_max));
        Self { context: WebSocketContext::from_partially_read(read_ahead, Role::Server, Some(config)) }
    }

    /// The next thing the client did; `None` when `wire` has no more for now. Answers are written to `wire`.
    pub(crate) fn read(&mut self, wire: &mut (impl Read + Write)) -> Option<Received> {
        Some(match self.context.read(wire) {
            Ok(Message::Binary(payload)) => Received::Binary(payload),
            Ok(Message::Text(text)) if text.as_str() == HEARTBEAT => Received::Heartbeat,
            Ok(Message::Text(_)) => Received::Text,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Received::Sign,
            Ok(Message::Close(frame)) => Received::Closed(frame.into()),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(Error::Capacity(_)) => Received::Invalid(Close::ChunkTooBig),
            Err(Error::Utf8(_)) => Received::Invalid(Close::BadText),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Received::Lost,
            Err(Error::Protocol(_)) => Received::Invalid(Close::ProtocolViolation),
            Err(_) => Received::Lost,
        })
    }
}

/// A client whose bytes are all known, and come in pieces.
#[cfg(any(test, fuzzing))]
pub(crate) mod script {
    use super::*;

    const LIMITS: InboundLimits = InboundLimits { message_bytes_max: 1000, read_buffer_bytes: 64 };

    struct Pieces<'a> {
        rest: &'a [u8],
        piece: usize,
        /// Every second read finds nothing.
        dry: bool,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.dry = !self.dry;
            if self.dry && !self.rest.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = self.piece.min(self.rest.len()).min(buffer.len());
            let (now, later) = self.rest.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.rest = later;
            Ok(count)
        }
    }

    impl Write for Pieces<'_> {
        fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
            Ok(frame.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Everything that is received from these bytes, up to the end, when they come `piece` at a time after the first
    /// `ahead`, which came with the handshake.
    pub(crate) fn receive(bytes: &[u8], ahead: usize, piece: usize) -> Vec<Received> {
        let (ahead, rest) = bytes.split_at(ahead.min(bytes.len()));
        let mut decoder = Decoder::new(ahead.to_vec(), &LIMITS);
        let mut wire = Pieces { rest, piece: piece.max(1), dry: false };
        let mut all = Vec::new();
        loop {
            let Some(received) = decoder.read(&mut wire) else { continue };
            let over = matches!(received, Received::Closed(_) | Received::Lost | Received::Invalid(_));
            all.push(received);
            if over {
                return all;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::script::receive;
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            0..=125 => frame.push(0x80 | payload.len() as u8),
            _ => frame.extend([0x80 | 126, (payload.len() >> 8) as u8, payload.len() as u8]),
        }
        // A mask of zeros leaves the payload as it is.
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn fragments_with_a_ping_between_are_one_chunk() {
        let bytes = [frame(0x02, b"a"), frame(0x89, b""), frame(0x80, b"b"), frame(0x81, b"h")].concat();
        let binary = Received::Binary(Bytes::from_static(b"ab"));
        assert_eq!(receive(&bytes, 0, 1), [Received::Sign, binary, Received::Heartbeat, Received::Lost]);
    }

    #[test]
    fn a_message_has_at_most_its_bound() {
        assert!(matches!(receive(&frame(0x82, &[0; 1000]), 0, 99)[0], Received::Binary(_)));
        assert_eq!(receive(&frame(0x82, &[0; 1001]), 0, 99), [Received::Invalid(Close::ChunkTooBig)]);
    }

    #[test]
    fn codes_of_trouble_are_told_from_those_of_an_end() {
        let close = |payload: &[u8]| receive(&frame(0x88, payload), 0, 9);
        for done in [&b""[..], &[3, 232], &[3, 233]] {
            assert_eq!(close(done), [Received::Closed(Farewell::Done)]);
        }
        for trouble in [&[3, 243][..], &[0x11, 0x93]] {
            assert_eq!(close(trouble), [Received::Closed(Farewell::Trouble)]);
        }
    }

    proptest! {
        #[test]
        fn what_is_received_does_not_depend_on_the_cuts(
            frames in prop::collection::vec(
                (prop::sample::select(vec![0x02, 0x82, 0x00, 0x80, 0x81, 0x89, 0x8A, 0x88, 0x8B]),
                    prop::collection::vec(any::<u8>(), 0..300)), 0..8),
            noise in prop::collection::vec(any::<u8>(), 0..40),
            ahead in 0usize..100,
            piece in 1usize..50,
        ) {
            let mut bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
            bytes.extend(noise);
            prop_assert_eq!(receive(&bytes, ahead, piece), receive(&bytes, 0, usize::MAX));
        }
    }
}
