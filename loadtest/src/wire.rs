//! The client's side of a websocket, as far as a load generator needs it: the handshake, and frames that are looked
//! at without being kept (RFC 6455).

use std::fmt::Write;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::payload::HEAD_BYTES;

/// The nonce is the same for all: it protects from caches, and there are none here.
const NONCE: &str = "bG9hZCB0ZXN0IG5vbmNlIQ==";

/// Longest answer to a handshake.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// The request of a handshake.
pub(crate) fn request(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n\r\n"
    )
    .into_bytes()
}

/// What the bytes after a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// More bytes are needed.
    Partial,
    /// The websocket is open; this many bytes were the answer.
    Open(usize),
    /// It is not: the status line, or what else is wrong.
    Refused(String),
}

/// Looks at what came after a request.
pub(crate) fn answer(bytes: &[u8]) -> Answer {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() < ANSWER_BYTES_MAX {
            Answer::Partial
        } else {
            Answer::Refused("an answer without end".to_owned())
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Answer::Refused(status.to_owned());
    }
    let accepts = head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("sec-websocket-accept")
            && value.trim() == derive_accept_key(NONCE.as_bytes())
    });
    if accepts { Answer::Open(end + 4) } else { Answer::Refused("Sec-WebSocket-Accept is wrong".to_owned()) }
}

/// A message that ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) opcode: u8,
    /// Its first bytes, [`HEAD_BYTES`] at the most.
    pub(crate) head: &'a [u8],
    /// All its bytes.
    pub(crate) len: u64,
}

pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;

/// Reads a server's frames. Fragments of one message are counted together.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Of a header that is not whole.
    header: [u8; 10],
    header_len: u8,
    frame: Option<Frame>,
    message: Kept,
    /// A control frame may come between the fragments of a message.
    control: Kept,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: u8,
    is_last: bool,
    left: u64,
}

/// What is kept of a message.
#[derive(Debug)]
struct Kept {
    opcode: u8,
    head: [u8; HEAD_BYTES],
    head_len: u8,
    len: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self { opcode: 0, head: [0; HEAD_BYTES], head_len: 0, len: 0 }
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES - usize::from(self.head_len);
        let count = room.min(bytes.len());
        let from = usize::from(self.head_len);
        self.head[from..from + count].copy_from_slice(&bytes[..count]);
        self.head_len += count as u8;
        self.len += bytes.len() as u64;
    }

    fn message(&self) -> Message<'_> {
        Message { opcode: self.opcode, head: &self.head[..usize::from(self.head_len)], len: self.len }
    }
}

/// A server broke the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent what is no frame")]
pub(crate) struct Malformed;

impl Frames {
    /// Calls `each` for every message that ends within `bytes`.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let frame = match self.frame {
                Some(frame) => frame,
                None => {
                    let Some((frame, rest)) = self.begin(bytes)? else { return Ok(()) };
                    bytes = rest;
                    // Most frames are whole messages that are there to their end: nothing of them is copied.
                    let len = usize::try_from(frame.left).unwrap_or(usize::MAX);
                    if frame.is_last && frame.opcode != 0 && len <= bytes.len() {
                        let (payload, rest) = bytes.split_at(len);
                        let head = &payload[..len.min(HEAD_BYTES)];
                        each(Message { opcode: frame.opcode, head, len: frame.left });
                        bytes = rest;
                        continue;
                    }
                    let kept = self.kept(frame.opcode);
                    if frame.opcode != 0 {
                        *kept = Kept { opcode: frame.opcode, ..Kept::default() };
                    }
                    frame
                }
            };
            let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at(count);
            bytes = rest;
            let left = frame.left - count as u64;
            let kept = self.kept(frame.opcode);
            kept.push(payload);
            if left > 0 {
                self.frame = Some(Frame { left, ..frame });
                return Ok(());
            }
            self.frame = None;
            if frame.is_last {
                each(self.kept(frame.opcode).message());
            }
        }
        Ok(())
    }

    fn kept(&mut self, opcode: u8) -> &mut Kept {
        if opcode & 0x8 == 0 { &mut self.message } else { &mut self.control }
    }

    /// The next header, if it is whole, and the bytes after it.
    fn begin<'a>(&mut self, mut bytes: &'a [u8]) -> Result<Option<(Frame, &'a [u8])>, Malformed> {
        loop {
            let have = usize::from(self.header_len);
            let need = if have < 2 {
                2
            } else {
                match self.header[1] {
                    127 => 10,
                    126 => 4,
                    _ => 2,
                }
            };
            if have == need && have >= 2 {
                break;
            }
            let count = (need - have).min(bytes.len());
            if count == 0 {
                return Ok(None);
            }
            self.header[have..have + count].copy_from_slice(&bytes[..count]);
            self.header_len += count as u8;
            bytes = &bytes[count..];
        }
        let header = &self.header;
        let is_reserved = header[0] & 0x70 != 0 || header[1] & 0x80 != 0;
        let opcode = header[0] & 0x0F;
        if is_reserved || !matches!(opcode, 0..=2 | 8..=10) {
            return Err(Malformed);
        }
        let left = match header[1] {
            126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
            127 => u64::from_be_bytes([
                header[2], header[3], header[4], header[5], header[6], header[7], header[8], header[9],
            ]),
            short => u64::from(short),
        };
        self.header_len = 0;
        Ok(Some((Frame { opcode, is_last: header[0] & 0x80 != 0, left }, bytes)))
    }
}

/// The code and reason of a close frame, as text.
pub(crate) fn close_reason(payload: &[u8]) -> String {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return "close without a code".to_owned();
    };
    let mut text = format!("close {}", u16::from_be_bytes(*code));
    if !reason.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, " {}", String::from_utf8_lossy(reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use relay_proto::websocket::{FrameHeader, OpCode};

    use super::*;

    fn frame(opcode: OpCode, len: usize) -> Vec<u8> {
        let mut frame = FrameHeader::new(opcode, len).as_bytes().to_vec();
        frame.extend((0..len).map(|index| index as u8));
        frame
    }

    fn read(bytes: &[u8], piece: usize) -> Vec<(u8, Vec<u8>, u64)> {
        let mut frames = Frames::default();
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            frames
                .push(piece, |message| all.push((message.opcode, message.head.to_vec(), message.len)))
                .unwrap();
        }
        all
    }

    #[test]
    fn messages_are_told_whatever_the_cuts() {
        let lens = [0, 1, 63, 64, 65, 125, 126, 0xFFFF, 0x1_0000];
        let mut bytes: Vec<u8> = lens.iter().flat_map(|len| frame(OpCode::Binary, *len)).collect();
        bytes.extend(frame(OpCode::Ping, 3));
        let whole = read(&bytes, bytes.len());
        assert_eq!(
            whole.iter().map(|(.., len)| *len as usize).collect::<Vec<_>>(),
            [&lens[..], &[3]].concat()
        );
        assert_eq!(whole[3].1, (0..64).collect::<Vec<u8>>());
        for piece in [1, 2, 3, 7, 64, 1000, 65_536] {
            assert_eq!(read(&bytes, piece), whole, "in pieces of {piece}");
        }
    }

    #[test]
    fn fragments_are_one_message_and_a_ping_may_come_between() {
        let bytes = [&b"\x02\x02ab"[..], b"\x89\x01p", b"\x80\x01c"].concat();
        for piece in [1, 100] {
            assert_eq!(
                read(&bytes, piece),
                [(PING, b"p".to_vec(), 1), (BINARY, b"abc".to_vec(), 3)],
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn what_is_no_frame_is_told() {
        for bytes in [&b"\xC2\x00"[..], b"\x82\x80", b"\x83\x00"] {
            assert_eq!(Frames::default().push(bytes, |_| {}), Err(Malformed));
        }
    }

    #[test]
    fn only_a_101_with_the_right_key_opens() {
        let accept = derive_accept_key(NONCE.as_bytes());
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {accept}\r\n\r\n");
        assert_eq!(answer(format!("{good}rest").as_bytes()), Answer::Open(good.len()));
        assert_eq!(answer(&good.as_bytes()[..good.len() - 1]), Answer::Partial);
        let refused = answer(b"HTTP/1.1 404 Not Found\r\n\r\n");
        assert_eq!(refused, Answer::Refused("HTTP/1.1 404 Not Found".to_owned()));
        assert!(matches!(answer(b"HTTP/1.1 101 X\r\n\r\n"), Answer::Refused(_)));
    }

    #[test]
    fn a_close_frame_tells_why() {
        assert_eq!(close_reason(&[0x11, 0x93, b'x']), "close 4499 x");
        assert_eq!(close_reason(&[]), "close without a code");
    }
}
