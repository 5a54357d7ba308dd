//! Closing, kicking, draining.

use relay_proto::api::Session;
use relay_proto::api::manager::{Ended, NodeStated};
use relay_proto::registry::NodeState;

use crate::support::{Cluster, live};

pub(crate) fn session(number: u64, channel: &str) -> Session {
    Session {
        session: relay_proto::SessionId::new(number),
        kind: "receive".to_owned(),
        channel: channel.parse().unwrap(),
        sent_bytes: 9,
        started_at: "2026-01-31T12:00:00Z".to_owned(),
    }
}

#[tokio::test]
async fn a_channel_is_closed_by_the_node_that_has_it() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _other = cluster.node("n1", &running).await;
    let node = cluster.node("n2", &running).await;
    node.carry(&running, [live("cam1")]).await;
    let ended: Ended = running.client.post("/v1/channels/cam1:close").await.json();
    assert_eq!((ended.node.as_str(), ended.sessions), ("n2", 1));
    assert_eq!(running.client.post("/v1/channels/cam1:close").await.problem(), (409, "not-live".to_owned()));
}

#[tokio::test]
async fn a_session_is_ended_wherever_it_is() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _other = cluster.node("n1", &running).await;
    let node = cluster.node("n2", &running).await;
    node.state.lock().unwrap().sessions = vec![session(0xAB, "cam1")];
    let ended: Ended = running.client.post("/v1/sessions/00000000000000ab:kick").await.json();
    assert_eq!((ended.node.as_str(), ended.sessions), ("n2", 1));
    let gone = running.client.post("/v1/sessions/00000000000000ab:kick").await;
    assert_eq!(gone.problem(), (404, "no-such-session".to_owned()));
}

#[tokio::test]
async fn a_node_is_taken_out_of_service_and_put_back() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    let drained: NodeStated = running.client.post("/v1/nodes/n1:drain").await.json();
    assert_eq!((drained.node.as_str(), drained.state), ("n1", NodeState::Draining));
    let back: NodeStated = running.client.post("/v1/nodes/n1:undrain").await.json();
    assert_eq!(back.state, NodeState::InService);
    assert_eq!(running.client.post("/v1/nodes/n9:drain").await.problem(), (404, "no-such-node".to_owned()));
    node.state.lock().unwrap().answers = false;
    assert_eq!(running.client.post("/v1/nodes/n1:drain").await.problem(), (504, "node-silent".to_owned()));
    drop(node);
    crate::support::until("nobody hears the node's subject", async || {
        (running.client.post("/v1/nodes/n1:drain").await.problem().0 == 504).then_some(())
    })
    .await;
    running.backbone.set_connected(false);
    for path in ["/v1/nodes/n1:drain", "/v1/channels/cam1:close", "/v1/sessions/0000000000000001:kick"] {
        let answer = running.client.post(path).await;
        assert_eq!(answer.problem(), (503, "unavailable".to_owned()), "{path}");
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_told_apart() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    for (path, expected) in [
        ("/v1/nodes/n1:restart", (404, "no-such-path")),
        ("/v1/nodes/n1:", (404, "no-such-path")),
        ("/v1/nodes/n1:drain:now", (404, "no-such-path")),
        ("/v1/nodes/n!:drain", (400, "bad-parameter")),
        ("/v1/nodes/:drain", (400, "bad-parameter")),
        ("/v1/nodes/n1:drain?now=1", (400, "bad-parameter")),
        ("/v1/nodes/n1", (405, "method-not-allowed")),
        ("/v1/channels/cam1", (405, "method-not-allowed")),
        ("/v1/channels/cam1:open", (404, "no-such-path")),
        ("/v1/channels/%ff:close", (400, "bad-parameter")),
        ("/v1/sessions/1:kick", (400, "bad-parameter")),
        ("/v1/sessions/00000000000000AB:kick", (400, "bad-parameter")),
        ("/v1/sessions/00000000000000ab", (404, "no-such-path")),
    ] {
        let answer = running.client.post(path).await;
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{path}");
        if expected.0 == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{path}");
        }
    }
    for path in ["/v1/nodes/n1:drain", "/v1/channels/cam1:close"] {
        let answer = running.client.get(path).await;
        assert_eq!((answer.problem().0, answer.header("allow")), (405, Some("POST")), "{path}");
    }
}
