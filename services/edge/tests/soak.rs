//! Everything at once for a while: `make soak` gives it minutes, a plain test run seconds.
//!
//! One channel with 200 healthy receivers and a frozen one; one of 100 Mbit/s with a slow receiver, a frozen one and
//! nobody else. The healthy ones miss nothing, and memory stays within the budget the whole time.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::time::{Duration, Instant};

use relay_edge::Config;
use support::raw::Raw;
use support::{Client, Node, resident_bytes};
use tokio::task::JoinSet;
use tokio::time::interval;

const MIB: usize = 1 << 20;
const HEALTHY: usize = 200;

/// The camera: 25 pictures a second of 8 KiB, 1.6 Mbit/s.
const PICTURE_BYTES: usize = 8 << 10;
const PICTURE_INTERVAL: Duration = Duration::from_millis(40);

/// The flood: 64 KiB every 5 ms, 105 Mbit/s.
const FLOOD_BYTES: usize = 64 << 10;
const FLOOD_INTERVAL: Duration = Duration::from_millis(5);

const BUDGET_BYTES: usize = 24 * MIB;

/// What the receivers' side of this process keeps, what is on its way, and what the allocator holds back.
const SLACK_BYTES: usize = 48 * MIB;

fn seconds() -> u64 {
    std::env::var("RELAYCAST_SOAK_SECONDS").ok().map_or(3, |text| text.parse().unwrap())
}

/// A picture that says its number and when it was sent.
fn picture(number: u64, since: Instant) -> Vec<u8> {
    let mut picture = vec![0; PICTURE_BYTES];
    picture[..8].copy_from_slice(&number.to_be_bytes());
    picture[8..16].copy_from_slice(&u64::try_from(since.elapsed().as_micros()).unwrap().to_be_bytes());
    picture
}

fn read_u64(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// Receives every picture in order; tells how late each was, in microseconds.
async fn watch(mut receiver: Client, pictures: u64, since: Instant) -> Vec<u64> {
    let mut late = Vec::new();
    for number in 0..pictures {
        let picture = receiver.chunk().await;
        assert_eq!(read_u64(&picture), number);
        late.push(u64::try_from(since.elapsed().as_micros()).unwrap() - read_u64(&picture[8..]));
    }
    late
}

/// 105 Mbit/s for a while; the slow receiver reads less than half of it, the frozen one nothing.
async fn flood(mut publisher: Client, slow: Raw, frozen: Raw, chunks: u64) {
    let mut ticks = interval(FLOOD_INTERVAL);
    let chunk = vec![7; FLOOD_BYTES];
    let mut some = vec![0; FLOOD_BYTES / 2];
    for _ in 0..chunks {
        ticks.tick().await;
        publisher.send(&chunk).await;
        // Nothing to read yet is as good as something.
        let _ = slow.stream.try_read(&mut some);
    }
    drop((slow, frozen));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_receivers_miss_nothing_beside_frozen_ones_and_memory_stays_bounded() {
    let lasting = Duration::from_secs(seconds());
    let node = Node::start(Config {
        cache_bytes: 16 * MIB,
        cache_bytes_total: BUDGET_BYTES,
        // Frozen and slow receivers stay to the end: what they cost is to be seen.
        write_timeout: lasting + Duration::from_secs(60),
        skips_max: u32::MAX,
        ..Config::default()
    })
    .await;
    let since = Instant::now();
    let pictures = u64::try_from(lasting.as_millis() / PICTURE_INTERVAL.as_millis()).unwrap();
    let chunks = u64::try_from(lasting.as_millis() / FLOOD_INTERVAL.as_millis()).unwrap();

    let mut healthy = JoinSet::new();
    for _ in 0..HEALTHY {
        healthy.spawn(watch(node.open("/cam/secret/receive").await, pictures, since));
    }
    let frozen = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    let slow = node.connect_narrow().await.upgrade("/flood/secret/receive").await;
    let stuck = node.connect_narrow().await.upgrade("/flood/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == HEALTHY as f64 + 3.0).await;

    let before = resident_bytes();
    let mut flooding = JoinSet::new();
    flooding.spawn(flood(node.open("/flood/secret/publish").await, slow, stuck, chunks));
    let mut publisher = node.open("/cam/secret/publish").await;
    let mut ticks = interval(PICTURE_INTERVAL);
    let (mut resident, mut cached) = (before, 0.0_f64);
    for number in 0..pictures {
        ticks.tick().await;
        publisher.send(&picture(number, since)).await;
        resident = resident.max(resident_bytes());
        cached = cached.max(node.metric("relaycast_cache_bytes", &[]));
    }
    let mut late: Vec<u64> = healthy.join_all().await.concat();
    flooding.join_all().await;
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "{} s: {} pictures delivered, late by p50 {} us, p99 {} us, most {} us; {} MiB cached, {} MiB resident more, {} skips",
        lasting.as_secs(),
        late.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        cached as usize / MIB,
        (resident - before) / MIB,
        node.metric("relaycast_skips_total", &[]),
    );
    assert!(cached <= BUDGET_BYTES as f64, "{cached} bytes are cached");
    assert!(resident - before <= BUDGET_BYTES + SLACK_BYTES, "{} MiB", (resident - before) / MIB);
    drop(frozen);
}
