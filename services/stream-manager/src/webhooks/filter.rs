//! Which events an endpoint wants.

use relay_proto::ChannelName;
use relay_proto::event::{Event, EventKind};

/// Which events an endpoint wants: those whose type is one of these, and whose channel, where they have one, is one of those.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    events: Vec<Pattern>,
    channels: Vec<Pattern>,
}

/// A text in which `*` stands for any other, the empty one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(String);

impl Filter {
    /// Everything.
    pub(super) fn new() -> Self {
        Self { events: vec![Pattern("*".to_owned())], channels: vec![Pattern("*".to_owned())] }
    }

    pub(super) fn of_events(&mut self, patterns: Vec<Pattern>) {
        self.events = patterns;
    }

    pub(super) fn of_channels(&mut self, patterns: Vec<Pattern>) {
        self.channels = patterns;
    }

    pub(super) fn takes(&self, event: &Event) -> bool {
        let channel = event.channel.as_ref();
        self.events.iter().any(|pattern| pattern.matches(event.kind.name()))
            && channel
                .is_none_or(|channel| self.channels.iter().any(|pattern| pattern.matches(channel.as_str())))
    }
}

impl Pattern {
    /// One that some type of event matches.
    pub(super) fn of_events(text: &str) -> Option<Self> {
        let pattern = Self(text.to_owned());
        EventKind::ALL.iter().any(|kind| pattern.matches(kind.name())).then_some(pattern)
    }

    /// One that some channel could match.
    pub(super) fn of_channels(text: &str) -> Option<Self> {
        // Whatever a star stands for in the name of a channel, this may stand there.
        text.replace('*', "a").parse::<ChannelName>().is_ok().then(|| Self(text.to_owned()))
    }

    /// Takes as many steps as the lengths multiplied at most, whatever the pattern.
    fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut next) = (0, 0);
        // Behind the last star, and where in the text what it stands for ends so far.
        let mut star = None;
        while next < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, next));
                }
                Some(byte) if *byte == text[next] => {
                    at += 1;
                    next += 1;
                }
                _ => {
                    let Some((behind, end)) = star else { return false };
                    (at, next) = (behind, end + 1);
                    star = Some((behind, end + 1));
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use relay_proto::event::EventId;

    use super::*;

    fn event(kind: EventKind, channel: Option<&str>) -> Event {
        Event {
            id: EventId::FIRST,
            kind,
            at: String::new(),
            sequence: 1,
            channel: channel.map(|name| name.parse().unwrap()),
            epoch: None,
            node: None,
            reason: None,
            role: None,
        }
    }

    #[test]
    fn channels_are_chosen_by_their_names_and_nodes_by_the_type_alone() {
        let mut filter = Filter::new();
        assert!(filter.takes(&event(EventKind::NodeLost, None)));
        filter.of_events(vec![
            Pattern::of_events("channel.*").unwrap(),
            Pattern::of_events("node.lost").unwrap(),
        ]);
        filter.of_channels(vec![Pattern::of_channels("cam-*").unwrap()]);
        assert!(filter.takes(&event(EventKind::ChannelStarted, Some("cam-1"))));
        assert!(!filter.takes(&event(EventKind::ChannelStarted, Some("mic-1"))));
        assert!(!filter.takes(&event(EventKind::FirstReceiver, Some("cam-1"))));
        assert!(filter.takes(&event(EventKind::NodeLost, None)));
        assert!(!filter.takes(&event(EventKind::NodeJoined, None)));
    }

    #[test]
    fn patterns_that_nothing_could_match_are_none() {
        assert!(Pattern::of_events("channel.start").is_none());
        assert!(Pattern::of_events("").is_none());
        assert!(Pattern::of_events("*.lost").is_some());
        assert!(Pattern::of_channels("").is_none());
        assert!(Pattern::of_channels("a b*").is_none());
        assert!(Pattern::of_channels("*").is_some());
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = Pattern(format!("{}b", "*a".repeat(64)));
        assert!(!pattern.matches(&"a".repeat(128)));
    }

    /// By definition: a star is nothing, or one byte more and the star again.
    fn reference(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => reference(rest, text),
            (Some((b'*', rest)), Some((_, less))) => reference(rest, text) || reference(pattern, less),
            (Some((byte, rest)), Some((first, less))) => byte == first && reference(rest, less),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_star_stands_for_any_text(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(Pattern(pattern.clone()).matches(&text), reference(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
