//! A channel: who publishes on it, and which feed that makes.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ At most one publication is live, and each has a higher epoch than the one before.            │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use relay_media::Scanner;
use relay_proto::{ChannelName, Epoch, StreamKey, api};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::channels::Channels;
use crate::chunk::Chunk;
use crate::config::PublisherPolicy;
use crate::feed::{End, Feed, Resources, Writer};
use crate::incumbent::Incumbent;

/// A named live stream on this node.
#[derive(Debug)]
pub(crate) struct Channel {
    name: ChannelName,
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
    receivers: AtomicUsize,
    resources: Resources,
    channels: Channels,
}

/// What receivers see of a channel.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// Nobody publishes.
    Vacant,
    /// Somebody publishes.
    Live(Live),
    /// The publisher vanished; its receivers are held until then.
    Held(Instant),
}

/// A publication that runs.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) feed: Arc<Feed>,
    pub(crate) key: StreamKey,
}

#[derive(Debug)]
struct State {
    epoch: Epoch,
    occupied: Occupied,
    /// The last publication, if it is over, for who waited for it: it may begin and end before their tasks run.
    over: Option<Live>,
}

/// How long after its last chunk a publication that is over is kept: long enough for every task to have run.
const OVER_KEPT_MS: u64 = 1_000;

#[derive(Debug)]
enum Occupied {
    No,
    By {
        key: StreamKey,
        incumbent: Arc<Incumbent>,
        bitrate: Arc<Bitrate>,
        started: SystemTime,
    },
    /// Kept for the publisher that vanished, so that nobody else can take its viewers meanwhile.
    Reserved {
        key: StreamKey,
        until: Instant,
    },
}

/// The right to publish, and the way to do it. Dropping it is an abrupt end.
#[derive(Debug)]
pub(crate) struct Publication {
    channel: Arc<Channel>,
    feed: Arc<Feed>,
    /// Until it is finished.
    writer: Option<Writer>,
    epoch: Epoch,
    bitrate: Arc<Bitrate>,
    grace: std::time::Duration,
}

/// What a publisher's claim came to.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It publishes.
    Granted(Box<Publication>),
    /// Somebody else does, and has to be asked for a sign of life first.
    Challenge(Arc<Incumbent>, Epoch),
    /// Somebody else does.
    Busy,
}

/// What a claimant brings.
#[derive(Debug)]
pub(crate) struct Claimant<'a> {
    pub(crate) key: &'a StreamKey,
    pub(crate) incumbent: &'a Arc<Incumbent>,
    pub(crate) policy: PublisherPolicy,
    pub(crate) stall_timeout: std::time::Duration,
    pub(crate) grace: std::time::Duration,
    /// The epoch of an incumbent that gave no sign of life.
    pub(crate) unresponsive: Option<Epoch>,
}

impl Channel {
    pub(crate) fn new(name: ChannelName, epoch: Epoch, resources: Resources, channels: Channels) -> Self {
        resources.metrics.channels.inc();
        Self {
            name,
            state: Mutex::new(State { epoch, occupied: Occupied::No, over: None }),
            stage: watch::Sender::new(Stage::Vacant),
            receivers: AtomicUsize::new(0),
            resources,
            channels,
        }
    }

    pub(crate) fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Follows the channel through its publications.
    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// What somebody who comes now has missed: every publication up to this one. A live one is not missed.
    pub(crate) fn missed(&self) -> Epoch {
        let state = self.lock();
        match &*self.stage.borrow() {
            Stage::Live(_) => Epoch::NONE,
            Stage::Vacant | Stage::Held(_) => state.epoch,
        }
    }

    /// The publication after `epoch`, live or just over.
    pub(crate) fn publication_after(&self, epoch: Epoch) -> Option<Live> {
        let state = self.lock();
        let live = match &*self.stage.borrow() {
            Stage::Live(live) => Some(live.clone()),
            Stage::Vacant | Stage::Held(_) => state.over.clone(),
        };
        live.filter(|live| live.feed.epoch() > epoch)
    }

    /// Whether somebody publishes.
    pub(crate) fn is_live(&self) -> bool {
        self.live_feed().is_some()
    }

    /// Lets go of a publication that was over long ago, and of what a live one has cached too long or beyond its share.
    pub(crate) fn tidy(&self, share: usize) {
        self.lock().over.take_if(|over| over.feed.silent_ms() > OVER_KEPT_MS);
        if let Some(feed) = self.live_feed() {
            feed.tidy(share);
        }
    }

    /// Receivers attached or waiting.
    pub(crate) fn receivers(&self) -> usize {
        self.receivers.load(Ordering::Relaxed)
    }

    /// Asks for the right to publish. Of any number of claims at once, exactly one is granted.
    pub(crate) fn claim(self: &Arc<Self>, claimant: &Claimant<'_>) -> Claim {
        let mut state = self.lock();
        match &state.occupied {
            Occupied::No => {}
            Occupied::Reserved { key, until } => {
                if key != claimant.key && Instant::now() < *until {
                    return Claim::Busy;
                }
            }
            Occupied::By { key, incumbent, .. } => {
                let stalled = || {
                    claimant.unresponsive == Some(state.epoch)
                        || self.live_feed().is_none_or(|feed| {
                            u128::from(feed.silent_ms()) > claimant.stall_timeout.as_millis()
                        })
                };
                match claimant.policy {
                    _ if key != claimant.key => return Claim::Busy,
                    PublisherPolicy::Reject => return Claim::Busy,
                    PublisherPolicy::Takeover => {}
                    PublisherPolicy::TakeoverIfStalled if stalled() => {}
                    PublisherPolicy::TakeoverIfStalled => {
                        return Claim::Challenge(Arc::clone(incumbent), state.epoch);
                    }
                }
                incumbent.replace();
                self.resources.metrics.takeovers.inc();
            }
        }
        Claim::Granted(Box::new(self.begin(&mut state, claimant)))
    }

    fn begin(self: &Arc<Self>, state: &mut State, claimant: &Claimant<'_>) -> Publication {
        let epoch = state.epoch.next();
        let bitrate = Arc::new(Bitrate::default());
        state.epoch = epoch;
        state.over = None;
        self.channels.remember(epoch);
        state.occupied = Occupied::By {
            key: claimant.key.clone(),
            incumbent: Arc::clone(claimant.incumbent),
            bitrate: Arc::clone(&bitrate),
            started: SystemTime::now(),
        };
        let writer = Feed::open(epoch, Scanner::new(), self.resources.clone());
        let feed = Arc::clone(writer.feed());
        self.stage.send_replace(Stage::Live(Live { feed: Arc::clone(&feed), key: claimant.key.clone() }));
        self.resources.metrics.publications.inc();
        self.resources.metrics.publications_live.inc();
        Publication {
            channel: Arc::clone(self),
            feed,
            writer: Some(writer),
            epoch,
            bitrate,
            grace: claimant.grace,
        }
    }

    /// The publication is over. Nothing happens if a newer one has begun.
    fn release(self: &Arc<Self>, epoch: Epoch, end: End, grace: std::time::Duration) {
        let mut state = self.lock();
        if state.epoch != epoch {
            return;
        }
        let Occupied::By { key, .. } = std::mem::replace(&mut state.occupied, Occupied::No) else { return };
        let now = Instant::now();
        // Who never sent a chunk has no viewers to be kept for it.
        let sent = self.live_feed().is_some_and(|feed| feed.ring().end() > 0);
        let (stage, until) = match end {
            End::Lost if sent => (Stage::Held(now + grace), Some(now + grace)),
            End::Clean | End::Lost => (Stage::Vacant, None),
        };
        if let Stage::Live(live) = self.stage.send_replace(stage) {
            state.over = Some(live);
        }
        if let Some(until) = until {
            state.occupied = Occupied::Reserved { key, until };
            drop(state);
            self.channels.keep_until(self, until);
        }
    }

    /// Counts a receiver in, up to `max`, for as long as the guard lives.
    pub(crate) fn admit_receiver(self: &Arc<Self>, max: usize) -> Option<CountedReceiver> {
        self.receivers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1))
            .ok()
            .map(|_| CountedReceiver(Arc::clone(self)))
    }

    /// What the API tells.
    pub(crate) fn describe(&self, stall_timeout: std::time::Duration) -> api::Channel {
        let stage = self.stage.borrow().clone();
        let info = match &stage {
            Stage::Live(live) => live.feed.info(),
            Stage::Vacant | Stage::Held(_) => None,
        };
        let state = match &stage {
            Stage::Live(live) if u128::from(live.feed.silent_ms()) > stall_timeout.as_millis() => {
                api::ChannelState::Stalled
            }
            Stage::Live(_) => api::ChannelState::Live,
            Stage::Held(until) if Instant::now() < *until => api::ChannelState::Held,
            Stage::Held(_) | Stage::Vacant => api::ChannelState::Waiting,
        };
        let own = self.lock();
        let (bitrate, started_at) = match &own.occupied {
            Occupied::By { bitrate, started, .. } if state == api::ChannelState::Live => {
                (bitrate.bits_per_second(), Some(*started))
            }
            Occupied::By { started, .. } => (0, Some(*started)),
            Occupied::No | Occupied::Reserved { .. } => (0, None),
        };
        api::Channel {
            name: self.name.clone(),
            state,
            container: info.as_ref().map(|info| info.container.name().to_owned()),
            tracks: info.map(|info| info.tracks.iter().map(api::Track::from).collect()).unwrap_or_default(),
            receivers: self.receivers() as u64,
            bitrate,
            epoch: own.epoch,
            started_at: started_at.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
        }
    }

    fn live_feed(&self) -> Option<Arc<Feed>> {
        match &*self.stage.borrow() {
            Stage::Live(live) => Some(Arc::clone(&live.feed)),
            Stage::Vacant | Stage::Held(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.resources.metrics.channels.dec();
        self.channels.forget(&self.name);
    }
}

impl Publication {
    /// The number of this publication.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What receivers see of it.
    pub(crate) fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.feed)
    }

    /// Keeps a chunk, which [`Publication::deliver`] then sends.
    pub(crate) fn append(&mut self, chunk: Chunk) {
        let len = chunk.payload().len();
        let resources = &self.channel.resources;
        resources.metrics.chunks_received.inc();
        resources.metrics.bytes_received.inc_by(len as u64);
        let now = Instant::now();
        self.bitrate.count(len, now);
        if let Some(writer) = &mut self.writer {
            writer.append(chunk, resources.ms_at(now));
        }
    }

    /// Sends what was kept to everyone who is caught up.
    pub(crate) fn deliver(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.deliver();
        }
    }

    /// The publisher is done: receivers get what is left and are closed.
    pub(crate) fn finish(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.end(End::Clean);
        }
        self.channel.release(self.epoch, End::Clean, self.grace);
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.channel.resources.metrics.publications_live.dec();
        // Without a writer it was finished. The feed ends first, so that a receiver that sees the stage change knows how.
        if self.writer.take().is_some() {
            self.channel.release(self.epoch, End::Lost, self.grace);
        }
    }
}

/// A receiver that counts.
#[derive(Debug)]
pub(crate) struct CountedReceiver(Arc<Channel>);

impl Drop for CountedReceiver {
    fn drop(&mut self) {
        self.0.receivers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bits per second over the last whole window.
#[derive(Debug, Default)]
struct Bitrate {
    window: Mutex<Option<(Instant, u64)>>,
    bits_per_second: AtomicU64,
}

impl Bitrate {
    /// Long enough to even out key frames, short enough to follow a change.
    const WINDOW_MS: u128 = 2_000;

    fn count(&self, bytes: usize, now: Instant) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, counted) = window.get_or_insert((now, 0));
        *counted += bytes as u64;
        let elapsed = now.duration_since(*began).as_millis();
        if elapsed >= Self::WINDOW_MS {
            let rate = u128::from(*counted) * 8 * 1000 / elapsed;
            self.bits_per_second.store(u64::try_from(rate).unwrap_or(u64::MAX), Ordering::Relaxed);
            *window = Some((now, 0));
        }
    }

    fn bits_per_second(&self) -> u64 {
        self.bits_per_second.load(Ordering::Relaxed)
    }
}
