//! The chunk stream (RTMP 1.0, section 5.3): messages cut into chunks, several at a time.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A byte of a message is moved once, to where it stays. What a message says of its length       │
//! │ takes no memory before its bytes have come.                                                  │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use bytes::{Buf, BufMut};

use crate::Error;

/// Chunk streams that one end may use: real ones use four or five, the specification numbers 65,597.
pub const CHUNK_STREAMS_MAX: usize = 64;

/// Longest chunk: no message is longer than its three bytes of length tell, so a larger size means the same.
pub const CHUNK_BYTES_MAX: usize = 0xFF_FFFF;

/// What messages on other chunk streams may take together while the longest one comes: sound and commands between the parts of
/// a picture have some kilobytes.
pub const INTERLEAVED_BYTES_MAX: usize = 1 << 20;

/// Size of chunks until somebody says otherwise.
const CHUNK_BYTES_DEFAULT: usize = 128;

/// Memory that is taken for a message before any of it has come: most key frames fit.
const AHEAD_BYTES_MAX: usize = 256 << 10;

/// Basic header, message header, extended timestamp.
const HEADER_BYTES_MAX: usize = 3 + 11 + 4;

/// In place of a time that takes four bytes.
const EXTENDED: u32 = 0xFF_FFFF;

/// A message as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) time_ms: u32,
    /// Behind as many bytes as [`Room`] says, and with room for more after it.
    pub(crate) body: Vec<u8>,
}

/// What is kept free around the body of a message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    pub(crate) before: usize,
    pub(crate) after: usize,
}

/// Chunks in, messages out. After an error there is nothing more to be had.
#[derive(Debug)]
pub(crate) struct Reader {
    chunk_bytes: usize,
    message_bytes_max: usize,
    room: Room,
    /// What has come of a header.
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    /// The chunk whose payload comes: where its stream lies, and how much is missing.
    payload: Option<(usize, usize)>,
    streams: Vec<Stream>,
    /// Bytes of all messages that have begun.
    begun_bytes: usize,
}

/// A chunk stream: what the next header may leave out.
#[derive(Debug)]
struct Stream {
    id: u32,
    time_ms: u32,
    /// The time or difference of the last header that had one.
    field: u32,
    is_extended: bool,
    len: usize,
    kind: u8,
    message_stream: u32,
    /// The body so far, of a message that has begun.
    body: Option<Vec<u8>>,
}

/// A chunk's header as far as it says where it ends.
struct Shape {
    /// What a header leaves out: 0 nothing, 3 everything.
    format: u8,
    id: u32,
    basic: usize,
}

impl Shape {
    /// `None` while too little of it is there.
    fn of(header: &[u8]) -> Option<Self> {
        let (&first, rest) = header.split_first()?;
        let (id, basic) = match (first & 0x3F, rest) {
            (0, &[low, ..]) => (64 + u32::from(low), 2),
            (1, &[low, high, ..]) => (64 + u32::from(low) + 256 * u32::from(high), 3),
            (0 | 1, _) => return None,
            (id, _) => (id.into(), 1),
        };
        Some(Self { format: first >> 6, id, basic })
    }

    /// Bytes up to and without the extended timestamp.
    fn len(&self) -> usize {
        self.basic + [11, 7, 3, 0][usize::from(self.format)]
    }
}

impl Reader {
    pub(crate) fn new(message_bytes_max: usize, room: Room) -> Self {
        Self {
            chunk_bytes: CHUNK_BYTES_DEFAULT,
            message_bytes_max,
            room,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            payload: None,
            streams: Vec::new(),
            begun_bytes: 0,
        }
    }

    /// The other end sends chunks of this size from now on.
    pub(crate) fn set_chunk_bytes(&mut self, chunk_bytes: usize) {
        self.chunk_bytes = chunk_bytes.clamp(1, CHUNK_BYTES_MAX);
    }

    /// The rest of the message on this chunk stream will not come.
    pub(crate) fn abort(&mut self, id: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id)
            && let Some(body) = stream.body.take()
        {
            self.begun_bytes -= body.len() - self.room.before;
        }
    }

    /// The next message from the front of `input`, which is empty where there is none.
    pub(crate) fn take(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            if self.payload.is_none() && !self.take_header(input)? {
                return Ok(None);
            }
            let Some((index, missing)) = self.payload else { return Ok(None) };
            let (piece, rest) = input.split_at(missing.min(input.len()));
            *input = rest;
            self.append(index, piece)?;
            let missing = missing - piece.len();
            if missing > 0 {
                self.payload = Some((index, missing));
                return Ok(None);
            }
            self.payload = None;
            if let Some(message) = self.finish(index) {
                return Ok(Some(message));
            }
        }
    }

    /// Whether the header is whole; what follows is payload.
    fn take_header(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        let shape = loop {
            match Shape::of(&self.header[..self.header_len]) {
                Some(shape) if self.header_len >= shape.len() => break shape,
                _ if input.is_empty() => return Ok(false),
                _ => self.take_header_byte(input),
            }
        };
        let known = self.streams.iter().position(|stream| stream.id == shape.id);
        let at = shape.len();
        if shape.format == 3 {
            let index = known.ok_or(Error::NothingBefore)?;
            return Ok(self.take_same(index, at, input));
        }
        let field = read_u24(&self.header[shape.basic..]);
        let is_extended = field == EXTENDED;
        while is_extended && self.header_len < at + 4 {
            if input.is_empty() {
                return Ok(false);
            }
            self.take_header_byte(input);
        }
        let index = match known {
            Some(index) => index,
            // What a first header leaves out of the message stream is 0: that is how some answer a ping.
            None if shape.format == 2 => return Err(Error::NothingBefore),
            None if self.streams.len() == CHUNK_STREAMS_MAX => return Err(Error::ChunkStreams),
            None => {
                self.streams.push(Stream::new(shape.id));
                self.streams.len() - 1
            }
        };
        // Who begins another message on the same stream has given up the last.
        self.abort(shape.id);
        let stream = &mut self.streams[index];
        let mut header = &self.header[shape.basic..at];
        header.advance(3);
        stream.is_extended = is_extended;
        stream.field = if is_extended { (&self.header[at..]).get_u32() } else { field };
        if shape.format < 2 {
            stream.len = read_u24(header) as usize;
            header.advance(3);
            stream.kind = header.get_u8();
        }
        if shape.format == 0 {
            stream.message_stream = header.get_u32_le();
        }
        let difference =
            if shape.format == 0 { stream.field.wrapping_sub(stream.time_ms) } else { stream.field };
        self.begin(index, difference)?;
        self.begin_payload(index);
        Ok(true)
    }

    fn take_header_byte(&mut self, input: &mut &[u8]) {
        self.header[self.header_len] = input.get_u8();
        self.header_len += 1;
    }

    /// A header that says that all is as before: more of a message, or another one.
    fn take_same(&mut self, index: usize, at: usize, input: &mut &[u8]) -> bool {
        let stream = &self.streams[index];
        let due =
            stream.body.as_ref().map_or(stream.len, |body| stream.len - (body.len() - self.room.before));
        let due = due.min(self.chunk_bytes);
        let (mut ahead, field) = (0, stream.field);
        if stream.is_extended {
            // The specification wants the time here again, and not everybody sends it. Where it is not the same time it is
            // payload, if there is enough of that.
            let expected = field.to_be_bytes();
            while self.header_len < at + 4 {
                let Some(&next) = input.first() else { return false };
                if due >= 4 && next != expected[self.header_len - at] {
                    ahead = self.header_len - at;
                    break;
                }
                self.take_header_byte(input);
            }
        }
        // Neither can fail: the length was taken before.
        if self.streams[index].body.is_none() && self.begin(index, field).is_err() {
            return false;
        }
        self.begin_payload(index);
        if ahead > 0 {
            let bytes = self.header;
            let _ = self.append(index, &bytes[at..at + ahead]);
            self.payload = self.payload.map(|(index, missing)| (index, missing - ahead));
        }
        true
    }

    fn begin(&mut self, index: usize, difference: u32) -> Result<(), Error> {
        let stream = &mut self.streams[index];
        if stream.len > self.message_bytes_max {
            return Err(Error::TooLong);
        }
        stream.time_ms = stream.time_ms.wrapping_add(difference);
        let Room { before, after } = self.room;
        let mut body = Vec::with_capacity(before + stream.len.min(AHEAD_BYTES_MAX) + after);
        body.resize(before, 0);
        stream.body = Some(body);
        Ok(())
    }

    fn begin_payload(&mut self, index: usize) {
        let stream = &self.streams[index];
        let have = stream.body.as_ref().map_or(0, |body| body.len() - self.room.before);
        self.payload = Some((index, (stream.len - have).min(self.chunk_bytes)));
        self.header_len = 0;
    }

    fn append(&mut self, index: usize, piece: &[u8]) -> Result<(), Error> {
        let Room { before, after } = self.room;
        self.begun_bytes += piece.len();
        if self.begun_bytes > self.message_bytes_max + INTERLEAVED_BYTES_MAX {
            return Err(Error::TooMuch);
        }
        let stream = &mut self.streams[index];
        let whole = before + stream.len + after;
        let Some(body) = &mut stream.body else { return Ok(()) };
        if body.capacity() - body.len() < piece.len() + after {
            // By no less than what is there, so that many small steps do not cost many copies.
            body.reserve_exact((piece.len() + after).max(body.len()).min(whole - body.len()));
        }
        body.extend_from_slice(piece);
        Ok(())
    }

    fn finish(&mut self, index: usize) -> Option<Message> {
        let stream = &mut self.streams[index];
        let body = stream.body.take_if(|body| body.len() == self.room.before + stream.len)?;
        self.begun_bytes -= stream.len;
        Some(Message { kind: stream.kind, stream: stream.message_stream, time_ms: stream.time_ms, body })
    }
}

impl Stream {
    fn new(id: u32) -> Self {
        Self { id, time_ms: 0, field: 0, is_extended: false, len: 0, kind: 0, message_stream: 0, body: None }
    }
}

/// Three bytes, most significant first.
pub(crate) fn read_u24(bytes: &[u8]) -> u32 {
    bytes.iter().take(3).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Messages in, chunks out.
#[derive(Debug)]
pub(crate) struct Writer {
    chunk_bytes: usize,
    headers: Headers,
    last: Vec<(u8, Last)>,
}

/// How headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headers {
    /// In full.
    Whole,
    /// Without what is as before.
    Short,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    stream: u32,
    len: usize,
    kind: u8,
    time_ms: u32,
    field: u32,
}

impl Writer {
    pub(crate) fn new(headers: Headers) -> Self {
        Self { chunk_bytes: CHUNK_BYTES_DEFAULT, headers, last: Vec::new() }
    }

    /// From now on chunks have this size; the other end is to be told.
    pub(crate) fn set_chunk_bytes(&mut self, chunk_bytes: usize) {
        self.chunk_bytes = chunk_bytes.clamp(1, CHUNK_BYTES_MAX);
    }

    /// Appends a message on a chunk stream with a number from 2 to 63.
    pub(crate) fn write(&mut self, to: &mut Vec<u8>, id: u8, message: &Message) {
        let Message { kind, stream, time_ms, ref body } = *message;
        let now = Last { stream, len: body.len(), kind, time_ms, field: time_ms };
        let before = self.last.iter_mut().find(|(own, _)| *own == id).map(|(_, last)| last);
        let last = before.as_deref().copied().filter(|last| {
            // A time that goes back takes a header in full.
            self.headers == Headers::Short && last.stream == stream && time_ms >= last.time_ms
        });
        let field = last.map_or(time_ms, |last| time_ms - last.time_ms);
        let now = Last { field, ..now };
        match before {
            Some(before) => *before = now,
            None => self.last.push((id, now)),
        }
        let is_extended = field >= EXTENDED;
        let format = match last {
            None => 0,
            Some(last) if (last.len, last.kind, last.field) == (now.len, kind, field) => 3,
            Some(last) if (last.len, last.kind) == (now.len, kind) => 2,
            Some(_) => 1,
        };
        to.put_u8(format << 6 | id);
        if format < 3 {
            to.put_uint(field.min(EXTENDED).into(), 3);
        }
        if format < 2 {
            to.put_uint(body.len() as u64, 3);
            to.put_u8(kind);
        }
        if format == 0 {
            to.put_u32_le(stream);
        }
        for (number, piece) in body.chunks(self.chunk_bytes).enumerate() {
            if number > 0 {
                to.put_u8(3 << 6 | id);
            }
            if is_extended {
                to.put_u32(field);
            }
            to.put_slice(piece);
        }
        if body.is_empty() && is_extended {
            to.put_u32(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: Room = Room { before: 5, after: 4 };

    fn message(kind: u8, time_ms: u32, body: &[u8]) -> Message {
        Message { kind, stream: 1, time_ms, body: body.to_vec() }
    }

    /// Everything that a reader makes of these bytes when they come in pieces of this length.
    fn read(reader: &mut Reader, bytes: &[u8], piece: usize) -> Result<Vec<Message>, Error> {
        let mut messages = Vec::new();
        for mut input in bytes.chunks(piece) {
            while let Some(mut message) = reader.take(&mut input)? {
                assert_eq!(message.body[..reader.room.before], vec![0; reader.room.before]);
                message.body.drain(..reader.room.before);
                messages.push(message);
            }
            assert!(input.is_empty());
        }
        Ok(messages)
    }

    fn read_new(bytes: &[u8], piece: usize) -> Result<Vec<Message>, Error> {
        read(&mut Reader::new(4096, ROOM), bytes, piece)
    }

    fn any_message() -> impl Strategy<Value = (u8, Message)> {
        let time = prop_oneof![0u32..200, 0xFF_FFF0u32..0x100_0010, Just(u32::MAX), any::<u32>()];
        (2u8..8, 0u8..30, 0u32..3, time, 0usize..600, any::<u8>()).prop_map(
            |(id, kind, stream, time_ms, len, byte)| {
                (id, Message { kind, stream, time_ms, body: vec![byte; len] })
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            messages in prop::collection::vec(any_message(), 0..12),
            short in any::<bool>(),
            chunk_bytes in 1usize..700,
            piece in 1usize..800,
        ) {
            let mut writer = Writer::new(if short { Headers::Short } else { Headers::Whole });
            let mut reader = Reader::new(4096, ROOM);
            writer.set_chunk_bytes(chunk_bytes);
            reader.set_chunk_bytes(chunk_bytes);
            let mut bytes = Vec::new();
            messages.iter().for_each(|(id, message)| writer.write(&mut bytes, *id, message));
            let expected: Vec<_> = messages.into_iter().map(|(_, message)| message).collect();
            prop_assert_eq!(read(&mut reader, &bytes, piece), Ok(expected));
            prop_assert_eq!(reader.begun_bytes, 0);
        }

        #[test]
        fn any_bytes_mean_the_same_however_they_are_cut(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(3), Just(0xC3), Just(0xFF)], 0..900),
            piece in 1usize..40,
        ) {
            let whole = read_new(&bytes, usize::MAX);
            prop_assert_eq!(read_new(&bytes, piece), whole);
        }
    }

    #[test]
    fn messages_that_are_cut_into_each_other_come_whole() {
        let first = [&[3, 0, 0, 10, 0, 0, 200, 9, 1, 0, 0, 0][..], &[7; 128]].concat();
        let between = [4, 0, 0, 20, 0, 0, 1, 8, 1, 0, 0, 0, 5];
        let rest = [&[0xC3][..], &[7; 72]].concat();
        let bytes = [&first[..], &between, &rest].concat();
        assert_eq!(read_new(&bytes, 3), Ok(vec![message(8, 20, &[5]), message(9, 10, &[7; 200])]));
    }

    #[test]
    fn ids_of_all_three_lengths_are_told_apart() {
        let header = [0, 0, 1, 0, 0, 1, 8, 1, 0, 0, 0, 7];
        let bytes = [&[0, 0][..], &header, &[1, 0, 1], &header, &[63], &header].concat();
        assert_eq!(read_new(&bytes, 1).map(|messages| messages.len()), Ok(3));
        assert_eq!(Shape::of(&[0, 0]).map(|shape| shape.id), Some(64));
        assert_eq!(Shape::of(&[1, 255, 255]).map(|shape| shape.id), Some(65_599));
    }

    #[test]
    fn a_long_time_is_read_whether_or_not_it_is_said_again() {
        let time = 0x0123_4567u32;
        let header = [&[3, 0xFF, 0xFF, 0xFF, 0, 0, 140, 9, 1, 0, 0, 0][..], &time.to_be_bytes()].concat();
        let expected = |byte| Ok(vec![message(9, time, &[vec![byte; 136], vec![1, 0x23, 9, 9]].concat())]);
        // The rest begins as the time does, and is not it.
        let said = [&header[..], &[7; 128], &[0xC3], &time.to_be_bytes(), &[7; 8], &[1, 0x23, 9, 9]].concat();
        let unsaid = [&header[..], &[7; 128], &[0xC3], &[7; 8], &[1, 0x23, 9, 9]].concat();
        for piece in 1..20 {
            assert_eq!(read_new(&said, piece), expected(7));
            assert_eq!(read_new(&unsaid, piece), expected(7));
        }
        let begins_alike = [&[7; 128][..], &[1, 0x23, 9, 9, 7, 7, 7, 7, 7, 7, 7, 7]].concat();
        let bytes = [&header[..], &begins_alike[..128], &[0xC3], &begins_alike[128..]].concat();
        for piece in 1..20 {
            assert_eq!(read_new(&bytes, piece), Ok(vec![message(9, time, &begins_alike)]));
        }
    }

    #[test]
    fn a_header_that_refers_to_nothing_is_an_error_unless_it_could_be_complete() {
        assert_eq!(read_new(&[0xC3, 0], 1), Err(Error::NothingBefore));
        assert_eq!(read_new(&[0x83, 0, 0, 1, 0], 1), Err(Error::NothingBefore));
        let ping = [0x42, 0, 0, 1, 0, 0, 1, 4, 9];
        assert_eq!(read_new(&ping, 1), Ok(vec![Message { stream: 0, ..message(4, 1, &[9]) }]));
    }

    #[test]
    fn the_next_message_of_a_header_that_says_nothing_is_as_much_later() {
        let bytes = [
            &[3, 0, 0, 7, 0, 0, 1, 9, 1, 0, 0, 0, 1][..],
            &[0x43, 0, 0, 40, 0, 0, 1, 9, 2],
            &[0xC3, 3],
            &[0x83, 0, 0, 5, 4],
        ]
        .concat();
        let times: Vec<_> = read_new(&bytes, 2).unwrap().into_iter().map(|message| message.time_ms).collect();
        assert_eq!(times, [7, 47, 87, 92]);
    }

    #[test]
    fn a_message_that_is_given_up_is_forgotten() {
        let begun = [&[3, 0, 0, 10, 0, 0, 200, 9, 1, 0, 0, 0][..], &[7; 128]].concat();
        let mut reader = Reader::new(4096, ROOM);
        assert_eq!(read(&mut reader, &begun, 50), Ok(vec![]));
        reader.abort(9);
        assert_eq!(reader.begun_bytes, 128);
        reader.abort(3);
        assert_eq!(reader.begun_bytes, 0);
        let next = [3, 0, 0, 20, 0, 0, 1, 9, 1, 0, 0, 0, 5];
        assert_eq!(read(&mut reader, &next, 50), Ok(vec![message(9, 20, &[5])]));
        assert_eq!(read(&mut reader, &[&begun[..], &next].concat(), 50), Ok(vec![message(9, 20, &[5])]));
    }

    fn header(id: u8, len: u32) -> Vec<u8> {
        let mut bytes = vec![id, 0, 0, 0];
        bytes.put_uint(len.into(), 3);
        bytes.extend([9, 1, 0, 0, 0]);
        bytes
    }

    #[test]
    fn length_number_and_sum_are_bounded() {
        assert_eq!(read_new(&header(3, 4096), 99), Ok(vec![]));
        assert_eq!(read_new(&header(3, 4097), 99), Err(Error::TooLong));

        let streams = |count: u8| -> Vec<u8> {
            (0..count).flat_map(|number| [&[0, number][..], &header(3, 1)[1..], &[7]].concat()).collect()
        };
        assert_eq!(read_new(&streams(64), 99).map(|messages| messages.len()), Ok(64));
        assert_eq!(read_new(&streams(65), 99), Err(Error::ChunkStreams));

        let mut reader = Reader::new(1 << 20, Room::default());
        reader.set_chunk_bytes((1 << 20) - 1);
        let begun = |id| [header(id, 1 << 20), vec![0; (1 << 20) - 1]].concat();
        assert_eq!(read(&mut reader, &[begun(3), begun(4)].concat(), usize::MAX), Ok(vec![]));
        assert_eq!(read(&mut reader, &begun(5), usize::MAX), Err(Error::TooMuch));
    }

    #[test]
    fn what_is_announced_takes_no_memory_and_what_comes_is_not_copied_often() {
        let mut reader = Reader::new(1 << 24, ROOM);
        assert_eq!(read(&mut reader, &header(3, 0xFF_FFFF), 99), Ok(vec![]));
        assert!(reader.streams[0].body.as_ref().unwrap().capacity() <= AHEAD_BYTES_MAX + 9);
        let mut reader = Reader::new(1 << 24, ROOM);
        reader.set_chunk_bytes(1 << 24);
        let bytes = [header(3, 3 << 20), vec![7; 3 << 20]].concat();
        let mut input = &bytes[..];
        let message = reader.take(&mut input).unwrap().unwrap();
        assert_eq!(message.body.len(), ROOM.before + (3 << 20));
        assert_eq!(message.body.capacity(), ROOM.before + (3 << 20) + ROOM.after, "exact");
    }
}
