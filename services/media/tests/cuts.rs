//! What a scanner finds depends on the bytes alone, never on how they were cut; and no bytes upset it.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

mod common;

use std::sync::LazyLock;

use common::{AUDIO, H264_B, H264_OPEN, H265, VIDEO, cut, encode, sizes};
use proptest::prelude::*;
use relay_media::{Container, Event, Info, Scanner};

/// One real stream of each container, short enough to be scanned some hundred times.
static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let short: &[&str] = &["-t", "2"];
    let aac: &[&str] = &["-c:a", "aac"];
    let webm = ["-c:v", "libvpx", "-deadline", "realtime", "-g", "5", "-c:a", "libopus", "-f", "webm"];
    let fmp4 = ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"];
    vec![
        encode(&[VIDEO, AUDIO], &[H264_B, aac, short, &["-f", "flv"]]),
        encode(&[VIDEO, AUDIO], &[H264_B, aac, short, &fmp4]),
        encode(&[VIDEO, AUDIO], &[short, &webm, &["-live", "1"]]),
        encode(&[VIDEO, AUDIO], &[H264_B, aac, short, &["-f", "matroska"]]),
        encode(&[VIDEO], &[&["-c:v", "mjpeg", "-f", "mjpeg"], short]),
        encode(&[VIDEO, AUDIO], &[H264_B, aac, short, &["-f", "mpegts"]]),
        encode(&[VIDEO, AUDIO], &[H265, aac, short, &["-f", "mpegts"]]),
        encode(&[VIDEO], &[H264_OPEN, short, &["-f", "h264"]]),
        encode(&[VIDEO], &[H265, short, &["-f", "hevc"]]),
    ]
});

fn scan(forced: Option<Container>, pieces: &[&[u8]]) -> (Vec<Event>, Option<Info>) {
    let scanner = forced.map_or_else(Scanner::new, Scanner::for_container);
    let mut scanner = scanner.with_units();
    let mut events = Vec::new();
    for piece in pieces {
        scanner.push(piece, &mut events);
        assert!(scanner.retained() <= Scanner::RETAINED_BYTES_MAX);
    }
    assert!(common::joins(&events).is_sorted_by_key(|join| join.at));
    (events, scanner.info().cloned())
}

fn container() -> impl Strategy<Value = Option<Container>> {
    prop_oneof![Just(None), proptest::sample::select(&Container::ALL[..]).prop_map(Some)]
}

#[test]
fn one_byte_at_a_time_is_the_same_as_all_at_once() {
    for stream in &*STREAMS {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(scan(None, &bytes), scan(None, &[stream]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(which in 0..STREAMS.len(), sizes in sizes()) {
        let stream = &STREAMS[which];
        prop_assert_eq!(scan(None, &cut(stream, &sizes)), scan(None, &[stream]));
    }

    /// A wrong byte sends a scanner astray, yet the same way however the stream was cut.
    #[test]
    fn wrong_bytes_are_survived(
        which in 0..STREAMS.len(),
        forced in container(),
        wrong in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        near_start in any::<bool>(),
        sizes in sizes(),
    ) {
        let mut stream = STREAMS[which].clone();
        let range = if near_start { 2_000 } else { stream.len() };
        for (place, byte) in wrong {
            stream[place.index(range)] = byte;
        }
        prop_assert_eq!(scan(forced, &cut(&stream, &sizes)), scan(forced, &[&stream]));
    }

    #[test]
    fn a_missing_piece_is_survived(
        which in 0..STREAMS.len(),
        at in any::<prop::sample::Index>(),
        missing in 1..3_000usize,
        sizes in sizes(),
    ) {
        let mut stream = STREAMS[which].clone();
        let at = at.index(stream.len());
        stream.drain(at..(at + missing).min(stream.len()));
        prop_assert_eq!(scan(None, &cut(&stream, &sizes)), scan(None, &[&stream]));
    }

    #[test]
    fn any_bytes_are_survived(
        forced in container(),
        bytes in proptest::collection::vec(any::<u8>(), 0..6_000),
        sizes in sizes(),
    ) {
        prop_assert_eq!(scan(forced, &cut(&bytes, &sizes)), scan(forced, &[&bytes]));
    }
}
