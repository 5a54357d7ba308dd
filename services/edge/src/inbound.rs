//! What a client sends: frames (RFC 6455, section 5) to messages, and what each means here.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What is received depends on the bytes alone, never on how they were cut. A byte of a chunk   │
//! │ is moved once, to where it stays; of anything else nothing is kept but what decides.         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Pure: bytes are given to [`Decoder::take`], or put into a chunk by [`Decoder::fill`]. Every rule that a header can
//! break is told by the header, before its payload.

#[cfg(any(test, fuzzing))]
pub(crate) mod script;

use bytes::buf::Limit;
use bytes::{Buf, Bytes};
use relay_proto::websocket::{Close, FrameHeader, HEARTBEAT, MASKED_FRAME_HEADER_BYTES_MAX, Mask, OpCode};

use crate::chunk::{Chunk, Draft};
use crate::utf8::{NotUtf8, Utf8};

/// Longest header there is.
const HEADER_BYTES_MAX: usize = MASKED_FRAME_HEADER_BYTES_MAX;

/// Longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Text that is unmasked at once, on the stack.
const TEXT_BYTES: usize = 256;

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    /// A chunk.
    Binary(Chunk),
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

/// Frames in, messages out. After [`Received::Closed`] and [`Received::Invalid`] there is nothing more to be had.
#[derive(Debug)]
pub(crate) struct Decoder {
    message_bytes_max: usize,
    header: PartialHeader,
    /// The frame whose payload comes.
    frame: Option<Frame>,
    /// The message whose frames come; between them may be control frames.
    message: Option<Message>,
}

#[derive(Debug)]
struct Frame {
    mask: Mask,
    missing: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Some of the message.
    Data {
        is_last: bool,
    },
    /// The pong that answers it, ready to be sent but for what is missing.
    Ping(Vec<u8>),
    Pong,
    Close {
        code: [u8; 2],
        code_len: u8,
        reason: Utf8,
    },
}

#[derive(Debug)]
enum Message {
    Binary(Draft),
    Text(Text),
}

impl Decoder {
    /// `message_bytes_max` bounds a message, whole or in fragments.
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, header: PartialHeader::default(), frame: None, message: None }
    }

    /// The next thing the client did, from the front of `input`, which is empty where there is none. Pongs that are due
    /// are given to `answer`.
    pub(crate) fn take(&mut self, input: &mut &[u8], mut answer: impl FnMut(Bytes)) -> Option<Received> {
        loop {
            if self.frame.is_none() {
                let header = self.header.take(input)?;
                match self.begin(&header) {
                    Ok(frame) => self.frame = Some(frame),
                    Err(close) => return Some(Received::Invalid(close)),
                }
            }
            let frame = self.frame.as_mut()?;
            let (piece, rest) = input.split_at(frame.missing.min(input.len()));
            *input = rest;
            if let Err(NotUtf8) = frame.take(piece, self.message.as_mut()) {
                return Some(Received::Invalid(Close::BadText));
            }
            if frame.missing > 0 {
                return None;
            }
            if let Some(received) = self.finish_frame(&mut answer) {
                return Some(received);
            }
        }
    }

    /// Where at least `missing_min` bytes of the payload of a chunk are due next, lets `read` append them or some of them
    /// straight to the chunk. Then it is [`Decoder::take`]'s turn again.
    pub(crate) fn fill<T>(
        &mut self,
        missing_min: usize,
        read: impl FnOnce(&mut Limit<&mut Vec<u8>>) -> T,
    ) -> Option<T> {
        let frame = self.frame.as_mut().filter(|frame| frame.missing >= missing_min.max(1))?;
        let (Content::Data { .. }, Some(Message::Binary(draft))) = (&frame.content, &mut self.message) else {
            return None;
        };
        let before = draft.len();
        let read = draft.read_onto(&mut frame.mask, frame.missing, read);
        frame.missing -= draft.len() - before;
        Some(read)
    }

    /// The rules that a header can break.
    fn begin(&mut self, header: &Header) -> Result<Frame, Close> {
        const VIOLATION: Close = Close::ProtocolViolation;

        let Some(kind) = header.kind else { return Err(VIOLATION) };
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        if len > self.message_bytes_max {
            return Err(Close::ChunkTooBig);
        }
        let Some(mask) = header.mask else { return Err(VIOLATION) };
        let is_control = matches!(kind, FrameKind::Close | FrameKind::Ping | FrameKind::Pong);
        let is_malformed = header.has_reserved_bits || !header.is_minimal;
        if is_malformed || is_control && (!header.is_final || len > CONTROL_BYTES_MAX) {
            return Err(VIOLATION);
        }
        let content = match (kind, &self.message) {
            (FrameKind::Close, _) if len == 1 => return Err(VIOLATION),
            (FrameKind::Close, _) => Content::Close { code: [0; 2], code_len: 0, reason: Utf8::default() },
            (FrameKind::Ping, _) => {
                let pong = FrameHeader::new(OpCode::Pong, len);
                let mut frame = Vec::with_capacity(pong.as_bytes().len() + len);
                frame.extend_from_slice(pong.as_bytes());
                Content::Ping(frame)
            }
            (FrameKind::Pong, _) => Content::Pong,
            (FrameKind::Continuation, None) | (FrameKind::Text | FrameKind::Binary, Some(_)) => {
                return Err(VIOLATION);
            }
            (FrameKind::Continuation, Some(message)) => {
                if len > self.message_bytes_max - message.len() {
                    return Err(Close::ChunkTooBig);
                }
                Content::Data { is_last: header.is_final }
            }
            (FrameKind::Binary, None) => {
                self.message = Some(Message::Binary(match header.is_final {
                    true => Draft::whole(len),
                    false => Draft::fragmented(len, self.message_bytes_max),
                }));
                Content::Data { is_last: header.is_final }
            }
            (FrameKind::Text, None) => {
                self.message = Some(Message::Text(Text::default()));
                Content::Data { is_last: header.is_final }
            }
        };
        Ok(Frame { mask: Mask::new(mask), missing: len, content })
    }

    /// The frame is whole. Tells what it means, unless it is but a fragment.
    fn finish_frame(&mut self, answer: &mut impl FnMut(Bytes)) -> Option<Received> {
        match self.frame.take()?.content {
            Content::Data { is_last: false } => None,
            Content::Data { is_last: true } => Some(match self.message.take()? {
                Message::Binary(draft) => Received::Binary(draft.finish()),
                Message::Text(text) => text.finish(),
            }),
            Content::Ping(pong) => {
                answer(pong.into());
                Some(Received::Sign)
            }
            Content::Pong => Some(Received::Sign),
            Content::Close { reason, .. } if !reason.is_whole() => Some(Received::Invalid(Close::BadText)),
            Content::Close { code, code_len, .. } => {
                let is_done = code_len == 0 || matches!(u16::from_be_bytes(code), 1000 | 1001);
                Some(Received::Closed(if is_done { Farewell::Done } else { Farewell::Trouble }))
            }
        }
    }
}

impl Frame {
    /// A piece of the payload.
    fn take(&mut self, piece: &[u8], message: Option<&mut Message>) -> Result<(), NotUtf8> {
        self.missing -= piece.len();
        match (&mut self.content, message) {
            (Content::Data { .. }, Some(Message::Binary(draft))) => draft.unmask_onto(&mut self.mask, piece),
            (Content::Data { .. }, Some(Message::Text(text))) => {
                return unmasked(&mut self.mask, piece).try_for_each(|(block, len)| text.push(&block[..len]));
            }
            (Content::Ping(pong), _) => self.mask.unmask_onto(piece, pong),
            (Content::Close { code, code_len, reason }, _) => {
                return unmasked(&mut self.mask, piece).try_for_each(|(block, len)| {
                    let mut rest = &block[..len];
                    while usize::from(*code_len) < code.len() && rest.has_remaining() {
                        code[usize::from(*code_len)] = rest.get_u8();
                        *code_len += 1;
                    }
                    reason.push(rest)
                });
            }
            (Content::Pong | Content::Data { .. }, _) => {}
        }
        Ok(())
    }
}

/// A masked piece in unmasked blocks of some length.
fn unmasked<'a>(mask: &'a mut Mask, piece: &'a [u8]) -> impl Iterator<Item = ([u8; TEXT_BYTES], usize)> + 'a {
    piece.chunks(TEXT_BYTES).map(|masked| {
        let mut block = [0; TEXT_BYTES];
        block[..masked.len()].copy_from_slice(masked);
        mask.apply(&mut block[..masked.len()]);
        (block, masked.len())
    })
}

impl Message {
    /// Bytes so far.
    fn len(&self) -> usize {
        match self {
            Self::Binary(draft) => draft.len(),
            Self::Text(text) => text.len,
        }
    }
}

/// A text: it is not kept, since all that matters is whether it is the heartbeat.
#[derive(Debug)]
struct Text {
    len: usize,
    utf8: Utf8,
    begins_heartbeat: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self { len: 0, utf8: Utf8::default(), begins_heartbeat: true }
    }
}

impl Text {
    fn push(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        let end = self.len + piece.len();
        self.begins_heartbeat &= HEARTBEAT.as_bytes().get(self.len..end) == Some(piece);
        self.len = end;
        self.utf8.push(piece)
    }

    fn finish(self) -> Received {
        if !self.utf8.is_whole() {
            Received::Invalid(Close::BadText)
        } else if self.begins_heartbeat && self.len == HEARTBEAT.len() {
            Received::Heartbeat
        } else {
            Received::Text
        }
    }
}

/// A header of which some bytes have come.
#[derive(Debug, Default)]
struct PartialHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

/// A header as it came.
#[derive(Debug)]
struct Header {
    is_final: bool,
    has_reserved_bits: bool,
    /// `None` for a reserved opcode.
    kind: Option<FrameKind>,
    mask: Option<[u8; 4]>,
    len: u64,
    /// Whether the length is in as few bytes as it takes.
    is_minimal: bool,
}

/// The opcodes a client sends (RFC 6455, section 11.8).
#[derive(Debug, Clone, Copy)]
enum FrameKind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl PartialHeader {
    /// Moves bytes from the front of `input` until the header is whole.
    fn take(&mut self, input: &mut &[u8]) -> Option<Header> {
        loop {
            let have = usize::from(self.len);
            let wanted = self.wanted();
            if have == wanted {
                let header = Header::parse(&self.bytes[..have]);
                self.len = 0;
                return Some(header);
            }
            let (piece, rest) = input.split_at((wanted - have).min(input.len()));
            if piece.is_empty() {
                return None;
            }
            self.bytes[have..have + piece.len()].copy_from_slice(piece);
            self.len += piece.len() as u8;
            *input = rest;
        }
    }

    /// Bytes of the whole header, as far as its first two tell.
    fn wanted(&self) -> usize {
        if self.len < 2 {
            return 2;
        }
        let extended = match self.bytes[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.bytes[1] & 0x80 == 0 { 0 } else { 4 };
        2 + extended + mask
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Self {
        let (first, second, mut rest) = (bytes[0], bytes[1], &bytes[2..]);
        let (len, is_minimal) = match second & 0x7F {
            126 => {
                let len = rest.get_u16();
                (len.into(), len > 125)
            }
            127 => {
                let len = rest.get_u64();
                (len, len > 0xFFFF)
            }
            short => (short.into(), true),
        };
        Self {
            is_final: first & 0x80 != 0,
            has_reserved_bits: first & 0x70 != 0,
            kind: match first & 0x0F {
                0x0 => Some(FrameKind::Continuation),
                0x1 => Some(FrameKind::Text),
                0x2 => Some(FrameKind::Binary),
                0x8 => Some(FrameKind::Close),
                0x9 => Some(FrameKind::Ping),
                0xA => Some(FrameKind::Pong),
                _ => None,
            },
            mask: rest.first_chunk().copied(),
            len,
            is_minimal,
        }
    }
}

#[cfg(test)]
mod tests;
