//! What messages are: kinds by number (RTMP 1.0, sections 5.4 and 7.1), and the few that are no commands.

use std::fmt;

use bytes::Buf;

use crate::amf0::{self, Value};
use crate::chunk::{Message, read_u24};

/// Longest command and longest control message. Real ones have some hundred bytes.
pub const COMMAND_BYTES_MAX: usize = 64 << 10;

pub(crate) const SET_CHUNK_SIZE: u8 = 1;
pub(crate) const ABORT: u8 = 2;
pub(crate) const ACKNOWLEDGEMENT: u8 = 3;
pub(crate) const USER_CONTROL: u8 = 4;
pub(crate) const WINDOW_SIZE: u8 = 5;
pub(crate) const PEER_BANDWIDTH: u8 = 6;
pub(crate) const AUDIO: u8 = 8;
pub(crate) const VIDEO: u8 = 9;
pub(crate) const DATA_AMF3: u8 = 15;
pub(crate) const COMMAND_AMF3: u8 = 17;
pub(crate) const DATA: u8 = 18;
pub(crate) const COMMAND: u8 = 20;
pub(crate) const AGGREGATE: u8 = 22;

/// Events of a user control message (RTMP 1.0, section 7.1.7).
pub(crate) const STREAM_BEGIN: u16 = 0;
pub(crate) const PING_REQUEST: u16 = 6;
pub(crate) const PING_RESPONSE: u16 = 7;

/// The chunk stream of control messages, and the message stream of everything that is of no stream.
pub(crate) const CONTROL_CHUNKS: u8 = 2;
pub(crate) const NO_STREAM: u32 = 0;

/// A part of a stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// Its time by the sender's clock, which wraps.
    pub time_ms: u32,
    /// As a tag of FLV has it. From a [`Server`](crate::server::Server) behind as many bytes as were asked for.
    pub body: Vec<u8>,
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes at {} ms", self.kind, self.body.len(), self.time_ms)
    }
}

/// What a part of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// A named value, such as what an encoder says of its stream.
    Data,
}

impl MediaKind {
    /// The type of a message, and of a tag of FLV.
    pub const fn number(self) -> u8 {
        match self {
            Self::Audio => AUDIO,
            Self::Video => VIDEO,
            Self::Data => DATA,
        }
    }

    pub(crate) const fn of(number: u8) -> Option<Self> {
        match number {
            AUDIO => Some(Self::Audio),
            VIDEO => Some(Self::Video),
            DATA => Some(Self::Data),
            _ => None,
        }
    }
}

/// A command: its name, its number, and what it says.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: String,
    /// What the answer refers to; 0 where none is wanted.
    pub(crate) transaction: f64,
    /// The object that comes first, and what follows.
    pub(crate) values: Vec<Value>,
}

impl Command {
    /// `None` where it is none.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        // What follows the values that matter is often odd.
        let mut values = amf0::read_some(body).into_iter();
        let Some(Value::Text(name)) = values.next() else { return None };
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or(0.0);
        Some(Self { name, transaction, values: values.collect() })
    }

    /// The text at this place behind the object.
    pub(crate) fn text(&self, at: usize) -> Option<&str> {
        self.values.get(at + 1)?.as_text()
    }

    pub(crate) fn number(&self, at: usize) -> Option<f64> {
        self.values.get(at + 1)?.as_number()
    }
}

/// A command on its way out.
pub(crate) fn command(stream: u32, name: &str, transaction: f64, values: &[Value]) -> Message {
    let mut body = Vec::new();
    Value::text(name).write(&mut body);
    Value::Number(transaction).write(&mut body);
    values.iter().for_each(|value| value.write(&mut body));
    Message { kind: COMMAND, stream, time_ms: 0, body }
}

/// A control message on its way out.
pub(crate) fn control(kind: u8, body: &[u8]) -> Message {
    Message { kind, stream: NO_STREAM, time_ms: 0, body: body.to_vec() }
}

pub(crate) fn user_control(event: u16, value: u32) -> Message {
    control(USER_CONTROL, &[&event.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// The messages of an aggregate (RTMP 1.0, section 7.1.6), which is made of tags of FLV.
#[derive(Debug)]
pub(crate) struct Aggregate {
    body: Vec<u8>,
    at: usize,
    time_ms: u32,
    /// The time of its first tag, which is that of the whole.
    first_ms: Option<u32>,
}

impl Aggregate {
    /// What is before `at` is not of it.
    pub(crate) fn new(message: Message, at: usize) -> Self {
        Self { body: message.body, at, time_ms: message.time_ms, first_ms: None }
    }

    /// The next part, behind and before this much room. What is cut short is left out.
    pub(crate) fn next(&mut self, before: usize, after: usize) -> Option<Media> {
        loop {
            let (header, rest) = self.body.get(self.at..)?.split_first_chunk::<11>()?;
            let [kind, size @ .., t2, t1, t0, t3, _, _, _] = *header;
            let len = read_u24(&size) as usize;
            let body = rest.get(..len)?;
            let tag_ms = u32::from_be_bytes([t3, t2, t1, t0]);
            let offset = tag_ms.wrapping_sub(*self.first_ms.get_or_insert(tag_ms));
            self.at += 11 + len + 4;
            if let Some(kind) = MediaKind::of(kind)
                && !body.is_empty()
            {
                let mut roomy = Vec::with_capacity(before + len + after);
                roomy.resize(before, 0);
                roomy.extend_from_slice(body);
                return Some(Media { kind, time_ms: self.time_ms.wrapping_add(offset), body: roomy });
            }
        }
    }
}

/// The four bytes that most control messages have.
pub(crate) fn number(mut body: &[u8]) -> Option<u32> {
    body.try_get_u32().ok()
}
