//! Pages of which origin may open websockets.

use relay_edge::Config;

use crate::support::raw::{HANDSHAKE_HEADERS, Raw};
use crate::support::{Node, Seen};

const NOT_ALLOWED: &str = "ERROR: This page's origin is not allowed here";

async fn open_from(node: &Node, origin: &str, path: &str) -> Raw {
    let mut client = node.connect().await;
    client.write(format!("GET {path} HTTP/1.1\r\nOrigin: {origin}\r\n{HANDSHAKE_HEADERS}\r\n")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client
}

fn only(origin: &str) -> Config {
    Config { allowed_origins: vec!["https://else.example".into(), origin.into()], ..Config::default() }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_and_a_client_without_one_are_admitted() {
    let node = Node::start(only("https://cam.example")).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    let mut page = open_from(&node, "https://cam.example", "/cam/secret/receive").await;
    assert_eq!(page.next().await, Seen::Chunk(b"first".to_vec()));
    assert_eq!(node.open("/cam/secret/receive").await.chunk().await, b"first");
}

#[tokio::test]
async fn a_page_of_another_origin_is_told_so_inside_the_websocket() {
    let node = Node::start(only("https://cam.example")).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    for origin in ["https://evil.example", "http://cam.example", "https://cam.example:8443", "null", ""] {
        for kind in ["publish", "receive", "probe"] {
            let mut page = open_from(&node, origin, &format!("/cam/secret/{kind}")).await;
            page.is_refused(NOT_ALLOWED, 1008, "origin_not_allowed").await;
        }
    }
    node.until_ended("publish", "origin_not_allowed", 5).await;
}

#[tokio::test]
async fn every_origin_is_allowed_unless_some_are_named() {
    let node = Node::start(Config::default()).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    let mut page = open_from(&node, "https://anything.example", "/cam/secret/receive").await;
    assert_eq!(page.next().await, Seen::Chunk(b"first".to_vec()));
}
