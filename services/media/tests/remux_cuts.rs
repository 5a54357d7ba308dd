//! What a remuxer makes depends on the bytes alone, never on how they were cut; and no bytes upset it.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

mod common;

use std::sync::LazyLock;

use common::{AUDIO, H264, H264_B, H265, VIDEO, cut, encode, sizes};
use proptest::prelude::*;
use relay_media::{Container, Fragment, Remuxer};

static STREAMS: LazyLock<Vec<(Container, Vec<u8>)>> = LazyLock::new(|| {
    let short: &[&str] = &["-t", "2"];
    let aac: &[&str] = &["-c:a", "aac"];
    let opus: &[&str] = &["-c:a", "libopus"];
    vec![
        (Container::Flv, encode(&[VIDEO, AUDIO], &[H264_B, aac, short, &["-f", "flv"]])),
        (Container::MpegTs, encode(&[VIDEO, AUDIO], &[H264_B, aac, short, &["-f", "mpegts"]])),
        (Container::MpegTs, encode(&[VIDEO, AUDIO], &[H265, opus, short, &["-f", "mpegts"]])),
        (Container::H264, encode(&[VIDEO], &[H264, short, &["-f", "h264"]])),
        (Container::H265, encode(&[VIDEO], &[H265, short, &["-f", "hevc"]])),
    ]
});

/// Above the largest picture of the streams here, far below the bound for any stream.
const RETAINED_BYTES_MAX: usize = 1 << 20;

fn remux(container: Container, pieces: &[&[u8]]) -> Vec<Fragment> {
    let mut remuxer = Remuxer::new(container).unwrap();
    let mut fragments = Vec::new();
    for piece in pieces {
        remuxer.push(piece, 0, &mut fragments);
        assert!(remuxer.retained() <= RETAINED_BYTES_MAX, "{} bytes", remuxer.retained());
    }
    remuxer.finish(&mut fragments);
    fragments
}

#[test]
fn one_byte_at_a_time_is_the_same_as_all_at_once() {
    for (container, stream) in &*STREAMS {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(remux(*container, &bytes), remux(*container, &[stream]), "{container}");
    }
}

#[test]
fn an_endless_picture_is_given_up() {
    let mut remuxer = Remuxer::new(Container::H264).unwrap();
    let mut fragments = Vec::new();
    remuxer.push(&STREAMS[3].1, 0, &mut fragments);
    let junk = vec![0xaa; 1 << 20];
    for _ in 0..40 {
        remuxer.push(&junk, 0, &mut fragments);
        assert!(remuxer.retained() <= Remuxer::RETAINED_BYTES_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(which in 0..STREAMS.len(), sizes in sizes()) {
        let (container, stream) = &STREAMS[which];
        prop_assert_eq!(remux(*container, &cut(stream, &sizes)), remux(*container, &[stream]));
    }

    #[test]
    fn wrong_and_missing_bytes_are_survived(
        which in 0..STREAMS.len(),
        wrong in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        near_start in any::<bool>(),
        at in any::<prop::sample::Index>(),
        missing in 0..1_000usize,
        sizes in sizes(),
    ) {
        let (container, mut stream) = STREAMS[which].clone();
        let range = if near_start { 2_000 } else { stream.len() };
        for (place, byte) in wrong {
            stream[place.index(range)] = byte;
        }
        let at = at.index(stream.len());
        stream.drain(at..(at + missing).min(stream.len()));
        prop_assert_eq!(remux(container, &cut(&stream, &sizes)), remux(container, &[&stream]));
    }

    #[test]
    fn any_bytes_are_survived(
        container in proptest::sample::select(
            &[Container::Flv, Container::MpegTs, Container::H264, Container::H265][..]
        ),
        bytes in proptest::collection::vec(any::<u8>(), 0..6_000),
        sizes in sizes(),
    ) {
        prop_assert_eq!(remux(container, &cut(&bytes, &sizes)), remux(container, &[&bytes]));
    }
}
