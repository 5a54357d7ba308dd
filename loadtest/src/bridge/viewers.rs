//! Viewers of cameras: websockets that look when each picture was published.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use relay_proto::websocket::OpCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::bare::{delay_ns, delays};
use crate::payload::masked_frame;
use crate::wire::{self, Answer, BINARY, CLOSE, Frames, PING};

/// Read at once: a picture.
const SCRATCH_BYTES: usize = 32 << 10;

/// How long until one that was sent away comes again.
const COME_AGAIN: Duration = Duration::from_secs(1);

const MASK: [u8; 4] = [0x5A, 0xC3, 0x3C, 0xA5];

/// What all viewers saw since the last time that this was taken.
#[derive(Debug, Clone)]
pub(super) struct Seen(Arc<Mutex<Sight>>);

#[derive(Debug)]
pub(super) struct Sight {
    pub(super) pictures: u64,
    pub(super) delays: Histogram<u64>,
    /// Which of the viewers have seen a picture.
    seeing: Vec<bool>,
    /// Connections that were refused or ended.
    pub(super) ends: u64,
}

impl Seen {
    pub(super) fn new(viewers: usize) -> io::Result<Self> {
        let delays = delays().map_err(io::Error::other)?;
        Ok(Self(Arc::new(Mutex::new(Sight { pictures: 0, delays, seeing: vec![false; viewers], ends: 0 }))))
    }

    fn lock(&self) -> MutexGuard<'_, Sight> {
        // What is counted is counted whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many see something.
    pub(super) fn seeing(&self) -> usize {
        self.lock().seeing.iter().filter(|sees| **sees).count()
    }

    /// Takes what was seen, and begins anew.
    pub(super) fn take(&self) -> Sight {
        let mut now = self.lock();
        let taken = Sight {
            pictures: now.pictures,
            delays: now.delays.clone(),
            seeing: now.seeing.clone(),
            ends: now.ends,
        };
        (now.pictures, now.ends) = (0, 0);
        now.delays.reset();
        now.seeing.fill(false);
        taken
    }
}

impl Sight {
    /// How many viewers saw something.
    pub(super) fn seeing(&self) -> usize {
        self.seeing.iter().filter(|sees| **sees).count()
    }
}

/// Is a viewer, for ever.
pub(super) async fn view(node: SocketAddr, path: String, number: usize, seen: Seen) {
    loop {
        // That it ended is what matters.
        let _ = watch(node, &path, number, &seen).await;
        seen.lock().ends += 1;
        sleep(COME_AGAIN).await;
    }
}

async fn watch(node: SocketAddr, path: &str, number: usize, seen: &Seen) -> io::Result<()> {
    let mut stream = TcpStream::connect(node).await?;
    stream.write_all(&wire::request(&node.to_string(), path)).await?;
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut head = Vec::new();
    let open = loop {
        let count = stream.read(&mut scratch).await?;
        head.extend_from_slice(&scratch[..count]);
        match wire::answer(&head) {
            Answer::Partial if count > 0 => {}
            Answer::Open(len) => break len,
            Answer::Partial | Answer::Refused(_) => return Err(io::ErrorKind::ConnectionRefused.into()),
        }
    };
    let mut frames = Frames::default();
    let mut bytes = head.split_off(open);
    loop {
        let (mut pongs, mut is_over) = (Vec::new(), false);
        let each = |message: wire::Message<'_>| match message.opcode {
            BINARY => {
                let delay = delay_ns(message.head);
                let mut seen = seen.lock();
                seen.pictures += 1;
                seen.seeing[number] = true;
                // More than a minute is as bad as a minute.
                seen.delays.saturating_record(delay);
            }
            PING => pongs.extend(masked_frame(OpCode::Pong, message.head, MASK)),
            CLOSE => is_over = true,
            _ => {}
        };
        frames.push(&bytes, each).map_err(io::Error::other)?;
        stream.write_all(&pongs).await?;
        let count = stream.read(&mut scratch).await?;
        if is_over || count == 0 {
            return Ok(());
        }
        bytes.clear();
        bytes.extend_from_slice(&scratch[..count]);
    }
}
