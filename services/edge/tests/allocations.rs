//! What a delivered message takes from the heap: nothing.
//!
//! The only test of its binary, since the count is of the whole process.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;

use relay_edge::Config;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::raw::{BINARY, FIN, HANDSHAKE_HEADERS, frame};
use support::{HANG, Node};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// So few that the publisher serves them all itself, and so many that most are left to the crews.
const FEW: usize = 40;
const MANY: usize = 240;

const PAYLOAD: [u8; 1000] = [7; 1000];

/// Header and payload, as the node sends them.
const FRAME_BYTES: usize = 4 + PAYLOAD.len();

/// Chunks that come together: alone, and so many that they go out in one write.
const BURSTS: [usize; 4] = [1, 2, 3, 4];

/// Rounds of all bursts. Those that come first let grow what grows in steps, and let every receiver catch up.
const WARM_UP: usize = 10;
const COUNTED: usize = 25;

/// The chunk, what counts its holders, what is left of a read that ended within it, and where several are due the piece
/// in which small ones leave, one for the publisher and one for each of two crews.
const PER_CHUNK_MAX: usize = 4;

/// One in so many deliveries may allocate: a receiver that the machine kept from catching up fetches by its own task,
/// into a list, and once a second the node looks after its channels.
const DELIVERIES_PER_ALLOCATION_MIN: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivered_message_takes_nothing_from_the_heap() {
    let node = Node::start(Config::default()).await;
    let mut few = Channel::open(&node, "few", FEW).await;
    let mut many = Channel::open(&node, "many", MANY).await;

    let chunks = COUNTED * BURSTS.iter().sum::<usize>();
    let for_few = few.allocations();
    let for_many = many.allocations();

    let told = format!("{for_few} for {chunks} chunks to {FEW} receivers, {for_many} for as many to {MANY}");
    assert!(for_few.max(for_many) <= chunks * PER_CHUNK_MAX, "{told}");
    let more = for_many.saturating_sub(for_few);
    assert!(more * DELIVERIES_PER_ALLOCATION_MIN <= chunks * (MANY - FEW), "{told}");
}

/// A publisher and its receivers, whose own side takes nothing from the heap once it is open.
struct Channel {
    publisher: TcpStream,
    receivers: Vec<TcpStream>,
    /// The longest burst, as it is published and as it is received.
    published: Vec<u8>,
    expected: Vec<u8>,
    received: Vec<u8>,
}

impl Channel {
    /// The receivers come first, so that each gets every byte.
    async fn open(node: &Node, name: &str, receivers: usize) -> Self {
        let before = node.metric("relaycast_sessions", &["receive"]);
        let all = before + receivers as f64;
        let receivers = (0..receivers).map(|_| connect(node, &format!("/{name}/key/receive"))).collect();
        node.until_labelled("relaycast_sessions", &["receive"], |open| open == all).await;
        let longest = BURSTS.into_iter().max().unwrap();
        let header = [&[FIN | BINARY, 126][..], &(PAYLOAD.len() as u16).to_be_bytes()].concat();
        let expected = [&header[..], &PAYLOAD].concat();
        assert_eq!(expected.len(), FRAME_BYTES);
        Self {
            publisher: connect(node, &format!("/{name}/key/publish")),
            receivers,
            published: frame(FIN | BINARY, &PAYLOAD).repeat(longest),
            expected: expected.repeat(longest),
            received: vec![0; longest * FRAME_BYTES],
        }
    }

    /// What all threads take from the heap while everyone gets everything.
    fn allocations(&mut self) -> usize {
        self.rounds(WARM_UP);
        let before = allocations();
        self.rounds(COUNTED);
        allocations() - before
    }

    fn rounds(&mut self, rounds: usize) {
        let masked_frame_bytes = FRAME_BYTES + 4;
        for burst in (0..rounds).flat_map(|_| BURSTS) {
            self.publisher.write_all(&self.published[..burst * masked_frame_bytes]).unwrap();
            for receiver in &mut self.receivers {
                let received = &mut self.received[..burst * FRAME_BYTES];
                receiver.read_exact(received).unwrap();
                assert!(*received == self.expected[..received.len()], "the chunks, and nothing else");
            }
        }
    }
}

/// Connects, and completes the handshake without reading beyond it.
fn connect(node: &Node, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(node.address).unwrap();
    client.set_read_timeout(Some(HANG)).unwrap();
    client.set_nodelay(true).unwrap();
    client.write_all(format!("GET {path} HTTP/1.1\r\n{HANDSHAKE_HEADERS}\r\n").as_bytes()).unwrap();
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    client
}

/// How often this process has taken memory from the heap, or more of it.
fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}
