//! The end that takes a stream.

use std::fmt;

use crate::Error;
use crate::amf0::Value;
use crate::chunk::{Headers, Message, Reader, Room, Writer};
use crate::handshake;
use crate::message::{self, Aggregate, COMMAND_BYTES_MAX, Command, Media, MediaKind};

/// Size of the chunks that are sent: answers come in one piece.
const SENT_CHUNK_BYTES: u32 = 4096;

/// Bytes after which the other end is to acknowledge, as it is told, and after which it is told what came, until it says
/// otherwise. What others have by default.
const WINDOW_BYTES: u32 = 2_500_000;

/// A smaller window would make an answer of every read.
const WINDOW_BYTES_MIN: u32 = 4096;

/// What may wait to be sent. Who sends pings without end and reads no answer is not served.
pub const UNSENT_BYTES_MAX: usize = 256 << 10;

/// Streams that a connection may ask for: one is published.
const STREAMS_MAX: u32 = 16;

/// What a server calls itself where clients compare versions: the oldest that knows every command here.
const CLAIMED_VERSION: &str = "FMS/3,0,1,123";

/// What a server takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest part of a stream.
    pub message_bytes_max: usize,
    /// Bytes that are kept free before the body of each part of a stream.
    pub room_before: usize,
    /// Bytes that are kept free after it.
    pub room_after: usize,
}

/// What a publisher did.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// It names the application that it wants. Wants an answer: [`Server::accept_connection`] or [`Server::reject_connection`].
    Connect {
        /// As it came, with a query if there is one.
        app: String,
    },
    /// It wants to publish. Wants an answer, before anything else is taken: [`Server::accept_stream`] or
    /// [`Server::refuse_stream`].
    Publish {
        /// The name of the stream as it came, with a query if there is one.
        name: String,
    },
    /// A part of the stream.
    Media(Media),
    /// The stream is over.
    Unpublish,
}

/// Names may hold keys.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { .. } => f.write_str("Connect"),
            Self::Publish { .. } => f.write_str("Publish"),
            Self::Media(media) => media.fmt(f),
            Self::Unpublish => f.write_str("Unpublish"),
        }
    }
}

/// A connection of a publisher. After an error there is nothing more to be had.
#[derive(Debug)]
pub struct Server {
    seed: u64,
    limits: Limits,
    shake: Shake,
    reader: Reader,
    writer: Writer,
    output: Vec<u8>,
    aggregate: Option<Aggregate>,
    state: State,
    streams: u32,
    received_bytes: u64,
    acknowledged_bytes: u64,
    window_bytes: u32,
}

#[derive(Debug)]
enum Shake {
    /// What has come of C0 and C1.
    First(Vec<u8>),
    /// What is missing of C2.
    Second(usize),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Shaken,
    /// The transaction of `connect`, and whether it lists codecs by name.
    Asks(f64, bool),
    Connected,
    /// The stream that is to be published.
    WantsToPublish(u32),
    Publishes(u32),
    Over,
}

impl Server {
    /// A connection of which nothing has come. `seed` is any number.
    pub fn new(limits: Limits, seed: u64) -> Self {
        let room = Room { before: limits.room_before, after: limits.room_after };
        Self {
            seed,
            limits,
            shake: Shake::First(Vec::new()),
            reader: Reader::new(limits.message_bytes_max.max(COMMAND_BYTES_MAX), room),
            writer: Writer::new(Headers::Whole),
            output: Vec::new(),
            aggregate: None,
            state: State::Shaken,
            streams: 0,
            received_bytes: 0,
            acknowledged_bytes: 0,
            window_bytes: WINDOW_BYTES,
        }
    }

    /// What is to be sent; the caller removes what it has sent.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The next thing the publisher did, from the front of `input`, which is empty where there is none.
    ///
    /// # Errors
    /// What the publisher did wrong.
    pub fn take(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        loop {
            if let Some(media) = self.next_of_aggregate() {
                return Ok(Some(Event::Media(media)));
            }
            let before = input.len();
            let message = self.take_message(input);
            self.received_bytes += (before - input.len()) as u64;
            self.acknowledge();
            if self.output.len() > UNSENT_BYTES_MAX {
                return Err(Error::Unread);
            }
            match message? {
                Some(message) => {
                    if let Some(event) = self.message(message)? {
                        return Ok(Some(event));
                    }
                }
                None => return Ok(None),
            }
        }
    }

    fn take_message(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            match &mut self.shake {
                Shake::First(first) => {
                    let (piece, rest) = input.split_at(input.len().min(handshake::FIRST_BYTES - first.len()));
                    *input = rest;
                    first.extend_from_slice(piece);
                    let Some(version) = first.first() else { return Ok(None) };
                    handshake::check_version(*version)?;
                    if first.len() < handshake::FIRST_BYTES {
                        return Ok(None);
                    }
                    self.output.extend(handshake::answer(first, self.seed));
                    self.shake = Shake::Second(handshake::PACKET_BYTES);
                }
                Shake::Second(missing) => {
                    let taken = input.len().min(*missing);
                    *input = &input[taken..];
                    *missing -= taken;
                    if *missing > 0 {
                        return Ok(None);
                    }
                    self.shake = Shake::Done;
                }
                Shake::Done => return self.reader.take(input),
            }
        }
    }

    fn next_of_aggregate(&mut self) -> Option<Media> {
        let Limits { room_before, room_after, .. } = self.limits;
        let media = self.aggregate.as_mut()?.next(room_before, room_after);
        if media.is_none() {
            self.aggregate = None;
        }
        media.filter(|_| matches!(self.state, State::Publishes(_)))
    }

    fn acknowledge(&mut self) {
        if self.received_bytes - self.acknowledged_bytes >= self.window_bytes.into() {
            self.acknowledged_bytes = self.received_bytes;
            // Counts on from 0 after four bytes are full.
            let count = self.received_bytes as u32;
            self.send_control(message::ACKNOWLEDGEMENT, &count.to_be_bytes());
        }
    }

    fn message(&mut self, message: Message) -> Result<Option<Event>, Error> {
        let at = self.limits.room_before;
        let body = &message.body[at..];
        let kind = message.kind;
        let is_media =
            MediaKind::of(kind).is_some() || matches!(kind, message::DATA_AMF3 | message::AGGREGATE);
        let len_max = if is_media { self.limits.message_bytes_max } else { COMMAND_BYTES_MAX };
        if body.len() > len_max {
            return Err(Error::TooLong);
        }
        let number = || message::number(body).ok_or(Error::Control);
        match kind {
            message::SET_CHUNK_SIZE => match number()? {
                0 => return Err(Error::Control),
                size => self.reader.set_chunk_bytes(size as usize),
            },
            message::ABORT => self.reader.abort(number()?),
            message::WINDOW_SIZE => self.window_bytes = number()?.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES),
            message::USER_CONTROL => self.user_control(body),
            message::COMMAND => return self.command(message.stream, body),
            // A byte that says that AMF 0 follows, which it always does.
            message::COMMAND_AMF3 => {
                return self.command(message.stream, body.strip_prefix(&[0]).unwrap_or(body));
            }
            _ => return Ok(self.media(message)),
        }
        Ok(None)
    }

    /// A part of the stream. Without a stream, or a body, it is nothing.
    fn media(&mut self, mut message: Message) -> Option<Event> {
        let at = self.limits.room_before;
        if !matches!(self.state, State::Publishes(_)) || message.body.len() == at {
            return None;
        }
        let kind = match message.kind {
            message::AGGREGATE => {
                self.aggregate = Some(Aggregate::new(message, at));
                return self.next_of_aggregate().map(Event::Media);
            }
            message::DATA_AMF3 => {
                if message.body[at] == 0 {
                    message.body.remove(at);
                }
                MediaKind::Data
            }
            kind => MediaKind::of(kind)?,
        };
        Some(Event::Media(Media { kind, time_ms: message.time_ms, body: message.body }))
    }

    fn user_control(&mut self, body: &[u8]) {
        if let Some((event, [a, b, c, d, ..])) = body.split_first_chunk()
            && u16::from_be_bytes(*event) == message::PING_REQUEST
        {
            let time = u32::from_be_bytes([*a, *b, *c, *d]);
            self.send(message::CONTROL_CHUNKS, &message::user_control(message::PING_RESPONSE, time));
        }
    }

    fn command(&mut self, stream: u32, body: &[u8]) -> Result<Option<Event>, Error> {
        let command = Command::parse(body).ok_or(Error::Command)?;
        match (&*command.name, self.state) {
            ("connect", State::Shaken) => {
                let about = command.values.first();
                let app = about.and_then(|about| about.get("app")?.as_text()).unwrap_or_default().to_owned();
                let names_codecs = about.is_some_and(|about| about.get("fourCcList").is_some());
                self.state = State::Asks(command.transaction, names_codecs);
                return Ok(Some(Event::Connect { app }));
            }
            ("connect", _) | (_, State::Shaken | State::Asks(..) | State::WantsToPublish(_)) => {
                return Err(Error::Order);
            }
            ("createStream", _) => {
                if self.streams == STREAMS_MAX {
                    return Err(Error::Order);
                }
                self.streams += 1;
                self.answer(&command, &[Value::Null, Value::Number(self.streams.into())]);
            }
            ("publish", State::Connected) => {
                let name = command.text(0).ok_or(Error::Command)?.to_owned();
                self.state = State::WantsToPublish(stream);
                return Ok(Some(Event::Publish { name }));
            }
            ("publish", _) => {
                self.status(
                    stream,
                    Level::Error,
                    "NetStream.Publish.BadName",
                    "this connection publishes already",
                );
            }
            ("play" | "play2", _) => {
                let why = "streams are published here; they are watched over a websocket";
                self.status(stream, Level::Error, "NetStream.Play.Failed", why);
            }
            ("FCPublish", _) => {
                self.answer(&command, &[Value::Null]);
                let about = status(Level::Status, "NetStream.Publish.Start", "go on");
                self.send_command(message::NO_STREAM, "onFCPublish", 0.0, &[Value::Null, about]);
            }
            ("FCUnpublish", State::Publishes(own)) => {
                self.answer(&command, &[Value::Null]);
                return Ok(self.end(own));
            }
            ("deleteStream", State::Publishes(own)) if command.number(0) == Some(own.into()) => {
                return Ok(self.end(own));
            }
            ("closeStream", State::Publishes(own)) if stream == own => return Ok(self.end(own)),
            ("FCUnpublish" | "releaseStream", _) => self.answer(&command, &[Value::Null]),
            ("deleteStream" | "closeStream", _) => {}
            // What is an answer needs none.
            ("_result" | "_error" | "onStatus", _) => {}
            _ if command.transaction != 0.0 => {
                let about =
                    status(Level::Error, "NetConnection.Call.Failed", "there is no such command here");
                self.send_command(message::NO_STREAM, "_error", command.transaction, &[Value::Null, about]);
            }
            _ => {}
        }
        Ok(None)
    }

    fn end(&mut self, stream: u32) -> Option<Event> {
        self.state = State::Over;
        self.status(stream, Level::Status, "NetStream.Unpublish.Success", "the stream is over");
        Some(Event::Unpublish)
    }

    /// The application may be used.
    pub fn accept_connection(&mut self) {
        let State::Asks(transaction, names_codecs) = self.state else { return };
        self.state = State::Connected;
        self.send_control(message::WINDOW_SIZE, &WINDOW_BYTES.to_be_bytes());
        // Dynamic: as the one before says.
        let bandwidth = [&WINDOW_BYTES.to_be_bytes()[..], &[2]].concat();
        self.send_control(message::PEER_BANDWIDTH, &bandwidth);
        self.send_control(message::SET_CHUNK_SIZE, &SENT_CHUNK_BYTES.to_be_bytes());
        self.writer.set_chunk_bytes(SENT_CHUNK_BYTES as usize);
        self.send(message::CONTROL_CHUNKS, &message::user_control(message::STREAM_BEGIN, message::NO_STREAM));
        let about =
            Value::object([("fmsVer", Value::text(CLAIMED_VERSION)), ("capabilities", Value::Number(31.0))]);
        let mut status = status(Level::Status, "NetConnection.Connect.Success", "connected");
        if let Value::Object(status) = &mut status {
            status.push(("objectEncoding".to_owned(), Value::Number(0.0)));
            if names_codecs {
                let codecs = ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus"].map(Value::text);
                status.push(("fourCcList".to_owned(), Value::List(codecs.into())));
            }
        }
        self.send_command(message::NO_STREAM, "_result", transaction, &[about, status]);
    }

    /// The application may not be used, and why.
    pub fn reject_connection(&mut self, why: &str) {
        let State::Asks(transaction, _) = self.state else { return };
        self.state = State::Over;
        let about = status(Level::Error, "NetConnection.Connect.Rejected", why);
        self.send_command(message::NO_STREAM, "_error", transaction, &[Value::Null, about]);
    }

    /// The stream may be published.
    pub fn accept_stream(&mut self) {
        let State::WantsToPublish(stream) = self.state else { return };
        self.state = State::Publishes(stream);
        self.send(message::CONTROL_CHUNKS, &message::user_control(message::STREAM_BEGIN, stream));
        self.status(stream, Level::Status, "NetStream.Publish.Start", "go on");
    }

    /// The stream may not be published, and why.
    pub fn refuse_stream(&mut self, why: &str) {
        let State::WantsToPublish(stream) = self.state else { return };
        self.state = State::Over;
        self.status(stream, Level::Error, "NetStream.Publish.BadName", why);
    }

    /// The stream may not be published any longer, and why.
    pub fn dismiss(&mut self, why: &str) {
        let State::Publishes(stream) = self.state else { return };
        self.state = State::Over;
        self.status(stream, Level::Error, "NetConnection.Connect.Closed", why);
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self, time_ms: u32) {
        self.send(message::CONTROL_CHUNKS, &message::user_control(message::PING_REQUEST, time_ms));
    }

    fn answer(&mut self, command: &Command, values: &[Value]) {
        if command.transaction != 0.0 {
            self.send_command(message::NO_STREAM, "_result", command.transaction, values);
        }
    }

    fn status(&mut self, stream: u32, level: Level, code: &str, why: &str) {
        self.send_command(stream, "onStatus", 0.0, &[Value::Null, status(level, code, why)]);
    }

    fn send_command(&mut self, stream: u32, name: &str, transaction: f64, values: &[Value]) {
        const COMMAND_CHUNKS: u8 = 3;

        self.send(COMMAND_CHUNKS, &message::command(stream, name, transaction, values));
    }

    fn send_control(&mut self, kind: u8, body: &[u8]) {
        self.send(message::CONTROL_CHUNKS, &message::control(kind, body));
    }

    fn send(&mut self, chunks: u8, message: &Message) {
        self.writer.write(&mut self.output, chunks, message);
    }
}

#[derive(Debug, Clone, Copy)]
enum Level {
    Status,
    Error,
}

fn status(level: Level, code: &str, why: &str) -> Value {
    let level = match level {
        Level::Status => "status",
        Level::Error => "error",
    };
    Value::object([
        ("level", Value::text(level)),
        ("code", Value::text(code)),
        ("description", Value::text(why)),
    ])
}

#[cfg(test)]
mod tests;
