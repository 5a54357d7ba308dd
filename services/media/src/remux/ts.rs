//! MPEG-2 transport stream to samples (ISO/IEC 13818-1): the first video and the first audio of the first program.

use super::audio_frames::AudioFrames;
use super::muxer::{Expected, Muxer};
use super::pictures::Pictures;
use super::timeline::{Timeline, TrackTime};
use super::track::{ACCESS_UNIT_BYTES_MAX, VideoSample};
use crate::codec::nal;
use crate::container::mpegts::Tables;
use crate::container::mpegts::packet::{Packet, Packets};
use crate::container::mpegts::pes::{PesHeader, TIME_STAMP_BITS};
use crate::container::mpegts::psi::{Stream, StreamKind};

/// Takes a transport stream apart.
#[derive(Debug)]
pub(crate) struct Ts {
    packets: Packets,
    program: Program,
}

#[derive(Debug)]
struct Program {
    tables: Tables,
    streams: Vec<Stream>,
    timeline: Timeline,
    video: Option<Video>,
    audio: Option<Audio>,
}

#[derive(Debug)]
struct Video {
    pid: u16,
    pes: Pes,
    pictures: Pictures,
    time: TrackTime,
}

#[derive(Debug)]
struct Audio {
    pid: u16,
    pes: Pes,
    frames: AudioFrames,
    time: TrackTime,
}

impl Ts {
    pub(crate) fn new() -> Self {
        Self {
            packets: Packets::new(),
            program: Program {
                tables: Tables::new(),
                streams: Vec::new(),
                timeline: Timeline::new(1 << TIME_STAMP_BITS),
                video: None,
                audio: None,
            },
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], muxer: &mut Muxer) {
        let Self { packets, program } = self;
        packets.push(bytes, |_, packet| {
            if let Some(packet) = Packet::parse(packet) {
                program.packet(&packet, muxer);
            }
        });
    }

    /// The end of the stream is the end of its last PES packets.
    pub(crate) fn finish(&mut self, muxer: &mut Muxer) {
        let Program { timeline, video, audio, .. } = &mut self.program;
        if let Some(Audio { pes, frames, time, .. }) = audio {
            pes.finish(|header, payload| {
                frames.push(header.decoding_time(), payload, time, timeline, muxer);
            });
        }
        if let Some(Video { pes, pictures, time, .. }) = video {
            pes.finish(|header, payload| picture(header, payload, pictures, time, timeline, muxer));
        }
    }

    pub(crate) fn retained(&self) -> usize {
        let Program { tables, video, audio, .. } = &self.program;
        tables.retained()
            + video.as_ref().map_or(0, |video| video.pes.data.capacity())
            + audio.as_ref().map_or(0, |audio| audio.pes.data.capacity() + audio.frames.retained())
    }
}

impl Program {
    fn packet(&mut self, packet: &Packet<'_>, muxer: &mut Muxer) {
        let Self { tables, timeline, video, audio, .. } = self;
        if tables.own(packet) {
            if let Some(streams) = tables.push(packet)
                && streams != self.streams
            {
                self.map(streams, muxer);
            }
            return;
        }
        if let Some(video) = video.as_mut().filter(|video| video.pid == packet.pid) {
            let Video { pes, pictures, time, .. } = video;
            pes.push(packet, |header, payload| {
                picture(header, payload, pictures, time, timeline, muxer);
            });
        } else if let Some(audio) = audio.as_mut().filter(|audio| audio.pid == packet.pid) {
            let Audio { pes, frames, time, .. } = audio;
            pes.push(packet, |header, payload| {
                frames.push(header.decoding_time(), payload, time, timeline, muxer);
            });
        }
    }

    fn map(&mut self, streams: Vec<Stream>, muxer: &mut Muxer) {
        let video = streams.iter().find_map(|stream| Some((stream.pid, stream.kind.nal_codec()?)));
        let audio = streams.iter().find_map(|stream| Some((stream.pid, AudioFrames::new(stream)?)));
        let same_pid = |pid: Option<u16>, was: Option<u16>| pid.is_some() && pid == was;
        // A PMT that only adds or drops another stream must not disturb these.
        if !same_pid(video.as_ref().map(|video| video.0), self.video.as_ref().map(|video| video.pid)) {
            self.video = video.map(|(pid, codec)| Video {
                pid,
                pes: Pes::default(),
                pictures: Pictures::new(codec),
                time: TrackTime::default(),
            });
        }
        if !same_pid(audio.as_ref().map(|audio| audio.0), self.audio.as_ref().map(|audio| audio.pid)) {
            self.audio = audio.map(|(pid, frames)| Audio {
                pid,
                pes: Pes::default(),
                frames,
                time: TrackTime::default(),
            });
        }
        for stream in &streams {
            if let StreamKind::OtherVideo(name) | StreamKind::OtherAudio(name) = stream.kind {
                muxer.leave_out(|| name.to_owned());
            }
        }
        self.streams = streams;
        muxer.expect(Expected { video: self.video.is_some(), audio: self.audio.is_some() });
    }
}

fn picture(
    header: &PesHeader,
    payload: &[u8],
    pictures: &mut Pictures,
    time: &mut TrackTime,
    timeline: &mut Timeline,
    muxer: &mut Muxer,
) {
    let Some(picture) = pictures.read(nal::units(payload)) else {
        return;
    };
    if let Some(config) = pictures.take_config() {
        muxer.video_config(config);
    }
    // 2.7.4 and 2.7.5 allow pictures without time stamps; those who mux for the network give every picture one.
    let (Some(decoding), Some(presentation)) = (header.decoding_time(), header.pts) else {
        return;
    };
    let (decoding, presentation) = (decoding.cast_signed(), presentation.cast_signed());
    muxer.picture(VideoSample {
        time: timeline.place(time, decoding),
        composition_offset: timeline.composition_offset(presentation, decoding),
        is_key: picture.is_key,
        data: picture.data,
    });
}

/// Collects the PES packets of one PID.
#[derive(Debug, Default)]
struct Pes {
    /// Header and payload so far; empty while waiting for a start.
    data: Vec<u8>,
    /// Bytes of the whole, where the header tells.
    wanted: Option<usize>,
    continuity: u8,
}

impl Pes {
    fn push(&mut self, packet: &Packet<'_>, mut found: impl FnMut(&PesHeader, &[u8])) {
        if packet.payload.is_empty() {
            return;
        }
        let is_repeated = packet.continuity == self.continuity;
        let follows = packet.continuity == (self.continuity + 1) & 0xf || packet.discontinuity;
        self.continuity = packet.continuity;
        if packet.unit_start {
            // That the next begins is the only end of a packet of unknown length.
            if follows && self.wanted.is_none() {
                self.finish(&mut found);
            }
            self.data.clear();
        } else if self.data.is_empty() || is_repeated {
            return;
        } else if !follows || self.data.len() + packet.payload.len() > ACCESS_UNIT_BYTES_MAX {
            // A hole in a picture breaks it and those that refer to it. To leave it out shows the least of that.
            self.data.clear();
            return;
        }
        self.data.extend_from_slice(packet.payload);
        if packet.unit_start {
            self.wanted = PesHeader::parse(&self.data)
                .and_then(|header| Some(header.header_bytes + header.payload_bytes?));
        }
        if self.wanted.is_some_and(|wanted| self.data.len() >= wanted) {
            self.finish(&mut found);
        }
    }

    fn finish(&mut self, mut found: impl FnMut(&PesHeader, &[u8])) {
        if let Some(header) = PesHeader::parse(&self.data) {
            let end = self.wanted.unwrap_or(self.data.len()).min(self.data.len());
            if let Some(payload) = self.data.get(header.header_bytes..end) {
                found(&header, payload);
            }
        }
        self.data.clear();
    }
}
