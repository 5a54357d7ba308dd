//! Which URLs are streams, and what the others are told.

use relay_edge::Config;

use crate::support::Node;

const KINDS: [&str; 4] = ["publish", "receive", "receive-clear-cache", "probe"];

#[tokio::test]
async fn plain_http_on_a_stream_is_told_to_upgrade() {
    let node = Node::start(Config::default()).await;
    for kind in KINDS {
        for method in ["GET", "POST", "HEAD", "OPTIONS"] {
            let request = format!("{method} /cam/secret/{kind}?x=1 HTTP/1.1\r\nHost: x\r\n");
            let answer = node.connect().await.ask(&request).await;
            assert!(answer.starts_with("HTTP/1.1 426 "), "{request}: {answer}");
            assert!(answer.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"), "{answer}");
        }
    }
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let node = Node::start(Config::default()).await;
    for path in
        ["/cam", "/cam/secret", "/cam/secret/receive/", "/cam/secret/receive/x", "/index", "//", "/v2"]
    {
        let answer = node.connect().await.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_target_is_told_inside_the_websocket() {
    let node = Node::start(Config::default()).await;
    let long = "x".repeat(129);
    let paths = [
        "//secret/receive",
        "/cam//receive",
        "/cam/secret/",
        "/cam/secret/Receive",
        "/cam/secret/recieve",
        "/cam/secret/publish%20",
        "/c.am/secret/receive",
        "/cam/%41/receive",
        "/cam/se~cret/publish",
        &format!("/{long}/secret/receive"),
        &format!("/cam/{long}/publish"),
    ];
    for path in paths {
        let mut client = node.open_raw(path).await;
        client.is_refused("ERROR: Invalid channel, key or kind", 4404, "invalid_target").await;
    }
    node.until_labelled("relaycast_session_ends_total", &["invalid_target"], |ends| {
        ends == paths.len() as f64
    })
    .await;
    assert_eq!(node.metric("relaycast_channels", &[]), 0.0);
}

#[tokio::test]
async fn a_query_never_changes_what_is_asked_for() {
    let node = Node::start(Config::default()).await;
    let _publisher = node.publish("/cam/secret/publish?/other/key/receive", b"first").await;
    for query in
        ["?", "??", "?/other/key/publish", "?x=/a/b/probe", "?cache=1700000000", "?key=other&kind=publish"]
    {
        let mut receiver = node.open(&format!("/cam/secret/receive{query}")).await;
        assert_eq!(receiver.chunk().await, b"first", "{query}");
    }
    assert_eq!(node.metric("relaycast_publications_total", &[]), 1.0);
}

#[tokio::test]
async fn letters_of_both_cases_digits_and_two_signs_up_to_128_of_them() {
    let node = Node::start(Config::default()).await;
    let longest = "aZ09_-xY".repeat(16);
    assert_eq!(longest.len(), 128);
    for (channel, key) in [("Cam-1_A", "S3cret_-"), ("cam-1_a", "0"), (&longest, &longest), ("-", "_")] {
        let chunk = format!("{channel}/{key}");
        let _publisher = node.publish(&format!("/{channel}/{key}/publish"), chunk.as_bytes()).await;
        let mut receiver = node.open(&format!("/{channel}/{key}/receive")).await;
        assert_eq!(
            receiver.chunk().await,
            chunk.as_bytes(),
            "names that differ in case are different channels"
        );
    }
}

#[tokio::test]
async fn a_channel_may_be_called_like_a_path_of_the_node() {
    let node = Node::start(Config::default()).await;
    for channel in ["v1", "page"] {
        let _publisher = node.publish(&format!("/{channel}/secret/publish"), channel.as_bytes()).await;
        let mut receiver = node.open(&format!("/{channel}/secret/receive")).await;
        assert_eq!(receiver.chunk().await, channel.as_bytes());
    }
    let answer = node.connect().await.ask("GET /v1/channels/cam HTTP/1.1\r\nHost: x\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
