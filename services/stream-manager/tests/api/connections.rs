//! What connections may do, and what becomes of them when the stream-manager leaves.

use std::time::Duration;

use relay_proto::api::manager::Picks;
use relay_stream_manager::{BindError, Config, ConfigError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Cluster, HANG, until};

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for path in ["/v1/pick", "/v1/nodes", "/nothing", "/v1/pick"] {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(3).any(|window| window == b"}\r\n") && !answer.ends_with(b"}") {
            let mut piece = [0; 4096];
            let read = timeout(HANG, stream.read(&mut piece)).await.unwrap().unwrap();
            assert_ne!(read, 0, "{path}");
            answer.extend_from_slice(&piece[..read]);
        }
    }
    let count = |route: &str, class: &str| {
        running.metric("relaycast_manager_requests_total", &[("route", route), ("class", class)])
    };
    assert_eq!((count("/v1/pick", "2xx"), count("other", "4xx")), (2.0, 1.0));
}

#[tokio::test]
async fn no_more_connections_are_served_than_may() {
    let cluster = Cluster::new();
    let running = cluster.manager_with(Config { connections_max: 2, ..Cluster::config() }).await;
    let (first, _second) = (
        TcpStream::connect(running.address).await.unwrap(),
        TcpStream::connect(running.address).await.unwrap(),
    );
    until("both are there", async || {
        (running.metric("relaycast_manager_connections", &[]) == 2.0).then_some(())
    })
    .await;
    let mut third = TcpStream::connect(running.address).await.unwrap();
    third.write_all(b"GET /v1/capacity HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    assert!(timeout(Duration::from_millis(200), third.read_to_string(&mut answer)).await.is_err());
    drop(first);
    timeout(HANG, third.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let at = format!("/v1/channels?prefix={}", "x".repeat((8 << 10) - 20));
    assert_eq!(at.len(), 8 << 10);
    assert_eq!(running.client.get(&at).await.problem(), (400, "bad-parameter".to_owned()));
    assert_eq!(running.client.get(&format!("{at}x")).await.problem(), (414, "uri-too-long".to_owned()));
    for (length, expected) in [(64 << 10, 401), ((64 << 10) + 1, 413)] {
        let head = format!(
            "POST /v1/nodes/n1:drain HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        assert_eq!(running.client.raw(head.as_bytes(), false).await.problem().0, expected, "{length}");
    }
    // Beyond what is read of a head, and of headers: what is not read is answered without a body.
    let long = "x".repeat(80 << 10);
    assert_eq!(running.client.send("GET", "/v1/pick", &[("x-long", &long)]).await.status, 431);
    let many: Vec<(&str, &str)> = std::iter::repeat_n(("x-many", "1"), 65).collect();
    assert_eq!(running.client.send("GET", "/v1/pick", &many).await.status, 431);
}

#[tokio::test]
async fn who_waits_or_follows_is_let_go_when_it_leaves() {
    let cluster = Cluster::new();
    let mut running = cluster.manager().await;
    let client = running.client;
    until("the journal is followed", async || {
        (client.send("HEAD", "/v1/events", &[]).await.status == 200).then_some(())
    })
    .await;
    let mut stream = client.follow("/v1/events", &[]).await;
    stream.next().await.unwrap();
    let _idle = TcpStream::connect(running.address).await.unwrap();
    let wait = client.get("/v1/pick?wait=30");
    let leave = async {
        until("three are there", async || {
            (running.metric("relaycast_manager_connections", &[]) == 3.0).then_some(())
        })
        .await;
        // That its request is read nobody can see from outside: a connection that comes later is answered later.
        assert_eq!(client.get("/v1/capacity").await.status, 200);
        running.trigger.advance();
    };
    let (answer, ()) = tokio::join!(wait, leave);
    assert_eq!(answer.problem(), (503, "leaving".to_owned()));
    assert_eq!(stream.next().await, None);
    timeout(HANG, running.task.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(running.readiness.check(), Err(vec!["draining"]));
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_drain_that_is_cut_ends_at_once() {
    let cluster = Cluster::new();
    let mut running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    node.state.lock().unwrap().answers = false;
    let authorization = format!("authorization: Bearer {}", crate::support::OPERATOR);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!("POST /v1/nodes/n1:drain HTTP/1.1\r\nhost: x\r\n{authorization}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    until("the node is asked", async || (!node.state.lock().unwrap().asked.is_empty()).then_some(())).await;
    let began = std::time::Instant::now();
    running.trigger.advance();
    running.trigger.advance();
    timeout(HANG, running.task.join_next()).await.unwrap().unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_cannot_be_bound_is_told() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let bind = async |config| {
        let links = relay_cluster::Links::alone();
        relay_stream_manager::Manager::bind(config, links, &prometheus::Registry::new(), &running.readiness)
            .await
    };
    let taken = bind(Config { listen: running.address, ..Cluster::config() }).await.unwrap_err();
    assert!(matches!(taken, BindError::Listen { address, .. } if address == running.address));
    let bad = bind(Config { public_url: Some("x".to_owned()), ..Cluster::config() }).await.unwrap_err();
    assert!(matches!(bad, BindError::Config(ConfigError::PublicUrl)));
}

#[tokio::test]
async fn a_process_of_its_own_needs_no_links() {
    let readiness = relay_lifecycle::readiness::Readiness::new();
    let links = relay_cluster::Links::alone();
    let manager = relay_stream_manager::Manager::bind(
        Cluster::config(),
        links,
        &prometheus::Registry::new(),
        &readiness,
    )
    .await;
    assert_eq!(readiness.check(), Ok(()));
    drop(manager.unwrap());
}

#[tokio::test]
async fn who_reads_no_answers_keeps_nobody_waiting() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let mut stalled = TcpStream::connect(running.address).await.unwrap();
    // Requests without end, of which no answer is read.
    let request = b"GET /v1/capacity HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    while timeout(Duration::from_millis(200), stalled.write_all(&request)).await.is_ok() {}
    assert_eq!(running.client.get("/v1/pick").await.json::<Picks>().picks.len(), 1);
}
