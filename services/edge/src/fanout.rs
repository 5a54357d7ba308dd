//! Chunks to many sockets.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A receiver that is caught up costs one write, whatever the number of chunks that are due,    │
//! │ and no task is woken for it. One that would block is left behind, and its own task catches   │
//! │ up.                                                                                          │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The first receivers of a feed are served on the publisher's turn. Where there are more, they are spread over crews,
//! one for each processor at the most, and each crew has a task: the publisher goes on reading meanwhile, and what it has
//! read when a crew comes round again goes out in one write.

use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

use crate::batch::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, Batch, Sent};
use crate::feed::Feed;
use crate::gop::{Read, Seq};
use crate::outlet::{Offered, Outlet};

/// Receivers that a publisher serves itself: about what the waking of a task may cost.
const OWN_RECEIVERS_MAX: usize = 64;

/// Receivers of one crew that are served before others on the thread, and those who want to come or go, get a turn.
const TURN_RECEIVERS: usize = 64;

/// Everyone who follows a feed.
#[derive(Debug, Default)]
pub(crate) struct Fanout {
    own: Members,
    /// Made when there are too many for the publisher alone.
    crews: OnceLock<Box<[Crew]>>,
    joining: AtomicIsize,
}

/// Some of the receivers.
#[derive(Debug, Default)]
struct Members {
    list: Mutex<Vec<Member>>,
    /// Length of the list, for who looks for the shortest.
    len: AtomicUsize,
}

#[derive(Debug)]
struct Member {
    outlet: Arc<Outlet>,
    /// Where this member is in its list.
    index: Arc<AtomicUsize>,
}

/// Receivers that have a task to serve them.
#[derive(Debug, Default)]
struct Crew {
    members: Members,
    due: Notify,
}

/// The tasks of the crews. They end with it.
#[derive(Debug, Default)]
pub(crate) struct CrewTasks(JoinSet<()>);

/// A member's place: in the publisher's own list or in a crew's, and where there.
#[derive(Debug)]
pub(crate) struct Seat {
    crew: Option<usize>,
    index: Arc<AtomicUsize>,
}

impl Fanout {
    /// From now on a receiver is offered every chunk.
    pub(crate) fn attach(&self, outlet: &Arc<Outlet>) -> Seat {
        let crew = (self.own.len() >= OWN_RECEIVERS_MAX).then(|| self.shortest_crew());
        Seat { crew, index: self.members(crew).push(outlet) }
    }

    /// No further chunk is offered to the receiver on this seat. Takes the same time however many there are.
    pub(crate) fn detach(&self, seat: &Seat) {
        self.members(seat.crew).remove(&seat.index);
    }

    /// Receivers that wait for a join point: the counter is the follower's to keep.
    pub(crate) fn joining(&self) -> &AtomicIsize {
        &self.joining
    }

    /// Writes the chunks from `first` on, which the ring has already, to everyone whom the publisher serves itself and
    /// who is caught up; the crews are called.
    pub(crate) fn offer(
        &self,
        feed: &Arc<Feed>,
        tasks: &mut CrewTasks,
        first: Seq,
        frames: &[Bytes],
    ) -> Sent {
        if let Some(crews) = self.crews.get() {
            // Up to the last that has somebody: one before it may have become empty.
            let needed = crews.iter().rposition(|crew| crew.members.len() > 0).map_or(0, |last| last + 1);
            for index in tasks.0.len()..needed {
                tasks.0.spawn(serve(Arc::clone(feed), index, first));
            }
            crews.iter().take(tasks.0.len()).for_each(|crew| crew.due.notify_one());
        }
        let mut sent = Sent::default();
        let mut first = first;
        for frames in frames.chunks(BATCH_FRAMES_MAX) {
            let batch = Batch::new(first, frames);
            let mut next = 0;
            while self.own.turn(&mut next, |outlet| offer(outlet, &batch, &mut sent)) {}
            first = batch.end();
        }
        sent
    }

    /// Calls those who wait for a join point, and others who are not caught up.
    pub(crate) fn wake_joining(&self) {
        if self.joining.load(Ordering::Acquire) > 0 {
            self.visit(|outlet| {
                if !outlet.is_caught_up() {
                    outlet.wake();
                }
            });
        }
    }

    /// Calls everyone.
    pub(crate) fn wake_all(&self) {
        self.visit(Outlet::wake);
    }

    fn visit(&self, mut each: impl FnMut(&Outlet)) {
        let crews = self.crews.get().into_iter().flatten().map(|crew| &crew.members);
        for members in std::iter::once(&self.own).chain(crews) {
            let mut next = 0;
            while members.turn(&mut next, &mut each) {}
        }
    }

    fn members(&self, crew: Option<usize>) -> &Members {
        crew.map_or(&self.own, |crew| &self.crews()[crew].members)
    }

    fn crews(&self) -> &[Crew] {
        self.crews.get_or_init(|| {
            let processors = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
            (0..processors).map(|_| Crew::default()).collect()
        })
    }

    /// The first of the shortest.
    fn shortest_crew(&self) -> usize {
        let lens = self.crews().iter().map(|crew| crew.members.len()).enumerate();
        lens.min_by_key(|(_, len)| *len).map_or(0, |(index, _)| index)
    }
}

/// A crew's task: whenever the publisher calls, everything that is due goes out to the crew's members.
async fn serve(feed: Arc<Feed>, crew: usize, first: Seq) {
    let Crew { members, due } = &feed.fanout.crews()[crew];
    let mut frames = Vec::with_capacity(BATCH_FRAMES_MAX);
    let mut next = first;
    loop {
        due.notified().await;
        loop {
            frames.clear();
            // Bound to a name, or the ring would stay locked.
            let read = feed.ring().read(next, BATCH_FRAMES_MAX, BATCH_BYTES_MAX, &mut frames);
            match read {
                Read::Chunks(count) => {
                    let batch = Batch::new(next, &frames);
                    let mut sent = Sent::default();
                    let mut index = 0;
                    while members.turn(&mut index, |outlet| offer(outlet, &batch, &mut sent)) {
                        yield_now().await;
                    }
                    feed.count_sent(sent);
                    next += count as u64;
                }
                Read::CaughtUp => break,
                // Slower than the ring turns: each member catches up by itself, or is left out up to a join point.
                Read::FellOut => next = feed.ring().first(),
            }
        }
        // What the ring has let go of must not wait here for the next chunk.
        frames.clear();
    }
}

fn offer(outlet: &Outlet, batch: &Batch<'_>, sent: &mut Sent) {
    match outlet.offer(batch) {
        Offered::Sent(more) => sent.add(more),
        Offered::Left(more) => {
            sent.add(more);
            outlet.wake();
        }
    }
}

impl Members {
    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn push(&self, outlet: &Arc<Outlet>) -> Arc<AtomicUsize> {
        let mut members = self.lock();
        let index = Arc::new(AtomicUsize::new(members.len()));
        members.push(Member { outlet: Arc::clone(outlet), index: Arc::clone(&index) });
        self.len.store(members.len(), Ordering::Relaxed);
        index
    }

    fn remove(&self, index: &AtomicUsize) {
        let mut members = self.lock();
        let index = index.load(Ordering::Relaxed);
        members.swap_remove(index);
        self.len.store(members.len(), Ordering::Relaxed);
        if let Some(moved) = members.get(index) {
            moved.index.store(index, Ordering::Relaxed);
            // A pass that is under way may have gone by this index already; then its task fetches the chunk.
            moved.outlet.wake();
        }
    }

    /// Calls `each` for the next few members from index `next` on. Tells whether there may be more.
    fn turn(&self, next: &mut usize, mut each: impl FnMut(&Outlet)) -> bool {
        let members = self.lock();
        let turn = members.iter().skip(*next).take(TURN_RECEIVERS);
        *next += turn.len();
        turn.for_each(|member| each(&member.outlet));
        *next < members.len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
