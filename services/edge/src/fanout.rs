//! One chunk to many sockets, on the publisher's turn.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A receiver that is caught up costs one write and no task is woken for it. One that would     │
//! │ block is left behind with its cursor, and its own task catches up.                           │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::follower::{Follower, Offered};
use crate::gop::Seq;

/// How many receivers are served before those who want to come or go get a turn at the list.
const TURN_RECEIVERS: usize = 64;

/// Everyone who follows a feed.
#[derive(Debug, Default)]
pub(crate) struct Fanout {
    members: Mutex<Vec<Arc<Follower>>>,
    joining: AtomicUsize,
}

impl Fanout {
    /// From now on `follower` is offered every chunk.
    pub(crate) fn attach(&self, follower: &Arc<Follower>) {
        let mut members = self.lock();
        follower.set_slot(members.len());
        members.push(Arc::clone(follower));
    }

    /// No further chunk is offered to `follower`. Takes the same time however many there are.
    pub(crate) fn detach(&self, follower: &Follower) {
        let mut members = self.lock();
        let slot = follower.slot();
        members.swap_remove(slot);
        if let Some(moved) = members.get(slot) {
            moved.set_slot(slot);
            // A pass that is under way may have gone by this slot already; then its task fetches the chunk.
            moved.wake();
        }
    }

    /// Receivers that wait for a join point: the counter is the follower's to keep.
    pub(crate) fn joining(&self) -> &AtomicUsize {
        &self.joining
    }

    /// Writes a chunk to everyone who is caught up. Tells to how many it went.
    pub(crate) fn offer(&self, seq: Seq, frame: &Bytes) -> usize {
        let mut sent = 0;
        self.visit(|follower| match follower.offer(seq, frame) {
            Offered::Sent => sent += 1,
            Offered::Left => follower.wake(),
            Offered::NotDue => {}
        });
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
        self.visit(|follower| follower.wake());
    }

    fn visit(&self, mut each: impl FnMut(&Follower)) {
        let mut next = 0;
        loop {
            let members = self.lock();
            let turn = members.iter().skip(next).take(TURN_RECEIVERS);
            next += turn.len();
            if turn.len() == 0 {
                return;
            }
            turn.for_each(|follower| each(follower));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Follower>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
