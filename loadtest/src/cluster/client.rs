//! One websocket of a few: where what a client does matters more than that there are thousands.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use relay_proto::websocket::OpCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::payload::{Composer, Form, Stamp, masked_frame};
use crate::plan::Endpoint;
use crate::wire::{self, Answer, BINARY, CLOSE, Frames, PING};

/// Read at once.
const SCRATCH_BYTES: usize = 64 << 10;

const MASK: [u8; 4] = [0x5A, 0xC3, 0x3C, 0xA5];

/// How long a publisher that was sent away at once waits until it comes again. One that loses its node does not wait.
const COME_AGAIN: Duration = Duration::from_millis(20);

/// An open websocket.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    frames: Frames,
    scratch: Box<[u8]>,
    heard: VecDeque<Heard>,
}

/// A binary message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// `None` of what has none, such as an init.
    pub(crate) stamp: Option<Stamp>,
}

/// Why there is nothing more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    #[error("{0}")]
    Refused(String),
    /// With the code and the reason of the close frame.
    #[error("{0}")]
    Closed(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Client {
    pub(crate) async fn connect(endpoint: &Endpoint, channel: usize) -> Result<Self, Gone> {
        let mut stream = TcpStream::connect(endpoint.address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&endpoint.request(channel)).await?;
        let scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
        let mut client = Self { stream, frames: Frames::default(), scratch, heard: VecDeque::new() };
        let mut answer = Vec::new();
        loop {
            let count = client.read().await?;
            answer.extend_from_slice(&client.scratch[..count]);
            match wire::answer(&answer) {
                Answer::Partial => {}
                Answer::Refused(reason) => return Err(Gone::Refused(reason)),
                Answer::Open(len) => {
                    let pongs = take(&mut client.frames, &answer[len..], &mut client.heard)?;
                    client.send(&pongs).await?;
                    return Ok(client);
                }
            }
        }
    }

    /// The next binary message. Safe to cancel, but for a pong that may be cut off.
    pub(crate) async fn next(&mut self) -> Result<Heard, Gone> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let count = self.read().await?;
            let pongs = take(&mut self.frames, &self.scratch[..count], &mut self.heard)?;
            self.send(&pongs).await?;
        }
    }

    pub(crate) async fn send(&mut self, frame: &[u8]) -> Result<(), Gone> {
        Ok(self.stream.write_all(frame).await?)
    }

    async fn read(&mut self) -> Result<usize, Gone> {
        match self.stream.read(&mut self.scratch).await? {
            0 => Err(Gone::Io(io::ErrorKind::UnexpectedEof.into())),
            count => Ok(count),
        }
    }
}

/// What bytes mean. Returns what has to be answered.
fn take(frames: &mut Frames, bytes: &[u8], heard: &mut VecDeque<Heard>) -> Result<Vec<u8>, Gone> {
    let mut pongs = Vec::new();
    let mut end = None;
    let each = |message: wire::Message<'_>| match message.opcode {
        BINARY => heard.push_back(Heard { stamp: Form::Flv.stamp(message.head) }),
        PING => pongs.extend(masked_frame(OpCode::Pong, message.head, MASK)),
        CLOSE => end = Some(wire::close_reason(message.head)),
        _ => {}
    };
    frames.push(bytes, each).map_err(|malformed| Gone::Closed(malformed.to_string()))?;
    end.map_or(Ok(pongs), |reason| Err(Gone::Closed(reason)))
}

/// What a publisher of media sends.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Stream {
    /// Pictures per second.
    pub(crate) rate: f64,
    /// Of each picture.
    pub(crate) bytes: usize,
}

impl Stream {
    fn interval(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// Publishes for as long as it is polled: on the first node, and when that is gone at once on the next. Each connection
    /// is a publication of its own, with an init and numbers from 0 on.
    pub(crate) async fn publish(self, endpoints: &[Endpoint], channel: usize, clock: Clock) {
        for endpoint in endpoints.iter().cycle() {
            let begun = Instant::now();
            // The end of a connection is what this waits for, and why it came does not matter to whoever comes back.
            let _ = self.publish_once(endpoint, channel, clock).await;
            if begun.elapsed() < COME_AGAIN {
                tokio::time::sleep(COME_AGAIN).await;
            }
        }
    }

    async fn publish_once(self, endpoint: &Endpoint, channel: usize, clock: Clock) -> Result<(), Gone> {
        let mut client = Client::connect(endpoint, channel).await?;
        let composer = Composer::new(Form::Flv, self.bytes, self.interval().as_millis() as u64);
        client.send(&composer.init()).await?;
        let mut due = interval(self.interval());
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut frame = Vec::new();
        for seq in 0.. {
            loop {
                tokio::select! {
                    _ = due.tick() => break,
                    // A publisher hears nothing but pings, and the end.
                    heard = client.next() => heard.map(|_| ())?,
                }
            }
            frame.clear();
            composer.append(Stamp { seq, sent_ns: clock.now_ns() }, &mut frame);
            client.send(&frame).await?;
        }
        Ok(())
    }
}

/// How long something took.
pub(crate) fn ms_since(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
