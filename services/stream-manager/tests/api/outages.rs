//! What is answered while registry or backbone are away.

use std::time::Duration;

use relay_cluster::Registry;
use relay_cluster::backbone::Backbone;
use relay_proto::api::manager::{NodePage, Picks, Reach};
use relay_stream_manager::Config;

use crate::support::{Cluster, Node, Running, until};

/// Short, so that an outage is noticed soon; and nodes do not fall silent while they report.
const INTERVAL: Duration = Duration::from_millis(300);

fn config() -> Config {
    Config { registry_interval: INTERVAL, ..Cluster::config() }
}

async fn registry_is(running: &Running, reach: Reach) -> NodePage {
    until("the registry is seen as it is", async || {
        let page: NodePage = running.client.get("/v1/nodes").await.json();
        (page.view.registry == reach).then_some(page)
    })
    .await
}

#[tokio::test]
async fn picks_go_on_without_the_registry_and_say_so() {
    let cluster = Cluster::new();
    let running = cluster.manager_with(config()).await;
    let node = cluster.node("n1", &running).await;
    cluster.registry.set_outage(true);
    registry_is(&running, Reach::Down).await;
    for _ in 0..20 {
        node.report().await;
        let picks: Picks = until("the report is in", async || {
            let answer = running.client.get("/v1/pick").await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!((picks.view.registry, picks.view.backbone), (Reach::Down, Reach::Up));
    }
    assert_eq!(running.readiness.check(), Ok(()));
    assert_eq!(running.metric("relaycast_manager_registry_up", &[]), 0.0);
    cluster.registry.set_outage(false);
    registry_is(&running, Reach::Up).await;
    assert_eq!(running.metric("relaycast_manager_registry_up", &[]), 1.0);
}

#[tokio::test]
async fn nodes_are_known_by_the_registry_alone() {
    let cluster = Cluster::new();
    let running = cluster.manager_with(config()).await;
    running.backbone.set_connected(false);
    let node = Node::start(&cluster, "n1").await;
    let record = node.state.lock().unwrap().record.clone();
    cluster.registry.announce(&record, Duration::from_secs(60)).await.unwrap();
    let picks: Picks = until("a node is known", async || {
        let answer = running.client.get("/v1/pick").await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    assert_eq!((picks.view.registry, picks.view.backbone), (Reach::Up, Reach::Down));
    until("the metric says so", async || {
        (running.metric("relaycast_manager_backbone_up", &[]) == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reports_are_heard_again_when_the_backbone_is_back() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    running.backbone.set_connected(false);
    let node = Node::start(&cluster, "n1").await;
    node.report().await;
    assert_eq!(running.client.get("/v1/nodes/n1").await.status, 404);
    running.backbone.set_connected(true);
    node.known_to(&running).await;
}

#[tokio::test]
async fn a_stream_manager_that_has_heard_of_nothing_is_not_ready() {
    let cluster = Cluster::new();
    cluster.registry.set_outage(true);
    let running = cluster.unready_manager_with(config()).await;
    until("the registry has been asked twice", async || {
        (running.metric("relaycast_manager_registry_errors_total", &[]) >= 2.0).then_some(())
    })
    .await;
    assert_eq!(running.readiness.check(), Err(vec!["registry"]));
    // Nodes that report are enough.
    let node = Node::start(&cluster, "n1").await;
    until("it is ready", async || {
        node.report().await;
        running.readiness.check().ok()
    })
    .await;
}

#[tokio::test]
async fn messages_that_are_not_understood_are_counted_and_passed_over() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    let long = vec![b' '; (64 << 10) + 1];
    let messages: [&[u8]; 5] = [b"", b"{}", b"\xff", br#"{"report":"whole"}"#, &long];
    for subject in [cluster.subjects.reports(), cluster.subjects.picks()] {
        for message in messages {
            cluster.backbone.publish(&subject, None, bytes::Bytes::copy_from_slice(message)).await.unwrap();
        }
    }
    until("all are counted", async || {
        (running.metric("relaycast_manager_messages_not_understood_total", &[]) == 10.0).then_some(())
    })
    .await;
    node.known_to(&running).await;
}

#[tokio::test]
async fn figures_of_the_cluster_are_metrics() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    until("the node is counted", async || {
        (running.metric("relaycast_manager_nodes", &[("state", "in_service")]) == 1.0).then_some(())
    })
    .await;
    assert_eq!(running.metric("relaycast_manager_desired_nodes", &[]), 1.0);
}
