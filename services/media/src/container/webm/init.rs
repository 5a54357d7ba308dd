//! What stands before the first cluster: which tracks there are, and what a decoder needs of it.

use bytes::{BufMut, Bytes, BytesMut};

use super::ebml::{self, children, float, text, uint};
use super::id;
use crate::container::tracks;
use crate::{Track, TrackKind};

/// A size of which all bits are set, in eight bytes: the element goes on.
const UNKNOWN_SIZE: [u8; 8] = [1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

/// Largest init kept. Real ones have some hundred bytes, with fonts or cover pictures attached some hundred
/// thousand; attachments are not kept.
pub(super) const INIT_BYTES_MAX: usize = 1 << 20;

/// Most tracks read.
const TRACKS_MAX: usize = 32;

/// Nanoseconds of a tick of the clusters' clock, where the stream does not say (RFC 9559, 5.1.2.9).
const TIMESTAMP_SCALE: u64 = 1_000_000;

/// Header, segment start, and the elements that describe the segment.
#[derive(Debug)]
pub(super) struct Init {
    bytes: Bytes,
    pub(super) timestamp_scale: u64,
    /// `None` until the tracks are known.
    pub(super) tracks: Option<Tracks>,
}

#[derive(Debug)]
pub(super) struct Tracks {
    pub(super) list: Vec<Track>,
    /// Number of the first video track.
    pub(super) video: Option<u64>,
}

impl Init {
    /// `header` is the whole EBML header element.
    pub(super) fn new(header: &[u8]) -> Self {
        Self { bytes: Bytes::copy_from_slice(header), timestamp_scale: TIMESTAMP_SCALE, tracks: None }
    }

    /// The segment never has a known size here: what follows is live.
    pub(super) fn segment(&mut self) {
        self.append(&id::SEGMENT.to_be_bytes());
        self.append(&UNKNOWN_SIZE);
    }

    /// Whether there is room for an element of this size.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        bytes <= (INIT_BYTES_MAX - self.bytes.len().min(INIT_BYTES_MAX)) as u64
    }

    /// Takes a whole element, of which the data starts at `data_at`.
    pub(super) fn element(&mut self, element_id: u32, element: &[u8], data_at: usize) {
        self.append(element);
        let data = element.get(data_at..).unwrap_or_default();
        match element_id {
            id::INFO => {
                let scale = children(data).find(|(id, _)| *id == id::TIMESTAMP_SCALE);
                self.timestamp_scale = scale.map_or(TIMESTAMP_SCALE, |(_, data)| uint(data));
            }
            id::TRACKS => self.tracks = Some(Tracks::parse(data)),
            _ => {}
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn retained(&self) -> usize {
        self.bytes.len()
    }

    /// Happens a few times per stream; the join points share the bytes afterwards.
    fn append(&mut self, more: &[u8]) {
        self.bytes = [&self.bytes, more].concat().into();
    }
}

/// The start of a cluster without end: what must stand before a block in the middle of one.
pub(super) fn cluster_start(timestamp: u64) -> Bytes {
    let mut start = BytesMut::with_capacity(22);
    start.put_u32(id::CLUSTER);
    start.put_slice(&UNKNOWN_SIZE);
    start.put_slice(&[id::TIMESTAMP as u8, 0x88]);
    start.put_u64(timestamp);
    start.freeze()
}

impl Tracks {
    fn parse(data: &[u8]) -> Self {
        let mut tracks = Self { list: Vec::new(), video: None };
        for (_, entry) in children(data).filter(|(id, _)| *id == id::TRACK_ENTRY).take(TRACKS_MAX) {
            let entry = Entry::parse(entry);
            let track = entry.track();
            if track.kind == TrackKind::Video {
                tracks.video.get_or_insert(entry.number);
            }
            tracks.list.push(track);
        }
        tracks
    }
}

/// RFC 9559, 5.1.4.1, as far as it matters here.
#[derive(Debug, Default)]
struct Entry<'a> {
    number: u64,
    kind: u64,
    codec: String,
    private: &'a [u8],
    width: u64,
    height: u64,
    /// Hertz; the specification's default is 8000.
    rate: Option<f64>,
    channels: Option<u64>,
}

impl<'a> Entry<'a> {
    fn parse(data: &'a [u8]) -> Self {
        let mut entry = Self::default();
        for (id, data) in children(data) {
            match id {
                id::TRACK_NUMBER => entry.number = uint(data),
                id::TRACK_TYPE => entry.kind = uint(data),
                id::CODEC_ID => entry.codec = text(data),
                id::CODEC_PRIVATE => entry.private = data,
                id::VIDEO | id::AUDIO => entry.settings(data),
                _ => {}
            }
        }
        entry
    }

    fn settings(&mut self, data: &[u8]) {
        for (id, data) in children(data) {
            match id {
                id::PIXEL_WIDTH => self.width = uint(data),
                id::PIXEL_HEIGHT => self.height = uint(data),
                id::SAMPLING_FREQUENCY => self.rate = Some(float(data)),
                id::CHANNELS => self.channels = Some(uint(data)),
                _ => {}
            }
        }
    }

    fn track(&self) -> Track {
        let kind = match self.kind {
            1 => TrackKind::Video,
            2 => TrackKind::Audio,
            _ => TrackKind::Data,
        };
        let mut track = match self.codec.as_str() {
            "V_VP8" => Track::new(kind, "vp8"),
            "V_VP9" => Track::new(kind, vp9(self.private)),
            "V_AV1" => tracks::av1(self.private),
            "V_MPEG4/ISO/AVC" => tracks::h264(self.private, "avc1"),
            "V_MPEGH/ISO/HEVC" => tracks::h265(self.private, "hvc1"),
            "V_MJPEG" => Track::new(kind, "mjpeg"),
            "A_OPUS" => Track::new(kind, "opus"),
            "A_VORBIS" => Track::new(kind, "vorbis"),
            "A_FLAC" => Track::new(kind, "flac"),
            "A_MPEG/L3" => Track::new(kind, "mp3"),
            "A_AAC" => tracks::aac(self.private),
            codec => Track::new(kind, codec),
        };
        track.kind = kind;
        match kind {
            TrackKind::Video => {
                track.resolution = tracks::resolution(self.width, self.height).or(track.resolution);
            }
            TrackKind::Audio => {
                // A cast from float saturates, and makes zero of what is not a number.
                let rate = self.rate.unwrap_or(8_000.0) as u32;
                track.sample_rate = track.sample_rate.or((rate > 0).then_some(rate));
                let channels = u32::try_from(self.channels.unwrap_or(1)).ok();
                track.channels = track.channels.or(channels.filter(|channels| *channels > 0));
            }
            TrackKind::Data => {}
        }
        track
    }
}

/// "VP9 Codec Feature Metadata" of the WebM container guidelines: triples of id, length and value. Without it the
/// level is not known, and with it the codec string: the frames do not tell it.
fn vp9(private: &[u8]) -> String {
    let mut values = [None; 5];
    let mut rest = private;
    while let &[feature, 1, value, ..] = rest {
        if let Some(slot) = values.get_mut(usize::from(feature)) {
            *slot = Some(value);
        }
        rest = &rest[3..];
    }
    match values {
        [_, Some(profile), Some(level), depth, _] => {
            format!("vp09.{profile:02}.{level:02}.{:02}", depth.unwrap_or(8))
        }
        _ => "vp9".to_owned(),
    }
}

/// Whether this element is kept for those who join later. Not kept: what tells places in the segment (SeekHead,
/// Cues), which are not the places in what the joined decoder gets, and what is not needed to play.
pub(super) fn is_kept(element_id: u32) -> bool {
    matches!(element_id, id::INFO | id::TRACKS | id::TAGS)
}

/// Whether a header element can be kept, and how large it is with its own header.
pub(super) fn whole(header: &ebml::Header) -> Option<u64> {
    header.size?.checked_add(header.bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp9_is_named_in_full_where_the_stream_tells() {
        assert_eq!(vp9(&[1, 1, 2, 2, 1, 31, 3, 1, 10, 4, 1, 1]), "vp09.02.31.10");
        assert_eq!(vp9(&[1, 1, 0, 2, 1, 31]), "vp09.00.31.08");
        assert_eq!(vp9(&[]), "vp9");
    }
}
