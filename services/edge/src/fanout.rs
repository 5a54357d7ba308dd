//! Chunks to many sockets.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A receiver that is caught up costs one write, whatever the number of chunks that are due,    │
//! │ and no task is woken for it. One that would block is left behind with its cursor, and its    │
//! │ own task catches up.                                                                         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The first receivers of a feed are served on the publisher's turn. Where there are more, they are spread over crews,
//! one for each processor at the most, and each crew has a task: the publisher goes on reading meanwhile, and what it has
//! read when a crew comes round again goes out in one write.

use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

use crate::feed::Feed;
use crate::follower::Follower;
use crate::gop::{Read, Seq};
use crate::outlet::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX};

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
    joining: AtomicUsize,
}

/// Some of the receivers.
#[derive(Debug, Default)]
struct Members {
    list: Mutex<Vec<Arc<Follower>>>,
    /// Length of the list, for who looks for the shortest.
    len: AtomicUsize,
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

/// Where a follower sits: in the publisher's own list or in a crew's, and at which index. The fan-out's to keep.
#[derive(Debug)]
pub(crate) struct Seat(AtomicU64);

impl Seat {
    pub(crate) const fn none() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// List 0 is the publisher's own, and crew `n` has list `n + 1`.
    fn set(&self, list: usize, index: usize) {
        self.0.store((list as u64) << 32 | index as u64, Ordering::Relaxed);
    }

    fn get(&self) -> (usize, usize) {
        let seat = self.0.load(Ordering::Relaxed);
        ((seat >> 32) as usize, (seat & 0xFFFF_FFFF) as usize)
    }
}

/// What a pass sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) chunks: u64,
    pub(crate) bytes: usize,
}

impl Sent {
    pub(crate) fn of(frames: &[Bytes]) -> Self {
        Self { chunks: frames.len() as u64, bytes: frames.iter().map(Bytes::len).sum() }
    }
}

impl Fanout {
    /// From now on `follower` is offered every chunk.
    pub(crate) fn attach(&self, follower: &Arc<Follower>) {
        let list = if self.own.len() < OWN_RECEIVERS_MAX { 0 } else { self.shortest_crew() + 1 };
        self.members(list).push(follower, list);
    }

    /// No further chunk is offered to `follower`. Takes the same time however many there are.
    pub(crate) fn detach(&self, follower: &Follower) {
        let (list, _) = follower.seat().get();
        self.members(list).remove(follower, list);
    }

    /// Receivers that wait for a join point: the counter is the follower's to keep.
    pub(crate) fn joining(&self) -> &AtomicUsize {
        &self.joining
    }

    /// Writes the chunks from `first` on, which the ring has already, to everyone whom the publisher serves itself and
    /// who is caught up; the crews are called.
    pub(crate) fn offer(&self, feed: &Arc<Feed>, tasks: &mut CrewTasks, first: Seq, frames: &[Bytes]) -> Sent {
        if let Some(crews) = self.crews.get() {
            for index in tasks.0.len()..crews.iter().take_while(|crew| crew.members.len() > 0).count() {
                tasks.0.spawn(serve(Arc::clone(feed), index, first));
            }
            crews.iter().for_each(|crew| crew.due.notify_one());
        }
        let mut sent = Sent::default();
        let mut first = first;
        for frames in frames.chunks(BATCH_FRAMES_MAX) {
            let batch = Batch::new(first, frames);
            let mut index = 0;
            while self.own.turn(&mut index, |follower| batch.offer(follower, &mut sent)) {}
            first = batch.end();
        }
        sent
    }

    /// Calls those who wait for a join point.
    pub(crate) fn wake_joining(&self) {
        if self.joining.load(Ordering::Acquire) > 0 {
            self.visit(|follower| {
                if follower.is_joining() {
                    follower.wake();
                }
            });
        }
    }

    /// Calls everyone.
    pub(crate) fn wake_all(&self) {
        self.visit(Follower::wake);
    }

    fn visit(&self, mut each: impl FnMut(&Follower)) {
        let crews = self.crews.get().into_iter().flatten().map(|crew| &crew.members);
        for members in std::iter::once(&self.own).chain(crews) {
            let mut next = 0;
            while members.turn(&mut next, &mut each) {}
        }
    }

    fn members(&self, list: usize) -> &Members {
        match list.checked_sub(1) {
            None => &self.own,
            Some(crew) => &self.crews()[crew].members,
        }
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
                    let mut sent = Sent::default();
                    let mut index = 0;
                    // The slices of a batch are not kept while others have their turn.
                    while members.turn(&mut index, Batch::new(next, &frames).offer_to(&mut sent)) {
                        yield_now().await;
                    }
                    feed.count_sent(sent);
                    next += count as u64;
                }
                Read::CaughtUp => break,
                // Slower than the ring turns: every member catches up by itself, or is left out up to a join point.
                Read::FellOut => next = feed.ring().first(),
            }
        }
        frames.clear();
    }
}

impl Members {
    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn push(&self, follower: &Arc<Follower>, list: usize) {
        let mut members = self.lock();
        follower.seat().set(list, members.len());
        members.push(Arc::clone(follower));
        self.len.store(members.len(), Ordering::Relaxed);
    }

    fn remove(&self, follower: &Follower, list: usize) {
        let mut members = self.lock();
        let (_, index) = follower.seat().get();
        members.swap_remove(index);
        self.len.store(members.len(), Ordering::Relaxed);
        if let Some(moved) = members.get(index) {
            moved.seat().set(list, index);
            // A pass that is under way may have gone by this seat already; then its task fetches the chunk.
            moved.wake();
        }
    }

    /// Calls `each` for the next few members from index `next` on. Tells whether there may be more.
    fn turn(&self, next: &mut usize, each: impl FnMut(&Follower)) -> bool {
        let members = self.lock();
        let turn = members.iter().skip(*next).take(TURN_RECEIVERS);
        *next += turn.len();
        turn.map(Arc::as_ref).for_each(each);
        *next < members.len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Follower>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chunks that are due, ready for any number of sockets.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    first: Seq,
    frames: &'a [Bytes],
    slices: [IoSlice<'a>; BATCH_FRAMES_MAX],
}

impl<'a> Batch<'a> {
    /// At most [`BATCH_FRAMES_MAX`] frames.
    fn new(first: Seq, frames: &'a [Bytes]) -> Self {
        let mut slices = [IoSlice::new(&[]); BATCH_FRAMES_MAX];
        for (slice, frame) in slices.iter_mut().zip(frames) {
            *slice = IoSlice::new(frame);
        }
        Self { first, frames, slices }
    }

    /// Number of the first chunk.
    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    /// Number after the last chunk.
    pub(crate) fn end(&self) -> Seq {
        self.first + self.frames.len() as u64
    }

    /// The frames from this chunk on, and the same as slices.
    pub(crate) fn from(&self, next: Seq) -> (&[Bytes], &[IoSlice<'a>]) {
        let skip = usize::try_from(next - self.first).unwrap_or(usize::MAX).min(self.frames.len());
        let frames = &self.frames[skip..];
        (frames, &self.slices[skip..skip + frames.len()])
    }

    fn offer(&self, follower: &Follower, sent: &mut Sent) {
        let offered = follower.offer(self);
        sent.chunks += offered.sent.chunks;
        sent.bytes += offered.sent.bytes;
        if offered.is_left {
            follower.wake();
        }
    }

    fn offer_to(self, sent: &mut Sent) -> impl FnMut(&Follower) {
        move |follower| self.offer(follower, sent)
    }
}
