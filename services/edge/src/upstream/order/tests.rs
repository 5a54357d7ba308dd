//! An origin, a network that loses messages, and what is appended at the other end.

use std::collections::VecDeque;

use proptest::prelude::*;
use relay_proto::backbone::{HeadJoin, Peer};
use relay_proto::{Incarnation, KeyHash};

use super::*;

/// Chunks that the origin keeps.
const KEPT: u64 = 12;

/// A publication, chunk by chunk; the payload of a chunk is its epoch and number.
#[derive(Debug, Clone)]
struct Publication {
    epoch: u64,
    end: Seq,
    /// A decoder may start at every so many chunks.
    gop: u64,
    over: Option<bool>,
}

#[derive(Debug, Clone)]
enum Wire {
    Begin(u64),
    Chunk(u64, Seq, Flags),
    End(u64, Seq, bool),
    Head(u64, Head),
    Snapshot(u64, Seq, u64),
    Unknown(u64, u64),
}

#[derive(Debug, Clone)]
enum Act {
    /// So many chunks.
    Publish(u64),
    /// The publication is over, and after that another begins.
    Replace {
        clean: bool,
        gop: u64,
    },
    /// The next message arrives, of those that come by themselves or of those that were asked for.
    Arrive {
        asked: bool,
    },
    /// It is lost.
    Drop {
        asked: bool,
    },
    /// Nothing has come for a while.
    Timeout,
    Sync,
    Look,
}

struct World {
    order: Order,
    publications: Vec<Publication>,
    own: VecDeque<Wire>,
    asked: VecDeque<Wire>,
    /// Epoch and number of the newest chunk that was appended.
    last: Option<(u64, Seq)>,
    /// Whether the feed of `last` is open.
    open: bool,
    finished: Vec<u64>,
}

fn origin(epoch: u64) -> Origin {
    let peer = Peer { node: format!("n{epoch}").parse().unwrap(), incarnation: Incarnation::new(epoch) };
    Origin { peer, key: KeyHash::of(b"", &"cam".parse().unwrap(), &"key".parse().unwrap()) }
}

fn payload(epoch: u64, seq: Seq) -> Bytes {
    format!("{epoch}.{seq}").into()
}

impl Publication {
    fn first(&self) -> Seq {
        self.end.saturating_sub(KEPT)
    }

    fn flags(&self, seq: Seq) -> Flags {
        Flags { join: seq.is_multiple_of(self.gop), ..Flags::default() }
    }
}

impl World {
    fn new() -> Self {
        Self {
            order: Order::new(Epoch::NONE),
            publications: vec![Publication { epoch: 1, end: 0, gop: 4, over: None }],
            own: VecDeque::new(),
            asked: VecDeque::new(),
            last: None,
            open: false,
            finished: Vec::new(),
        }
    }

    fn live(&self) -> &Publication {
        self.publications.last().unwrap()
    }

    fn act(&mut self, act: &Act) {
        let mut steps = Vec::new();
        match act {
            Act::Publish(count) => {
                let live = self.publications.last_mut().unwrap();
                for seq in live.end..live.end + count {
                    self.own.push_back(Wire::Chunk(live.epoch, seq, live.flags(seq)));
                }
                live.end += count;
            }
            Act::Replace { clean, gop } => {
                let gop = (*gop).max(1);
                let live = self.publications.last_mut().unwrap();
                live.over = Some(*clean);
                self.own.push_back(Wire::End(live.epoch, live.end, *clean));
                let epoch = live.epoch + 1;
                self.publications.push(Publication { epoch, end: 0, gop, over: None });
                self.own.push_back(Wire::Begin(epoch));
            }
            Act::Arrive { asked } => {
                if let Some(wire) = self.queue(*asked).pop_front() {
                    self.arrive(wire, &mut steps);
                }
            }
            Act::Drop { asked } => {
                self.queue(*asked).pop_front();
            }
            Act::Timeout => {
                if let Some(ask) = self.order.asked() {
                    self.order.unanswered(ask, &mut steps);
                }
            }
            Act::Sync => {
                if let Some((epoch, _)) = self.order.following() {
                    let progress = self.progress(epoch.number());
                    self.order.progress(epoch, progress, &mut steps);
                }
            }
            Act::Look => self.look(&mut steps),
        }
        self.take(steps);
    }

    fn queue(&mut self, asked: bool) -> &mut VecDeque<Wire> {
        if asked { &mut self.asked } else { &mut self.own }
    }

    fn look(&mut self, steps: &mut Vec<Step>) {
        let epoch = self.live().epoch;
        self.order.live(Epoch::new(epoch), origin(epoch), From::Start, steps);
    }

    fn progress(&self, epoch: u64) -> Progress {
        match self.publications.iter().find(|publication| publication.epoch == epoch) {
            Some(Publication { end, over, .. }) => {
                let state = match over {
                    None => PublicationState::Live,
                    Some(true) => PublicationState::Ended,
                    Some(false) => PublicationState::Lost,
                };
                Progress { end: *end, state }
            }
            None => Progress { end: 0, state: PublicationState::Unknown },
        }
    }

    fn arrive(&mut self, wire: Wire, steps: &mut Vec<Step>) {
        let order = &mut self.order;
        match wire {
            Wire::Begin(epoch) => order.live(Epoch::new(epoch), origin(epoch), From::Start, steps),
            Wire::Chunk(epoch, seq, flags) => {
                order.chunk(Epoch::new(epoch), seq, flags, payload(epoch, seq), steps);
            }
            Wire::End(epoch, end, clean) => order.ended(Epoch::new(epoch), end, clean, steps),
            Wire::Head(ask, head) => order.head(ask, head, Bytes::new(), Bytes::new(), steps),
            Wire::Snapshot(ask, seq, epoch) => order.snapshot(ask, seq, payload(epoch, seq), steps),
            Wire::Unknown(ask, epoch) => {
                if order.asked() == Some(ask) {
                    order.unknown(Epoch::new(epoch), steps);
                }
            }
        }
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Ask { ask, epoch, from, .. } => self.answer(ask, epoch.number(), from),
                Step::Begin { epoch, at, chunk, .. } => self.begin(epoch.number(), &at, &chunk),
                Step::Append(chunk) => {
                    let (epoch, seq) = self.last.expect("something has begun");
                    assert!(self.open, "{chunk:?} after the end");
                    assert_eq!(chunk, payload(epoch, seq + 1), "in order and without holes");
                    self.last = Some((epoch, seq + 1));
                }
                Step::Finish | Step::Lose => {
                    assert!(std::mem::take(&mut self.open), "ended once");
                    let (epoch, seq) = self.last.unwrap();
                    if step == Step::Finish {
                        let publication = &self.publications[epoch as usize - 1];
                        assert_eq!((publication.over, publication.end), (Some(true), seq + 1), "all of it");
                        self.finished.push(epoch);
                    }
                }
                Step::Look | Step::Healed | Step::Stale(_) => {}
            }
        }
    }

    fn begin(&mut self, epoch: u64, at: &Beginning, chunk: &Bytes) {
        let first = match at {
            Beginning::Start => 0,
            Beginning::Join { first, .. } => {
                assert!(
                    self.publications[epoch as usize - 1].flags(*first).join,
                    "a decoder may start there"
                );
                *first
            }
        };
        assert_eq!(*chunk, payload(epoch, first));
        match self.last {
            Some((same, seq)) if same == epoch => assert!(first > seq, "{first} comes twice, after {seq}"),
            Some((older, _)) => assert!(older < epoch, "{epoch} after {older}"),
            None => {}
        }
        self.last = Some((epoch, first));
        self.open = true;
    }

    fn answer(&mut self, ask: u64, epoch: u64, from: From) {
        // Whatever came of an earlier ask does not count any more.
        self.asked.clear();
        let Some(publication) = self.publications.iter().find(|publication| publication.epoch == epoch)
        else {
            self.asked.push_back(Wire::Unknown(ask, epoch));
            return;
        };
        let (first, end) = (publication.first(), publication.end);
        let newest = (first..end).rev().find(|seq| publication.flags(*seq).join);
        let (first, join) = match from {
            From::Start if first == 0 => (0, None),
            From::Seq(seq) if (first..=end).contains(&seq) => (seq, None),
            _ => match newest {
                Some(join) => (join, Some(HeadJoin { offset: 0, init: 0, preamble: 0 })),
                None if first == 0 => (0, None),
                None => (end, None),
            },
        };
        let head = Head { origin: origin(epoch), container: None, first, end, join };
        self.asked.push_back(Wire::Head(ask, head));
        self.asked.extend((first..end).map(|seq| Wire::Snapshot(ask, seq, epoch)));
    }

    /// Nothing is lost any more, and everything that is due by itself happens.
    fn settle(&mut self) {
        for _ in 0..50 {
            while !self.own.is_empty() || !self.asked.is_empty() {
                self.act(&Act::Arrive { asked: true });
                self.act(&Act::Arrive { asked: false });
            }
            for act in [Act::Look, Act::Sync, Act::Timeout] {
                self.act(&act);
            }
        }
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1..4_u64).prop_map(Act::Publish),
        1 => (any::<bool>(), 1..6_u64).prop_map(|(clean, gop)| Act::Replace { clean, gop }),
        8 => any::<bool>().prop_map(|asked| Act::Arrive { asked }),
        1 => any::<bool>().prop_map(|asked| Act::Drop { asked }),
        1 => Just(Act::Timeout),
        1 => Just(Act::Sync),
        1 => Just(Act::Look),
    ];
    prop::collection::vec(act, 1..120)
}

proptest! {
    /// The assertions on what is appended are in `World`.
    #[test]
    fn what_is_appended_is_in_order_and_in_the_end_all_there(acts in acts()) {
        let mut world = World::new();
        world.act(&Act::Look);
        for act in &acts {
            world.act(act);
        }
        // Enough for a join point to come where the origin had none left.
        world.act(&Act::Publish(8));
        world.settle();
        let live = world.live();
        prop_assert_eq!(world.last, Some((live.epoch, live.end - 1)), "up to the newest chunk");
        prop_assert!(world.open);
        let (epoch, end) = (live.epoch, live.end);
        world.publications.last_mut().unwrap().over = Some(true);
        world.own.push_back(Wire::End(epoch, end, true));
        world.settle();
        prop_assert_eq!(world.finished.last(), Some(&epoch));
        prop_assert!(!world.open);
    }
}

#[test]
fn a_stale_origin_is_passed_over_and_counted() {
    let mut order = Order::new(Epoch::NONE);
    let mut steps = Vec::new();
    order.live(Epoch::new(2), origin(2), From::Start, &mut steps);
    steps.clear();
    order.chunk(Epoch::new(1), 0, Flags::default(), Bytes::new(), &mut steps);
    order.live(Epoch::new(1), origin(1), From::Start, &mut steps);
    assert_eq!(steps, [Step::Stale(None), Step::Stale(Some(origin(1).peer))]);
}

#[test]
fn what_waits_for_chunks_before_it_is_bounded() {
    let mut order = Order::new(Epoch::NONE);
    let mut steps = Vec::new();
    order.live(Epoch::new(1), origin(1), From::Start, &mut steps);
    let chunk = Bytes::from(vec![0; STASH_BYTES_MAX / 4]);
    for seq in 0..10 {
        order.chunk(Epoch::new(1), seq, Flags::default(), chunk.clone(), &mut steps);
        assert_eq!(order.stash.len() as u64, 4.min(seq + 1), "at the bound");
    }
    assert_eq!(order.stash_bytes, STASH_BYTES_MAX);
}

#[test]
fn a_chunk_that_never_comes_through_is_left_out_in_the_end() {
    let mut world = World::new();
    world.publications[0].gop = 3;
    world.act(&Act::Look);
    world.act(&Act::Publish(4));
    world.settle();
    world.act(&Act::Publish(6));
    for _ in 0..100 {
        // Chunk 4 is larger than what this node takes, say.
        let lost = |wire: &Wire| matches!(wire, Wire::Chunk(_, 4, _) | Wire::Snapshot(_, 4, _));
        world.own.retain(|wire| !lost(wire));
        world.asked.retain(|wire| !lost(wire));
        let nothing_comes = world.own.is_empty() && world.asked.is_empty();
        world.act(&Act::Arrive { asked: true });
        world.act(&Act::Arrive { asked: false });
        if nothing_comes {
            world.act(&Act::Timeout);
        }
    }
    assert_eq!(world.last, Some((1, 9)));
}
