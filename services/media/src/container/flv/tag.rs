//! What the first bytes of a tag say: FLV specification 10.1, annex E.4; Enhanced RTMP v2, "Enhanced Audio" and
//! "Enhanced Video".

use bytes::{BufMut, BytesMut};

/// A tag header, up to and without the body.
pub(super) const HEADER_BYTES: usize = 11;

/// Bytes of a body that tell its role. More is only needed by a tag with longer `ModEx` data than anyone defined.
pub(super) const ROLE_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Audio,
    Video,
    Script,
    /// Nothing that a decoder needs, or encrypted.
    Other,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) body_bytes: usize,
    pub(super) time_ms: u32,
}

impl Header {
    /// `None` when this cannot be a tag.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[kind, size @ .., t2, t1, t0, t3, _, _, _] = bytes.first_chunk::<HEADER_BYTES>()?;
        let [s2, s1, s0] = size;
        // Two reserved bits, the filter bit (encryption), and five bits of type.
        let kind = match (kind >> 6, kind & 0x3F) {
            (0, 8) => Kind::Audio,
            (0, 9) => Kind::Video,
            (0, 18) => Kind::Script,
            (0, _) => Kind::Other,
            _ => return None,
        };
        Some(Self {
            kind,
            body_bytes: u32::from_be_bytes([0, s2, s1, s0]) as usize,
            time_ms: u32::from_be_bytes([t3, t2, t1, t0]),
        })
    }
}

/// What an audio or video tag is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A sequence header; the configuration record starts at this byte of the body.
    Config(usize),
    /// What a decoder needs beside the sequence header, but no record that tells more about the codec.
    Setup,
    /// Coded frames that a decoder may start with.
    Key,
    /// Coded frames.
    Frame,
    /// End of sequence, seek commands.
    Other,
}

/// The first bytes of an audio or video body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    /// A FourCC of Enhanced RTMP, also for what the older specification numbers.
    pub(super) codec: [u8; 4],
    /// Whether frames cannot be decoded without a sequence header.
    pub(super) needs_config: bool,
    /// 0 unless the stream has several tracks of a kind; then 0 is the one to play.
    pub(super) track: u8,
    pub(super) role: Role,
    /// The byte that tells rate and channels of the older audio codecs, 0 for the others.
    pub(super) sound: u8,
}

impl Packet {
    /// `None` when the body is too short to tell.
    pub(super) fn of(kind: Kind, body: &[u8]) -> Option<Self> {
        match kind {
            Kind::Video => Self::video(body),
            Kind::Audio => Self::audio(body),
            Kind::Script | Kind::Other => None,
        }
    }

    /// Whether a decoder needs all of the tag before the first frame.
    pub(super) fn sets_up(&self) -> bool {
        matches!(self.role, Role::Config(_) | Role::Setup)
    }

    fn video(body: &[u8]) -> Option<Self> {
        let first = *body.first()?;
        if first & 0x80 != 0 {
            let enhanced = Enhanced::parse(body, 6)?;
            let role = match enhanced.kind {
                0 => Role::Config(enhanced.data_at),
                // CodedFrames, and the same without a composition time.
                1 | 3 => frame_role(first >> 4 & 7),
                // MPEG2TSSequenceStart: AV1 configuration as in a transport stream.
                5 => Role::Setup,
                _ => Role::Other,
            };
            // Key frames of the others bring what a decoder needs.
            let needs_config = matches!(&enhanced.codec, b"avc1" | b"hvc1" | b"vvc1");
            return Some(enhanced.packet(role, needs_config));
        }
        // Numbers 12 and 13 were never specified; encoders sent them before there was Enhanced RTMP.
        let (codec, needs_config) = match first & 0x0F {
            7 => (*b"avc1", true),
            12 => (*b"hvc1", true),
            13 => (*b"av01", true),
            2 => (*b"flv1", false),
            4 => (*b"vp6f", false),
            5 => (*b"vp6a", false),
            _ => (*b"fsv1", false),
        };
        let role = match body.get(1) {
            _ if !needs_config => frame_role(first >> 4),
            Some(0) => Role::Config(5),
            Some(1) => frame_role(first >> 4),
            _ => Role::Other,
        };
        Some(Self { codec, needs_config, track: 0, role, sound: 0 })
    }

    fn audio(body: &[u8]) -> Option<Self> {
        let first = *body.first()?;
        if first >> 4 == 9 {
            let enhanced = Enhanced::parse(body, 5)?;
            let role = match enhanced.kind {
                0 => Role::Config(enhanced.data_at),
                1 => Role::Frame,
                // MultichannelConfig.
                4 => Role::Setup,
                _ => Role::Other,
            };
            let needs_config = matches!(&enhanced.codec, b"mp4a" | b"Opus" | b"fLaC");
            return Some(enhanced.packet(role, needs_config));
        }
        let codec = match first >> 4 {
            10 => *b"mp4a",
            2 | 14 => *b".mp3",
            7 => *b"alaw",
            8 => *b"ulaw",
            11 => *b"spex",
            4..=6 => *b"nell",
            1 => *b"swfa",
            _ => *b"lpcm",
        };
        let aac = codec == *b"mp4a";
        let role = if aac && body.get(1) == Some(&0) { Role::Config(2) } else { Role::Frame };
        Some(Self { codec, needs_config: aac, track: 0, role, sound: first })
    }
}

/// By the frame type: 5 is a command to the player.
fn frame_role(frame_type: u8) -> Role {
    match frame_type {
        1 => Role::Key,
        5 => Role::Other,
        _ => Role::Frame,
    }
}

/// What precedes the data of the first track in a tag of Enhanced RTMP.
#[derive(Debug, Clone, Copy)]
struct Enhanced {
    /// Packet type, which counts differently for audio and video.
    kind: u8,
    codec: [u8; 4],
    track: u8,
    data_at: usize,
}

impl Enhanced {
    /// `multitrack` is the packet type that says that there are several tracks.
    fn parse(body: &[u8], multitrack: u8) -> Option<Self> {
        /// Modifiers precede the packet type, each of them behind its size.
        const MOD_EX: u8 = 7;
        let mut kind = body.first()? & 0x0F;
        let mut at = 1;
        while kind == MOD_EX {
            let mut size = usize::from(*body.get(at)?) + 1;
            at += 1;
            if size == 256 {
                size = usize::from(u16::from_be_bytes(*body.get(at..)?.first_chunk()?)) + 1;
                at += 2;
            }
            kind = body.get(at + size)? & 0x0F;
            at += size + 1;
        }
        let codec_at = |at: usize| body.get(at..)?.first_chunk::<4>().copied();
        if kind != multitrack {
            return Some(Self { kind, codec: codec_at(at)?, track: 0, data_at: at + 4 });
        }
        let layout = *body.get(at)?;
        // 0: one track; 1: many, of one codec; 2: many, each with its codec. With many, each has its size, too.
        let data_at = at + if layout >> 4 == 0 { 6 } else { 9 };
        Some(Self { kind: layout & 0x0F, codec: codec_at(at + 1)?, track: *body.get(at + 5)?, data_at })
    }

    fn packet(self, role: Role, needs_config: bool) -> Packet {
        Packet { codec: self.codec, needs_config, track: self.track, role, sound: 0 }
    }
}

/// Appends a tag and the size that follows it.
pub(super) fn write(to: &mut BytesMut, kind: Kind, time_ms: u32, body: &[u8]) {
    let kind = match kind {
        Kind::Audio => 8,
        Kind::Video => 9,
        Kind::Script | Kind::Other => 18,
    };
    let [t3, t2, t1, t0] = time_ms.to_be_bytes();
    to.put_u8(kind);
    to.put_uint(body.len() as u64, 3);
    to.put_slice(&[t2, t1, t0, t3, 0, 0, 0]);
    to.put_slice(body);
    to.put_u32((HEADER_BYTES + body.len()) as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_has_its_high_byte_last() {
        let header = Header::parse(&[9, 0, 1, 2, 0x22, 0x33, 0x44, 0x11, 0, 0, 0]).unwrap();
        assert_eq!((header.kind, header.body_bytes, header.time_ms), (Kind::Video, 0x102, 0x1122_3344));
        assert!(Header::parse(b"FLV\x01\x05\0\0\0\x09\0\0").is_none());
    }

    #[test]
    fn roles_of_the_numbered_codecs() {
        let video = |body: &[u8]| Packet::video(body).map(|packet| (packet.codec, packet.role)).unwrap();
        assert_eq!(video(&[0x17, 0, 0, 0, 0, 1]), (*b"avc1", Role::Config(5)));
        assert_eq!(video(&[0x17, 1, 0, 0, 0, 1]), (*b"avc1", Role::Key));
        assert_eq!(video(&[0x27, 1, 0, 0, 0, 1]), (*b"avc1", Role::Frame));
        assert_eq!(video(&[0x17, 2, 0, 0, 0]), (*b"avc1", Role::Other));
        assert_eq!(video(&[0x12, 0, 0]), (*b"flv1", Role::Key));
        let aac = Packet::audio(&[0xAF, 0, 0x12, 0x10]).unwrap();
        assert_eq!((aac.codec, aac.role), (*b"mp4a", Role::Config(2)));
        assert_eq!(Packet::audio(&[0x2F, 0xFF]).unwrap().codec, *b".mp3");
    }

    #[test]
    fn roles_of_the_named_codecs() {
        let video = |body: &[u8]| {
            let packet = Packet::video(body).unwrap();
            (packet.codec, packet.track, packet.role)
        };
        assert_eq!(video(b"\x90hvc1\x01"), (*b"hvc1", 0, Role::Config(5)));
        assert_eq!(video(b"\x91hvc1\0\0\0"), (*b"hvc1", 0, Role::Key));
        assert_eq!(video(b"\x93av01"), (*b"av01", 0, Role::Key));
        assert_eq!(video(b"\xA3vp09"), (*b"vp09", 0, Role::Frame));
        // ModEx with three bytes of data, of a nanosecond offset, then the real packet type.
        assert_eq!(video(b"\xA7\x02\0\0\x01\x01avc1"), (*b"avc1", 0, Role::Frame));
        // Multitrack: one track, number 3; many tracks, the first is 0.
        assert_eq!(video(b"\x96\x00avc1\x03\x01"), (*b"avc1", 3, Role::Config(7)));
        assert_eq!(video(b"\x96\x11avc1\x00\0\0\x09"), (*b"avc1", 0, Role::Key));
        let opus = Packet::audio(b"\x90OpusOpusHead").unwrap();
        assert_eq!((opus.codec, opus.role), (*b"Opus", Role::Config(5)));
    }
}
