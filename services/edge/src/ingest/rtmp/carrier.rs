//! What a publisher by RTMP sends, as FLV: its header, then one tag a message.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The bytes of a message are not copied. No two frames of a track have one time, and no later   │
//! │ one has an earlier time, whatever the sender's clock does.                                    │
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
    audio: Track,
    video: Track,
}

#[derive(Debug, Default)]
struct Track {
    time: TrackTime,
    /// Of the last frame; `None` before the first.
    last_ms: Option<i64>,
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
            audio: Track::default(),
            video: Track::default(),
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
                    emit(tag(kind, self.audio.last_ms.max(self.video.last_ms).unwrap_or(0), body));
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
        if let Some(time_ms) = self.place(kind, time_ms, body.get(ROOM_BEFORE..).unwrap_or_default()) {
            emit(tag(kind, time_ms, body));
        }
    }

    /// The time of a message; `None` for sound from before the stream began, which has no picture to be heard with.
    fn place(&mut self, kind: MediaKind, time_ms: u32, body: &[u8]) -> Option<i64> {
        let track = match kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio | MediaKind::Data => &mut self.audio,
        };
        // What sets up a decoder has the time of the stream's beginning in some encoders, whenever it comes.
        if sets_up(kind, body) {
            return Some(track.last_ms.unwrap_or(0));
        }
        let ms =
            self.timeline.place(&mut track.time, i64::from(time_ms) * TICKS_PER_MS).div_euclid(TICKS_PER_MS);
        if ms < 0 && kind == MediaKind::Audio {
            return None;
        }
        // What the timeline straightens out is less than a millisecond later than what came before.
        let ms = ms.max(track.last_ms.map_or(0, |last| last + 1));
        track.last_ms = Some(ms);
        Some(ms)
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
fn tag(kind: MediaKind, time_ms: i64, mut body: Vec<u8>) -> Chunk {
    let len = body.len() - ROOM_BEFORE;
    // Wraps after 49 days.
    let [.., t3, t2, t1, t0] = time_ms.to_be_bytes();
    let [_, l2, l1, l0] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let header = [kind.number(), l2, l1, l0, t2, t1, t0, t3, 0, 0, 0];
    body[FRAME_HEADER_BYTES_MAX..ROOM_BEFORE].copy_from_slice(&header);
    body.extend_from_slice(&u32::try_from(TAG_HEADER_BYTES + len).unwrap_or(u32::MAX).to_be_bytes());
    Chunk::behind_room(body, FRAME_HEADER_BYTES_MAX)
}

#[cfg(test)]
mod tests;
