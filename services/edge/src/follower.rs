//! One receiver's place in a feed: a cursor, and the outlet it feeds.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A receiver's backlog is a number, not a queue. What it gets is in order and without holes,   │
//! │ or the hole ends at a join point and is counted.                                             │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Two parties move the cursor, one at a time: the publisher's fan-out ([`Follower::offer`]) while the receiver is
//! caught up, and the receiver's own task ([`Follower::pump`]) while it is not.

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use relay_proto::websocket::OpCode;

use crate::chunk::{Chunk, message};
use crate::fanout::{Batch, Seat, Sent};
use crate::feed::{End, Feed};
use crate::gop::{FIRST_GENERATION, JoinPoint, Read, Seq};
use crate::outlet::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, Flow, Outlet, frame};

/// Where a receiver starts in a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// With the very first byte, while that is kept: the receiver was there before the publisher.
    Beginning,
    /// At the oldest join point: the receiver comes from an earlier epoch.
    FirstJoin,
    /// At the newest join point that is cached.
    NewestJoin,
    /// At the next join point to come.
    NextJoin,
    /// The same, with the init sent at once.
    InitThenNextJoin,
}

/// What precedes the first byte after a start or a skip, beyond what a decoder needs.
pub(crate) trait Announce {
    /// A TEXT message, or none.
    fn start(&self, feed: &Feed) -> Option<String>;
    /// A TEXT message, or none.
    fn skip(&self) -> Option<String>;
    /// Whether the init comes again after a skip even if it has not changed.
    fn init_after_skip(&self) -> bool;
}

/// One receiver's place in a feed.
#[derive(Debug)]
pub(crate) struct Follower {
    outlet: Arc<Outlet>,
    feed: Arc<Feed>,
    cursor: Mutex<Cursor>,
    seat: Seat,
}

#[derive(Debug)]
struct Cursor {
    place: Place,
    /// Number of the init that the receiver has.
    generation: Option<u32>,
    started: bool,
    skips: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Waits for a join point at or after this chunk.
    Joining { from: Seq, oldest: bool },
    /// This chunk is next, and the receiver's task fetches it.
    Behind(Seq),
    /// This chunk is next, and the publisher brings it.
    CaughtUp(Seq),
}

/// What became of chunks that were offered.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) sent: Sent,
    /// The receiver's task has to go on.
    pub(crate) is_left: bool,
}

/// A follower for as long as its receiver wants: dropping it leaves the feed.
#[derive(Debug)]
pub(crate) struct Following(Arc<Follower>);

impl Deref for Following {
    type Target = Follower;

    fn deref(&self) -> &Follower {
        &self.0
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.feed.fanout.detach(&self.0);
        if self.0.is_joining() {
            self.0.feed.fanout.joining().fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// How far a receiver's task came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Nothing to do until somebody wakes the task.
    Waiting,
    /// There is more; others first.
    More,
    /// The socket is full.
    Blocked,
    /// The publication has ended and everything of it is sent.
    Drained(End),
    /// The connection is gone.
    Over,
}

impl Follower {
    /// Puts a receiver into a feed. Nothing is sent before the first [`Follower::pump`].
    pub(crate) fn attach(
        feed: &Arc<Feed>,
        outlet: &Arc<Outlet>,
        start: StartAt,
        announce: &impl Announce,
    ) -> Following {
        let mut init_now = Bytes::new();
        let (place, generation) = {
            let ring = feed.ring();
            match start {
                StartAt::Beginning if ring.first() == 0 => (Place::Behind(0), Some(FIRST_GENERATION)),
                StartAt::FirstJoin => (Place::Joining { from: 0, oldest: true }, None),
                StartAt::Beginning | StartAt::NewestJoin => (Place::Joining { from: 0, oldest: false }, None),
                StartAt::NextJoin => (Place::Joining { from: ring.end(), oldest: false }, None),
                StartAt::InitThenNextJoin => {
                    let (init, generation) = ring.init();
                    init_now = init.clone();
                    let generation = (!init.is_empty()).then_some(generation);
                    (Place::Joining { from: ring.end(), oldest: false }, generation)
                }
            }
        };
        outlet.queue(message(&[init_now]));
        if matches!(place, Place::Behind(_))
            && let Some(text) = announce.start(feed)
        {
            outlet.queue([frame(OpCode::Text, text.as_bytes())]);
        }
        if matches!(place, Place::Joining { .. }) {
            feed.fanout.joining().fetch_add(1, Ordering::AcqRel);
        }
        let follower = Arc::new(Self {
            outlet: Arc::clone(outlet),
            feed: Arc::clone(feed),
            cursor: Mutex::new(Cursor { place, generation, started: false, skips: 0 }),
            seat: Seat::none(),
        });
        feed.fanout.attach(&follower);
        Following(follower)
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    pub(crate) fn wake(&self) {
        self.outlet.wake();
    }

    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.lock().place, Place::Joining { .. })
    }

    /// How often the receiver fell so far behind that chunks were left out.
    pub(crate) fn skips(&self) -> u32 {
        self.lock().skips
    }

    /// The fan-out brings chunks.
    pub(crate) fn offer(&self, batch: &Batch<'_>) -> Offered {
        let mut cursor = self.lock();
        let Place::CaughtUp(next) = cursor.place else { return Offered::default() };
        if next >= batch.end() {
            // Fetched by the receiver's task between the append and this pass.
            return Offered::default();
        }
        if next < batch.first() {
            cursor.place = Place::Behind(next);
            return Offered { is_left: true, ..Offered::default() };
        }
        let (frames, slices) = batch.from(next);
        let (flow, accepted) = self.outlet.offer(frames, slices);
        let is_left = flow != Flow::Clear;
        let next = next + accepted as u64;
        cursor.place = if is_left { Place::Behind(next) } else { Place::CaughtUp(next) };
        Offered { sent: Sent::of(&frames[..accepted]), is_left }
    }

    /// The receiver's task catches up as far as the socket takes it.
    pub(crate) fn pump(&self, batch: &mut Vec<Bytes>, announce: &impl Announce) -> Pumped {
        let mut cursor = self.lock();
        match self.outlet.flush() {
            Flow::Clear => {}
            Flow::Blocked => return Pumped::Blocked,
            Flow::Over => return Pumped::Over,
        }
        // Asked before the ring: what is appended before the end is then seen below.
        let ended = self.feed.ended();
        if let Place::Joining { from, oldest } = cursor.place {
            let ring = self.feed.ring();
            let join = if oldest { ring.join_first() } else { ring.join_from(from) };
            let first = join.as_ref().and_then(|join| ring.get(join.seq)).cloned();
            drop(ring);
            let Some(join) = join else {
                self.outlet.nothing_due();
                return ended.map_or(Pumped::Waiting, Pumped::Drained);
            };
            self.start(&mut cursor, join, first.as_ref(), announce);
        }
        let (Place::Behind(next) | Place::CaughtUp(next)) = cursor.place else {
            return Pumped::More;
        };
        batch.clear();
        let read = self.feed.ring().read(next, BATCH_FRAMES_MAX, BATCH_BYTES_MAX, batch);
        match read {
            Read::CaughtUp => match self.outlet.flush() {
                Flow::Clear => {
                    self.outlet.nothing_due();
                    // Still under the cursor's lock: a chunk appended since then is offered, or brings us back here.
                    cursor.place = Place::CaughtUp(next);
                    ended.map_or(Pumped::Waiting, Pumped::Drained)
                }
                Flow::Blocked => Pumped::Blocked,
                Flow::Over => Pumped::Over,
            },
            Read::FellOut => {
                cursor.skips += 1;
                if let Some(text) = announce.skip() {
                    self.outlet.text(&text);
                }
                let from = self.feed.ring().skip_from(next);
                self.move_to(&mut cursor, Place::Joining { from, oldest: false });
                Pumped::More
            }
            Read::Chunks(_) => {
                cursor.started = true;
                let (flow, accepted) = self.outlet.send(batch);
                cursor.place = Place::Behind(next + accepted as u64);
                self.feed.count_sent(Sent::of(&batch[..accepted]));
                match flow {
                    Flow::Clear => Pumped::More,
                    Flow::Blocked => Pumped::Blocked,
                    Flow::Over => Pumped::Over,
                }
            }
        }
    }

    /// Sends what stands before the first byte at a join point, and places the cursor after it.
    fn start(&self, cursor: &mut Cursor, join: JoinPoint, first: Option<&Chunk>, announce: &impl Announce) {
        let wants_init_again = cursor.started && announce.init_after_skip();
        let has_init = cursor.generation == Some(join.generation) && !wants_init_again;
        let mut frames = Vec::new();
        if !cursor.started
            && let Some(text) = announce.start(&self.feed)
        {
            frames.push(frame(OpCode::Text, text.as_bytes()));
        }
        let init = if has_init { Bytes::new() } else { join.init };
        frames.extend(message(&[init, join.preamble]));
        let mut next = join.seq;
        if join.offset > 0
            && let Some(tail) = first.and_then(|chunk| chunk.payload_from(join.offset))
        {
            frames.extend(message(&[tail]));
            next += 1;
        }
        cursor.generation = Some(join.generation);
        cursor.started = true;
        self.move_to(cursor, Place::Behind(next));
        self.outlet.queue(frames);
    }

    fn move_to(&self, cursor: &mut Cursor, place: Place) {
        let joining = |place| usize::from(matches!(place, Place::Joining { .. }));
        let counter = self.feed.fanout.joining();
        counter.fetch_add(joining(place), Ordering::AcqRel);
        counter.fetch_sub(joining(cursor.place), Ordering::AcqRel);
        cursor.place = place;
    }

    fn lock(&self) -> MutexGuard<'_, Cursor> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
