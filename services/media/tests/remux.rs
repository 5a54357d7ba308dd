//! What comes out of a remuxer is what went in: the same pictures, at the same times, with the same sound.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

mod common;

use common::{AUDIO, H264, H264_B, H264_OPEN, H265, VIDEO, complaints, encode, probe, scan};
use relay_media::{Container, Fragment, Remuxer};

const AAC: &[&str] = &["-c:a", "aac"];
const TS: &[&str] = &["-f", "mpegts"];
const FLV: &[&str] = &["-f", "flv"];

/// Pictures of the test streams.
const PICTURES: usize = 60;

fn remux(container: Container, stream: &[u8]) -> Vec<Fragment> {
    let mut remuxer = Remuxer::new(container).unwrap();
    let mut fragments = Vec::new();
    for part in stream.chunks(1000) {
        remuxer.push(part, 0, &mut fragments);
    }
    remuxer.finish(&mut fragments);
    fragments
}

fn joined(fragments: &[Fragment]) -> Vec<u8> {
    fragments.iter().flat_map(|fragment| fragment.bytes.iter().copied()).collect()
}

/// Times of the packets of a track, in seconds, in the order of showing.
fn times(stream: &[u8], track: &str, format: Option<&str>) -> Vec<f64> {
    let args = ["-select_streams", track, "-show_entries", "packet=pts_time"];
    let mut times: Vec<f64> = probe(stream, format, &args)
        .iter()
        .filter_map(|line| line.trim_end_matches(',').parse().ok())
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Checks that the output plays and has the pictures and sound of the input, as far apart as there.
fn check(container: Container, stream: &[u8]) -> Vec<Fragment> {
    let fragments = remux(container, stream);
    let output = joined(&fragments);
    assert_eq!(complaints(&output, None), "");

    let (before, after) = (times(stream, "v:0", None), times(&output, "v:0", None));
    assert_eq!(after.len(), before.len(), "pictures");
    assert_same_spacing(&before, &after);
    assert!(after[0] < 0.5, "starts at {}", after[0]);

    let (heard, hears) = (times(stream, "a:0", None), times(&output, "a:0", None));
    assert!(
        hears.len() + 1 >= heard.len() && hears.len() <= heard.len(),
        "{} of {}",
        hears.len(),
        heard.len()
    );
    if let (Some(heard), Some(hears)) = (heard.last(), hears.last()) {
        let (lead, leads) = (heard - before[0], hears - after[0]);
        assert!((lead - leads).abs() < 0.05, "sound was {lead} from the first picture, is {leads}");
    }
    fragments
}

fn assert_same_spacing(before: &[f64], after: &[f64]) {
    for (index, (before, after)) in before.windows(2).zip(after.windows(2)).enumerate() {
        let (was, is) = (before[1] - before[0], after[1] - after[0]);
        assert!((was - is).abs() < 0.0015, "picture {index}: {was} became {is}");
    }
}

fn mime(fragments: &[Fragment]) -> String {
    let (scanner, _) = scan(&joined(fragments));
    assert_eq!(scanner.container(), Some(Container::Fmp4));
    scanner.info().unwrap().mime().unwrap()
}

#[test]
fn flv() {
    let fragments = check(Container::Flv, &encode(&[VIDEO, AUDIO], &[H264, AAC, FLV]));
    assert_eq!(mime(&fragments), "video/mp4; codecs=\"avc1.42c00a,mp4a.40.2\"");
    assert_eq!(fragments.len(), 1 + PICTURES + 1, "an init, the pictures, and the sound that outlasts them");
}

#[test]
fn flv_with_b_frames() {
    check(Container::Flv, &encode(&[VIDEO, AUDIO], &[H264_B, AAC, FLV]));
}

#[test]
fn flv_with_mp3() {
    let sound = ["-c:a", "libmp3lame", "-ar", "44100"];
    check(Container::Flv, &encode(&[VIDEO, AUDIO], &[H264, &sound, FLV]));
}

#[test]
fn flv_with_pictures_only() {
    let fragments = check(Container::Flv, &encode(&[VIDEO], &[H264, FLV]));
    assert_eq!(mime(&fragments), "video/mp4; codecs=\"avc1.42c00a\"");
}

#[test]
fn flv_with_sound_only() {
    let stream = encode(&[AUDIO], &[AAC, FLV]);
    let fragments = remux(Container::Flv, &stream);
    let output = joined(&fragments);
    assert_eq!(complaints(&output, None), "");
    assert!(times(&output, "a:0", None).len() + 4 > times(&stream, "a:0", None).len());
    assert_eq!(mime(&fragments), "video/mp4; codecs=\"mp4a.40.2\"");
}

#[test]
fn flv_of_before_h264_is_not_supported() {
    let mut remuxer = Remuxer::new(Container::Flv).unwrap();
    let stream = encode(&[VIDEO], &[&["-c:v", "flv", "-f", "flv"]]);
    let mut fragments = Vec::new();
    remuxer.push(&stream, 0, &mut fragments);
    assert!(fragments.is_empty());
    assert_eq!(remuxer.unsupported(), Some("Sorenson H.263"));
}

#[test]
fn transport_stream() {
    let fragments = check(Container::MpegTs, &encode(&[VIDEO, AUDIO], &[H264, AAC, TS]));
    assert_eq!(mime(&fragments), "video/mp4; codecs=\"avc1.42c00a,mp4a.40.2\"");
}

#[test]
fn transport_stream_with_b_frames() {
    check(Container::MpegTs, &encode(&[VIDEO, AUDIO], &[H264_B, AAC, TS]));
}

#[test]
fn transport_stream_with_open_groups() {
    check(Container::MpegTs, &encode(&[VIDEO, AUDIO], &[H264_OPEN, AAC, TS]));
}

#[test]
fn transport_stream_with_h265() {
    let fragments = check(Container::MpegTs, &encode(&[VIDEO, AUDIO], &[H265, AAC, TS]));
    assert_eq!(mime(&fragments), "video/mp4; codecs=\"hvc1.1.6.L30.90,mp4a.40.2\"");
}

#[test]
fn transport_stream_with_opus() {
    let stream = encode(&[VIDEO, AUDIO], &[H264, &["-c:a", "libopus"], TS]);
    let fragments = check(Container::MpegTs, &stream);
    assert_eq!(mime(&fragments), "video/mp4; codecs=\"avc1.42c00a,opus\"");
}

#[test]
fn transport_stream_with_mp3() {
    check(Container::MpegTs, &encode(&[VIDEO, AUDIO], &[H264, &["-c:a", "libmp3lame"], TS]));
}

#[test]
fn transport_stream_with_sound_that_is_left_out() {
    let stream = encode(&[VIDEO, AUDIO], &[H264, &["-c:a", "ac3"], TS]);
    let fragments = remux(Container::MpegTs, &stream);
    assert_eq!(mime(&fragments), "video/mp4; codecs=\"avc1.42c00a\"");
    assert_eq!(complaints(&joined(&fragments), None), "");
}

#[test]
fn transport_stream_whose_time_wraps() {
    // 33 bits of 90 kHz are 95443.7 seconds.
    let stream = encode(&[VIDEO, AUDIO], &[H264_B, AAC, &["-output_ts_offset", "95440.5", "-f", "mpegts"]]);
    let output = joined(&remux(Container::MpegTs, &stream));
    assert_eq!(complaints(&output, None), "");
    let after = times(&output, "v:0", None);
    assert_eq!(after.len(), PICTURES);
    assert!(after.windows(2).all(|pair| (pair[1] - pair[0] - 1.0 / 15.0).abs() < 0.001), "{after:?}");
}

#[test]
fn transport_stream_that_starts_over() {
    let stream = encode(&[VIDEO, AUDIO], &[H264, AAC, TS]);
    let twice = [&stream[..], &stream[..]].concat();
    let output = joined(&remux(Container::MpegTs, &twice));
    assert_eq!(complaints(&output, None), "");
    let after = times(&output, "v:0", None);
    // Whether packets are missing before the second, nothing tells: its first ends a picture that may lack some.
    assert_eq!(after.len(), 2 * PICTURES - 1);
    assert!(after.windows(2).all(|pair| pair[1] - pair[0] < 0.2), "{after:?}");
}

/// Pushes a byte stream as a camera would send it: each picture when it was taken.
fn remux_live(container: Container, stream: &[u8]) -> Vec<Fragment> {
    let (_, events) = scan(stream);
    let mut borders: Vec<usize> = events
        .iter()
        .filter_map(|event| match event {
            relay_media::Event::Unit { at, .. } => Some(*at as usize),
            _ => None,
        })
        .collect();
    borders.push(stream.len());
    let mut remuxer = Remuxer::new(container).unwrap();
    let mut fragments = Vec::new();
    for (index, range) in borders.windows(2).enumerate() {
        remuxer.push(&stream[range[0]..range[1]], index as u64 * 1000 / 15, &mut fragments);
    }
    remuxer.finish(&mut fragments);
    fragments
}

#[test]
fn byte_streams() {
    for (container, codec, format) in [
        (Container::H264, H264, "h264"),
        (Container::H264, H264_B, "h264"),
        (Container::H264, H264_OPEN, "h264"),
        (Container::H265, H265, "hevc"),
    ] {
        let fragments = remux_live(container, &encode(&[VIDEO], &[codec, &["-f", format]]));
        let output = joined(&fragments);
        assert_eq!(complaints(&output, None), "", "{codec:?}");
        let after = times(&output, "v:0", None);
        assert_eq!(after.len(), PICTURES);
        // Of a stream that does not tell its rate, nobody knows it at the first picture.
        let steps: Vec<f64> = after[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| (*step - 1.0 / 15.0).abs() < 0.01), "{codec:?}: {steps:?}");
    }
}

#[test]
fn byte_stream_that_comes_faster_than_it_plays_keeps_the_order_of_its_pictures() {
    let output = joined(&remux(Container::H264, &encode(&[VIDEO], &[H264_B, &["-f", "h264"]])));
    assert_eq!(complaints(&output, None), "");
    let after = times(&output, "v:0", None);
    assert_eq!(after.len(), PICTURES);
    assert!(after.windows(2).all(|pair| pair[1] - pair[0] > 0.001), "{after:?}");
}
