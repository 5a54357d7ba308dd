//! Who may do what.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Without a token that was configured nobody ends or drains anything, but for somebody at this    │
//! │ machine where no token was configured at all.                                                   │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;

use super::problem::{Kind, Problem};
use crate::config::{Config, Reads, Token};
use crate::replica::Replica;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// What everybody may read, unless the settings say otherwise.
    Read,
    /// What has something of the streams or of those who watch them, and is for those with a token in any case.
    ReadPrivate,
    /// Ends sessions, drains nodes.
    Operate,
}

/// Where the connection comes from. Every request that is routed has it as an extension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From(pub(crate) SocketAddr);

/// A request that may read.
#[derive(Debug)]
pub(crate) struct Reader;

/// A request that may read what is private.
#[derive(Debug)]
pub(crate) struct PrivateReader;

/// A request that may operate.
#[derive(Debug)]
pub(crate) struct Operator;

macro_rules! extractor {
    ($type:ident, $need:ident) => {
        impl FromRequestParts<Arc<Replica>> for $type {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, replica: &Arc<Replica>) -> Result<Self, Problem> {
                let from = parts.extensions.get::<From>().copied();
                check(&replica.config, Need::$need, &parts.headers, from).map(|()| Self)
            }
        }
    };
}

extractor!(Reader, Read);
extractor!(PrivateReader, ReadPrivate);
extractor!(Operator, Operate);

/// Whether the request may do this.
///
/// # Errors
/// Why not.
pub(crate) fn check(
    config: &Config,
    need: Need,
    headers: &HeaderMap,
    from: Option<From>,
) -> Result<(), Problem> {
    if need == Need::Read && config.reads == Reads::Public {
        return Ok(());
    }
    let is_needed =
        !config.operator_tokens.is_empty() || (need != Need::Operate && !config.reader_tokens.is_empty());
    if !headers.contains_key(header::AUTHORIZATION) {
        return if is_needed {
            Err(Problem::new(Kind::TokenNeeded))
        } else {
            is_local(config, headers, from)
        };
    }
    let refused = Problem::new(Kind::TokenRefused);
    match (token_of(config, headers).ok_or(refused)?, need) {
        (Grant::Reader, Need::Operate) => {
            Err(Problem::new(Kind::Forbidden).because("this takes the token of an operator"))
        }
        (Grant::Reader | Grant::Operator, _) => Ok(()),
    }
}

/// Whether the request has a token that may read.
pub(crate) fn has_token(config: &Config, headers: &HeaderMap) -> bool {
    token_of(config, headers).is_some()
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    Reader,
    Operator,
}

fn token_of(config: &Config, headers: &HeaderMap) -> Option<Grant> {
    let (scheme, token) = sole(headers, header::AUTHORIZATION)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    // All of them, so that the time does not tell which it is.
    let is_any = |tokens: &[Token]| tokens.iter().fold(false, |any, one| one.is(token) | any);
    let (is_operator, is_reader) = (is_any(&config.operator_tokens), is_any(&config.reader_tokens));
    if is_operator { Some(Grant::Operator) } else { is_reader.then_some(Grant::Reader) }
}

/// Whether somebody at this machine asks, and no page of somebody else in their browser: neither by a name that was made to
/// lead here (DNS rebinding), nor across origins. What a proxy hands on comes from elsewhere.
fn is_local(config: &Config, headers: &HeaderMap, from: Option<From>) -> Result<(), Problem> {
    const PROXIED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

    let host = sole(headers, header::HOST);
    let is_here = from.is_some_and(|From(peer)| peer.ip().to_canonical().is_loopback())
        && config.public_url.is_none()
        && !PROXIED.iter().any(|name| headers.contains_key(*name))
        && host.is_some_and(is_loopback_host);
    let is_own_page = !headers.contains_key(header::ORIGIN)
        || sole(headers, header::ORIGIN)
            .and_then(|origin| origin.strip_prefix("http://"))
            .is_some_and(|origin| host.is_some_and(|host| host.eq_ignore_ascii_case(origin)));
    let site = HeaderName::from_static("sec-fetch-site");
    let is_same_site = !headers.contains_key(&site)
        || sole(headers, site).is_some_and(|site| site == "same-origin" || site == "none");
    if is_here && is_own_page && is_same_site {
        Ok(())
    } else {
        Err(Problem::new(Kind::Forbidden).because(
            "no token is configured, so this is for requests from the machine itself to http://localhost; \
             configure a token to allow it from elsewhere",
        ))
    }
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
    use hyper::header::HeaderValue;

    use super::*;

    const READER: &str = "reader-0123456789";
    const OPERATOR: &str = "operator-0123456789";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn kind(config: &Config, need: Need, from: &str, pairs: &[(&'static str, &str)]) -> Option<Kind> {
        let from = Some(From(from.parse().unwrap()));
        check(config, need, &headers(pairs), from).err().map(|problem| problem.kind)
    }

    fn with_tokens() -> Config {
        Config {
            reader_tokens: vec![READER.parse().unwrap()],
            operator_tokens: vec!["another-0123456789".parse().unwrap(), OPERATOR.parse().unwrap()],
            ..Config::default()
        }
    }

    const HERE: &str = "127.0.0.1:5";
    const HOST: (&str, &str) = ("host", "localhost:8081");

    #[test]
    fn a_token_does_what_its_role_may() {
        let config = with_tokens();
        let reader = format!("Bearer {READER}");
        let operator = format!("bearer {OPERATOR}");
        for (need, by_reader, by_nobody) in [
            (Need::Read, None, None),
            (Need::ReadPrivate, None, Some(Kind::TokenNeeded)),
            (Need::Operate, Some(Kind::Forbidden), Some(Kind::TokenNeeded)),
        ] {
            assert_eq!(kind(&config, need, HERE, &[("authorization", &reader)]), by_reader, "{need:?}");
            assert_eq!(kind(&config, need, HERE, &[("authorization", &operator)]), None, "{need:?}");
            assert_eq!(kind(&config, need, HERE, &[HOST]), by_nobody, "{need:?}");
        }
        let closed = Config { reads: Reads::Token, ..with_tokens() };
        assert_eq!(kind(&closed, Need::Read, HERE, &[HOST]), Some(Kind::TokenNeeded));
        assert_eq!(kind(&closed, Need::Read, HERE, &[("authorization", &reader)]), None);
    }

    #[test]
    fn what_is_no_token_is_refused_even_here() {
        for config in [with_tokens(), Config::default()] {
            for bad in [
                "Bearer",
                "Bearer ",
                "Bearer x",
                "Basic eDp5",
                OPERATOR,
                &format!("Bearer  {OPERATOR}"),
                &format!("Bearer {OPERATOR} "),
            ] {
                let refused = kind(&config, Need::Operate, HERE, &[HOST, ("authorization", bad)]);
                assert_eq!(refused, Some(Kind::TokenRefused), "{bad}");
            }
        }
        let operator = format!("Bearer {OPERATOR}");
        let twice = [("authorization", operator.as_str()), ("authorization", operator.as_str())];
        assert_eq!(kind(&with_tokens(), Need::Operate, HERE, &twice), Some(Kind::TokenRefused));
    }

    #[test]
    fn where_no_token_is_configured_somebody_here_may() {
        let config = Config::default();
        for good in [
            &[("host", "localhost:8081")][..],
            &[("host", "127.0.0.1")],
            &[("host", "[::1]:8081")],
            &[("host", "LOCALHOST:1"), ("origin", "http://localhost:1"), ("sec-fetch-site", "same-origin")],
            &[("host", "localhost:1"), ("sec-fetch-site", "none")],
        ] {
            for from in [HERE, "[::1]:5", "[::ffff:127.0.0.1]:5"] {
                assert_eq!(kind(&config, Need::Operate, from, good), None, "{good:?} {from}");
                assert_eq!(kind(&config, Need::ReadPrivate, from, good), None, "{good:?} {from}");
            }
            assert_eq!(kind(&config, Need::Operate, "192.0.2.1:5", good), Some(Kind::Forbidden));
            let public = Config { public_url: Some("https://live.example".to_owned()), ..Config::default() };
            assert_eq!(kind(&public, Need::Operate, HERE, good), Some(Kind::Forbidden));
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
            assert_eq!(kind(&Config::default(), Need::Operate, HERE, bad), Some(Kind::Forbidden), "{bad:?}");
        }
    }
}
