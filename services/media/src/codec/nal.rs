//! NAL units in a byte stream (Annex B of H.264 and of H.265), cut anywhere.

use memchr::memmem;

use super::{h264, h265};

/// Bytes of a parameter set or of supplemental information that are kept; sets are around 50, with scaling lists
/// a few hundred. What is longer is not read.
pub(crate) const NAL_BYTES_MAX: usize = 2048;

/// Parameter sets kept at a time, all kinds together. Encoders use one of each, some a picture set per slice type.
const SETS_MAX: usize = 16;

/// Enough of a slice to see whether it is the first of its picture: the header and a bit.
const SLICE_HEAD_BYTES: usize = 3;

/// Which of the two standards a stream of NAL units follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NalCodec {
    H264,
    H265,
}

/// What a NAL unit is to somebody who does not decode it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NalKind {
    /// Part of a picture; of one where a decoder may start, if `random_access`.
    Slice { random_access: bool },
    /// A parameter set.
    Set(SetKind),
    /// Supplemental information before the picture.
    Sei,
    /// Another unit that can only stand before the first slice of an access unit.
    Opening,
    /// Anything else.
    Other,
}

/// The kinds of parameter sets, in the order in which they refer to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SetKind {
    Video,
    Sequence,
    Picture,
}

impl NalCodec {
    pub(crate) const fn header_bytes(self) -> usize {
        match self {
            Self::H264 => 1,
            Self::H265 => 2,
        }
    }

    /// What a unit with this first byte is.
    pub(crate) const fn kind(self, header: u8) -> NalKind {
        match self {
            Self::H264 => match h264::nal::kind(header) {
                h264::nal::IDR => NalKind::Slice { random_access: true },
                // Partitions B and C never hold a picture's first macroblock header.
                h264::nal::SLICE | 2 => NalKind::Slice { random_access: false },
                h264::nal::SPS => NalKind::Set(SetKind::Sequence),
                h264::nal::PPS => NalKind::Set(SetKind::Picture),
                h264::nal::SEI => NalKind::Sei,
                // Clause 7.4.1.2.3.
                h264::nal::AUD | 14..=18 => NalKind::Opening,
                _ => NalKind::Other,
            },
            Self::H265 => match h265::nal::kind(header) {
                kind @ 0..=h265::nal::VCL_MAX => {
                    NalKind::Slice { random_access: h265::nal::is_random_access(kind) }
                }
                h265::nal::VPS => NalKind::Set(SetKind::Video),
                h265::nal::SPS => NalKind::Set(SetKind::Sequence),
                h265::nal::PPS => NalKind::Set(SetKind::Picture),
                h265::nal::PREFIX_SEI => NalKind::Sei,
                // Clause 7.4.2.4.4.
                h265::nal::AUD | 41..=44 | 48..=55 => NalKind::Opening,
                _ => NalKind::Other,
            },
        }
    }

    /// Whether a slice is the first of its picture: `first_mb_in_slice` is 0, an Exp-Golomb code of one bit, or
    /// `first_slice_segment_in_pic_flag` is set.
    pub(crate) fn is_first_slice(self, nal: &[u8]) -> bool {
        nal.get(self.header_bytes()).is_some_and(|byte| byte & 0x80 != 0)
    }

    /// Bytes of a unit that are worth keeping until it can be told what it is.
    const fn wanted(self, header: u8) -> usize {
        match self.kind(header) {
            NalKind::Slice { .. } => SLICE_HEAD_BYTES,
            NalKind::Set(_) | NalKind::Sei => NAL_BYTES_MAX,
            NalKind::Opening | NalKind::Other => 1,
        }
    }

    const fn set_kinds(self) -> &'static [SetKind] {
        match self {
            Self::H264 => &[SetKind::Sequence, SetKind::Picture],
            Self::H265 => &[SetKind::Video, SetKind::Sequence, SetKind::Picture],
        }
    }

    fn set_id(self, kind: SetKind, nal: &[u8]) -> Option<u32> {
        let mut r = super::bits::BitReader::escaped(nal.get(self.header_bytes()..)?);
        match (self, kind) {
            (_, SetKind::Video) => r.bits(4),
            (_, SetKind::Picture) => r.ue(),
            (Self::H264, SetKind::Sequence) => h264::Sps::parse(nal).map(|sps| sps.id),
            (Self::H265, SetKind::Sequence) => h265::Sps::parse(nal).map(|sps| sps.id),
        }
    }
}

/// Finds the NAL units of a byte stream, and keeps of each only what is needed to know it.
#[derive(Debug)]
pub(crate) struct NalSplitter {
    codec: NalCodec,
    offset: u64,
    /// Zero bytes in a row before `offset`, at most 3.
    zeros: usize,
    /// Where the unit began that is not reported yet.
    open: Option<u64>,
    head: Vec<u8>,
}

impl NalSplitter {
    pub(crate) fn new(codec: NalCodec) -> Self {
        Self { codec, offset: 0, zeros: 0, open: None, head: Vec::new() }
    }

    /// Forgets everything but the room it has.
    pub(crate) fn reset(&mut self) {
        (self.offset, self.zeros, self.open) = (0, 0, None);
        self.head.clear();
    }

    pub(crate) fn retained(&self) -> usize {
        self.head.capacity()
    }

    /// Calls `found` once for each NAL unit: with the offset of its start code, of whose leading zeros only that of a
    /// four-byte start code counts, and with the unit: whole if it is a parameter set or SEI of less than
    /// [`NAL_BYTES_MAX`], else a few bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], mut found: impl FnMut(u64, &[u8])) {
        let mut rest = bytes;
        while let Some(end) = start_code_end(rest, self.zeros) {
            self.feed(&rest[..end - 1], Ended::Yes, &mut found);
            let four_bytes = if end >= 4 { rest[end - 4] == 0 } else { self.zeros >= 4 - end };
            self.offset += end as u64;
            self.open = Some(self.offset.saturating_sub(if four_bytes { 4 } else { 3 }));
            self.zeros = 0;
            rest = &rest[end..];
        }
        self.feed(rest, Ended::No, &mut found);
        self.offset += rest.len() as u64;
        let zeros = rest.iter().rev().take(3).take_while(|&&byte| byte == 0).count();
        self.zeros = if zeros == rest.len() { (self.zeros + zeros).min(3) } else { zeros };
    }

    fn feed(&mut self, bytes: &[u8], ended: Ended, found: &mut impl FnMut(u64, &[u8])) {
        let (Some(at), Some(&header)) = (self.open, self.head.first().or(bytes.first())) else {
            return;
        };
        let wanted = self.codec.wanted(header);
        let missing = wanted - self.head.len();
        // Two zeros of the start code that ends a unit may be in `bytes`, wherever the cuts are.
        let unit = if self.head.is_empty() && (bytes.len() >= wanted || ended == Ended::Yes) {
            &bytes[..bytes.len().min(wanted)]
        } else {
            self.head.extend_from_slice(&bytes[..bytes.len().min(missing)]);
            &self.head
        };
        if unit.len() < wanted && ended == Ended::No {
            return;
        }
        let unit = if unit.len() < wanted { trim_zeros(unit) } else { unit };
        if !unit.is_empty() {
            found(at, unit);
        }
        self.open = None;
        self.head.clear();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Yes,
    No,
}

/// Index behind the first start code that ends in `bytes`, before which there were `zeros` zero bytes.
fn start_code_end(bytes: &[u8], zeros: usize) -> Option<usize> {
    match bytes {
        [1, ..] if zeros >= 2 => Some(1),
        [0, 1, ..] if zeros >= 1 => Some(2),
        _ => memmem::find(bytes, &[0, 0, 1]).map(|at| at + 3),
    }
}

fn trim_zeros(nal: &[u8]) -> &[u8] {
    let end = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &nal[..end]
}

/// The NAL units in a whole access unit.
pub(crate) fn units(access_unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = memmem::find(access_unit, &[0, 0, 1]).map(|at| &access_unit[at + 3..]);
    std::iter::from_fn(move || {
        let unit = rest?;
        let next = memmem::find(unit, &[0, 0, 1]);
        rest = next.map(|at| &unit[at + 3..]);
        Some(trim_zeros(&unit[..next.unwrap_or(unit.len())]))
    })
    .filter(|unit| !unit.is_empty())
}

/// The parameter sets in force, at most [`SETS_MAX`] of [`NAL_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParameterSets {
    codec: NalCodec,
    /// Sorted by kind and id.
    sets: Vec<(SetKind, u32, Vec<u8>)>,
}

impl ParameterSets {
    pub(crate) fn new(codec: NalCodec) -> Self {
        Self { codec, sets: Vec::new() }
    }

    pub(crate) const fn codec(&self) -> NalCodec {
        self.codec
    }

    /// Stores a set in place of the one with its number. Says whether that changed anything.
    pub(crate) fn store(&mut self, kind: SetKind, nal: &[u8]) -> bool {
        let Some(id) = self.codec.set_id(kind, nal).filter(|_| nal.len() < NAL_BYTES_MAX) else {
            return false;
        };
        match self.sets.binary_search_by_key(&(kind, id), |(kind, id, _)| (*kind, *id)) {
            Ok(at) if self.sets[at].2 == nal => return false,
            Ok(at) => self.sets[at].2 = nal.to_vec(),
            Err(_) if self.sets.len() == SETS_MAX => return false,
            Err(at) => self.sets.insert(at, (kind, id, nal.to_vec())),
        }
        true
    }

    pub(crate) fn of_kind(&self, kind: SetKind) -> impl ExactSizeIterator<Item = &[u8]> {
        let start = self.sets.partition_point(|set| set.0 < kind);
        let end = self.sets.partition_point(|set| set.0 <= kind);
        self.sets[start..end].iter().map(|set| set.2.as_slice())
    }

    /// Whether there is one of each kind, so that a picture can be decoded.
    pub(crate) fn are_complete(&self) -> bool {
        self.codec.set_kinds().iter().all(|&kind| self.of_kind(kind).len() > 0)
    }

    /// As a byte stream.
    pub(crate) fn to_annexb(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.sets.iter().map(|set| set.2.len() + 4).sum());
        for (_, _, nal) in &self.sets {
            bytes.extend_from_slice(&[0, 0, 0, 1]);
            bytes.extend_from_slice(nal);
        }
        bytes
    }

    pub(crate) fn retained(&self) -> usize {
        self.sets.iter().map(|set| set.2.capacity()).sum()
    }
}

/// What the NAL units of an access unit before its first slice say.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    recovery_point: bool,
    sets: Vec<SetKind>,
}

impl Opening {
    pub(crate) fn clear(&mut self) {
        self.recovery_point = false;
        self.sets.clear();
    }

    pub(crate) fn note(&mut self, codec: NalCodec, nal: &[u8]) {
        match nal.first().map(|&header| codec.kind(header)) {
            // With a count above 0 the picture is whole only after so many more (clause D.2.8).
            Some(NalKind::Sei) if codec == NalCodec::H264 => {
                self.recovery_point |= h264::recovery_point(nal) == Some(0);
            }
            Some(NalKind::Set(kind)) if !self.sets.contains(&kind) => self.sets.push(kind),
            _ => {}
        }
    }

    /// Whether a decoder may start at the picture that follows, if its slices say `random_access`.
    pub(crate) fn is_key(&self, random_access: bool) -> bool {
        random_access || self.recovery_point
    }

    /// Whether the access unit brings a parameter set of each kind.
    pub(crate) fn brings_all_sets(&self, codec: NalCodec) -> bool {
        codec.set_kinds().iter().all(|kind| self.sets.contains(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(bytes: &[u8], cut: usize) -> Vec<(u64, Vec<u8>)> {
        let mut splitter = NalSplitter::new(NalCodec::H264);
        let mut found = Vec::new();
        for part in bytes.chunks(cut) {
            splitter.push(part, |at, nal| found.push((at, nal.to_vec())));
        }
        found
    }

    #[test]
    fn units_are_found_wherever_the_stream_is_cut() {
        let stream = [
            0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 0, 0, 1, 0x68, 9, 0, 0, 1, 0x65, 0x88, 7, 7, 0, 0, 3, 1, 0, 0,
            0, 1, 9,
        ];
        let expected = split(&stream, stream.len());
        assert_eq!(
            expected,
            [(0, vec![0x67, 1, 2, 3]), (9, vec![0x68, 9]), (15, vec![0x65, 0x88, 7]), (26, vec![9]),]
        );
        for cut in 1..stream.len() {
            assert_eq!(split(&stream, cut), expected, "cut {cut}");
        }
        let whole: Vec<&[u8]> = units(&stream).collect();
        assert_eq!(whole[2], [0x65, 0x88, 7, 7, 0, 0, 3, 1]);
    }

    #[test]
    fn endless_units_and_endless_sets_are_bounded() {
        let mut splitter = NalSplitter::new(NalCodec::H264);
        let mut sets = ParameterSets::new(NalCodec::H264);
        splitter.push(&[0, 0, 1, 0x68], |_, _| panic!("not whole yet"));
        let mut found = 0;
        for _ in 0..1000 {
            splitter.push(&[0xaa; 1000], |_, nal| {
                found += 1;
                assert!(!sets.store(SetKind::Picture, nal), "too long to be believed");
            });
        }
        assert_eq!(found, 1);
        assert!(splitter.retained() <= 2 * NAL_BYTES_MAX);
        for id in 0..100u8 {
            sets.store(SetKind::Picture, &[0x68, 1, 0x80 | id]);
            sets.store(SetKind::Picture, &[0x68, 0, id, 0xff, 0xff]);
        }
        assert!(sets.sets.len() <= SETS_MAX);
    }
}
