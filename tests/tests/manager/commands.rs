//! What operators have done.

use relay_proto::api::manager::{ClusterSession, NodeStated, SessionPage};
use relay_proto::registry::NodeState;
use relay_tests::cluster::Cluster;
use relay_tests::manager::Manager;
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::{http, until};

#[tokio::test]
async fn a_session_is_kicked_wherever_it_is() {
    let Cluster { members: [first, second], redis, nats } = Cluster::start(&[]).await;
    let manager = Manager::start(redis.address(), nats.address(), &[]).await;
    manager.until_nodes(2).await;
    let camera = Camera::start(&first.node, "cam/key", "camera").await;
    let kicked = Viewer::start(&second.node, "cam/key").await;
    let other = Viewer::start(&first.node, "cam/key").await;
    flows(&camera, &[&kicked, &other]).await;
    let sessions = until("all three sessions are listed", async || {
        let page: SessionPage = sessions(&manager, "channel=cam").await;
        assert!(page.missing.is_empty(), "{page:?}");
        (page.sessions.len() == 3).then_some(page.sessions)
    })
    .await;
    let is_kicked =
        |session: &&ClusterSession| session.node.as_str() == "n2" && session.session.kind == "receive";
    let id = sessions.iter().find(is_kicked).unwrap().session.session;
    let (status, body) = http::post(manager.address(), &format!("/v1/sessions/{id}:kick"), &[]).await;
    assert_eq!(status, 401, "without a token: {body}");
    let (status, body) = manager.command(&format!("/v1/sessions/{id}:kick")).await;
    assert_eq!(status, 200, "{body}");
    kicked.ends().await.is(1008, "kicked");
    flows(&camera, &[&other]).await;
    let (status, _) = manager.command(&format!("/v1/sessions/{id}:kick")).await;
    assert_eq!(status, 404, "it is gone");
}

async fn sessions(manager: &Manager, query: &str) -> SessionPage {
    let token = format!("Bearer {}", relay_tests::manager::OPERATOR_TOKEN);
    let (status, body) =
        http::get_with(manager.address(), &format!("/v1/sessions?{query}"), &[("Authorization", &token)])
            .await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn a_channel_is_closed_on_all_nodes() {
    let Cluster { members: [first, second], redis, nats } = Cluster::start(&[]).await;
    let manager = Manager::start(redis.address(), nats.address(), &[]).await;
    manager.until_nodes(2).await;
    let camera = Camera::start(&first.node, "cam/key", "camera").await;
    let viewers = [Viewer::start(&first.node, "cam/key").await, Viewer::start(&second.node, "cam/key").await];
    flows(&camera, &[&viewers[0], &viewers[1]]).await;
    let (status, body) = manager.command("/v1/channels/cam:close").await;
    assert_eq!(status, 200, "{body}");
    camera.ended().await.is(1008, "channel_closed");
    for viewer in &viewers {
        viewer.ends().await.is(1000, "publisher_ended");
    }
    until("it is not told of any more", async || manager.channel("cam").await.is_none().then_some(())).await;
    assert_eq!(manager.command("/v1/channels/cam:close").await.0, 409, "nobody publishes");
}

#[tokio::test]
async fn a_node_leaves_service_and_comes_back() {
    let Cluster { members: [first, second], redis, nats } = Cluster::start(&["--drain-deadline=2s"]).await;
    let manager = Manager::start(redis.address(), nats.address(), &[]).await;
    manager.until_nodes(2).await;
    let camera = Camera::start(&first.node, "cam/key", "camera").await;
    let viewer = Viewer::start(&first.node, "cam/key").await;
    flows(&camera, &[&viewer]).await;
    let (status, body) = manager.command("/v1/nodes/n1:drain").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(serde_json::from_str::<NodeStated>(&body).unwrap().state, NodeState::Draining);
    viewer.ends().await.is(1012, "draining");
    camera.ended().await.is(1012, "draining");
    assert_eq!(first.node.readyz().await.0, 503);
    for _ in 0..20 {
        assert_eq!(manager.pick("channel=x&role=publish").await.node.as_str(), "n2");
    }
    let (status, body) = manager.command("/v1/nodes/n1:undrain").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(serde_json::from_str::<NodeStated>(&body).unwrap().state, NodeState::InService);
    assert_eq!(first.node.readyz().await.0, 200);
    manager.until_nodes(2).await;
    let camera = Camera::start(&first.node, "cam/key", "again").await;
    let viewer = Viewer::start(&second.node, "cam/key").await;
    flows(&camera, &[&viewer]).await;
    assert_eq!(manager.command("/v1/nodes/nobody:drain").await.0, 404);
}
