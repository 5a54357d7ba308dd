//! `relaycast publish`, `receive` and `probe` at the ends of pipes, with `ffmpeg` at the other ends.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use std::path::Path;
use std::process::Stdio;

use relay_proto::notice::Notice;
use relay_tests::client::{Publisher, Receiver};
use relay_tests::ffmpeg::{Judge, ffmpeg};
use relay_tests::node::Node;
use relay_tests::process::{Process, relaycast};
use relay_tests::stream::Container::{Flv, Fmp4, H264, H265, Mjpeg, MpegTs, WebM};
use relay_tests::stream::{Container, RATE, Recipe, Video};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

const SECOND: u32 = RATE;

/// A stream at the pace of its pictures, as a camera would send it.
fn camera(recipe: &Recipe) -> Process {
    let args = recipe.args().replace("-f lavfi", "-re -f lavfi");
    let mut command = ffmpeg();
    command
        .args(args.split_whitespace())
        .args(["-flush_packets", "1", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Process::start("the camera", &mut command)
}

#[tokio::test]
async fn from_a_pipe_to_a_pipe() {
    let node = Node::start(&[]).await;
    let url = node.url("cam1/secret");
    let mut receive =
        Process::start("relaycast receive", relaycast(["receive", &url]).stdout(Stdio::piped()));
    let mut player = ffmpeg();
    player.args("-i - -nostats -progress pipe:1 -fps_mode passthrough -f null -".split(' '));
    let mut player = Process::start("the player", player.stdin(receive.stdout()).stdout(Stdio::piped()));
    let mut progress = player.take_stdout();
    node.until_receivers("cam1", 1).await;

    let recipe = Recipe { container: MpegTs, video: Video::H264B, gop: SECOND, seconds: 2 };
    let mut camera = camera(&recipe);
    let publish = Process::start("relaycast publish", relaycast(["publish", &url]).stdin(camera.stdout()));

    assert_eq!(camera.succeeds().await, "");
    publish.succeeds().await;
    receive.succeeds().await;
    let mut text = String::new();
    progress.read_to_string(&mut text).await.unwrap();
    assert_eq!(player.succeeds().await, "", "the player has nothing to complain of");
    let pictures = text.lines().rev().find_map(|line| line.strip_prefix("frame="));
    assert_eq!(pictures, Some((2 * RATE).to_string().as_str()), "{text}");
}

/// What `relaycast probe --json` tells.
#[derive(Debug, Deserialize)]
struct Answer {
    container: String,
    tracks: Vec<relay_proto::api::Track>,
}

#[tokio::test]
async fn a_probe_tells_container_codecs_and_resolution() {
    // Without profile and level.
    let streams: [(Container, Video, &str, Option<&str>); 9] = [
        (Flv, Video::H264, "avc1", Some("mp4a.40.2")),
        (MpegTs, Video::H264B, "avc1", Some("mp4a.40.2")),
        (Fmp4, Video::H265, "hev1", Some("mp4a.40.2")),
        (Fmp4, Video::H264, "avc1", Some("mp4a.40.2")),
        (WebM, Video::Vp8, "vp8", Some("opus")),
        (WebM, Video::Vp9, "vp9", Some("opus")),
        (Mjpeg, Video::Jpeg, "mjpeg", None),
        (H264, Video::H264, "avc1", None),
        (H265, Video::H265Open, "hvc1", None),
    ];
    let node = Node::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut publishers = Vec::new();
    let mut probes = JoinSet::new();
    for (number, (container, video, codec, audio)) in streams.into_iter().enumerate() {
        let stream = Recipe { container, video, gop: SECOND, seconds: 2 }.make(folder.path()).await;
        let url = node.url(&format!("cam{number}/secret"));
        let mut publisher = Publisher::connect(&format!("{url}/publish")).await;
        publisher.chunk(stream.bytes).await;
        publishers.push(publisher);
        probes.spawn(async move {
            let command = &mut relaycast(["probe", "--json", &url]);
            let mut probe = Process::start("relaycast probe", command.stdout(Stdio::piped()));
            let mut text = String::new();
            probe.take_stdout().read_to_string(&mut text).await.unwrap();
            probe.succeeds().await;
            let answer: Answer = serde_json::from_str(&text).unwrap();

            assert_eq!(answer.container, container.name());
            let of = |kind: &str| answer.tracks.iter().find(|track| track.kind == kind);
            let track = of("video").unwrap();
            assert!(track.codec.starts_with(codec), "{container:?}: {track:?}");
            assert_eq!((track.width, track.height), (Some(160), Some(120)), "{container:?}");
            assert_eq!(of("audio").map(|track| track.codec.as_str()), audio, "{container:?}");
            if let Some(track) = of("audio") {
                assert_eq!((track.sample_rate, track.channels), (Some(48_000), Some(1)), "{container:?}");
            }
        });
    }
    while let Some(probe) = probes.join_next().await {
        probe.unwrap();
    }
}

#[tokio::test]
async fn a_publisher_that_is_killed_and_comes_back_in_time_makes_two_streams_for_who_stayed() {
    for container in [Flv, MpegTs] {
        killed_and_back(container).await;
    }
}

async fn killed_and_back(container: Container) {
    let node = Node::start(&["--grace=1h"]).await;
    let url = node.url("cam1/secret");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("received");
    let receive =
        Process::start("relaycast receive", &mut relaycast(["receive", &url, file.to_str().unwrap()]));
    // Hears where the second publication begins.
    let witness = Receiver::connect(&format!("{url}/receive?notices=1")).await;
    node.until_receivers("cam1", 2).await;

    let recipe = Recipe { container, video: Video::H264, gop: SECOND / 2, seconds: 3 };
    let mut long = camera(&Recipe { seconds: 60, ..recipe });
    let publish = Process::start("relaycast publish", relaycast(["publish", &url]).stdin(long.stdout()));
    witness.until_taken(40_000).await;
    publish.kill();
    long.kill();
    // Those who were served are told, and kept.
    receive.says(|said| said.contains("the publisher vanished").then_some(())).await;

    let mut camera = camera(&recipe);
    let publish = Process::start("relaycast publish", relaycast(["publish", &url]).stdin(camera.stdout()));
    camera.succeeds().await;
    publish.succeeds().await;
    receive.succeeds().await;

    let witnessed = witness.all().await;
    let received = std::fs::read(&file).unwrap();
    assert!(received == witnessed.bytes, "{container:?}: both receivers got the same");
    let starts: Vec<usize> = witnessed
        .texts
        .iter()
        .filter(|(_, text)| matches!(serde_json::from_str(text), Ok(Notice::Start(_))))
        .map(|(at, _)| *at)
        .collect();
    let [0, second] = starts[..] else { panic!("{container:?}: starts at {starts:?}") };
    let parts = [&received[..second], &received[second..]];
    let judge = Judge::default();
    for (number, part) in parts.into_iter().enumerate() {
        let file = part_file(folder.path(), number, container);
        std::fs::write(&file, part).unwrap();
        let decoded =
            judge.decode(&file).await.unwrap_or_else(|wrong| panic!("{container:?}, part {number}: {wrong}"));
        if number == 1 {
            assert_eq!(
                decoded.pictures,
                u64::from(recipe.seconds * RATE),
                "{container:?}: all of the second"
            );
        }
    }
}

fn part_file(folder: &Path, number: usize, container: Container) -> std::path::PathBuf {
    folder.join(format!("part-{number}")).with_extension(container.extension())
}
