//! Who may do what, over HTTP.

use relay_lifecycle::access::Access;
use relay_stream_manager::Config;
use relay_stream_manager::config::Reads;

use crate::support::{Cluster, OPERATOR, READER, Running, live};

const READS: [&str; 8] = [
    "/v1/pick",
    "/v1/channels",
    "/v1/channels/cam1",
    "/v1/channels/cam1/probe",
    "/v1/nodes",
    "/v1/nodes/n1",
    "/v1/capacity",
    "/v1/channels?limit=1",
];

const PRIVATE_READS: [&str; 2] = ["/v1/sessions", "/v1/channels/cam1/snapshot"];

const COMMANDS: [&str; 4] = [
    "/v1/channels/cam2:close",
    "/v1/sessions/0000000000000001:kick",
    "/v1/nodes/n2:drain",
    "/v1/nodes/n2:undrain",
];

async fn status(running: &Running, method: &str, path: &str, token: Option<&str>, host: Option<&str>) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let authorization = bearer.as_deref().map(|bearer| ("authorization", bearer));
    let headers: Vec<_> = authorization.into_iter().chain(host.map(|host| ("host", host))).collect();
    let answer = running.client.send(method, path, &headers).await;
    if answer.status >= 400 {
        answer.problem();
    }
    if answer.status == 401 {
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"relaycast\""), "{path}");
    }
    answer.status
}

#[tokio::test]
async fn each_token_opens_what_its_role_may() {
    let cluster = Cluster::new();
    let closed = Config { reads: Reads::Token, ..Cluster::config() };
    for (config, by_nobody) in [(Cluster::config(), 200), (closed, 401)] {
        let running = cluster.manager_with(config).await;
        let node = cluster_node(&cluster).await;
        crate::support::until("cam1 is known", async || {
            node.report().await;
            (running.client.read("/v1/channels/cam1").await.status == 200).then_some(())
        })
        .await;
        for path in READS {
            assert_eq!(status(&running, "GET", path, None, None).await, by_nobody, "{path}");
            assert_eq!(status(&running, "GET", path, Some(READER), None).await, 200, "{path}");
            assert_eq!(status(&running, "GET", path, Some(OPERATOR), None).await, 200, "{path}");
        }
        for path in PRIVATE_READS {
            assert_eq!(status(&running, "GET", path, None, None).await, 401, "{path}");
            assert_eq!(status(&running, "GET", path, Some("wrong-0123456789"), None).await, 401, "{path}");
            // That a stream of FLV has no pictures is told to those who may ask.
            let expected = if path.ends_with("snapshot") { 501 } else { 200 };
            assert_eq!(status(&running, "GET", path, Some(READER), None).await, expected, "{path}");
        }
        for path in COMMANDS {
            assert_eq!(status(&running, "POST", path, None, None).await, 401, "{path}");
            assert_eq!(status(&running, "POST", path, Some("wrong-0123456789"), None).await, 401, "{path}");
            assert_eq!(status(&running, "POST", path, Some(READER), None).await, 403, "{path}");
        }
        assert_eq!(status(&running, "GET", "/openapi.json", None, None).await, 200);
        assert_eq!(status(&running, "GET", "/docs", None, None).await, 200);
    }
}

async fn cluster_node(cluster: &Cluster) -> crate::support::Node {
    let node = crate::support::Node::start(cluster, "n1").await;
    node.state.lock().unwrap().channels = vec![live("cam1")];
    node
}

#[tokio::test]
async fn where_no_token_is_configured_only_the_machine_itself_operates() {
    let cluster = Cluster::new();
    let config = Config { access: Access::default(), ..Cluster::config() };
    let running = cluster.manager_with(config).await;
    let _node = cluster.node("n1", &running).await;
    let drain = "/v1/nodes/n1:drain";
    assert_eq!(status(&running, "POST", drain, None, Some("localhost:8081")).await, 200);
    assert_eq!(status(&running, "POST", drain, None, Some("rebound.example")).await, 403);
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("x-forwarded-for", "192.0.2.1"),
    ] {
        let answer = running.client.send("POST", drain, &[("host", "localhost"), (name, value)]).await;
        assert_eq!(answer.problem(), (403, "forbidden".to_owned()), "{name}");
        assert!(answer.detail().contains("configure a token"), "{}", answer.detail());
    }
    assert_eq!(status(&running, "GET", "/v1/sessions", None, Some("localhost")).await, 200);
    assert_eq!(status(&running, "GET", "/v1/sessions", None, Some("rebound.example")).await, 403);
}

#[tokio::test]
async fn pages_of_other_origins_read_what_is_public_and_nothing_else() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let allowed = async |method: &str, path: &str| {
        let authorization = format!("Bearer {OPERATOR}");
        let headers = [("origin", "https://player.example"), ("authorization", authorization.as_str())];
        let answer = running.client.send(method, path, &headers).await;
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    for path in ["/v1/pick", "/v1/pick?n=0", "/v1/channels", "/v1/channels/no", "/v1/nodes", "/v1/capacity"] {
        assert_eq!(allowed("GET", path).await.as_deref(), Some("*"), "{path}");
    }
    for (method, path) in [
        ("GET", "/v1/sessions"),
        ("GET", "/v1/channels/cam1/snapshot"),
        ("POST", "/v1/nodes/n1:drain"),
        ("POST", "/v1/channels/cam1:close"),
        ("OPTIONS", "/v1/nodes/n1"),
        ("GET", "/nothing"),
    ] {
        assert_eq!(allowed(method, path).await, None, "{method} {path}");
    }
    let closed = cluster.manager_with(Config { reads: Reads::Token, ..Cluster::config() }).await;
    for path in ["/v1/pick", "/v1/channels"] {
        let answer = closed.client.read(path).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}
