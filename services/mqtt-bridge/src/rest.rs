//! The REST of a bridge: what it knows, and what it is told to do. Normative text: `proto/SOURCES.md`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use relay_lifecycle::access::{Access, Refusal, Role};
use relay_lifecycle::drain::{Drain, Phase};
use relay_lifecycle::problem::response;
use relay_proto::api::manager::Problem;
use relay_proto::api::source::{self, COMMAND_BYTES_MAX, Sources};
use relay_proto::source::{Answered, Ask, Source, SourceId, SourceKind, SourceState};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

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
    access: Access,
}

/// Serves until the drain begins.
pub(crate) async fn serve(
    socket: TcpListener,
    desk: Desk,
    access: Access,
    mut drain: Drain,
) -> io::Result<()> {
    let rest = Arc::new(Rest { desk, access });
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

/// Lets through who may: to look takes less than to tell devices what to do.
async fn admit(
    State(rest): State<Arc<Rest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let role = match *request.method() {
        Method::GET | Method::HEAD => Role::Reader,
        _ => Role::Operator,
    };
    let refusal = match rest.access.check(role, request.headers(), Some(peer)) {
        Ok(()) => return next.run(request).await,
        Err(refusal) => refusal,
    };
    let (status, code) = match refusal {
        Refusal::TokenNeeded => (StatusCode::UNAUTHORIZED, "token-needed"),
        Refusal::TokenRefused => (StatusCode::UNAUTHORIZED, "token-refused"),
        Refusal::NotAnOperator | Refusal::Elsewhere => (StatusCode::FORBIDDEN, "forbidden"),
    };
    problem(status, code, &refusal.to_string())
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

/// As RFC 9457 has it.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let problem = Problem {
        kind: format!("urn:relaycast:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Problem").to_owned(),
        status: status.as_u16(),
        detail: Some(detail.to_owned()),
        retry_after_ms: None,
    };
    response(status, &problem).into_response()
}
