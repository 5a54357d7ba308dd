//! A media fragment: `moof` and `mdat` (ISO/IEC 14496-12, 8.8).

use super::boxes::Boxes;
use super::init::{AUDIO_ID, VIDEO_ID};

/// One sample, as a fragment tells it.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) duration: u32,
    pub(crate) composition_offset: i32,
    pub(crate) is_key: bool,
    pub(crate) data: Vec<u8>,
}

/// The samples of one track in a fragment, the first decoded at `time`.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) time: u64,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) fn write(sequence: u32, video: Option<&Run>, audio: Option<&Run>) -> Vec<u8> {
    let runs: Vec<(u32, &Run)> =
        [(VIDEO_ID, video), (AUDIO_ID, audio)].into_iter().filter_map(|(id, run)| Some((id, run?))).collect();
    let (samples, data_bytes) = runs
        .iter()
        .flat_map(|(_, run)| &run.samples)
        .fold((0, 0), |(count, bytes), sample| (count + 1, bytes + sample.data.len()));
    let mut b = Boxes::with_capacity(256 + 16 * samples + data_bytes);
    // Where the offset of each run's data is to be filled in.
    let mut offsets = Vec::with_capacity(runs.len());
    b.boxed(b"moof", |b| {
        b.full(b"mfhd", 0, 0, |b| {
            b.u32(sequence);
        });
        for (id, run) in &runs {
            offsets.push(track_fragment(b, *id, run));
        }
    });
    let mut data_at = b.len() + 8;
    for ((_, run), offset) in runs.iter().zip(offsets) {
        b.patch(offset, data_at as u32);
        data_at += run.samples.iter().map(|sample| sample.data.len()).sum::<usize>();
    }
    b.boxed(b"mdat", |b| {
        for sample in runs.iter().flat_map(|(_, run)| &run.samples) {
            b.bytes(&sample.data);
        }
    });
    b.into_bytes()
}

/// Answers where the data offset stands.
fn track_fragment(b: &mut Boxes, id: u32, run: &Run) -> usize {
    const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
    // Data offset; then duration, size, flags and composition offset of each sample.
    const RUN_FLAGS: u32 = 0x001 | 0x100 | 0x200 | 0x400 | 0x800;
    // Table of 8.8.3.1: depends on no other sample, or depends on others and is no sync sample.
    const KEY: u32 = 0x0200_0000;
    const NOT_KEY: u32 = 0x0101_0000;
    let mut offset = 0;
    b.boxed(b"traf", |b| {
        b.full(b"tfhd", 0, DEFAULT_BASE_IS_MOOF, |b| {
            b.u32(id);
        });
        b.full(b"tfdt", 1, 0, |b| {
            b.u64(run.time);
        });
        b.full(b"trun", 1, RUN_FLAGS, |b| {
            b.u32(run.samples.len() as u32);
            offset = b.len();
            b.u32(0);
            for sample in &run.samples {
                b.u32(sample.duration).u32(sample.data.len() as u32);
                b.u32(if sample.is_key { KEY } else { NOT_KEY });
                b.u32(sample.composition_offset.cast_unsigned());
            }
        });
    });
    offset
}
