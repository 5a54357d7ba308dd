//! Program specific information: PAT and PMT (ISO/IEC 13818-1, 2.4.4).

use std::ops::Range;

use super::packet::{PACKET_BYTES, Packet};
use crate::codec::nal::NalCodec;
use crate::{Track, TrackKind};

/// Longest PAT or PMT section with its header (`section_length` is at most 1021).
const SECTION_BYTES_MAX: usize = 1024;

/// Packets that such a section can be spread over, with room for one that begins in the middle of a packet.
const SECTION_PACKETS_MAX: usize = 8;

/// Bytes of a section before and behind its body.
const HEADER_BYTES: usize = 8;
const CHECK_SUM_BYTES: usize = 4;

/// The tables that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TableId {
    ProgramAssociation = 0,
    ProgramMap = 2,
}

/// Collects the sections of one table, and keeps the packets that the last one came in.
#[derive(Debug)]
pub(crate) struct Table {
    id: TableId,
    section: Vec<u8>,
    /// `section` has been answered.
    is_read: bool,
    packets: Vec<[u8; PACKET_BYTES]>,
    last_packets: Vec<[u8; PACKET_BYTES]>,
    continuity: u8,
}

impl Table {
    pub(crate) fn new(id: TableId) -> Self {
        Self {
            id,
            section: Vec::new(),
            is_read: false,
            packets: Vec::new(),
            last_packets: Vec::new(),
            continuity: 0,
        }
    }

    /// Takes a packet of the table's PID. When it completes a section, answers its body: what stands between the
    /// header and the check sum.
    pub(crate) fn push(&mut self, packet: &Packet<'_>) -> Option<&[u8]> {
        let &pointer = packet.payload.first()?;
        let follows = packet.continuity == (self.continuity + 1) & 0xf;
        self.continuity = packet.continuity;
        if self.is_read || !packet.unit_start && !follows {
            self.clear();
        }
        if !packet.unit_start {
            if self.section.is_empty() {
                return None;
            }
            self.append(packet, packet.payload);
            return self.finish();
        }
        let (tail, start) = packet.payload[1..].split_at_checked(usize::from(pointer))?;
        if !self.section.is_empty() && follows {
            self.append(packet, tail);
            if self.is_whole() {
                // Another may begin in this packet. Tables are repeated, so that one will come again.
                return self.finish();
            }
        }
        self.clear();
        self.append(packet, start);
        self.finish()
    }

    fn append(&mut self, packet: &Packet<'_>, payload: &[u8]) {
        if self.packets.len() == SECTION_PACKETS_MAX {
            self.clear();
        } else {
            self.packets.push(*packet.bytes);
            self.section.extend_from_slice(payload);
        }
    }

    fn clear(&mut self) {
        self.section.clear();
        self.packets.clear();
        self.is_read = false;
    }

    fn is_whole(&self) -> bool {
        self.find().is_some()
    }

    /// Where in the collected bytes the first whole and valid section of this table lies.
    fn find(&self) -> Option<Range<usize>> {
        let mut start = 0;
        loop {
            let &[id, high, low] = self.section.get(start..)?.first_chunk()?;
            let end = start + 3 + (usize::from(high & 0xf) << 8 | usize::from(low));
            let section = self.section.get(start..end)?;
            let is_current = section.get(5).is_some_and(|version| version & 1 == 1);
            if id == self.id as u8
                && is_current
                && (HEADER_BYTES + CHECK_SUM_BYTES..=SECTION_BYTES_MAX).contains(&section.len())
                && crc32(section) == 0
            {
                return Some(start..end);
            }
            start = end;
        }
    }

    fn finish(&mut self) -> Option<&[u8]> {
        let section = self.find()?;
        self.is_read = true;
        std::mem::swap(&mut self.packets, &mut self.last_packets);
        self.packets.clear();
        self.section.get(section.start + HEADER_BYTES..section.end - CHECK_SUM_BYTES)
    }

    /// The packets of the last section.
    pub(crate) fn packets(&self) -> &[[u8; PACKET_BYTES]] {
        &self.last_packets
    }

    pub(crate) fn retained(&self) -> usize {
        self.section.capacity() + (self.packets.capacity() + self.last_packets.capacity()) * PACKET_BYTES
    }
}

/// PID of the PMT of the first program. Others, of a multiplex of several, are relayed but not looked at.
pub(crate) fn program_map_pid(association: &[u8]) -> Option<u16> {
    association.as_chunks().0.iter().find_map(|&[number_high, number_low, high, low]| {
        let is_network_information = number_high == 0 && number_low == 0;
        (!is_network_information).then_some(u16::from(high & 0x1f) << 8 | u16::from(low))
    })
}

/// What an elementary stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    H264,
    H265,
    /// Video whose pictures are not looked at.
    OtherVideo(&'static str),
    /// AAC with ADTS headers.
    Adts,
    Opus,
    Mp3,
    /// Audio whose frames are not looked at.
    OtherAudio(&'static str),
    Data(&'static str),
}

impl StreamKind {
    pub(crate) const fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::H265 | Self::OtherVideo(_))
    }

    pub(crate) const fn is_audio(self) -> bool {
        matches!(self, Self::Adts | Self::Opus | Self::Mp3 | Self::OtherAudio(_))
    }

    /// For video whose pictures can be looked at.
    pub(crate) const fn nal_codec(self) -> Option<NalCodec> {
        match self {
            Self::H264 => Some(NalCodec::H264),
            Self::H265 => Some(NalCodec::H265),
            _ => None,
        }
    }

    /// From `stream_type` (table 2-34, and ATSC A/53 part 3 for AC-3) and the descriptors.
    fn new(stream_type: u8, descriptors: &[u8]) -> Self {
        match stream_type {
            0x01 | 0x02 => Self::OtherVideo("mp2v"),
            0x03 | 0x04 => Self::Mp3,
            0x06 => Self::of_private_data(descriptors),
            0x0f => Self::Adts,
            0x10 => Self::OtherVideo("mp4v"),
            0x11 => Self::OtherAudio("mp4a.40"),
            0x1b => Self::H264,
            0x24 => Self::H265,
            0x33 => Self::OtherVideo("vvc1"),
            0x81 => Self::OtherAudio("ac-3"),
            0x87 => Self::OtherAudio("ec-3"),
            _ => Self::Data("data"),
        }
    }

    /// Private data says what it is in a descriptor: a registration (2.6.8), or one of DVB (EN 300 468, 6.1).
    fn of_private_data(mut descriptors: &[u8]) -> Self {
        while let Some((&[tag, length], rest)) = descriptors.split_first_chunk() {
            let body = rest.get(..usize::from(length)).unwrap_or_default();
            match (tag, body) {
                (0x05, [b'O', b'p', b'u', b's', ..]) => return Self::Opus,
                (0x05, [b'A', b'C', b'-', b'3', ..]) | (0x6a, _) => return Self::OtherAudio("ac-3"),
                (0x05, [b'E', b'A', b'C', b'3', ..]) | (0x7a, _) => return Self::OtherAudio("ec-3"),
                (0x05, [b'H', b'E', b'V', b'C', ..]) => return Self::H265,
                (0x05, [b'A', b'V', b'0', b'1', ..]) => return Self::OtherVideo("av01"),
                _ => {}
            }
            descriptors = rest.get(usize::from(length)..).unwrap_or_default();
        }
        Self::Data("data")
    }
}

/// An elementary stream as the PMT declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) pid: u16,
    pub(crate) kind: StreamKind,
    /// Channels of an Opus stream (ETSI TS 103 491 leaves the rest to its descriptor extension), else 0.
    pub(crate) channels: u8,
}

impl Stream {
    /// What is known of it before its first PES packet. The codec stays unknown where the stream will tell.
    pub(crate) fn track(&self) -> Track {
        match self.kind {
            StreamKind::H264 | StreamKind::H265 => Track::new(TrackKind::Video, ""),
            StreamKind::OtherVideo(name) => Track::new(TrackKind::Video, name),
            StreamKind::Adts => Track::new(TrackKind::Audio, ""),
            StreamKind::Opus => Track {
                sample_rate: Some(48_000),
                channels: Some(u32::from(self.channels)),
                ..Track::new(TrackKind::Audio, "opus")
            },
            StreamKind::Mp3 => Track::new(TrackKind::Audio, "mp3"),
            StreamKind::OtherAudio(name) => Track::new(TrackKind::Audio, name),
            StreamKind::Data(name) => Track::new(TrackKind::Data, name),
        }
    }
}

/// The elementary streams of a PMT; at most as many as fit a section.
pub(crate) fn streams(map: &[u8]) -> Option<Vec<Stream>> {
    let (&[_, _, high, low], rest) = map.split_first_chunk()?;
    let mut rest = rest.get(usize::from(high & 0xf) << 8 | usize::from(low)..)?;
    let mut streams = Vec::new();
    while let Some((&[stream_type, pid_high, pid_low, high, low], tail)) = rest.split_first_chunk() {
        let length = usize::from(high & 0xf) << 8 | usize::from(low);
        let descriptors = tail.get(..length)?;
        rest = &tail[length..];
        let kind = StreamKind::new(stream_type, descriptors);
        let channels = if kind == StreamKind::Opus { opus_channels(descriptors) } else { 0 };
        streams.push(Stream { pid: u16::from(pid_high & 0x1f) << 8 | u16::from(pid_low), kind, channels });
    }
    Some(streams)
}

/// `channel_config_code` of the Opus descriptor: extension descriptor 0x7f, tag 0x80.
fn opus_channels(mut descriptors: &[u8]) -> u8 {
    while let Some((&[tag, length], rest)) = descriptors.split_first_chunk() {
        match rest.get(..usize::from(length)) {
            Some([0x80, channels @ 1..=8, ..]) if tag == 0x7f => return *channels,
            Some(body) => descriptors = &rest[body.len()..],
            None => break,
        }
    }
    2
}

/// Annex A: the check sum of a whole section is 0.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04c1_1db7;
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL }
        })
    })
}
