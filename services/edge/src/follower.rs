//! One receiver's place in a feed: a cursor, and the outlet it feeds.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A receiver's backlog is a number, not a queue. What it gets is in order and without holes,   │
//! │ or the hole ends at a join point and is counted.                                             │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Two parties move the cursor, one at a time: the fan-out ([`Outlet::offer`]) while the receiver is caught up, and the
//! receiver's own task ([`Follower::pump`]) while it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use relay_proto::websocket::OpCode;

use crate::batch::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, Sent};
use crate::chunk::{Chunk, message};
use crate::fanout::Seat;
use crate::feed::{End, Feed};
use crate::gop::{FIRST_GENERATION, JoinPoint, Read, Seq};
use crate::outlet::{Flow, Outlet, frame};

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

/// One receiver's place in a feed, held by the receiver's task. Dropping it leaves the feed.
#[derive(Debug)]
pub(crate) struct Follower {
    outlet: Arc<Outlet>,
    feed: Arc<Feed>,
    seat: Seat,
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
    /// This chunk is next, unless the fan-out has moved on: then the outlet knows.
    At(Seq),
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.feed.fanout.detach(&self.seat);
        self.outlet.take_over();
        self.count_joining(-1);
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
    ) -> Self {
        let mut init_now = Bytes::new();
        let (place, generation) = {
            let ring = feed.ring();
            match start {
                StartAt::Beginning if ring.first() == 0 => (Place::At(0), Some(FIRST_GENERATION)),
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
        if matches!(place, Place::At(_))
            && let Some(text) = announce.start(feed)
        {
            outlet.queue([frame(OpCode::Text, text.as_bytes())]);
        }
        let follower = Self {
            seat: feed.fanout.attach(outlet),
            outlet: Arc::clone(outlet),
            feed: Arc::clone(feed),
            place,
            generation,
            started: false,
            skips: 0,
        };
        follower.count_joining(1);
        follower
    }

    /// How often the receiver fell so far behind that chunks were left out.
    pub(crate) fn skips(&self) -> u32 {
        self.skips
    }

    /// The receiver's task catches up as far as the socket takes it.
    pub(crate) fn pump(&mut self, batch: &mut Vec<Bytes>, announce: &impl Announce) -> Pumped {
        if let Some(due) = self.outlet.take_over() {
            self.place = Place::At(due);
        }
        match self.outlet.flush() {
            Flow::Clear => {}
            Flow::Blocked => return Pumped::Blocked,
            Flow::Over => return Pumped::Over,
        }
        // Asked before the ring: what is appended before the end is then seen below.
        let ended = self.feed.ended();
        let next = match self.place {
            Place::At(next) => next,
            Place::Joining { from, oldest } => {
                let ring = self.feed.ring();
                let join = if oldest { ring.join_first() } else { ring.join_from(from) };
                let first = join.as_ref().and_then(|join| ring.get(join.seq)).cloned();
                drop(ring);
                let Some(join) = join else {
                    self.outlet.nothing_due();
                    return ended.map_or(Pumped::Waiting, Pumped::Drained);
                };
                self.start(join, first.as_ref(), announce);
                return Pumped::More;
            }
        };
        batch.clear();
        let read = self.feed.ring().read(next, BATCH_FRAMES_MAX, BATCH_BYTES_MAX, batch);
        match read {
            Read::CaughtUp => {
                self.outlet.nothing_due();
                self.outlet.caught_up(next);
                // What was appended since then may have passed this receiver by.
                if self.feed.ring().end() > next {
                    return Pumped::More;
                }
                ended.map_or(Pumped::Waiting, Pumped::Drained)
            }
            Read::FellOut => {
                self.skips += 1;
                if let Some(text) = announce.skip() {
                    self.outlet.text(&text);
                }
                let from = self.feed.ring().skip_from(next);
                self.move_to(Place::Joining { from, oldest: false });
                Pumped::More
            }
            Read::Chunks(_) => {
                self.started = true;
                let (flow, accepted) = self.outlet.send(batch);
                self.place = Place::At(next + accepted as u64);
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
    fn start(&mut self, join: JoinPoint, first: Option<&Chunk>, announce: &impl Announce) {
        let wants_init_again = self.started && announce.init_after_skip();
        let has_init = self.generation == Some(join.generation) && !wants_init_again;
        let mut frames = Vec::new();
        if !self.started
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
        self.generation = Some(join.generation);
        self.started = true;
        self.move_to(Place::At(next));
        self.outlet.queue(frames);
    }

    fn move_to(&mut self, place: Place) {
        self.count_joining(-1);
        self.place = place;
        self.count_joining(1);
    }

    /// Counts this receiver in or out, if it waits for a join point.
    fn count_joining(&self, by: isize) {
        if matches!(self.place, Place::Joining { .. }) {
            self.feed.fanout.joining().fetch_add(by, Ordering::AcqRel);
        }
    }
}
