//! The sources that bridges tell of, and what is to be done with them: nobody but a bridge can do it, so it is asked.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::Uri;
use relay_cluster::backbone::RequestError;
use relay_proto::api::source::{self, COMMAND_BYTES_MAX, CommandError, Sources};
use relay_proto::backbone::{Peer, from_json_within, to_json};
use relay_proto::source::{ANSWER_BYTES_MAX, Answered, Ask, Source, SourceId, SourceKind, SourceState};
use tokio::time::timeout;
use tracing::info;

use super::access::{Operator, PrivateReader};
use super::problem::{Kind, Problem, told};
use super::{Paging, json, no_parameters, query, soon};
use crate::replica::Replica;

/// How long a bridge is waited for: it asks a device up to three times, 20 s each, and has to say what came of it.
const DONE_WITHIN: Duration = Duration::from_secs(66);

/// How long a bridge is waited for that has nobody to ask.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long the body of a command may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// What stands before the name of a source.
const PREFIX: &str = "/v1/sources/";

const PARAMETERS: &str = "the parameters are kind, state, after, limit, and no others";

/// `GET /v1/sources`.
pub(super) async fn list(
    _: PrivateReader,
    State(replica): State<Arc<Replica>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (mut kind, mut state) = (None, None);
    let mut paging = Paging::<SourceId>::new();
    for pair in query::pairs(uri.query()) {
        let (name, value) = pair?;
        match &*name {
            "kind" => query::once(&mut kind, "kind", parse_kind(&value)?)?,
            "state" => query::once(&mut state, "state", parse_state(&value)?)?,
            name if paging.take(name, &value)? => {}
            _ => return Err(query::unknown(PARAMETERS)),
        }
    }
    let limit = paging.limit();
    let known = replica.known();
    // One more than is told, which tells whether there are more.
    let mut sources: Vec<Source> = known
        .sources
        .list(paging.after.as_ref())
        .into_values()
        .filter(|source| kind.is_none_or(|kind| source.kind == kind))
        .filter(|source| state.is_none_or(|state| source.state == state))
        .take(limit + 1)
        .cloned()
        .collect();
    drop(known);
    let next = (sources.len() > limit).then(|| {
        sources.truncate(limit);
        sources.last().map(|source| source.id.clone())
    });
    Ok(json(&Sources { sources, next: next.flatten() }))
}

/// `GET /v1/sources/{id}`.
pub(super) async fn one(
    _: PrivateReader,
    State(replica): State<Arc<Replica>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let path = named(&uri);
    if path.contains(':') {
        return Err(Problem::only("POST"));
    }
    let id = source::source(path).map_err(|error| Problem::bad(format!("the source {error}")))?;
    no_parameters(&uri)?;
    let source = replica.known().sources.find(&id).map(|(_, source)| source.clone());
    Ok(json(&source.ok_or(Problem::new(Kind::UnknownSource))?))
}

/// `POST /v1/sources/{id}:{verb}`.
pub(super) async fn command(
    _: Operator,
    State(replica): State<Arc<Replica>>,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let path = named(&uri);
    let (name, _) = path.split_once(':').ok_or(Problem::only("GET, HEAD"))?;
    let id = source::source(name).map_err(|error| Problem::bad(format!("the source {error}")))?;
    no_parameters(&uri)?;
    let bridge = {
        let known = replica.known();
        let found = known.sources.find(&id).map(|(peer, _)| peer.clone());
        let otherwise =
            if known.sources.any_bridge().is_some() { Kind::UnknownSource } else { Kind::NoBridge };
        found.ok_or_else(|| absent(otherwise))?
    };
    let body = timeout(BODY_WITHIN, to_bytes(body, COMMAND_BYTES_MAX))
        .await
        .map_err(|_| Problem::bad("the body does not come"))?
        .map_err(|_| Problem::new(Kind::BodyTooLarge))?;
    let (source, command) = source::command(path, &body).map_err(|error| match error {
        CommandError::Verb => Problem::new(Kind::NoSuchPath),
        CommandError::TooLong => Problem::new(Kind::BodyTooLarge),
        CommandError::Source(_) | CommandError::Body(_) => Problem::bad(error.to_string()),
    })?;
    info!(channel = %source.channel(), bridge = %bridge.node, "a source is told what to do");
    ask(&replica, &bridge, &Ask::Command { source, command }, DONE_WITHIN).await
}

/// `GET /v1/devices`.
pub(super) async fn devices(
    _: PrivateReader,
    State(replica): State<Arc<Replica>>,
    uri: Uri,
) -> Result<Response, Problem> {
    no_parameters(&uri)?;
    let bridge = replica.known().sources.any_bridge().cloned().ok_or_else(|| absent(Kind::NoBridge))?;
    ask(&replica, &bridge, &Ask::Devices, ANSWER_WITHIN).await
}

/// What stands in the path for the name of a source, and what is to be done with it.
fn named(uri: &Uri) -> &str {
    uri.path().strip_prefix(PREFIX).unwrap_or_default()
}

fn absent(kind: Kind) -> Problem {
    match kind {
        Kind::NoBridge => Problem::new(kind).retry_after(soon()),
        kind => Problem::new(kind),
    }
}

async fn ask(replica: &Replica, bridge: &Peer, ask: &Ask, within: Duration) -> Result<Response, Problem> {
    let Ok(_permit) = replica.orders.try_acquire() else {
        return Err(Problem::new(Kind::Busy).retry_after(soon()));
    };
    let subject = replica.subjects.node(&bridge.node, bridge.incarnation);
    let asked = replica.links.backbone.request(&subject, to_json(ask).into(), within);
    let answer = tokio::select! {
        // Also where the backbone takes its time to take it.
        answer = timeout(within * 2, asked) => answer.unwrap_or(Err(RequestError::Timeout)),
        () = replica.left() => return Err(Problem::new(Kind::Leaving).retry_after(Duration::ZERO)),
    };
    let answer = answer.map_err(|error| match error {
        RequestError::NoResponders => absent(Kind::NoBridge),
        RequestError::Timeout => Problem::new(Kind::BridgeSilent),
        RequestError::TooLong | RequestError::Disconnected(_) => {
            Problem::new(Kind::Unavailable).because("the backbone is not connected").retry_after(soon())
        }
    })?;
    match from_json_within(&answer, ANSWER_BYTES_MAX) {
        Ok(Answered::Done { result }) => Ok(json(&result)),
        Ok(Answered::Problem { status, code, detail }) => {
            Ok(told(status, &code, detail).unwrap_or_else(not_understood))
        }
        Err(_) => Ok(not_understood()),
    }
}

fn not_understood() -> Response {
    Problem::new(Kind::BridgeSilent).because("its answer is not understood").into_response()
}

fn parse_kind(value: &str) -> Result<SourceKind, Problem> {
    match value {
        "kerberos" => Ok(SourceKind::Kerberos),
        "dji" => Ok(SourceKind::Dji),
        _ => Err(Problem::bad("kind is neither kerberos nor dji")),
    }
}

fn parse_state(value: &str) -> Result<SourceState, Problem> {
    match value {
        "idle" => Ok(SourceState::Idle),
        "starting" => Ok(SourceState::Starting),
        "live" => Ok(SourceState::Live),
        "stopping" => Ok(SourceState::Stopping),
        "external" => Ok(SourceState::External),
        _ => Err(Problem::bad("state is none of idle, starting, live, stopping, external")),
    }
}
