//! H.264 and H.265 byte streams: pictures without a container (Annex B of both standards).
//!
//! A decoder may start at the access unit of a key picture, with the parameter sets before it. There is no time
//! in such a stream, and no end of a picture but the beginning of the next.

use bytes::Bytes;

use super::Scan;
use crate::codec::nal::{NalCodec, NalKind, NalSplitter, Opening, ParameterSets, SetKind};
use crate::codec::{h264, h265};
use crate::report::Report;
use crate::{Track, TrackKind};

/// Scans a byte stream.
#[derive(Debug)]
pub(crate) struct AnnexB {
    codec: NalCodec,
    units: AccessUnits,
}

impl AnnexB {
    pub(crate) fn new(codec: NalCodec) -> Self {
        Self { codec, units: AccessUnits::new(codec) }
    }
}

impl Scan for AnnexB {
    fn push(&mut self, bytes: &[u8], report: &mut Report) {
        let codec = self.codec;
        self.units.push(bytes, |found| match found {
            Found::Unit { at } => report.unit(at, None),
            Found::Key { at, init } => report.join(at, &init),
            Found::Sequence(nal) => report.tracks(video_track(codec, nal).into_iter().collect()),
        });
    }

    fn retained(&self) -> usize {
        self.units.retained()
    }
}

/// What a sequence parameter set says of its track.
pub(crate) fn video_track(codec: NalCodec, sps: &[u8]) -> Option<Track> {
    let (codec, width, height) = match codec {
        NalCodec::H264 => h264::Sps::parse(sps).map(|sps| (sps.codec(), sps.width, sps.height))?,
        NalCodec::H265 => h265::Sps::parse(sps).map(|sps| (sps.codec(), sps.width, sps.height))?,
    };
    Some(Track { resolution: Some((width, height)), ..Track::new(TrackKind::Video, codec) })
}

/// What [`AccessUnits`] found.
pub(crate) enum Found<'a> {
    /// An access unit starts here.
    Unit { at: u64 },
    /// The access unit at this offset can be decoded without those before it, after `init`.
    Key { at: u64, init: Bytes },
    /// A sequence parameter set that differs from the last.
    Sequence(&'a [u8]),
}

/// Finds the borders between access units (H.264 clause 7.4.1.2.3, H.265 clause 7.4.2.4.4).
///
/// A picture begins at the slice with its first macroblock or block, so a stream with arbitrary slice order, of
/// the Baseline profile of old video telephones, is seen in more access units than it has.
#[derive(Debug)]
pub(crate) struct AccessUnits {
    nals: NalSplitter,
    state: State,
}

#[derive(Debug)]
struct State {
    codec: NalCodec,
    sets: ParameterSets,
    opening: Opening,
    phase: Phase,
}

/// Where in an access unit the stream is.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Before the first access unit, or within or behind a picture.
    Picture,
    /// Before the first slice of the access unit that starts at this offset.
    Opening { at: u64 },
}

impl AccessUnits {
    pub(crate) fn new(codec: NalCodec) -> Self {
        Self {
            nals: NalSplitter::new(codec),
            state: State {
                codec,
                sets: ParameterSets::new(codec),
                opening: Opening::default(),
                phase: Phase::Picture,
            },
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], mut found: impl FnMut(Found<'_>)) {
        let Self { nals, state } = self;
        nals.push(bytes, |at, nal| state.nal(at, nal, &mut found));
    }

    pub(crate) fn retained(&self) -> usize {
        self.nals.retained() + self.state.sets.retained()
    }
}

impl State {
    fn nal(&mut self, at: u64, nal: &[u8], found: &mut impl FnMut(Found<'_>)) {
        match self.codec.kind(nal[0]) {
            NalKind::Other => {}
            NalKind::Slice { random_access } => {
                if !self.codec.is_first_slice(nal) {
                    return;
                }
                let at = self.begin(at, found);
                self.phase = Phase::Picture;
                if self.opening.is_key(random_access) && self.sets.are_complete() {
                    let init = if self.opening.brings_all_sets(self.codec) {
                        Bytes::new()
                    } else {
                        self.sets.to_annexb().into()
                    };
                    found(Found::Key { at, init });
                }
            }
            kind => {
                self.begin(at, found);
                self.opening.note(self.codec, nal);
                if let NalKind::Set(set) = kind
                    && self.sets.store(set, nal)
                    && set == SetKind::Sequence
                {
                    found(Found::Sequence(nal));
                }
            }
        }
    }

    /// Makes sure that an access unit is open, and says where it starts.
    fn begin(&mut self, at: u64, found: &mut impl FnMut(Found<'_>)) -> u64 {
        match self.phase {
            Phase::Opening { at } => at,
            Phase::Picture => {
                self.opening.clear();
                self.phase = Phase::Opening { at };
                found(Found::Unit { at });
                at
            }
        }
    }
}
