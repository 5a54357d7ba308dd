//! What is told of sources: to stream-managers, nodes and the other bridges.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use relay_proto::backbone::{Peer, to_json};
use relay_proto::report::{self, REPORT_BYTES_MAX};
use relay_proto::source::{Source, SourceId, SourceState, SourcesReport};
use serde::Deserialize;
use tokio::time::timeout;

use super::Core;

/// How often everything is told. Half a dozen of them fit into the time for which a bridge is believed that says nothing.
const WHOLE_MS: u64 = 2_500;

/// How soon everything is told after a source was forgotten. With each of many, a fleet would be told of over and over.
const WHOLE_SOON_MS: u64 = 500;

/// How soon it is told again where nobody could hear it: a bridge that leaves must know who goes on.
const UNHEARD_MS: u64 = 500;

/// What the last words may take.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

/// Sources in one part: with the longest names and all members below [`REPORT_BYTES_MAX`].
const SOURCES_PER_PART: usize = REPORT_BYTES_MAX / 1024;

/// When everything is told next.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    at: u64,
    pub(super) number: u64,
}

impl Rounds {
    pub(super) fn next(&self) -> u64 {
        self.at
    }
}

impl Core {
    /// A source as this bridge sees it now.
    fn describe(&self, id: &SourceId) -> Option<Source> {
        let entry = self.entries.get(id)?;
        let description = entry.machine.describe();
        let state = if entry.is_held { description.state } else { SourceState::Idle };
        Some(Source {
            id: id.clone(),
            channel: id.channel(),
            kind: entry.kind,
            state,
            reason: description.reason.filter(|_| entry.is_held),
            node: description.node.filter(|_| entry.is_held),
            bridge: (entry.is_held && state != SourceState::Idle).then(|| self.peer.node.clone()),
            online: description.online,
        })
    }

    /// Tells at once of sources of which something else is to be told.
    pub(super) fn tell_touched(&mut self) {
        let now = self.now().ms;
        while let Some(id) = self.touched.pop_first() {
            let Some(source) = self.describe(&id) else { continue };
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            // What an operator wants is wanted still when the device comes back: an aircraft that is switched off is not known.
            let is_kept = entry.is_known || entry.always_on || entry.is_forced;
            let is_over = !is_kept && !entry.machine.needs_lease() && !entry.is_held;
            let before = entry.told.replace(source.clone());
            if before.as_ref() != Some(&source) {
                if let Some(before) = before {
                    self.metrics.sources.with_label_values(&labels(&before)).dec();
                }
                self.metrics.sources.with_label_values(&labels(&source)).inc();
                self.tell(SourcesReport::One { by: self.peer.clone(), source }, now);
            }
            if is_over {
                self.forget(&id);
            }
        }
    }

    /// A source that no driver knows any more is told of no more.
    fn forget(&mut self, id: &SourceId) {
        let Some(entry) = self.entries.remove(id) else { return };
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, id.clone()));
        }
        if let Some(told) = entry.told {
            self.metrics.sources.with_label_values(&labels(&told)).dec();
        }
        self.by_channel.remove(&id.channel());
        // The next round lacks it, and all that are forgotten about now.
        self.tellings.at = self.tellings.at.min(self.now().ms + WHOLE_SOON_MS);
    }

    /// Tells everything, when it is time.
    pub(super) fn tell_all(&mut self) {
        let now = self.now().ms;
        if now < self.tellings.at {
            return;
        }
        let is_heard = self.links.backbone.contact().borrow().connected;
        self.tellings.at = now + if is_heard { WHOLE_MS } else { UNHEARD_MS };
        if is_heard && let Some(latch) = self.told_latch.take() {
            latch.ready();
        }
        self.tellings.number += 1;
        let mut sources: Vec<Source> = self.entries.keys().filter_map(|id| self.describe(id)).collect();
        sources.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let parts = sources.len().div_ceil(SOURCES_PER_PART).max(1);
        for part in 0..parts {
            let rest = sources.split_off(sources.len().min(SOURCES_PER_PART));
            let report = SourcesReport::Whole {
                by: self.peer.clone(),
                round: self.tellings.number,
                part: u32::try_from(part).unwrap_or(u32::MAX),
                parts: u32::try_from(parts).unwrap_or(u32::MAX),
                sources: std::mem::replace(&mut sources, rest),
            };
            self.tell(report, now);
        }
    }

    fn tell(&self, report: SourcesReport, now: u64) {
        self.send(self.subjects.sources(), Bytes::from(to_json(&report)));
        self.roster.lock().unwrap_or_else(PoisonError::into_inner).heard(report, now);
    }

    /// Another bridge tells of sources; what this one told comes back, and is passed over.
    pub(super) fn heard_of_others(&mut self, bytes: &[u8], now: u64) {
        /// Of a report, who tells: to pass over all the sources of one's own, which come back, costs little beside reading them.
        #[derive(Deserialize)]
        struct Told {
            by: Peer,
        }

        if report::read(bytes).is_ok_and(|Told { by }| by != self.peer)
            && let Ok(report) = report::read(bytes)
        {
            self.roster.lock().unwrap_or_else(PoisonError::into_inner).heard(report, now);
        }
    }

    /// The last words: what was held is free, and this bridge is gone.
    pub(super) async fn leave_others(&mut self, held: Vec<SourceId>) {
        let _ =
            timeout(FAREWELL_WITHIN, self.links.registry.release_sources(&held, self.peer.incarnation)).await;
        let gone = to_json(&SourcesReport::Gone { by: self.peer.clone() });
        let subject = self.subjects.sources();
        let _ = timeout(FAREWELL_WITHIN, self.links.backbone.publish(&subject, None, gone.into())).await;
    }
}

fn labels(source: &Source) -> [&'static str; 2] {
    let state = match source.state {
        SourceState::Idle => "idle",
        SourceState::Starting => "starting",
        SourceState::Live => "live",
        SourceState::Stopping => "stopping",
        SourceState::External => "external",
    };
    [source.kind.name(), state]
}
