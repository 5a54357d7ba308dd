//! A movie fragment (ISO/IEC 14496-12, 8.8): when it starts, and whether a decoder can start with it.

use super::boxes::{Fields, child, children};
use super::movie::Movie;

/// What matters of a `moof`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) time_ms: Option<u64>,
    pub(super) joins: bool,
}

impl Fragment {
    /// `content` is that of the `moof` box.
    pub(super) fn parse(content: &[u8], movie: &Movie) -> Self {
        let mut first = None;
        let mut video = None;
        let mut is_movable = !movie.has_samples;
        for (_, traf) in children(content).filter(|(kind, _)| kind == b"traf") {
            let Some(traf) = Traf::parse(traf, movie) else { continue };
            // Places counted from the start of the stream are wrong for whoever joins it later; in a stream that
            // is fit for that they count from the fragment.
            is_movable &= !traf.is_absolute;
            first.get_or_insert(traf);
            if movie.video == Some(traf.track) {
                video.get_or_insert(traf);
            }
        }
        let Some(first) = first else { return Self { time_ms: None, joins: false } };
        let is_sync = movie.video.is_none() || video.is_some_and(|traf| traf.is_sync == Some(true));
        Self { time_ms: video.unwrap_or(first).time_ms, joins: is_movable && is_sync }
    }
}

/// What matters of a track fragment.
#[derive(Debug, Clone, Copy)]
struct Traf {
    track: u32,
    time_ms: Option<u64>,
    is_absolute: bool,
    /// Of its first sample; `None` if it has none.
    is_sync: Option<bool>,
}

impl Traf {
    fn parse(content: &[u8], movie: &Movie) -> Option<Self> {
        const BASE_DATA_OFFSET: u32 = 0x01;
        let mut tfhd = Fields(child(content, b"tfhd")?);
        let (_, flags) = tfhd.version_flags()?;
        let id = tfhd.u32()?;
        // Base data offset, sample description index, default duration, default size, default flags.
        for (flag, bytes) in [(BASE_DATA_OFFSET, 8), (0x02, 4), (0x08, 4), (0x10, 4)] {
            if flags & flag != 0 {
                tfhd.skip(bytes)?;
            }
        }
        let track = movie.track(id);
        let default_flags = match flags & 0x20 {
            0 => track.map_or(0, |track| track.default_sample_flags),
            _ => tfhd.u32()?,
        };
        let time = child(content, b"tfdt").and_then(|tfdt| {
            let mut tfdt = Fields(tfdt);
            let (version, _) = tfdt.version_flags()?;
            tfdt.wide(version)
        });
        let mut runs = children(content).filter(|(kind, _)| kind == b"trun");
        let first_flags = runs.find_map(|(_, run)| first_sample_flags(run, default_flags));
        Some(Self {
            track: id,
            time_ms: time.zip(track).and_then(|(time, track)| track.milliseconds(time)),
            is_absolute: flags & BASE_DATA_OFFSET != 0,
            is_sync: first_flags.map(is_sync),
        })
    }
}

/// Flags of the first sample of a run; `None` if the run is empty or broken.
fn first_sample_flags(run: &[u8], default_flags: u32) -> Option<u32> {
    let mut run = Fields(run);
    let (_, flags) = run.version_flags()?;
    if run.u32()? == 0 {
        return None;
    }
    if flags & 0x001 != 0 {
        run.skip(4)?;
    }
    if flags & 0x004 != 0 {
        return run.u32();
    }
    if flags & 0x400 == 0 {
        return Some(default_flags);
    }
    // Duration and size come first within a sample.
    run.skip(((flags & 0x300).count_ones() * 4) as usize)?;
    run.u32()
}

/// 8.8.3.1: `sample_is_non_sync_sample`, and `sample_depends_on`, where 1 says that it does. Both are looked at
/// because some writers only set one.
fn is_sync(flags: u32) -> bool {
    flags & 0x1_0000 == 0 && flags >> 24 & 3 != 1
}

#[cfg(test)]
mod tests {
    use super::super::movie::MovieTrack;
    use super::*;

    const SYNC: u32 = 0x0200_0000;
    const NON_SYNC: u32 = 0x0101_0000;

    fn full(kind: &[u8; 4], flags: u32, words: &[u32]) -> Vec<u8> {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        boxed(kind, &[&flags.to_be_bytes()[..], &words].concat())
    }

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
    }

    fn movie(video: Option<u32>, default_sample_flags: u32) -> Movie {
        let track = |id| MovieTrack { id, timescale: 1000, default_sample_flags };
        Movie { video, tracks: vec![track(1), track(2)], ..Movie::default() }
    }

    fn traf(parts: &[Vec<u8>]) -> Vec<u8> {
        boxed(b"traf", &parts.concat())
    }

    fn joins(movie: &Movie, trafs: &[Vec<u8>]) -> bool {
        Fragment::parse(&trafs.concat(), movie).joins
    }

    #[test]
    fn the_flags_of_the_first_sample_are_where_the_writer_put_them() {
        let defaults = movie(Some(1), NON_SYNC);
        let tfhd = || full(b"tfhd", 0x02_0000, &[1]);
        assert!(!joins(&defaults, &[traf(&[tfhd(), full(b"trun", 0, &[1])])]));
        assert!(joins(&movie(Some(1), SYNC), &[traf(&[tfhd(), full(b"trun", 0, &[1])])]));
        let of_header = full(b"tfhd", 0x02_0028, &[1, 40, SYNC]);
        assert!(joins(&defaults, &[traf(&[of_header, full(b"trun", 0, &[1])])]));
        let of_run = full(b"trun", 0x005, &[1, 100, SYNC]);
        assert!(joins(&defaults, &[traf(&[tfhd(), of_run])]));
        let of_sample = full(b"trun", 0x701, &[1, 100, 40, 900, SYNC]);
        assert!(joins(&defaults, &[traf(&[tfhd(), of_sample])]));
        let empty_run_first = [tfhd(), full(b"trun", 0x4, &[0, SYNC]), full(b"trun", 0, &[1])];
        assert!(!joins(&defaults, &[traf(&empty_run_first)]));
    }

    #[test]
    fn only_the_video_track_decides() {
        let traf_of = |id, flags| traf(&[full(b"tfhd", 0x02_0020, &[id, flags]), full(b"trun", 0, &[1])]);
        let both = movie(Some(2), 0);
        assert!(!joins(&both, &[traf_of(1, SYNC)]));
        assert!(!joins(&both, &[traf_of(1, SYNC), traf_of(2, NON_SYNC)]));
        assert!(joins(&both, &[traf_of(1, SYNC), traf_of(2, SYNC)]));
        assert!(joins(&movie(None, 0), &[traf_of(1, SYNC)]));
    }

    #[test]
    fn a_fragment_with_places_counted_from_the_start_of_the_stream_cannot_be_joined() {
        let absolute = full(b"tfhd", 0x01, &[1, 0, 5_000]);
        assert!(!joins(&movie(Some(1), SYNC), &[traf(&[absolute, full(b"trun", 0, &[1])])]));
    }

    #[test]
    fn time_is_that_of_the_video_track() {
        let timed =
            |id, time| traf(&[full(b"tfhd", 0, &[id]), full(b"tfdt", 0, &[time]), full(b"trun", 0, &[1])]);
        let time = |trafs: &[Vec<u8>]| Fragment::parse(&trafs.concat(), &movie(Some(2), 0)).time_ms;
        assert_eq!(time(&[timed(1, 5), timed(2, 7)]), Some(7));
        assert_eq!(time(&[timed(1, 5)]), Some(5));
        assert_eq!(time(&[]), None);
    }
}
