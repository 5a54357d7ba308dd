//! Where a broker is and as whom to speak to it, out of one URL. Neither an error nor a printed address has the password, and
//! an error has nothing else of the URL either.

use std::fmt;
use std::str::FromStr;

/// Longest name in DNS.
const HOST_CHARS_MAX: usize = 253;

/// What brokers serve websockets under, where the URL has no path.
const WEBSOCKET_PATH: &str = "/mqtt";

/// A parsed URL; [`FromStr`] tells the forms.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) transport: Transport,
    /// Of an address of IP version 6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Option<Login>,
}

/// What carries the packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Tls,
    /// With the path, which begins with a slash.
    Websocket(String),
    TlsWebsocket(String),
}

/// As whom to speak.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    /// Empty where there is none.
    pub(super) password: String,
}

/// Why a text is no URL of a broker. Tells nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Something else before `://`, or nothing.
    #[error("starts with none of 'mqtt://', 'mqtts://', 'ws://' and 'wss://'")]
    Scheme,
    /// No host, or one of other characters.
    #[error("has no host where one is needed, or one that is none")]
    Host,
    /// A port that is none.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    /// A password of nobody.
    #[error("has a password without a user")]
    NoUser,
    /// A `%` without two hexadecimal digits, or what is no UTF-8.
    #[error("has a user or password that is not percent-encoded UTF-8")]
    Encoding,
    /// A path where none is, or one of other characters.
    #[error("has something after the host that does not belong there")]
    Path,
}

impl Address {
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls | Transport::TlsWebsocket(_))
    }

    /// For a handshake of websockets, without user and password. `None` where there is none.
    pub(super) fn websocket_url(&self) -> Option<String> {
        let (scheme, path) = match &self.transport {
            Transport::Tcp | Transport::Tls => return None,
            Transport::Websocket(path) => ("ws", path),
            Transport::TlsWebsocket(path) => ("wss", path),
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        Some(format!("{scheme}://{host}:{}{path}", self.port))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`, `mqtts` for TLS; `ws` and `wss` for websockets, with a path. User and password
    /// are percent-encoded. An address of IP version 6 is in brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        // A password may have a slash that somebody forgot to encode: the last `@` ends it, whatever comes before.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(Login::parse(login)?), rest),
            None => (None, rest),
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_path = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let websocket_path = || match path {
            "" | "/" => Ok(WEBSOCKET_PATH.to_owned()),
            path if is_path => Ok(path.to_owned()),
            _ => Err(AddressError::Path),
        };
        let (transport, default_port) = match scheme {
            "mqtt" => (Transport::Tcp, 1883),
            "mqtts" => (Transport::Tls, 8883),
            "ws" => (Transport::Websocket(websocket_path()?), 80),
            "wss" => (Transport::TlsWebsocket(websocket_path()?), 443),
            _ => return Err(AddressError::Scheme),
        };
        if matches!(transport, Transport::Tcp | Transport::Tls) && !matches!(path, "" | "/") {
            return Err(AddressError::Path);
        }
        let (host, port) = host_and_port(host)?;
        let port = match port {
            Some(text) => port_number(text)?,
            None => default_port,
        };
        Ok(Self { transport, host, port, login })
    }
}

fn host_and_port(text: &str) -> Result<(String, Option<&str>), AddressError> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(AddressError::Host)?;
        let host: std::net::Ipv6Addr = host.parse().map_err(|_| AddressError::Host)?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or(AddressError::Host)?),
        };
        return Ok((host.to_string(), port));
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_host = (1..=HOST_CHARS_MAX).contains(&host.len()) && host.bytes().all(is_char);
    if is_host { Ok((host.to_owned(), port)) } else { Err(AddressError::Host) }
}

fn port_number(text: &str) -> Result<u16, AddressError> {
    // A plus sign is a number to `parse`.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port != 0);
    port.ok_or(AddressError::Port)
}

impl Login {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        if user.is_empty() {
            return Err(AddressError::NoUser);
        }
        Ok(Self { user: decode(user)?, password: decode(password)? })
    }
}

fn decode(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return Err(AddressError::Encoding) };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(AddressError::Encoding) };
        bytes.push(high << 4 | low);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| AddressError::Encoding)
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("transport", &self.transport)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn each_form_has_its_port_and_its_path() {
        let of = |text: &str| {
            let address = parse(text).unwrap();
            (address.host.clone(), address.port, address.is_tls(), address.websocket_url())
        };
        assert_eq!(of("mqtt://h"), ("h".into(), 1883, false, None));
        assert_eq!(of("mqtts://h/"), ("h".into(), 8883, true, None));
        assert_eq!(of("ws://h"), ("h".into(), 80, false, Some("ws://h:80/mqtt".into())));
        assert_eq!(of("wss://h/"), ("h".into(), 443, true, Some("wss://h:443/mqtt".into())));
        assert_eq!(of("wss://h:1/a?b=c"), ("h".into(), 1, true, Some("wss://h:1/a?b=c".into())));
        assert_eq!(of("mqtt://u:p@10.0.0.1:9"), ("10.0.0.1".into(), 9, false, None));
        assert_eq!(of("ws://[::1]:9/x"), ("::1".into(), 9, false, Some("ws://[::1]:9/x".into())));
        assert_eq!(of("mqtt://[::1]"), ("::1".into(), 1883, false, None));
    }

    #[test]
    fn a_login_is_decoded() {
        let login = |text: &str| parse(text).unwrap().login.map(|login| (login.user, login.password));
        assert_eq!(login("mqtt://h"), None);
        assert_eq!(login("mqtt://u@h"), Some(("u".into(), String::new())));
        assert_eq!(login("mqtt://u:p@h"), Some(("u".into(), "p".into())));
        assert_eq!(login("mqtt://u%40x:p%3A%2f%25:@h"), Some(("u@x".into(), "p:/%:".into())));
        assert_eq!(login("mqtt://u:a/b@c@h"), Some(("u".into(), "a/b@c".into())));
    }

    #[test]
    fn what_is_no_url_is_told_apart() {
        for (text, error) in [
            ("", AddressError::Scheme),
            ("redis://h", AddressError::Scheme),
            ("mqtt://", AddressError::Host),
            ("mqtt://a b", AddressError::Host),
            ("mqtt://[::1", AddressError::Host),
            ("mqtt://[::1]x", AddressError::Host),
            ("mqtt://h:", AddressError::Port),
            ("mqtt://h:0", AddressError::Port),
            ("mqtt://h:+1", AddressError::Port),
            ("mqtt://h:65536", AddressError::Port),
            ("mqtt://:p@h", AddressError::NoUser),
            ("mqtt://u:%4@h", AddressError::Encoding),
            ("mqtt://u:%ff@h", AddressError::Encoding),
            ("mqtt://h/topic", AddressError::Path),
            ("ws://h/a b", AddressError::Path),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_login_comes_through_encoded_and_is_not_printed(user in "\\PC{1,20}", password in "\\PC{8,20}") {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let address = parse(&format!("mqtts://{}:{}@h", encode(&user), encode(&password))).unwrap();
            let printed = format!("{address:?}");
            prop_assert!(!printed.contains(&password));
            prop_assert_eq!(address.login, Some(Login { user, password }));
        }

        #[test]
        fn any_text_is_an_address_or_an_error(text in "(mqtts?|wss?)://\\PC*") {
            if let Ok(address) = parse(&text) {
                prop_assert!(address.port != 0 && !address.host.is_empty());
            }
        }
    }
}
