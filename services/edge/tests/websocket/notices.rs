//! TEXT messages to receivers that asked for them.

use std::time::Duration;

use relay_edge::Config;
use relay_proto::notice::Notice;

use crate::support::media::{flv_init, flv_key, picture};
use crate::support::{Client, Node, Seen};

/// The next notice other than the one that comes each second.
async fn notice(client: &mut Client) -> Notice {
    loop {
        match client.next().await {
            Seen::Text(text) => match serde_json::from_str(&text).unwrap() {
                Notice::Stats { .. } => {}
                notice => return notice,
            },
            other => panic!("a notice is expected, not {other:?}"),
        }
    }
}

async fn start(client: &mut Client) -> relay_proto::notice::Start {
    match notice(client).await {
        Notice::Start(start) => start,
        other => panic!("a start is expected, not {other:?}"),
    }
}

#[tokio::test]
async fn who_did_not_ask_gets_none() {
    let node = Node::start(Config { grace: Duration::from_millis(1), ..Config::default() }).await;
    for query in ["", "?notices=0", "?notices", "?notices=true"] {
        let receiver = node.wait_for(&format!("/cam/secret/receive{query}")).await.stay();
        node.publish("/cam/secret/publish", b"first").await.close().await;
        let (chunks, texts, _) = receiver.ended().await;
        assert_eq!((chunks, texts), (vec![b"first".to_vec()], vec![]), "{query}");
    }
}

#[tokio::test]
async fn a_start_tells_what_is_about_to_come() {
    let node = Node::start(Config { node_id: "node-7".parse().unwrap(), ..Config::default() }).await;
    let _publisher = node.publish("/cam/secret/publish", &picture(1)).await;
    let mut receiver = node.open("/cam/secret/receive?notices=1").await;
    let start = start(&mut receiver).await;
    assert_eq!(start.container, "mjpeg");
    assert_eq!(start.mime.as_deref(), Some("image/jpeg"));
    assert_eq!(start.node, "node-7");
    assert_eq!(start.epoch, node.channel().await.epoch);
    assert_eq!((start.tracks[0].width, start.tracks[0].height), (Some(16), Some(8)));
    assert!(start.server_time_ms > 1_600_000_000_000);
    assert_eq!(receiver.chunk().await, picture(1));
}

#[tokio::test]
async fn who_waited_is_told_what_the_stream_is_before_its_first_byte() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.wait_for("/cam/secret/receive?notices=1").await;
    let _publisher = node.publish("/cam/secret/publish", &flv_init(1)).await;
    assert_eq!(start(&mut receiver).await.container, "flv");
    assert_eq!(receiver.chunk().await, flv_init(1));
}

#[tokio::test]
async fn held_and_the_next_start_are_told() {
    let node = Node::start(Config { grace: Duration::from_secs(30), ..Config::default() }).await;
    let mut receiver = node.wait_for("/cam/secret/receive?notices=1").await;
    let publisher = node.publish("/cam/secret/publish", &[flv_init(1), flv_key(1)].concat()).await;
    let first = start(&mut receiver).await.epoch;
    assert_eq!(receiver.chunk().await, [flv_init(1), flv_key(1)].concat());
    drop(publisher);
    match notice(&mut receiver).await {
        Notice::Held { grace_ms } => assert!((1..=30_000).contains(&grace_ms), "{grace_ms}"),
        other => panic!("held is expected, not {other:?}"),
    }
    let _again = node.publish("/cam/secret/publish", &flv_init(2)).await;
    assert_eq!(start(&mut receiver).await.epoch, first.next());
    assert_eq!(receiver.chunk().await, flv_init(2));
}

#[tokio::test]
async fn clock_and_receivers_are_told_once_in_a_while() {
    let node = Node::start(Config::default()).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    let mut other = node.open("/cam/secret/receive").await;
    assert_eq!(other.chunk().await, b"first");
    let mut receiver = node.open("/cam/secret/receive?notices=1").await;
    assert_eq!(start(&mut receiver).await.container, "opaque");
    assert_eq!(receiver.chunk().await, b"first");
    let Seen::Text(text) = receiver.next().await else { panic!("a notice is expected") };
    match serde_json::from_str(&text).unwrap() {
        Notice::Stats { server_time_ms, receivers } => {
            assert!(server_time_ms > 1_600_000_000_000);
            assert_eq!(receivers, 2);
        }
        other => panic!("stats are expected, not {other:?}"),
    }
}

#[tokio::test]
async fn notices_change_nothing_of_the_bytes_however_these_are_cut() {
    let node = Node::start(Config::default()).await;
    let mut plain = node.wait_for("/cam/secret/receive").await;
    let mut told = node.open("/cam/secret/receive?notices=1").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 2.0).await;
    let stream = [flv_init(1), flv_key(1)].concat();
    let mut publisher = node.open("/cam/secret/publish").await;
    for byte in &stream {
        publisher.send(&[*byte]).await;
    }
    assert_eq!(start(&mut told).await.container, "flv");
    for byte in stream {
        assert_eq!(plain.chunk().await, [byte]);
        assert_eq!(told.chunk().await, [byte]);
    }
}

#[tokio::test]
async fn who_waits_for_fmp4_learns_that_the_stream_cannot_be_had_so() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.wait_for("/cam/secret/receive?as=fmp4").await;
    let mut publisher = node.publish("/cam/secret/publish", b"FLV\x01\x01\0\0\0\x09\0\0\0\0").await;
    // A key frame of On2 VP6, which nobody has put into fMP4.
    let body = [0x14, 1, 0, 0, 0, 0, 0, 0, 1, 9];
    let tag = [&[9, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0][..], &body, &21_u32.to_be_bytes()].concat();
    publisher.send(&tag).await;
    receiver.is_refused("ERROR: The stream cannot be remuxed", 1008).await;
}
