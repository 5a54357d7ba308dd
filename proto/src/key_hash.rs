//! What a cluster knows of a key: a keyed hash, from which the key cannot be told.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{ChannelName, StreamKey};

/// HMAC-SHA-256 (RFC 2104) of channel and key under the secret of the cluster. Equal keys of two channels differ.
///
/// Compares in constant time, prints as 64 hexadecimal digits.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; KEY_HASH_BYTES]);

const KEY_HASH_BYTES: usize = 32;

/// Why a text is no [`KeyHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a hash of 64 hexadecimal digits")]
pub struct KeyHashError;

impl KeyHash {
    /// The hash of a key.
    pub fn of(secret: &[u8], channel: &ChannelName, key: &StreamKey) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(channel.as_str().as_bytes());
        // In neither name.
        mac.update(b"/");
        mac.update(key.expose().as_bytes());
        Self(mac.finalize().into_bytes().into())
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

/// For tables; that a hash is in one is no secret.
impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * KEY_HASH_BYTES {
            return Err(KeyHashError);
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(KeyHashError),
        };
        let mut hash = [0; KEY_HASH_BYTES];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyHashError;

    fn try_from(text: String) -> Result<Self, KeyHashError> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf cam1/hunter2 | openssl dgst -sha256 -hmac secret`.
    const PINNED: &str = "4d69376f096b3e60d954ece8abbc2d7480e1e0faca593de1c764c8557fe29b75";

    fn hash(secret: &str, channel: &str, key: &str) -> KeyHash {
        KeyHash::of(secret.as_bytes(), &channel.parse().unwrap(), &key.parse().unwrap())
    }

    #[test]
    fn the_hash_is_pinned_and_prints_as_it_parses() {
        let hash = hash("secret", "cam1", "hunter2");
        assert_eq!(hash.to_string(), PINNED);
        assert_eq!(PINNED.parse(), Ok(hash));
    }

    #[test]
    fn secret_channel_and_key_all_count() {
        let one = hash("secret", "cam1", "hunter2");
        for other in
            [hash("secre", "cam1", "hunter2"), hash("secret", "cam2", "hunter2"), hash("secret", "cam1", "x")]
        {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn other_texts_are_no_hash() {
        for text in ["", "0", &PINNED[1..], &PINNED.to_uppercase(), &format!("{PINNED}0"), &"é".repeat(32)] {
            assert_eq!(text.parse::<KeyHash>(), Err(KeyHashError), "{text}");
        }
    }
}
