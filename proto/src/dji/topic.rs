//! Topics.

use std::fmt;
use std::str::FromStr;

use crate::source::Part;

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// From a gateway: what belongs to it.
    Status,
    /// The answer.
    StatusReply,
    /// From a device, all the time.
    Osd,
    /// From a device, when it changes.
    State,
    /// To a gateway.
    Services,
    /// The answer.
    ServicesReply,
    /// From a gateway.
    Events,
    /// The answer.
    EventsReply,
    /// From a gateway.
    Requests,
    /// The answer.
    RequestsReply,
    /// To a controller.
    DrcDown,
    /// From a controller.
    DrcUp,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Status,
        Self::StatusReply,
        Self::Osd,
        Self::State,
        Self::Services,
        Self::ServicesReply,
        Self::Events,
        Self::EventsReply,
        Self::Requests,
        Self::RequestsReply,
        Self::DrcDown,
        Self::DrcUp,
    ];

    /// What stands before the serial number and after it.
    const fn around(self) -> (&'static str, &'static str) {
        match self {
            Self::Status => ("sys/product/", "/status"),
            Self::StatusReply => ("sys/product/", "/status_reply"),
            Self::Osd => ("thing/product/", "/osd"),
            Self::State => ("thing/product/", "/state"),
            Self::Services => ("thing/product/", "/services"),
            Self::ServicesReply => ("thing/product/", "/services_reply"),
            Self::Events => ("thing/product/", "/events"),
            Self::EventsReply => ("thing/product/", "/events_reply"),
            Self::Requests => ("thing/product/", "/requests"),
            Self::RequestsReply => ("thing/product/", "/requests_reply"),
            Self::DrcDown => ("thing/product/", "/drc/down"),
            Self::DrcUp => ("thing/product/", "/drc/up"),
        }
    }

    /// What to subscribe to, to hear it of every device.
    pub fn filter(self) -> String {
        let (before, after) = self.around();
        format!("{before}+{after}")
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Serial number of a gateway or, of [`Channel::Osd`] and [`Channel::State`], of any device.
    pub sn: Part,
    /// What it is for.
    pub channel: Channel,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.channel.around();
        write!(f, "{before}{}{after}", self.sn)
    }
}

/// Why a text is no topic of DJI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no topic of a device of DJI")]
pub struct TopicError;

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Channel::ALL
            .into_iter()
            .find_map(|channel| {
                let (before, after) = channel.around();
                let sn = text.strip_prefix(before)?.strip_suffix(after)?.parse().ok()?;
                Some(Self { sn, channel })
            })
            .ok_or(TopicError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_parse_as_they_print() {
        for channel in Channel::ALL {
            let topic = Topic { sn: "4BKBJ4R1010TGD".parse().unwrap(), channel };
            assert_eq!(topic.to_string().parse::<Topic>(), Ok(topic.clone()));
            assert_eq!(topic.to_string().replace("4BKBJ4R1010TGD", "+"), channel.filter());
        }
        for text in ["", "sys/product//status", "thing/product/a/b/osd", "thing/product/a/status", "osd"] {
            assert_eq!(text.parse::<Topic>(), Err(TopicError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(sys|thing)/product/\\PC{0,80}") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
