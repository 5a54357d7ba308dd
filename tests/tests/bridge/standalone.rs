//! A bridge beside its stream-manager, in the process of a node.

use std::net::SocketAddr;

use relay_tests::http;
use relay_tests::process::{Process, relaycast};
use relay_tests::sim::Sim;
use relay_tests::until;
use serde_json::Value;

const READER: &str = "reader-0123456789";
const OPERATOR: &str = "operator-0123456789";

const CAMERA: &str = "/v1/sources/kerberos/the-hub/cam1";

#[tokio::test]
async fn tokens_of_the_stream_manager_are_those_of_the_bridge_too() {
    let (reader, operator) = (format!("--reader-tokens={READER}"), format!("--operator-tokens={OPERATOR}"));
    let flags = [
        "standalone",
        "--listen=127.0.0.1:0",
        "--manager-listen=127.0.0.1:0",
        "--bridge-listen=127.0.0.1:0",
        "--mqtt-listen=127.0.0.1:0",
        "--rtmp-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--log-format=json",
        "--public-reads=false",
        "--kerberos-hub-key=the-hub",
        "--kerberos-camera=cam1",
        &reader,
        &operator,
    ];
    let process = Process::start("relaycast standalone", &mut relaycast(flags));
    let said = async |message: &str, field: &str| -> SocketAddr {
        let find = |text: &str| {
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines
                .filter(|line| line["message"] == message)
                .find_map(|line| line[field].as_str()?.parse().ok())
        };
        process.says(find).await
    };
    let bridge = said("serving", "bridge").await;
    let broker = said("a broker listens", "mqtt").await;
    let camera = Sim::start("kerberos", &format!("mqtt://{broker}"), &["--hub=the-hub", "--device=cam1"]);
    camera.until("connected", 1).await;

    let ask = async |method: &str, path: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str())];
        match method {
            "GET" => http::get_with(bridge, path, &headers).await,
            _ => http::post(bridge, path, &headers).await,
        }
    };
    assert_eq!(http::get(bridge, CAMERA).await.0, 401);
    assert_eq!(ask("GET", CAMERA, READER).await.0, 200);
    let start = format!("{CAMERA}:start");
    assert_eq!(http::post(bridge, &start, &[]).await.0, 401);
    assert_eq!(ask("POST", &start, READER).await.0, 403);
    let (status, body) = ask("POST", &start, OPERATOR).await;
    assert_eq!(status, 200, "{body}");
    // The stream-manager takes a token to say which node: the bridge has one.
    until("the camera is live", async || {
        let (_, body) = ask("GET", CAMERA, READER).await;
        (serde_json::from_str::<Value>(&body).unwrap()["state"] == "live").then_some(())
    })
    .await;
    for token in [READER, OPERATOR] {
        assert!(!process.said().contains(token), "a token is in the log");
    }
}
