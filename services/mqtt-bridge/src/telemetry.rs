//! Numbers beside a picture: which topics belong to which channel, and the last of each.

use std::collections::{HashMap, VecDeque};
use std::str::FromStr;

use bytes::Bytes;
use relay_proto::ChannelName;
use relay_proto::backbone::to_json;
use relay_proto::source::SourceId;
use relay_proto::telemetry::{TELEMETRY_BYTES_MAX, Telemetry as Message};

/// The level of a topic that names the channel.
const CHANNEL_LEVEL: &str = "{channel}";

/// Topics of which the last value is kept: those of 1,000 publishers with four each.
const TOPICS_MAX: usize = 4096;

/// Topics of one channel: what a page can show beside a picture.
const TOPICS_PER_CHANNEL_MAX: usize = 16;

/// Which topics belong to which channel: `TOPIC=CHANNEL`, or a topic with `{channel}` as one of its levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    levels: Vec<Level>,
    channel: Option<ChannelName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Exactly(String),
    /// `+`
    Any,
    /// `#`
    AllThatFollow,
    Channel,
}

/// Why a text is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Neither says which channel, or both do.
    #[error("is neither TOPIC=CHANNEL nor a topic with {{channel}} as one of its levels")]
    Channel,
    /// Not a topic filter.
    #[error(
        "has a topic that is empty, or with + or # as a part of a level, or # before the last (MQTT 3.1.1, 4.7)"
    )]
    Topic,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (topic, channel) = match text.rsplit_once('=') {
            Some((topic, channel)) => (topic, Some(channel.parse().map_err(|_| RuleError::Channel)?)),
            None => (text, None),
        };
        let levels: Vec<_> = topic
            .split('/')
            .map(|level| match level {
                CHANNEL_LEVEL => Ok(Level::Channel),
                "+" => Ok(Level::Any),
                "#" => Ok(Level::AllThatFollow),
                level if level.contains(['+', '#', '\0']) => Err(RuleError::Topic),
                level => Ok(Level::Exactly(level.to_owned())),
            })
            .collect::<Result<_, _>>()?;
        let ends_before = levels.iter().rev().skip(1).any(|level| *level == Level::AllThatFollow);
        if topic.is_empty() || ends_before {
            return Err(RuleError::Topic);
        }
        let named = levels.iter().filter(|level| **level == Level::Channel).count();
        if named + usize::from(channel.is_some()) != 1 {
            return Err(RuleError::Channel);
        }
        Ok(Self { levels, channel })
    }
}

impl Rule {
    /// What to subscribe to.
    fn filter(&self) -> String {
        let levels: Vec<_> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Exactly(text) => text.as_str(),
                Level::Any | Level::Channel => "+",
                Level::AllThatFollow => "#",
            })
            .collect();
        levels.join("/")
    }

    /// The channel that the topic belongs to by this rule.
    fn channel(&self, topic: &str) -> Option<ChannelName> {
        let mut channel = self.channel.clone();
        let mut levels = self.levels.iter();
        let mut rest = topic.split('/');
        loop {
            match (levels.next(), rest.next()) {
                (None, None) | (Some(Level::AllThatFollow), _) => return channel,
                (Some(Level::Any), Some(_)) => {}
                (Some(Level::Channel), Some(level)) => channel = Some(level.parse().ok()?),
                (Some(Level::Exactly(wanted)), Some(level)) if wanted == level => {}
                _ => return None,
            }
        }
    }
}

/// The rules, and what was last published on each topic that belongs to a channel.
#[derive(Debug)]
pub(crate) struct Telemetry {
    rules: Vec<Rule>,
    last: HashMap<ChannelName, Vec<(String, Bytes)>>,
    /// Of the topics in `last`, the ones that came first.
    oldest: VecDeque<(ChannelName, String)>,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Telemetry of this channel, ready to be published to nodes.
    Value(ChannelName, Bytes),
    /// It belongs to a channel, and is no JSON, or too long.
    Malformed,
    /// It belongs to no channel.
    NotTelemetry,
}

impl Telemetry {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { rules, last: HashMap::new(), oldest: VecDeque::new() }
    }

    /// What to subscribe to.
    pub(crate) fn filters(&self) -> Vec<String> {
        self.rules.iter().map(Rule::filter).collect()
    }

    /// A message came. The first rule that fits counts.
    pub(crate) fn heard(&mut self, topic: &str, payload: &[u8], unix_ms: u64) -> Heard {
        match self.rules.iter().find_map(|rule| rule.channel(topic)) {
            Some(channel) => self.value(channel, topic, payload, unix_ms),
            None => Heard::NotTelemetry,
        }
    }

    /// A device told numbers of its own accord.
    pub(crate) fn of_source(&mut self, source: &SourceId, topic: &str, json: &[u8], unix_ms: u64) -> Heard {
        self.value(source.channel(), topic, json, unix_ms)
    }

    /// The last of each topic of a channel.
    pub(crate) fn asked(&self, channel: &ChannelName) -> Vec<Bytes> {
        self.last.get(channel).into_iter().flatten().map(|(_, message)| message.clone()).collect()
    }

    fn value(&mut self, channel: ChannelName, topic: &str, json: &[u8], unix_ms: u64) -> Heard {
        let Ok(value) = serde_json::from_slice(json) else { return Heard::Malformed };
        let message = Message { topic: topic.to_owned(), at_ms: unix_ms, value };
        let message = Bytes::from(to_json(&message));
        if message.len() > TELEMETRY_BYTES_MAX {
            return Heard::Malformed;
        }
        self.keep(&channel, topic, message.clone());
        Heard::Value(channel, message)
    }

    fn keep(&mut self, channel: &ChannelName, topic: &str, message: Bytes) {
        let topics = self.last.entry(channel.clone()).or_default();
        if let Some((_, last)) = topics.iter_mut().find(|(known, _)| known == topic) {
            *last = message;
            return;
        }
        if topics.len() == TOPICS_PER_CHANNEL_MAX {
            // Told to whoever looks now, and not kept for who comes later.
            return;
        }
        topics.push((topic.to_owned(), message));
        self.oldest.push_back((channel.clone(), topic.to_owned()));
        if self.oldest.len() > TOPICS_MAX
            && let Some((channel, topic)) = self.oldest.pop_front()
            && let Some(topics) = self.last.get_mut(&channel)
        {
            topics.retain(|(known, _)| *known != topic);
            if topics.is_empty() {
                self.last.remove(&channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn telemetry(rules: &[&str]) -> Telemetry {
        Telemetry::new(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    fn channel_of(rules: &[&str], topic: &str) -> Option<String> {
        match telemetry(rules).heard(topic, b"1", 0) {
            Heard::Value(channel, _) => Some(channel.to_string()),
            Heard::NotTelemetry => None,
            Heard::Malformed => panic!("{topic}"),
        }
    }

    #[test]
    fn a_topic_belongs_to_the_channel_that_a_rule_says() {
        for (rule, topic, channel) in [
            ("stats/{channel}", "stats/cam1", Some("cam1")),
            ("stats/{channel}", "stats/cam1/x", None),
            ("stats/{channel}", "stats", None),
            ("stats/{channel}", "stats/no channel", None),
            ("stats/{channel}/#", "stats/cam1/x/y", Some("cam1")),
            ("stats/{channel}/#", "stats/cam1", Some("cam1")),
            ("+/{channel}", "a/cam1", Some("cam1")),
            ("a/b=cam1", "a/b", Some("cam1")),
            ("a/b=cam1", "a/c", None),
            ("a/+=cam1", "a/c", Some("cam1")),
            ("a=b/#=cam1", "a=b/c/d", Some("cam1")),
            ("#=cam1", "a", Some("cam1")),
        ] {
            assert_eq!(channel_of(&[rule], topic).as_deref(), channel, "{rule} {topic}");
        }
        assert_eq!(channel_of(&["a=one", "+=two"], "a").as_deref(), Some("one"));
        assert_eq!(telemetry(&["a/{channel}/#", "a/b=c"]).filters(), ["a/+/#", "a/b"]);
    }

    #[test]
    fn what_is_no_rule_is_told() {
        for text in ["", "a", "a/b", "a=", "a=no channel", "{channel}=cam1", "{channel}/{channel}"] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
        for text in ["=cam1", "a+=cam1", "a/b#=cam1", "#/a=cam1", "a/#/{channel}"] {
            assert_eq!(text.parse::<Rule>(), Err(RuleError::Topic), "{text}");
        }
    }

    #[test]
    fn the_last_of_each_topic_is_told_again_to_who_asks() {
        let mut telemetry = telemetry(&["stats/{channel}/#"]);
        let Heard::Value(channel, first) = telemetry.heard("stats/cam1/a", br#"{"fps": 25}"#, 7) else {
            panic!("no value")
        };
        assert_eq!(first, r#"{"topic":"stats/cam1/a","at_ms":7,"value":{"fps":25}}"#);
        assert_eq!(telemetry.asked(&channel), [first]);
        let Heard::Value(_, second) = telemetry.heard("stats/cam1/a", b"2", 8) else { panic!("no value") };
        let Heard::Value(_, other) = telemetry.heard("stats/cam1/b", b"3", 8) else { panic!("no value") };
        assert_eq!(telemetry.asked(&channel), [second, other]);
        assert!(telemetry.asked(&"cam2".parse().unwrap()).is_empty());
        assert_eq!(telemetry.heard("stats/cam1/a", b"{", 9), Heard::Malformed);
    }

    #[test]
    fn a_message_at_the_bound_is_taken_and_one_beyond_is_not() {
        let mut telemetry = telemetry(&["a=c"]);
        let around = r#"{"topic":"a","at_ms":0,"value":""}"#.len();
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - around));
        let heard = telemetry.heard("a", text(TELEMETRY_BYTES_MAX).as_bytes(), 0);
        assert!(matches!(heard, Heard::Value(_, message) if message.len() == TELEMETRY_BYTES_MAX));
        assert_eq!(telemetry.heard("a", text(TELEMETRY_BYTES_MAX + 1).as_bytes(), 0), Heard::Malformed);
    }

    #[test]
    fn so_many_topics_are_kept_and_no_more() {
        let mut telemetry = telemetry(&["{channel}/#"]);
        for topic in 0..=TOPICS_PER_CHANNEL_MAX {
            assert!(matches!(telemetry.heard(&format!("first/{topic}"), b"1", 0), Heard::Value(..)));
        }
        let first = "first".parse().unwrap();
        assert_eq!(telemetry.asked(&first).len(), TOPICS_PER_CHANNEL_MAX);
        for channel in 0..TOPICS_MAX - TOPICS_PER_CHANNEL_MAX {
            telemetry.heard(&format!("c{channel}/a"), b"1", 0);
        }
        assert_eq!(telemetry.asked(&first).len(), TOPICS_PER_CHANNEL_MAX);
        telemetry.heard("one-more/a", b"1", 0);
        assert_eq!(telemetry.asked(&first).len(), TOPICS_PER_CHANNEL_MAX - 1);
    }

    proptest! {
        #[test]
        fn nothing_panics(rule in "[a-c/+#={}channel]{0,20}", topic in "[a-c/]{0,12}", payload in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(rule) = rule.parse::<Rule>() {
                let mut telemetry = Telemetry::new(vec![rule]);
                let _ = telemetry.heard(&topic, &payload, 0);
            }
        }
    }
}
