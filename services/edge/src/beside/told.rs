//! What bridges tell of the sources of channels, as viewers may know it. Pure: time comes in.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Of a source that several bridges know, the word of the one that has it counts; of equals the │
//! │ last. A bridge that is gone or silent knows nothing.                                         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use relay_proto::ChannelName;
use relay_proto::backbone::Peer;
use relay_proto::source::{Source, SourceKind, SourceReason, SourceState, SourcesReport, is_source};
use serde::Serialize;
use tokio::time::Instant;

/// How long a word is believed: bridges say all that they know every few seconds.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(15);

/// Channels of which something is known: far more sources than a cluster has.
pub(super) const CHANNELS_MAX: usize = 1 << 15;

/// Bridges that know one source: a cluster has a few, and each new run of one counts until the last is silent.
pub(super) const BRIDGES_MAX: usize = 16;

/// What viewers are told. Neither the name, which has the key of a hub in it, nor where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    kind: SourceKind,
    state: SourceState,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<SourceReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
}

/// What bridges tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    channels: HashMap<ChannelName, Vec<Word>>,
    /// How many words have come.
    words: u64,
}

#[derive(Debug)]
struct Word {
    by: Peer,
    at: Instant,
    /// Whether its bridge has the source, then its number: what counts more is greater.
    rank: (bool, u64),
    shown: Shown,
}

impl Told {
    /// A bridge has said this. Returns the channels that it concerns.
    pub(super) fn heard(&mut self, report: SourcesReport, now: Instant) -> HashSet<ChannelName> {
        match report {
            SourcesReport::Gone { by } => self.forget(|word| word.by == by),
            SourcesReport::One { by, source } => self.note(&by, source, now).into_iter().collect(),
            SourcesReport::Whole { by, sources, .. } => {
                sources.into_iter().filter_map(|source| self.note(&by, source, now)).collect()
            }
        }
    }

    /// Forgets what is old. Returns the channels that it concerned.
    pub(super) fn tick(&mut self, now: Instant) -> HashSet<ChannelName> {
        self.forget(|word| now.saturating_duration_since(word.at) > SILENT_AFTER)
    }

    /// What is known of the channel's source.
    pub(super) fn of(&self, channel: &ChannelName) -> Option<&Shown> {
        self.channels.get(channel)?.iter().max_by_key(|word| word.rank).map(|word| &word.shown)
    }

    fn note(&mut self, by: &Peer, source: Source, now: Instant) -> Option<ChannelName> {
        let Source { id: _, channel, kind, state, reason, node: _, bridge, online } = source;
        let has_room = self.channels.len() < CHANNELS_MAX || self.channels.contains_key(&channel);
        if !has_room || !is_source(&channel) {
            return None;
        }
        self.words += 1;
        let rank = (bridge.as_ref() == Some(&by.node), self.words);
        let word = Word { by: by.clone(), at: now, rank, shown: Shown { kind, state, reason, online } };
        let words = self.channels.entry(channel.clone()).or_default();
        words.retain(|word| word.by != *by);
        if words.len() < BRIDGES_MAX {
            words.push(word);
        }
        Some(channel)
    }

    fn forget(&mut self, is_gone: impl Fn(&Word) -> bool) -> HashSet<ChannelName> {
        let mut concerned = HashSet::new();
        self.channels.retain(|channel, words| {
            let before = words.len();
            words.retain(|word| !is_gone(word));
            if words.len() < before {
                concerned.insert(channel.clone());
            }
            !words.is_empty()
        });
        concerned
    }
}

#[cfg(test)]
mod tests {
    use relay_proto::Incarnation;
    use relay_proto::source::SourceId;

    use super::*;

    fn peer(name: &str) -> Peer {
        Peer { node: name.parse().unwrap(), incarnation: Incarnation::new(1) }
    }

    fn one(by: &str, device: &str, state: SourceState, has: bool) -> SourcesReport {
        let id: SourceId = format!("kerberos/hub/{device}").parse().unwrap();
        let bridge = has.then(|| by.parse().unwrap());
        let (channel, kind) = (id.channel(), id.kind());
        let source = Source { id, channel, kind, state, reason: None, node: None, bridge, online: None };
        SourcesReport::One { by: peer(by), source }
    }

    fn channel(device: &str) -> ChannelName {
        format!("kerberos/hub/{device}").parse::<SourceId>().unwrap().channel()
    }

    fn state(told: &Told, device: &str) -> Option<SourceState> {
        told.of(&channel(device)).map(|shown| shown.state)
    }

    #[test]
    fn who_has_a_source_is_believed_whoever_speaks_last() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert_eq!(told.heard(one("b1", "cam", SourceState::Live, true), now), [channel("cam")].into());
        told.heard(one("b2", "cam", SourceState::Idle, false), now);
        assert_eq!(state(&told, "cam"), Some(SourceState::Live));
        told.heard(one("b1", "cam", SourceState::Stopping, false), now);
        assert_eq!(state(&told, "cam"), Some(SourceState::Stopping), "of equals the last");
        assert_eq!(told.heard(SourcesReport::Gone { by: peer("b1") }, now), [channel("cam")].into());
        assert_eq!(state(&told, "cam"), Some(SourceState::Idle));
    }

    #[test]
    fn what_is_not_said_again_is_forgotten() {
        let (mut told, now) = (Told::default(), Instant::now());
        told.heard(one("b1", "cam", SourceState::Live, true), now);
        assert!(told.tick(now + SILENT_AFTER).is_empty());
        assert_eq!(told.tick(now + SILENT_AFTER + Duration::from_millis(1)), [channel("cam")].into());
        assert_eq!(state(&told, "cam"), None);
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let (mut told, now) = (Told::default(), Instant::now());
        for number in 0..CHANNELS_MAX {
            told.heard(one("b0", &number.to_string(), SourceState::Idle, false), now);
        }
        assert!(told.heard(one("b0", "more", SourceState::Idle, false), now).is_empty());
        for number in 1..=BRIDGES_MAX {
            told.heard(one(&format!("b{number}"), "0", SourceState::Live, true), now);
        }
        assert_eq!(told.channels.len(), CHANNELS_MAX);
        assert_eq!(told.channels[&channel("0")].len(), BRIDGES_MAX);
    }

    #[test]
    fn viewers_do_not_learn_the_name() {
        let (mut told, now) = (Told::default(), Instant::now());
        told.heard(one("b1", "cam", SourceState::Starting, true), now);
        let json = serde_json::to_string(told.of(&channel("cam")).unwrap()).unwrap();
        assert_eq!(json, r#"{"kind":"kerberos","state":"starting"}"#);
    }
}
