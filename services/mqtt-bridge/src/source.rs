//! What is to be done with one source: when it is told to start and to stop, and what is said of it meanwhile. Pure: time
//! comes in as milliseconds of a clock that never goes back.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Nothing is told to a device but by who has its lease, and one thing at a time. A source is     │
//! │ live when its channel has media, whatever the device says.                                     │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod attempts;
#[cfg(test)]
mod tests;

use std::time::Duration;

use relay_proto::source::{SourceReason, SourceState};
use relay_proto::{Epoch, NodeId};

use self::attempts::Attempts;
use crate::demand::Media;
use crate::driver::{Retry, Sign};

/// How long things take, or may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a source goes on after the last viewer left: who reloads a page finds it running.
    pub stop_grace: Duration,
    /// How long media may take after the device said that it starts. Longer than any camera's GOP.
    pub media_within: Duration,
    /// How long a device whose stream broke has to come back by itself.
    pub republish_within: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            stop_grace: Duration::from_secs(10),
            media_within: Duration::from_secs(15),
            republish_within: Duration::from_secs(5),
        }
    }
}

/// Stream-managers answer within seconds, or are given up; should nobody say so, nothing hangs on it for longer.
const PICK_WITHIN_MS: u64 = 60_000;

/// How soon a stream-manager is asked again that had no node.
const PICK_PAUSE_MS: u64 = 2_000;

/// The driver always tells what came of a command; should it not, nothing hangs on it for longer. Three tries of 20 s fit.
const COMMAND_WITHIN_MS: u64 = 90_000;

/// How long media may go on after the device said that it stopped.
const ENDS_WITHIN_MS: u64 = 5_000;

/// How long a node that was killed may be told of: others believe it until it was silent for three of its intervals.
const BROKEN_MS: u64 = 15_000;

/// "Paused until the download of a file is done", whichever kind of device says it.
const PAUSED_CODE: i64 = 13_017;

/// How devices of a kind are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// They say whether they start, and must be told to stop.
    Answers,
    /// They are asked over and over, say nothing but pictures, and stop when they are asked no more.
    IsAsked,
}

/// One source.
#[derive(Debug)]
pub(crate) struct Machine {
    conduct: Conduct,
    timing: Timing,
    phase: Phase,
    /// What the device was told and has not answered, and until when that counts.
    in_flight: Option<(Told, u64)>,
    is_held: bool,
    is_wanted: bool,
    unwanted_since: u64,
    media: Option<Media>,
    /// The publication that broke with its node, and until when what is told of it is taken to be of before.
    broken: Option<(Epoch, u64)>,
    online: Option<bool>,
    reason: Option<SourceReason>,
    node: Option<NodeId>,
    attempts: Attempts,
    /// Whether it was told to start by this bridge and not stopped since.
    is_ours: bool,
    /// Whether it said of its own accord that it streams no more, since it was told to start.
    has_ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Idle,
    /// A node is asked for; it has to be told until then.
    Picking(u64),
    /// The device is told to start.
    Starting,
    /// The device said that it starts; media has to come until then, or may take any time.
    Awaiting(Option<u64>),
    /// Media comes.
    Live,
    /// Media came, and comes no more; by itself it may until then.
    Interrupted(u64),
    /// The device is told to stop, or has said that it did; media has to end until then.
    Stopping {
        then: Then,
        until: u64,
    },
    /// Nothing is done until then, or until something is news.
    Pausing(Option<u64>),
    /// The device streams to somewhere else; whether it has said so since it was told to.
    External(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It is over.
    Rest,
    /// It is started again after a pause.
    Pause(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Start,
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Do {
    /// Find a node, other than these; answered by [`Machine::picked`].
    Pick(Vec<NodeId>),
    /// Tell the device to stream to the node that was picked.
    Start,
    /// Tell the device to stop.
    Stop,
    /// It is over: nothing more is sent to the node.
    Rest,
    /// The source is somebody else's: leave everything as it is.
    Abandon,
}

/// What is said of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) state: SourceState,
    pub(crate) reason: Option<SourceReason>,
    pub(crate) node: Option<NodeId>,
    pub(crate) online: Option<bool>,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Machine {
    pub(crate) fn new(conduct: Conduct, timing: Timing) -> Self {
        Self {
            conduct,
            timing,
            phase: Phase::Idle,
            in_flight: None,
            is_held: false,
            is_wanted: false,
            unwanted_since: 0,
            media: None,
            broken: None,
            online: None,
            reason: None,
            node: None,
            attempts: Attempts::default(),
            is_ours: false,
            has_ended: false,
        }
    }

    /// Whether there is something to do for whoever has the lease. A stream that nobody wants has to be stopped.
    pub(crate) fn needs_lease(&self) -> bool {
        self.is_wanted || self.media.is_some() || self.phase != Phase::Idle || self.in_flight.is_some()
    }

    /// What is to be said of it.
    pub(crate) fn describe(&self) -> Description {
        let state = match self.phase {
            Phase::Idle => SourceState::Idle,
            Phase::Live => SourceState::Live,
            Phase::Stopping { then: Then::Rest, .. } => SourceState::Stopping,
            Phase::External(_) => SourceState::External,
            _ => SourceState::Starting,
        };
        let reason = self.reason.clone().filter(|_| state == SourceState::Starting);
        let node = self.node.clone().filter(|_| state != SourceState::Idle);
        Description { state, reason, node, online: self.online }
    }

    /// Whether it is no news that the device is there.
    pub(crate) fn is_seen(&self) -> bool {
        self.online == Some(true) && !self.pauses()
    }

    /// When [`Machine::tick`] has something to do.
    pub(crate) fn next(&self) -> Option<u64> {
        let phase = match &self.phase {
            // What was told is answered first.
            Phase::Interrupted(until) | Phase::Stopping { until, .. } if self.in_flight.is_none() => {
                Some(*until)
            }
            Phase::Awaiting(until) if self.in_flight.is_none() => *until,
            Phase::Pausing(until) => *until,
            Phase::Picking(until) => Some(*until),
            _ => None,
        };
        // As long as can be said is for ever.
        let phase = phase.filter(|until| *until != u64::MAX);
        let stop = self.stops_at();
        let answer = self.in_flight.map(|(_, until)| until);
        let broken = self.broken.map(|(_, until)| until);
        [phase, stop, answer, broken].into_iter().flatten().min()
    }

    /// Somebody wants it, or nobody does any more.
    pub(crate) fn wanted(&mut self, is_wanted: bool, now: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        if self.is_wanted != is_wanted {
            self.is_wanted = is_wanted;
            self.unwanted_since = now;
            if is_wanted && matches!(self.phase, Phase::Pausing(None)) {
                // Who comes anew may try anew.
                self.attempts.restart();
                self.phase = Phase::Idle;
            }
        }
        self.go_on(now, &mut todo);
        todo
    }

    /// The lease is this bridge's, or is not.
    pub(crate) fn held(&mut self, is_held: bool, now: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        if self.is_held && !is_held {
            todo.push(Do::Abandon);
            self.rest();
        }
        self.is_held = is_held;
        self.go_on(now, &mut todo);
        todo
    }

    /// What is known of the media of its channel.
    pub(crate) fn media(&mut self, media: Option<Media>, now: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        self.media = media;
        self.go_on(now, &mut todo);
        todo
    }

    /// A node was found, or none.
    pub(crate) fn picked(&mut self, picked: Option<NodeId>, now: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        if matches!(self.phase, Phase::Picking(_)) {
            match picked {
                // It is not wanted any more.
                _ if !self.is_wanted => {
                    self.rest();
                    todo.push(Do::Rest);
                }
                Some(node) => {
                    self.node = Some(node);
                    self.phase = Phase::Starting;
                    self.tell(Told::Start, now, &mut todo);
                }
                None => {
                    self.reason = Some(SourceReason::NoNode);
                    self.attempts.exclude_none();
                    self.phase = Phase::Pausing(Some(now + PICK_PAUSE_MS));
                }
            }
        }
        self.go_on(now, &mut todo);
        todo
    }

    /// What was sent to the node does not get there: it refuses it, or is perhaps not there any more.
    pub(crate) fn node_failed(&mut self, is_lost: bool, now: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        if self.is_held && !matches!(self.phase, Phase::Idle | Phase::Stopping { .. } | Phase::Picking(_)) {
            // What is still told of it is of before.
            let media = self.media.take();
            if is_lost && let Some(media) = media.filter(|media| self.node.as_ref() == Some(&media.node)) {
                self.broken = Some((media.epoch, now + BROKEN_MS));
            }
            self.exclude();
            let pause = self.pause(now);
            self.phase = Phase::Pausing(Some(pause));
            // The first time at once: a node that was killed is no fault of the next.
            if self.attempts.is_first() {
                self.phase = Phase::Idle;
            }
        }
        self.go_on(now, &mut todo);
        todo
    }

    /// There is a connection to the broker, or there is none.
    pub(crate) fn broker(&mut self, is_connected: bool, now: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        if is_connected {
            if self.reason == Some(SourceReason::NoBroker) {
                self.reason = None;
            }
            if matches!(self.phase, Phase::Pausing(_)) {
                self.phase = Phase::Idle;
            }
        } else if self.phase != Phase::Live {
            self.reason = Some(SourceReason::NoBroker);
        }
        self.go_on(now, &mut todo);
        todo
    }

    /// The device, or its driver, says something.
    pub(crate) fn sign(&mut self, sign: Sign, now: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        match sign {
            Sign::Online(is_online) => self.presence(is_online, now),
            Sign::Rebooted => {
                self.in_flight = None;
                self.is_ours = false;
                if !matches!(self.phase, Phase::Idle | Phase::Live) {
                    self.phase = Phase::Pausing(Some(now + self.attempts.begin_anew()));
                }
            }
            Sign::Accepted => {
                if self.answered(Told::Start) && self.phase == Phase::Starting {
                    self.phase = Phase::Awaiting(Some(now.saturating_add(ms(self.timing.media_within))));
                }
            }
            Sign::AcceptedExternally => {
                if self.answered(Told::Start) {
                    self.reason = None;
                    self.node = None;
                    self.phase = Phase::External(false);
                }
            }
            Sign::AlreadyLive => {
                if self.answered(Told::Start) && self.phase == Phase::Starting {
                    // It may be ours, whose answer was lost, and then its media is here or on its way.
                    self.phase = Phase::Awaiting(Some(now.saturating_add(ms(self.timing.republish_within))));
                }
            }
            Sign::Refused { retry, reason } => {
                if self.answered(Told::Start) && self.phase == Phase::Starting {
                    self.reason = Some(reason);
                    self.phase = Phase::Pausing(match retry {
                        Retry::Later => Some(self.pause(now)),
                        Retry::OnNews | Retry::Never => None,
                    });
                }
            }
            Sign::Unanswered => {
                if self.answered(Told::Start) && self.phase == Phase::Starting {
                    self.reason = Some(SourceReason::NoReply);
                    self.phase = Phase::Pausing(Some(self.pause(now)));
                }
            }
            Sign::Stopped => {
                if self.answered(Told::Stop) {
                    self.is_ours = false;
                }
            }
            Sign::StopUnanswered => {
                let _ = self.answered(Told::Stop);
            }
            Sign::Says { live, error } => self.says(live, error, now),
            Sign::Unreadable => {
                if matches!(self.phase, Phase::Awaiting(_) | Phase::Interrupted(_) | Phase::Pausing(_)) {
                    self.reason = Some(SourceReason::DecryptFailed);
                }
            }
        }
        self.go_on(now, &mut todo);
        todo
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        self.broken.take_if(|(_, until)| now >= *until);
        if self.in_flight.is_some_and(|(_, until)| now >= until) {
            self.in_flight = None;
            if self.phase == Phase::Starting {
                self.reason = Some(SourceReason::NoReply);
                self.phase = Phase::Pausing(Some(self.pause(now)));
            }
        }
        match self.phase {
            _ if self.in_flight.is_some() => {}
            Phase::Awaiting(Some(until)) if now >= until => self.no_media(now, &mut todo),
            Phase::Interrupted(until) if now >= until => {
                self.exclude();
                match self.conduct {
                    Conduct::Answers => self.stop(Then::Pause(0), now, &mut todo),
                    Conduct::IsAsked => self.phase = Phase::Idle,
                }
            }
            Phase::Stopping { then, until } if now >= until => {
                // It still streams: tell it again.
                self.stop(then, now, &mut todo);
            }
            Phase::Picking(until) | Phase::Pausing(Some(until)) if now >= until => self.phase = Phase::Idle,
            _ => {}
        }
        self.go_on(now, &mut todo);
        todo
    }

    /// What follows from what is known, whatever was told last.
    fn go_on(&mut self, now: u64, todo: &mut Vec<Do>) {
        if !self.is_held {
            return;
        }
        let flows = self.flows();
        match &self.phase {
            // What it streams is here, and comes from wherever it was told to go.
            Phase::Idle
            | Phase::Picking(_)
            | Phase::Starting
            | Phase::Awaiting(_)
            | Phase::Interrupted(_)
            | Phase::Pausing(_)
                if flows =>
            {
                self.phase = Phase::Live;
                self.reason = None;
                self.attempts = Attempts::default();
                self.is_ours = true;
            }
            // Who knows that it has ended does not come back by itself.
            Phase::Live | Phase::Interrupted(_)
                if !flows && self.has_ended && (self.is_wanted || self.media.is_none()) =>
            {
                self.exclude();
                self.is_ours = false;
                self.phase = Phase::Idle;
            }
            Phase::Live if !flows => self.interrupted(now),
            // Who is connected and sends nothing, for nobody, has to be stopped as well.
            Phase::Idle if self.media.is_some() && !self.is_wanted && self.in_flight.is_none() => {
                self.interrupted(now);
            }
            Phase::Stopping { then, .. } if self.in_flight.is_none() && self.media.is_none() => match *then {
                Then::Rest => {
                    self.rest();
                    todo.push(Do::Rest);
                }
                Then::Pause(until) => self.phase = Phase::Pausing(Some(until)),
            },
            _ => {}
        }
        if self.phase == Phase::Live {
            self.node = self.media.as_ref().map(|media| media.node.clone());
        }
        if matches!(self.phase, Phase::Pausing(Some(until)) if until <= now) {
            self.phase = Phase::Idle;
        }
        if self.stops_at().is_some_and(|at| now >= at) {
            match (self.conduct, self.is_ours || self.media.is_some()) {
                (Conduct::Answers, false) if self.in_flight.is_none() => {
                    // The device was never started, or has said that it stopped.
                    self.rest();
                    todo.push(Do::Rest);
                }
                _ => self.stop(Then::Rest, now, todo),
            }
        }
        if self.phase == Phase::Idle && self.is_wanted && self.in_flight.is_none() {
            self.phase = Phase::Picking(now.saturating_add(PICK_WITHIN_MS));
            todo.push(Do::Pick(self.attempts.excluded().to_vec()));
        }
    }

    fn interrupted(&mut self, now: u64) {
        self.phase = Phase::Interrupted(now.saturating_add(ms(self.timing.republish_within)));
    }

    /// Whether media comes, of a publication that counts.
    fn flows(&self) -> bool {
        let counts = |media: &Media| self.broken.is_none_or(|(broken, _)| media.epoch > broken);
        self.media.as_ref().is_some_and(|media| media.flows && counts(media))
    }

    /// When it is to be stopped because nobody wants it.
    fn stops_at(&self) -> Option<u64> {
        let runs = !matches!(self.phase, Phase::Idle | Phase::Stopping { then: Then::Rest, .. });
        // What was told must be answered first.
        let is_due = self.is_held && !self.is_wanted && runs && self.in_flight.is_none();
        is_due.then(|| self.unwanted_since.saturating_add(ms(self.timing.stop_grace)))
    }

    fn presence(&mut self, is_online: bool, now: u64) {
        let was = self.online.replace(is_online);
        if is_online {
            if self.reason == Some(SourceReason::Offline) {
                self.reason = None;
            }
            if matches!(self.phase, Phase::Pausing(None)) || (was == Some(false) && self.pauses()) {
                // It was waited for.
                self.phase = Phase::Idle;
            }
        } else if was != Some(false) {
            self.in_flight = None;
            if matches!(
                self.phase,
                Phase::Starting | Phase::Awaiting(_) | Phase::Interrupted(_) | Phase::Pausing(_)
            ) {
                self.reason = Some(SourceReason::Offline);
                self.phase = Phase::Pausing(None);
            } else if let Phase::Stopping { then, .. } = self.phase {
                // Who is not there streams nothing that could be stopped; what still comes ends by itself.
                self.phase = Phase::Stopping { then, until: now + ENDS_WITHIN_MS };
            }
        }
    }

    fn pauses(&self) -> bool {
        matches!(self.phase, Phase::Pausing(_))
    }

    fn says(&mut self, live: bool, error: Option<i64>, now: u64) {
        self.has_ended = !live;
        let is_paused = error.is_some_and(|code| code % 100_000 == PAUSED_CODE);
        match self.phase {
            Phase::External(_) if live => {
                self.attempts.restart();
                self.phase = Phase::External(true);
            }
            // Nobody sees its media here, so nothing else tells that it is over.
            Phase::External(true) if !is_paused => {
                self.is_ours = false;
                self.phase = Phase::Pausing(Some(self.pause(now)));
            }
            _ => {}
        }
        match error {
            Some(_) if is_paused => {
                if self.conduct == Conduct::Answers
                    && matches!(self.phase, Phase::Awaiting(_) | Phase::Interrupted(_))
                {
                    // It goes on by itself.
                    self.reason = Some(SourceReason::Paused);
                    self.phase = Phase::Awaiting(None);
                }
            }
            Some(code) if self.phase != Phase::Live => self.reason = Some(SourceReason::Device(code)),
            _ => {
                // Whatever else was the reason meanwhile, such as a broker that was away.
                if self.conduct == Conduct::Answers && self.phase == Phase::Awaiting(None) {
                    // It is over: media comes, or does not.
                    self.reason = None;
                    self.phase = Phase::Awaiting(Some(now.saturating_add(ms(self.timing.media_within))));
                }
                if matches!(self.phase, Phase::Pausing(None)) && !live && self.online != Some(false) {
                    // News.
                    self.phase = Phase::Pausing(Some(self.pause(now)));
                }
            }
        }
    }

    /// The device was to stream, and nothing came.
    fn no_media(&mut self, now: u64, todo: &mut Vec<Do>) {
        if !matches!(self.reason, Some(SourceReason::DecryptFailed | SourceReason::Device(_))) {
            self.reason = Some(SourceReason::NoMedia);
        }
        match self.conduct {
            // It goes on to be asked.
            Conduct::IsAsked => self.phase = Phase::Awaiting(None),
            Conduct::Answers => {
                self.exclude();
                let until = self.pause(now);
                self.stop(Then::Pause(until), now, todo);
            }
        }
    }

    fn stop(&mut self, then: Then, now: u64, todo: &mut Vec<Do>) {
        self.phase = Phase::Stopping { then, until: now + ENDS_WITHIN_MS };
        self.tell(Told::Stop, now, todo);
    }

    fn tell(&mut self, told: Told, now: u64, todo: &mut Vec<Do>) {
        debug_assert!(self.in_flight.is_none() && self.is_held, "one thing at a time, by who may");
        self.in_flight = Some((told, now + COMMAND_WITHIN_MS));
        todo.push(match told {
            Told::Start => {
                self.is_ours = true;
                self.has_ended = false;
                Do::Start
            }
            Told::Stop => Do::Stop,
        });
    }

    /// Whether this was what the device was told last.
    fn answered(&mut self, told: Told) -> bool {
        self.in_flight.take_if(|(in_flight, _)| *in_flight == told).is_some()
    }

    /// When to try again after one more attempt in vain.
    fn pause(&mut self, now: u64) -> u64 {
        now + self.attempts.fail()
    }

    /// The node that failed is not tried again for now.
    fn exclude(&mut self) {
        if let Some(node) = self.node.take() {
            self.attempts.exclude(node);
        }
    }

    fn rest(&mut self) {
        self.phase = Phase::Idle;
        self.in_flight = None;
        self.reason = None;
        self.node = None;
        self.attempts = Attempts::default();
        self.is_ours = false;
        self.has_ended = false;
    }
}
