//! What outlives a run: what devices told of themselves, and what operators asked for. It is given to the registry one by one,
//! and read back when the bridge starts, when another bridge is gone, and of each source with its lease.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What this bridge has to say and the registry has not kept yet is newer than all that the      │
//! │ registry tells; and who has a source knows better what was asked of it than the registry.     │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use relay_cluster::registry::Unavailable;
use relay_proto::backbone::Peer;
use relay_proto::registry::MEMORIES_MAX;
use relay_proto::source::{SourceId, StartOptions};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Core;
use super::jobs::{Done, RETRY};
use crate::driver::{ASKED_PREFIX, STARTED_MS, STARTED_PREFIX};

/// What an operator's start of a source is remembered under, before the source's name: the options, or `null` where it was
/// taken back.
const START_PREFIX: &str = "asked/start/";

/// How long what devices tell is kept.
const TOLD_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long what was asked for is kept: longer, so that devices, which tell themselves anew, make room first.
const ASKED_TTL: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// How long it is kept that a start was taken back: all bridges that took it up find that out when they get the lease.
const TAKEN_BACK_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// What keeping the last may take when the bridge ends.
const KEEP_WITHIN: Duration = Duration::from_secs(1);

/// How often operators' starts are given anew.
const RENEW_MS: u64 = 24 * 60 * 60 * 1_000;

/// Operators' starts that are remembered: what is to run for ever on a large site is configured.
pub(super) const STARTS_MAX: usize = 1_000;

/// What is to be remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What the registry has not kept yet, by name, and for how long it is to.
    pub(super) unkept: BTreeMap<String, (String, Duration)>,
    /// Whether the registry is about to keep one.
    keeps: bool,
    /// How often all is being read. Nothing is begun to be kept meanwhile: what is read must not be older than what was kept.
    reads: usize,
    /// Other bridges that were there at the last look.
    others: Vec<Peer>,
    renew_at: u64,
}

impl Core {
    pub(super) fn remember(&mut self, name: String, text: String) {
        let started = name.strip_prefix(STARTED_PREFIX).and_then(|source| source.parse().ok());
        if started.as_ref().is_some_and(|source| self.other_holder(source).is_some()) {
            // Who has it knows better whether it runs, and may know it sooner.
            return;
        }
        let ttl = if started.is_some() {
            Duration::from_millis(STARTED_MS)
        } else if name.starts_with(ASKED_PREFIX) {
            ASKED_TTL
        } else {
            TOLD_TTL
        };
        self.remember_for(name, text, ttl);
    }

    fn remember_for(&mut self, name: String, text: String, ttl: Duration) {
        if self.memory.unkept.len() >= MEMORIES_MAX && !self.memory.unkept.contains_key(&name) {
            self.metrics.not_remembered.inc();
            return;
        }
        self.memory.unkept.insert(name, (text, ttl));
        self.keep(Duration::ZERO);
    }

    /// An operator wants a source, or does no more.
    pub(super) fn remember_start(&mut self, source: &SourceId, options: Option<&StartOptions>) {
        if options.is_some() && self.entries.values().filter(|entry| entry.is_forced).count() > STARTS_MAX {
            warn!(channel = %source.channel(), "too many sources are started by operators: this is not remembered");
            self.metrics.not_remembered.inc();
            return;
        }
        let text = serde_json::to_string(&options).expect("options are JSON");
        let ttl = if options.is_some() { ASKED_TTL } else { TAKEN_BACK_TTL };
        self.remember_for(format!("{START_PREFIX}{source}"), text, ttl);
    }

    /// Has the registry keep what is to be remembered: one after the other, and again until it does.
    pub(super) fn keep(&mut self, after: Duration) {
        if self.memory.keeps || self.memory.reads > 0 || self.leases.is_running() {
            return;
        }
        let Some((name, (text, ttl))) = self.memory.unkept.first_key_value() else { return };
        let (name, text, ttl) = (name.clone(), text.clone(), *ttl);
        let registry = Arc::clone(&self.links.registry);
        self.memory.keeps = true;
        self.jobs.spawn(async move {
            sleep(after).await;
            let kept = registry.remember(&name, &text, ttl).await;
            Done::Kept(name, text, kept)
        });
    }

    pub(super) fn kept(&mut self, name: &str, text: &str, kept: Result<(), Unavailable>) {
        self.memory.keeps = false;
        if kept.is_err() {
            self.metrics.registry_errors.inc();
            return self.keep(RETRY);
        }
        // Something newer may be to be kept already.
        if self.memory.unkept.get(name).is_some_and(|(newest, _)| newest == text) {
            self.memory.unkept.remove(name);
        }
        self.keep(Duration::ZERO);
    }

    /// Waits for the registry to keep what is to be remembered, for a while. Of what else ends, only that counts for which it waits.
    pub(super) async fn keep_the_last(&mut self) {
        let _ = timeout(KEEP_WITHIN, async {
            while !self.memory.unkept.is_empty()
                && let Some(done) = self.jobs.join_next().await
            {
                if let Ok(done @ (Done::Kept(..) | Done::Held(..) | Done::Remembered(..))) = done {
                    self.done(Ok(done));
                }
            }
        })
        .await;
    }

    /// Reads all that was remembered by an earlier run, or by another bridge.
    pub(super) fn recall(&mut self) {
        self.memory.reads += 1;
        let unkept = self.memory.unkept.keys().cloned().collect();
        let registry = Arc::clone(&self.links.registry);
        self.jobs.spawn(async move { Done::Remembered(unkept, registry.remembered().await) });
    }

    pub(super) fn recalled(
        &mut self,
        unkept: BTreeSet<String>,
        memories: Result<Vec<(String, String)>, Unavailable>,
    ) {
        match memories {
            Ok(memories) => {
                self.take_memories(memories.into_iter().filter(|(name, _)| !unkept.contains(name)));
                self.memory.reads -= 1;
                self.keep(Duration::ZERO);
            }
            Err(_) => {
                self.metrics.registry_errors.inc();
                // Until it answers: without it, devices that say nothing of their own accord are not known.
                let registry = Arc::clone(&self.links.registry);
                self.jobs.spawn(async move {
                    sleep(RETRY).await;
                    Done::Remembered(unkept, registry.remembered().await)
                });
            }
        }
    }

    /// What the registry is to be asked of a source whose lease comes.
    pub(super) fn asked_names(&self, source: &SourceId) -> Vec<String> {
        let drivers = self.drivers.iter().filter(|(kind, _)| *kind == source.kind());
        let names = drivers.flat_map(|(_, driver)| driver.asked_names(source));
        let names = names.chain([format!("{START_PREFIX}{source}")]);
        names.filter(|name| !self.memory.unkept.contains_key(name)).collect()
    }

    /// Takes what the registry tells.
    pub(super) fn take_memories(&mut self, memories: impl IntoIterator<Item = (String, String)>) {
        let now = self.now();
        let mut effects = Vec::new();
        for (name, text) in memories {
            let of = name.strip_prefix(ASKED_PREFIX).and_then(|rest| rest.split_once('/')?.1.parse().ok());
            let is_held =
                of.is_some_and(|source| self.entries.get(&source).is_some_and(|entry| entry.is_held));
            if is_held || self.memory.unkept.contains_key(&name) {
                continue;
            }
            if let Some(source) = name.strip_prefix(START_PREFIX) {
                if let (Ok(source), Ok(options)) = (source.parse(), serde_json::from_str(&text)) {
                    self.take_start(&source, options);
                }
                continue;
            }
            for (_, driver) in &mut self.drivers {
                driver.recall(&name, &text, now, &mut effects);
            }
        }
        self.effects(effects);
    }

    fn take_start(&mut self, source: &SourceId, options: Option<StartOptions>) {
        // Where nobody speaks to such devices, it is for the other bridges.
        let is_for_here = self.drivers.iter().any(|(kind, _)| *kind == source.kind());
        if !is_for_here || (options.is_none() && !self.entries.contains_key(source)) {
            return;
        }
        if let Some(entry) = self.entry(source) {
            entry.is_forced = options.is_some();
            entry.options = options.unwrap_or_default();
            self.want(source);
        }
    }

    /// Takes up what a bridge was asked for that is gone, and gives anew what is to be kept.
    pub(super) fn look_after_memories(&mut self) {
        let now = self.now().ms;
        let is_lost = {
            let roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
            let others = || roster.bridges().filter(|bridge| **bridge != self.peer);
            let known = &mut self.memory.others;
            let lost = known.iter().any(|bridge| !others().any(|other| other == bridge));
            if lost || others().count() != known.len() {
                *known = others().cloned().collect();
            }
            lost
        };
        if is_lost {
            self.recall();
        }
        if now >= self.memory.renew_at {
            self.memory.renew_at = now + RENEW_MS;
            let forced = self.entries.iter().filter(|(_, entry)| entry.is_held && entry.is_forced);
            let forced: Vec<_> =
                forced.map(|(source, entry)| (source.clone(), entry.options.clone())).collect();
            for (source, options) in forced {
                self.remember_start(&source, Some(&options));
            }
        }
    }
}
