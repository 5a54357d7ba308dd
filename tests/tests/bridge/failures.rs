//! What fails between a camera and who watches it.

use std::time::Duration;

use relay_proto::source::SourceState;
use relay_tests::sim::Sim;
use relay_tests::until;

use crate::stage::{Stage, channel};

const CAMERA: &str = "kerberos/the-hub/cam1";
const KNOWN: &str = "--kerberos-camera=cam1";

fn camera(stage: &Stage) -> Sim {
    Sim::start("kerberos", &stage.broker.url(), &["--hub=the-hub", "--device=cam1", "--image-bytes=5000"])
}

#[tokio::test]
async fn when_a_bridge_is_killed_another_takes_its_cameras_and_viewers_stay() {
    let stage = Stage::start().await;
    let _camera = camera(&stage);
    let (one, other) = (stage.bridge(&[KNOWN]).await, stage.bridge(&[KNOWN]).await);
    let viewer = stage.viewer(CAMERA).await;
    let live = one.until_source(CAMERA, SourceState::Live).await;
    viewer.until_taken(5_000).await;
    let holder = live.bridge.unwrap();
    let holds =
        |bridge: &relay_tests::bridge::Bridge| bridge.log().contains(&format!("\"name\":\"{holder}\""));
    let (killed, heir) = if holds(&one) { (one, other) } else { (other, one) };
    killed.kill();
    let moved = until("the other bridge has it", async || {
        heir.source(CAMERA).await.filter(|source| {
            source.state == SourceState::Live
                && source.bridge.as_ref().is_some_and(|bridge| *bridge != holder)
        })
    })
    .await;
    assert!(holds(&heir) || moved.bridge.is_some());
    // The same viewer, on the same connection.
    let seen = viewer.taken();
    viewer.until_taken(seen + 10_000).await;
    drop(viewer);
    heir.until_source(CAMERA, SourceState::Idle).await;
}

#[tokio::test]
async fn a_bridge_that_drains_hands_its_cameras_over() {
    let stage = Stage::start().await;
    let _camera = camera(&stage);
    let one = stage.bridge(&[KNOWN]).await;
    let viewer = stage.viewer(CAMERA).await;
    one.until_source(CAMERA, SourceState::Live).await;
    viewer.until_taken(5_000).await;
    let other = stage.bridge(&[KNOWN]).await;
    one.drain().await;
    let seen = viewer.taken();
    viewer.until_taken(seen + 10_000).await;
    let live = other.until_source(CAMERA, SourceState::Live).await;
    assert!(live.bridge.is_some());
}

#[tokio::test]
async fn when_the_node_of_a_live_camera_is_killed_it_goes_to_another() {
    let stage = Stage::start().await;
    let _camera = camera(&stage);
    let bridge = stage.bridge(&[KNOWN]).await;
    // Whoever watches is on the first node, and the camera on either.
    let viewers = [stage.viewer_at(0, CAMERA).await, stage.viewer_at(1, CAMERA).await];
    let live = bridge.until_source(CAMERA, SourceState::Live).await;
    let origin = live.node.unwrap();
    for viewer in &viewers {
        viewer.until_taken(5_000).await;
    }
    let Stage { cluster, manager: _manager, broker: _broker } = stage;
    let [first, second] = cluster.members;
    let [lost, kept] = if origin.as_str() == "n1" { [first, second] } else { [second, first] };
    let kept_viewer = &viewers[usize::from(origin.as_str() == "n1")];
    lost.node.kill();
    let seen = kept_viewer.taken();
    kept_viewer.until_taken(seen + 10_000).await;
    let moved = bridge.until_source(CAMERA, SourceState::Live).await;
    assert_ne!(moved.node.as_ref(), Some(&origin));
    drop(kept);
}

#[tokio::test]
async fn when_the_broker_comes_back_pictures_do_too() {
    let mut stage = Stage::start().await;
    let camera = camera(&stage);
    let bridge = stage.bridge(&[KNOWN]).await;
    let viewer = stage.viewer(CAMERA).await;
    bridge.until_source(CAMERA, SourceState::Live).await;
    viewer.until_taken(5_000).await;
    stage.broker.kill();
    until("the bridge notices", async || {
        (bridge.metric("relaycast_bridge_broker_connected").await == 0.0).then_some(())
    })
    .await;
    let requested = camera.count("requested");
    stage.broker.restart().await;
    camera.until("requested", requested + 1).await;
    let seen = viewer.taken();
    viewer.until_taken(seen + 10_000).await;
    bridge.until_source(CAMERA, SourceState::Live).await;
}

#[tokio::test]
async fn what_is_malformed_is_counted_and_no_secret_is_told() {
    let stage = Stage::start().await;
    let private = "a-private-key-that-nobody-may-read";
    let flag = format!("--kerberos-hub-private-key={private}");
    let bridge = stage.bridge(&[KNOWN, &flag, "--log-level=trace"]).await;
    let _viewer = stage.viewer(CAMERA).await;
    // What nobody waits for is not looked at.
    until("the camera is asked", async || {
        let metrics = bridge.metrics().await.1;
        metrics.contains("relaycast_bridge_commands_total{kind=\"kerberos\",what=\"start\"} 1").then_some(())
    })
    .await;
    let mut client = stage.broker.client().await;
    let topic = "kerberos/hub/the-hub";
    let picture = |image: &str| {
        format!(
            "{{\"mid\":\"a\",\"device_id\":\"cam1\",\"timestamp\":1,\"payload\":{{\"action\":\"receive-sd-stream\",\
             \"device_id\":\"cam1\",\"value\":{{\"image\":\"{image}\"}}}}}}"
        )
    };
    let hidden = "{\"mid\":\"a\",\"device_id\":\"cam1\",\"timestamp\":1,\"hidden\":true,\"payload\":{\"action\":\"receive-sd-stream\",\
                  \"hidden_value\":\"U2FsdGVkX18AAQIDBAUGBzqh2r2qaPysOXzM9AGJNRQ=\"}}";
    let large = "x".repeat(10_000_000);
    let bad = [String::new(), "{".to_owned(), picture("%%%"), picture("aGVsbG8="), hidden.to_owned(), large];
    for message in &bad {
        client.publish(topic, message.clone()).await;
    }
    until("all of them are counted", async || {
        let metrics = bridge.metrics().await.1;
        let counted: f64 = metrics
            .lines()
            .filter(|line| line.starts_with("relaycast_bridge_malformed_total{"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        (counted >= bad.len() as f64).then_some(())
    })
    .await;
    // It goes on.
    let camera =
        Sim::start("kerberos", &stage.broker.url(), &["--hub=the-hub", "--device=cam1", "--hidden", private]);
    camera.until("picture", 1).await;
    bridge.until_source(CAMERA, SourceState::Live).await;
    let url = stage.url(CAMERA).await;
    let watching_key = url.split('/').nth(4).unwrap();
    let keys = relay_proto::source::SourceKeys::of(relay_tests::cluster::SECRET.as_bytes(), &channel(CAMERA))
        .unwrap();
    assert_eq!(keys.watch.expose(), watching_key);
    let told = [bridge.log(), bridge.metrics().await.1].concat();
    for secret in [private, keys.publish.expose(), watching_key, relay_tests::cluster::SECRET] {
        assert!(!told.contains(secret), "a secret is told");
    }
    tokio::time::timeout(Duration::from_secs(60), bridge.drain()).await.unwrap();
}
