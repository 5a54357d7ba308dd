//! What a receiver costs that has nothing to do: bytes on the heap, counted one by one.
//!
//! The only test of its binary, since the count is of the whole process.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;

use relay_edge::Config;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::media::picture;
use support::raw::HANDSHAKE_HEADERS;
use support::{HANG, Node};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What one idle receiver may hold. A little above what it does hold, and far below one buffer that is forgotten.
const RECEIVER_BYTES_MAX: usize = 3500;

/// Come first, so that what grows in steps has grown.
const BEFORE: usize = 100;

const COUNTED: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_receiver_costs_little() {
    let node = Node::start(Config::default()).await;
    let mut clients = Vec::with_capacity(2 * (BEFORE + COUNTED));

    let waiting = cost(&node, "/vacant/key/receive", &mut clients).await;
    let _publisher = node.publish("/live/key/publish", &picture(1)).await;
    let following = cost(&node, "/live/key/receive", &mut clients).await;

    assert!(
        waiting.max(following) <= RECEIVER_BYTES_MAX,
        "{waiting} bytes for one that waits for a publisher, {following} for one that follows"
    );
}

/// Bytes that each of many more receivers adds.
async fn cost(node: &Node, path: &str, clients: &mut Vec<TcpStream>) -> usize {
    join(node, path, BEFORE, clients).await;
    let before = held();
    join(node, path, COUNTED, clients).await;
    (held() - before) / COUNTED
}

/// Receivers whose own side holds nothing on the heap.
async fn join(node: &Node, path: &str, count: usize, clients: &mut Vec<TcpStream>) {
    for _ in 0..count {
        let mut client = TcpStream::connect(node.address).unwrap();
        client.set_read_timeout(Some(HANG)).unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\n{HANDSHAKE_HEADERS}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 1];
        client.read_exact(&mut answer).unwrap();
        clients.push(client);
    }
    let all = clients.len() as f64;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == all).await;
}

/// Bytes that this process holds on the heap, those of what grew in place included.
fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}
