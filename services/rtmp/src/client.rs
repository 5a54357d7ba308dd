//! The end that sends a stream: a publisher as small as it can be.

use crate::Error;
use crate::amf0::Value;
use crate::chunk::{Headers, Message, Reader, Room, Writer};
use crate::handshake;
use crate::message::{self, COMMAND_BYTES_MAX, Command, Media, MediaKind};

/// The stream that a server gives to the first who asks is this everywhere; what it says counts.
const TRANSACTION_CONNECT: f64 = 1.0;
const TRANSACTION_CREATE: f64 = 4.0;

/// Size of the chunks that are sent.
const SENT_CHUNK_BYTES: u32 = 4096;

/// What to publish, and how.
#[derive(Clone)]
pub struct Publish {
    /// The application, `live` as a rule.
    pub app: String,
    /// The name of the stream, with its key in one of the ways there are.
    pub name: String,
    /// Whether pings are answered.
    pub answers_pings: bool,
}

impl std::fmt::Debug for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publish").field("answers_pings", &self.answers_pings).finish_non_exhaustive()
    }
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The stream may begin.
    Started,
    /// It may not, or not any longer.
    Refused {
        /// What programs read.
        code: String,
        /// What people read.
        why: String,
    },
    /// The server has taken the end of the stream.
    Ended,
    /// It asks for a sign of life.
    Pinged,
}

/// A connection to a server.
pub struct Client {
    publish: Publish,
    /// What is missing of S0, S1 and S2, and what has come.
    shake: Option<Vec<u8>>,
    reader: Reader,
    writer: Writer,
    output: Vec<u8>,
    stream: u32,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The name may hold a key.
        f.debug_struct("Client").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins a connection. `seed` is any number.
    pub fn new(publish: Publish, seed: u64) -> Self {
        Self {
            publish,
            shake: Some(Vec::new()),
            reader: Reader::new(COMMAND_BYTES_MAX, Room::default()),
            writer: Writer::new(Headers::Short),
            output: handshake::first(seed),
            stream: 0,
        }
    }

    /// What is to be sent; the caller removes what it has sent.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The next thing the server said, from the front of `input`, which is empty where there is none.
    ///
    /// # Errors
    /// What the server did wrong.
    pub fn take(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        if let Some(have) = &mut self.shake {
            const ANSWER_BYTES: usize = handshake::FIRST_BYTES + handshake::PACKET_BYTES;
            let (piece, rest) = input.split_at(input.len().min(ANSWER_BYTES - have.len()));
            *input = rest;
            have.extend_from_slice(piece);
            if have.len() < ANSWER_BYTES {
                return Ok(None);
            }
            handshake::check_version(have[0])?;
            self.output.extend_from_slice(&have[1..handshake::FIRST_BYTES]);
            self.shake = None;
            self.connect();
        }
        while let Some(message) = self.reader.take(input)? {
            if let Some(event) = self.message(&message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn connect(&mut self) {
        self.send(2, &message::control(message::SET_CHUNK_SIZE, &SENT_CHUNK_BYTES.to_be_bytes()));
        self.writer.set_chunk_bytes(SENT_CHUNK_BYTES as usize);
        let about = Value::object([
            ("app", Value::text(&*self.publish.app)),
            ("type", Value::text("nonprivate")),
            ("flashVer", Value::text("FMLE/3.0 (compatible; relaycast)")),
        ]);
        self.send_command(0, "connect", TRANSACTION_CONNECT, &[about]);
    }

    fn message(&mut self, message: &Message) -> Result<Option<Event>, Error> {
        let body = &message.body[..];
        match message.kind {
            message::SET_CHUNK_SIZE => {
                self.reader.set_chunk_bytes(message::number(body).ok_or(Error::Control)? as usize);
            }
            message::USER_CONTROL => {
                if let Some((event, time)) = body.split_first_chunk()
                    && u16::from_be_bytes(*event) == message::PING_REQUEST
                {
                    if self.publish.answers_pings {
                        let time = message::number(time).ok_or(Error::Control)?;
                        self.send(2, &message::user_control(message::PING_RESPONSE, time));
                    }
                    return Ok(Some(Event::Pinged));
                }
            }
            message::COMMAND => return self.command(&Command::parse(body).ok_or(Error::Command)?),
            _ => {}
        }
        Ok(None)
    }

    fn command(&mut self, command: &Command) -> Result<Option<Event>, Error> {
        let is = |transaction| command.transaction == transaction;
        match &*command.name {
            "_result" if is(TRANSACTION_CONNECT) => {
                let name = Value::text(&*self.publish.name);
                self.send_command(0, "releaseStream", 2.0, &[Value::Null, name.clone()]);
                self.send_command(0, "FCPublish", 3.0, &[Value::Null, name]);
                self.send_command(0, "createStream", TRANSACTION_CREATE, &[Value::Null]);
            }
            "_result" if is(TRANSACTION_CREATE) => {
                // A number of a stream is small and whole.
                self.stream = command.number(0).ok_or(Error::Command)? as u32;
                let name = Value::text(&*self.publish.name);
                self.send_command(self.stream, "publish", 5.0, &[Value::Null, name, Value::text("live")]);
            }
            "onStatus" | "_error" => {
                let about = command.values.get(1);
                let text =
                    |name| about.and_then(|about| about.get(name)?.as_text()).unwrap_or_default().to_owned();
                return Ok(match (&*text("level"), &*text("code")) {
                    ("error", _) => Some(Event::Refused { code: text("code"), why: text("description") }),
                    (_, "NetStream.Publish.Start") => Some(Event::Started),
                    (_, "NetStream.Unpublish.Success") => Some(Event::Ended),
                    _ => None,
                });
            }
            _ => {}
        }
        Ok(None)
    }

    /// Sends what an encoder says of its stream.
    pub fn send_metadata(&mut self, metadata: &Value) {
        let mut body = Vec::new();
        Value::text("@setDataFrame").write(&mut body);
        Value::text("onMetaData").write(&mut body);
        metadata.write(&mut body);
        self.send_media(Media { kind: MediaKind::Data, time_ms: 0, body });
    }

    /// Sends a part of the stream.
    pub fn send_media(&mut self, media: Media) {
        let Media { kind, time_ms, body } = media;
        let chunks = match kind {
            MediaKind::Audio => 4,
            MediaKind::Video => 6,
            MediaKind::Data => 5,
        };
        self.send(chunks, &Message { kind: kind.number(), stream: self.stream, time_ms, body });
    }

    /// Ends the stream as encoders do.
    pub fn end(&mut self) {
        let name = Value::text(&*self.publish.name);
        self.send_command(0, "FCUnpublish", 6.0, &[Value::Null, name]);
        let stream = Value::Number(self.stream.into());
        self.send_command(0, "deleteStream", 7.0, &[Value::Null, stream]);
    }

    fn send_command(&mut self, stream: u32, name: &str, transaction: f64, values: &[Value]) {
        self.send(3, &message::command(stream, name, transaction, values));
    }

    fn send(&mut self, chunks: u8, message: &Message) {
        self.writer.write(&mut self.output, chunks, message);
    }
}
