//! Who may receive: a key against the key of the publication.

use relay_proto::KeyHash;

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
