//! What a stream-manager must not tell.

use relay_tests::cluster::Cluster;
use relay_tests::manager::{Manager, OPERATOR_TOKEN};
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::{http, until};

/// A key that stands nowhere else.
const KEY: &str = "a-key-that-nobody-may-see";

#[tokio::test]
async fn no_key_token_or_inner_address_is_in_an_answer_or_a_log() {
    let Cluster { members: [first, second], redis, nats } = Cluster::start(&[]).await;
    let manager =
        Manager::start(redis.address(), nats.address(), &["--addresses=proxied", "--log-level=trace"]).await;
    manager.until_nodes(2).await;
    let camera = Camera::start(&first.node, &format!("cam/{KEY}"), "camera").await;
    let viewer = Viewer::start(&second.node, &format!("cam/{KEY}")).await;
    flows(&camera, &[&viewer]).await;
    until("the channel is known", async || {
        manager.channel("cam").await.filter(|channel| channel.receivers == 1)
    })
    .await;
    let mut answers = Vec::new();
    for path in [
        "/v1/pick?channel=cam&role=receive",
        "/v1/pick?channel=cam&role=publish&explain=1",
        "/v1/pick?channel=../etc&role=publish&key=bad%00key",
        "/v1/nodes",
        "/v1/nodes/n1",
        "/v1/channels",
        "/v1/channels/cam",
        "/v1/channels/cam/probe",
        "/v1/channels/cam/snapshot",
        "/v1/capacity",
        "/v1/sessions",
        "/openapi.json",
        "/streammanager/api/4.0/event/live/cam?action=subscribe",
        "/streammanager/api/4.0/event/list",
        "/as/v1/streams/stream/default/subscribe/live/cam",
        &format!("/nowhere/{KEY}"),
    ] {
        answers.push((path.to_owned(), http::get(manager.address(), path).await.1));
    }
    for path in ["/v1/channels/none:close", "/v1/sessions/0000000000000000:kick", "/v1/nodes/none:drain"] {
        answers.push((path.to_owned(), manager.command(path).await.1));
    }
    // What was asked with a key is answered with it, to nobody else.
    let with_key = manager.pick(&format!("channel=cam&role=receive&key={KEY}")).await;
    assert!(with_key.urls.websocket.contains(KEY));
    answers.push(("metrics".to_owned(), manager.metrics().await.1));
    let inner = [first.node.address().to_string(), second.node.address().to_string()];
    for (path, answer) in &answers {
        assert!(!answer.contains(KEY), "{path}: {answer}");
        assert!(!answer.contains(OPERATOR_TOKEN), "{path}: {answer}");
        for address in &inner {
            assert!(!answer.contains(address.as_str()), "{path} tells {address}: {answer}");
        }
    }
    let log = manager.log();
    assert!(!log.contains(KEY) && !log.contains(OPERATOR_TOKEN), "{log}");
}
