//! Every join point of a real stream decodes, from its first byte and without a complaint.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

mod common;

use common::{AUDIO, H264, H264_B, H265, VIDEO, check, encode};
use relay_media::{Container, Scanner};

const AAC: &[&str] = &["-c:a", "aac"];
const OPUS: &[&str] = &["-c:a", "libopus"];
const VP8: &[&str] = &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "15"];
const VP9: &[&str] = &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "15"];

fn codecs(scanner: &Scanner) -> Vec<&str> {
    scanner.info().unwrap().tracks.iter().map(|track| track.codec.as_str()).collect()
}

fn resolution(scanner: &Scanner) -> Option<(u32, u32)> {
    scanner.info().unwrap().video().unwrap().resolution
}

#[test]
fn flv_with_h264_and_aac() {
    let stream = encode(&[VIDEO, AUDIO], &[H264, AAC, &["-f", "flv"]]);
    let scanner = check(&stream, Container::Flv, None);
    assert_eq!(codecs(&scanner), ["avc1.42c00a", "mp4a.40.2"]);
    assert_eq!(resolution(&scanner), Some((160, 120)));
    let audio = scanner.info().unwrap().audio().unwrap();
    assert_eq!((audio.sample_rate, audio.channels), (Some(48_000), Some(1)));
}

#[test]
fn flv_with_b_frames() {
    check(&encode(&[VIDEO, AUDIO], &[H264_B, AAC, &["-f", "flv"]]), Container::Flv, None);
}

#[test]
fn flv_of_before_h264() {
    let codecs_of = ["-c:v", "flv", "-g", "15", "-c:a", "libmp3lame", "-ar", "44100", "-f", "flv"];
    let scanner = check(&encode(&[VIDEO, AUDIO], &[&codecs_of]), Container::Flv, None);
    assert_eq!(codecs(&scanner), ["mp3", "flv1"]);
    assert_eq!(resolution(&scanner), Some((160, 120)));
}

#[test]
fn flv_with_audio_only() {
    let scanner = check(&encode(&[AUDIO], &[AAC, &["-f", "flv"]]), Container::Flv, None);
    assert_eq!(codecs(&scanner), ["mp4a.40.2"]);
}

#[test]
fn fmp4_with_a_fragment_per_key_frame() {
    let format = ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"];
    let scanner = check(&encode(&[VIDEO, AUDIO], &[H264_B, AAC, &format]), Container::Fmp4, None);
    assert_eq!(codecs(&scanner)[1], "mp4a.40.2");
    assert_eq!(resolution(&scanner), Some((160, 120)));
    assert!(scanner.info().unwrap().mime().unwrap().starts_with("video/mp4; codecs=\"avc1.64"));
}

#[test]
fn fmp4_with_a_fragment_per_frame() {
    let format = ["-movflags", "frag_every_frame+empty_moov+default_base_moof", "-f", "mp4"];
    check(&encode(&[VIDEO, AUDIO], &[H264, AAC, &format]), Container::Fmp4, None);
}

#[test]
fn fmp4_with_a_fragment_per_track() {
    let flags = "frag_keyframe+empty_moov+separate_moof+default_base_moof";
    let format = ["-movflags", flags, "-f", "mp4"];
    check(&encode(&[VIDEO, AUDIO], &[H264, AAC, &format]), Container::Fmp4, None);
}

#[test]
fn fmp4_of_dash_with_announced_fragments() {
    let format = ["-movflags", "dash+frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"];
    check(&encode(&[VIDEO, AUDIO], &[H264, AAC, &format]), Container::Fmp4, None);
}

#[test]
fn fmp4_with_h265() {
    let format = ["-tag:v", "hvc1", "-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"];
    let scanner = check(&encode(&[VIDEO], &[H265, &format]), Container::Fmp4, None);
    assert_eq!(codecs(&scanner), ["hvc1.1.6.L30.90"]);
}

#[test]
fn fmp4_with_vp9_and_opus() {
    let format = ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"];
    let scanner = check(&encode(&[VIDEO, AUDIO], &[VP9, OPUS, &format]), Container::Fmp4, None);
    assert_eq!(codecs(&scanner), ["vp09.00.10.08", "opus"]);
}

#[test]
fn fmp4_with_audio_only() {
    let format = ["-movflags", "empty_moov+default_base_moof", "-frag_duration", "200000", "-f", "mp4"];
    check(&encode(&[AUDIO], &[AAC, &format]), Container::Fmp4, None);
}

/// Absolute offsets, and samples before the first fragment: neither holds for a decoder that joins later.
#[test]
fn fmp4_that_refers_to_its_start_is_not_joined_in_the_middle() {
    for flags in ["frag_keyframe+empty_moov", "frag_keyframe+default_base_moof"] {
        let format = ["-movflags", flags, "-f", "mp4"];
        let (_, events) = common::scan(&encode(&[VIDEO], &[H264, &format]));
        let joins: Vec<u64> = common::joins(&events).iter().map(|join| join.at).collect();
        assert_eq!(joins, [0], "{flags}");
    }
}

#[test]
fn webm_live() {
    let stream = encode(&[VIDEO, AUDIO], &[VP8, OPUS, &["-f", "webm", "-live", "1"]]);
    let scanner = check(&stream, Container::WebM, None);
    assert_eq!(codecs(&scanner), ["vp8", "opus"]);
    assert_eq!(resolution(&scanner), Some((160, 120)));
}

#[test]
fn webm_with_key_frames_inside_of_clusters() {
    // A key frame does not start a cluster while the one before it has less than 4 KiB.
    let still = ["-f", "lavfi", "-i", "color=size=160x120:rate=15"];
    let stream = encode(&[&still], &[VP8, &["-f", "webm", "-live", "1"]]);
    check(&stream, Container::WebM, None);
    let joins = common::joins(&common::scan(&stream).1);
    assert!(joins[2].preamble.len() > joins[1].preamble.len());
}

#[test]
fn webm_to_a_pipe() {
    check(&encode(&[VIDEO, AUDIO], &[VP9, OPUS, &["-f", "webm"]]), Container::WebM, None);
}

#[test]
fn webm_with_audio_only() {
    let format = ["-f", "webm", "-live", "1", "-cluster_time_limit", "500"];
    check(&encode(&[AUDIO], &[OPUS, &format]), Container::WebM, None);
}

#[test]
fn matroska_with_h264_and_b_frames() {
    let stream = encode(&[VIDEO, AUDIO], &[H264_B, AAC, &["-f", "matroska"]]);
    let scanner = check(&stream, Container::WebM, None);
    assert!(codecs(&scanner)[0].starts_with("avc1.64"), "{:?}", codecs(&scanner));
}

#[test]
fn mjpeg() {
    let stream = encode(&[VIDEO], &[&["-c:v", "mjpeg", "-f", "mjpeg"]]);
    let scanner = check(&stream, Container::Mjpeg, Some("mjpeg"));
    assert_eq!(resolution(&scanner), Some((160, 120)));
}

#[test]
fn mjpeg_in_multipart_is_opaque() {
    let (scanner, _) = common::scan(&encode(&[VIDEO], &[&["-c:v", "mjpeg", "-f", "mpjpeg"]]));
    assert_eq!(scanner.container(), Some(Container::Opaque));
}
