//! One publication as receivers see it: a ring of chunks, what is known of the stream, and who follows it.
//!
//! A feed belongs to one epoch, and where chunks were lost between two nodes, to one part of it. What comes after either
//! gets a feed of its own, so bytes of two epochs cannot meet in one ring, a ring has no holes, a cache never outlives its
//! publication, and a receiver passes such a border only by leaving one feed for another, which begins with its init.
//! A remuxed stream is a feed too, written by the remuxer of the feed it derives from.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use relay_media::{Container, Event, Info, Scanner};
use relay_proto::Epoch;
use relay_proto::backbone::From;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::batch::Sent;
use crate::budget::CacheBudget;
use crate::chunk::Chunk;
use crate::fanout::{CrewTasks, Fanout};
use crate::fmp4::Derived;
use crate::gop::{JoinPoint, Limits, Ring, Seq};
use crate::metrics::Metrics;

/// How long a stream may take to tell its codecs and the size of its picture before one goes on without.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes that the scanner is given at once.
const SCAN_BYTES_MAX: usize = 16 << 10;

/// Room for events that is kept from one chunk to the next.
const EVENTS_KEPT: usize = 64;

/// How a publication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The publisher said so.
    Clean,
    /// The publisher vanished, was cut, or was replaced.
    Lost,
}

/// What a feed takes from its node.
#[derive(Debug, Clone)]
pub(crate) struct Resources {
    pub(crate) limits: Limits,
    pub(crate) budget: Arc<CacheBudget>,
    pub(crate) metrics: Arc<Metrics>,
    /// The zero of the ring's clock.
    pub(crate) started: Instant,
}

impl Resources {
    fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// A moment on the ring's clock.
    pub(crate) fn ms_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Which feed of a channel; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct FeedId {
    pub(crate) epoch: Epoch,
    /// Which part of the publication: grows where chunks are left out for all receivers of a node.
    pub(crate) part: u32,
}

/// Where a feed begins that does not begin with its publication.
#[derive(Debug, Clone)]
pub(crate) struct Beginning {
    /// Number of its first chunk.
    pub(crate) first: Seq,
    pub(crate) container: Container,
    /// Bytes of the first chunk before the join point.
    pub(crate) offset: usize,
    /// What a decoder needs before the join point.
    pub(crate) init: Bytes,
    pub(crate) preamble: Bytes,
}

/// One publication as receivers see it.
#[derive(Debug)]
pub(crate) struct Feed {
    id: FeedId,
    ring: Mutex<Ring>,
    pub(crate) fanout: Fanout,
    info: Mutex<Option<Info>>,
    /// How often `info` has changed.
    info_changes: AtomicU32,
    /// Counts join points and changes of `info`: who waits for either watches this.
    progress: watch::Sender<u64>,
    end: AtomicU8,
    derived: Derived,
    resources: Resources,
    last_chunk_ms: AtomicU64,
    /// Called after every delivery, and at the end: for the one who carries the chunks to other nodes.
    delivered: Notify,
}

/// The writing end of a feed. There is one; dropping it without [`Writer::end`] is an abrupt end.
#[derive(Debug)]
pub(crate) struct Writer {
    feed: Arc<Feed>,
    scanner: Scanner,
    lead: Lead,
    events: Vec<Event>,
    recognised: bool,
    end: End,
    /// Appended, and not yet delivered.
    due: Vec<Chunk>,
    /// Their frames; empty between deliveries.
    frames: Vec<Bytes>,
    crews: CrewTasks,
}

/// What a scanner reads of a stream that it does not see from its first byte on: what a decoder would get.
#[derive(Debug, Default)]
struct Lead {
    /// Still to be read.
    unread: Option<Beginning>,
    /// The byte at the join point as the scanner counts; nothing up to there is news.
    end: Option<u64>,
    /// Bytes that the scanner has not seen of the first chunk, less those that it saw before it.
    shift: i64,
}

impl Feed {
    /// A feed that begins with its publication, and its writing end.
    pub(crate) fn open(id: FeedId, scanner: Scanner, resources: Resources) -> Writer {
        Self::begin(id, scanner, 0, resources)
    }

    /// A feed that begins at a join point of its publication, which lies in this chunk.
    pub(crate) fn resume(id: FeedId, beginning: Beginning, chunk: Chunk, resources: Resources) -> Writer {
        let scanner = Scanner::for_container(beginning.container);
        let mut writer = Self::begin(id, scanner, beginning.first, resources);
        writer.append(chunk, writer.feed.now_ms());
        writer.feed.ring().mark_first(beginning.offset, beginning.init.clone(), beginning.preamble.clone());
        writer.lead.unread = Some(beginning);
        writer
    }

    fn begin(id: FeedId, scanner: Scanner, first: Seq, resources: Resources) -> Writer {
        let feed = Arc::new(Self {
            id,
            ring: Mutex::new(Ring::new(resources.limits, first)),
            fanout: Fanout::default(),
            info: Mutex::default(),
            info_changes: AtomicU32::new(0),
            progress: watch::Sender::new(0),
            end: AtomicU8::new(RUNNING),
            derived: Derived::default(),
            last_chunk_ms: AtomicU64::new(resources.now_ms()),
            delivered: Notify::new(),
            resources,
        });
        Writer {
            feed,
            scanner,
            lead: Lead::default(),
            events: Vec::new(),
            recognised: false,
            end: End::Lost,
            due: Vec::new(),
            frames: Vec::new(),
            crews: CrewTasks::default(),
        }
    }

    /// Which feed of its channel this is.
    pub(crate) fn id(&self) -> FeedId {
        self.id
    }

    /// The publication's number.
    pub(crate) fn epoch(&self) -> Epoch {
        self.id.epoch
    }

    /// Waits for a delivery or the end, one that has happened since the last time included. For one task only.
    pub(crate) async fn delivered(&self) {
        self.delivered.notified().await;
    }

    /// The ring. Hold it for a moment only: the publisher waits for it.
    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }

    /// What is known of the stream.
    pub(crate) fn info(&self) -> Option<Info> {
        lock(&self.info).clone()
    }

    /// Changes whenever [`Feed::info`] does.
    pub(crate) fn info_changes(&self) -> u32 {
        self.info_changes.load(Ordering::Acquire)
    }

    /// How the publication ended; `None` while it runs.
    pub(crate) fn ended(&self) -> Option<End> {
        match self.end.load(Ordering::Acquire) {
            RUNNING => None,
            CLEAN => Some(End::Clean),
            _ => Some(End::Lost),
        }
    }

    /// Waits until everything is known of the stream, or as much as it will tell in a while. Safe to cancel.
    pub(crate) async fn known(&self) {
        let mut progress = self.progress();
        let complete = async {
            while self.ended().is_none() && !lock(&self.info).as_ref().is_some_and(Info::is_complete) {
                if progress.changed().await.is_err() {
                    return;
                }
            }
        };
        // Some streams never tell all, such as one that declares a sound track and sends none.
        let _ = timeout(KNOWN_TIMEOUT, complete).await;
    }

    /// Changes whenever a join point or something about the stream becomes known, and at the end.
    pub(crate) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// How long ago the last chunk came.
    pub(crate) fn silent_ms(&self) -> u64 {
        self.resources.now_ms().saturating_sub(self.last_chunk_ms.load(Ordering::Relaxed))
    }

    /// How the stream is packed, once known.
    pub(crate) fn container(&self) -> Option<Container> {
        lock(&self.info).as_ref().map(|info| info.container)
    }

    /// The fMP4 form.
    pub(crate) fn derived(&self) -> &Derived {
        &self.derived
    }

    /// Another feed of the same publication, and its writing end.
    pub(crate) fn derive(&self, scanner: Scanner) -> Writer {
        Self::open(self.id, scanner, self.resources.clone())
    }

    /// The clock of the rings.
    pub(crate) fn now_ms(&self) -> u64 {
        self.resources.now_ms()
    }

    /// Calls those who watch [`Feed::progress`].
    pub(crate) fn tell_progress(&self) {
        self.progress.send_modify(|count| *count += 1);
    }

    /// What is cached now, to be cleared later.
    pub(crate) fn cached(&self) -> Cached {
        Cached {
            until: self.ring().end(),
            derived: self.derived.feed().map(|feed| {
                let until = feed.ring().end();
                (feed, until)
            }),
        }
    }

    /// Lets new receivers start at nothing that was cached then, in either form.
    pub(crate) fn clear_cache(&self, cached: &Cached) {
        self.ring().clear_cache(cached.until);
        if let Some((feed, until)) = &cached.derived {
            feed.ring().clear_cache(*until);
        }
    }

    /// Receivers were given this.
    pub(crate) fn count_sent(&self, sent: Sent) {
        self.resources.metrics.chunks_sent.inc_by(sent.chunks);
        self.resources.metrics.bytes_sent.inc_by(sent.bytes as u64);
    }

    /// What nobody does while no chunk comes: lets go of what is too old, and of what is over `share` bytes.
    pub(crate) fn tidy(&self, share: usize) {
        let now_ms = self.resources.now_ms();
        let mut ring = self.ring();
        let before = ring.bytes();
        ring.expire(now_ms);
        while ring.bytes() > share && ring.evict_oldest().is_some() {}
        self.resources.budget.settle(before, ring.bytes());
        drop(ring);
        self.derived.tidy(share);
    }

    /// Bytes that tell what the stream is: init, and as much of the newest GOP as it takes. `None` while unknown.
    pub(crate) fn sample(&self) -> Option<Bytes> {
        /// A key frame of a 4K camera fits; who needs more to tell a codec will not find it in the next megabyte.
        const SAMPLE_BYTES_MAX: usize = 1 << 20;

        let container = self.container()?;
        self.ring().join_from(0)?;
        let mut sample = Vec::new();
        let mut scanner = Scanner::for_container(container);
        let is_told = |scanner: &Scanner| match container {
            Container::Opaque => false,
            _ => scanner.info().is_some_and(Info::is_complete),
        };
        for piece in self.newest_gop().pieces {
            scanner.push(&piece, &mut Vec::new());
            sample.extend_from_slice(&piece);
            if container == Container::Opaque || is_told(&scanner) || sample.len() >= SAMPLE_BYTES_MAX {
                break;
            }
        }
        (!sample.is_empty()).then(|| sample.into())
    }

    /// Init, preamble and the chunks from the newest join point on; without one, whatever is kept.
    pub(crate) fn newest_gop(&self) -> Pieces {
        let ring = self.ring();
        let Some(join) = ring.join_from(0) else { return Pieces::from(&ring, ring.first()) };
        let mut lead = vec![join.init, join.preamble];
        let mut next = join.seq;
        if let Some(first) = ring.get(next) {
            lead.extend(first.payload_from(join.offset));
            next += 1;
        }
        let mut gop = Pieces::from(&ring, next);
        gop.pieces.splice(..0, lead.into_iter().filter(|piece| !piece.is_empty()));
        gop
    }

    /// What another node needs to follow the publication from here on.
    pub(crate) fn snapshot(&self, from: From) -> Snapshot {
        let container = self.container();
        let ring = self.ring();
        let newest = || ring.join_from(0).filter(|join| ring.get(join.seq).is_some());
        let (first, join) = match from {
            From::Start if ring.first() == 0 => (0, None),
            From::Seq(seq) if (ring.first()..=ring.end()).contains(&seq) => (seq, None),
            From::Start | From::Newest | From::Seq(_) => match newest() {
                Some(join) => (join.seq, Some(join)),
                // What has just begun is not known yet, and is all there from its first byte on.
                None if ring.first() == 0 => (0, None),
                None => (ring.end(), None),
            },
        };
        let chunks = (first..ring.end()).filter_map(|seq| ring.get(seq).cloned()).collect();
        Snapshot { container, first, join, chunks }
    }

    /// Up to `count_max` chunks from `next` on; `None` where the first of them is gone.
    pub(crate) fn chunks_from(&self, next: Seq, count_max: usize) -> Option<Vec<(Chunk, Option<u32>)>> {
        let ring = self.ring();
        let chunk = |seq| ring.get(seq).map(|chunk| (chunk.clone(), ring.generation_at(seq)));
        (next >= ring.first()).then(|| (next..).map_while(chunk).take(count_max).collect())
    }

    /// The payloads from this chunk on.
    pub(crate) fn from(&self, next: Seq) -> Pieces {
        Pieces::from(&self.ring(), next)
    }
}

/// What another node needs to follow a publication: its chunks from `first` on, without holes.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) container: Option<Container>,
    pub(crate) first: Seq,
    /// Where in the first chunk a decoder may start, unless the asker has what comes before or that is the very start.
    pub(crate) join: Option<JoinPoint>,
    pub(crate) chunks: Vec<Chunk>,
}

/// What is cached at some moment, of a feed and of its fMP4 form.
#[derive(Debug)]
pub(crate) struct Cached {
    until: Seq,
    derived: Option<(Arc<Feed>, Seq)>,
}

/// Some of the stream, in order, shared with the ring.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) pieces: Vec<Bytes>,
    /// Number of the chunk after the last.
    pub(crate) end: Seq,
}

impl Pieces {
    fn from(ring: &Ring, next: Seq) -> Self {
        let mut next = next.max(ring.first());
        let mut pieces = Vec::new();
        while let Some(chunk) = ring.get(next) {
            pieces.extend(chunk.payload_from(0));
            next += 1;
        }
        Self { pieces, end: next }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let bytes = self.ring().bytes();
        self.resources.budget.settle(bytes, 0);
    }
}

const RUNNING: u8 = 0;
const CLEAN: u8 = 1;
const LOST: u8 = 2;

impl Writer {
    /// The feed this writes to.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The next chunk is kept: who catches up finds it. Everyone else gets it with [`Writer::deliver`].
    pub(crate) fn append(&mut self, chunk: Chunk, now_ms: u64) {
        self.feed.last_chunk_ms.store(now_ms, Ordering::Relaxed);
        self.store(chunk.clone(), now_ms);
        self.due.push(chunk);
    }

    /// What was appended goes to everyone who is caught up, and is then looked into.
    pub(crate) fn deliver(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let first = self.feed.ring().end() - self.due.len() as u64;
        self.frames.extend(self.due.iter().map(|chunk| chunk.frame().clone()));
        let sent = self.feed.fanout.offer(&self.feed, &mut self.crews, first, &self.frames);
        self.feed.count_sent(sent);
        self.frames.clear();
        // After the fan-out: what the bytes mean is no business of those who already follow.
        let due = std::mem::take(&mut self.due);
        for chunk in &due {
            self.scan(chunk.payload());
        }
        self.feed.derived.take(first, &due, self.feed.last_chunk_ms.load(Ordering::Relaxed));
        self.feed.delivered.notify_one();
        self.due = due;
        self.due.clear();
    }

    /// The publication is over. Receivers get what is left.
    pub(crate) fn end(mut self, end: End) {
        self.end = end;
    }

    fn store(&self, chunk: Chunk, now_ms: u64) {
        let mut ring = self.feed.ring();
        let before = ring.bytes();
        ring.push(chunk, now_ms);
        let budget = &self.feed.resources.budget;
        let mut within = budget.settle(before, ring.bytes());
        while !within {
            let held = ring.bytes();
            if ring.evict_oldest().is_none() {
                break;
            }
            within = budget.settle(held, ring.bytes());
        }
    }

    fn scan(&mut self, payload: &[u8]) {
        let payload = match self.lead.unread.take() {
            Some(beginning) => {
                self.scan_lead(&beginning);
                payload.get(beginning.offset..).unwrap_or_default()
            }
            None => payload,
        };
        // A peer can make every other byte an event; in pieces, that is never many at once.
        for piece in payload.chunks(SCAN_BYTES_MAX) {
            self.scanner.push(piece, &mut self.events);
            self.note();
        }
    }

    fn scan_lead(&mut self, beginning: &Beginning) {
        for bytes in [&beginning.init, &beginning.preamble] {
            self.scanner.push(bytes, &mut self.events);
        }
        let end = (beginning.init.len() + beginning.preamble.len()) as u64;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.lead.end = Some(end);
        self.lead.shift = signed(beginning.offset as u64) - signed(end);
    }

    /// Takes over what the scanner found.
    fn note(&mut self) {
        let recognised = !self.recognised && self.scanner.container().is_some();
        if self.events.is_empty() && !recognised {
            return;
        }
        self.recognised |= recognised;
        let mut joins = false;
        let mut news = recognised;
        let mut ring = self.feed.ring();
        if recognised && self.scanner.container() == Some(Container::Opaque) {
            ring.mark_opaque();
            joins = true;
        }
        for event in self.events.drain(..) {
            match event {
                // Where the feed begins is marked already.
                Event::Join(join) if self.lead.end.is_some_and(|end| join.at <= end) => joins = true,
                Event::Join(mut join) => {
                    join.at = join.at.saturating_add_signed(self.lead.shift);
                    joins |= ring.mark(&join);
                }
                Event::Info => news = true,
                Event::Unit { .. } => {}
            }
        }
        drop(ring);
        self.events.shrink_to(EVENTS_KEPT);
        if news {
            *lock(&self.feed.info) = self.scanner.info().cloned();
            self.feed.info_changes.fetch_add(1, Ordering::Release);
        }
        if joins {
            self.feed.fanout.wake_joining();
        }
        self.feed.tell_progress();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let end = if self.end == End::Clean { CLEAN } else { LOST };
        self.feed.end.store(end, Ordering::Release);
        self.feed.derived.end(self.end);
        self.feed.fanout.wake_all();
        self.feed.tell_progress();
        self.feed.delivered.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means a panic elsewhere; the data behind these locks is valid between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
