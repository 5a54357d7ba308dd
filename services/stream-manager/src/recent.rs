//! The newest events, for everybody who follows them here. No I/O.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What is kept has no holes: everything after its beginning is in it, as it stands in the journal. │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use relay_cluster::journal::Reading;
use relay_proto::event::{Event, EventId};
use tokio::sync::watch;

/// Events that are kept here; who wants older ones reads the journal. About 2 MiB.
const RECENT_MAX: usize = 4096;

/// An event, and how it is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) event: Event,
    /// As server-sent event.
    pub(crate) frame: Bytes,
}

impl Told {
    pub(crate) fn new(event: Event) -> Self {
        let mut frame = String::new();
        // The type has nothing that JSON could refuse, JSON has no line breaks, and a string takes everything.
        let data = serde_json::to_string(&event).unwrap_or_default();
        let _ = write!(frame, "id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.kind);
        Self { event, frame: frame.into() }
    }
}

/// The newest events.
#[derive(Debug)]
pub(crate) struct Recent {
    ring: Mutex<Ring>,
    /// The newest event.
    news: watch::Sender<EventId>,
}

#[derive(Debug, Default)]
struct Ring {
    /// How often it has begun. A journal that has lost events may give their numbers to others.
    era: u64,
    /// Everything after this is here; `None` before the journal has answered.
    begin: Option<EventId>,
    events: VecDeque<Arc<Told>>,
}

impl Ring {
    fn newest(&self) -> Option<EventId> {
        self.events.back().map(|told| told.event.id).or(self.begin)
    }
}

/// An event that somebody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: EventId,
    /// The era in which it was found in the journal; 0 where that is not so.
    pub(crate) era: u64,
}

/// What is here of what follows an event.
#[derive(Debug)]
pub(crate) enum Following {
    /// These come next; none, where it is the newest.
    Here(Vec<Arc<Told>>),
    /// It is older than what is here, or may not be in the journal. This is the era to read it in.
    InJournal(u64),
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { ring: Mutex::default(), news: watch::Sender::new(EventId::FIRST) }
    }

    /// The newest event that is known; `None` before the journal has answered.
    pub(crate) fn newest(&self) -> Option<Known> {
        let ring = self.lock();
        ring.newest().map(|id| Known { id, era: ring.era })
    }

    /// What comes after an event, at most so many.
    pub(crate) fn after(&self, known: Known, max: usize) -> Following {
        let ring = self.lock();
        if known.era != ring.era || ring.begin.is_none_or(|begin| known.id < begin) {
            return Following::InJournal(ring.era);
        }
        let from = ring.events.partition_point(|told| told.event.id <= known.id);
        Following::Here(ring.events.iter().skip(from).take(max).cloned().collect())
    }

    /// The newest event, told whenever there is another.
    pub(crate) fn news(&self) -> watch::Receiver<EventId> {
        self.news.subscribe()
    }

    /// The journal's newest event, where to begin.
    pub(crate) fn begin(&self, newest: EventId) {
        let mut ring = self.lock();
        *ring = Ring { era: ring.era + 1, begin: Some(newest), events: VecDeque::new() };
        drop(ring);
        self.news.send_replace(newest);
    }

    /// What the journal has after the newest event here.
    pub(crate) fn push(&self, Reading { events, gap }: Reading) {
        let mut ring = self.lock();
        let mut events = events.into_iter();
        if gap && let Some(first) = events.next() {
            // Others came before it: who has read what was here learns of them from the journal.
            *ring = Ring { era: ring.era, begin: Some(first.id), events: VecDeque::new() };
        }
        for event in events {
            if ring.events.len() == RECENT_MAX
                && let Some(oldest) = ring.events.pop_front()
            {
                ring.begin = Some(oldest.event.id);
            }
            ring.events.push_back(Arc::new(Told::new(event)));
        }
        let newest = ring.newest().unwrap_or_default();
        drop(ring);
        self.news.send_replace(newest);
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use relay_proto::event::EventKind;

    use super::*;

    fn id(ms: u64) -> EventId {
        EventId { ms, number: 0 }
    }

    fn reading(ids: std::ops::Range<u64>, gap: bool) -> Reading {
        let event = |ms| Event {
            id: id(ms),
            kind: EventKind::NodeJoined,
            at: "2026-01-31T12:00:00.000Z".to_owned(),
            sequence: ms,
            channel: None,
            epoch: None,
            node: Some("n1".parse().unwrap()),
            reason: None,
            role: None,
        };
        Reading { events: ids.map(event).collect(), gap }
    }

    /// For somebody who knows the event from the era that is.
    fn here(recent: &Recent, after: u64, max: usize) -> Option<Vec<u64>> {
        let era = recent.newest().map_or(0, |newest| newest.era);
        match recent.after(Known { id: id(after), era }, max) {
            Following::Here(told) => Some(told.iter().map(|told| told.event.id.ms).collect()),
            Following::InJournal(_) => None,
        }
    }

    #[test]
    fn an_event_is_told_as_pinned() {
        let event = reading(5..6, false).events.remove(0);
        assert_eq!(
            Told::new(event).frame,
            "id: 5-0\nevent: node.joined\ndata: {\"id\":\"5-0\",\"type\":\"node.joined\",\
             \"at\":\"2026-01-31T12:00:00.000Z\",\"sequence\":5,\"node\":\"n1\"}\n\n"
        );
    }

    #[test]
    fn what_is_older_is_in_the_journal() {
        let recent = Recent::new();
        assert_eq!(here(&recent, 0, 9), None);
        recent.begin(id(10));
        assert_eq!(here(&recent, 9, 9), None);
        assert_eq!(here(&recent, 10, 9), Some(vec![]));
        recent.push(reading(11..14, false));
        assert_eq!(here(&recent, 10, 9), Some(vec![11, 12, 13]));
        assert_eq!(here(&recent, 11, 1), Some(vec![12]));
        assert_eq!(here(&recent, 13, 9), Some(vec![]));
        assert_eq!(recent.newest(), Some(Known { id: id(13), era: 1 }));
    }

    #[test]
    fn what_is_kept_is_bounded_and_its_beginning_follows() {
        let recent = Recent::new();
        recent.begin(EventId::FIRST);
        let max = RECENT_MAX as u64;
        recent.push(reading(1..max + 3, false));
        assert_eq!(here(&recent, 1, 1), None);
        assert_eq!(here(&recent, 2, 1), Some(vec![3]));
        assert_eq!(here(&recent, 2, usize::MAX).unwrap().len(), RECENT_MAX);
    }

    #[test]
    fn after_a_gap_nobody_goes_on_here_without_being_told() {
        let recent = Recent::new();
        recent.begin(id(1));
        recent.push(reading(2..4, false));
        recent.push(reading(7..9, true));
        assert_eq!(here(&recent, 3, 9), None);
        assert_eq!(here(&recent, 6, 9), None);
        assert_eq!(here(&recent, 7, 9), Some(vec![8]));
    }

    #[test]
    fn whoever_knows_an_event_that_was_lost_asks_the_journal() {
        let recent = Recent::new();
        recent.begin(id(1));
        recent.push(reading(2..9, false));
        let known = recent.newest().unwrap();
        // It has lost all but the first, and counts on.
        recent.begin(id(2));
        recent.push(reading(3..12, false));
        assert!(matches!(recent.after(known, 9), Following::InJournal(2)));
        assert_eq!(here(&recent, 8, 9), Some(vec![9, 10, 11]));
    }
}
