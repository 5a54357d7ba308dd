//! Who may do what.

use std::io::Write;
use std::sync::{Arc, Mutex};

use relay_proto::backbone::Request;
use relay_stream_manager::Config;
use relay_stream_manager::config::Reads;
use serde_json::Value;

use crate::support::{Answer, Client, Cluster, OPERATOR, READER};

const API: &str = "/streammanager/api/4.0";
const NODE: &str = "/streammanager/api/4.0/admin/node/n1";
const SUNSET: &str = "/streammanager/api/4.0/admin/node/sunset";

async fn post(client: &Client, path: &str, body: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    client.raw(format!("{head}{body}").as_bytes(), false).await
}

/// The status, and what an error says.
fn refused(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["error"], body["errorMessage"]);
    (answer.status, body["errorMessage"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_operator_has_the_token_in_the_query() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let _node = cluster.node("n1", &manager).await;
    let client = &manager.client;
    assert_eq!(refused(&client.get(NODE).await).0, 401);
    for (token, status) in
        [("wrong-0123456789", 401), ("", 401), ("a%0Ab", 401), ("a%20b", 401), (READER, 403)]
    {
        let (real, message) = refused(&client.get(&format!("{NODE}?accessToken={token}")).await);
        assert_eq!(real, status, "{token}");
        assert!(token.is_empty() || !message.contains(token), "{message}");
    }
    let answer = client.get(&format!("{NODE}?accessToken={OPERATOR}")).await;
    assert_eq!(answer.json::<Value>()["identifier"], "n1");
    // Or where others have it. What is in the header counts.
    let bearer = format!("Bearer {OPERATOR}");
    assert_eq!(client.send("GET", NODE, &[("authorization", &bearer)]).await.status, 200);
    let wrong = [("authorization", "Bearer wrong-0123456789")];
    let both = client.send("GET", &format!("{NODE}?accessToken={OPERATOR}"), &wrong).await;
    assert_eq!(refused(&both).0, 401);
}

#[tokio::test]
async fn where_reads_need_a_token_so_do_these() {
    let cluster = Cluster::new();
    let manager = cluster.manager_with(Config { reads: Reads::Token, ..Cluster::config() }).await;
    for path in [format!("{API}/event/list"), "/as/v1/streams/stream/default".to_owned()] {
        let answer = manager.client.get(&path).await;
        assert_eq!(refused(&answer).0, 401);
        assert_eq!(answer.header("access-control-allow-origin"), None);
        for token in [READER, OPERATOR] {
            let answer = manager.client.get(&format!("{path}?accessToken={token}")).await;
            assert_eq!(answer.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn a_node_that_is_sunset_gets_nobody_more() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let (one, two) = (cluster.node("n1", &manager).await, cluster.node("n2", &manager).await);
    let client = &manager.client;
    let path = format!("{SUNSET}?accessToken={OPERATOR}");
    assert_eq!(refused(&post(client, SUNSET, r#"["n1"]"#).await).0, 401);
    assert_eq!(refused(&post(client, &path, r#"["n1","n9"]"#).await).0, 404);
    assert!(one.state.lock().unwrap().asked.is_empty(), "nothing is done where a name is wrong");

    let answer = post(client, &path, r#"["n1.example"]"#).await.json::<Value>();
    assert_eq!((&answer[0]["identifier"], &answer[0]["state"]), (&"n1".into(), &"terminating".into()));
    assert_eq!(one.state.lock().unwrap().asked, [Request::Drain]);
    assert!(two.state.lock().unwrap().asked.is_empty());
    one.report().await;
    let terminating = format!("{NODE}?accessToken={OPERATOR}");
    crate::support::until("the node is seen to leave", async || {
        (client.get(&terminating).await.json::<Value>()["state"] == "terminating").then_some(())
    })
    .await;
    for _ in 0..20 {
        let answer = client.get(&format!("{API}/event/live/cam?action=broadcast")).await.json::<Value>();
        assert_eq!(answer["serverAddress"], "n2.example");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_named() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let (one, _two) = (cluster.node("n1", &manager).await, cluster.node("n2", &manager).await);
    one.state.lock().unwrap().answers = false;
    let path = format!("{SUNSET}?accessToken={OPERATOR}");
    let (status, message) = refused(&post(&manager.client, &path, r#"["n1","n2"]"#).await);
    assert_eq!(status, 503);
    assert!(message.ends_with(": n1"), "{message}");
}

#[tokio::test]
async fn a_body_is_as_long_as_a_list_of_nodes() {
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let path = format!("{SUNSET}?accessToken={OPERATOR}");
    let padded = |bytes: usize| r#"["n1"]"#.to_owned() + &" ".repeat(bytes - 6);
    assert_eq!(refused(&post(&manager.client, &path, &padded(32 << 10)).await).0, 404);
    assert_eq!(refused(&post(&manager.client, &path, &padded((32 << 10) + 1)).await).0, 413);
    assert_eq!(refused(&post(&manager.client, &path, &padded((64 << 10) + 1)).await).0, 413);
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_token_is_told_nobody() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let _node = cluster.node("n1", &manager).await;
    let secret = "secret-0123456789";
    let mut said = String::new();
    for token in [OPERATOR, secret] {
        for path in
            [NODE.to_owned(), format!("{API}/event/live/cam"), "/as/v1/streams/stream/default".to_owned()]
        {
            let answer = manager.client.get(&format!("{path}?action=broadcast&accessToken={token}")).await;
            said += &format!("{:?}{}", answer.headers, answer.text());
        }
        let answer = post(&manager.client, &format!("{SUNSET}?accessToken={token}"), r#"["n1"]"#).await;
        said += answer.text();
    }
    said += &format!("{:?}", manager.metrics.gather());
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("/streammanager/{*rest}") && logged.contains("node told to sunset"), "{logged}");
    for (what, text) in [("log", &logged), ("answers", &said)] {
        assert!(!text.contains(OPERATOR) && !text.contains(secret), "{what}: {text}");
    }
}
