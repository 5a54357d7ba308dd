//! `GET /v1/pick`.

use std::time::Duration;

use relay_proto::api::manager::{Picks, Reach};
use relay_proto::api::{Channel, ChannelState};
use relay_proto::registry::NodeState;
use relay_stream_manager::Config;
use relay_stream_manager::config::Addresses;

use crate::support::{Cluster, channel, live, until};

#[tokio::test]
async fn a_pick_is_ready_to_use() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let picks: Picks = running.client.get("/v1/pick?channel=cam1&key=k3y&role=receive").await.json();
    let [pick] = picks.picks.as_slice() else { panic!("{picks:?}") };
    assert_eq!(pick.node.as_str(), "n1");
    assert_eq!(pick.urls.websocket, "ws://n1.example:8080/cam1/k3y/receive");
    assert_eq!(pick.urls.page.as_deref(), Some("http://n1.example:8080/#watch=cam1&key=k3y"));
    assert_eq!(pick.reserved_ms, 10_000);
    assert_eq!((picks.view.registry, picks.view.backbone), (Reach::Up, Reach::Up));
    assert_eq!(
        running.metric("relaycast_manager_picks_total", &[("role", "receive"), ("result", "placed")]),
        1.0
    );
    let publish: Picks = running.client.get("/v1/pick?channel=cam1&role=publish").await.json();
    assert_eq!(publish.picks[0].urls.websocket, "ws://n1.example:8080/cam1/{key}/publish");
}

#[tokio::test]
async fn the_answer_has_the_members_of_its_type_and_no_others() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    {
        let mut state = node.state.lock().unwrap();
        (state.record.region, state.record.zone) = (Some("eu".to_owned()), Some("a".to_owned()));
    }
    node.carry(&running, [live("cam1")]).await;
    for path in ["/v1/pick?channel=cam1", "/v1/pick?n=2&explain=1", "/v1/pick"] {
        let answer = running.client.get(path).await;
        let picks: Picks = answer.json();
        assert_eq!(serde_json::to_value(&picks).unwrap(), answer.json::<serde_json::Value>(), "{path}");
    }
    let picks: Picks = running.client.get("/v1/pick?channel=cam1").await.json();
    assert!(picks.picks[0].carries);
    assert_eq!(picks.picks[0].region.as_deref(), Some("eu"));
}

#[tokio::test]
async fn where_clients_do_not_reach_nodes_no_address_of_theirs_is_told() {
    let cluster = Cluster::new();
    let config = Config {
        addresses: Addresses::Proxied,
        public_url: Some("https://live.example".to_owned()),
        ..Cluster::config()
    };
    let running = cluster.manager_with(config).await;
    let _node = cluster.node("n1", &running).await;
    let answer = running.client.get("/v1/pick?channel=cam1&key=k&n=2").await;
    let picks: Picks = answer.json();
    assert_eq!(picks.picks[0].urls.websocket, "wss://live.example/n/n1/cam1/k/receive");
    assert_eq!(picks.picks[0].urls.page, None);
    for path in
        ["/v1/pick?channel=cam1&explain=1", "/v1/nodes", "/v1/nodes/n1", "/v1/channels", "/v1/capacity"]
    {
        let answer = running.client.get(path).await;
        assert!(answer.status == 200 && !answer.text().contains("n1.example"), "{path}: {}", answer.text());
    }
    assert!(running.client.read("/v1/nodes/n1").await.text().contains("ws://n1.example:8080"));
}

#[tokio::test]
async fn a_pick_keeps_a_place_and_a_look_does_not() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let reserved = async || {
        let node: relay_proto::api::manager::ClusterNode = running.client.get("/v1/nodes/n1").await.json();
        node.reserved
    };
    assert_eq!(running.client.send("HEAD", "/v1/pick", &[]).await.status, 200);
    assert_eq!(reserved().await, 0);
    running.client.get("/v1/pick").await;
    running.client.get("/v1/pick").await;
    assert_eq!(reserved().await, 2);
}

#[tokio::test]
async fn replicas_hear_of_each_others_picks() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.manager().await, cluster.manager().await);
    let node = cluster.node("n1", &one).await;
    node.known_to(&other).await;
    for _ in 0..5 {
        one.client.get("/v1/pick").await;
    }
    for running in [&one, &other] {
        let reserved = async || {
            let node: relay_proto::api::manager::ClusterNode =
                running.client.get("/v1/nodes/n1").await.json();
            (node.reserved == 5).then_some(())
        };
        until("both count five", reserved).await;
    }
}

#[tokio::test]
async fn several_nodes_are_told_and_some_left_out() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let mut nodes = Vec::new();
    for name in ["n1", "n2", "n3"] {
        nodes.push(cluster.node(name, &running).await);
    }
    let names = async |query: &str| {
        let picks: Picks = running.client.get(&format!("/v1/pick?{query}")).await.json();
        let mut names: Vec<String> = picks.picks.into_iter().map(|pick| pick.node.to_string()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names("n=9").await, ["n1", "n2", "n3"]);
    assert_eq!(names("n=9&exclude=n1,n3").await, ["n2"]);
    assert_eq!(names("n=9&exclude=n1&exclude=n2").await, ["n3"]);
    let none = running.client.get("/v1/pick?exclude=n1,n2,n3").await;
    assert_eq!(none.problem(), (503, "no-node".to_owned()));
    assert_eq!(none.detail(), "of the nodes that are known 3 excluded");
}

#[tokio::test]
async fn where_there_is_no_node_it_is_said_when_to_come_back() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let answer = running.client.get("/v1/pick").await;
    assert_eq!(answer.problem(), (503, "no-node".to_owned()));
    assert!(matches!(answer.header("retry-after"), Some("1" | "2")), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let node = cluster.node("n1", &running).await;
    node.state.lock().unwrap().record.state = NodeState::Draining;
    until("the node drains", async || {
        node.report().await;
        let answer = running.client.get("/v1/pick").await;
        (answer.status == 503 && answer.detail() == "of the nodes that are known 1 draining").then_some(())
    })
    .await;
}

#[tokio::test]
async fn bad_parameters_are_named_and_their_values_are_not_told() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let long = "s".repeat(129);
    for (query, name) in [
        ("channel=s3cret!", "channel"),
        ("channel=", "channel"),
        (&format!("channel={long}"), "channel"),
        ("key=s3cret!", "key"),
        ("role=s3cret", "role"),
        ("region=", "region"),
        (&format!("region={long}"), "region"),
        ("strict=s3cret", "strict"),
        ("n=0", "n"),
        ("n=65", "n"),
        ("n=s3cret", "n"),
        ("wait=31", "wait"),
        ("wait=-1", "wait"),
        ("explain=2", "explain"),
        ("exclude=s3cret!", "exclude"),
        (&format!("exclude={}", vec!["n"; 65].join(",")), "exclude"),
        ("channel=a&channel=b", "channel"),
        ("chanel=s3cret", "channel, source, role"),
        ("source=s3cret", "source"),
        ("channel=%ff", "the query"),
        ("channel=%s3cret", "the query"),
    ] {
        let answer = running.client.get(&format!("/v1/pick?{query}")).await;
        assert_eq!(answer.problem(), (400, "bad-parameter".to_owned()), "{query}");
        assert!(answer.detail().contains(name) && !answer.text().contains("s3cret"), "{}", answer.text());
    }
    for good in ["n=64", "wait=0", &format!("exclude={}", vec!["n"; 64].join(",")), "channel=%63am1", "&&"] {
        assert_eq!(running.client.get(&format!("/v1/pick?{good}")).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn who_waits_is_answered_as_soon_as_the_channel_is_live() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    node.carry(&running, [Channel { receivers: 1, ..channel("cam1", ChannelState::Waiting) }]).await;
    let client = running.client;
    let wait = client.get("/v1/pick?channel=cam1&wait=30");
    let publish = async {
        // It waits: whoever does not is answered while it does.
        assert_eq!(client.get("/v1/pick?channel=cam1").await.status, 200);
        node.carry(&running, [live("cam1")]).await;
    };
    let (answer, ()) = tokio::join!(wait, publish);
    assert!(answer.json::<Picks>().picks[0].carries);
}

#[tokio::test]
async fn who_waits_for_a_node_gets_the_first() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let (answer, _node) =
        tokio::join!(running.client.get("/v1/pick?role=publish&wait=30"), cluster.node("n1", &running));
    assert_eq!(answer.json::<Picks>().picks[0].node.as_str(), "n1");
}

#[tokio::test]
async fn who_waits_in_vain_is_answered_in_time() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let began = std::time::Instant::now();
    let nobody = running.client.get("/v1/pick?wait=1").await;
    assert_eq!(nobody.problem().0, 503);
    let _node = cluster.node("n1", &running).await;
    // Receivers may wait on the node too.
    let nothing: Picks = running.client.get("/v1/pick?channel=cam1&wait=1").await.json();
    assert!(!nothing.picks[0].carries);
    assert!(began.elapsed() >= Duration::from_secs(2));
}
