//! Which hub's agents, and what opens their messages. Nothing here prints a key.

use std::fmt;
use std::str::FromStr;

use relay_proto::source::Part;

/// A password of a hub or an agent. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

/// Why a text is no [`Secret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is empty")]
pub struct SecretError;

impl Secret {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        if text.is_empty() { Err(SecretError) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What there is to know before agents can be spoken to. Prints without the hub's key: whoever has it, and a broker that
/// lets him, commands all of its agents.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The hub that the agents belong to.
    pub hub_key: Part,
    /// Opens what agents hide, which they do by default.
    pub hub_private_key: Option<Secret>,
    /// Opens what agents encrypt from end to end, where they are told to.
    pub symmetric_key: Option<Secret>,
    /// Keys of agents that are there from the beginning. Others appear when they are heard.
    pub cameras: Vec<Part>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("hub_private_key", &self.hub_private_key)
            .field("symmetric_key", &self.symmetric_key)
            .field("cameras", &self.cameras)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_print_no_key() {
        let settings = Settings {
            hub_key: "hunter1".parse().unwrap(),
            hub_private_key: Some("hunter2".parse().unwrap()),
            symmetric_key: Some("hunter3".parse().unwrap()),
            cameras: vec!["cam1".parse().unwrap()],
        };
        let printed = format!("{settings:?}");
        assert!(printed.contains("cam1") && !printed.contains("hunter"), "{printed}");
        assert_eq!("".parse::<Secret>(), Err(SecretError));
    }
}
