//! What is answered to a request that is not served (RFC 9457). Nothing of it comes from the inside: no error of a library, no
//! address, and of the request only names, never values.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use relay_lifecycle::access::Refusal;
use relay_lifecycle::problem::response;
use relay_proto::api::manager;

/// What a problem's type begins with.
const URN: &str = "urn:relaycast:problem:";

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal $status:ident $title:literal,)+) => {
        /// What can be wrong. The names are what clients tell problems apart by.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The last part of its URN.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            pub(crate) const fn status(self) -> StatusCode {
                match self {
                    $(Self::$kind => StatusCode::$status,)+
                }
            }

            const fn title(self) -> &'static str {
                match self {
                    $(Self::$kind => $title,)+
                }
            }
        }
    };
}

kinds! {
    /// A parameter, or a name in the path.
    BadParameter "bad-parameter" BAD_REQUEST "A parameter is not what it should be",
    /// No token, where one is needed.
    TokenNeeded "token-needed" UNAUTHORIZED "This needs a token",
    /// A token that does not count here.
    TokenRefused "token-refused" UNAUTHORIZED "The token is not accepted",
    /// A token of a reader, where an operator's is needed; or no token, from elsewhere.
    Forbidden "forbidden" FORBIDDEN "Not allowed",
    /// Nothing is at this path.
    NoSuchPath "no-such-path" NOT_FOUND "Nothing is here",
    /// No node carries the channel.
    NoSuchChannel "no-such-channel" NOT_FOUND "There is no such channel",
    /// No node of this name is known.
    NoSuchNode "no-such-node" NOT_FOUND "There is no such node",
    /// No node has the session.
    NoSuchSession "no-such-session" NOT_FOUND "There is no such session",
    /// No bridge tells of the source.
    UnknownSource "unknown-source" NOT_FOUND "There is no such source",
    /// The path takes another method.
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The method is not allowed here",
    /// Nobody publishes on the channel.
    NotLive "not-live" CONFLICT "Nobody publishes on the channel",
    /// A stream's address, asked for by something that is no websocket.
    UpgradeNeeded "upgrade-needed" UPGRADE_REQUIRED "This is the address of a websocket",
    /// A body that is longer than any that is read.
    BodyTooLarge "body-too-large" PAYLOAD_TOO_LARGE "The body is too large",
    /// An address that is longer than any that makes sense.
    UriTooLong "uri-too-long" URI_TOO_LONG "The address is too long",
    /// No picture can be taken of this stream.
    NoSnapshot "no-snapshot" NOT_IMPLEMENTED "There is no snapshot of this stream",
    /// The cluster has no secret to make keys of.
    NoSecret "no-cluster-secret" NOT_IMPLEMENTED "Sources have no keys without a cluster secret",
    /// No node can be chosen.
    NoNode "no-node" SERVICE_UNAVAILABLE "No node can take the client",
    /// No bridge is heard.
    NoBridge "no-bridge" SERVICE_UNAVAILABLE "No bridge is there to do it",
    /// As many of these requests are being served as are served at a time.
    Busy "busy" SERVICE_UNAVAILABLE "Too many of these at a time",
    /// This replica is on its way out.
    Leaving "leaving" SERVICE_UNAVAILABLE "This stream-manager is leaving",
    /// The backbone or the registry is not there.
    Unavailable "unavailable" SERVICE_UNAVAILABLE "A part of the cluster is not reached",
    /// The node that was asked did not answer in time.
    NodeSilent "node-silent" GATEWAY_TIMEOUT "The node does not answer",
    /// The bridge that was asked did not answer in time.
    BridgeSilent "bridge-silent" GATEWAY_TIMEOUT "The bridge does not answer",
}

/// A problem with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

impl Problem {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self { kind, detail: None, retry_after: None, allow: None }
    }

    pub(crate) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::BadParameter).because(detail)
    }

    /// The same with what is wrong with this request.
    #[must_use]
    pub(crate) fn because(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with when to come back.
    #[must_use]
    pub(crate) const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The path takes these methods.
    pub(crate) const fn only(allow: &'static str) -> Self {
        Self { kind: Kind::MethodNotAllowed, detail: None, retry_after: None, allow: Some(allow) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TokenNeeded => Self::new(Kind::TokenNeeded),
            Refusal::TokenRefused => Self::new(Kind::TokenRefused),
            Refusal::NotAnOperator | Refusal::Elsewhere => {
                Self::new(Kind::Forbidden).because(refusal.to_string())
            }
        }
    }
}

impl From<Problem> for manager::Problem {
    fn from(problem: Problem) -> Self {
        Self {
            kind: format!("{URN}{}", problem.kind.name()),
            title: problem.kind.title().to_owned(),
            status: problem.kind.status().as_u16(),
            detail: problem.detail.map(Cow::into_owned),
            retry_after_ms: problem
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// What a problem's title is that a bridge tells.
const TOLD: &str = "The bridge could not do it";

/// The longest name of a problem, and the longest detail, that a bridge may tell.
const CODE_BYTES_MAX: usize = 64;
const DETAIL_BYTES_MAX: usize = 1024;

/// A problem that a bridge has told. `None` where it is none.
pub(crate) fn told(status: u16, code: &str, detail: String) -> Option<Response> {
    let status = StatusCode::from_u16(status).ok().filter(|status| {
        (status.is_client_error() || status.is_server_error())
            // Of these there is more to say than a bridge knows of.
            && !matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::METHOD_NOT_ALLOWED)
    })?;
    let is_name = !code.is_empty()
        && code.len() <= CODE_BYTES_MAX
        && code.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    (is_name && detail.len() <= DETAIL_BYTES_MAX).then(|| {
        let problem = manager::Problem {
            kind: format!("{URN}{code}"),
            title: TOLD.to_owned(),
            status: status.as_u16(),
            detail: Some(detail),
            retry_after_ms: None,
        };
        response(status, &problem).into_response()
    })
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let (allow, retry_after) = (self.allow, self.retry_after);
        let mut response = response(status, &manager::Problem::from(self)).into_response();
        let headers = response.headers_mut();
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(wait) = retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_millis().div_ceil(1000).max(1) as u64),
            );
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_statuses_are_pinned() {
        let all: Vec<(&str, u16)> =
            Kind::ALL.iter().map(|kind| (kind.name(), kind.status().as_u16())).collect();
        assert_eq!(
            all,
            [
                ("bad-parameter", 400),
                ("token-needed", 401),
                ("token-refused", 401),
                ("forbidden", 403),
                ("no-such-path", 404),
                ("no-such-channel", 404),
                ("no-such-node", 404),
                ("no-such-session", 404),
                ("unknown-source", 404),
                ("method-not-allowed", 405),
                ("not-live", 409),
                ("upgrade-needed", 426),
                ("body-too-large", 413),
                ("uri-too-long", 414),
                ("no-snapshot", 501),
                ("no-cluster-secret", 501),
                ("no-node", 503),
                ("no-bridge", 503),
                ("busy", 503),
                ("leaving", 503),
                ("unavailable", 503),
                ("node-silent", 504),
                ("bridge-silent", 504),
            ]
        );
    }

    #[test]
    fn a_bridge_tells_problems_and_nothing_else() {
        let status =
            |status, code: &str, bytes| told(status, code, "x".repeat(bytes)).map(|r| r.status().as_u16());
        assert_eq!(status(409, "device-busy", DETAIL_BYTES_MAX), Some(409));
        assert_eq!(status(504, &"c".repeat(CODE_BYTES_MAX), 0), Some(504));
        for (code, name, bytes) in [
            (200, "ok", 0),
            (302, "moved", 0),
            (401, "token", 0),
            (405, "method", 0),
            (99, "low", 0),
            (400, "", 0),
            (400, "Not A Name", 0),
            (400, &*"c".repeat(CODE_BYTES_MAX + 1), 0),
            (400, "long", DETAIL_BYTES_MAX + 1),
        ] {
            assert_eq!(status(code, name, bytes), None, "{code} {name}");
        }
    }

    #[test]
    fn when_to_come_back_is_told_in_whole_seconds_and_finer() {
        let problem = Problem::new(Kind::NoNode).retry_after(Duration::from_millis(1200));
        let response = problem.clone().into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(manager::Problem::from(problem).retry_after_ms, Some(1200));
    }
}
