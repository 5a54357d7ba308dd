//! The names of things: newtypes that parse, print and never mix.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// Longest channel name and longest key, in characters: the protocol's bound.
pub const NAME_CHARS_MAX: usize = 128;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The text is longer than [`NAME_CHARS_MAX`].
    #[error("is longer than {NAME_CHARS_MAX} characters")]
    TooLong,
    /// The text has a character other than `A-Z a-z 0-9 - _`.
    #[error("has a character other than letters, digits, '-' and '_'")]
    BadCharacter,
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        Err(NameError::Empty)
    } else if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        Err(NameError::BadCharacter)
    } else if text.len() > NAME_CHARS_MAX {
        Err(NameError::TooLong)
    } else {
        Ok(())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A named live stream.
    ChannelName
}

name! {
    /// One relay process, for as long as its configuration calls it so.
    NodeId
}

/// The secret part of a stream's URL.
///
/// It prints as `***`, compares in constant time, and has no way out but [`StreamKey::expose`].
#[derive(Clone)]
pub struct StreamKey(Box<str>);

impl StreamKey {
    /// The secret itself, for the one who has to put it on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_name(text)?;
        Ok(Self(text.into()))
    }
}

impl PartialEq for StreamKey {
    /// Takes as long for a near miss as for a far one; only the length can be told from the time.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for StreamKey {}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

macro_rules! drawn {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Prints as 16 hexadecimal digits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u64);

        impl $name {
            /// The one with this number. The caller draws it at random.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }
        }

        impl FromStr for $name {
            type Err = NumberError;

            fn from_str(text: &str) -> Result<Self, NumberError> {
                let is_number = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                is_number.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(NumberError)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NumberError;

            fn try_from(text: String) -> Result<Self, NumberError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(number: $name) -> Self {
                number.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

/// Why a text is no number that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a number of 16 hexadecimal digits")]
pub struct NumberError;

drawn! {
    /// One accepted connection; exists before the connection is authorized.
    SessionId
}

drawn! {
    /// One run of a node, from its start to its end: tells a node from another that has its name or its address.
    Incarnation
}

/// The number of a publication of a channel: grows with every new publisher, never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// Before the first publication.
    pub const NONE: Self = Self(0);

    /// The epoch with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The epoch of the next publisher.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_1_to_128_characters() {
        assert_eq!("".parse::<ChannelName>(), Err(NameError::Empty));
        assert!("a".parse::<ChannelName>().is_ok());
        assert!("a".repeat(128).parse::<ChannelName>().is_ok());
        assert_eq!("a".repeat(129).parse::<ChannelName>(), Err(NameError::TooLong));
    }

    #[test]
    fn a_number_that_was_drawn_prints_as_it_parses() {
        let session = SessionId::new(0xAB);
        assert_eq!(session.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(session));
        for text in ["", "ab", "00000000000000AB", "+0000000000000ab", "000000000000000ab"] {
            assert_eq!(text.parse::<SessionId>(), Err(NumberError), "{text}");
        }
    }

    #[test]
    fn a_key_never_prints() {
        let key: StreamKey = "hunter2".parse().unwrap();
        assert_eq!(format!("{key} {key:?}"), "*** ***");
    }

    proptest! {
        #[test]
        fn a_name_prints_as_it_was_parsed(text in "[A-Za-z0-9_-]{1,128}") {
            prop_assert_eq!(text.parse::<ChannelName>().unwrap().to_string(), text.clone());
            let key: StreamKey = text.parse().unwrap();
            prop_assert_eq!(key.expose(), text.as_str());
        }

        #[test]
        fn other_characters_are_refused(text in "\\PC*[^A-Za-z0-9_-]\\PC*") {
            prop_assert_eq!(text.parse::<ChannelName>(), Err(NameError::BadCharacter));
        }

        #[test]
        fn keys_are_equal_when_their_texts_are(a in "[a-c]{1,3}", b in "[a-c]{1,3}") {
            let equal = a.parse::<StreamKey>().unwrap() == b.parse::<StreamKey>().unwrap();
            prop_assert_eq!(equal, a == b);
        }
    }
}
