//! Slow, silent and lying peers: each ends for its own reason, and nobody else notices.

use std::time::Duration;

use relay_edge::Config;
use relay_rtmp::MediaKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::pusher::{Pusher, start};
use crate::support::{Bystanders, Node};

async fn refused(node: &Node, reason: &str) {
    node.until_labelled("relaycast_handshakes_refused_total", &[reason], |count| count == 1.0).await;
}

#[tokio::test]
async fn who_does_not_say_what_it_wants_is_given_up() {
    let node = start(Config { handshake_timeout: Duration::from_millis(200), ..Config::default() }).await;
    for begun in [0, 1, 1000, 1537] {
        let mut stream = TcpStream::connect(node.rtmp.unwrap()).await.unwrap();
        stream.write_all(&vec![3; begun]).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    node.until_labelled("relaycast_handshakes_refused_total", &["slow"], |count| count == 4.0).await;
}

#[tokio::test]
async fn what_is_no_rtmp_is_turned_away() {
    let node = start(Config::default()).await;
    let mut bystanders = Bystanders::on(&node).await;
    let mut stream = TcpStream::connect(node.rtmp.unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    refused(&node, "malformed").await;
    drop(TcpStream::connect(node.rtmp.unwrap()).await.unwrap());
    refused(&node, "lost").await;
    bystanders.are_undisturbed().await;
}

#[tokio::test]
async fn a_silent_publisher_is_pinged_and_closed() {
    let node = start(Config {
        heartbeat_interval: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(300),
        ..Config::default()
    })
    .await;
    let mut pusher = Pusher::connect_to(&node, "live", "cam:secret", false).await;
    assert_eq!(pusher.next().await, Some(relay_rtmp::client::Event::Started));
    assert_eq!(pusher.refusal().await.1, "Nothing was heard from you");
    node.until_ended("rtmp", "idle", 1).await;
}

#[tokio::test]
async fn a_message_beyond_the_bound_ends_its_publisher_and_one_at_the_bound_does_not() {
    let node = start(Config { chunk_bytes_max: 10_000, ..Config::default() }).await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    pusher.send(MediaKind::Video, 0, &vec![0x12; 10_000 - 15]).await;
    node.until("relaycast_chunks_received_total", |chunks| chunks == 2.0).await;
    pusher.send(MediaKind::Video, 40, &vec![0x12; 10_000 - 14]).await;
    assert_eq!(pusher.refusal().await.1, "The message is larger than this node takes");
    node.until_ended("rtmp", "chunk_too_big", 1).await;
}

#[tokio::test]
async fn nonsense_in_the_middle_of_a_stream_ends_it() {
    let node = start(Config::default()).await;
    let mut bystanders = Bystanders::on(&node).await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    pusher.picture(0, "a").await;
    // A chunk that refers to nothing.
    pusher.write(&[0xFF; 8]).await;
    pusher.refusal().await;
    node.until_ended("rtmp", "protocol_violation", 1).await;
    bystanders.are_undisturbed().await;
}
