//! What requests need. Whether they have it is for [`relay_lifecycle::access`] to say.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use relay_lifecycle::access::Role;

use super::problem::Problem;
use crate::config::{Config, Reads};
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
    let role = match need {
        Need::Read if config.reads == Reads::Public => return Ok(()),
        Need::Read | Need::ReadPrivate => Role::Reader,
        Need::Operate => Role::Operator,
    };
    // Who comes by a public address may have come through a proxy on this machine.
    let peer = from.filter(|_| config.public_url.is_none()).map(|From(peer)| peer);
    Ok(config.access.check(role, headers, peer)?)
}

#[cfg(test)]
mod tests {
    use hyper::header::{HOST, HeaderValue};
    use relay_lifecycle::access::{Access, Refusal};

    use super::*;
    use crate::http::problem::Kind;

    fn kind(config: &Config, need: Need) -> Option<Kind> {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost:8081"))]);
        let from = Some(From(SocketAddr::from(([127, 0, 0, 1], 5))));
        check(config, need, &headers, from).err().map(|problem| problem.kind)
    }

    #[test]
    fn what_everybody_may_read_takes_a_token_by_setting_alone() {
        let access = Access(vec![(Role::Operator, "operator-0123456789".parse().unwrap())]);
        let public = Config { access, ..Config::default() };
        let closed = Config { reads: Reads::Token, ..public.clone() };
        assert_eq!(kind(&public, Need::Read), None);
        for (config, need) in [(&closed, Need::Read), (&public, Need::ReadPrivate), (&public, Need::Operate)]
        {
            assert_eq!(kind(config, need), Some(Kind::TokenNeeded), "{need:?}");
        }
    }

    #[test]
    fn nobody_is_here_where_there_is_a_public_address() {
        let here = Config::default();
        let public = Config { public_url: Some("https://live.example".to_owned()), ..Config::default() };
        for need in [Need::ReadPrivate, Need::Operate] {
            assert_eq!(kind(&here, need), None, "{need:?}");
            assert_eq!(kind(&public, need), Some(Kind::Forbidden), "{need:?}");
        }
    }

    #[test]
    fn each_refusal_is_a_problem_of_its_kind() {
        for (refusal, kind, has_detail) in [
            (Refusal::TokenNeeded, Kind::TokenNeeded, false),
            (Refusal::TokenRefused, Kind::TokenRefused, false),
            (Refusal::NotAnOperator, Kind::Forbidden, true),
            (Refusal::Elsewhere, Kind::Forbidden, true),
        ] {
            let problem = Problem::from(refusal);
            assert_eq!(problem.kind, kind);
            let told = relay_proto::api::manager::Problem::from(problem).detail;
            assert_eq!(told, has_detail.then(|| refusal.to_string()));
        }
    }
}
