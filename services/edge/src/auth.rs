//! Who may publish and receive: a key against the key of the publication, and on the channels of sources against the keys that
//! the cluster makes for them.

use relay_proto::source::{SourceKeys, is_source};
use relay_proto::websocket::Close;
use relay_proto::{ChannelName, KeyHash, StreamKey};

/// Which receivers and probes a publication lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReceivePolicy {
    /// Those that present the publisher's key.
    #[default]
    PublisherKey,
    /// Everyone who knows the channel's name, whatever the key in the URL.
    Open,
}

impl ReceivePolicy {
    pub(crate) fn admits(self, presented: &KeyHash, published: &KeyHash) -> bool {
        match self {
            Self::PublisherKey => presented == published,
            Self::Open => true,
        }
    }
}

/// Whether this key may publish: on the channel of a source only the one that the cluster has made for it.
///
/// # Errors
/// It may not. Without a secret nobody may, since everybody could make the keys.
pub(crate) fn publishing(secret: &[u8], channel: &ChannelName, key: &StreamKey) -> Result<(), Close> {
    if !is_source(channel) {
        return Ok(());
    }
    let keys = SourceKeys::of(secret, channel).ok_or(Close::WrongKey)?;
    if same(secret, channel, key, &keys.publish) { Ok(()) } else { Err(Close::WrongKey) }
}

/// The key that a publication must have for this one to receive it: itself, but for the channel of a source, which has a key
/// to watch.
///
/// # Errors
/// It opens no publication of that source. Told at once, since whoever waits has a camera started.
pub(crate) fn receiving(
    policy: ReceivePolicy,
    secret: &[u8],
    channel: &ChannelName,
    key: &StreamKey,
) -> Result<KeyHash, Close> {
    if policy == ReceivePolicy::Open || !is_source(channel) {
        return Ok(KeyHash::of(secret, channel, key));
    }
    let keys = SourceKeys::of(secret, channel).ok_or(Close::WrongKey)?;
    if same(secret, channel, key, &keys.watch) || same(secret, channel, key, &keys.publish) {
        Ok(KeyHash::of(secret, channel, &keys.publish))
    } else {
        Err(Close::WrongKey)
    }
}

/// Whether [`receiving`] has told already all that there is to know of a key, so that no publication needs to show it right.
pub(crate) fn is_known(policy: ReceivePolicy, channel: &ChannelName) -> bool {
    policy == ReceivePolicy::Open || is_source(channel)
}

/// Compares hashes, which takes the same time wherever keys differ.
fn same(secret: &[u8], channel: &ChannelName, one: &StreamKey, other: &StreamKey) -> bool {
    KeyHash::of(secret, channel, one) == KeyHash::of(secret, channel, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"secret";

    #[test]
    fn a_source_is_published_by_one_key_and_received_by_two() {
        let channel: ChannelName = "source-cam".parse().unwrap();
        let SourceKeys { publish, watch } = SourceKeys::of(SECRET, &channel).unwrap();
        let other: StreamKey = "other".parse().unwrap();
        let published = KeyHash::of(SECRET, &channel, &publish);
        let receives = |key| receiving(ReceivePolicy::PublisherKey, SECRET, &channel, key);
        assert_eq!(publishing(SECRET, &channel, &publish), Ok(()));
        for key in [&watch, &other] {
            assert_eq!(publishing(SECRET, &channel, key), Err(Close::WrongKey));
        }
        for key in [&watch, &publish] {
            assert_eq!(receives(key), Ok(published));
        }
        assert_eq!(receives(&other), Err(Close::WrongKey));
        assert!(receiving(ReceivePolicy::Open, SECRET, &channel, &other).is_ok());
    }

    #[test]
    fn without_a_secret_nobody_has_the_channels_of_sources() {
        let channel: ChannelName = "source-cam".parse().unwrap();
        let key: StreamKey = "key".parse().unwrap();
        assert_eq!(publishing(&[], &channel, &key), Err(Close::WrongKey));
        assert_eq!(receiving(ReceivePolicy::PublisherKey, &[], &channel, &key), Err(Close::WrongKey));
    }

    #[test]
    fn other_channels_are_anybodys() {
        let channel: ChannelName = "sources".parse().unwrap();
        let key: StreamKey = "key".parse().unwrap();
        for secret in [SECRET, &[]] {
            assert_eq!(publishing(secret, &channel, &key), Ok(()));
            let own = KeyHash::of(secret, &channel, &key);
            assert_eq!(receiving(ReceivePolicy::PublisherKey, secret, &channel, &key), Ok(own));
        }
    }
}
