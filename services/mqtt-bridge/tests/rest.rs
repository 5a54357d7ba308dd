//! Who may call the REST of a bridge, over sockets, so that what a client can send comes as it was sent.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use std::net::SocketAddr;
use std::time::Duration;

use relay_cluster::Links;
use relay_lifecycle::access::{Access, Role};
use relay_lifecycle::drain::{self, Trigger};
use relay_lifecycle::readiness::Readiness;
use relay_mqtt_bridge::source::Timing;
use relay_mqtt_bridge::{Bridge, Config, broker, dji};
use relay_tests::http;
use tokio::task::JoinSet;

const READER: &str = "reader-0123456789";
const OPERATOR: &str = "operator-0123456789";

const READS: [&str; 3] = ["/v1/sources", "/v1/sources/dji/sn/165-0-7/normal-0", "/v1/devices"];
const COMMAND: &str = "/v1/sources/dji/sn/165-0-7/normal-0:start";

/// A bridge that is alone: it has neither a broker nor a stream-manager.
struct Running {
    address: SocketAddr,
    _tasks: JoinSet<()>,
    _trigger: Trigger,
}

impl Running {
    async fn start(access: Access) -> Self {
        let name: relay_proto::NodeId = "b1".parse().unwrap();
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: name.clone(),
            mqtt: broker::Settings {
                url: "mqtt://127.0.0.1:1".to_owned(),
                version: broker::Version::default(),
                ca_file: None,
                keep_alive: broker::DEFAULT_KEEP_ALIVE,
                name,
            },
            managers: vec!["http://127.0.0.1:1".to_owned()],
            manager_token: None,
            kerberos: None,
            dji: dji::Settings::default(),
            always_on: Vec::new(),
            telemetry: Vec::new(),
            timing: Timing::default(),
            registry_interval: Duration::from_secs(2),
            access,
        };
        let registry = prometheus::Registry::new();
        let bridge = Bridge::bind(config, Links::alone(), &registry, &Readiness::new()).await.unwrap();
        let (trigger, drain) = drain::channel();
        let address = bridge.local_addr();
        let mut tasks = JoinSet::new();
        tasks.spawn(bridge.run(drain));
        Self { address, _tasks: tasks, _trigger: trigger }
    }

    async fn with_tokens() -> Self {
        let tokens = [(Role::Reader, READER), (Role::Operator, OPERATOR)];
        Self::start(Access(tokens.map(|(role, token)| (role, token.parse().unwrap())).to_vec())).await
    }

    /// Status and, where there is one, the problem's name of the answer to a request with these headers and no others.
    async fn ask(&self, method: &str, path: &str, headers: &[&str]) -> (u16, Option<String>) {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let answer = http::raw(self.address, &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.strip_prefix("HTTP/1.1 ").unwrap().split(' ').next().unwrap().parse().unwrap();
        let has = |header: &str| head.lines().any(|line| line == header);
        assert!(has("cache-control: no-store"), "{answer}");
        assert_eq!(has("www-authenticate: Bearer realm=\"relaycast\""), status == 401, "{answer}");
        if status == 200 {
            return (status, None);
        }
        assert!(has("content-type: application/problem+json"), "{answer}");
        assert!(has("x-content-type-options: nosniff"), "{answer}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], status);
        (status, problem["type"].as_str().unwrap().strip_prefix("urn:relaycast:problem:").map(str::to_owned))
    }

    /// The name of the problem, where a request is not let through.
    async fn refused(&self, method: &str, path: &str, headers: &[&str]) -> Option<String> {
        let (status, name) = self.ask(method, path, headers).await;
        name.filter(|_| status == 401 || status == 403)
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[tokio::test]
async fn each_token_opens_what_its_role_may() {
    let bridge = Running::with_tokens().await;
    let host = format!("Host: {}", bridge.address);
    let [reader, operator, wrong] = [READER, OPERATOR, "wrong-0123456789"].map(bearer);
    for (method, path, by_reader) in
        READS.map(|path| ("GET", path, None)).into_iter().chain([("POST", COMMAND, Some("forbidden"))])
    {
        let refused = async |headers: &[&str]| bridge.refused(method, path, headers).await;
        assert_eq!(refused(&[&host, &operator]).await, None, "{path}");
        assert_eq!(refused(&[&host, &reader]).await.as_deref(), by_reader, "{path}");
        assert_eq!(refused(&[&host]).await.as_deref(), Some("token-needed"), "{path}");
        assert_eq!(refused(&[&host, &wrong]).await.as_deref(), Some("token-refused"), "{path}");
        // Who checks one of them must not be another than who acts on the other.
        for twice in [[&host, &operator, &operator], [&host, &operator, &wrong]] {
            let twice = twice.map(String::as_str);
            assert_eq!(refused(&twice).await.as_deref(), Some("token-refused"), "{path}");
        }
    }
    let nobodys = bridge.ask("GET", "/v1/nothing", &[&host, &reader]).await;
    assert_eq!(nobodys, (404, Some("no-such-path".to_owned())));
}

#[tokio::test]
async fn where_no_token_is_configured_the_machine_itself_may_and_no_page_of_somebody_else() {
    let bridge = Running::start(Access::default()).await;
    let port = bridge.address.port();
    let host = format!("Host: LOCALHOST:{port}");
    let requests = READS.map(|path| ("GET", path)).into_iter().chain([("POST", COMMAND)]);
    for (method, path) in requests {
        for good in [
            &[&*host][..],
            &["Host: 127.0.0.1"],
            &["Host: [::1]:1"],
            &[&host, &format!("Origin: http://localhost:{port}"), "Sec-Fetch-Site: same-origin"],
        ] {
            assert_eq!(bridge.refused(method, path, good).await, None, "{path} {good:?}");
        }
        for bad in [
            // A name that was made to lead here.
            &["Host: rebound.example"][..],
            &["Host: localhost:rebound.example"],
            &[&host, "Host: rebound.example"],
            &[],
            // A page of another origin.
            &[&host, "Origin: http://evil.example"],
            &[&host, "Origin: null"],
            &[&host, &format!("Origin: http://localhost:{}", port ^ 1)],
            &[&host, "Sec-Fetch-Site: cross-site"],
            // Handed on by a proxy.
            &[&host, "X-Forwarded-For: 192.0.2.1"],
            &[&host, "Via: 1.1 proxy"],
        ] {
            let refused = bridge.refused(method, path, bad).await;
            assert_eq!(refused.as_deref(), Some("forbidden"), "{path} {bad:?}");
        }
        let refused = bridge.refused(method, path, &[&host, &bearer(OPERATOR)]).await;
        assert_eq!(refused.as_deref(), Some("token-refused"), "{path}: nobody has a token here");
    }
}
