//! Publishers that come and go, and receivers that check what they get.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use relay_tests::seed::Seed;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::nodes::Addresses;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Chunks per second and channel.
const RATE: u32 = 10;

/// Who hears nothing for so long goes to another node.
const PATIENCE: Duration = Duration::from_secs(4);

/// For connecting, and for sending a chunk.
const SLOW: Duration = Duration::from_secs(2);

/// All clients.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What they know of each other.
struct Shared {
    addresses: Arc<Addresses>,
    channels: Vec<Channel>,
    receivers: Vec<Seen>,
    /// From now on publishers stay.
    settled: AtomicBool,
    /// From now on publishers end, and nobody comes back.
    finishing: AtomicBool,
    chunks: AtomicU64,
    holes: AtomicU64,
    publications: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What is published on a channel.
#[derive(Default)]
struct Channel {
    /// Number of the publication that runs; 0 while there is none.
    live: AtomicU64,
}

/// The newest that a receiver has seen.
#[derive(Default)]
struct Seen {
    publication: AtomicU64,
}

impl Clients {
    pub(crate) fn start(
        channels: usize,
        receivers: usize,
        addresses: Arc<Addresses>,
        seed: &mut Seed,
    ) -> Self {
        let shared = Arc::new(Shared {
            addresses,
            channels: std::iter::repeat_with(Channel::default).take(channels).collect(),
            receivers: std::iter::repeat_with(Seen::default).take(receivers).collect(),
            settled: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
            chunks: AtomicU64::new(0),
            holes: AtomicU64::new(0),
            publications: AtomicU64::new(0),
            failures: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for channel in 0..channels {
            tasks.spawn(publisher(Arc::clone(&shared), channel, seed.fork()));
        }
        for receiver in 0..receivers {
            tasks.spawn(receiver_task(Arc::clone(&shared), receiver, receiver % channels, seed.fork()));
        }
        Self { shared, tasks }
    }

    pub(crate) fn summary(&self) -> String {
        let Shared { chunks, holes, publications, .. } = &*self.shared;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!("{} chunks, {} holes, {} publications", load(chunks), load(holes), load(publications))
    }

    /// Publishers that come now stay.
    pub(crate) fn settle(&self) {
        self.shared.settled.store(true, Ordering::Relaxed);
    }

    /// Whether every channel has a publisher, and every receiver sees what that sends.
    pub(crate) fn are_served(&self) -> bool {
        self.shared.check();
        let newest = |receiver: usize| {
            let channel = &self.shared.channels[receiver % self.shared.channels.len()];
            let live = channel.live.load(Ordering::Relaxed);
            live > 0 && self.shared.receivers[receiver].publication.load(Ordering::Relaxed) == live
        };
        (0..self.shared.receivers.len()).all(newest)
    }

    /// Publishers end in order, and all go.
    pub(crate) async fn finish(mut self) -> impl fmt::Display {
        self.shared.finishing.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.shared.check();
        self.summary()
    }
}

impl Shared {
    fn check(&self) {
        let failures = self.failures.lock().unwrap();
        assert!(
            failures.is_empty(),
            "{} failures, such as\n{}",
            failures.len(),
            failures[..failures.len().min(5)].join("\n")
        );
    }

    fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }

    fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// A node that is there.
    fn address(&self, rng: &mut Rng) -> Option<SocketAddr> {
        let addresses = self.addresses.lock().unwrap();
        addresses[rng.usize(..addresses.len())]
    }

    async fn connect(&self, path: &str, rng: &mut Rng) -> Option<Socket> {
        let address = self.address(rng)?;
        match timeout(SLOW, connect_async(format!("ws://{address}/{path}"))).await {
            Ok(Ok((socket, _))) => Some(socket),
            _ => None,
        }
    }
}

async fn pause(rng: &mut Rng) {
    sleep(Duration::from_millis(rng.u64(50..500))).await;
}

/// Publishes again and again, on any node. A chunk is `channel publication number`.
async fn publisher(shared: Arc<Shared>, channel: usize, mut rng: Rng) {
    let mut publication = 0;
    while !shared.is_finishing() {
        if let Some(socket) = shared.connect(&format!("c{channel}/key/publish"), &mut rng).await {
            publication += 1;
            publish(&shared, channel, publication, socket, &mut rng).await;
            shared.channels[channel].live.store(0, Ordering::Relaxed);
        }
        pause(&mut rng).await;
    }
}

async fn publish(shared: &Shared, channel: usize, publication: u64, mut socket: Socket, rng: &mut Rng) {
    let until = Instant::now() + Duration::from_secs(rng.u64(3..20));
    let ends_clean = rng.bool();
    let mut tick = interval(Duration::from_secs(1) / RATE);
    let mut number = 0;
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message)) if !message.is_close() => {}
                _ => return,
            },
            _ = tick.tick() => {
                if shared.is_finishing() || (!shared.is_settled() && Instant::now() > until && ends_clean) {
                    let _ = timeout(SLOW, async {
                        let _ = socket.close(None).await;
                        while let Some(Ok(_)) = socket.next().await {}
                    })
                    .await;
                    return;
                }
                if !shared.is_settled() && Instant::now() > until {
                    return;
                }
                let chunk = Bytes::from(format!("{channel} {publication} {number} {:x>100}", ""));
                if !matches!(timeout(SLOW, socket.send(Message::Binary(chunk))).await, Ok(Ok(()))) {
                    return;
                }
                if number == 0 {
                    shared.publications.fetch_add(1, Ordering::Relaxed);
                }
                number += 1;
                shared.channels[channel].live.store(publication, Ordering::Relaxed);
            }
        }
    }
}

async fn receiver_task(shared: Arc<Shared>, receiver: usize, channel: usize, mut rng: Rng) {
    while !shared.is_finishing() {
        if let Some(socket) = shared.connect(&format!("c{channel}/key/receive"), &mut rng).await {
            receive(&shared, receiver, channel, socket, &mut rng).await;
        }
        pause(&mut rng).await;
    }
}

/// Until the session ends, or it is time to go elsewhere.
async fn receive(shared: &Shared, receiver: usize, channel: usize, mut socket: Socket, rng: &mut Rng) {
    let mut last: Option<(u64, u64)> = None;
    let until = Instant::now() + Duration::from_secs(rng.u64(5..60));
    loop {
        if !shared.is_settled() && Instant::now() > until {
            return;
        }
        match timeout(PATIENCE, socket.next()).await {
            Ok(Some(Ok(Message::Binary(chunk)))) => {
                let text = std::str::from_utf8(&chunk).unwrap();
                let mut words = text.split(' ');
                let mut word = || words.next().unwrap().parse::<u64>().unwrap();
                let (own, publication, number) = (word(), word(), word());
                let fail = |what: &str| {
                    let text = format!("receiver {receiver}: {what}: {text:.20} after {last:?}");
                    shared.failures.lock().unwrap().push(text);
                };
                if own != channel as u64 {
                    fail("another channel");
                }
                match last {
                    Some((before, _)) if publication < before => fail("an older publication"),
                    Some((before, newest)) if publication == before && number <= newest => {
                        fail("out of order")
                    }
                    Some((before, newest)) if publication == before && number > newest + 1 => {
                        shared.holes.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                }
                last = Some((publication, number));
                shared.chunks.fetch_add(1, Ordering::Relaxed);
                shared.receivers[receiver].publication.store(publication, Ordering::Relaxed);
            }
            Ok(Some(Ok(Message::Close(_)))) | Ok(Some(Err(_))) | Ok(None) => return,
            Ok(Some(Ok(_))) => {}
            // Nothing comes: perhaps it does elsewhere.
            Err(_) => return,
        }
    }
}
