//! Puts what comes of a channel from other nodes in order. Pure: no socket, no clock.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What is appended between two beginnings is of one epoch, in the publisher's order and        │
//! │ without holes; epochs never go back.                                                         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Messages may be lost, and those that were asked for come beside those that come by themselves. Whatever comes is turned
//! into [`Step`]s, which the [driver](super) takes.

use std::collections::BTreeMap;

use bytes::Bytes;
use relay_proto::Epoch;
use relay_proto::backbone::{Flags, From, Head, Origin, Peer, Progress, PublicationState};

use crate::gop::Seq;

/// Chunks that came early and wait for those before them, in bytes. What does not fit is asked for again.
pub(crate) const STASH_BYTES_MAX: usize = 16 << 20;

/// Times that the same chunks are asked for.
const TRIES_MAX: u32 = 5;

/// What there is to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Ask this origin for a snapshot; answers carry the number.
    Ask { ask: u64, epoch: Epoch, origin: Origin, from: From },
    /// A publication begins, or goes on after a hole, with this chunk.
    Begin { epoch: Epoch, origin: Origin, at: Beginning, chunk: Bytes },
    /// The next chunk.
    Append(Bytes),
    /// The publication is over, and everything of it was appended.
    Finish,
    /// The publication is over, and nobody knows more of it.
    Lose,
    /// Look who publishes.
    Look,
    /// So many chunks that were lost on the way have come after all.
    Healed,
    /// An origin that has been replaced goes on. If it is known which, it has to be told.
    Stale(Option<Peer>),
}

/// Where a publication begins on this node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Beginning {
    /// With its first chunk.
    Start,
    /// At a join point in the chunk with this number.
    Join { first: Seq, container: String, offset: u64, init: Bytes, preamble: Bytes },
}

/// What is known of the channel.
#[derive(Debug)]
pub(crate) struct Order {
    epoch: Epoch,
    origin: Option<Origin>,
    phase: Phase,
    /// Where the publication begins, until its first chunk has come.
    at: Option<Beginning>,
    /// Whether a chunk of it has come.
    begun: bool,
    /// Whether nothing more can come of it.
    over: bool,
    /// Number of the next chunk.
    next: Seq,
    /// Number of the newest ask, and where it starts.
    ask: u64,
    from: From,
    /// How often that came in part only, in a row.
    tries: u32,
    stash: BTreeMap<Seq, Bytes>,
    stash_bytes: usize,
    /// The number after the publication's last chunk, and whether it ended cleanly.
    end: Option<(Seq, bool)>,
    /// The end that the origin told last.
    suspect: Option<Seq>,
    /// Whether what is being asked for fills a hole.
    heals: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody is known to publish.
    Away,
    /// A snapshot was asked for.
    Asked,
    /// A snapshot is coming; it ends before this chunk.
    Snapshot(Seq),
    /// Chunks come by themselves.
    Following,
    /// The origin has nothing to start with yet: from the next join point on.
    AwaitingJoin,
}

impl Order {
    /// Of a channel of which no publication before `epoch` counts any more.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            origin: None,
            phase: Phase::Away,
            at: None,
            begun: false,
            over: false,
            next: 0,
            ask: 0,
            from: From::Start,
            tries: 0,
            stash: BTreeMap::new(),
            stash_bytes: 0,
            end: None,
            suspect: None,
            heals: false,
        }
    }

    /// Whom to ask how far it is, and of which publication.
    pub(crate) fn following(&self) -> Option<(Epoch, &Origin)> {
        match self.phase {
            Phase::Away => None,
            _ => self.origin.as_ref().map(|origin| (self.epoch, origin)),
        }
    }

    /// The newest publication that is known.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number of the ask whose answers count.
    pub(crate) fn asked(&self) -> Option<u64> {
        matches!(self.phase, Phase::Asked | Phase::Snapshot(_)).then_some(self.ask)
    }

    /// Somebody publishes. `from` is where to start if that is news.
    pub(crate) fn live(&mut self, epoch: Epoch, origin: Origin, from: From, steps: &mut Vec<Step>) {
        if epoch < self.epoch {
            return steps.push(Step::Stale(Some(origin.peer)));
        }
        if epoch == self.epoch && (self.over || self.phase != Phase::Away) {
            return;
        }
        if self.begun {
            // The newer one may end before anything of it comes.
            steps.push(Step::Lose);
        }
        self.forget(epoch);
        self.origin = Some(origin);
        self.ask_for(from, steps);
    }

    /// This node publishes itself.
    pub(crate) fn superseded(&mut self, epoch: Epoch) {
        if epoch >= self.epoch {
            self.forget(epoch);
            self.over = true;
        }
    }

    /// A chunk came by itself.
    pub(crate) fn chunk(
        &mut self,
        epoch: Epoch,
        seq: Seq,
        flags: Flags,
        chunk: Bytes,
        steps: &mut Vec<Step>,
    ) {
        if epoch != self.epoch {
            return steps.push(if epoch < self.epoch { Step::Stale(None) } else { Step::Look });
        }
        match self.phase {
            Phase::Following if seq == self.next => {
                self.append(chunk, steps);
                self.unstash(steps);
            }
            Phase::Following if seq > self.next => {
                self.keep(seq, chunk);
                self.heal(steps);
            }
            Phase::Asked | Phase::Snapshot(_) => self.keep(seq, chunk),
            Phase::AwaitingJoin if flags.join => {
                self.keep(seq, chunk);
                self.ask_for(From::Newest, steps);
            }
            Phase::Away | Phase::Following | Phase::AwaitingJoin => {}
        }
    }

    /// The origin says that the publication is over.
    pub(crate) fn ended(&mut self, epoch: Epoch, end: Seq, clean: bool, steps: &mut Vec<Step>) {
        if epoch > self.epoch {
            return steps.push(Step::Look);
        }
        if epoch < self.epoch || self.phase == Phase::Away {
            return;
        }
        self.end = Some((end, clean));
        match self.phase {
            Phase::Following if self.next < end => self.heal(steps),
            Phase::Following | Phase::AwaitingJoin => self.close(steps),
            Phase::Away | Phase::Asked | Phase::Snapshot(_) => {}
        }
    }

    /// A snapshot begins.
    pub(crate) fn head(&mut self, ask: u64, head: Head, init: Bytes, preamble: Bytes, steps: &mut Vec<Step>) {
        if self.asked() != Some(ask) {
            return;
        }
        let goes_on = self.begun && head.first == self.next && head.join.is_none();
        // Nothing comes twice.
        let is_new = !self.begun || head.first > self.next;
        let at = match head.join {
            _ if goes_on => None,
            Some(join) if is_new => Some(Beginning::Join {
                first: head.first,
                container: head.container.unwrap_or_default(),
                offset: join.offset,
                init,
                preamble,
            }),
            None if head.first == 0 && !self.begun => Some(Beginning::Start),
            _ => return self.await_join(steps),
        };
        self.heals &= goes_on;
        if at.is_some() {
            self.at = at;
            self.next = head.first;
        }
        self.phase = Phase::Snapshot(head.end);
        self.arrived(steps);
    }

    /// A chunk of a snapshot came.
    pub(crate) fn snapshot(&mut self, ask: u64, seq: Seq, chunk: Bytes, steps: &mut Vec<Step>) {
        if self.asked() != Some(ask) || !matches!(self.phase, Phase::Snapshot(_)) || seq < self.next {
            return;
        }
        if seq > self.next {
            return self.ask_again(steps);
        }
        self.append(chunk, steps);
        self.arrived(steps);
    }

    /// The origin has no such publication.
    pub(crate) fn unknown(&mut self, epoch: Epoch, steps: &mut Vec<Step>) {
        if epoch != self.epoch || self.phase == Phase::Away {
            return;
        }
        if self.begun || self.end.is_some() {
            self.close(steps);
        } else {
            // It has the lease and has not begun yet, or it is over: then somebody will say so.
            self.phase = Phase::Away;
        }
        steps.push(Step::Look);
    }

    /// A snapshot does not come, or does not go on.
    pub(crate) fn unanswered(&mut self, ask: u64, steps: &mut Vec<Step>) {
        if self.asked() != Some(ask) {
            return;
        }
        match self.phase {
            Phase::Snapshot(_) => self.ask_again(steps),
            // Nobody was there; that says nothing of the chunks.
            _ => self.ask_for(self.from, steps),
        }
    }

    /// The origin has not been heard of for too long. Should it come back, its publication begins again.
    pub(crate) fn lose(&mut self, steps: &mut Vec<Step>) {
        if self.phase == Phase::Away {
            return;
        }
        if self.begun {
            steps.push(Step::Lose);
        }
        self.forget(self.epoch);
    }

    /// The origin tells how far it is.
    pub(crate) fn progress(&mut self, epoch: Epoch, progress: Progress, steps: &mut Vec<Step>) {
        if epoch != self.epoch {
            return;
        }
        match progress.state {
            PublicationState::Live if self.phase == Phase::Following => {
                // What is ahead may be on its way still; what was ahead the last time is not.
                let was = self.suspect.replace(progress.end);
                if was.is_some_and(|was| self.next < was) {
                    self.heal(steps);
                }
            }
            // A join point may be found in a chunk that has come already.
            PublicationState::Live if self.phase == Phase::AwaitingJoin => self.ask_for(From::Newest, steps),
            PublicationState::Live => {}
            PublicationState::Ended => self.ended(epoch, progress.end, true, steps),
            PublicationState::Lost => self.ended(epoch, progress.end, false, steps),
            PublicationState::Unknown => self.unknown(epoch, steps),
        }
    }

    fn forget(&mut self, epoch: Epoch) {
        *self = Self { ask: self.ask, ..Self::new(epoch) };
    }

    fn ask_for(&mut self, from: From, steps: &mut Vec<Step>) {
        let Some(origin) = self.origin.clone() else { return };
        self.ask += 1;
        self.from = from;
        self.phase = Phase::Asked;
        steps.push(Step::Ask { ask: self.ask, epoch: self.epoch, origin, from });
    }

    /// A part of a snapshot was lost on the way. What was to begin must begin again; and a chunk that never comes through is
    /// left out in the end.
    fn ask_again(&mut self, steps: &mut Vec<Step>) {
        let from = if self.at.is_some() { self.from } else { From::Seq(self.next) };
        self.tries = if from == self.from { self.tries + 1 } else { 0 };
        match self.tries > TRIES_MAX {
            false => self.ask_for(from, steps),
            true if self.begun && from != From::Newest => self.ask_for(From::Newest, steps),
            true => self.await_join(steps),
        }
    }

    /// Nothing can begin now.
    fn await_join(&mut self, steps: &mut Vec<Step>) {
        self.phase = Phase::AwaitingJoin;
        self.clear_stash();
        if self.end.is_some() {
            self.close(steps);
        }
    }

    fn heal(&mut self, steps: &mut Vec<Step>) {
        self.heals = true;
        self.suspect = None;
        self.ask_for(From::Seq(self.next), steps);
    }

    /// Goes on with what came by itself, once a snapshot is complete.
    fn arrived(&mut self, steps: &mut Vec<Step>) {
        if !matches!(self.phase, Phase::Snapshot(end) if self.next >= end) {
            return;
        }
        if std::mem::take(&mut self.heals) {
            steps.push(Step::Healed);
        }
        self.phase = Phase::Following;
        self.unstash(steps);
        if let (Some((end, _)), Phase::Following) = (self.end, self.phase) {
            if self.next >= end { self.close(steps) } else { self.heal(steps) }
        }
    }

    fn append(&mut self, chunk: Bytes, steps: &mut Vec<Step>) {
        self.next += 1;
        match (self.at.take(), &self.origin) {
            (Some(at), Some(origin)) => {
                self.begun = true;
                steps.push(Step::Begin { epoch: self.epoch, origin: origin.clone(), at, chunk });
            }
            _ => steps.push(Step::Append(chunk)),
        }
    }

    fn keep(&mut self, seq: Seq, chunk: Bytes) {
        if self.stash_bytes + chunk.len() <= STASH_BYTES_MAX {
            self.stash_bytes += chunk.len();
            if let Some(twice) = self.stash.insert(seq, chunk) {
                self.stash_bytes -= twice.len();
            }
        }
    }

    fn unstash(&mut self, steps: &mut Vec<Step>) {
        while let Some(entry) = self.stash.first_entry().filter(|entry| *entry.key() <= self.next) {
            let (seq, chunk) = entry.remove_entry();
            self.stash_bytes -= chunk.len();
            if seq == self.next {
                self.append(chunk, steps);
            }
        }
        if !self.stash.is_empty() {
            self.heal(steps);
        }
    }

    fn clear_stash(&mut self) {
        self.stash.clear();
        self.stash_bytes = 0;
    }

    /// Nothing more comes of this publication.
    fn close(&mut self, steps: &mut Vec<Step>) {
        let is_whole = self.end.is_some_and(|(end, clean)| clean && self.next >= end);
        if self.begun {
            steps.push(if is_whole { Step::Finish } else { Step::Lose });
        }
        self.forget(self.epoch);
        self.over = true;
    }
}

#[cfg(test)]
mod tests;
