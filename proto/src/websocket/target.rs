//! What a client asks for: the path and query of its URL.

use std::fmt;
use std::str::FromStr;

use crate::ids::NameError;
use crate::{ChannelName, StreamKey};

/// What a session does, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sends chunks.
    Publish,
    /// Gets cached chunks at once and live chunks as they come.
    Receive,
    /// The same, and the cache is dropped after it was served from.
    ReceiveClearCache,
    /// Gets what tells the stream apart, in one message.
    Probe,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Receive, Self::ReceiveClearCache, Self::Probe];

    /// The last segment of the path; also the label in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Receive => "receive",
            Self::ReceiveClearCache => "receive-clear-cache",
            Self::Probe => "probe",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a receiver starts with: `?cache=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheChoice {
    /// Init and the newest cached GOP: a picture at once.
    #[default]
    Gop,
    /// The next join point that is published: the least latency.
    Live,
    /// Init at once, then the next join point.
    Init,
}

/// The form in which a receiver wants the stream: `?as=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Form {
    /// As it was published.
    #[default]
    Published,
    /// FLV, MPEG-TS and H.264/H.265 byte streams remuxed to fragmented MP4; any other container as published.
    Fmp4,
}

/// What the query string of a receiver's URL chooses. Parameters and values that are not known are passed over:
/// a query string never makes a session fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveOptions {
    /// `cache=gop|live|init`
    pub cache: CacheChoice,
    /// `as=fmp4`
    pub form: Form,
    /// `notices=1`: TEXT messages that tell what the bytes do not (see [`crate::notice`]).
    pub notices: bool,
}

impl ReceiveOptions {
    fn parse(query: &str) -> Self {
        let mut options = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("cache", "gop") => options.cache = CacheChoice::Gop,
                ("cache", "live") => options.cache = CacheChoice::Live,
                ("cache", "init") => options.cache = CacheChoice::Init,
                ("as", "fmp4") => options.form = Form::Fmp4,
                ("notices", value) => options.notices = value == "1",
                _ => {}
            }
        }
        options
    }
}

/// The path and query of a stream's URL: `/CHANNEL/KEY/KIND?QUERY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The channel.
    pub channel: ChannelName,
    /// The secret.
    pub key: StreamKey,
    /// What to do with the channel.
    pub kind: Kind,
    /// How to receive it.
    pub options: ReceiveOptions,
}

/// Why a path is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// It does not have three segments: another kind of URL.
    #[error("the path is not /CHANNEL/KEY/KIND")]
    Shape,
    /// The first segment.
    #[error("the channel {0}")]
    Channel(NameError),
    /// The second segment.
    #[error("the key {0}")]
    Key(NameError),
    /// The third segment.
    #[error("the kind is not publish, receive, receive-clear-cache or probe")]
    Kind,
}

impl FromStr for Target {
    type Err = ParseTargetError;

    /// Parses a request target in origin form. Never looks past the first `?` for channel, key or kind.
    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let mut segments = path.strip_prefix('/').ok_or(ParseTargetError::Shape)?.split('/');
        let (Some(channel), Some(key), Some(kind), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(ParseTargetError::Shape);
        };
        Ok(Self {
            channel: channel.parse().map_err(ParseTargetError::Channel)?,
            key: key.parse().map_err(ParseTargetError::Key)?,
            kind: Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or(ParseTargetError::Kind)?,
            options: ReceiveOptions::parse(query),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_four_kinds() {
        for kind in Kind::ALL {
            let target: Target = format!("/cam-1/S3cret_/{kind}").parse().unwrap();
            assert_eq!((target.channel.as_str(), target.key.expose()), ("cam-1", "S3cret_"));
            assert_eq!(target.kind, kind);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (path, error) in [
            ("", ParseTargetError::Shape),
            ("/", ParseTargetError::Shape),
            ("/a/b", ParseTargetError::Shape),
            ("/a/b/receive/", ParseTargetError::Shape),
            ("a/b/receive", ParseTargetError::Shape),
            ("//b/receive", ParseTargetError::Channel(NameError::Empty)),
            ("/a b/b/receive", ParseTargetError::Channel(NameError::BadCharacter)),
            ("/a/%41/receive", ParseTargetError::Key(NameError::BadCharacter)),
            ("/a/b/Receive", ParseTargetError::Kind),
            ("/a/b/", ParseTargetError::Kind),
        ] {
            assert_eq!(path.parse::<Target>(), Err(error), "{path}");
        }
        let long = "x".repeat(129);
        assert_eq!(
            format!("/{long}/b/receive").parse::<Target>(),
            Err(ParseTargetError::Channel(NameError::TooLong))
        );
        assert_eq!(
            format!("/a/{long}/receive").parse::<Target>(),
            Err(ParseTargetError::Key(NameError::TooLong))
        );
    }

    #[test]
    fn options_of_a_receiver() {
        let options = |query: &str| format!("/a/b/receive{query}").parse::<Target>().unwrap().options;
        assert_eq!(options("").cache, CacheChoice::Gop);
        assert_eq!(options("?cache=live").cache, CacheChoice::Live);
        assert_eq!(options("?cache=init&x").cache, CacheChoice::Init);
        assert_eq!(options("?cache=1700000000"), ReceiveOptions::default());
        assert_eq!(options("?as=fmp4&notices=1").form, Form::Fmp4);
        assert!(options("?as=fmp4&notices=1").notices);
    }

    proptest! {
        #[test]
        fn a_query_never_changes_channel_key_or_kind(query in "\\PC{0,60}") {
            let plain: Target = "/a/b/probe".parse().unwrap();
            let asked: Target = format!("/a/b/probe?{query}").parse().unwrap();
            prop_assert_eq!((asked.channel, asked.key, asked.kind), (plain.channel, plain.key, plain.kind));
        }

        #[test]
        fn any_text_is_a_target_or_an_error(text in "\\PC*") {
            let _ = text.parse::<Target>();
        }
    }
}
