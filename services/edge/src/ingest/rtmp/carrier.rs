//! What a publisher by RTMP sends, as FLV: its header, then one tag a message.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The bytes of a message are not copied. Times only grow in each track, whatever the sender's   │
//! │ clock does.                                                                                  │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use relay_media::{Timeline, TrackTime};
use relay_proto::websocket::FRAME_HEADER_BYTES_MAX;
use relay_rtmp::amf0::{self, Value};
use relay_rtmp::{COMMAND_BYTES_MAX, Media, MediaKind};

use crate::chunk::Chunk;

const TAG_HEADER_BYTES: usize = 11;

/// Size of the tag before, behind each tag.
pub(crate) const ROOM_AFTER: usize = 4;

/// What is free before each message: for the header of the frame, then that of the tag.
pub(crate) const ROOM_BEFORE: usize = FRAME_HEADER_BYTES_MAX + TAG_HEADER_BYTES;

/// What a tag is longer than its message.
pub(crate) const AROUND_BYTES: usize = TAG_HEADER_BYTES + ROOM_AFTER;

/// The command that encoders put before metadata; it is no part of it.
const SET_DATA_FRAME: &[u8] = b"\x02\0\x0d@setDataFrame";

const TICKS_PER_MS: i64 = 90;

const HAS_VIDEO: u8 = 1;
const HAS_AUDIO: u8 = 4;

/// Makes FLV of what comes.
#[derive(Debug)]
pub(crate) struct Carrier {
    /// Until there is something to show: what the encoder says of its stream.
    before: Option<Before>,
    timeline: Timeline,
    audio: TrackTime,
    video: TrackTime,
    audio_ms: u32,
    video_ms: u32,
}

#[derive(Debug, Default)]
struct Before {
    metadata: Option<Vec<u8>>,
    announced: Option<u8>,
}

impl Default for Carrier {
    fn default() -> Self {
        Self {
            before: Some(Before::default()),
            timeline: Timeline::new((1 << 32) * TICKS_PER_MS),
            audio: TrackTime::default(),
            video: TrackTime::default(),
            audio_ms: 0,
            video_ms: 0,
        }
    }
}

impl Carrier {
    /// Takes a message, whose body is behind [`ROOM_BEFORE`].
    pub(crate) fn take(&mut self, media: Media, mut emit: impl FnMut(Chunk)) {
        let Media { kind, time_ms, body } = media;
        let flag = match kind {
            MediaKind::Data => {
                if let Some(body) = self.data(body) {
                    emit(tag(kind, self.audio_ms.max(self.video_ms), body));
                }
                return;
            }
            MediaKind::Audio => HAS_AUDIO,
            MediaKind::Video => HAS_VIDEO,
        };
        if let Some(Before { metadata, announced }) = self.before.take() {
            // Where nobody said what comes, both may.
            let flags = announced.unwrap_or(HAS_AUDIO | HAS_VIDEO) | flag;
            emit(Chunk::copy_from(&[b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]));
            if let Some(metadata) = metadata {
                emit(tag(MediaKind::Data, 0, metadata));
            }
        }
        let time = self.place(kind, time_ms, body.get(ROOM_BEFORE..).unwrap_or_default());
        emit(tag(kind, time, body));
    }

    fn place(&mut self, kind: MediaKind, time_ms: u32, body: &[u8]) -> u32 {
        let (track, last_ms) = match kind {
            MediaKind::Video => (&mut self.video, &mut self.video_ms),
            MediaKind::Audio | MediaKind::Data => (&mut self.audio, &mut self.audio_ms),
        };
        // What sets up a decoder has the time of the stream's beginning in some encoders, whenever it comes.
        if !sets_up(kind, body) {
            let ticks = self.timeline.place(track, i64::from(time_ms) * TICKS_PER_MS);
            // Sound from before the first picture is at the beginning. A time wraps after 49 days.
            let ms = (ticks / TICKS_PER_MS).max(0).cast_unsigned() as u32;
            *last_ms = ms;
        }
        *last_ms
    }

    /// A named value that belongs into the stream, if it does now: what is malformed would be an error to whoever plays it.
    fn data(&mut self, mut body: Vec<u8>) -> Option<Vec<u8>> {
        if body.get(ROOM_BEFORE..)?.starts_with(SET_DATA_FRAME) {
            body.drain(ROOM_BEFORE..ROOM_BEFORE + SET_DATA_FRAME.len());
        }
        let data = &body[ROOM_BEFORE..];
        if data.len() > COMMAND_BYTES_MAX {
            return None;
        }
        let values = amf0::read_all(data).ok()?;
        let name = values.first()?.as_text()?;
        let Some(before) = &mut self.before else { return name.starts_with("on").then_some(body) };
        if name == "onMetaData" {
            before.announced = values.get(1).and_then(announced);
            before.metadata = Some(body);
        }
        None
    }
}

/// Which tracks metadata says that there are; `None` where it says nothing of that.
fn announced(metadata: &Value) -> Option<u8> {
    let has = |flag: &str, signs: &[&str]| match metadata.get(flag) {
        Some(Value::Boolean(has)) => *has,
        _ => signs.iter().any(|sign| metadata.get(sign).is_some()),
    };
    let video = has("hasVideo", &["videocodecid", "width", "videodatarate"]);
    let audio = has("hasAudio", &["audiocodecid", "audiosamplerate", "audiodatarate"]);
    let flags = if video { HAS_VIDEO } else { 0 } | if audio { HAS_AUDIO } else { 0 };
    (flags != 0).then_some(flags)
}

/// Whether the body of a message sets up a decoder.
fn sets_up(kind: MediaKind, body: &[u8]) -> bool {
    match (kind, body) {
        // Enhanced RTMP: the type of packet is in the low bits of the first byte.
        (MediaKind::Video, [first, ..]) if first & 0x80 != 0 => first & 0x0F == 0,
        (MediaKind::Video, [first, second, ..]) => matches!(first & 0x0F, 7 | 12 | 13) && *second == 0,
        (MediaKind::Audio, [first, ..]) if first >> 4 == 9 => first & 0x0F == 0,
        (MediaKind::Audio, [first, second, ..]) => first >> 4 == 10 && *second == 0,
        _ => false,
    }
}

/// A tag around a body that is behind [`ROOM_BEFORE`].
fn tag(kind: MediaKind, time_ms: u32, mut body: Vec<u8>) -> Chunk {
    let len = body.len() - ROOM_BEFORE;
    let [t3, t2, t1, t0] = time_ms.to_be_bytes();
    let [_, l2, l1, l0] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let header = [kind.number(), l2, l1, l0, t2, t1, t0, t3, 0, 0, 0];
    body[FRAME_HEADER_BYTES_MAX..ROOM_BEFORE].copy_from_slice(&header);
    body.extend_from_slice(&u32::try_from(TAG_HEADER_BYTES + len).unwrap_or(u32::MAX).to_be_bytes());
    Chunk::behind_room(body, FRAME_HEADER_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(kind: MediaKind, time_ms: u32, body: &[u8]) -> Media {
        Media { kind, time_ms, body: [&[0; ROOM_BEFORE], body].concat() }
    }

    fn carry(carrier: &mut Carrier, media: Media) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        carrier.take(media, |chunk| chunks.push(chunk.payload().to_vec()));
        chunks
    }

    fn metadata(values: &[(&str, Value)]) -> Vec<u8> {
        let mut bytes = SET_DATA_FRAME.to_vec();
        Value::text("onMetaData").write(&mut bytes);
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Value::Object(values).write(&mut bytes);
        bytes
    }

    /// The time of the only tag that becomes of this.
    fn time(carrier: &mut Carrier, kind: MediaKind, time_ms: u32) -> u32 {
        let chunks = carry(carrier, media(kind, time_ms, &[0x27, 1, 0, 0, 0]));
        let tag = chunks.last().unwrap();
        u32::from_be_bytes([tag[7], tag[4], tag[5], tag[6]])
    }

    #[test]
    fn a_message_is_a_tag_behind_a_header_that_says_what_comes() {
        let mut carrier = Carrier::default();
        let said = metadata(&[("videocodecid", Value::Number(7.0))]);
        assert!(carry(&mut carrier, media(MediaKind::Data, 0, &said)).is_empty());
        let chunks = carry(&mut carrier, media(MediaKind::Video, 70, &[0x17, 1, 2]));
        assert_eq!(chunks[0], b"FLV\x01\x01\0\0\0\x09\0\0\0\0");
        assert_eq!(chunks[1][11..chunks[1].len() - 4], said[SET_DATA_FRAME.len()..]);
        assert_eq!(chunks[2], b"\x09\0\0\x03\0\0\0\0\0\0\0\x17\x01\x02\0\0\0\x0e");
        assert_eq!(
            carry(&mut carrier, media(MediaKind::Data, 0, &said)).len(),
            1,
            "later it goes on at once"
        );
    }

    #[test]
    fn the_header_names_what_was_announced_and_what_came_and_else_both() {
        let flags = |said: Option<Vec<u8>>, kind| {
            let mut carrier = Carrier::default();
            if let Some(said) = said {
                carry(&mut carrier, media(MediaKind::Data, 0, &said));
            }
            carry(&mut carrier, media(kind, 0, &[0xAF, 1, 2]))[0][4]
        };
        let has = |name| Some(metadata(&[(name, Value::Boolean(true))]));
        assert_eq!(flags(None, MediaKind::Audio), 5);
        assert_eq!(flags(Some(metadata(&[])), MediaKind::Video), 5);
        assert_eq!(flags(has("hasAudio"), MediaKind::Audio), 4);
        assert_eq!(flags(has("hasAudio"), MediaKind::Video), 5);
        assert_eq!(flags(has("width"), MediaKind::Video), 1);
    }

    #[test]
    fn what_is_no_named_value_stays_out() {
        let mut carrier = Carrier::default();
        time(&mut carrier, MediaKind::Video, 0);
        for odd in [&b"\x02\0\x09onMet"[..], b"\x05", b"\x02\0\x02|R", b"\x02\0\x0aonMetaData\x03\0\x01a"] {
            assert!(carry(&mut carrier, media(MediaKind::Data, 0, odd)).is_empty());
        }
        let long = metadata(&[("x", Value::text("y".repeat(COMMAND_BYTES_MAX)))]);
        assert!(carry(&mut carrier, media(MediaKind::Data, 0, &long)).is_empty());
    }

    #[test]
    fn times_pass_small_steps_and_go_on_over_jumps() {
        use MediaKind::{Audio, Video};
        let mut carrier = Carrier::default();
        let mut of = |kind, ms| time(&mut carrier, kind, ms);
        assert_eq!((of(Video, 5000), of(Audio, 5010), of(Video, 5040)), (0, 10, 40));
        assert_eq!((of(Video, 9000), of(Audio, 9010)), (4000, 4010), "a pause is a pause");
        assert_eq!((of(Video, 9040), of(Audio, 9050)), (4040, 4050));
        assert_eq!((of(Video, 3_000_000), of(Audio, 3_000_010)), (4080, 4090), "a leap is one step");
        assert_eq!((of(Video, 0), of(Audio, 10)), (4120, 4130), "and so is one back");
    }

    #[test]
    fn a_late_sequence_header_of_time_zero_moves_nothing() {
        let mut carrier = Carrier::default();
        time(&mut carrier, MediaKind::Video, 0);
        assert_eq!(time(&mut carrier, MediaKind::Video, 40), 40);
        let chunks = carry(&mut carrier, media(MediaKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]));
        assert_eq!(chunks[0][4..8], [0, 0, 40, 0]);
        assert_eq!(time(&mut carrier, MediaKind::Video, 80), 80);
    }
}
