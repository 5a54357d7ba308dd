//! Whether the PES packet that just began holds a key picture.

use bytes::Bytes;

use super::packet::PACKET_BYTES;
use crate::Track;
use crate::codec::nal::{NalCodec, NalKind, NalSplitter, Opening, ParameterSets, SetKind};
use crate::container::annexb::video_track;

/// PES packets that one access unit may be spread over before its first slice: some muxers give each parameter
/// set a packet of its own.
const OPENING_PACKETS_MAX: u32 = 5;

/// Looks at the beginning of each access unit, up to its first slice.
#[derive(Debug)]
pub(crate) struct Picture {
    codec: NalCodec,
    pid: u16,
    nals: NalSplitter,
    sets: ParameterSets,
    opening: Opening,
    /// PES packets of this access unit so far; 0 once its first slice was seen.
    packets: u32,
    start: Start,
}

/// Where the access unit began.
#[derive(Debug, Default)]
struct Start {
    at: u64,
    continuity: u8,
    /// The tables as they stood then.
    init: Bytes,
}

/// What a [`Picture`] found.
pub(crate) enum Found {
    /// A decoder may start at this offset.
    Key { at: u64, init: Bytes, preamble: Bytes },
    /// A parameter set told what the track is.
    Sequence(Track),
}

impl Picture {
    pub(crate) fn new(codec: NalCodec, pid: u16) -> Self {
        Self {
            codec,
            pid,
            nals: NalSplitter::new(codec),
            sets: ParameterSets::new(codec),
            opening: Opening::default(),
            packets: 0,
            start: Start::default(),
        }
    }

    /// A PES packet begins.
    pub(crate) fn begin(&mut self, at: u64, continuity: u8, init: &Bytes) {
        self.packets += 1;
        if self.packets == 1 || self.packets > OPENING_PACKETS_MAX {
            self.packets = 1;
            self.nals.reset();
            self.opening.clear();
            self.start = Start { at, continuity, init: init.clone() };
        }
    }

    /// The next bytes of its payload.
    pub(crate) fn push(&mut self, payload: &[u8], mut found: impl FnMut(Found)) {
        if self.packets == 0 {
            return;
        }
        let Self { codec, pid, nals, sets, opening, packets, start } = self;
        nals.push(payload, |_, nal| match codec.kind(nal[0]) {
            _ if *packets == 0 => {}
            NalKind::Slice { random_access } => {
                *packets = 0;
                if codec.is_first_slice(nal) && opening.is_key(random_access) && sets.are_complete() {
                    let preamble = if opening.brings_all_sets(*codec) {
                        Bytes::new()
                    } else {
                        start.set_packets(*pid, sets)
                    };
                    found(Found::Key { at: start.at, init: start.init.clone(), preamble });
                }
            }
            kind => {
                opening.note(*codec, nal);
                if let NalKind::Set(set) = kind
                    && sets.store(set, nal)
                    && set == SetKind::Sequence
                    && let Some(track) = video_track(*codec, nal)
                {
                    found(Found::Sequence(track));
                }
            }
        });
    }

    pub(crate) fn retained(&self) -> usize {
        self.nals.retained() + self.sets.retained() + self.start.init.len()
    }
}

impl Start {
    /// The parameter sets for an access unit that lacks them: streams that repeat them with each key picture are the
    /// rule, and a decoder that starts at one without would show nothing.
    fn set_packets(&self, pid: u16, sets: &mut ParameterSets) -> Bytes {
        // A PES packet of unknown length and without time: the sets belong to the picture that follows.
        let mut pes = vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0];
        pes.extend_from_slice(&sets.to_annexb());
        let mut preamble = Vec::new();
        let packets = pes.chunks(PACKET_BYTES - 4);
        let mut continuity = self.continuity.wrapping_sub(packets.len() as u8);
        for (index, payload) in packets.enumerate() {
            push_packet(&mut preamble, pid, index == 0, continuity & 0xf, payload);
            continuity = continuity.wrapping_add(1);
        }
        preamble.into()
    }
}

/// Appends a packet, filled up by an adaptation field that says nothing (2.4.3.4).
fn push_packet(to: &mut Vec<u8>, pid: u16, unit_start: bool, continuity: u8, payload: &[u8]) {
    let [pid_high, pid_low] = pid.to_be_bytes();
    let stuffing = PACKET_BYTES - 4 - payload.len();
    let adaptation = if stuffing > 0 { 0x30 } else { 0x10 };
    to.extend_from_slice(&[0x47, u8::from(unit_start) << 6 | pid_high, pid_low, adaptation | continuity]);
    if stuffing > 0 {
        to.push((stuffing - 1) as u8);
    }
    if stuffing > 1 {
        to.push(0);
        to.resize(to.len() + stuffing - 2, 0xff);
    }
    to.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::mpegts::packet::Packet;

    #[test]
    fn packets_are_filled_up_whatever_their_payload() {
        for length in 1..=184 {
            let mut bytes = Vec::new();
            push_packet(&mut bytes, 0x100, true, 7, &vec![9; length]);
            let packet = Packet::parse(bytes.first_chunk().unwrap()).unwrap();
            assert_eq!((bytes.len(), packet.payload.len()), (PACKET_BYTES, length));
            assert_eq!((packet.pid, packet.continuity), (0x100, 7));
        }
    }
}
