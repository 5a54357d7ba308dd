//! More receivers than a publisher serves itself: crews do, each with a task of its own.

use std::net::SocketAddr;

use relay_edge::Config;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{Client, Node};

/// Several crews on four threads.
const CROWD: usize = 300;

const CHUNKS: u32 = 600;

const MARK: u32 = 0xA500_0000;

/// Begins with what begins no container, or small numbers would be start codes of H.264.
fn chunk(number: u32) -> Vec<u8> {
    let mut chunk = (number | MARK).to_be_bytes().to_vec();
    chunk.resize(100 + number as usize % 3000, number as u8);
    chunk
}

fn number(chunk: &[u8]) -> u32 {
    u32::from_be_bytes(*chunk.first_chunk().unwrap()) & !MARK
}

/// Gets every chunk from the first to the last.
async fn stay(mut receiver: Client) {
    for expected in 0..CHUNKS {
        assert_eq!(receiver.chunk().await, chunk(expected));
    }
}

/// Comes, gets a few chunks that follow each other, and leaves, again and again. Tells how often it got them.
async fn come_and_go(address: SocketAddr, mut over: watch::Receiver<bool>) -> u32 {
    let mut visits = 0;
    let visit = async {
        loop {
            let mut receiver = Client::connect(address, "/cam/secret/receive?cache=live").await;
            let first = number(&receiver.chunk().await);
            for expected in first + 1..first + 5 {
                assert_eq!(number(&receiver.chunk().await), expected);
            }
            visits += 1;
        }
    };
    tokio::select! {
        () = visit => {}
        _ = over.wait_for(|over| *over) => {}
    }
    visits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everyone_in_a_crowd_gets_everything_while_others_come_and_go() {
    let node = Node::start(Config::default()).await;
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        crowd.spawn(stay(node.wait_for("/cam/secret/receive").await));
    }
    let over = watch::Sender::new(false);
    let mut guests = JoinSet::new();
    for _ in 0..20 {
        guests.spawn(come_and_go(node.address, over.subscribe()));
    }
    let mut publisher = node.open("/cam/secret/publish").await;
    for number in 0..CHUNKS {
        publisher.send(&chunk(number)).await;
        // Bursts of several sizes: what is due together goes out together, and sometimes it is one chunk.
        if number % 7 == 0 {
            tokio::task::yield_now().await;
        }
        if number % 50 == 0 {
            node.until("relaycast_chunks_received_total", |count| count == f64::from(number) + 1.0).await;
        }
    }
    crowd.join_all().await;
    over.send_replace(true);
    let visits: u32 = guests.join_all().await.into_iter().sum();
    assert!(visits > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_gets_the_end_of_a_publication_and_its_close() {
    let node = Node::start(Config::default()).await;
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let mut receiver = node.wait_for("/cam/secret/receive").await;
        crowd.spawn(async move { receiver.rest().await });
    }
    let mut publisher = node.open("/cam/secret/publish").await;
    for number in 0..100 {
        publisher.send(&chunk(number)).await;
    }
    publisher.close().await;
    for (chunks, _, close) in crowd.join_all().await {
        assert_eq!(
            chunks.iter().map(|chunk| number(chunk)).collect::<Vec<_>>(),
            (0..100).collect::<Vec<_>>()
        );
        assert_eq!(close, Some((1000, "publisher_ended".to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crew_is_served_although_the_one_before_it_is_empty() {
    /// Those whom the publisher serves itself.
    const OWN: usize = 64;
    let node = Node::start(Config::default()).await;
    let mut publisher = node.publish("/cam/secret/publish", &chunk(0)).await;
    let mut receivers = vec![];
    for _ in 0..OWN + 2 {
        let mut receiver = node.open("/cam/secret/receive").await;
        assert_eq!(receiver.chunk().await, chunk(0));
        receivers.push(receiver);
    }
    // The only one of the first crew.
    drop(receivers.remove(OWN));
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == OWN as f64 + 1.0).await;
    publisher.send(&chunk(1)).await;
    for receiver in &mut receivers {
        assert_eq!(receiver.chunk().await, chunk(1));
    }
}
