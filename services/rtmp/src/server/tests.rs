use proptest::prelude::*;

use super::*;
use crate::chunk::{CHUNK_BYTES_MAX, INTERLEAVED_BYTES_MAX};
use crate::client::{self, Client, Publish};

const LIMITS: Limits = Limits { message_bytes_max: 100_000, room_before: 3, room_after: 4 };

fn publish() -> Publish {
    Publish { app: "live".to_owned(), name: "cam:key".to_owned(), answers_pings: true }
}

/// Everything that goes from one end to the other, until both have nothing to say.
struct Pair {
    server: Server,
    client: Client,
    /// What the server made of it.
    done: Vec<Event>,
    told: Vec<client::Event>,
}

impl Pair {
    fn new() -> Self {
        let (server, client) = (Server::new(LIMITS, 1), Client::new(publish(), 2));
        Self { server, client, done: Vec::new(), told: Vec::new() }
    }

    /// With a stream that has begun.
    fn publishing() -> Self {
        let mut pair = Self::new();
        pair.talk().unwrap();
        pair.server.accept_connection();
        pair.talk().unwrap();
        pair.server.accept_stream();
        pair.talk().unwrap();
        assert_eq!(std::mem::take(&mut pair.told), [client::Event::Started]);
        pair.done.clear();
        pair
    }

    fn talk(&mut self) -> Result<(), Error> {
        loop {
            let to_server = std::mem::take(self.client.output());
            let to_client = std::mem::take(self.server.output());
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(());
            }
            self.hear(&to_server)?;
            let mut input = &to_client[..];
            while let Some(event) = self.client.take(&mut input).unwrap() {
                self.told.push(event);
            }
        }
    }

    fn hear(&mut self, mut input: &[u8]) -> Result<(), Error> {
        while let Some(event) = self.server.take(&mut input)? {
            self.done.push(event);
        }
        Ok(())
    }

    /// Has the client send this command.
    fn say(&mut self, stream: u32, name: &str, transaction: f64, values: &[Value]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(Headers::Whole);
        writer.set_chunk_bytes(4096);
        writer.write(&mut bytes, 3, &message::command(stream, name, transaction, values));
        self.hear(&bytes)
    }

    fn send(&mut self, message: &Message) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(Headers::Whole);
        writer.set_chunk_bytes(4096);
        writer.write(&mut bytes, 7, message);
        self.hear(&bytes)
    }

    /// Messages that the server sent, as far as they are commands.
    fn said(&mut self) -> Vec<(u32, Command)> {
        let bytes = std::mem::take(self.server.output());
        let mut reader = Reader::new(COMMAND_BYTES_MAX, Room::default());
        reader.set_chunk_bytes(SENT_CHUNK_BYTES as usize);
        let (mut input, mut said) = (&bytes[..], Vec::new());
        while let Some(message) = reader.take(&mut input).unwrap() {
            if message.kind == message::COMMAND {
                said.push((message.stream, Command::parse(&message.body).unwrap()));
            }
        }
        said
    }

    fn code(&mut self) -> String {
        let said = self.said();
        let about = said.last().unwrap().1.values[1].clone();
        about.get("code").unwrap().as_text().unwrap().to_owned()
    }
}

fn media(kind: MediaKind, time_ms: u32, body: &[u8]) -> Event {
    Event::Media(Media { kind, time_ms, body: [&[0; 3], body].concat() })
}

#[test]
fn a_stream_is_published_from_its_first_byte_to_its_end() {
    let mut pair = Pair::new();
    pair.talk().unwrap();
    assert_eq!(pair.done, [Event::Connect { app: "live".to_owned() }]);
    pair.server.accept_connection();
    pair.talk().unwrap();
    assert_eq!(pair.done[1..], [Event::Publish { name: "cam:key".to_owned() }]);
    assert_eq!(pair.told, []);
    pair.server.accept_stream();
    pair.talk().unwrap();
    assert_eq!(pair.told, [client::Event::Started]);
    for (kind, time_ms) in [(MediaKind::Video, 0), (MediaKind::Audio, 0), (MediaKind::Video, 0x0100_0000)] {
        pair.client.send_media(Media { kind, time_ms, body: vec![7; 9000] });
    }
    pair.server.ping(5);
    pair.talk().unwrap();
    let all = [
        media(MediaKind::Video, 0, &[7; 9000]),
        media(MediaKind::Audio, 0, &[7; 9000]),
        media(MediaKind::Video, 0x0100_0000, &[7; 9000]),
    ];
    assert_eq!(pair.done[2..], all);
    pair.client.end();
    pair.talk().unwrap();
    assert_eq!(pair.done[5..], [Event::Unpublish]);
    assert_eq!(pair.told[1..], [client::Event::Pinged, client::Event::Ended]);
}

#[test]
fn refusals_say_why() {
    let refused =
        |code: &str| vec![client::Event::Refused { code: code.to_owned(), why: "no room".to_owned() }];
    let mut pair = Pair::new();
    pair.talk().unwrap();
    pair.server.reject_connection("no room");
    pair.talk().unwrap();
    assert_eq!(pair.told, refused("NetConnection.Connect.Rejected"));

    let mut pair = Pair::new();
    pair.talk().unwrap();
    pair.server.accept_connection();
    pair.talk().unwrap();
    pair.server.refuse_stream("no room");
    pair.talk().unwrap();
    assert_eq!(pair.told, refused("NetStream.Publish.BadName"));

    let mut pair = Pair::publishing();
    pair.server.dismiss("no room");
    pair.talk().unwrap();
    assert_eq!(pair.told, refused("NetConnection.Connect.Closed"));
}

#[test]
fn a_stream_ends_by_any_of_three_commands_about_it_and_by_none_about_another() {
    for (stream, name, values) in [
        (0, "FCUnpublish", vec![Value::Null, Value::text("cam")]),
        (0, "deleteStream", vec![Value::Null, Value::Number(1.0)]),
        (1, "closeStream", vec![Value::Null]),
    ] {
        let mut pair = Pair::publishing();
        pair.say(stream, name, 0.0, &values).unwrap();
        assert_eq!(pair.done, [Event::Unpublish], "{name}");
        assert_eq!(pair.code(), "NetStream.Unpublish.Success");
        pair.send(&Message { kind: message::VIDEO, stream: 1, time_ms: 0, body: vec![1] }).unwrap();
        pair.say(stream, name, 0.0, &values).unwrap();
        assert_eq!(pair.done.len(), 1, "nothing comes after the end");
    }
    let mut pair = Pair::publishing();
    pair.say(0, "deleteStream", 0.0, &[Value::Null, Value::Number(2.0)]).unwrap();
    pair.say(0, "closeStream", 0.0, &[Value::Null]).unwrap();
    assert_eq!(pair.done, []);
}

#[test]
fn what_is_not_known_is_answered_and_what_wants_no_answer_is_passed_over() {
    let mut pair = Pair::publishing();
    pair.say(0, "_checkbw", 9.0, &[Value::Null]).unwrap();
    assert_eq!(pair.code(), "NetConnection.Call.Failed");
    pair.say(0, "_checkbw", 0.0, &[Value::Null]).unwrap();
    pair.say(0, "_result", 9.0, &[Value::Null]).unwrap();
    assert!(pair.said().is_empty());
    pair.say(1, "play", 0.0, &[Value::Null, Value::text("cam")]).unwrap();
    assert_eq!(pair.code(), "NetStream.Play.Failed");
    pair.say(2, "publish", 0.0, &[Value::Null, Value::text("cam")]).unwrap();
    assert_eq!(pair.code(), "NetStream.Publish.BadName");
    assert_eq!(pair.done, []);
}

#[test]
fn commands_and_data_of_amf_3_are_read_as_what_they_are() {
    let mut pair = Pair::publishing();
    let command = message::command(0, "_checkbw", 9.0, &[Value::Null]);
    let body = [&[0][..], &command.body].concat();
    pair.send(&Message { kind: message::COMMAND_AMF3, body, ..command }).unwrap();
    assert_eq!(pair.code(), "NetConnection.Call.Failed");
    let data = Message { kind: message::DATA_AMF3, stream: 1, time_ms: 4, body: b"\0\x02\0\x01a".to_vec() };
    pair.send(&data).unwrap();
    assert_eq!(pair.done, [media(MediaKind::Data, 4, b"\x02\0\x01a")]);
}

#[test]
fn an_aggregate_is_taken_apart() {
    let tag = |kind: u8, time: u8, body: &[u8]| {
        let header = [kind, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0];
        [&header[..], body, &[0, 0, 0, 11 + body.len() as u8]].concat()
    };
    let whole = [tag(8, 50, &[1]), tag(9, 60, &[2, 2]), tag(4, 61, &[9]), tag(8, 62, &[]), tag(18, 70, &[3])];
    let body = whole.concat();
    let mut pair = Pair::publishing();
    let aggregate =
        |body: &[u8]| Message { kind: message::AGGREGATE, stream: 1, time_ms: 1000, body: body.to_vec() };
    pair.send(&aggregate(&body)).unwrap();
    let all = [
        media(MediaKind::Audio, 1000, &[1]),
        media(MediaKind::Video, 1010, &[2, 2]),
        media(MediaKind::Data, 1020, &[3]),
    ];
    assert_eq!(pair.done, all);
    for cut in 0..body.len() {
        pair.send(&aggregate(&body[..cut])).unwrap();
    }
}

#[test]
fn bytes_are_acknowledged_by_the_window_that_was_asked_for_and_by_none_too_small() {
    let mut pair = Pair::publishing();
    pair.send(&message::control(message::WINDOW_SIZE, &1u32.to_be_bytes())).unwrap();
    pair.server.output().clear();
    pair.server.acknowledged_bytes = pair.server.received_bytes;
    let small = Message { kind: message::AUDIO, stream: 1, time_ms: 0, body: vec![1; 4000] };
    pair.send(&small).unwrap();
    assert!(pair.server.output().is_empty());
    pair.send(&small).unwrap();
    let count = (pair.server.received_bytes as u32).to_be_bytes();
    assert_eq!(pair.server.output()[..], [&[2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0][..], &count].concat());
}

#[test]
fn every_bound_has_an_end() {
    let mut pair = Pair::publishing();
    let ping = message::user_control(message::PING_REQUEST, 7);
    let unread = (0..UNSENT_BYTES_MAX).map(|_| pair.send(&ping)).find(Result::is_err);
    assert_eq!(unread, Some(Err(Error::Unread)));

    let long = |kind, len: usize| Message { kind, stream: 1, time_ms: 0, body: vec![2; len] };
    assert_eq!(Pair::publishing().send(&long(message::VIDEO, 100_000)), Ok(()));
    assert_eq!(Pair::publishing().send(&long(message::VIDEO, 100_001)), Err(Error::TooLong));
    assert_eq!(Pair::publishing().send(&long(message::COMMAND, COMMAND_BYTES_MAX + 1)), Err(Error::TooLong));
    let zero = message::control(message::SET_CHUNK_SIZE, &[0; 4]);
    assert_eq!(Pair::publishing().send(&zero), Err(Error::Control));
    assert_eq!(Pair::publishing().send(&message::control(message::ABORT, &[0; 3])), Err(Error::Control));
    let huge = message::control(message::SET_CHUNK_SIZE, &u32::MAX.to_be_bytes());
    assert_eq!(Pair::publishing().send(&huge), Ok(()));
    assert!(CHUNK_BYTES_MAX + INTERLEAVED_BYTES_MAX < u32::MAX as usize);

    let mut pair = Pair::publishing();
    let created = (0..100).map(|_| pair.say(0, "createStream", 2.0, &[Value::Null])).find(Result::is_err);
    assert_eq!(created, Some(Err(Error::Order)));
}

#[test]
fn who_publishes_before_it_has_connected_or_connects_twice_is_out_of_order() {
    let mut pair = Pair::new();
    let shaken = [crate::handshake::first(1), vec![0; 1536]].concat();
    pair.hear(&shaken).unwrap();
    assert_eq!(pair.say(1, "publish", 0.0, &[Value::Null, Value::text("cam")]), Err(Error::Order));
    assert_eq!(Pair::publishing().say(0, "connect", 1.0, &[Value::object([])]), Err(Error::Order));
    assert_eq!(Pair::new().hear(&[6]), Err(Error::Handshake(crate::handshake::WrongVersion)));
}

#[test]
fn nothing_that_is_printed_holds_a_key() {
    let event = Event::Publish { name: "cam:s3cret".to_owned() };
    assert!(!format!("{event:?}").contains("s3cret"));
    let client = Client::new(Publish { name: "cam:s3cret".to_owned(), ..publish() }, 1);
    assert!(!format!("{client:?}").contains("s3cret"));
}

/// Runs a server over these bytes, answering what wants an answer.
fn run(bytes: &[u8], piece: usize) -> (Vec<Event>, Option<Error>) {
    let mut server = Server::new(LIMITS, 1);
    let mut events = Vec::new();
    for mut input in bytes.chunks(piece) {
        loop {
            match server.take(&mut input) {
                Ok(Some(event)) => {
                    match event {
                        Event::Connect { .. } => server.accept_connection(),
                        Event::Publish { .. } => server.accept_stream(),
                        Event::Media(_) | Event::Unpublish => {}
                    }
                    events.push(event);
                }
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        server.output().clear();
    }
    (events, None)
}

proptest! {
    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut(
        tail in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(3), Just(0xC3)], 0..600),
        from in 0usize..3,
        piece in 1usize..700,
    ) {
        let mut pair = Pair::new();
        let mut bytes = std::mem::take(pair.client.output());
        if from > 0 {
            // C2 is not looked at.
            bytes.extend([0; 1536]);
        }
        if from > 1 {
            let mut writer = Writer::new(Headers::Whole);
            let about = Value::object([("app", Value::text("live"))]);
            writer.write(&mut bytes, 3, &message::command(0, "connect", 1.0, &[about]));
            writer.write(&mut bytes, 3, &message::command(1, "publish", 0.0, &[Value::Null, Value::text("a")]));
        }
        bytes.extend(tail);
        let whole = run(&bytes, bytes.len());
        let cut = run(&bytes, piece);
        // More answers may wait at a time when all comes at once.
        if whole.1 != Some(Error::Unread) {
            prop_assert_eq!(cut, whole);
        }
    }
}
