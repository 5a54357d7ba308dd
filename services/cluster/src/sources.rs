//! What bridges tell of sources. Pure: time comes in as milliseconds of a clock that never goes back.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Of a source that several bridges know, the word of the one that has it counts; of equals the │
//! │ last. A bridge that is gone or silent knows nothing.                                         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};

use relay_proto::backbone::Peer;
use relay_proto::source::{Source, SourceId, SourcesReport};

/// How long a bridge is believed that says nothing: it tells all it knows every few seconds.
pub const SILENT_AFTER_MS: u64 = 15_000;

/// Runs of bridges that are kept apart: a cluster has a few.
pub const BRIDGES_MAX: usize = 64;

/// Sources that are noted of one bridge: far more than one has been measured with.
pub const SOURCES_PER_BRIDGE_MAX: usize = 1 << 15;

/// Parts of one telling: with the longest report of each that is more than a bridge may know.
pub const PARTS_MAX: u32 = 1024;

/// What bridges tell of sources.
#[derive(Debug, Default)]
pub struct Sources {
    bridges: HashMap<Peer, Bridge>,
    /// How many words have come.
    words: u64,
}

#[derive(Debug, Default)]
struct Bridge {
    heard_ms: u64,
    sources: HashMap<SourceId, Told>,
    telling: Option<Telling>,
}

#[derive(Debug)]
struct Told {
    source: Source,
    /// The number of the word.
    word: u64,
}

/// A round of which parts are missing.
#[derive(Debug)]
struct Telling {
    round: u64,
    parts: u32,
    came: HashSet<u32>,
    /// The number of the word before its first: what was told alone since then is newer than the round.
    since: u64,
    named: HashSet<SourceId>,
}

/// Whose word it is: what counts more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Of a bridge that knows the source.
    Knows,
    /// Of one that has it.
    Has,
}

impl Sources {
    /// A bridge has said this.
    pub fn heard(&mut self, report: SourcesReport, now: u64) {
        self.tick(now);
        self.words += 1;
        let word = self.words;
        match report {
            SourcesReport::Gone { by } => {
                self.bridges.remove(&by);
            }
            SourcesReport::One { by, source } => {
                if let Some(bridge) = self.bridge(by, now) {
                    bridge.note(source, word);
                }
            }
            SourcesReport::Whole { by, round, part, parts, sources } => {
                if parts == 0 || parts > PARTS_MAX || part >= parts {
                    return;
                }
                if let Some(bridge) = self.bridge(by, now) {
                    bridge.whole(round, part, parts, sources, word);
                }
            }
        }
    }

    /// Forgets bridges of which nothing is heard.
    pub fn tick(&mut self, now: u64) {
        self.bridges.retain(|_, bridge| now.saturating_sub(bridge.heard_ms) <= SILENT_AFTER_MS);
    }

    /// All sources by name, after this one.
    pub fn list(&self, after: Option<&SourceId>) -> BTreeMap<&SourceId, &Source> {
        let mut best: BTreeMap<&SourceId, ((Standing, u64), &Source)> = BTreeMap::new();
        for (peer, bridge) in &self.bridges {
            for (id, told) in bridge.sources.iter().filter(|(id, _)| after.is_none_or(|after| *id > after)) {
                let rank = told.rank(peer);
                if best.get(id).is_none_or(|(known, _)| *known < rank) {
                    best.insert(id, (rank, &told.source));
                }
            }
        }
        best.into_iter().map(|(id, (_, source))| (id, source)).collect()
    }

    /// A source, and the bridge whose word this is: the one that has it, or else one that knows it.
    pub fn find(&self, id: &SourceId) -> Option<(&Peer, &Source)> {
        let told = self.bridges.iter().filter_map(|(peer, bridge)| Some((peer, bridge.sources.get(id)?)));
        told.max_by_key(|(peer, told)| told.rank(peer)).map(|(peer, told)| (peer, &told.source))
    }

    /// Every bridge that is believed.
    pub fn bridges(&self) -> impl Iterator<Item = &Peer> {
        self.bridges.keys()
    }

    /// The bridge that was heard last.
    pub fn any_bridge(&self) -> Option<&Peer> {
        self.bridges.iter().max_by_key(|(_, bridge)| bridge.heard_ms).map(|(peer, _)| peer)
    }

    fn bridge(&mut self, by: Peer, now: u64) -> Option<&mut Bridge> {
        if self.bridges.len() >= BRIDGES_MAX && !self.bridges.contains_key(&by) {
            return None;
        }
        let bridge = self.bridges.entry(by).or_default();
        bridge.heard_ms = now;
        Some(bridge)
    }
}

impl Told {
    fn rank(&self, by: &Peer) -> (Standing, u64) {
        let has = self.source.bridge.as_ref() == Some(&by.node);
        (if has { Standing::Has } else { Standing::Knows }, self.word)
    }
}

impl Bridge {
    fn note(&mut self, source: Source, word: u64) {
        if self.sources.len() < SOURCES_PER_BRIDGE_MAX || self.sources.contains_key(&source.id) {
            self.sources.insert(source.id.clone(), Told { source, word });
        }
    }

    fn whole(&mut self, round: u64, part: u32, parts: u32, sources: Vec<Source>, word: u64) {
        // Another round, or one that says otherwise of itself: what is missing of the last will not come.
        let mut telling = match self.telling.take() {
            Some(telling) if telling.round == round && telling.parts == parts => telling,
            // Late: what it says is older than what is known.
            Some(telling) if telling.round > round => {
                self.telling = Some(telling);
                return;
            }
            _ => Telling { round, parts, came: HashSet::new(), since: word - 1, named: HashSet::new() },
        };
        telling.came.insert(part);
        for source in sources {
            if telling.named.len() < SOURCES_PER_BRIDGE_MAX {
                telling.named.insert(source.id.clone());
            }
            let is_newer = |told: &Told| told.word > telling.since && told.word < word;
            if !self.sources.get(&source.id).is_some_and(is_newer) {
                self.note(source, word);
            }
        }
        if u32::try_from(telling.came.len()).is_ok_and(|came| came == parts) {
            let Telling { named, since, .. } = telling;
            self.sources.retain(|id, told| named.contains(id) || told.word > since);
        } else {
            self.telling = Some(telling);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use relay_proto::Incarnation;
    use relay_proto::source::SourceState;

    use super::*;

    fn peer(name: &str) -> Peer {
        Peer { node: name.parse().unwrap(), incarnation: Incarnation::new(1) }
    }

    fn source(device: &str, state: SourceState, bridge: Option<&str>) -> Source {
        let id: SourceId = format!("kerberos/hub/{device}").parse().unwrap();
        Source {
            channel: id.channel(),
            kind: id.kind(),
            id,
            state,
            reason: None,
            node: None,
            bridge: bridge.map(|bridge| bridge.parse().unwrap()),
            online: None,
        }
    }

    fn idle(device: &str) -> Source {
        source(device, SourceState::Idle, None)
    }

    fn whole(by: &str, round: u64, part: u32, parts: u32, sources: Vec<Source>) -> SourcesReport {
        SourcesReport::Whole { by: peer(by), round, part, parts, sources }
    }

    fn one(by: &str, source: Source) -> SourcesReport {
        SourcesReport::One { by: peer(by), source }
    }

    fn names(sources: &Sources) -> Vec<String> {
        sources.list(None).keys().map(|id| id.to_string().replace("kerberos/hub/", "")).collect()
    }

    #[test]
    fn who_has_a_source_is_believed_whoever_speaks_last() {
        let mut sources = Sources::default();
        sources.heard(whole("b1", 1, 0, 1, vec![source("cam", SourceState::Live, Some("b1"))]), 0);
        sources.heard(whole("b2", 9, 0, 1, vec![idle("cam")]), 1);
        let id = idle("cam").id;
        let (by, found) = sources.find(&id).unwrap();
        assert_eq!((by, found.state), (&peer("b1"), SourceState::Live));
        assert_eq!(sources.list(None)[&id].state, SourceState::Live);
        sources.heard(one("b1", idle("cam")), 2);
        sources.heard(one("b2", source("cam", SourceState::Starting, Some("b2"))), 3);
        assert_eq!(sources.find(&id).unwrap().0, &peer("b2"));
    }

    #[test]
    fn what_a_whole_round_does_not_name_is_gone_and_not_before() {
        let mut sources = Sources::default();
        sources.heard(whole("b1", 1, 0, 1, vec![idle("a"), idle("b"), idle("c")]), 0);
        sources.heard(whole("b1", 2, 1, 2, vec![idle("c")]), 1);
        assert_eq!(names(&sources), ["a", "b", "c"]);
        sources.heard(one("b1", idle("d")), 2);
        sources.heard(one("b1", source("a", SourceState::Starting, Some("b1"))), 2);
        sources.heard(whole("b1", 2, 0, 2, vec![idle("a")]), 3);
        assert_eq!(names(&sources), ["a", "c", "d"], "what was told alone meanwhile is newer");
        assert_eq!(sources.find(&idle("a").id).unwrap().1.state, SourceState::Starting);
    }

    #[test]
    fn a_round_that_lost_a_part_takes_nothing_away() {
        let mut sources = Sources::default();
        sources.heard(whole("b1", 1, 0, 1, vec![idle("a"), idle("b")]), 0);
        sources.heard(whole("b1", 2, 0, 2, vec![idle("a")]), 1);
        sources.heard(whole("b1", 3, 0, 2, vec![idle("a")]), 2);
        sources.heard(whole("b1", 2, 1, 2, vec![]), 3);
        assert_eq!(names(&sources), ["a", "b"], "nor does a part that is late");
        sources.heard(whole("b1", 3, 1, 2, vec![]), 4);
        assert_eq!(names(&sources), ["a"]);
    }

    #[test]
    fn a_bridge_that_is_gone_or_silent_knows_nothing() {
        let mut sources = Sources::default();
        sources.heard(whole("b1", 1, 0, 1, vec![idle("a")]), 0);
        sources.heard(whole("b2", 1, 0, 1, vec![idle("b")]), 10);
        sources.tick(SILENT_AFTER_MS);
        assert_eq!(names(&sources), ["a", "b"]);
        sources.tick(SILENT_AFTER_MS + 1);
        assert_eq!(names(&sources), ["b"]);
        assert_eq!(sources.any_bridge(), Some(&peer("b2")));
        sources.heard(SourcesReport::Gone { by: peer("b2") }, SILENT_AFTER_MS + 2);
        assert_eq!((names(&sources).len(), sources.any_bridge()), (0, None));
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let mut sources = Sources::default();
        let many: Vec<Source> =
            (0..=SOURCES_PER_BRIDGE_MAX).map(|number| idle(&number.to_string())).collect();
        sources.heard(whole("b0", 1, 0, 1, many), 0);
        assert_eq!(sources.list(None).len(), SOURCES_PER_BRIDGE_MAX);
        for number in 1..BRIDGES_MAX {
            sources.heard(one(&format!("b{number}"), idle("new")), 0);
        }
        sources.heard(one("late", idle("late")), 0);
        assert!(sources.find(&idle("new").id).is_some() && sources.find(&idle("late").id).is_none());
        sources.heard(whole("b0", 2, 0, PARTS_MAX + 1, vec![]), 0);
        sources.heard(whole("b0", 2, 1, 1, vec![]), 0);
        sources.heard(whole("b0", 2, 0, 0, vec![]), 0);
        assert_eq!(sources.list(None).len(), SOURCES_PER_BRIDGE_MAX + 1, "these make no round");
    }

    proptest! {
        #[test]
        fn a_list_has_what_can_be_found(
            words in prop::collection::vec((0_u8..3, 0_u64..3, 0_u32..3, 0_u32..3, 0_u8..4, any::<bool>(), 0_u64..9_000), 0..40),
            after in 0_u8..4,
        ) {
            let mut sources = Sources::default();
            let mut now = 0;
            for (by, round, part, parts, device, has, passed) in words {
                now += passed;
                let by = format!("b{by}");
                let told = source(&device.to_string(), SourceState::Live, has.then_some(by.as_str()));
                sources.heard(match parts {
                    0 if part == 0 => SourcesReport::Gone { by: peer(&by) },
                    0 => one(&by, told),
                    _ => whole(&by, round, part, parts, vec![told]),
                }, now);
            }
            let after = idle(&after.to_string()).id;
            for (id, source) in sources.list(None) {
                prop_assert_eq!(sources.find(id).map(|(_, found)| found), Some(source));
                prop_assert_eq!(sources.list(Some(&after)).contains_key(id), *id > after);
            }
        }
    }
}
