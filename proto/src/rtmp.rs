//! What an encoder that pushes by RTMP asks for. Normative text: `proto/RTMP.md`.

use crate::{ChannelName, StreamKey};

/// The application where nobody chose one; any other will do too.
pub const DEFAULT_APP: &str = "live";

/// What parts channel and key in the name of a stream; neither may have it.
pub const KEY_SEPARATOR: char = ':';

/// What an encoder that pushes by RTMP asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishTarget {
    /// The channel.
    pub channel: ChannelName,
    /// The secret.
    pub key: StreamKey,
}

impl PublishTarget {
    /// From the application and the name of the stream, wherever the encoder cut the path of its URL in two. `None` where a
    /// channel or a key is missing or does not follow the grammar.
    pub fn parse(app: &str, name: &str) -> Option<Self> {
        let (app, app_query) = app.split_once('?').unwrap_or((app, ""));
        let (name, name_query) = name.split_once('?').unwrap_or((name, ""));
        let in_query =
            |query: &'_ str| query.split('&').find_map(|pair| pair.strip_prefix("key=")).map(str::to_owned);
        let mut path = app.split('/').chain(name.split('/')).filter(|part| !part.is_empty());
        let last = path.next_back()?;
        let key = in_query(name_query).or_else(|| in_query(app_query));
        let (channel, key) = match (key, last.split_once(KEY_SEPARATOR)) {
            (Some(key), _) => (last, key),
            (None, Some((channel, key))) => (channel, key.to_owned()),
            (None, None) => {
                let channel = path.next_back()?;
                // The application is never a channel: who gives no key is not to publish under its own channel's name.
                path.next()?;
                (channel, last.to_owned())
            }
        };
        Some(Self { channel: channel.parse().ok()?, key: key.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(app: &str, name: &str) -> Option<(String, String)> {
        let target = PublishTarget::parse(app, name)?;
        Some((target.channel.as_str().to_owned(), target.key.expose().to_owned()))
    }

    #[test]
    fn a_key_is_found_in_each_of_its_places_wherever_the_path_is_cut() {
        let expected = Some(("cam".to_owned(), "s3cret".to_owned()));
        for (app, name) in [
            ("live", "cam?key=s3cret"),
            ("live", "cam?a=b&key=s3cret&c"),
            ("live?key=s3cret", "cam"),
            ("live", "cam/s3cret"),
            ("live/cam", "s3cret"),
            ("live/cam/", "/s3cret"),
            ("a/b", "cam/s3cret?x=y"),
            ("live", "cam:s3cret"),
            ("", "cam:s3cret"),
            ("live", "/cam:s3cret/"),
        ] {
            assert_eq!(parsed(app, name), expected, "{app} {name}");
        }
    }

    #[test]
    fn what_lacks_a_part_is_no_target() {
        for (app, name) in [
            ("", ""),
            ("live", ""),
            ("live", "cam"),
            ("live", "cam:"),
            ("live", ":key"),
            ("live", "cam?key="),
            ("live", "a b/c"),
        ] {
            assert_eq!(parsed(app, name), None, "{app} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_texts_are_a_target_or_none(app in "\\PC*", name in "\\PC*") {
            let _ = PublishTarget::parse(&app, &name);
        }
    }
}
