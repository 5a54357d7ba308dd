//! The REST of a bridge: what it knows, and what it is told to do. Normative text: `proto/SOURCES.md`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use relay_lifecycle::drain::{Drain, Phase};
use relay_proto::api::manager::Problem;
use relay_proto::api::source::{self, COMMAND_BYTES_MAX, Sources};
use relay_proto::source::{Answered, Ask, Source, SourceId, SourceKind, SourceState};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::Token;
use crate::core::Desk;

/// Sources in an answer, where no other number is asked for, and at the most.
const LIMIT: std::ops::RangeInclusive<usize> = 100..=1000;

/// How long the body of a command may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// How long a command may take: three times 20 s for a device, and a little for who asks it.
const DONE_WITHIN: Duration = Duration::from_secs(70);

const PREFIX: &str = "/v1/sources/";

/// What requests need.
#[derive(Debug)]
struct Rest {
    desk: Desk,
    reader_tokens: Vec<Token>,
    operator_tokens: Vec<Token>,
}

/// Serves until the drain begins.
pub(crate) async fn serve(
    socket: TcpListener,
    desk: Desk,
    reader_tokens: Vec<Token>,
    operator_tokens: Vec<Token>,
    mut drain: Drain,
) -> io::Result<()> {
    let rest = Arc::new(Rest { desk, reader_tokens, operator_tokens });
    let app = Router::new()
        .route("/v1/sources", get(list))
        .route("/v1/sources/{*rest}", get(one).post(command))
        .route("/v1/devices", get(devices))
        .fallback(async || problem(StatusCode::NOT_FOUND, "no-such-path", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "the path does not take this method",
            )
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&rest), admit))
        .with_state(rest);
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(socket, service)
        .with_graceful_shutdown(async move { drain.reached(Phase::Draining).await })
        .await
}

/// Whoever has a token may what the token may; where there are none, whoever is at this machine may, and no page of
/// somebody else in their browser.
async fn admit(
    State(rest): State<Arc<Rest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let operates = !matches!(*request.method(), Method::GET | Method::HEAD);
    let is_any = |tokens: &[Token], text: &str| tokens.iter().fold(false, |any, token| token.is(text) | any);
    let is_needed = !rest.operator_tokens.is_empty() || (!operates && !rest.reader_tokens.is_empty());
    match request.headers().get(header::AUTHORIZATION) {
        None if is_needed => unauthorized("this needs a token"),
        None if is_local(peer, request.headers()) => next.run(request).await,
        None => problem(
            StatusCode::FORBIDDEN,
            "forbidden",
            "no token is configured, so this is for requests from the machine itself to http://localhost",
        ),
        Some(value) => {
            let token = value.to_str().ok().and_then(|value| value.split_once(' '));
            let token =
                token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
            let is_operator = token.is_some_and(|token| is_any(&rest.operator_tokens, token));
            let is_reader = token.is_some_and(|token| is_any(&rest.reader_tokens, token));
            match (is_operator, is_reader) {
                (true, _) => next.run(request).await,
                (false, true) if !operates => next.run(request).await,
                (false, true) => {
                    problem(StatusCode::FORBIDDEN, "forbidden", "this takes the token of an operator")
                }
                (false, false) => unauthorized("the token is not accepted"),
            }
        }
    }
}

fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    const FROM_ELSEWHERE: [&str; 5] = ["forwarded", "x-forwarded-for", "x-real-ip", "via", "origin"];

    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    peer.ip().to_canonical().is_loopback()
        && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
        && !FROM_ELSEWHERE.iter().any(|name| headers.contains_key(*name))
}

async fn list(State(rest): State<Arc<Rest>>, uri: Uri) -> Response {
    let (mut kind, mut state, mut after) = (None, None, None::<SourceId>);
    let mut limit = *LIMIT.start();
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_good = match name {
            "kind" => read(value).map(|value: SourceKind| kind = Some(value)).is_some(),
            "state" => read(value).map(|value: SourceState| state = Some(value)).is_some(),
            "after" => source::source(value).map(|value| after = Some(value)).is_ok(),
            "limit" => value
                .parse()
                .ok()
                .filter(|limit| (1..=*LIMIT.end()).contains(limit))
                .map(|value| limit = value)
                .is_some(),
            _ => false,
        };
        if !is_good {
            return problem(
                StatusCode::BAD_REQUEST,
                "bad-parameter",
                "the parameters are kind (kerberos, dji), state, after (a source) and limit (1 to 1000)",
            );
        }
    }
    let mut sources: Vec<Source> = {
        let roster = rest.desk.roster();
        let all = roster.list(after.as_ref()).into_values();
        all.filter(|source| kind.is_none_or(|kind| source.kind == kind))
            .filter(|source| state.is_none_or(|state| source.state == state))
            // One more than is told, which tells whether there are more.
            .take(limit + 1)
            .cloned()
            .collect()
    };
    let next = (sources.len() > limit).then(|| {
        sources.truncate(limit);
        sources.last().map(|source| source.id.clone())
    });
    json(&Sources { sources, next: next.flatten() })
}

/// A word that a type of the contract knows.
fn read<T: serde::de::DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

async fn one(State(rest): State<Arc<Rest>>, uri: Uri) -> Response {
    let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let Ok(id) = source::source(path) else {
        return problem(StatusCode::BAD_REQUEST, "invalid-source", "the path has no name of a source");
    };
    let found = rest.desk.roster().find(&id).map(|(_, source)| source.clone());
    match found {
        Some(source) => json(&source),
        None => problem(StatusCode::NOT_FOUND, "unknown-source", "no device is known that has it"),
    }
}

async fn command(State(rest): State<Arc<Rest>>, uri: Uri, body: Body) -> Response {
    let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let body = match timeout(BODY_WITHIN, to_bytes(body, COMMAND_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return problem(StatusCode::PAYLOAD_TOO_LARGE, "body-too-long", "the body is too long"),
        Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "body-late", "the body does not come"),
    };
    match source::command(path, &body) {
        Ok((source, command)) => ask(&rest, Ask::Command { source, command }).await,
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            problem(status, error.code(), &error.to_string())
        }
    }
}

async fn devices(State(rest): State<Arc<Rest>>) -> Response {
    ask(&rest, Ask::Devices).await
}

async fn ask(rest: &Rest, ask: Ask) -> Response {
    let (answer, answered) = oneshot::channel();
    if rest.desk.requests.try_send((ask, answer)).is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many commands are under way");
    }
    match timeout(DONE_WITHIN, answered).await {
        Ok(Ok(Answered::Done { result })) => json(&result),
        Ok(Ok(Answered::Problem { status, code, detail })) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            problem(status, &code, &detail)
        }
        Ok(Err(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, "leaving", "the bridge is about to end"),
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, "no-reply", "the device did not answer"),
    }
}

fn json<T: Serialize>(value: &T) -> Response {
    // The types have nothing that JSON could refuse.
    let body = serde_json::to_vec(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn unauthorized(detail: &str) -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, "token-needed", detail);
    let challenge = header::HeaderValue::from_static("Bearer realm=\"relaycast\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// As RFC 9457 has it.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let problem = Problem {
        kind: format!("urn:relaycast:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Problem").to_owned(),
        status: status.as_u16(),
        detail: Some(detail.to_owned()),
        retry_after_ms: None,
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
