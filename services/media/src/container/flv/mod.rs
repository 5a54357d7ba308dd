//! FLV (FLV specification 10.1, annex E) with the codecs of Enhanced RTMP v2.
//!
//! A decoder joins at a video key frame, behind an init of file header, metadata and the latest sequence
//! headers. Where there is no video, every audio tag will do.

mod init;
mod metadata;
mod tag;

use self::init::{FILE_HEADER_BYTES, Init, KEPT_BODY_BYTES_MAX};
use self::tag::{HEADER_BYTES, Header, Kind, Packet, ROLE_BYTES_MAX, Role};
use super::Scan;
use super::assembler::Assembler;
use crate::report::Report;

/// Audio tags without a video tag among them, after which a stream that announced video is taken not to have it:
/// some encoders announce it always. About two seconds of AAC.
const AUDIO_TAGS_BEFORE_VIDEO: u32 = 100;

#[derive(Debug, Default)]
pub(super) struct Flv {
    bytes: Assembler,
    next: Next,
    body: Body,
}

#[derive(Debug, Default, Clone, Copy)]
enum Next {
    #[default]
    FileHeader,
    Tag,
    /// Not a tag where one had to be: there is no way back into step.
    Lost,
}

/// What the tags said so far.
#[derive(Debug, Default)]
struct Body {
    init: Init,
    /// Audio tags that are no join points, because a video tag may come yet.
    audio_tags_to_wait: u32,
    has_video: bool,
}

impl Scan for Flv {
    fn push(&mut self, mut input: &[u8], report: &mut Report) {
        while self.step(&mut input, report).is_some() {}
    }

    fn retained(&self) -> usize {
        self.bytes.retained() + self.body.init.retained()
    }
}

impl Flv {
    /// `None` when it takes more bytes to go on.
    fn step(&mut self, input: &mut &[u8], report: &mut Report) -> Option<()> {
        match self.next {
            Next::FileHeader => self.file_header(input),
            Next::Tag => self.tag(input, report),
            Next::Lost => None,
        }
    }

    fn file_header(&mut self, input: &mut &[u8]) -> Option<()> {
        let header = *self.bytes.peek(input, FILE_HEADER_BYTES)?.first_chunk::<FILE_HEADER_BYTES>()?;
        let [b'F', b'L', b'V', _, _, size @ ..] = header else {
            self.next = Next::Lost;
            return Some(());
        };
        let mut kept = header;
        kept[5..].copy_from_slice(&(FILE_HEADER_BYTES as u32).to_be_bytes());
        let announces_video = header[4] & 1 != 0;
        self.body = Body {
            init: Init::new(kept),
            audio_tags_to_wait: if announces_video { AUDIO_TAGS_BEFORE_VIDEO } else { 0 },
            has_video: false,
        };
        self.next = Next::Tag;
        // The size of the tag before the first, which is there and zero.
        self.bytes.consume(input, u64::from(u32::from_be_bytes(size)) + 4);
        Some(())
    }

    fn tag(&mut self, input: &mut &[u8], report: &mut Report) -> Option<()> {
        let header = self.bytes.peek(input, HEADER_BYTES)?;
        let Some(header) = Header::parse(header) else {
            // An encoder that starts over within its connection.
            let again = self.bytes.peek(input, HEADER_BYTES)?.starts_with(b"FLV");
            self.next = if again { Next::FileHeader } else { Next::Lost };
            return Some(());
        };
        let at = self.bytes.at();
        let kept = header.body_bytes <= KEPT_BODY_BYTES_MAX;
        match header.kind {
            Kind::Script if kept => {
                let tag = self.bytes.peek(input, HEADER_BYTES + header.body_bytes)?;
                self.body.init.set_metadata(&tag[HEADER_BYTES..]);
                report.unit(at, Some(header.time_ms.into()));
                report.tracks(self.body.init.tracks());
            }
            Kind::Audio | Kind::Video => {
                let head = HEADER_BYTES + header.body_bytes.min(ROLE_BYTES_MAX);
                let mut tag = self.bytes.peek(input, head)?;
                let packet = Packet::of(header.kind, &tag[HEADER_BYTES..]);
                if kept && packet.is_some_and(|packet| packet.sets_up()) {
                    tag = self.bytes.peek(input, HEADER_BYTES + header.body_bytes)?;
                }
                report.unit(at, Some(header.time_ms.into()));
                if let Some(packet) = packet {
                    self.body.packet(at, &header, &packet, &tag[HEADER_BYTES..], report);
                }
            }
            Kind::Script | Kind::Other => report.unit(at, Some(header.time_ms.into())),
        }
        self.bytes.consume(input, (HEADER_BYTES + header.body_bytes + 4) as u64);
        Some(())
    }
}

impl Body {
    /// `body` is whole where the packet sets up a decoder, unless that is too large to keep.
    fn packet(&mut self, at: u64, header: &Header, packet: &Packet, body: &[u8], report: &mut Report) {
        if packet.sets_up() && body.len() < header.body_bytes {
            self.init.forget(header.kind, packet);
            return;
        }
        if self.init.notice(header.kind, packet, body) {
            report.tracks(self.init.tracks());
        }
        let joins = match (header.kind, packet.role) {
            (Kind::Video, Role::Key | Role::Frame) => {
                self.has_video = true;
                packet.role == Role::Key && packet.track == 0
            }
            (Kind::Audio, Role::Frame) if !self.has_video => {
                let waits = self.audio_tags_to_wait > 0;
                self.audio_tags_to_wait = self.audio_tags_to_wait.saturating_sub(1);
                !waits
            }
            _ => false,
        };
        if joins && self.init.can_decode(header.kind, packet) {
            report.join(at, self.init.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Container, Event, Join, Scanner};

    const HEADER: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

    fn tag(kind: Kind, time_ms: u32, body: &[u8]) -> Vec<u8> {
        let mut tag = bytes::BytesMut::new();
        tag::write(&mut tag, kind, time_ms, body);
        tag.to_vec()
    }

    /// Real join points, without that at the start of the stream.
    fn joins(stream: &[u8]) -> Vec<Join> {
        let mut events = Vec::new();
        Scanner::for_container(Container::Flv).push(stream, &mut events);
        let join = |event| match event {
            Event::Join(join) => Some(join),
            _ => None,
        };
        events.into_iter().filter_map(join).skip(1).collect()
    }

    #[test]
    fn the_init_has_no_time_and_holds_the_latest_sequence_headers() {
        let video = |body: &[u8]| tag(Kind::Video, 0, body);
        let old = video(b"\x90hvc1old");
        let new = tag(Kind::Video, 40, b"\x90hvc1new");
        let audio = tag(Kind::Audio, 0, b"\x90OpusOpusHead\x01\x02");
        let key = tag(Kind::Video, 0x0123_4567, b"\x91hvc1\0\0\0frame");
        let stream = [HEADER, &old, &audio, &new, &key].concat();
        let init = [HEADER, &tag(Kind::Video, 0, b"\x90hvc1new"), &audio].concat();
        let at = (stream.len() - key.len()) as u64;
        assert_eq!(joins(&stream), [Join { at, init: init.into(), preamble: Bytes::new() }]);
    }

    #[test]
    fn a_key_frame_without_its_sequence_header_is_no_join_point() {
        let config = tag(Kind::Video, 0, b"\x90avc1config");
        let key = tag(Kind::Video, 0, b"\x91avc1\0\0\0frame");
        assert_eq!(joins(&[HEADER, &key].concat()), []);
        assert_eq!(joins(&[HEADER, &config, &key].concat()).len(), 1);
        let too_large = [&b"\x90avc1"[..], &vec![0; KEPT_BODY_BYTES_MAX]].concat();
        let stream = [HEADER, &config, &tag(Kind::Video, 0, &too_large), &key].concat();
        assert_eq!(joins(&stream), []);
    }

    #[test]
    fn audio_is_joined_only_where_there_is_no_video() {
        let audio = tag(Kind::Audio, 0, &[0x2F, 0xFF, 0xFB]);
        let video = tag(Kind::Video, 0, &[0x22, 0, 0]);
        let until_given_up = audio.repeat(AUDIO_TAGS_BEFORE_VIDEO as usize);
        assert_eq!(joins(&[HEADER, &until_given_up].concat()), []);
        assert_eq!(joins(&[HEADER, &until_given_up, &audio].concat()).len(), 1);
        assert_eq!(joins(&[HEADER, &until_given_up, &video, &audio].concat()), []);
        let announced = b"FLV\x01\x04\0\0\0\x09\0\0\0\0";
        assert_eq!(joins(&[&announced[..], &audio].concat()).len(), 1);
    }

    #[test]
    fn an_encoder_may_start_over() {
        let key = tag(Kind::Video, 0, &[0x12, 0, 0]);
        let stream = [HEADER, &key, HEADER, &key].concat();
        let at: Vec<u64> = joins(&stream).iter().map(|join| join.at).collect();
        assert_eq!(at, [13, (key.len() + 26) as u64]);
    }
}
