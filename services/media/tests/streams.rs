//! Join points of transport streams and byte streams, where the pictures themselves are asked: every one decodes,
//! from its first byte and without a complaint.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

mod common;

use common::{AUDIO, H264, H264_B, H264_OPEN, H265, VIDEO, check, complaints, encode, joined, joins, scan};
use relay_media::{Container, Event, TrackKind};

/// Makes filler data of all but the first parameter sets, as of an encoder that gives them only once.
fn with_sets_once(mut stream: Vec<u8>) -> Vec<u8> {
    const FILLER: u8 = 0x0c;
    let is_set = |at: &usize| matches!(stream[*at..], [0, 0, 1, 0x67 | 0x68, ..]);
    let sets: Vec<usize> = (0..stream.len()).filter(is_set).collect();
    for at in &sets[2..] {
        stream[at + 3] = FILLER;
    }
    stream
}

const AAC: &[&str] = &["-c:a", "aac"];
const TS: &[&str] = &["-f", "mpegts"];

#[test]
fn transport_stream_with_h264_and_aac() {
    let stream = encode(&[VIDEO, AUDIO], &[H264, AAC, TS]);
    let scanner = check(&stream, Container::MpegTs, None);
    let info = scanner.info().unwrap();
    assert_eq!(info.video().unwrap().codec, "avc1.42c00a");
    assert_eq!(info.video().unwrap().resolution, Some((160, 120)));
    let audio = info.audio().unwrap();
    assert_eq!(audio.codec, "mp4a.40.2");
    assert_eq!((audio.sample_rate, audio.channels), (Some(48_000), Some(1)));
}

#[test]
fn transport_stream_with_b_frames() {
    check(&encode(&[VIDEO, AUDIO], &[H264_B, AAC, TS]), Container::MpegTs, None);
}

#[test]
fn transport_stream_with_open_groups() {
    check(&encode(&[VIDEO, AUDIO], &[H264_OPEN, AAC, TS]), Container::MpegTs, None);
}

#[test]
fn transport_stream_with_h265() {
    let scanner = check(&encode(&[VIDEO, AUDIO], &[H265, AAC, TS]), Container::MpegTs, None);
    assert_eq!(scanner.info().unwrap().video().unwrap().codec, "hvc1.1.6.L30.90");
}

#[test]
fn transport_stream_with_other_sound() {
    for (codec, name) in [("libmp3lame", "mp3"), ("ac3", "ac-3"), ("libopus", "opus")] {
        let scanner = check(&encode(&[VIDEO, AUDIO], &[H264, &["-c:a", codec], TS]), Container::MpegTs, None);
        assert_eq!(scanner.info().unwrap().audio().unwrap().codec, name);
    }
}

#[test]
fn transport_stream_with_sound_only() {
    let stream = encode(&[AUDIO], &[AAC, TS]);
    let scanner = check(&stream, Container::MpegTs, None);
    assert_eq!(scanner.info().unwrap().tracks[0].kind, TrackKind::Audio);
}

#[test]
fn transport_stream_that_gives_its_parameter_sets_only_once() {
    let once = with_sets_once(encode(&[VIDEO], &[H264, TS]));
    let (_, events) = scan(&once);
    let joins = joins(&events);
    assert_eq!(joins.len(), 4);
    assert_eq!(joins[0].lead().len(), 2 * 188, "tables");
    for join in &joins[1..] {
        assert_eq!(join.lead().len(), 3 * 188, "tables and parameter sets");
        assert_eq!(complaints(&joined(&once, join), None), "");
    }
}

#[test]
fn transport_stream_joined_in_the_middle_of_a_packet() {
    let stream = encode(&[VIDEO, AUDIO], &[H264, AAC, TS]);
    let (_, whole) = scan(&stream);
    let cut = 188 * 10 + 77;
    let mut scanner = relay_media::Scanner::for_container(Container::MpegTs);
    let mut events = Vec::new();
    scanner.push(&stream[cut..], &mut events);
    let expected: Vec<u64> = joins(&whole).iter().skip(1).map(|join| join.at - cut as u64).collect();
    assert_eq!(joins(&events).iter().map(|join| join.at).collect::<Vec<_>>(), expected);
}

#[test]
fn transport_stream_units_lie_on_packet_borders_and_tell_time() {
    let (_, events) = scan(&encode(&[VIDEO, AUDIO], &[H264_B, AAC, TS]));
    let mut timed = 0;
    for event in &events {
        if let Event::Unit { at, time_ms } = event {
            assert_eq!(at % 188, 0);
            timed += usize::from(time_ms.is_some());
        }
    }
    assert!(timed > 60, "{timed} units with a time");
}

#[test]
fn byte_stream_of_h264() {
    let stream = encode(&[VIDEO], &[H264, &["-f", "h264"]]);
    let scanner = check(&stream, Container::H264, Some("h264"));
    assert_eq!(scanner.info().unwrap().video().unwrap().resolution, Some((160, 120)));
    let units = scan(&stream).1.iter().filter(|event| matches!(event, Event::Unit { .. })).count();
    assert_eq!(units, 60, "one per picture");
}

#[test]
fn byte_stream_of_h264_with_b_frames() {
    check(&encode(&[VIDEO], &[H264_B, &["-f", "h264"]]), Container::H264, Some("h264"));
}

#[test]
fn byte_stream_of_h264_with_open_groups() {
    check(&encode(&[VIDEO], &[H264_OPEN, &["-f", "h264"]]), Container::H264, Some("h264"));
}

#[test]
fn byte_stream_of_h264_with_parameter_sets_only_once() {
    let once = with_sets_once(encode(&[VIDEO], &[H264, &["-f", "h264"]]));
    let joins = joins(&scan(&once).1);
    assert_eq!(joins.len(), 4);
    assert!(joins[0].lead().is_empty(), "the access unit has its own");
    for join in &joins[1..] {
        assert!(!join.lead().is_empty());
        assert_eq!(complaints(&joined(&once, join), Some("h264")), "");
    }
}

#[test]
fn byte_stream_of_h265() {
    let stream = encode(&[VIDEO], &[H265, &["-f", "hevc"]]);
    check(&stream, Container::H265, Some("hevc"));
    let units = scan(&stream).1.iter().filter(|event| matches!(event, Event::Unit { .. })).count();
    assert_eq!(units, 60, "one per picture");
}
