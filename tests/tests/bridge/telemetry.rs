//! A program that publishes numbers over MQTT, and pictures by itself.

use relay_tests::HANG;
use relay_tests::client::Publisher;
use relay_tests::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::Stage;

#[tokio::test]
async fn what_is_published_on_a_topic_is_told_beside_the_picture() {
    let stage = Stage::start().await;
    let bridge = stage.bridge(&["--telemetry=stats/{channel}/#,weather=cam1"]).await;
    let node = &stage.cluster.members[0].node;
    let mut publisher = Publisher::connect(&node.url("cam1/key/publish")).await;
    publisher.chunk("anything".into()).await;
    node.until_live("cam1").await;
    let mut program = stage.broker.client().await;
    // Before anybody looks: the last is told again.
    program.publish("stats/cam1/encoder", r#"{"fps": 25, "dropped": 3}"#).await;
    program.publish("stats/cam2/encoder", r#"{"fps": 1}"#).await;

    let mut follower = TcpStream::connect(node.address()).await.unwrap();
    let request =
        format!("GET /v1/channels/cam1/events?key=key HTTP/1.1\r\nHost: {}\r\n\r\n", node.address());
    follower.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    let mut until_said = async |text: &str| {
        let read = async {
            while !said.contains(text) {
                let mut buffer = [0; 4096];
                let len = follower.read(&mut buffer).await.unwrap();
                assert!(len > 0, "{said}");
                said.push_str(&String::from_utf8_lossy(&buffer[..len]));
            }
        };
        assert!(timeout(HANG, read).await.is_ok(), "{text} is not told: {said}");
    };
    until_said(r#""value":{"dropped":3,"fps":25}"#).await;
    program.publish("weather", "\"rain\"").await;
    until_said(r#""topic":"weather""#).await;
    program.publish("weather", "no JSON").await;
    program.publish("weather", "\"sun\"").await;
    until_said(r#""value":"sun""#).await;
    assert!(!said.contains("cam2"), "{said}");
    until("what is no JSON is counted", async || {
        let metrics = bridge.metrics().await.1;
        metrics.contains("relaycast_bridge_malformed_total{what=\"telemetry\"} 1").then_some(())
    })
    .await;
}
