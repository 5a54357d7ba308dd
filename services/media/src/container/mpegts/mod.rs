//! MPEG-2 transport streams (ISO/IEC 13818-1).
//!
//! The init is the last PAT and PMT. A decoder may start at the packet in which the PES packet of a key picture
//! begins. Few muxers set `random_access_indicator` as the standard has it, so the picture itself is asked: its
//! first slice may come some packets later.

pub(crate) mod packet;
pub(crate) mod pes;
mod picture;
pub(crate) mod psi;

use bytes::Bytes;

use self::packet::{Packet, Packets};
use self::pes::{PesHeader, TICKS_PER_SECOND};
use self::picture::{Found, Picture};
use self::psi::{Stream, StreamKind, Table, TableId};
use super::Scan;
use crate::codec::aac::AdtsHeader;
use crate::report::Report;
use crate::{Track, TrackKind};

/// PID of the PAT.
const PAT_PID: u16 = 0;

/// Scans a transport stream.
#[derive(Debug)]
pub(crate) struct MpegTs {
    packets: Packets,
    program: Program,
}

impl MpegTs {
    pub(crate) fn new() -> Self {
        Self { packets: Packets::new(), program: Program::new() }
    }
}

impl Scan for MpegTs {
    fn push(&mut self, bytes: &[u8], report: &mut Report) {
        let Self { packets, program } = self;
        packets.push(bytes, |at, packet| {
            if let Some(packet) = Packet::parse(packet) {
                program.packet(at, &packet, report);
            }
        });
    }

    fn retained(&self) -> usize {
        self.program.tables.retained() + self.program.picture.as_ref().map_or(0, Picture::retained)
    }
}

/// The PAT, and the PMT of the first program.
#[derive(Debug)]
pub(crate) struct Tables {
    association: Table,
    map: Table,
    map_pid: Option<u16>,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            association: Table::new(TableId::ProgramAssociation),
            map: Table::new(TableId::ProgramMap),
            map_pid: None,
        }
    }

    /// Whether the packet belongs to one of the tables.
    pub(crate) fn own(&self, packet: &Packet<'_>) -> bool {
        packet.pid == PAT_PID || Some(packet.pid) == self.map_pid
    }

    /// Takes a packet of theirs; answers the streams when it completes a PMT.
    pub(crate) fn push(&mut self, packet: &Packet<'_>) -> Option<Vec<Stream>> {
        if packet.pid != PAT_PID {
            return self.map.push(packet).and_then(psi::streams);
        }
        let map_pid = self.association.push(packet).and_then(psi::program_map_pid);
        if map_pid.is_some() && map_pid != self.map_pid {
            self.map_pid = map_pid;
            self.map = Table::new(TableId::ProgramMap);
        }
        None
    }

    /// The packets of both; empty while one is missing.
    fn init(&self) -> Bytes {
        let (association, map) = (self.association.packets(), self.map.packets());
        if association.is_empty() || map.is_empty() {
            return Bytes::new();
        }
        [association.as_flattened(), map.as_flattened()].concat().into()
    }

    pub(crate) fn retained(&self) -> usize {
        self.association.retained() + self.map.retained()
    }
}

#[derive(Debug)]
struct Program {
    tables: Tables,
    streams: Vec<Stream>,
    /// One for each of `streams`.
    tracks: Vec<Track>,
    init: Bytes,
    /// PID of the stream whose pictures, or else frames, are the places to join.
    lead_pid: Option<u16>,
    picture: Option<Picture>,
}

impl Program {
    fn new() -> Self {
        Self {
            tables: Tables::new(),
            streams: Vec::new(),
            tracks: Vec::new(),
            init: Bytes::new(),
            lead_pid: None,
            picture: None,
        }
    }

    fn packet(&mut self, at: u64, packet: &Packet<'_>, report: &mut Report) {
        if self.tables.own(packet) {
            if packet.unit_start {
                report.unit(at, None);
            }
            if let Some(streams) = self.tables.push(packet) {
                self.map(streams, report);
            }
        } else if let Some(index) = self.streams.iter().position(|stream| stream.pid == packet.pid) {
            self.stream_packet(at, packet, index, report);
        }
    }

    fn map(&mut self, streams: Vec<Stream>, report: &mut Report) {
        self.init = self.tables.init();
        if streams == self.streams {
            return;
        }
        let lead = streams
            .iter()
            .find(|stream| stream.kind.is_video())
            .or_else(|| streams.iter().find(|stream| stream.kind.is_audio()));
        self.lead_pid = lead.map(|stream| stream.pid);
        self.picture = lead.and_then(|stream| Some(Picture::new(stream.kind.nal_codec()?, stream.pid)));
        self.tracks = streams.iter().map(Stream::track).collect();
        self.streams = streams;
        report.tracks(self.tracks.clone());
    }

    fn stream_packet(&mut self, at: u64, packet: &Packet<'_>, index: usize, report: &mut Report) {
        let kind = self.streams[index].kind;
        let mut payload = packet.payload;
        if packet.unit_start {
            let header = PesHeader::parse(payload);
            let ticks = header.and_then(|pes| pes.decoding_time());
            report.unit(at, ticks.map(|ticks| ticks * 1000 / TICKS_PER_SECOND));
            payload = &payload[header.map_or(0, |pes| pes.header_bytes)..];
            if kind == StreamKind::Adts {
                update(&mut self.tracks, index, adts_track(payload), report);
            }
        }
        if self.lead_pid != Some(packet.pid) {
            return;
        }
        let Some(picture) = &mut self.picture else {
            if packet.unit_start && (kind.is_audio() || packet.random_access) {
                report.join(at, &self.init);
            }
            return;
        };
        if packet.unit_start {
            picture.begin(at, packet.continuity, &self.init);
        }
        picture.push(payload, |found| match found {
            Found::Key { at, init, preamble } => report.join_with(at, &init, preamble),
            Found::Sequence(track) => update(&mut self.tracks, index, Some(track), report),
        });
    }
}

/// Tells what became known of a track, if it differs from what was.
fn update(tracks: &mut [Track], index: usize, track: Option<Track>, report: &mut Report) {
    if let Some(track) = track.filter(|track| *track != tracks[index]) {
        tracks[index] = track;
        report.tracks(tracks.to_vec());
    }
}

fn adts_track(payload: &[u8]) -> Option<Track> {
    let config = AdtsHeader::parse(payload)?.config;
    Some(Track {
        sample_rate: Some(config.sample_rate),
        channels: Some(u32::from(config.channels)).filter(|&channels| channels > 0),
        ..Track::new(TrackKind::Audio, config.codec())
    })
}
