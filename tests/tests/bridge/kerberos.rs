//! Agents of Kerberos.

use relay_proto::source::{SourceReason, SourceState};
use relay_tests::sim::Sim;
use relay_tests::until;

use crate::stage::{Stage, channel};

const CAMERA: &str = "kerberos/the-hub/cam1";
const HIDDEN: &str = "hub-private-key";
const KNOWN: &str = "--kerberos-camera=cam1";
const PRIVATE_KEY: &str = "--kerberos-hub-private-key=hub-private-key";

/// How many pictures of motion JPEG there are: each begins with `FF D8 FF` and ends with `FF D9`.
fn pictures(bytes: &[u8]) -> usize {
    assert!(bytes.starts_with(&[0xFF, 0xD8, 0xFF]) && bytes.ends_with(&[0xFF, 0xD9]), "whole pictures");
    bytes.windows(3).filter(|window| *window == [0xFF, 0xD8, 0xFF]).count()
}

#[tokio::test]
async fn a_hidden_camera_is_started_by_its_first_viewer_and_stopped_after_its_last() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[KNOWN, PRIVATE_KEY]).await;
    let camera =
        Sim::start("kerberos", &stage.broker.url(), &["--hub=the-hub", "--device=cam1", "--hidden", HIDDEN]);
    camera.until("connected", 1).await;
    assert_eq!(bridge.source(CAMERA).await.unwrap().state, SourceState::Idle);
    assert_eq!(camera.count("requested"), 0, "nobody watches");

    let first = stage.viewer_at(0, CAMERA).await;
    let live = bridge.until_source(CAMERA, SourceState::Live).await;
    assert_eq!(live.online, Some(true));
    camera.until("picture", 2).await;

    // Another viewer, on another node, costs the camera nothing.
    let second = stage.viewer_at(1, CAMERA).await;
    camera.until("picture", 4).await;
    let publications = async || {
        let mut sum = 0.0;
        for member in &stage.cluster.members {
            sum += member.node.metric("relaycast_publications").await;
        }
        sum
    };
    assert_eq!(publications().await, 1.0);
    first.until_taken(10_000).await;
    second.until_taken(10_000).await;

    assert!(pictures(&first.leaves().await.bytes) >= 2);
    assert_eq!(bridge.source(CAMERA).await.unwrap().state, SourceState::Live, "one still watches");
    drop(second);
    bridge.until_source(CAMERA, SourceState::Idle).await;
    until("nobody publishes", async || (publications().await == 0.0).then_some(())).await;
    // Who is not asked stops by itself: a request that was on its way counts for three seconds.
    let asked = camera.count("requested");
    let third = stage.viewer_at(1, CAMERA).await;
    camera.until("requested", asked + 1).await;
    bridge.until_source(CAMERA, SourceState::Live).await;
    drop(third);
}

#[tokio::test]
async fn pictures_in_chunks_and_from_end_to_end_are_whole() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[KNOWN, PRIVATE_KEY, "--kerberos-symmetric-key=between-us"]).await;
    let flags = [
        "--hub=the-hub",
        "--device=cam1",
        "--hidden",
        HIDDEN,
        "--symmetric=between-us",
        "--chunked",
        "--image-bytes=120000",
    ];
    let camera = Sim::start("kerberos", &stage.broker.url(), &flags);
    let viewer = stage.viewer(CAMERA).await;
    camera.until("picture", 3).await;
    bridge.until_source(CAMERA, SourceState::Live).await;
    viewer.until_taken(240_000).await;
    assert!(pictures(&viewer.leaves().await.bytes) >= 2);
    assert_eq!(bridge.metric("relaycast_bridge_pictures_dropped_total").await, 0.0);
}

#[tokio::test]
async fn a_camera_that_is_silent_and_one_that_cannot_be_read_are_told_apart() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&["--kerberos-camera=cam1,cam2", "--kerberos-hub-private-key=another"]).await;
    let readable = "kerberos/the-hub/cam2";
    let silent = Sim::start("kerberos", &stage.broker.url(), &["--hub=the-hub", "--device=cam2", "--silent"]);
    let hidden =
        Sim::start("kerberos", &stage.broker.url(), &["--hub=the-hub", "--device=cam1", "--hidden", HIDDEN]);
    let _viewers = (stage.viewer(CAMERA).await, stage.viewer(readable).await);
    let reason = async |source: &str, reason: SourceReason| {
        until(&format!("{source}: {reason}"), async || {
            let told = bridge.source(source).await.unwrap();
            (told.reason == Some(reason.clone()) && told.state == SourceState::Starting).then_some(())
        })
        .await;
    };
    reason(CAMERA, SourceReason::DecryptFailed).await;
    reason(readable, SourceReason::NoMedia).await;
    assert!(silent.count("requested") > 0);
    assert_eq!(hidden.count("error"), 0, "an agent is never sent what is hidden by another key");
    // Stream-managers tell the same.
    until("the stream-manager tells why", async || {
        let (_, body) = relay_tests::http::get_with(
            stage.manager.address(),
            "/v1/sources?state=starting",
            &[("Authorization", &format!("Bearer {}", relay_tests::manager::OPERATOR_TOKEN))],
        )
        .await;
        (body.contains("decrypt_failed") && body.contains("no_media")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_operator_starts_it_without_viewers_and_turns_its_camera() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&[KNOWN]).await;
    let camera = Sim::start("kerberos", &stage.broker.url(), &["--hub=the-hub", "--device=cam1"]);
    camera.until("connected", 1).await;
    stage.url(CAMERA).await;
    let (status, body) = stage.command(CAMERA, "start", "{}").await;
    assert_eq!(status, 200, "{body}");
    bridge.until_source(CAMERA, SourceState::Live).await;
    let name = channel(CAMERA);
    until("the stream-manager knows the channel", async || stage.manager.channel(name.as_str()).await).await;
    let (status, body) = stage.command(CAMERA, "get-ptz-position", "{}").await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = stage.command(CAMERA, "request-config", "{}").await;
    assert_eq!(status, 422, "it would tell passwords: {body}");
    let (status, _) = stage.command("kerberos/the-hub/nobody", "start", "{}").await;
    assert_eq!(status, 404);
    let (status, body) = stage.command(CAMERA, "stop", "").await;
    assert_eq!(status, 200, "{body}");
    bridge.until_source(CAMERA, SourceState::Idle).await;
}
