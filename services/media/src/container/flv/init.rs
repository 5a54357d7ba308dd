//! What a decoder needs before it can start at a tag in the middle.

use bytes::{BufMut, Bytes, BytesMut};

use super::metadata::Metadata;
use super::tag::{self, Kind, Packet, Role};
use crate::container::tracks;
use crate::{Track, TrackKind};

/// File header, without what later versions may add to it.
pub(super) const FILE_HEADER_BYTES: usize = 9;

/// Largest tag body kept. Sequence headers and metadata have some hundred bytes; metadata with an index of a
/// recorded file's key frames is larger, and of no use in a live stream.
pub(super) const KEPT_BODY_BYTES_MAX: usize = 64 << 10;

/// Most tracks whose sequence headers are kept: Enhanced RTMP numbers 256, encoders send two or three.
const TRACKS_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Init {
    header: [u8; FILE_HEADER_BYTES],
    script: Vec<u8>,
    metadata: Metadata,
    streams: Vec<Stream>,
    /// The init as it is sent; empty until it is asked for, and after a change.
    bytes: Bytes,
}

/// A track, and the bodies of the tags that set up its decoder.
#[derive(Debug)]
struct Stream {
    kind: Kind,
    id: u8,
    codec: [u8; 4],
    config: Vec<u8>,
    setup: Vec<u8>,
    track: Track,
}

impl Init {
    pub(super) fn new(header: [u8; FILE_HEADER_BYTES]) -> Self {
        Self { header, ..Self::default() }
    }

    pub(super) fn set_metadata(&mut self, body: &[u8]) {
        if let Some(metadata) = Metadata::parse(body) {
            self.bytes = Bytes::new();
            self.metadata = metadata;
            self.script = body.to_vec();
        }
    }

    /// Takes notice of an audio or video tag; says whether that changed what is known of the tracks.
    /// `body` is all of it where the role is to set up a decoder.
    pub(super) fn notice(&mut self, kind: Kind, packet: &Packet, body: &[u8]) -> bool {
        let index = match self.streams.iter().position(|stream| stream.is_of(kind, packet)) {
            Some(index) => index,
            None if self.streams.len() == TRACKS_MAX => return false,
            None => self.streams.len(),
        };
        let mut is_news = false;
        match self.streams.get_mut(index) {
            Some(stream) if stream.codec == packet.codec => {}
            Some(stream) => {
                *stream = Stream::new(kind, packet);
                self.bytes = Bytes::new();
                is_news = true;
            }
            None => {
                self.streams.push(Stream::new(kind, packet));
                is_news = true;
            }
        }
        let stream = &mut self.streams[index];
        match packet.role {
            Role::Config(at) => {
                self.bytes = Bytes::new();
                stream.config = body.to_vec();
                stream.setup.clear();
                stream.track = track_of_config(packet, body.get(at..).unwrap_or_default());
                is_news = true;
            }
            Role::Setup => {
                self.bytes = Bytes::new();
                stream.setup = body.to_vec();
            }
            Role::Key | Role::Frame | Role::Other => {}
        }
        is_news
    }

    /// Forgets a sequence header that was replaced by one too large to keep.
    pub(super) fn forget(&mut self, kind: Kind, packet: &Packet) {
        self.bytes = Bytes::new();
        self.streams.retain(|stream| !stream.is_of(kind, packet));
    }

    /// Whether the decoder of this packet's track can be set up.
    pub(super) fn can_decode(&self, kind: Kind, packet: &Packet) -> bool {
        !packet.needs_config
            || self.streams.iter().any(|stream| stream.is_of(kind, packet) && !stream.config.is_empty())
    }

    /// Header, metadata and sequence headers. All are of time zero, so that the bytes are the same at every join point:
    /// nothing that has a time of its own is among them.
    pub(super) fn bytes(&mut self) -> &Bytes {
        if self.bytes.is_empty() {
            self.bytes = self.assemble();
        }
        &self.bytes
    }

    fn assemble(&self) -> Bytes {
        let bodies = || {
            let setup = self
                .streams
                .iter()
                .flat_map(|stream| [(stream.kind, &stream.config), (stream.kind, &stream.setup)]);
            std::iter::once((Kind::Script, &self.script)).chain(setup).filter(|(_, body)| !body.is_empty())
        };
        let size = bodies().map(|(_, body)| tag::HEADER_BYTES + body.len() + 4).sum::<usize>();
        let mut init = BytesMut::with_capacity(FILE_HEADER_BYTES + 4 + size);
        init.put_slice(&self.header);
        init.put_u32(0);
        for (kind, body) in bodies() {
            tag::write(&mut init, kind, 0, body);
        }
        init.freeze()
    }

    pub(super) fn tracks(&self) -> Vec<Track> {
        let size = tracks::resolution(self.metadata.width.into(), self.metadata.height.into());
        let mut tracks: Vec<Track> = self.streams.iter().map(|stream| stream.track.clone()).collect();
        // The metadata is about the one video of the stream; what the parameter sets say is more reliable.
        for track in tracks.iter_mut().filter(|track| track.kind == TrackKind::Video) {
            track.resolution = track.resolution.or(size);
        }
        tracks
    }

    pub(super) fn retained(&self) -> usize {
        let streams = self.streams.iter().map(|stream| stream.config.len() + stream.setup.len());
        self.script.len() + streams.sum::<usize>() + self.bytes.len()
    }
}

impl Stream {
    fn new(kind: Kind, packet: &Packet) -> Self {
        Self {
            kind,
            id: packet.track,
            codec: packet.codec,
            config: Vec::new(),
            setup: Vec::new(),
            track: track_of_packet(kind, packet),
        }
    }

    fn is_of(&self, kind: Kind, packet: &Packet) -> bool {
        self.kind == kind && self.id == packet.track
    }
}

fn track_of_config(packet: &Packet, record: &[u8]) -> Track {
    match &packet.codec {
        b"avc1" => tracks::h264(record, "avc1"),
        b"hvc1" => tracks::h265(record, "hvc1"),
        b"av01" => tracks::av1(record),
        b"vp09" => tracks::vp9(record),
        b"mp4a" => tracks::aac(record),
        // RFC 7845, 5.1: the identification header has the channels behind magic and version.
        b"Opus" => tracks::audio("opus", 48_000, record.get(9).copied().unwrap_or_default().into()),
        b"fLaC" => Track::new(TrackKind::Audio, "flac"),
        codec => Track::new(TrackKind::Video, String::from_utf8_lossy(codec)),
    }
}

fn track_of_packet(kind: Kind, packet: &Packet) -> Track {
    let name = String::from_utf8_lossy(&packet.codec).trim_matches(['.', ' ']).to_lowercase();
    if kind == Kind::Video {
        return Track::new(TrackKind::Video, name);
    }
    if packet.sound == 0 || packet.codec == *b"mp4a" {
        return Track::new(TrackKind::Audio, name);
    }
    let rate = match packet.sound >> 4 {
        // G.711 and the codecs whose number includes the rate.
        5 | 7 | 8 | 14 => 8_000,
        4 | 11 => 16_000,
        _ => [5_512, 11_025, 22_050, 44_100][usize::from(packet.sound >> 2 & 3)],
    };
    tracks::audio(name, rate, u32::from(packet.sound & 1) + 1)
}
