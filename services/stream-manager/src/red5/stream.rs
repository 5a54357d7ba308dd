//! How these clients call a stream, and which channel that is.

use relay_proto::ChannelName;

use super::answer::Refusal;

/// What stands between the parts of a name that has several: a channel's name has no slash.
const JOINT: &str = "-";

/// A stream, as a client calls it.
///
/// The first part of its scope is the application, which there is none of here: it is dropped, and what is left is joined. So
/// `live/room/cam` is the channel `room-cam`, and so is `live/room-cam`: whoever uses both keeps them apart by other names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Without a slash before it.
    pub(super) scope: String,
    pub(super) name: String,
    pub(super) channel: ChannelName,
}

impl Stream {
    /// The stream that these parts of a path call.
    pub(super) fn called(parts: &[&str]) -> Result<Self, Refusal> {
        let (Some((name, scope)), Some((_, parts))) = (parts.split_last(), parts.split_first()) else {
            return Err(Refusal::bad("a stream has a scope and a name"));
        };
        if scope.is_empty() {
            return Err(Refusal::bad("a stream has a scope and a name"));
        }
        // The application has no part in the channel's name, and is answered: it is to be as harmless.
        let all = scope[0].parse::<ChannelName>().and(parts.join(JOINT).parse());
        let channel =
            all.map_err(|error| Refusal::bad(format!("the scope or the name of the stream {error}")))?;
        Ok(Self { scope: scope.join("/"), name: (*name).to_owned(), channel })
    }

    /// As a channel is listed, of which nobody has said how it is called.
    pub(super) fn of(app: &str, channel: ChannelName) -> Self {
        Self { scope: app.to_owned(), name: channel.as_str().to_owned(), channel }
    }

    /// As 2.0 calls it.
    pub(super) fn guid(&self) -> String {
        format!("{}/{}", self.scope, self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn called(guid: &str) -> Option<(String, String, String)> {
        let parts: Vec<&str> = guid.split('/').collect();
        let stream = Stream::called(&parts).ok()?;
        assert_eq!(stream.guid(), guid);
        Some((stream.scope, stream.name, stream.channel.to_string()))
    }

    #[test]
    fn the_application_is_dropped_and_the_rest_is_the_channel() {
        let stream = |scope: &str, name: &str, channel: &str| {
            Some((scope.to_owned(), name.to_owned(), channel.to_owned()))
        };
        assert_eq!(called("live/cam"), stream("live", "cam", "cam"));
        assert_eq!(called("live/room/cam"), stream("live/room", "cam", "room-cam"));
        assert_eq!(called("live/a/b/c"), stream("live/a/b", "c", "a-b-c"));
        // Which of them was meant, nobody can tell from the channel.
        assert_eq!(called("live/room-cam"), stream("live", "room-cam", "room-cam"));
        assert_eq!(called("other/cam"), stream("other", "cam", "cam"));
    }

    #[test]
    fn what_is_no_channel_is_refused() {
        for guid in ["", "cam", "live/", "live/a b", "live/\u{e9}", "live/..", "li ve/cam", "live/a.flv"] {
            assert_eq!(called(guid), None, "{guid}");
        }
        let longest = format!("live/{}", "x".repeat(128));
        assert!(called(&longest).is_some());
        assert_eq!(called(&format!("{longest}x")), None);
        // The joints count too.
        assert!(called(&format!("live/{}/{}", "x".repeat(63), "y".repeat(64))).is_some());
        assert_eq!(called(&format!("live/{}/{}", "x".repeat(64), "y".repeat(64))), None);
    }

    proptest! {
        #[test]
        fn a_channel_is_called_as_it_is_listed(name in "[A-Za-z0-9_-]{1,128}") {
            let listed = Stream::of("live", name.parse().unwrap());
            prop_assert_eq!(Stream::called(&["live", &name]).unwrap(), listed);
        }
    }
}
