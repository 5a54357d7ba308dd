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
