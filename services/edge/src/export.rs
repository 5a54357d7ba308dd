//! Which other nodes follow a publication of this one, and how far its chunks were carried to them.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ While anybody follows, one task carries; when nobody does, none.                             │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay_proto::backbone::{Peer, Progress, PublicationState};
use tokio::time::Instant;

use crate::feed::{End, Feed};
use crate::gop::Seq;

/// How long a node that asked is sent chunks without asking again. Nodes ask every [`SYNC_INTERVAL`].
const ASKED_TTL: Duration = Duration::from_secs(10);

/// How often a node that follows a publication asks its origin how far that is.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// Which other nodes follow a publication.
#[derive(Debug, Default)]
pub(crate) struct Export(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By when they have to ask again.
    followers: HashMap<Peer, Instant>,
    /// The next chunk to be published, while the task runs.
    next: Option<Seq>,
    was_asked: bool,
}

impl Export {
    /// Whether another node has ever followed.
    pub(crate) fn was_asked(&self) -> bool {
        self.lock().was_asked
    }

    /// A node asks to be sent chunks. What follows `feed` now, in a snapshot that is taken after this, has no hole.
    /// `start` is called where nothing is carried yet; then it is.
    pub(crate) fn ask(&self, feed: &Feed, by: Peer, start: impl FnOnce()) {
        let mut state = self.lock();
        state.was_asked = true;
        state.followers.insert(by, Instant::now() + ASKED_TTL);
        if state.next.is_none() {
            state.next = Some(feed.ring().end());
            start();
        }
    }

    /// A node needs no chunks any more.
    pub(crate) fn leave(&self, by: &Peer) {
        self.lock().followers.remove(by);
    }

    /// How far the publication is, as the other nodes may know.
    pub(crate) fn progress(&self, feed: &Feed) -> Progress {
        // Asked before the ring: what is appended before the end is then counted.
        let state = match feed.ended() {
            None => PublicationState::Live,
            Some(End::Clean) => PublicationState::Ended,
            Some(End::Lost) => PublicationState::Lost,
        };
        let end = feed.ring().end();
        match state {
            // What is not published yet has not been lost.
            PublicationState::Live => Progress { end: self.lock().next.unwrap_or(end), state },
            _ => Progress { end, state },
        }
    }

    /// The chunk to go on with; `None`, and the task has to end, when nobody follows.
    pub(crate) fn next(&self) -> Option<Seq> {
        let now = Instant::now();
        let mut state = self.lock();
        state.followers.retain(|_, until| *until > now);
        if state.followers.is_empty() {
            state.next = None;
        }
        state.next
    }

    /// Everything up to this chunk is published.
    pub(crate) fn advance(&self, next: Seq) {
        self.lock().next = Some(next);
    }

    /// Nothing is carried any more; the next node that asks has it started again.
    pub(crate) fn stop(&self) {
        self.lock().next = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
