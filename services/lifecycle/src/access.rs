//! Who may call an HTTP API, and what a caller presents.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Without a token that is configured nobody may do anything, but for somebody at this machine   │
//! │ where none is configured that would do.                                                       │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What a response with the status 401 asks for, as `WWW-Authenticate`.
pub const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"relaycast\"");

/// Fewer characters than this can be guessed: 128 bits in hexadecimal digits are 32, in base64 22.
pub const TOKEN_CHARS_MIN: usize = 16;

/// A secret that opens an API. Prints as `***`.
#[derive(Clone)]
pub struct Token(String);

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

impl FromStr for Token {
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

    /// What a request has as `Authorization` that presents it.
    pub fn bearer(&self) -> HeaderValue {
        let value = HeaderValue::try_from(format!("Bearer {}", self.0));
        let mut value = value.expect("a token has only what a header can carry");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a token allows; each allows what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To read.
    Reader,
    /// To change what goes on.
    Operator,
}

/// The tokens of an API, and what each allows.
#[derive(Debug, Clone, Default)]
pub struct Access(pub Vec<(Role, Token)>);

/// Why a request may not do what it asks for. Prints as a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no token.
    #[error("this needs a token")]
    TokenNeeded,
    /// It has one that is not configured, or something that is none.
    #[error("the token is not accepted")]
    TokenRefused,
    /// It has the token of a reader.
    #[error("this takes the token of an operator")]
    NotAnOperator,
    /// It has no token, and comes from elsewhere.
    #[error(
        "no token is configured, so this is for requests from the machine itself to http://localhost; \
         configure a token to allow it from elsewhere"
    )]
    Elsewhere,
}

impl Access {
    /// Whether a request may do what takes this role. `peer` is the other end of its connection; without one, nobody counts as
    /// being at this machine.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, needed: Role, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<(), Refusal> {
        match self.role(headers) {
            Some(role) if role >= needed => Ok(()),
            Some(_) => Err(Refusal::NotAnOperator),
            None if headers.contains_key(header::AUTHORIZATION) => Err(Refusal::TokenRefused),
            None if self.0.iter().any(|(role, _)| *role >= needed) => Err(Refusal::TokenNeeded),
            None if is_local(headers, peer) => Ok(()),
            None => Err(Refusal::Elsewhere),
        }
    }

    /// What the token of a request allows, if it has one that is configured.
    pub fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let (scheme, token) = sole(headers, header::AUTHORIZATION)?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        // All of them are looked at, so that the time does not tell which it is.
        self.0.iter().filter(|(_, one)| one.is(token)).map(|(role, _)| *role).max()
    }
}

/// Whether somebody at this machine asks, and no page of somebody else in their browser: neither by a name that was made to
/// lead here (DNS rebinding), nor across origins. What a proxy hands on comes from elsewhere.
fn is_local(headers: &HeaderMap, peer: Option<SocketAddr>) -> bool {
    const PROXIED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

    let host = sole(headers, header::HOST);
    let is_here = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && !PROXIED.iter().any(|name| headers.contains_key(*name))
        && host.is_some_and(is_loopback_host);
    let is_own_page = !headers.contains_key(header::ORIGIN)
        || sole(headers, header::ORIGIN)
            .and_then(|origin| origin.strip_prefix("http://"))
            .is_some_and(|origin| host.is_some_and(|host| host.eq_ignore_ascii_case(origin)));
    let site = HeaderName::from_static("sec-fetch-site");
    let is_same_site = !headers.contains_key(&site)
        || sole(headers, site).is_some_and(|site| site == "same-origin" || site == "none");
    is_here && is_own_page && is_same_site
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// The value of a header that is there once.
fn sole(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READER: &str = "reader-0123456789";
    const OPERATOR: &str = "operator-0123456789";
    const HERE: &str = "127.0.0.1:5";
    const HOST: (&str, &str) = ("host", "localhost:8081");

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn check(
        access: &Access,
        needed: Role,
        peer: &str,
        pairs: &[(&'static str, &str)],
    ) -> Result<(), Refusal> {
        access.check(needed, &headers(pairs), Some(peer.parse().unwrap()))
    }

    fn with_tokens() -> Access {
        let tokens = [
            (Role::Operator, "another-0123456789"),
            (Role::Operator, OPERATOR),
            // Whose token is a reader's too is an operator all the same.
            (Role::Reader, OPERATOR),
            (Role::Reader, READER),
        ];
        Access(tokens.map(|(role, token)| (role, token.parse().unwrap())).to_vec())
    }

    #[test]
    fn a_token_is_long_enough_and_fits_a_header() {
        let longest_bad = "x".repeat(TOKEN_CHARS_MIN - 1);
        assert_eq!(longest_bad.parse::<Token>().unwrap_err(), TokenError::Short);
        assert_eq!("0123456789 abcdef".parse::<Token>().unwrap_err(), TokenError::Character);
        let token: Token = "x".repeat(TOKEN_CHARS_MIN).parse().unwrap();
        assert!(token.is(&"x".repeat(TOKEN_CHARS_MIN)) && !token.is(&longest_bad));
        assert_eq!(format!("{token:?}"), "***");
    }

    #[test]
    fn a_token_does_what_its_role_may() {
        let access = with_tokens();
        let reader = format!("Bearer {READER}");
        let operator = format!("bearer {OPERATOR}");
        for (needed, by_reader) in [(Role::Reader, Ok(())), (Role::Operator, Err(Refusal::NotAnOperator))] {
            assert_eq!(check(&access, needed, HERE, &[("authorization", &reader)]), by_reader, "{needed:?}");
            assert_eq!(check(&access, needed, HERE, &[("authorization", &operator)]), Ok(()), "{needed:?}");
            assert_eq!(check(&access, needed, HERE, &[HOST]), Err(Refusal::TokenNeeded), "{needed:?}");
        }
    }

    #[test]
    fn without_tokens_of_operators_those_of_readers_are_for_reading_alone() {
        let access = Access(vec![(Role::Reader, READER.parse().unwrap())]);
        assert_eq!(check(&access, Role::Reader, HERE, &[HOST]), Err(Refusal::TokenNeeded));
        assert_eq!(check(&access, Role::Operator, HERE, &[HOST]), Ok(()));
        assert_eq!(check(&access, Role::Operator, "192.0.2.1:5", &[HOST]), Err(Refusal::Elsewhere));
    }

    #[test]
    fn what_is_no_token_is_refused_even_here() {
        for access in [with_tokens(), Access::default()] {
            for bad in [
                "Bearer",
                "Bearer ",
                "Bearer x",
                "Basic eDp5",
                OPERATOR,
                &format!("Bearer  {OPERATOR}"),
                &format!("Bearer {OPERATOR} "),
            ] {
                let checked = check(&access, Role::Operator, HERE, &[HOST, ("authorization", bad)]);
                assert_eq!(checked, Err(Refusal::TokenRefused), "{bad}");
            }
        }
        let operator = format!("Bearer {OPERATOR}");
        let twice = [("authorization", operator.as_str()), ("authorization", operator.as_str())];
        assert_eq!(check(&with_tokens(), Role::Operator, HERE, &twice), Err(Refusal::TokenRefused));
    }

    #[test]
    fn what_presents_a_token_is_taken_and_not_shown() {
        let token: Token = OPERATOR.parse().unwrap();
        let presented = token.bearer();
        assert!(!format!("{presented:?}").contains(OPERATOR));
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, presented)]);
        assert_eq!(with_tokens().role(&headers), Some(Role::Operator));
        assert_eq!(Access::default().role(&headers), None);
    }

    #[test]
    fn where_no_token_is_configured_somebody_here_may() {
        let access = Access::default();
        for good in [
            &[("host", "localhost:8081")][..],
            &[("host", "127.0.0.1")],
            &[("host", "[::1]:8081")],
            &[("host", "LOCALHOST:1"), ("origin", "http://localhost:1"), ("sec-fetch-site", "same-origin")],
            &[("host", "localhost:1"), ("sec-fetch-site", "none")],
        ] {
            for peer in [HERE, "[::1]:5", "[::ffff:127.0.0.1]:5"] {
                assert_eq!(check(&access, Role::Operator, peer, good), Ok(()), "{good:?} {peer}");
                assert_eq!(check(&access, Role::Reader, peer, good), Ok(()), "{good:?} {peer}");
            }
            assert_eq!(check(&access, Role::Operator, "192.0.2.1:5", good), Err(Refusal::Elsewhere));
            assert_eq!(access.check(Role::Operator, &headers(good), None), Err(Refusal::Elsewhere));
        }
    }

    #[test]
    fn a_page_of_somebody_else_may_not() {
        for bad in [
            &[][..],
            // DNS rebinding.
            &[("host", "evil.example:8081")],
            &[("host", "localhost.evil.example")],
            &[("host", "127.0.0.1.nip.example")],
            &[("host", "localhost:evil.example")],
            &[HOST, HOST],
            // Across origins.
            &[HOST, ("origin", "http://evil.example")],
            &[HOST, ("origin", "null")],
            &[HOST, ("origin", "https://localhost:8081")],
            &[HOST, ("origin", "http://localhost:9090")],
            &[HOST, ("sec-fetch-site", "cross-site")],
            &[HOST, ("sec-fetch-site", "same-site")],
            // By a proxy on this machine.
            &[HOST, ("x-forwarded-for", "192.0.2.1")],
            &[HOST, ("via", "1.1 proxy")],
        ] {
            let checked = check(&Access::default(), Role::Operator, HERE, bad);
            assert_eq!(checked, Err(Refusal::Elsewhere), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_opens_what_takes_a_token(
            authorization in proptest::option::of("((?i)bearer|basic)? ?[ -~]{0,24}"),
            host in "[ -~]{0,20}|localhost(:[0-9]{0,5})?",
            is_here: bool,
        ) {
            let pairs: Vec<_> = authorization.iter().map(|text| ("authorization", text.as_str())).collect();
            let pairs = [&pairs[..], &[("host", host.as_str())]].concat();
            let peer = if is_here { HERE } else { "192.0.2.1:5" };
            for needed in [Role::Reader, Role::Operator] {
                prop_assert!(check(&with_tokens(), needed, peer, &pairs).is_err());
            }
            if !is_here {
                prop_assert!(check(&Access::default(), Role::Reader, peer, &pairs).is_err());
            }
        }
    }
}
