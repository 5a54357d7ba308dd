//! FLV to samples (FLV specification 10.1, annex E; Enhanced RTMP v2 for H.265, Opus and the like).

use super::muxer::{Expected, Muxer};
use super::pictures::Pictures;
use super::timeline::{Timeline, TrackTime};
use super::track::{ACCESS_UNIT_BYTES_MAX, AudioConfig, AudioSample, VideoSample};
use crate::codec::aac::AudioSpecificConfig;
use crate::codec::nal::NalCodec;
use crate::codec::{h264, h265, mp3, opus};

const HEADER_BYTES: usize = 9;
/// Size of the previous tag, then the tag's header.
const TAG_HEADER_BYTES: usize = 4 + 11;

/// Ticks of the timeline in a millisecond, the unit of FLV.
const TICKS_PER_MS: i64 = 90;

/// Takes FLV apart.
#[derive(Debug)]
pub(crate) struct Flv {
    tags: Tags,
    timeline: Timeline,
    video: VideoTrack,
    audio: AudioTrack,
}

#[derive(Debug, Default)]
struct VideoTrack {
    pictures: Option<Pictures>,
    length_bytes: usize,
    time: TrackTime,
}

#[derive(Debug, Default)]
struct AudioTrack {
    frame_samples: u32,
    time: TrackTime,
}

impl Flv {
    pub(crate) fn new() -> Self {
        Self {
            tags: Tags::default(),
            timeline: Timeline::new((1 << 32) * TICKS_PER_MS),
            video: VideoTrack::default(),
            audio: AudioTrack::default(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], muxer: &mut Muxer) {
        let Self { tags, timeline, video, audio } = self;
        tags.push(bytes, |element| match element {
            Element::Header { flags } => {
                muxer.expect(Expected { video: flags & 1 != 0, audio: flags & 4 != 0 });
            }
            Element::Tag(Tag { kind: Tag::VIDEO, time, body }) => {
                let _ = video.tag(time, body, timeline, muxer);
            }
            Element::Tag(Tag { kind: Tag::AUDIO, time, body }) => {
                let _ = audio.tag(time, body, timeline, muxer);
            }
            Element::Tag(_) => {}
        });
    }

    pub(crate) fn retained(&self) -> usize {
        self.tags.pending.capacity()
    }
}

struct Tag<'a> {
    kind: u8,
    time: u32,
    body: &'a [u8],
}

impl Tag<'_> {
    const AUDIO: u8 = 8;
    const VIDEO: u8 = 9;
}

enum Element<'a> {
    Header { flags: u8 },
    Tag(Tag<'a>),
}

/// Cuts FLV into its header and tags.
#[derive(Debug, Default)]
struct Tags {
    /// The beginning of an element whose end was not there yet.
    pending: Vec<u8>,
    /// Bytes to leave out: the rest of the header, or a tag that is too large.
    skip: usize,
    past_header: bool,
}

impl Tags {
    fn push(&mut self, bytes: &[u8], mut found: impl FnMut(Element<'_>)) {
        if self.pending.is_empty() {
            let used = self.read(bytes, &mut found);
            self.pending.extend_from_slice(&bytes[used..]);
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(bytes);
            let used = self.read(&pending, &mut found);
            pending.drain(..used);
            self.pending = pending;
        }
    }

    /// Reads what is whole; answers how many bytes that was.
    fn read(&mut self, bytes: &[u8], found: &mut impl FnMut(Element<'_>)) -> usize {
        let mut rest = bytes;
        loop {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = &rest[skipped..];
            let Some(used) = self.element(rest, found) else {
                return bytes.len() - rest.len();
            };
            rest = &rest[used..];
        }
    }

    fn element(&mut self, bytes: &[u8], found: &mut impl FnMut(Element<'_>)) -> Option<usize> {
        if !self.past_header {
            let header = bytes.first_chunk::<HEADER_BYTES>()?;
            let offset = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) as usize;
            self.skip = offset.saturating_sub(HEADER_BYTES);
            self.past_header = true;
            found(Element::Header { flags: header[4] });
            return Some(HEADER_BYTES);
        }
        let &[_, _, _, _, kind, s0, s1, s2, t0, t1, t2, t3, _, _, _] =
            bytes.first_chunk::<TAG_HEADER_BYTES>()?;
        let size = u32::from_be_bytes([0, s0, s1, s2]) as usize;
        if size > ACCESS_UNIT_BYTES_MAX {
            self.skip = size;
            return Some(TAG_HEADER_BYTES);
        }
        let body = bytes.get(TAG_HEADER_BYTES..TAG_HEADER_BYTES + size)?;
        found(Element::Tag(Tag { kind: kind & 0x1f, time: u32::from_be_bytes([t3, t0, t1, t2]), body }));
        Some(TAG_HEADER_BYTES + size)
    }
}

/// What a media tag holds.
enum Packet<'a> {
    Config(&'a [u8]),
    /// With the composition time in milliseconds.
    Frame(i64, &'a [u8]),
    Nothing,
}

impl VideoTrack {
    fn tag(&mut self, time: u32, body: &[u8], timeline: &mut Timeline, muxer: &mut Muxer) -> Option<()> {
        let (codec, packet) = video_packet(body)?;
        let Some(codec) = codec else {
            muxer.expected().video = false;
            muxer.leave_out(|| video_name(body));
            return None;
        };
        match packet {
            Packet::Nothing => {}
            Packet::Config(record) => {
                let (sets, length_bytes) = match codec {
                    NalCodec::H264 => h264::avcc_parameter_sets(record)?,
                    NalCodec::H265 => h265::hvcc_parameter_sets(record)?,
                };
                self.length_bytes = length_bytes;
                // A sequence header replaces what was before, but a repeated one must not stop the pictures.
                let mut pictures = Pictures::new(codec);
                pictures.read(sets.into_iter());
                let is_new = self.pictures.as_ref().is_none_or(|before| before.sets() != pictures.sets());
                if is_new && let Some(config) = pictures.take_config() {
                    muxer.video_config(config);
                    self.pictures = Some(pictures);
                }
            }
            Packet::Frame(composition_ms, data) => {
                let pictures = self.pictures.as_mut()?;
                let picture = pictures.read(prefixed_units(data, self.length_bytes));
                let time = timeline.place(&mut self.time, i64::from(time) * TICKS_PER_MS);
                let picture = picture?;
                if let Some(config) = pictures.take_config() {
                    muxer.video_config(config);
                }
                muxer.picture(VideoSample {
                    time,
                    composition_offset: composition_ms * TICKS_PER_MS,
                    is_key: picture.is_key,
                    data: picture.data,
                });
            }
        }
        Some(())
    }
}

/// Codec (`None`: one that is left out) and content of a video tag's body.
fn video_packet(body: &[u8]) -> Option<(Option<NalCodec>, Packet<'_>)> {
    const COMMAND_FRAME: u8 = 5;
    let (&first, rest) = body.split_first()?;
    if first >> 4 & 7 == COMMAND_FRAME {
        return None;
    }
    let is_enhanced = first & 0x80 != 0;
    let (codec, kind, has_composition_time, rest) = if is_enhanced {
        let (fourcc, rest) = rest.split_first_chunk::<4>()?;
        let codec = match fourcc {
            b"avc1" => Some(NalCodec::H264),
            b"hvc1" => Some(NalCodec::H265),
            _ => None,
        };
        // Coded frames X are coded frames without a composition time.
        let kind = first & 0xf;
        (codec, if kind == 3 { 1 } else { kind }, kind == 1, rest)
    } else {
        let codec = match first & 0xf {
            7 => Some(NalCodec::H264),
            // Not in the specification, but what some encoders wrote before Enhanced RTMP.
            12 => Some(NalCodec::H265),
            _ => None,
        };
        let (&kind, rest) = rest.split_first()?;
        // There, each packet has the three bytes.
        if kind != 1 { (codec, kind, false, rest.get(3..)?) } else { (codec, kind, true, rest) }
    };
    let packet = match (kind, has_composition_time) {
        (0, _) => Packet::Config(rest),
        (1, false) => Packet::Frame(0, rest),
        (1, true) => {
            let (&[a, b, c], data) = rest.split_first_chunk()?;
            Packet::Frame(i64::from(i32::from_be_bytes([a, b, c, 0]) >> 8), data)
        }
        _ => Packet::Nothing,
    };
    Some((codec, packet))
}

fn video_name(body: &[u8]) -> String {
    match *body {
        [first, a, b, c, d, ..] if first & 0x80 != 0 => [a, b, c, d].escape_ascii().to_string(),
        [2, ..] | [0x12 | 0x22, ..] => "Sorenson H.263".to_owned(),
        [first, ..] if matches!(first & 0xf, 4 | 5) => "VP6".to_owned(),
        [first, ..] => format!("FLV video codec {}", first & 0xf),
        [] => String::new(),
    }
}

/// NAL units, each after its length.
fn prefixed_units(mut data: &[u8], length_bytes: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_at_checked(length_bytes)?;
        let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        // A unit cut short is given as far as it is there.
        let (unit, rest) = rest.split_at(length.min(rest.len()));
        data = rest;
        (!unit.is_empty()).then_some(unit)
    })
}

impl AudioTrack {
    fn tag(&mut self, time: u32, body: &[u8], timeline: &mut Timeline, muxer: &mut Muxer) -> Option<()> {
        let Some((codec, packet)) = audio_packet(body)? else {
            muxer.expected().audio = false;
            muxer.leave_out(|| format!("FLV sound format {}", body[0] >> 4));
            return None;
        };
        let data = match (codec, packet) {
            (_, Packet::Nothing) => return None,
            (Audio::Aac, Packet::Config(record)) => {
                let config = AudioSpecificConfig::parse(record)?;
                self.frame_samples = config.frame_samples;
                muxer.audio_config(AudioConfig::aac(&config, record));
                return None;
            }
            (Audio::Opus, Packet::Config(record)) => {
                // The `OpusHead` of RFC 7845, 5.1; more channels need its mapping table.
                let channels = record.get(9).copied().filter(|channels| matches!(channels, 1 | 2))?;
                muxer.audio_config(AudioConfig::opus(channels));
                return None;
            }
            (Audio::Mp3, Packet::Config(_)) => return None,
            (_, Packet::Frame(_, data)) => data,
        };
        let samples = match codec {
            Audio::Aac => self.frame_samples,
            Audio::Opus => opus::packet_samples(data)?,
            Audio::Mp3 => {
                let header = mp3::FrameHeader::parse(data)?;
                muxer.audio_config(AudioConfig::mp3(&header));
                header.frame_samples
            }
        };
        let time = timeline.place(&mut self.time, i64::from(time) * TICKS_PER_MS);
        muxer.sound(AudioSample { time, samples, data: data.to_vec() });
        Some(())
    }
}

#[derive(Clone, Copy)]
enum Audio {
    Aac,
    Opus,
    Mp3,
}

/// Codec and content of an audio tag's body; `Some(None)` for a codec that is left out.
fn audio_packet(body: &[u8]) -> Option<Option<(Audio, Packet<'_>)>> {
    const ENHANCED: u8 = 9;
    let (&first, rest) = body.split_first()?;
    let (codec, kind, data) = match first >> 4 {
        2 => return Some(Some((Audio::Mp3, Packet::Frame(0, rest)))),
        10 => {
            let (&kind, data) = rest.split_first()?;
            (Audio::Aac, kind, data)
        }
        ENHANCED => {
            let (fourcc, data) = rest.split_first_chunk::<4>()?;
            let codec = match fourcc {
                b"mp4a" => Audio::Aac,
                b"Opus" => Audio::Opus,
                b".mp3" => Audio::Mp3,
                _ => return Some(None),
            };
            (codec, first & 0xf, data)
        }
        _ => return Some(None),
    };
    let packet = match kind {
        0 => Packet::Config(data),
        1 if !data.is_empty() => Packet::Frame(0, data),
        _ => Packet::Nothing,
    };
    Some(Some((codec, packet)))
}
