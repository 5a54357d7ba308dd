//! Which of several bridges has a source: what is wanted or running is leased, and nothing else.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use relay_cluster::registry::Unavailable;
use relay_proto::source::SourceId;
use tracing::{debug, info};

use super::Core;
use super::jobs::Done;
use crate::rendezvous::rank;

/// How long a source is somebody's who does not say so again: as long as a bridge that crashed keeps others from it.
const TTL: Duration = Duration::from_secs(6);

/// Two renewals may be lost.
const RENEW_MS: u64 = 2_000;

/// How long the second bridge waits for the first to take what both could; the third twice as long.
const RANK_WAIT_MS: u64 = 1_500;

/// Which leases this bridge has, and what was asked of the sources that it had not before.
pub(super) type Held = (Vec<bool>, Vec<(String, String)>);

/// When leases are asked for next.
#[derive(Debug, Default)]
pub(super) struct Round {
    at: u64,
    runs: bool,
    /// Something has come up while one ran.
    again: bool,
}

impl Round {
    /// There is something to ask for.
    pub(super) fn soon(&mut self, now: u64) {
        if self.runs {
            self.again = true;
        } else {
            self.at = self.at.min(now);
        }
    }

    /// Whether leases are being asked for, and with them what was asked of their sources.
    pub(super) fn is_running(&self) -> bool {
        self.runs
    }

    pub(super) fn next(&self) -> Option<u64> {
        (!self.runs).then_some(self.at)
    }
}

impl Core {
    /// Whether this bridge is the first of all that could do this.
    pub(super) fn is_first(&self, name: &str) -> bool {
        self.rank(name) == 0
    }

    fn rank(&self, name: &str) -> usize {
        let roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        rank(name, &self.peer, roster.bridges())
    }

    pub(super) fn look_after_leases(&mut self) {
        let now = self.now().ms;
        if self.leases.runs || now < self.leases.at {
            return;
        }
        self.leases.at = now + RENEW_MS;
        let mut wanted = Vec::new();
        let mut given_back = Vec::new();
        for (source, entry) in &self.entries {
            match entry.needs_since {
                Some(_) if entry.is_held => wanted.push(source.clone()),
                Some(since) => {
                    // What nobody wants and runs all the same may be somebody's who is about to stop it.
                    let wait = RANK_WAIT_MS * self.rank(&source.to_string()) as u64;
                    if now >= since + wait {
                        wanted.push(source.clone());
                    } else {
                        self.leases.at = self.leases.at.min(since + wait);
                    }
                }
                None if entry.is_held => given_back.push(source.clone()),
                None => {}
            }
        }
        for source in &given_back {
            if let Some(entry) = self.entries.get_mut(source) {
                entry.is_held = false;
            }
            self.machine(source, |machine| machine.held(false, now));
        }
        if wanted.is_empty() && given_back.is_empty() {
            return;
        }
        let is_new = |source: &SourceId| self.entries.get(source).is_some_and(|entry| !entry.is_held);
        let asked = |source: &SourceId| if is_new(source) { self.asked_names(source) } else { Vec::new() };
        let asked: Vec<Vec<String>> = wanted.iter().map(asked).collect();
        self.leases.runs = true;
        let (registry, holder) = (Arc::clone(&self.links.registry), self.peer.incarnation);
        self.jobs.spawn(async move {
            // One after the other, and both before the next round: what is wanted again meanwhile must not be given back
            // after it was taken.
            let released = match given_back.as_slice() {
                [] => Ok(()),
                sources => registry.release_sources(sources, holder).await,
            };
            let held = match wanted.as_slice() {
                [] => released.map(|()| Vec::new()),
                sources => registry.hold_sources(sources, holder, TTL).await,
            };
            let held = match held {
                Ok(held) => {
                    let names = held.iter().zip(asked).filter(|(is_held, _)| **is_held);
                    let names: Vec<String> = names.flat_map(|(_, names)| names).collect();
                    let memories = match names.as_slice() {
                        [] => Ok(Vec::new()),
                        names => registry.recall(names).await,
                    };
                    memories.map(|memories| (held, memories))
                }
                Err(error) => Err(error),
            };
            Done::Held(wanted, held)
        });
    }

    pub(super) fn lease_round_done(&mut self, sources: Vec<SourceId>, held: Result<Held, Unavailable>) {
        let now = self.now().ms;
        self.leases.runs = false;
        if std::mem::take(&mut self.leases.again) {
            self.leases.at = now;
        }
        let (held, memories) = match held {
            Ok(held) => held,
            Err(error) => {
                // Who has a source goes on with it, and nobody takes one.
                self.metrics.registry_errors.inc();
                debug!(%error, "leases not asked for");
                return self.keep(Duration::ZERO);
            }
        };
        // Before anything is begun.
        self.take_memories(memories);
        self.keep(Duration::ZERO);
        for (source, is_held) in sources.into_iter().zip(held) {
            let Some(entry) = self.entries.get_mut(&source) else { continue };
            if std::mem::replace(&mut entry.is_held, is_held) != is_held {
                info!(channel = %source.channel(), held = is_held, "lease of a source");
                self.machine(&source, |machine| machine.held(is_held, now));
            }
        }
    }
}
