//! Docks of DJI, which push real video by RTMP.

use relay_proto::source::{SourceReason, SourceState};
use relay_tests::client::Receiver;
use relay_tests::ffmpeg::Judge;
use relay_tests::sim::Sim;
use relay_tests::until;
use serde_json::{Value, json};

use crate::stage::{self, Stage};

const DOCK: &str = "4BKBJ4R1010TGD";
const CAMERA: &str = "dji/4BKBJ4R1010TGD/165-0-7/normal-0";

fn dock(stage: &Stage, flags: &[&str]) -> Sim {
    let own = ["--sn", DOCK, "--aircraft=1581F4BND22180040075"];
    Sim::start("dock", &stage.broker.url(), &[&own, flags].concat())
}

/// How often it was told to start.
fn starts(dock: &Sim) -> usize {
    dock.count("start")
}

#[tokio::test]
async fn a_dock_is_started_by_its_first_viewer_and_stopped_after_its_last() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[]).await;
    let dock = dock(&stage, &["--camera=165-0-7", "--camera=52-0-0:wide,zoom,ir"]);
    // It appears by itself.
    until("the dock is known", async || bridge.source(CAMERA).await).await;
    let devices: Value = bridge.ask("/v1/devices").await;
    assert!(devices.to_string().contains(DOCK), "{devices}");

    let first = stage.viewer_at(0, CAMERA).await;
    let start = dock.until("push_started", 1).await;
    assert_eq!(start["video_id"], &CAMERA["dji/".len()..]);
    let live = bridge.until_source(CAMERA, SourceState::Live).await;
    assert!(live.node.is_some());
    let second = stage.viewer_at(1, CAMERA).await;
    first.until_taken(100_000).await;
    second.until_taken(100_000).await;
    assert_eq!(starts(&dock), 1, "another viewer costs nothing");

    let seen = second.leaves().await.bytes;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.flv");
    std::fs::write(&file, seen).unwrap();
    assert!(Judge::default().decode(&file).await.unwrap().pictures > 10, "what was seen decodes");

    // Quality changes while it is live.
    let (status, body) = stage.command(CAMERA, "quality", "{\"quality\":2}").await;
    assert_eq!(status, 200, "{body}");
    dock.until("quality", 1).await;
    let (status, body) = stage.command(CAMERA, "quality", "{\"quality\":9}").await;
    assert_eq!(status, 400, "{body}");

    drop(first);
    dock.until("push_ended", 1).await;
    bridge.until_source(CAMERA, SourceState::Idle).await;
    assert_eq!(dock.events("push_ended")[0]["complaint"], "", "it was stopped, and not cut off");
}

#[tokio::test]
async fn a_lens_changes_while_it_is_live() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[]).await;
    let dock = dock(&stage, &["--camera=52-0-0:wide,zoom,ir"]);
    let camera = "dji/1581F4BND22180040075/52-0-0/normal-0";
    until("the aircraft's camera is known", async || bridge.source(camera).await).await;
    let viewer = stage.viewer(camera).await;
    bridge.until_source(camera, SourceState::Live).await;
    viewer.until_taken(50_000).await;
    let (status, body) = stage.command(camera, "lens", "{\"lens\":\"zoom\"}").await;
    assert_eq!(status, 200, "{body}");
    dock.until("lens", 1).await;
    let seen = viewer.taken();
    viewer.until_taken(seen + 100_000).await;
    bridge.until_source(camera, SourceState::Live).await;
    let (status, body) = stage.command(camera, "lens", "{\"lens\":\"fisheye\"}").await;
    assert_eq!(status, 422, "{body}");
}

#[tokio::test]
async fn replies_that_are_lost_late_twice_or_sloppy_start_nothing_twice() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[]).await;
    for faults in [&["--lose-replies=1"][..], &["--late-replies=500", "--duplicate-replies"], &["--sloppy"]] {
        let dock = dock(&stage, &[&["--camera=165-0-7"], faults].concat());
        until("the dock is known", async || bridge.source(CAMERA).await).await;
        let viewer = stage.viewer(CAMERA).await;
        bridge.until_source(CAMERA, SourceState::Live).await;
        viewer.until_taken(50_000).await;
        assert_eq!(dock.count("push_started"), 1, "{faults:?}");
        drop(viewer);
        bridge.until_source(CAMERA, SourceState::Idle).await;
        dock.until("push_ended", 1).await;
    }
}

#[tokio::test]
async fn a_dock_that_refuses_is_asked_again_and_the_reason_is_told() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[]).await;
    let dock = dock(&stage, &["--camera=165-0-7", "--fail-first=1:513010"]);
    until("the dock is known", async || bridge.source(CAMERA).await).await;
    let viewer = stage.viewer(CAMERA).await;
    until("what the device says is told", async || {
        let source = bridge.source(CAMERA).await.unwrap();
        (source.reason == Some(SourceReason::Device(513_010))).then_some(())
    })
    .await;
    bridge.until_source(CAMERA, SourceState::Live).await;
    viewer.until_taken(50_000).await;
    assert_eq!(starts(&dock), 2);
}

#[tokio::test]
async fn a_dock_that_says_it_streams_and_does_not_is_stopped_and_started_again() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[]).await;
    let dock = dock(&stage, &["--camera=165-0-7", "--no-media"]);
    until("the dock is known", async || bridge.source(CAMERA).await).await;
    let _viewer = stage.viewer(CAMERA).await;
    until("what keeps it from streaming is told", async || {
        let source = bridge.source(CAMERA).await.unwrap();
        assert_ne!(source.state, SourceState::Live, "the device's word is no media");
        // It cannot connect.
        (source.reason == Some(SourceReason::Device(513_010))).then_some(())
    })
    .await;
    dock.until("stop", 1).await;
    until("it is started again", async || (starts(&dock) >= 2).then_some(())).await;
}

#[tokio::test]
async fn when_the_node_of_a_live_dock_is_killed_it_streams_to_another_and_viewers_stay() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[]).await;
    let dock = dock(&stage, &["--camera=165-0-7"]);
    until("the dock is known", async || bridge.source(CAMERA).await).await;
    let viewers = [stage.viewer_at(0, CAMERA).await, stage.viewer_at(1, CAMERA).await];
    let origin = bridge.until_source(CAMERA, SourceState::Live).await.node.unwrap();
    for viewer in &viewers {
        viewer.until_taken(50_000).await;
    }
    let Stage { cluster, manager: _manager, broker: _broker } = stage;
    let [first, second] = cluster.members;
    let is_first = origin.as_str() == "n1";
    let [lost, _kept] = if is_first { [first, second] } else { [second, first] };
    let viewer = &viewers[usize::from(is_first)];
    lost.node.kill();
    dock.until("push_started", 2).await;
    let seen = viewer.taken();
    viewer.until_taken(seen + 50_000).await;
    let moved = bridge.until_source(CAMERA, SourceState::Live).await;
    assert_ne!(moved.node, Some(origin));
}

#[tokio::test]
async fn when_a_bridge_is_killed_the_other_takes_its_docks_and_starts_none_twice() {
    let stage = Stage::start().await;
    // A dock tells what it can do when that changes, and not again.
    let (one, other) = (stage.bridge(&[]).await, stage.bridge(&[]).await);
    let dock = dock(&stage, &["--camera=165-0-7"]);
    until("the dock is known", async || one.source(CAMERA).await).await;
    let viewer = stage.viewer(CAMERA).await;
    let holder = one.until_source(CAMERA, SourceState::Live).await.bridge.unwrap();
    viewer.until_taken(50_000).await;
    let is_first = one.log().contains(&format!("\"name\":\"{holder}\""));
    let (killed, heir) = if is_first { (one, other) } else { (other, one) };
    killed.kill();
    until("the other bridge has it", async || {
        heir.source(CAMERA).await.filter(|source| {
            source.state == SourceState::Live
                && source.bridge.as_ref().is_some_and(|bridge| *bridge != holder)
        })
    })
    .await;
    assert_eq!(dock.count("push_started"), 1, "it went on");
    assert_eq!(starts(&dock), 1);
    drop(viewer);
    dock.until("push_ended", 1).await;
    heir.until_source(CAMERA, SourceState::Idle).await;
}

#[tokio::test]
async fn when_all_bridges_die_with_a_docks_node_the_next_bridge_starts_it_anew_as_it_was_asked() {
    let stage = Stage::with(&["--grace=1s"]).await;
    let bridge = stage.bridge(&[]).await;
    // It says that it streams, to a node that is gone, and never to whom.
    let dock = dock(&stage, &["--camera=165-0-7", "--stays-live"]);
    until("the dock is known", async || bridge.source(CAMERA).await).await;
    let [one, two] = [stage.viewer_at(0, CAMERA).await, stage.viewer_at(1, CAMERA).await];
    let origin = bridge.until_source(CAMERA, SourceState::Live).await.node.unwrap();
    let (status, body) = stage.command(CAMERA, "quality", "{\"quality\":2}").await;
    assert_eq!(status, 200, "{body}");
    one.until_taken(50_000).await;
    two.until_taken(50_000).await;
    let is_first = origin.as_str() == "n1";
    let url = stage.url_at(usize::from(is_first), CAMERA).await;
    let around = stage.around();
    let Stage { cluster, manager: _manager, broker } = stage;
    let [first, second] = cluster.members;
    let [lost, _kept] = if is_first { [first, second] } else { [second, first] };
    bridge.kill();
    lost.node.kill();
    dock.until("push_ended", 1).await;
    // The node that is left holds its viewers for a while. Then they come back, as the page does, and wait.
    if is_first { two } else { one }.ended().await;
    let viewer = Receiver::connect(&url).await;
    let heir = stage::bridge(around, &[]).await;
    // It tells when something of that changes, such as why it does not get through.
    let live = json!({"video_id": &CAMERA["dji/".len()..], "video_type": "normal", "video_quality": 2, "status": 1,
        "error_status": 513_010});
    let state =
        json!({"tid": "t", "bid": "b", "timestamp": 1, "gateway": DOCK, "data": {"live_status": [live]}});
    broker.client().await.publish(&format!("thing/product/{DOCK}/state"), state.to_string()).await;
    until("the bridge knows that it is live", async || {
        let devices: Value = heir.ask("/v1/devices").await;
        devices.to_string().contains("\"live\":true").then_some(())
    })
    .await;
    dock.until("push_started", 2).await;
    let starts = dock.events("start");
    assert_eq!(starts.last().unwrap()["video_quality"], 2, "{starts:?}");
    assert_eq!(dock.count("stop"), 1, "what it said it did was ended");
    viewer.until_taken(50_000).await;
    let moved = heir.until_source(CAMERA, SourceState::Live).await;
    assert_ne!(moved.node, Some(origin));
}
