//! The URL of a stream. It holds a secret, so it never prints as it was written, not even when it is wrong.

use std::fmt;
use std::str::FromStr;

use relay_proto::websocket::Kind;
use relay_proto::{ChannelName, StreamKey};

/// The port of `ws://` where none is written (RFC 6455, section 3).
const DEFAULT_PORT: u16 = 80;

/// A URL as it was written: `ws://HOST:PORT/CHANNEL[/KEY[/KIND]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamUrl {
    authority: Authority,
    channel: ChannelName,
    key: Option<StreamKey>,
    kind: Option<Kind>,
}

/// Where a stream is, key included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    authority: Authority,
    channel: ChannelName,
    key: StreamKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// Why a text is no such URL. Says which part is wrong and never what stands there: the part may be the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("not a URL: write ws://HOST:PORT/CHANNEL/KEY")]
    NotAUrl,
    #[error("wss:// is not supported yet: write ws://, or put a TLS proxy (stunnel, ghostunnel) in front")]
    Tls,
    #[error("{0}:// is not a websocket: write ws://HOST:PORT/CHANNEL/KEY")]
    Scheme(&'static str),
    #[error("the URL has no host: write ws://HOST:PORT/CHANNEL/KEY")]
    Host,
    #[error("the port of the URL is not a number from 1 to 65535")]
    Port,
    #[error("user names and passwords in a URL are not used: write ws://HOST:PORT/CHANNEL/KEY")]
    User,
    #[error("the path of the URL is not /CHANNEL/KEY")]
    Path,
    #[error("the channel in the URL {0}")]
    Channel(relay_proto::ids::NameError),
    #[error("the key {0}")]
    Key(relay_proto::ids::NameError),
    #[error("the last part of the URL is not publish, receive, receive-clear-cache or probe")]
    Kind,
    #[error("the URL has a query: write options as flags, see --help")]
    Query,
    #[error("the key is given twice, in the URL and apart from it")]
    TwoKeys,
    #[error("there is no key: write ws://HOST:PORT/CHANNEL/KEY, or use --key-file or RELAYCAST_KEY")]
    NoKey,
}

impl StreamUrl {
    /// What the URL says should be done, where it says it.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The address, with the key from the URL or from elsewhere.
    pub(crate) fn with_key(self, elsewhere: Option<StreamKey>) -> Result<Address, AddressError> {
        let key = match (self.key, elsewhere) {
            (Some(_), Some(_)) => return Err(AddressError::TwoKeys),
            (None, None) => return Err(AddressError::NoKey),
            (Some(key), None) | (None, Some(key)) => key,
        };
        Ok(Address { authority: self.authority, channel: self.channel, key })
    }

    /// Whether the key is part of the URL.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

impl Address {
    /// An address from its parts.
    pub(crate) fn new(host: String, port: u16, channel: ChannelName, key: StreamKey) -> Self {
        Self { authority: Authority { host, port }, channel, key }
    }

    /// Host and port, for the resolver.
    pub(crate) fn host_port(&self) -> (&str, u16) {
        (&self.authority.host, self.authority.port)
    }

    pub(crate) fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The whole URL, secret included, for the handshake alone.
    pub(crate) fn expose(&self, kind: Kind, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("ws://{}/{}/{}/{kind}{mark}{query}", self.authority, self.channel, self.key.expose())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}/{}/***", self.authority, self.channel)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for StreamUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::NotAUrl)?;
        match scheme.to_ascii_lowercase().as_str() {
            "ws" => {}
            "wss" => return Err(AddressError::Tls),
            "http" => return Err(AddressError::Scheme("http")),
            "https" => return Err(AddressError::Scheme("https")),
            "rtmp" => return Err(AddressError::Scheme("rtmp")),
            _ => return Err(AddressError::NotAUrl),
        }
        if rest.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        let (authority, path) = rest.split_once('/').ok_or(AddressError::Path)?;
        let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
        let channel = segments.next().unwrap_or_default().parse().map_err(AddressError::Channel)?;
        let key = segments.next().map(str::parse).transpose().map_err(AddressError::Key)?;
        let kind = segments.next().map(kind_from).transpose()?;
        if segments.next().is_some() {
            return Err(AddressError::Path);
        }
        Ok(Self { authority: authority.parse()?, channel, key, kind })
    }
}

fn kind_from(text: &str) -> Result<Kind, AddressError> {
    Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or(AddressError::Kind)
}

impl FromStr for Authority {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.contains('@') {
            return Err(AddressError::User);
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(AddressError::Host)?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(AddressError::Host);
            }
            (host, rest)
        } else {
            let end = text.find(':').unwrap_or(text.len());
            text.split_at(end)
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(AddressError::Host);
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => DEFAULT_PORT,
            None => return Err(AddressError::Host),
            Some(digits) => match digits.parse() {
                Ok(port @ 1..) => port,
                _ => return Err(AddressError::Port),
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// `text` with the key of every stream URL in it hidden; for texts that others made of our arguments.
pub(crate) fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + "://".len());
        redacted.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "'\"`".contains(c)).unwrap_or(after.len());
        // A full stop or a colon at its end belongs to the sentence.
        let end = after[..end].trim_end_matches([':', ';', ',', '.', ')']).len();
        let (url, tail) = after.split_at(end);
        // Past the channel anything may be a key, wherever its author put it.
        match url.match_indices('/').nth(1) {
            Some((slash, _)) => {
                redacted.push_str(&url[..slash]);
                redacted.push_str("/***");
            }
            None => redacted.push_str(url),
        }
        rest = tail;
    }
    redacted.push_str(rest);
    redacted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Result<Address, AddressError> {
        text.parse::<StreamUrl>()?.with_key(None)
    }

    #[test]
    fn a_url_names_host_channel_and_key_and_perhaps_a_kind() {
        let url: StreamUrl = "ws://relay.example:8080/cam-1/S3cret/publish".parse().unwrap();
        assert_eq!(url.kind(), Some(Kind::Publish));
        let address = url.with_key(None).unwrap();
        assert_eq!(address.host_port(), ("relay.example", 8080));
        assert_eq!(address.channel().as_str(), "cam-1");
        assert_eq!(
            address.expose(Kind::Receive, "cache=live"),
            "ws://relay.example:8080/cam-1/S3cret/receive?cache=live"
        );
        assert_eq!(super::tests::address("ws://h/c/k").unwrap().host_port(), ("h", 80));
        assert_eq!(super::tests::address("ws://[::1]:9/c/k/").unwrap().host_port(), ("::1", 9));
        assert_eq!(super::tests::address("ws://[::1]:9/c/k").unwrap().to_string(), "ws://[::1]:9/c/***");
    }

    #[test]
    fn the_key_may_come_from_elsewhere_but_not_twice() {
        let key = || Some("k".parse().unwrap());
        let url = |text: &str| text.parse::<StreamUrl>().unwrap();
        assert!(url("ws://h/c").with_key(key()).is_ok());
        assert_eq!(url("ws://h/c").with_key(None), Err(AddressError::NoKey));
        assert_eq!(url("ws://h/c/k").with_key(key()), Err(AddressError::TwoKeys));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, error) in [
            ("", AddressError::NotAUrl),
            ("h:80/c/k", AddressError::NotAUrl),
            ("wss://h/c/k", AddressError::Tls),
            ("https://h/c/k", AddressError::Scheme("https")),
            ("ws://h", AddressError::Path),
            ("ws://h/", AddressError::Channel(relay_proto::ids::NameError::Empty)),
            ("ws:///c/k", AddressError::Host),
            ("ws://h:/c/k", AddressError::Port),
            ("ws://h:0/c/k", AddressError::Port),
            ("ws://h:65536/c/k", AddressError::Port),
            ("ws://[::1/c/k", AddressError::Host),
            ("ws://u:p@h/c/k", AddressError::User),
            ("ws://h/c/k/watch", AddressError::Kind),
            ("ws://h/c/k/receive/more", AddressError::Path),
            ("ws://h/c/k?cache=live", AddressError::Query),
            ("ws://h/c/a key", AddressError::Key(relay_proto::ids::NameError::BadCharacter)),
        ] {
            assert_eq!(address(text), Err(error), "{text}");
        }
    }

    #[test]
    fn texts_that_others_made_of_a_url_are_redacted() {
        assert_eq!(redact("bad 'ws://h:1/cam/hunter2' here"), "bad 'ws://h:1/cam/***' here");
        assert_eq!(redact("ws://h/cam/hunter2/publish and wss://h/x"), "ws://h/cam/*** and wss://h/x");
        assert_eq!(redact("ws://h/cam/hunter2: refused"), "ws://h/cam/***: refused");
        assert_eq!(redact("none at all"), "none at all");
    }

    proptest! {
        #[test]
        fn no_text_of_ours_holds_the_key(key in "[A-Z0-9]{8,20}", rest in "[/?#a-z ]{0,6}") {
            let text = format!("ws://host:80/cam/{key}{rest}");
            let printed = match text.parse::<StreamUrl>() {
                Ok(url) => {
                    let parsed = format!("{url:?}");
                    let address = url.with_key(None).unwrap();
                    format!("{parsed} {address:?} {address}")
                }
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!printed.contains(&key));
            prop_assert!(!redact(&text).contains(&key));
        }

        #[test]
        fn any_text_is_a_url_or_an_error(text in "\\PC*|ws://\\PC*") {
            let _ = (text.parse::<StreamUrl>(), redact(&text));
        }
    }
}
