//! Clients, as they are written.

use relay_proto::api::{Channel, ChannelState};
use relay_stream_manager::Config;
use relay_stream_manager::config::Addresses;
use serde_json::Value;

use crate::support::{Answer, Client, Cluster, Node, Running, channel, live};

const EVENT: &str = "/streammanager/api/4.0/event";
const STREAM: &str = "/as/v1/streams/stream";

/// As a browser's `fetch` has it.
struct Fetched {
    status: u16,
    is_json: bool,
    json: Value,
}

async fn fetch(client: &Client, path: &str) -> Fetched {
    let answer = client.send("GET", path, &[("origin", "https://app.example")]).await;
    // Without it a page of another origin gets nothing, whatever the answer.
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
    read(&answer)
}

fn read(answer: &Answer) -> Fetched {
    Fetched {
        status: answer.status,
        is_json: answer.header("content-type").is_some_and(|kind| kind.contains("application/json")),
        json: serde_json::from_slice(&answer.body).unwrap(),
    }
}

/// What a player or a publisher of 1.x is set up with: host, application and name of the stream.
async fn determine(client: &Client, path: &str) -> Result<(String, String, String), String> {
    let Fetched { status, is_json, json } = fetch(client, path).await;
    if status != 200 || !is_json {
        return Err(json["errorMessage"].as_str().unwrap().to_owned());
    }
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    // The slash is cut off without a look.
    Ok((text("serverAddress"), text("scope")[1..].to_owned(), text("name")))
}

/// Streams of an application, as pages list them.
async fn stream_list(client: &Client, scope: &str) -> Vec<String> {
    let Fetched { json, .. } = fetch(client, &format!("{EVENT}/list")).await;
    let rows = json.as_array().unwrap().iter();
    rows.filter(|row| row["scope"] == scope && row["type"] == "edge")
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The server of a stream in 2.0. The status is not looked at.
async fn server(client: &Client, path: &str) -> Result<(String, String), String> {
    let Fetched { json, .. } = fetch(client, path).await;
    if let Some(message) = json["errorMessage"].as_str() {
        return Err(message.to_owned());
    }
    let first = json.as_array().and_then(|list| list.first()).unwrap_or(&json);
    let text = |name: &str| first[name].as_str().unwrap().to_owned();
    Ok((text("serverAddress"), text("streamGuid")))
}

/// What a load bot prints: the address, or 0.
async fn bot(client: &Client, path: &str) -> String {
    let Fetched { json, .. } = fetch(client, path).await;
    let json = if json.is_array() { json[0].clone() } else { json };
    json["serverAddress"].as_str().unwrap_or("0").to_owned()
}

async fn two_nodes() -> (Cluster, Running, Node, Node) {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let (one, two) = (cluster.node("n1", &manager).await, cluster.node("n2", &manager).await);
    (cluster, manager, one, two)
}

#[tokio::test]
async fn a_client_of_1_x_publishes_and_plays() {
    let (_cluster, manager, node, _other) = two_nodes().await;
    let client = &manager.client;
    let publish = format!("{EVENT}/live/cam?action=broadcast");
    let (host, app, name) = determine(client, &publish).await.unwrap();
    assert!(["n1.example", "n2.example"].contains(&&*host), "{host}");
    assert_eq!((&*app, &*name), ("live", "cam"));

    // A player that is too early tries again, and finds out why from the answer.
    let play = format!("{EVENT}/live/cam?action=subscribe&accessToken=any");
    assert_eq!(determine(client, &play).await.unwrap_err(), "nobody publishes the stream");
    assert_eq!(bot(client, &play).await, "0");
    node.carry(&manager, [live("cam")]).await;
    let (host, app, name) = determine(client, &play).await.unwrap();
    assert_eq!((&*host, &*app, &*name), ("n1.example", "live", "cam"));
    assert_eq!(bot(client, &play).await, "n1.example");
    // Whoever publishes may come back to it.
    assert!(determine(client, &publish).await.is_ok());
}

#[tokio::test]
async fn a_client_that_wants_two_servers_gets_a_list() {
    let (_cluster, manager, node, _other) = two_nodes().await;
    node.carry(&manager, [live("cam")]).await;
    for action in ["broadcast", "subscribe"] {
        let path = format!("{EVENT}/live/cam?action={action}&endpoints=2");
        let Fetched { json, .. } = fetch(&manager.client, &path).await;
        let mut hosts: Vec<&str> =
            json.as_array().unwrap().iter().map(|server| server["serverAddress"].as_str().unwrap()).collect();
        hosts.sort_unstable();
        assert_eq!(hosts, ["n1.example", "n2.example"]);
    }
}

#[tokio::test]
async fn pages_find_a_stream_that_nobody_has_watched_yet() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let node = cluster.node("n1", &manager).await;
    assert!(stream_list(&manager.client, "live").await.is_empty());
    let waited = Channel { receivers: 1, ..channel("waited", ChannelState::Waiting) };
    node.carry(&manager, [live("cam"), waited]).await;
    assert_eq!(stream_list(&manager.client, "live").await, ["cam"]);
    assert!(stream_list(&manager.client, "other").await.is_empty());
}

#[tokio::test]
async fn streams_are_listed_under_the_application_of_the_settings() {
    let cluster = Cluster::new();
    let manager = cluster.manager_with(Config { red5_app: "webinars".to_owned(), ..Cluster::config() }).await;
    let node = cluster.node("n1", &manager).await;
    node.carry(&manager, [live("cam")]).await;
    assert_eq!(stream_list(&manager.client, "webinars").await, ["cam"]);
}

#[tokio::test]
async fn a_client_of_2_0_publishes_and_plays() {
    let (_cluster, manager, node, _other) = two_nodes().await;
    let client = &manager.client;
    let (publish, play) =
        (format!("{STREAM}/default/publish/live/cam"), format!("{STREAM}/default/subscribe/live/cam"));
    let (_, guid) = server(client, &publish).await.unwrap();
    assert_eq!(guid, "live/cam");
    assert_eq!(server(client, &play).await.unwrap_err(), "nobody publishes the stream");
    node.carry(&manager, [live("cam")]).await;
    assert_eq!(server(client, &play).await.unwrap(), ("n1.example".to_owned(), "live/cam".to_owned()));
    assert_eq!(server(client, &publish).await.unwrap_err(), "the stream is published already");
    assert_eq!(bot(client, &format!("{play}?strict=false&endpoints=1")).await, "n1.example");
    let origin = fetch(client, &format!("{STREAM}/default/stream/live/cam?aggregate=true")).await;
    assert_eq!(origin.json[0]["serverAddress"], "n1.example");

    // Its publisher has lost the connection, and comes back.
    node.carry(&manager, [channel("cam", ChannelState::Held)]).await;
    assert!(server(client, &publish).await.is_ok());
}

#[tokio::test]
async fn a_login_says_what_to_do_instead() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let answer = manager.client.send("PUT", "/as/v1/auth/login", &[("authorization", "Basic eDp5")]).await;
    let Fetched { status, is_json, json } = read(&answer);
    assert_eq!((status, is_json), (404, true));
    assert!(json["errorMessage"].as_str().unwrap().contains("Bearer"));
}

#[tokio::test]
async fn clients_that_go_through_the_stream_manager_learn_no_address() {
    let cluster = Cluster::new();
    let config = Config {
        addresses: Addresses::Proxied,
        public_url: Some("https://live.example".to_owned()),
        ..Cluster::config()
    };
    let manager = cluster.manager_with(config).await;
    let node = cluster.node("n1", &manager).await;
    node.carry(&manager, [live("cam")]).await;
    for path in [
        format!("{EVENT}/live/cam?action=subscribe"),
        format!("{EVENT}/list"),
        format!("{EVENT}/list/stats"),
        format!("{EVENT}/live/cam/stats"),
        format!("{STREAM}/default"),
        format!("{STREAM}/default/subscribe/live/cam"),
    ] {
        let answer = manager.client.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains("live.example") && !answer.text().contains("n1.example"), "{path}");
    }
    let Fetched { json, .. } = fetch(&manager.client, &format!("{EVENT}/live/cam?action=subscribe")).await;
    assert_eq!(json["url"], "wss://live.example/n/n1/cam/{key}/receive");
    assert_eq!((&json["hostname"], &json["port"]), (&"live.example".into(), &443.into()));
}

#[tokio::test]
async fn a_request_that_only_looks_keeps_no_place() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let _node = cluster.node("n1", &manager).await;
    let reserved = async || manager.client.get("/v1/nodes/n1").await.json::<Value>()["reserved"].clone();
    for path in [format!("{EVENT}/live/a?action=broadcast"), format!("{STREAM}/default/publish/live/a")] {
        let answer = manager.client.send("HEAD", &path, &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    }
    assert_eq!(reserved().await, 0);
    fetch(&manager.client, &format!("{EVENT}/live/a?action=broadcast")).await;
    assert_eq!(reserved().await, 1);
    assert_eq!(manager.metric("relaycast_manager_picks_total", &[("result", "placed")]), 3.0);
}

#[tokio::test]
async fn a_browser_that_asks_first_is_let_through() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    for path in [format!("{EVENT}/list"), format!("{STREAM}/default"), "/as/v1/auth/login".to_owned()] {
        let preflight = [("origin", "https://app.example"), ("access-control-request-method", "GET")];
        let answer = manager.client.send("OPTIONS", &path, &preflight).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(answer.header("access-control-allow-headers").unwrap().contains("content-type"));
    }
}

#[tokio::test]
async fn what_is_refused_before_it_is_routed_says_so_as_well() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let long = "x".repeat(9000);
    for path in [format!("{EVENT}/live/{long}?action=broadcast"), format!("{STREAM}/default?{long}")] {
        let Fetched { status, is_json, json } = fetch(&manager.client, &path).await;
        assert_eq!((status, is_json), (414, true));
        assert!(json["errorMessage"].is_string());
    }
}

#[tokio::test]
async fn odd_paths_are_errors_that_say_so() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    for path in [
        "/streammanager//",
        "/streammanager/api",
        "/streammanager/api/4.0/event/%2F",
        "/streammanager/api/4.0/event/%00/cam?action=broadcast",
        "/streammanager/api/4.0/event/live/..?action=subscribe",
        "/as//",
        "/as/%",
        "/as/v1/streams/stream/default/publish//",
        "/as/v1/streams/stream/default/publish/live/cam?endpoints=%",
        "/as/v1?",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = manager.client.send(method, path, &[]).await;
            let Fetched { status, is_json, json } = read(&answer);
            assert!((400..500).contains(&status) && is_json, "{method} {path}: {status}");
            assert!(json["errorMessage"].is_string(), "{method} {path}");
        }
    }
}
