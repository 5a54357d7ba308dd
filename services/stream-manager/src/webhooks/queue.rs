//! What to send to one endpoint, and when. Pure: events, answers, time and dice come in as arguments. Times are milliseconds
//! of a clock that never goes back.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Of each subject at most one event is on its way, and the next only goes once it is settled:     │
//! │ delivered, or given up. Nothing that was read is left out.                                      │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use relay_cluster::journal::Delivered;
use relay_proto::event::{Event, EventId};

use super::limits::Limits;

/// What an event is about: its channel, or else its node. Events of one subject come in order.
pub(super) type Subject = Arc<str>;

/// Before all events that ever happen, and yet not nothing: how far an endpoint is that was set up before the first of them.
pub(super) const BEFORE_ALL: EventId = EventId { ms: 0, number: 1 };

/// How far back a journal that has lost its last events is followed: a second of a busy cluster.
const RECENT_MAX: usize = 1024;

/// The events for one endpoint that were read and are not settled.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    /// The last event that was read.
    read: EventId,
    /// And those before it, the newest last.
    recent: VecDeque<EventId>,
    /// How many that were.
    count: u64,
    /// What was settled before this queue began, of what it has not read yet.
    beyond: BTreeMap<String, EventId>,
    lines: HashMap<Subject, Line>,
    /// Every event of the lines, by its number, and the one that was read before it, whether that was wanted or not.
    unsettled: BTreeMap<u64, EventId>,
    /// The first of each line that is not on its way, by when it is due.
    due: BTreeMap<(u64, u64), Subject>,
    in_flight: usize,
    /// The endpoint has asked for nothing before.
    closed_until: u64,
}

/// What waits of one subject.
#[derive(Debug, Default)]
struct Line {
    /// With the numbers under which they were read.
    events: VecDeque<(u64, Arc<Event>)>,
    tried: Tried,
}

/// What became of the first event of a line so far.
#[derive(Debug, Default)]
struct Tried {
    since: Option<u64>,
    attempts: u32,
    refusals: u32,
}

/// One attempt to deliver an event.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) event: Arc<Event>,
    pub(super) subject: Subject,
    /// 1 for the first.
    pub(super) number: u32,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    /// The endpoint could not be reached, did not answer, or answered that it could not.
    Failed,
    /// The endpoint answered that it does not want this.
    Refused,
    /// The endpoint wants nothing for so long.
    Later(Duration),
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The event is delivered.
    Settled,
    /// It is tried again.
    Again,
    /// It was given up.
    Dead,
}

/// What an event is about, as the journal keeps it.
pub(super) fn subject(event: &Event) -> Subject {
    match (&event.channel, &event.node) {
        (Some(channel), _) => format!("channel/{channel}").into(),
        (None, Some(node)) => format!("node/{node}").into(),
        (None, None) => "cluster".into(),
    }
}

impl Queue {
    /// Goes on from where somebody was.
    pub(super) fn new(limits: Limits, from: Delivered) -> Self {
        Self {
            limits,
            read: from.through,
            recent: VecDeque::from([from.through]),
            count: 0,
            beyond: from.beyond,
            lines: HashMap::new(),
            unsettled: BTreeMap::new(),
            due: BTreeMap::new(),
            in_flight: 0,
            closed_until: 0,
        }
    }

    /// The event from which to read on.
    pub(super) const fn read(&self) -> EventId {
        self.read
    }

    /// How many events to read.
    pub(super) fn room(&self) -> usize {
        let held = self.limits.held_max.saturating_sub(self.unsettled.len());
        let ahead = self.unsettled.first_key_value().map_or(0, |(oldest, _)| self.count - oldest);
        let ahead = usize::try_from(self.limits.ahead_max.saturating_sub(ahead)).unwrap_or(usize::MAX);
        held.min(ahead).min(self.limits.page)
    }

    /// How many events are held.
    pub(super) fn held(&self) -> usize {
        self.unsettled.len()
    }

    /// What was read, the oldest first, and which of it is wanted.
    pub(super) fn push(&mut self, events: Vec<Event>, wanted: impl Fn(&Event) -> bool, now: u64) {
        for event in events {
            // Said twice, or out of order: it is settled, or it is here.
            if event.id <= self.read {
                continue;
            }
            let before = std::mem::replace(&mut self.read, event.id);
            let number = self.count;
            self.count += 1;
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(event.id);
            let subject = subject(&event);
            if !wanted(&event) || self.beyond.get(&*subject).is_some_and(|settled| event.id <= *settled) {
                continue;
            }
            self.unsettled.insert(number, before);
            let line = self.lines.entry(Arc::clone(&subject)).or_default();
            if line.events.is_empty() {
                self.due.insert((now, number), subject);
            }
            line.events.push_back((number, Arc::new(event)));
        }
        self.beyond.retain(|_, settled| *settled > self.read);
    }

    /// The journal has lost its last events, or all, and its newest is this one. Reading goes on behind the last that it still
    /// has; what was read of the others is delivered none the less.
    pub(super) fn rewind(&mut self, newest: EventId) {
        self.recent.retain(|id| *id <= newest);
        self.read = self.recent.back().copied().unwrap_or(EventId::FIRST);
        self.beyond.retain(|_, settled| *settled <= newest);
        for before in self.unsettled.values_mut() {
            *before = self.read.min(*before);
        }
    }

    /// What to send now. The caller tells what became of it.
    pub(super) fn next(&mut self, now: u64) -> Option<Attempt> {
        if self.in_flight >= self.limits.in_flight_max || now < self.closed_until {
            return None;
        }
        let first = self.due.first_entry().filter(|first| first.key().0 <= now)?;
        let subject = first.remove();
        let line = self.lines.get_mut(&subject).expect("what is due has a line");
        let event = Arc::clone(&line.events.front().expect("a line has an event").1);
        line.tried.since.get_or_insert(now);
        line.tried.attempts = line.tried.attempts.saturating_add(1);
        self.in_flight += 1;
        Some(Attempt { event, subject, number: line.tried.attempts })
    }

    /// When [`Queue::next`] has something, if nothing else happens until then.
    pub(super) fn next_at(&self) -> Option<u64> {
        let ((due, _), _) =
            self.due.first_key_value().filter(|_| self.in_flight < self.limits.in_flight_max)?;
        Some(self.closed_until.max(*due))
    }

    /// What became of an attempt. `dice` is a uniform number.
    pub(super) fn settle(&mut self, attempt: &Attempt, outcome: Outcome, now: u64, dice: u64) -> Next {
        let Attempt { subject, .. } = attempt;
        let limits = &self.limits;
        self.in_flight -= 1;
        let line = self.lines.get_mut(subject).expect("what is on its way has a line");
        let next = match outcome {
            Outcome::Delivered => Next::Settled,
            Outcome::Refused => {
                line.tried.refusals = line.tried.refusals.saturating_add(1);
                if line.tried.refusals >= limits.refusals_max { Next::Dead } else { Next::Again }
            }
            Outcome::Later(pause) => {
                let until = now.saturating_add(ms(pause.min(limits.retry_after_max)));
                self.closed_until = self.closed_until.max(until);
                Next::Again
            }
            Outcome::Failed => Next::Again,
        };
        let tried_for = now.saturating_sub(line.tried.since.unwrap_or(now));
        let next =
            if next == Next::Again && tried_for >= ms(limits.give_up_after) { Next::Dead } else { next };
        if next == Next::Again {
            let delay = delay(limits, line.tried.attempts, dice);
            let due = self.closed_until.max(now).saturating_add(delay);
            let (place, _) = line.events.front().expect("what is on its way is the first of its line");
            self.due.insert((due, *place), Arc::clone(subject));
            return next;
        }
        let (place, _) = line.events.pop_front().expect("what is on its way is the first of its line");
        self.unsettled.remove(&place);
        line.tried = Tried::default();
        match line.events.front() {
            Some((following, _)) => {
                self.due.insert((now, *following), Arc::clone(subject));
            }
            None => {
                self.lines.remove(subject);
            }
        }
        next
    }

    /// Everything up to this event is settled.
    pub(super) fn through(&self) -> EventId {
        self.unsettled.first_key_value().map_or(self.read, |(_, before)| *before)
    }
}

/// What is settled, and what of it the journal does not know yet.
#[derive(Debug)]
pub(super) struct Progress {
    saved: EventId,
    /// By subject, the last that is settled.
    unsaved: BTreeMap<Subject, EventId>,
}

/// What to tell the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Save {
    /// Everything up to this event is settled.
    Through(EventId),
    /// Everything of this subject is, up to this event.
    Subject(Subject, EventId),
}

/// Whether it is time to tell the journal too that events passed which nobody wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thoroughness {
    /// What was settled, which a successor would send again.
    Needed,
    /// Everything.
    All,
}

impl Progress {
    pub(super) const fn new(saved: EventId) -> Self {
        Self { saved, unsaved: BTreeMap::new() }
    }

    pub(super) fn settled(&mut self, subject: Subject, id: EventId) {
        self.unsaved.insert(subject, id);
    }

    /// What to tell the journal next. One word for everything, where that is enough.
    pub(super) fn next(&self, through: EventId, thoroughness: Thoroughness) -> Option<Save> {
        // The endpoint is known, if only that.
        let through = through.max(BEFORE_ALL);
        let covers = || thoroughness == Thoroughness::All || self.unsaved.values().any(|id| *id <= through);
        if through > self.saved && covers() {
            return Some(Save::Through(through));
        }
        self.unsaved.first_key_value().map(|(subject, id)| Save::Subject(Arc::clone(subject), *id))
    }

    /// The journal may have forgotten what it was told.
    pub(super) fn forgotten(&mut self) {
        self.saved = EventId::FIRST;
    }

    /// The journal knows.
    pub(super) fn saved(&mut self, save: &Save) {
        match save {
            Save::Through(through) => {
                self.saved = *through;
                self.unsaved.retain(|_, id| *id > *through);
            }
            Save::Subject(subject, id) => {
                if self.unsaved.get(subject) == Some(id) {
                    self.unsaved.remove(subject);
                }
            }
        }
    }
}

/// Exponential, with full jitter.
fn delay(limits: &Limits, attempts: u32, dice: u64) -> u64 {
    let doublings = attempts.saturating_sub(1).min(31);
    let ceiling = ms(limits.first_retry.saturating_mul(1 << doublings).min(limits.longest_retry));
    u64::try_from((u128::from(ceiling) * u128::from(dice)) >> 64).unwrap_or(ceiling)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
