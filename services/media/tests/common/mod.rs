//! Real streams from `ffmpeg`, and what `ffmpeg` thinks of what the scanner makes of them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use relay_media::{Container, Event, Join, Scanner};

/// Seconds of the test streams.
pub(crate) const SECONDS: u32 = 4;

/// A small moving picture, 15 frames per second.
pub(crate) const VIDEO: &[&str] = &["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=15"];

/// A tone.
pub(crate) const AUDIO: &[&str] = &["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];

/// H.264 without B-frames, a key frame each second.
pub(crate) const H264: &[&str] =
    &["-c:v", "libx264", "-preset", "ultrafast", "-g", "15", "-pix_fmt", "yuv420p"];

/// H.264 with B-frames, a key frame each second.
pub(crate) const H264_B: &[&str] =
    &["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "15", "-pix_fmt", "yuv420p"];

/// H.264 whose groups are open: their key pictures, marked as recovery points, are no IDR pictures.
pub(crate) const H264_OPEN: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-bf",
    "3",
    "-g",
    "15",
    "-pix_fmt",
    "yuv420p",
    "-x264-params",
    "open-gop=1",
];

/// H.265 as its encoder makes it by default: B-frames, open groups.
pub(crate) const H265: &[&str] = &[
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "keyint=15:min-keyint=15:log-level=none",
    "-pix_fmt",
    "yuv420p",
];

/// A stream of [`SECONDS`] seconds. `args` is what follows the inputs.
pub(crate) fn encode(inputs: &[&[&str]], args: &[&[&str]]) -> Vec<u8> {
    let seconds = SECONDS.to_string();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(inputs.concat())
        .args(["-t", &seconds, "-threads", "1"])
        .args(args.concat())
        .arg("-")
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.is_empty());
    output.stdout
}

/// Everything a scanner finds in a stream that comes in one piece.
pub(crate) fn scan(stream: &[u8]) -> (Scanner, Vec<Event>) {
    let mut scanner = Scanner::new().with_units();
    let mut events = Vec::new();
    scanner.push(stream, &mut events);
    (scanner, events)
}

pub(crate) fn joins(events: &[Event]) -> Vec<Join> {
    let join = |event: &Event| match event {
        Event::Join(join) => Some(join.clone()),
        _ => None,
    };
    events.iter().filter_map(join).collect()
}

/// What somebody gets who joins here.
pub(crate) fn joined(stream: &[u8], join: &Join) -> Vec<u8> {
    [&join.lead()[..], &stream[join.at as usize..]].concat()
}

/// Checks a stream of this container: the scanner recognises it and finds a join point for each of its key frames,
/// every one of which decodes without a complaint from its first frame on. Returns the scanner for further questions.
///
/// `format` is the demuxer that `ffmpeg` has to be told for streams it does not recognise by itself.
pub(crate) fn check(stream: &[u8], container: Container, format: Option<&str>) -> Scanner {
    let (scanner, events) = scan(stream);
    assert_eq!(scanner.container(), Some(container));
    assert!(scanner.retained() < 16 << 10, "{} bytes retained of {}", scanner.retained(), stream.len());
    let info = scanner.info().unwrap();
    assert!(info.is_complete(), "{info:?}");

    let joins = joins(&events);
    let in_order = joins.is_sorted_by_key(|join| join.at);
    assert!(in_order, "{:?}", joins.iter().map(|join| join.at).collect::<Vec<_>>());
    // The start of the stream as such is one where the init lies within the stream.
    let has_init = matches!(container, Container::Flv | Container::Fmp4 | Container::WebM);
    let real = &joins[usize::from(has_init)..];
    if info.video().is_some() {
        assert_eq!(real.len(), key_frames(stream, format), "one join per key frame");
    }
    assert!(real.len() >= SECONDS as usize - 1, "{} joins", real.len());

    // All of a video with a key frame each second; of pictures or audio frames the last and some between.
    let every = real.len().div_ceil(6);
    for join in real.iter().rev().step_by(every) {
        let joined = joined(stream, join);
        assert_eq!(complaints(&joined, format), "", "joined at {}", join.at);
        if info.video().is_some() {
            let first = ["-select_streams", "v:0", "-show_entries", "frame=key_frame", "-of", "csv=p=0"];
            let frames = feed(ffmpeg("ffprobe", format, &first), &joined);
            let frames = String::from_utf8_lossy(&frames.stdout).into_owned();
            assert!(frames.starts_with('1'), "first frame after {} is not a key frame: {frames}", join.at);
        }
    }
    scanner
}

/// What a decoder has to say against a stream.
pub(crate) fn complaints(stream: &[u8], format: Option<&str>) -> String {
    // On the clock of the stream: ffmpeg would round times to a frame rate that it guesses, and complain of that.
    let output = feed(ffmpeg("ffmpeg", format, &["-f", "null", "-enc_time_base", "-1", "-"]), stream);
    // At the beginning of an open group, a picture may let go of one that was before it. This is as it should be.
    let is_of_open_group =
        |line: &str| line.ends_with("mmco: unref short failure") || line.contains("Last message repeated");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().filter(|line| !is_of_open_group(line)).collect::<Vec<_>>().join("\n")
}

/// What `ffprobe` answers, as lines of comma-separated values.
pub(crate) fn probe(stream: &[u8], format: Option<&str>, args: &[&str]) -> Vec<String> {
    let output = feed(ffmpeg("ffprobe", format, &[args, &["-of", "csv=p=0"]].concat()), stream);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Key frames in the first video stream.
pub(crate) fn key_frames(stream: &[u8], format: Option<&str>) -> usize {
    let args = ["-select_streams", "v:0", "-show_entries", "packet=flags", "-of", "csv=p=0"];
    let output = feed(ffmpeg("ffprobe", format, &args), stream);
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('K')).count()
}

fn ffmpeg(program: &str, format: Option<&str>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-v", "error"]);
    if let Some(format) = format {
        command.args(["-f", format]);
    }
    command.args(["-i", "-"]).args(args);
    command
}

fn feed(mut command: Command, stream: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A child that has seen enough closes its end; what it says then is what counts.
        scope.spawn(move || stdin.write_all(stream));
        child.wait_with_output().unwrap()
    })
}

/// The stream in pieces of these sizes, over and over.
pub(crate) fn cut<'a>(mut stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at((*size).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

/// Sizes for [`cut`].
pub(crate) fn sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1..20usize, 1..5_000usize], 1..20)
}
