//! Bytes per second through the scanners and the remuxer, on streams that `ffmpeg` makes: 640x360 at 25 pictures a
//! second, two megabits a second, in pushes of 16 KiB, one run over the whole stream each.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may end this way, and documents nothing")]

use std::process::{Command, Stdio};

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use relay_media::{Container, Remuxer, Scanner};

const PUSH_BYTES: usize = 16 << 10;

const SCANNED: [(Container, &str); 7] = [
    (Container::Flv, "-c:v libx264 -preset ultrafast -c:a aac -f flv"),
    (Container::MpegTs, "-c:v libx264 -preset ultrafast -c:a aac -f mpegts"),
    (
        Container::Fmp4,
        "-c:v libx264 -preset ultrafast -c:a aac -movflags frag_keyframe+empty_moov+default_base_moof -f mp4",
    ),
    (Container::WebM, "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus -f webm"),
    (Container::Mjpeg, "-an -c:v mjpeg -f mjpeg"),
    (Container::H264, "-an -c:v libx264 -preset ultrafast -f h264"),
    (Container::H265, "-an -c:v libx265 -preset ultrafast -x265-params log-level=none -f hevc"),
];

const REMUXED: [Container; 4] = [Container::Flv, Container::MpegTs, Container::H264, Container::H265];

fn main() {
    divan::main();
}

fn stream(container: Container) -> Vec<u8> {
    let (_, args) = SCANNED.into_iter().find(|(named, _)| *named == container).unwrap();
    let inputs = "-v error -nostdin -f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine -t 10 -g 50 -b:v 2M \
                  -pix_fmt yuv420p";
    let output = Command::new("ffmpeg")
        .args(inputs.split_whitespace())
        .args(args.split_whitespace())
        .arg("-")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

#[divan::bench(args = SCANNED.map(|(container, _)| container))]
fn scan(bencher: Bencher<'_, '_>, container: &Container) {
    let stream = stream(*container);
    let mut events = Vec::new();
    bencher.counter(BytesCount::of_slice(&stream)).bench_local(|| {
        let mut scanner = Scanner::for_container(*container);
        for push in stream.chunks(PUSH_BYTES) {
            scanner.push(black_box(push), &mut events);
        }
        black_box(events.drain(..).count())
    });
}

#[divan::bench(args = REMUXED)]
fn remux(bencher: Bencher<'_, '_>, container: &Container) {
    let stream = stream(*container);
    bencher.counter(BytesCount::of_slice(&stream)).bench_local(|| {
        let mut remuxer = Remuxer::new(*container).unwrap();
        let mut fragments = Vec::new();
        let mut now_ms = 0;
        for push in stream.chunks(PUSH_BYTES) {
            now_ms += 64;
            remuxer.push(black_box(push), now_ms, &mut fragments);
        }
        black_box(fragments.len())
    });
}
