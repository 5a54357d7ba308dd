//! `GET /v1/nodes`, `GET /v1/capacity`.

use relay_proto::api::manager::{CapacityReport, ClusterNode, NodePage};
use relay_proto::registry::NodeState;

use crate::support::{Cluster, live};

#[tokio::test]
async fn nodes_are_told_by_name_in_pages() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let mut nodes = Vec::new();
    for name in ["n3", "n1", "n2"] {
        nodes.push(cluster.node(name, &running).await);
    }
    let page = async |query: &str| {
        let page: NodePage = running.client.get(&format!("/v1/nodes?{query}")).await.json();
        (page.nodes.into_iter().map(|node| node.node.to_string()).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page("").await, (vec!["n1".to_owned(), "n2".to_owned(), "n3".to_owned()], None));
    assert_eq!(page("limit=2").await, (vec!["n1".to_owned(), "n2".to_owned()], Some("n2".to_owned())));
    assert_eq!(page("limit=2&after=n2").await, (vec!["n3".to_owned()], None));
    assert_eq!(page("limit=3").await.1, None);
    assert_eq!(page("after=n9").await, (vec![], None));
}

#[tokio::test]
async fn nodes_are_filtered() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _one = cluster.node("n1", &running).await;
    let two = cluster.node("n2", &running).await;
    {
        let mut state = two.state.lock().unwrap();
        (state.record.state, state.record.region) = (NodeState::Draining, Some("eu".to_owned()));
    }
    // Another channel shows that the report was taken in.
    two.carry(&running, [live("cam1")]).await;
    for (query, expected) in [
        ("state=in_service", &["n1"][..]),
        ("state=draining", &["n2"]),
        ("state=silent", &[]),
        ("region=eu", &["n2"]),
        ("region=eu&state=in_service", &[]),
    ] {
        let page: NodePage = running.client.get(&format!("/v1/nodes?{query}")).await.json();
        let names: Vec<&str> = page.nodes.iter().map(|node| node.node.as_str()).collect();
        assert_eq!(names, expected, "{query}");
    }
}

#[tokio::test]
async fn one_node_is_told() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    node.carry(&running, [live("cam1")]).await;
    let told: ClusterNode = running.client.get("/v1/nodes/n1").await.json();
    assert_eq!((told.channels, told.silent, told.url.as_deref()), (1, false, Some("ws://n1.example:8080")));
    assert_eq!(told.started_at, "2026-01-31T12:00:00Z");
    assert_eq!(running.client.get("/v1/nodes/n2").await.problem(), (404, "no-such-node".to_owned()));
    assert_eq!(running.client.get("/v1/nodes/n%201").await.problem(), (400, "bad-parameter".to_owned()));
}

#[tokio::test]
async fn what_the_cluster_can_carry_is_told() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let report: CapacityReport = running.client.get("/v1/capacity").await.json();
    assert_eq!((report.nodes, report.desired_nodes, report.sessions.capacity), (1, 1, Some(1000)));
}
