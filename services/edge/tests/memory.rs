//! Memory is bounded, whatever is published and whoever does not read.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::time::Duration;

use relay_edge::Config;
use support::raw::Raw;
use support::{Node, resident_bytes};

const MIB: usize = 1 << 20;

const CHUNK_BYTES: usize = 64 << 10;
const CHANNELS: usize = 8;

/// All rings together; half of what the channels would like to keep.
const BUDGET_BYTES: usize = 8 * MIB;

/// What is not in the budget: one chunk that each ring keeps in any case, one that each receiver has taken in part,
/// what is read from each publisher, and what the allocator and this test keep.
const SLACK_BYTES: usize = 24 * MIB;

/// Ten seconds of 100 Mbit/s for each of the channels.
const PUBLISHED_BYTES: usize = CHANNELS * 12 * MIB;

#[tokio::test]
async fn the_cache_stays_within_its_budget_with_no_slow_and_frozen_receivers() {
    let node = Node::start(Config {
        cache_bytes: 2 * MIB,
        cache_bytes_total: BUDGET_BYTES,
        // Nobody is closed for being slow: what they cost is to be seen.
        write_timeout: Duration::from_secs(600),
        skips_max: u32::MAX,
        ..Config::default()
    })
    .await;
    let mut publishers = vec![];
    let mut frozen: Vec<Raw> = vec![];
    let mut slow: Vec<Raw> = vec![];
    for channel in 0..CHANNELS {
        let mut publisher = node.publish(&format!("/cam-{channel}/secret/publish"), b"first").await;
        publisher.send(&[0; CHUNK_BYTES]).await;
        publishers.push(publisher);
        let path = format!("/cam-{channel}/secret/receive");
        for _ in 0..4 {
            match channel % 3 {
                0 => {}
                1 => frozen.push(node.connect_narrow().await.upgrade(&path).await),
                _ => slow.push(node.connect_narrow().await.upgrade(&path).await),
            }
        }
    }
    let before = resident_bytes();
    let mut most = before;
    let rounds = PUBLISHED_BYTES / CHANNELS / CHUNK_BYTES;
    let sent = CHANNELS * (2 + rounds);
    for _ in 0..rounds {
        for publisher in &mut publishers {
            publisher.send(&[7; CHUNK_BYTES]).await;
        }
        // One chunk in two for the slow ones.
        for receiver in &mut slow {
            let mut some = vec![0; CHUNK_BYTES / 2];
            let _ = receiver.stream.try_read(&mut some);
        }
        most = most.max(resident_bytes());
        let cached = node.metric("relaycast_cache_bytes", &[]);
        assert!(cached <= (BUDGET_BYTES + CHANNELS * CHUNK_BYTES) as f64, "{cached} bytes are cached");
    }
    node.until("relaycast_chunks_received_total", |count| count == sent as f64).await;
    // The gauge follows once a second; now it has.
    node.until("relaycast_cache_bytes", |cached| cached > (BUDGET_BYTES / 2) as f64).await;
    let cached = node.metric("relaycast_cache_bytes", &[]);
    assert!(cached <= (BUDGET_BYTES + CHANNELS * CHUNK_BYTES) as f64, "{cached} bytes are cached");
    let grown = most.max(resident_bytes()) - before;
    assert!(grown <= BUDGET_BYTES + SLACK_BYTES, "{} MiB resident for {PUBLISHED_BYTES} bytes", grown / MIB);

    drop(publishers);
    node.until("relaycast_publications", |live| live == 0.0).await;
    drop((frozen, slow));
    node.until("relaycast_cache_bytes", |cached| cached == 0.0).await;
}
