//! The fMP4 form of a feed: a feed of its own, written by a remuxer on the publisher's turn, while somebody receives it.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The remuxer sees every chunk from its first on, once and in order. Getting it started makes  │
//! │ nobody wait but the receiver who asked.                                                      │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relay_media::{Container, Fragment, Remuxer, Scanner};

use crate::chunk::Chunk;
use crate::feed::{End, Feed, Writer};
use crate::gop::Seq;

/// Chunks that may be left to be remuxed while the publisher waits.
const LAST_CHUNKS_MAX: usize = 4;

/// Times that the remuxer catches up before it takes what is left whatever that is: the publisher may be as fast.
const ROUNDS_MAX: usize = 8;

/// The fMP4 form of a feed, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Derived(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// Receivers that hold an [`Fmp4`] of it.
    users: usize,
    /// Looks that were taken at it while it had none.
    unused_for: u8,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// Somebody is at it.
    Starting,
    Running(Box<Remux>),
}

#[derive(Debug)]
struct Remux {
    remuxer: Remuxer,
    writer: Writer,
    /// The next chunk of the origin feed that the remuxer has not seen.
    next: Seq,
    fragments: Vec<Fragment>,
}

/// A feed in fMP4, for one receiver.
#[derive(Debug)]
pub(crate) struct Fmp4 {
    feed: Arc<Feed>,
    /// Where it derives from; `None` where the publication is fit for it as it is.
    origin: Option<Arc<Feed>>,
}

/// The stream has no codec that fMP4 can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable;

impl Fmp4 {
    /// The feed to follow.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }
}

impl Drop for Fmp4 {
    fn drop(&mut self) {
        if let Some(origin) = &self.origin {
            origin.derived().lock().users -= 1;
        }
    }
}

impl Derived {
    /// `origin` as fMP4: itself where the container needs no remuxing, `None` while the container is not known or
    /// somebody else is getting the remuxer started; both show in the origin's progress.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub(crate) fn acquire(&self, origin: &Arc<Feed>) -> Result<Option<Fmp4>, Unavailable> {
        let Some(container) = origin.container() else { return Ok(None) };
        {
            let mut state = self.lock();
            match &state.stage {
                Stage::Running(_) => return state.join(origin).map(Some),
                Stage::Starting => return Ok(None),
                Stage::Idle if Remuxer::new(container).is_none() => {
                    return Ok(Some(Fmp4 { feed: Arc::clone(origin), origin: None }));
                }
                Stage::Idle => state.stage = Stage::Starting,
            }
        }
        let mut remux = Remux::start(origin, container);
        for _ in 0..ROUNDS_MAX {
            if remux.as_mut().is_none_or(|remux| remux.catch_up(origin) <= LAST_CHUNKS_MAX) {
                break;
            }
        }
        let mut state = self.lock();
        // What the publisher appends from here on waits for this lock, and what was read below is passed over then.
        if let Some(remux) = &mut remux {
            remux.catch_up(origin);
        }
        state.stage = remux.map_or(Stage::Idle, |remux| Stage::Running(Box::new(remux)));
        let joined = state.join(origin);
        if let Some(end) = origin.ended() {
            // The publisher has gone and will not come by to end it.
            state.end(end);
        }
        drop(state);
        origin.tell_progress();
        joined.map(Some)
    }

    /// The publisher's turn: a chunk that the remuxer has not seen.
    pub(crate) fn take(&self, seq: Seq, payload: &[u8], now_ms: u64) {
        let mut state = self.lock();
        if let Stage::Running(remux) = &mut state.stage
            && remux.next == seq
        {
            remux.next += 1;
            remux.take(payload, now_ms);
            if remux.remuxer.unsupported().is_some() {
                // Nothing will come out of it; that its feed ends tells those who wait for something.
                state.stage = Stage::Idle;
            }
        }
    }

    /// The origin has ended.
    pub(crate) fn end(&self, end: End) {
        self.lock().end(end);
    }

    /// Looks after the derived feed, and lets go of one that nobody has used since the last look.
    pub(crate) fn tidy(&self, share: usize) {
        let mut state = self.lock();
        if let Stage::Running(remux) = &state.stage {
            remux.writer.feed().tidy(share);
        }
        if state.users > 0 {
            state.unused_for = 0;
        } else if state.unused_for > 0 {
            state.stage = std::mem::take(&mut state.stage).unless_running();
        } else {
            state.unused_for = 1;
        }
    }

    /// The derived feed, while there is one.
    pub(crate) fn feed(&self) -> Option<Arc<Feed>> {
        match &self.lock().stage {
            Stage::Running(remux) => Some(Arc::clone(remux.writer.feed())),
            Stage::Idle | Stage::Starting => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    fn unless_running(self) -> Self {
        match self {
            Self::Running(_) => Self::Idle,
            other => other,
        }
    }
}

impl State {
    fn join(&mut self, origin: &Arc<Feed>) -> Result<Fmp4, Unavailable> {
        match &self.stage {
            Stage::Running(remux) if remux.remuxer.unsupported().is_none() => {
                self.users += 1;
                self.unused_for = 0;
                Ok(Fmp4 { feed: Arc::clone(remux.writer.feed()), origin: Some(Arc::clone(origin)) })
            }
            Stage::Running(_) | Stage::Idle | Stage::Starting => {
                self.stage = Stage::Idle;
                Err(Unavailable)
            }
        }
    }

    fn end(&mut self, end: End) {
        if let Stage::Running(remux) = std::mem::take(&mut self.stage) {
            remux.finish(end);
        }
    }
}

impl Remux {
    /// A remuxer that has seen the newest GOP, so that the first viewer has a picture at once.
    fn start(origin: &Feed, container: Container) -> Option<Self> {
        let remuxer = Remuxer::new(container)?;
        let writer = origin.derive(Scanner::for_container(Container::Fmp4));
        let gop = origin.newest_gop();
        let mut remux = Self { remuxer, writer, next: gop.end, fragments: Vec::new() };
        let now_ms = origin.now_ms();
        gop.pieces.iter().for_each(|piece| remux.take(piece, now_ms));
        Some(remux)
    }

    /// Takes what the origin has beyond what was seen; tells how many chunks that were. Where the ring has moved on
    /// meanwhile there is a gap, at which a remuxer starts again by itself with the next key frame.
    fn catch_up(&mut self, origin: &Feed) -> usize {
        let chunks = origin.from(self.next);
        self.next = chunks.end;
        let now_ms = origin.now_ms();
        chunks.pieces.iter().for_each(|piece| self.take(piece, now_ms));
        chunks.pieces.len()
    }

    fn take(&mut self, bytes: &[u8], now_ms: u64) {
        self.remuxer.push(bytes, now_ms, &mut self.fragments);
        for fragment in self.fragments.drain(..) {
            self.writer.push(&Chunk::copy_from(&fragment.bytes));
        }
    }

    /// What the remuxer still holds, then the end of the derived feed.
    fn finish(mut self, end: End) {
        self.remuxer.finish(&mut self.fragments);
        for fragment in self.fragments.drain(..) {
            self.writer.push(&Chunk::copy_from(&fragment.bytes));
        }
        self.writer.end(end);
    }
}
