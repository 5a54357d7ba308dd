//! A channel: who publishes on it, here or elsewhere, and which feed that makes.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ At most one publication is live, and each has a higher epoch than the one before.            │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Who may publish is decided by the registry ([`lease`](crate::lease)); a channel only refuses what is older than what it
//! has seen.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use relay_cluster::registry::Release;
use relay_media::Scanner;
use relay_proto::websocket::Close;
use relay_proto::{ChannelName, Epoch, KeyHash, NodeId, api};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::channels::Channels;
use crate::chunk::Chunk;
use crate::demand::Demand;
use crate::export::Export;
use crate::feed::{Beginning, End, Feed, FeedId, Resources, Writer};
use crate::incumbent::Incumbent;

/// A named live stream on this node.
#[derive(Debug)]
pub(crate) struct Channel {
    name: ChannelName,
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
    receivers: AtomicUsize,
    /// As `State::seen`, for the one who takes the next chunk.
    is_stalled: AtomicBool,
    demand: Demand,
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
    pub(crate) key: KeyHash,
}

#[derive(Debug)]
struct State {
    last: FeedId,
    /// What others have been told that its publication does.
    seen: api::ChannelState,
    occupied: Option<Occupied>,
    /// The last publication, if it is over, for who waited for it: it may begin and end before their tasks run.
    over: Option<Over>,
}

/// Who publishes.
#[derive(Debug)]
struct Occupied {
    whence: Whence,
    bitrate: Arc<Bitrate>,
    started: SystemTime,
}

#[derive(Debug)]
enum Whence {
    /// A session of this node.
    Here { incumbent: Arc<Incumbent>, export: Arc<Export> },
    /// One of that node.
    Elsewhere(NodeId),
}

#[derive(Debug)]
struct Over {
    since: Instant,
    live: Live,
    /// If it was published here.
    export: Option<Arc<Export>>,
}

/// How long a publication that is over is kept: long enough for every task to have run.
const OVER_KEPT: Duration = Duration::from_secs(1);

/// The same where other nodes follow it: long enough for them to notice what they lack and to ask for it.
const EXPORTED_KEPT: Duration = Duration::from_secs(5);

/// The right to publish, and the way to do it. Dropping it is an abrupt end.
#[derive(Debug)]
pub(crate) struct Publication {
    channel: Arc<Channel>,
    feed: Arc<Feed>,
    /// Until it is finished.
    writer: Option<Writer>,
    bitrate: Arc<Bitrate>,
    grace: Duration,
    counts: Counts,
    /// What others have been told of the stream, as [`Feed::info_changes`] counts.
    info_told: u32,
}

/// What counts a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    AsPublished,
    AsPulled,
}

/// A publication of this node that runs or has just ended, as other nodes ask for it.
#[derive(Debug, Clone)]
pub(crate) struct Exported {
    pub(crate) live: Live,
    pub(crate) export: Arc<Export>,
}

/// The publisher that has a channel on this node.
#[derive(Debug, Clone)]
pub(crate) struct Present {
    pub(crate) epoch: Epoch,
    pub(crate) incumbent: Arc<Incumbent>,
    pub(crate) silent: Duration,
}

impl Channel {
    pub(crate) fn new(name: ChannelName, resources: Resources, channels: Channels) -> Self {
        resources.metrics.channels.inc();
        Self {
            name,
            state: Mutex::new(State {
                last: FeedId::default(),
                seen: api::ChannelState::Waiting,
                occupied: None,
                over: None,
            }),
            stage: watch::Sender::new(Stage::Vacant),
            receivers: AtomicUsize::new(0),
            is_stalled: AtomicBool::new(false),
            demand: Demand::default(),
            resources,
            channels,
        }
    }

    pub(crate) fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Who wants the channel on this node.
    pub(crate) fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Follows the channel through its publications.
    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// The newest publication that this node has seen.
    pub(crate) fn newest(&self) -> FeedId {
        self.lock().last
    }

    /// What somebody who comes now has missed: every publication up to this one. A live one is not missed.
    pub(crate) fn missed(&self) -> FeedId {
        let state = self.lock();
        match &*self.stage.borrow() {
            Stage::Live(_) => FeedId::default(),
            Stage::Vacant | Stage::Held(_) => state.last,
        }
    }

    /// The publication after `id`, live or just over.
    pub(crate) fn publication_after(&self, id: FeedId) -> Option<Live> {
        let state = self.lock();
        let live = match &*self.stage.borrow() {
            Stage::Live(live) => Some(live.clone()),
            Stage::Vacant | Stage::Held(_) => state.over.as_ref().map(|over| over.live.clone()),
        };
        live.filter(|live| live.feed.id() > id)
    }

    /// Whether somebody publishes.
    pub(crate) fn is_live(&self) -> bool {
        self.live().is_some()
    }

    /// Lets go of a publication that was over long ago, and of what a live one has cached too long or beyond its share.
    pub(crate) fn tidy(&self, share: usize) {
        self.lock().over.take_if(|over| {
            let is_followed = over.export.as_ref().is_some_and(|export| export.was_asked());
            over.since.elapsed() > if is_followed { EXPORTED_KEPT } else { OVER_KEPT }
        });
        if let Some(live) = self.live() {
            live.feed.tidy(share);
        }
    }

    /// Receivers attached or waiting.
    pub(crate) fn receivers(&self) -> usize {
        self.receivers.load(Ordering::Relaxed)
    }

    /// The publisher of this node that has the channel.
    pub(crate) fn present(&self) -> Option<Present> {
        let state = self.lock();
        let Some(Occupied { whence: Whence::Here { incumbent, .. }, .. }) = &state.occupied else {
            return None;
        };
        let silent_ms = self.live()?.feed.silent_ms();
        Some(Present {
            epoch: state.last.epoch,
            incumbent: Arc::clone(incumbent),
            silent: Duration::from_millis(silent_ms),
        })
    }

    /// A publication of this node, for other nodes.
    pub(crate) fn exported(&self, epoch: Epoch) -> Option<Exported> {
        let state = self.lock();
        let running = match &state.occupied {
            Some(Occupied { whence: Whence::Here { export, .. }, .. }) => {
                self.live().map(|live| Exported { live, export: Arc::clone(export) })
            }
            _ => None,
        };
        let over = state.over.as_ref().and_then(|over| {
            Some(Exported { live: over.live.clone(), export: Arc::clone(over.export.as_ref()?) })
        });
        running.into_iter().chain(over).find(|exported| exported.live.feed.epoch() == epoch)
    }

    /// A publication of this node begins, under a lease of this epoch. `None` when a newer one has begun meanwhile.
    pub(crate) fn begin_here(
        self: &Arc<Self>,
        epoch: Epoch,
        key: KeyHash,
        incumbent: &Arc<Incumbent>,
        grace: Duration,
    ) -> Option<Publication> {
        let id = FeedId { epoch, part: 0 };
        let export = Arc::default();
        let whence = Whence::Here { incumbent: Arc::clone(incumbent), export };
        let publication =
            self.begin(whence, key, grace, Feed::open(id, Scanner::new(), self.resources.clone()))?;
        self.resources.metrics.publications.inc();
        self.resources.metrics.publications_live.inc();
        Some(publication)
    }

    /// A publication of another node begins on this one, or goes on after a hole. With `beginning` it begins at a join point,
    /// in this chunk; without, with its first chunk. `None` when a newer one has begun.
    pub(crate) fn begin_elsewhere(
        self: &Arc<Self>,
        origin: NodeId,
        epoch: Epoch,
        key: KeyHash,
        grace: Duration,
        beginning: Option<(Beginning, Chunk)>,
    ) -> Option<Publication> {
        let last = self.newest();
        let part = if last.epoch == epoch { last.part + 1 } else { 0 };
        let id = FeedId { epoch, part };
        let resources = self.resources.clone();
        let writer = match beginning {
            Some((beginning, chunk)) => Feed::resume(id, beginning, chunk, resources),
            None => Feed::open(id, Scanner::new(), resources),
        };
        self.begin(Whence::Elsewhere(origin), key, grace, writer)
    }

    fn begin(
        self: &Arc<Self>,
        whence: Whence,
        key: KeyHash,
        grace: Duration,
        writer: Writer,
    ) -> Option<Publication> {
        let counts = match &whence {
            Whence::Here { .. } => Counts::AsPublished,
            Whence::Elsewhere(_) => Counts::AsPulled,
        };
        let feed = Arc::clone(writer.feed());
        let bitrate = Arc::new(Bitrate::default());
        let mut state = self.lock();
        if feed.id() <= state.last {
            return None;
        }
        state.last = feed.id();
        state.over = None;
        let occupied = Occupied { whence, bitrate: Arc::clone(&bitrate), started: SystemTime::now() };
        let before = state.occupied.replace(occupied);
        self.stage.send_replace(Stage::Live(Live { feed: Arc::clone(&feed), key }));
        if let Some(Occupied { whence: Whence::Here { incumbent, .. }, .. }) = before {
            incumbent.dismiss(Close::Replaced);
            self.resources.metrics.takeovers.inc();
        }
        self.see(&mut state, api::ChannelState::Live);
        drop(state);
        let channel = Arc::clone(self);
        Some(Publication { channel, feed, writer: Some(writer), bitrate, grace, counts, info_told: 0 })
    }

    /// The publication is over. Nothing happens if a newer one has begun.
    fn release(self: &Arc<Self>, id: FeedId, end: End, grace: Duration) {
        let mut state = self.lock();
        if state.last != id {
            return;
        }
        let Some(occupied) = state.occupied.take() else { return };
        let now = Instant::now();
        // Who never sent a chunk has no viewers to be kept for it.
        let sent = self.live().is_some_and(|live| live.feed.ring().end() > 0);
        let (stage, until) = match end {
            End::Lost if sent => (Stage::Held(now + grace), Some(now + grace)),
            End::Clean | End::Lost => (Stage::Vacant, None),
        };
        let export = match occupied.whence {
            Whence::Here { export, .. } => Some(export),
            Whence::Elsewhere(_) => None,
        };
        let exported_until = export.as_ref().filter(|export| export.was_asked()).map(|_| now + EXPORTED_KEPT);
        if let Stage::Live(live) = self.stage.send_replace(stage) {
            state.over = Some(Over { since: now, live, export });
        }
        let seen = if until.is_some() { api::ChannelState::Held } else { api::ChannelState::Waiting };
        self.see(&mut state, seen);
        drop(state);
        if let Some(until) = until.max(exported_until) {
            self.channels.keep_until(self, until);
        }
    }

    /// Counts a receiver in, up to `max`, for as long as the guard lives.
    pub(crate) fn admit_receiver(self: &Arc<Self>, max: usize) -> Option<CountedReceiver> {
        self.receivers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1))
            .ok()
            .map(|before| {
                if before == 0 {
                    self.channels.news().note(&self.name);
                }
                CountedReceiver(Arc::clone(self))
            })
    }

    /// Notes what time alone has changed: a publication that has stalled, receivers that are held no longer.
    pub(crate) fn look(&self, stall_timeout: Duration) {
        let mut own = self.lock();
        let now = self.state(stall_timeout);
        if own.seen != now {
            self.see(&mut own, now);
        }
    }

    /// A chunk has come to a publication that was stalled.
    #[cold]
    fn resumed(&self, id: FeedId) {
        let mut own = self.lock();
        if own.last == id && own.seen == api::ChannelState::Stalled {
            self.see(&mut own, api::ChannelState::Live);
        }
    }

    /// Others are told that the publication does this.
    fn see(&self, own: &mut State, now: api::ChannelState) {
        own.seen = now;
        self.is_stalled.store(now == api::ChannelState::Stalled, Ordering::Relaxed);
        self.channels.news().note(&self.name);
    }

    /// What the publication does.
    fn state(&self, stall_timeout: Duration) -> api::ChannelState {
        match &*self.stage.borrow() {
            Stage::Live(live) if u128::from(live.feed.silent_ms()) > stall_timeout.as_millis() => {
                api::ChannelState::Stalled
            }
            Stage::Live(_) => api::ChannelState::Live,
            Stage::Held(until) if Instant::now() < *until => api::ChannelState::Held,
            Stage::Held(_) | Stage::Vacant => api::ChannelState::Waiting,
        }
    }

    /// What the API tells.
    pub(crate) fn describe(&self, stall_timeout: Duration) -> api::Channel {
        // Locked first, so that all of it is of one publication.
        let own = self.lock();
        let state = self.state(stall_timeout);
        let info = self.live().and_then(|live| live.feed.info());
        let bitrate = match &own.occupied {
            Some(occupied) if state == api::ChannelState::Live => occupied.bitrate.bits_per_second(),
            _ => 0,
        };
        let started_at = own.occupied.as_ref().map(|occupied| occupied.started);
        let origin = own.occupied.as_ref().and_then(|occupied| match &occupied.whence {
            Whence::Here { .. } => None,
            Whence::Elsewhere(node) => Some(node.clone()),
        });
        api::Channel {
            name: self.name.clone(),
            state,
            container: info.as_ref().map(|info| info.container.name().to_owned()),
            tracks: info.map(|info| info.tracks.iter().map(api::Track::from).collect()).unwrap_or_default(),
            receivers: self.receivers() as u64,
            bitrate,
            epoch: own.last.epoch,
            origin,
            started_at: started_at.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
        }
    }

    fn live(&self) -> Option<Live> {
        match &*self.stage.borrow() {
            Stage::Live(live) => Some(live.clone()),
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
        self.feed.epoch()
    }

    /// What receivers see of it.
    pub(crate) fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.feed)
    }

    /// Keeps a chunk, which [`Publication::deliver`] then sends.
    pub(crate) fn append(&mut self, chunk: Chunk) {
        let len = chunk.payload().len();
        let metrics = &self.channel.resources.metrics;
        let (chunks, bytes) = match self.counts {
            Counts::AsPublished => (&metrics.chunks_received, &metrics.bytes_received),
            Counts::AsPulled => (&metrics.chunks_pulled, &metrics.bytes_pulled),
        };
        chunks.inc();
        bytes.inc_by(len as u64);
        let now = Instant::now();
        self.bitrate.count(len, now);
        if let Some(writer) = &mut self.writer {
            writer.append(chunk, self.channel.resources.ms_at(now));
        }
        if self.channel.is_stalled.load(Ordering::Relaxed) {
            self.channel.resumed(self.feed.id());
        }
    }

    /// Sends what was kept to everyone who is caught up.
    pub(crate) fn deliver(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.deliver();
        }
        let changes = self.feed.info_changes();
        if std::mem::replace(&mut self.info_told, changes) != changes {
            self.channel.channels.news().note(&self.channel.name);
        }
    }

    /// The publisher is done: receivers get what is left and are closed.
    pub(crate) fn finish(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.end(End::Clean);
        }
        self.channel.release(self.feed.id(), End::Clean, self.grace);
    }

    /// The publisher is gone. Tells what becomes of the channel: whoever never sent a chunk has no viewers to be kept for it.
    pub(crate) fn lose(self) -> Release {
        if self.feed.ring().end() > 0 { Release::Held } else { Release::Free }
    }

    /// Receivers have been held for so long already.
    pub(crate) fn shorten_grace(&mut self, by: Duration) {
        self.grace = self.grace.saturating_sub(by);
    }

    /// Another feed of the same publication takes its place: receivers leave this one for it at once.
    pub(crate) fn supersede(mut self) {
        self.writer = None;
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if self.counts == Counts::AsPublished {
            self.channel.resources.metrics.publications_live.dec();
        }
        // Without a writer it was finished. The feed ends first, so that a receiver that sees the stage change knows how.
        if self.writer.take().is_some() {
            self.channel.release(self.feed.id(), End::Lost, self.grace);
        }
    }
}

/// A receiver that counts.
#[derive(Debug)]
pub(crate) struct CountedReceiver(Arc<Channel>);

impl Drop for CountedReceiver {
    fn drop(&mut self) {
        if self.0.receivers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.channels.news().note(&self.0.name);
        }
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
