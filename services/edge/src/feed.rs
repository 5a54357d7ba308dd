//! One publication as receivers see it: a ring of chunks, what is known of the stream, and who follows it.
//!
//! A feed belongs to one epoch. The next publisher gets a feed of its own, so bytes of two epochs cannot meet in one
//! ring, a cache never outlives its publication, and a receiver changes epochs only by leaving one feed for another.
//! A remuxed stream is a feed too, written by the remuxer of the feed it derives from.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use relay_media::{Container, Event, Fragment, Info, Remuxer, Scanner};
use relay_proto::Epoch;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::budget::CacheBudget;
use crate::chunk::Chunk;
use crate::fanout::Fanout;
use crate::gop::{Limits, Ring, Seq};
use crate::metrics::Metrics;

/// How long a stream may take to tell its codecs and the size of its picture before one goes on without.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(3);

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
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One publication as receivers see it.
#[derive(Debug)]
pub(crate) struct Feed {
    epoch: Epoch,
    ring: Mutex<Ring>,
    pub(crate) fanout: Fanout,
    info: Mutex<Option<Info>>,
    /// Counts join points and changes of `info`: who waits for either watches this.
    progress: watch::Sender<u64>,
    end: AtomicU8,
    derived: Mutex<Derived>,
    resources: Resources,
    last_chunk_ms: AtomicU64,
}

/// The fMP4 form of a feed, made only while somebody receives it.
#[derive(Debug, Default)]
struct Derived {
    remux: Option<Remux>,
    /// Receivers that hold an [`Fmp4`] of it.
    users: usize,
}

/// A feed in fMP4, for one receiver. When the last one goes, the remuxing stops.
#[derive(Debug)]
pub(crate) struct Fmp4 {
    feed: Arc<Feed>,
    /// Where it derives from; `None` where the publication is fit for it as it is.
    origin: Option<Arc<Feed>>,
}

impl Fmp4 {
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }
}

impl Drop for Fmp4 {
    fn drop(&mut self) {
        if let Some(origin) = &self.origin {
            let mut derived = lock(&origin.derived);
            derived.users -= 1;
            if derived.users == 0 {
                derived.remux = None;
            }
        }
    }
}

#[derive(Debug)]
struct Remux {
    remuxer: Remuxer,
    writer: Writer,
    /// The next chunk of the origin feed that the remuxer has not seen.
    next: Seq,
    fragments: Vec<Fragment>,
}

/// The writing end of a feed. There is one; dropping it without [`Writer::finish`] is an abrupt end.
#[derive(Debug)]
pub(crate) struct Writer {
    feed: Arc<Feed>,
    scanner: Scanner,
    events: Vec<Event>,
    recognised: bool,
    end: End,
}

impl Feed {
    /// A feed and its writing end.
    pub(crate) fn open(epoch: Epoch, scanner: Scanner, resources: Resources) -> Writer {
        let feed = Arc::new(Self {
            epoch,
            ring: Mutex::new(Ring::new(resources.limits)),
            fanout: Fanout::default(),
            info: Mutex::default(),
            progress: watch::Sender::new(0),
            end: AtomicU8::new(RUNNING),
            derived: Mutex::default(),
            last_chunk_ms: AtomicU64::new(resources.now_ms()),
            resources,
        });
        Writer { feed, scanner, events: Vec::new(), recognised: false, end: End::Lost }
    }

    /// The publication's number.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The ring. Hold it for a moment only: the publisher waits for it.
    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }

    /// What is known of the stream.
    pub(crate) fn info(&self) -> Option<Info> {
        lock(&self.info).clone()
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

    /// This feed as fMP4: itself where the container needs no remuxing, `None` while the container is not known.
    ///
    /// # Errors
    /// The stream has no codec that fMP4 can carry.
    pub(crate) fn as_fmp4(self: &Arc<Self>) -> Result<Option<Fmp4>, Unavailable> {
        let Some(container) = lock(&self.info).as_ref().map(|info| info.container) else {
            return Ok(None);
        };
        let mut derived = lock(&self.derived);
        if derived.remux.is_none() {
            let Some(remuxer) = Remuxer::new(container) else {
                return Ok(Some(Fmp4 { feed: Arc::clone(self), origin: None }));
            };
            derived.remux = Some(self.start_remux(remuxer));
        }
        let supported = derived.remux.as_ref().filter(|remux| remux.remuxer.unsupported().is_none());
        let Some(feed) = supported.map(|remux| Arc::clone(remux.writer.feed())) else {
            // Nothing will come out of it, so nobody needs it.
            derived.remux = None;
            return Err(Unavailable);
        };
        derived.users += 1;
        if let Some(end) = self.ended()
            && let Some(remux) = derived.remux.take()
        {
            // The publisher has gone and will not come by to end it.
            remux.finish(end);
        }
        Ok(Some(Fmp4 { feed, origin: Some(Arc::clone(self)) }))
    }

    /// Remuxes from the newest GOP on, so that the first viewer has a picture at once. Whatever the publisher appends
    /// meanwhile waits for `derived`, and what was read here is passed over there.
    fn start_remux(self: &Arc<Self>, remuxer: Remuxer) -> Remux {
        let scanner = Scanner::for_container(Container::Fmp4);
        let writer = Self::open(self.epoch, scanner, self.resources.clone());
        let (lead, chunks) = self.newest_gop();
        let mut remux = Remux { remuxer, writer, next: chunks.end, fragments: Vec::new() };
        let now_ms = self.resources.now_ms();
        remux.take(&lead, now_ms);
        chunks.list.iter().for_each(|chunk| remux.take(chunk.payload(), now_ms));
        remux
    }

    /// Receivers were given this.
    pub(crate) fn count_sent(&self, chunks: u64, bytes: usize) {
        self.resources.metrics.chunks_sent.inc_by(chunks);
        self.resources.metrics.bytes_sent.inc_by(bytes as u64);
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
        if let Some(remux) = &lock(&self.derived).remux {
            remux.writer.feed.tidy(share);
        }
    }

    /// Bytes that tell what the stream is: init, and as much of the newest GOP as it takes. `None` while unknown.
    pub(crate) fn sample(&self) -> Option<Bytes> {
        /// A key frame of a 4K camera fits; who needs more to tell a codec will not find it in the next megabyte.
        const SAMPLE_BYTES_MAX: usize = 1 << 20;

        let container = self.info()?.container;
        let ring = self.ring();
        let join = ring.join_from(0)?;
        let mut sample = [join.init.as_ref(), join.preamble.as_ref()].concat();
        let mut scanner = Scanner::for_container(container);
        scanner.push(&sample, &mut Vec::new());
        let (mut seq, mut offset) = (join.seq, join.offset);
        while container == Container::Opaque && sample.is_empty()
            || container != Container::Opaque && !scanner.info().is_some_and(Info::is_complete)
        {
            let Some(chunk) = ring.get(seq).filter(|_| sample.len() < SAMPLE_BYTES_MAX) else { break };
            let rest = chunk.payload().get(offset..).unwrap_or_default();
            scanner.push(rest, &mut Vec::new());
            sample.extend_from_slice(rest);
            (seq, offset) = (seq + 1, 0);
        }
        (!sample.is_empty()).then(|| sample.into())
    }

    /// Init, preamble and the chunks from the newest join point on; without one, whatever is kept.
    fn newest_gop(&self) -> (Vec<u8>, Chunks) {
        let ring = self.ring();
        let mut list = Vec::new();
        let mut lead = Vec::new();
        let mut next = ring.first();
        if let Some(join) = ring.join_from(0) {
            lead.extend_from_slice(&join.init);
            lead.extend_from_slice(&join.preamble);
            next = join.seq;
            if let Some(first) = ring.get(next) {
                list.extend(first.tail(join.offset));
                next += 1;
            }
        }
        while let Some(chunk) = ring.get(next) {
            list.push(chunk.clone());
            next += 1;
        }
        (lead, Chunks { list, end: next })
    }
}

/// A copy of a part of the ring; the payloads are shared.
struct Chunks {
    list: Vec<Chunk>,
    /// Number of the chunk after the last.
    end: Seq,
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

/// The stream cannot be had in the form asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable;

impl Writer {
    /// The feed this writes to.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The next chunk: kept, sent to everyone who is caught up, then looked into.
    pub(crate) fn push(&mut self, payload: &[u8]) {
        let chunk = Chunk::copy_from(payload);
        let feed = &self.feed;
        let now_ms = feed.resources.now_ms();
        feed.last_chunk_ms.store(now_ms, Ordering::Relaxed);
        let seq = self.store(chunk.clone(), now_ms);
        let sent = feed.fanout.offer(seq, chunk.frame());
        feed.count_sent(sent as u64, sent * chunk.cost());
        // After the fan-out: what the bytes mean is no business of those who already follow.
        self.scan(payload);
        self.remux(seq, payload, now_ms);
    }

    /// The publisher is done. Receivers get what is left.
    pub(crate) fn finish(mut self) {
        self.end = End::Clean;
    }

    fn store(&self, chunk: Chunk, now_ms: u64) -> Seq {
        let mut ring = self.feed.ring();
        let before = ring.bytes();
        let seq = ring.push(chunk, now_ms);
        let budget = &self.feed.resources.budget;
        let mut within = budget.settle(before, ring.bytes());
        while !within {
            let held = ring.bytes();
            if ring.evict_oldest().is_none() {
                break;
            }
            within = budget.settle(held, ring.bytes());
        }
        seq
    }

    fn scan(&mut self, payload: &[u8]) {
        self.scanner.push(payload, &mut self.events);
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
                Event::Join(join) => joins |= ring.mark(&join),
                Event::Info => news = true,
                Event::Unit { .. } => {}
            }
        }
        drop(ring);
        if news {
            *lock(&self.feed.info) = self.scanner.info().cloned();
        }
        if joins {
            self.feed.fanout.wake_joining();
        }
        self.feed.progress.send_modify(|count| *count += 1);
    }

    fn remux(&self, seq: Seq, payload: &[u8], now_ms: u64) {
        let mut derived = lock(&self.feed.derived);
        if let Some(remux) = derived.remux.as_mut().filter(|remux| remux.next == seq) {
            remux.next += 1;
            remux.take(payload, now_ms);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let end = if self.end == End::Clean { CLEAN } else { LOST };
        self.feed.end.store(end, Ordering::Release);
        let remux = lock(&self.feed.derived).remux.take();
        if let Some(remux) = remux {
            remux.finish(self.end);
        }
        self.feed.fanout.wake_all();
        self.feed.progress.send_modify(|count| *count += 1);
    }
}

impl Remux {
    fn take(&mut self, bytes: &[u8], now_ms: u64) {
        self.remuxer.push(bytes, now_ms, &mut self.fragments);
        for fragment in self.fragments.drain(..) {
            self.writer.push(&fragment.bytes);
        }
    }

    /// The origin feed has ended: what the remuxer still holds, then the end of the derived feed.
    fn finish(mut self, end: End) {
        self.remuxer.finish(&mut self.fragments);
        for fragment in self.fragments.drain(..) {
            self.writer.push(&fragment.bytes);
        }
        self.writer.end = end;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means a panic elsewhere; the data behind these locks is valid between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
