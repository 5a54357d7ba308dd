//! A client whose bytes are all known, and come in pieces; and what another implementation makes of them.

use std::io::{self, Read, Write};

use bytes::BufMut;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Message, Role, WebSocketConfig, WebSocketContext,
};

use super::*;

/// What was received, up to the end, and the pongs that answered it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) received: Vec<Received>,
    pub(crate) answers: Vec<u8>,
}

impl Outcome {
    fn is_over(&self) -> bool {
        matches!(self.received.last(), Some(Received::Closed(_) | Received::Lost | Received::Invalid(_)))
    }
}

/// Everything that is received from these bytes, up to the end, when they come `piece` at a time. Where at least
/// `direct_min` bytes are missing of a chunk, they are put into it, as a socket would.
pub(crate) fn receive(
    mut bytes: &[u8],
    message_bytes_max: usize,
    piece: usize,
    direct_min: usize,
) -> Outcome {
    let mut decoder = Decoder::new(message_bytes_max);
    let mut outcome = Outcome { received: vec![], answers: vec![] };
    while !bytes.is_empty() {
        let mut now = &bytes[..piece.clamp(1, bytes.len())];
        let before = now.len();
        let filled = decoder.fill(direct_min, |buffer| {
            let (here, later) = now.split_at(now.len().min(buffer.remaining_mut()));
            buffer.put_slice(here);
            now = later;
        });
        let mut nothing = &[][..];
        let input = if filled.is_some() { &mut nothing } else { &mut now };
        while let Some(received) = decoder.take(input, |pong| outcome.answers.extend(pong)) {
            outcome.received.push(received);
            if outcome.is_over() {
                return outcome;
            }
        }
        bytes = &bytes[before - now.len()..];
    }
    outcome.received.push(Received::Lost);
    outcome
}

/// These bytes up to the first header that says its length in more bytes than it takes, which others do not mind.
fn minimal(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    let mut partial = PartialHeader::default();
    loop {
        let before = rest.len();
        match partial.take(&mut rest) {
            Some(header) if header.is_minimal => {
                rest = &rest[usize::try_from(header.len).unwrap_or(usize::MAX).min(rest.len())..];
            }
            Some(_) => return &bytes[..bytes.len() - before],
            None => return bytes,
        }
    }
}

/// Checks that these bytes mean the same here however they are cut, and the same as to another implementation.
pub(crate) fn check(bytes: &[u8], message_bytes_max: usize, piece: usize, direct_min: usize) {
    let in_pieces = |bytes: &[u8]| receive(bytes, message_bytes_max, piece, direct_min);
    let whole = |bytes: &[u8]| receive(bytes, message_bytes_max, usize::MAX, usize::MAX);
    assert_eq!(in_pieces(bytes), whole(bytes));

    // The other one judges a frame once it has come to its end: it gets one, of bytes that begin no valid frame.
    let ended = [bytes, &vec![0; message_bytes_max + HEADER_BYTES_MAX]].concat();
    let ended = minimal(&ended);
    assert_eq!(in_pieces(ended), oracle(ended, message_bytes_max));

    let (here, there) = (whole(minimal(bytes)), oracle(minimal(bytes), message_bytes_max));
    let is_earlier = here != there && there.received.last() == Some(&Received::Lost);
    assert!(here == there || is_earlier && matches!(here.received.last(), Some(Received::Invalid(_))));
}

/// What tungstenite makes of these bytes.
pub(crate) fn oracle(bytes: &[u8], message_bytes_max: usize) -> Outcome {
    let config = WebSocketConfig::default()
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut outcome = Outcome { received: vec![], answers: vec![] };
    let mut wire = Wire { rest: bytes, answers: &mut outcome.answers };
    loop {
        let received = match context.read(&mut wire) {
            Ok(Message::Binary(payload)) => Received::Binary(Chunk::copy_from(&payload)),
            Ok(Message::Text(text)) if text.as_str() == HEARTBEAT => Received::Heartbeat,
            Ok(Message::Text(_)) => Received::Text,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Received::Sign,
            Ok(Message::Close(frame)) => Received::Closed(farewell(frame)),
            Err(Error::Capacity(_)) => Received::Invalid(Close::ChunkTooBig),
            Err(Error::Utf8(_)) => Received::Invalid(Close::BadText),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Received::Lost,
            Err(Error::Protocol(_)) => Received::Invalid(Close::ProtocolViolation),
            Err(error) => panic!("no such thing can happen here: {error}"),
        };
        outcome.received.push(received);
        if matches!(
            outcome.received.last(),
            Some(Received::Closed(_) | Received::Lost | Received::Invalid(_))
        ) {
            return outcome;
        }
    }
}

fn farewell(frame: Option<CloseFrame>) -> Farewell {
    match frame.map(|frame| frame.code) {
        None | Some(CloseCode::Normal | CloseCode::Away) => Farewell::Done,
        Some(_) => Farewell::Trouble,
    }
}

struct Wire<'a> {
    rest: &'a [u8],
    answers: &'a mut Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.answers.write(frame)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
