//! Every setting of a stream-manager, with its default and the reason for it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use relay_proto::NodeId;

/// Every setting of a stream-manager.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients and operators connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its name in logs, and on the backbone.
    pub name: NodeId,
    /// Where clients reach it, `http://…` or `https://…` without a path; `listen` where that is not set.
    pub public_url: Option<String>,
    /// What clients are told to connect to.
    pub addresses: Addresses,
    /// How often nodes tell of themselves. A node that has said nothing for three times as long is silent.
    pub registry_interval: Duration,
    /// How long a place is kept for a client that was sent to a node.
    pub reservation: Duration,
    /// How long a new node takes to get its whole share.
    pub warm_up: Duration,
    /// Up to where nodes are to be filled, 1 being full: what `desired_nodes` aims at.
    pub utilization_target: f64,
    /// Who may read.
    pub reads: Reads,
    /// Tokens that may read.
    pub reader_tokens: Vec<Token>,
    /// Tokens that may read, end sessions and drain nodes.
    pub operator_tokens: Vec<Token>,
    /// The application that streams belong to in the dialects of Red5.
    pub red5_app: String,
    /// Connections at a time.
    pub connections_max: usize,
}

/// What clients are told to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addresses {
    /// The nodes.
    #[default]
    Nodes,
    /// The stream-manager, which relays to the nodes; nobody is told their addresses.
    Proxied,
}

/// Who may read what the API tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// Everybody.
    #[default]
    Public,
    /// Who has a token.
    Token,
}

/// A secret that opens the API. Prints as `***`.
#[derive(Clone)]
pub struct Token(String);

/// Fewer characters than this can be guessed: 128 bits in hexadecimal digits are 32, in base64 22.
pub const TOKEN_CHARS_MIN: usize = 16;

/// Why a text is no token. Has nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too short.
    #[error("a token has at least {TOKEN_CHARS_MIN} characters")]
    Short,
    /// Not what a header can carry (RFC 6750, section 2.1).
    #[error("a token has letters, digits and - . _ ~ + / = only")]
    Character,
}

impl std::str::FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !text.bytes().all(may_be) {
            return Err(TokenError::Character);
        }
        if text.len() < TOKEN_CHARS_MIN {
            return Err(TokenError::Short);
        }
        Ok(Self(text.to_owned()))
    }
}

impl Token {
    /// Whether this is the token, in a time that tells nothing but its length.
    pub fn is(&self, text: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), text.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            name: "manager".parse().expect("the default follows the grammar"),
            public_url: None,
            addresses: Addresses::default(),
            registry_interval: Duration::from_secs(2),
            // A browser that loads a page and connects takes a second or two; a phone on a bad line some more.
            reservation: Duration::from_secs(10),
            warm_up: Duration::from_secs(30),
            utilization_target: 0.7,
            reads: Reads::default(),
            reader_tokens: Vec::new(),
            operator_tokens: Vec::new(),
            red5_app: "live".to_owned(),
            connections_max: 16_384,
        }
    }
}

/// A setting that contradicts another, or can never work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct ConfigError {
    setting: &'static str,
    problem: &'static str,
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let is_url = |url: &String| {
            let authority = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            authority.is_some_and(|authority| {
                !authority.is_empty()
                    && authority.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\"".contains(&byte))
            })
        };
        let rules = [
            (
                self.public_url.as_ref().is_none_or(is_url),
                "public-url",
                "must be http://HOST[:PORT] or https://HOST[:PORT]",
            ),
            (!self.registry_interval.is_zero(), "registry-interval", "must not be 0"),
            (
                self.utilization_target > 0.0 && self.utilization_target <= 1.0,
                "utilization-target",
                "must be from 1 to 100",
            ),
            (self.connections_max > 0, "connections-max", "must not be 0"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, setting, problem)) => Err(ConfigError { setting, problem }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_together() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_public_url_is_an_origin() {
        let check = |url: &str| Config { public_url: Some(url.to_owned()), ..Config::default() }.check();
        for good in ["http://a", "https://a.example:8443", "http://[::1]:80"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "ws://a",
            "http://",
            "https://a/",
            "https://a/b",
            "https://u:p@a",
            "http://a b",
            "http://a?x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_tells_nothing_of_itself() {
        let text = "0123456789abcdef";
        let token: Token = text.parse().unwrap();
        assert_eq!(format!("{token:?}"), "***");
        assert!(token.is(text) && !token.is("0123456789abcdeg") && !token.is(""));
        assert_eq!("0123456789abcde".parse::<Token>().unwrap_err(), TokenError::Short);
        let error = "0123456789 abcdef".parse::<Token>().unwrap_err();
        assert!(!error.to_string().contains("012345"));
    }
}
