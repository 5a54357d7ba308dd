//! Publishers of numbered chunks, and receivers that look at them as they come.
//!
//! A chunk is `LABEL,NUMBER`, numbered from 0 on in each publication. So a receiver sees whatever must not be: a chunk that
//! comes twice or too early, and one of a publication that it had left already. Those are faults and end a test. A hole is
//! not always one, so the test says what it expects.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::HANG;
use crate::client::{Socket, connect};
use crate::node::Node;
use crate::until;

/// A chunk every 10 ms, as of a camera with sound.
const CHUNK_INTERVAL: Duration = Duration::from_millis(10);

/// A publisher that sends numbered chunks until it is told to end.
#[derive(Debug)]
pub struct Camera {
    label: String,
    sent: watch::Receiver<u64>,
    finish: Option<oneshot::Sender<()>>,
    task: JoinSet<Farewell>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// Every text that is no heartbeat.
    pub texts: Vec<String>,
    /// Code and reason; `None` when the connection was lost.
    pub close: Option<(u16, String)>,
}

impl Farewell {
    /// Asserts that the node ended the session with this code, for a reason that starts like this.
    ///
    /// # Panics
    /// When it did not.
    pub fn is(&self, code: u16, reason: &str) {
        let close = self.close.as_ref();
        let fits = close.is_some_and(|(got, text)| *got == code && text.starts_with(reason));
        assert!(fits, "{code} {reason} is expected: {self:?}");
    }
}

impl Camera {
    /// Connects to a node, and returns once the node has given it the channel.
    pub async fn start(node: &Node, channel_and_key: &str, label: &str) -> Self {
        let camera = Self::open(node, channel_and_key, label).await;
        let name = channel_and_key.split('/').next().unwrap_or_default();
        until(&format!("{label} publishes on {name}"), async || {
            assert!(!camera.task.is_empty(), "{label} was refused");
            let channel = node.channel(name).await?;
            (channel.origin.is_none() && channel.started_at.is_some()).then_some(())
        })
        .await;
        camera
    }

    /// Connects to a node, which may refuse it.
    pub async fn open(node: &Node, channel_and_key: &str, label: &str) -> Self {
        Self::at(&node.url(&format!("{channel_and_key}/publish")), label).await
    }

    /// Connects to a URL that ends in `/publish`, where it may be refused.
    pub async fn at(url: &str, label: &str) -> Self {
        let socket = connect(url).await;
        let (progress, sent) = watch::channel(0);
        let (finish, finished) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(send(socket, label.to_owned(), progress, finished));
        Self { label: label.to_owned(), sent, finish: Some(finish), task }
    }

    /// What its chunks start with.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How many chunks it has sent: the number of the next.
    pub fn sent(&self) -> u64 {
        *self.sent.borrow()
    }

    /// Waits until it has sent so many more.
    ///
    /// # Panics
    /// When it does not.
    pub async fn sends(&self, more: u64) {
        let goal = self.sent() + more;
        let mut sent = self.sent.clone();
        let reached = timeout(HANG, sent.wait_for(|sent| *sent >= goal)).await;
        assert!(matches!(reached, Ok(Ok(_))), "{} does not go on", self.label);
    }

    /// Closes in order, and tells how many chunks it has sent.
    ///
    /// # Panics
    /// When its session has ended before.
    pub async fn finish(mut self) -> u64 {
        self.finish.take().expect("only this takes it").send(()).expect("it publishes still");
        timeout(HANG, self.task.join_next()).await.expect("the node answers a close");
        self.sent()
    }

    /// Waits until the node ends its session.
    ///
    /// # Panics
    /// When the node does not.
    pub async fn ended(mut self) -> Farewell {
        let ended = timeout(HANG, self.task.join_next()).await;
        ended.unwrap_or_else(|_| panic!("the session of {} does not end", self.label)).unwrap().unwrap()
    }
}

async fn send(
    mut socket: Socket,
    label: String,
    progress: watch::Sender<u64>,
    mut finish: oneshot::Receiver<()>,
) -> Farewell {
    let mut farewell = Farewell { texts: Vec::new(), close: None };
    let mut pace = interval(CHUNK_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut publishes = true;
    loop {
        tokio::select! {
            Ok(()) = &mut finish, if publishes => {
                publishes = false;
                let _ = socket.close(None).await;
            }
            _ = pace.tick(), if publishes => {
                let number = *progress.borrow();
                let chunk = Message::Binary(format!("{label},{number}").into());
                // Why it does not take it, the other half tells.
                publishes = socket.send(chunk).await.is_ok();
                progress.send_replace(number + u64::from(publishes));
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) if text.as_str() != "h" => farewell.texts.push(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => {
                    publishes = false;
                    farewell.close = frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return farewell,
            },
        }
    }
}

/// A receiver of numbered chunks.
#[derive(Debug)]
pub struct Viewer {
    name: String,
    seen: watch::Receiver<Seen>,
    _task: JoinSet<()>,
}

/// What a receiver got up to now.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The publications, one after the other.
    pub runs: Vec<Run>,
    /// How its session ended.
    pub farewell: Option<Farewell>,
    /// When it did.
    pub ended_at: Option<Instant>,
    texts: Vec<String>,
    faults: Vec<String>,
}

/// What a receiver got of one publication.
#[derive(Debug, Clone)]
pub struct Run {
    /// What its chunks start with.
    pub label: String,
    /// Number of the first chunk.
    pub first: u64,
    /// Number after that of the last.
    pub next: u64,
    /// Numbers that were left out, up to the one that came.
    pub holes: Vec<(u64, u64)>,
    /// When the first came.
    pub began: Instant,
    /// When the last came.
    pub last: Instant,
    /// The longest time between two.
    pub pause: Duration,
}

impl Seen {
    fn take(&mut self, chunk: &[u8]) {
        let now = Instant::now();
        let text = String::from_utf8_lossy(chunk).into_owned();
        let parsed =
            text.split_once(',').and_then(|(label, number)| Some((label, number.parse::<u64>().ok()?)));
        let Some((label, number)) = parsed else { return self.faults.push(format!("{text} is no chunk")) };
        match self.runs.last_mut() {
            Some(run) if run.label == label => {
                if number < run.next {
                    return self.faults.push(format!("{text} after {}", run.next - 1));
                }
                if number > run.next {
                    run.holes.push((run.next, number));
                }
                run.next = number + 1;
                run.pause = run.pause.max(now - run.last);
                run.last = now;
            }
            _ => {
                if self.runs.iter().any(|run| run.label == label) {
                    self.faults.push(format!("{text} after another publication"));
                }
                let (label, next) = (label.to_owned(), number + 1);
                let holes = Vec::new();
                let run =
                    Run { label, first: number, next, holes, began: now, last: now, pause: Duration::ZERO };
                self.runs.push(run);
            }
        }
    }
}

impl Viewer {
    /// Connects to a node, which may have no publisher of the channel yet.
    pub async fn start(node: &Node, channel_and_key: &str) -> Self {
        Self::at(&node.url(&format!("{channel_and_key}/receive"))).await
    }

    /// Connects to a URL that ends in `/receive`.
    pub async fn at(url: &str) -> Self {
        let url = url.to_owned();
        let mut socket = connect(&url).await;
        let (progress, seen) = watch::channel(Seen::default());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut close = None;
            loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(chunk))) => progress.send_modify(|seen| seen.take(&chunk)),
                    Some(Ok(Message::Text(text))) if text.as_str() != "h" => {
                        progress.send_modify(|seen| seen.texts.push(text.as_str().to_owned()));
                    }
                    Some(Ok(Message::Close(Some(frame)))) => {
                        close = Some((frame.code.into(), frame.reason.as_str().to_owned()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break,
                }
            }
            progress.send_modify(|seen| {
                seen.farewell = Some(Farewell { texts: std::mem::take(&mut seen.texts), close });
                seen.ended_at = Some(Instant::now());
            });
        });
        Self { name: url, seen, _task: task }
    }

    /// What it got.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// The publication that it sees.
    ///
    /// # Panics
    /// When there was none.
    pub fn run(&self) -> Run {
        self.seen.borrow().runs.last().cloned().unwrap_or_else(|| panic!("{} has seen nothing", self.name))
    }

    /// Waits until it has seen this chunk, or one after it in the same publication.
    ///
    /// # Panics
    /// When it has not, or something that must not be.
    pub async fn sees(&self, label: &str, number: u64) -> Run {
        let find =
            |seen: &Seen| seen.runs.iter().find(|run| run.label == label && run.next > number).cloned();
        self.until(&format!("{label},{number}"), find).await
    }

    /// Waits until its session has ended.
    ///
    /// # Panics
    /// When it does not, or something came that must not be.
    pub async fn ends(&self) -> Farewell {
        let mut seen = self.seen.clone();
        let ended = timeout(HANG, seen.wait_for(|seen| seen.farewell.is_some())).await;
        assert!(matches!(ended, Ok(Ok(_))), "{} does not end: {:?}", self.name, self.seen());
        assert!(self.seen().faults.is_empty(), "{}: {:?}", self.name, self.seen());
        self.seen().farewell.expect("it was waited for")
    }

    async fn until<T>(&self, what: &str, find: impl Fn(&Seen) -> Option<T>) -> T {
        let mut seen = self.seen.clone();
        let mut found = None;
        let over = timeout(
            HANG,
            seen.wait_for(|seen| {
                found = find(seen);
                found.is_some() || seen.farewell.is_some() || !seen.faults.is_empty()
            }),
        )
        .await
        .is_err();
        let seen = self.seen();
        assert!(!over && seen.faults.is_empty(), "{} waits for {what}: {seen:?}", self.name);
        found.unwrap_or_else(|| panic!("{} has ended without {what}: {seen:?}", self.name))
    }

    /// Asserts that it is there still, and has got nothing but these publications, each without a hole.
    ///
    /// # Panics
    /// When it is otherwise.
    pub fn has_seen(&self, labels: &[&str]) {
        let seen = self.seen();
        let got: Vec<_> = seen.runs.iter().map(|run| run.label.as_str()).collect();
        assert_eq!(got, labels, "{}: {seen:?}", self.name);
        let is_whole = seen.runs.iter().all(|run| run.holes.is_empty());
        assert!(is_whole && seen.faults.is_empty() && seen.farewell.is_none(), "{}: {seen:?}", self.name);
        assert!(seen.texts.is_empty(), "{}: {seen:?}", self.name);
    }
}

/// Waits until each of them has seen a chunk that was not sent yet.
pub async fn flows(camera: &Camera, viewers: &[&Viewer]) {
    let number = camera.sent();
    for viewer in viewers {
        viewer.sees(camera.label(), number).await;
    }
}
