//! What operators have done: ending channels and sessions, draining nodes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::Uri;
use relay_cluster::backbone::RequestError;
use relay_proto::api::manager::{Ended, NodeStated};
use relay_proto::backbone::{Command, Done, Request, Stated, from_json, to_json};
use relay_proto::{ChannelName, NodeId, SessionId};
use serde::Deserialize;
use tracing::info;

use super::access::Operator;
use super::problem::{Kind, Problem};
use super::{Named, json, no_parameters, peer_of, soon};
use crate::replica::Replica;

/// How long nodes are waited for. Only whom a command concerns answers, so that nobody has it takes as long to find out.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// `POST /v1/channels/{channel}:close`.
pub(super) async fn on_channel(
    _: Operator,
    State(replica): State<Arc<Replica>>,
    named: Named,
    uri: Uri,
) -> Result<Response, Problem> {
    let (channel, verb) = named.act::<ChannelName>("channel")?;
    if verb != "close" {
        return Err(Problem::new(Kind::NoSuchPath));
    }
    no_parameters(&uri)?;
    let ended = command(&replica, &Command::CloseChannel { channel: channel.clone() }, Kind::NotLive).await?;
    info!(channel = channel.as_str(), node = %ended.node, "channel closed");
    Ok(json(&ended))
}

/// `POST /v1/sessions/{session}:kick`.
pub(super) async fn on_session(
    _: Operator,
    State(replica): State<Arc<Replica>>,
    named: Named,
    uri: Uri,
) -> Result<Response, Problem> {
    // Nothing is there to be read.
    if named.verb.as_deref() != Some("kick") {
        return Err(Problem::new(Kind::NoSuchPath));
    }
    let (session, _) = named.act::<SessionId>("session")?;
    no_parameters(&uri)?;
    let ended = command(&replica, &Command::KickSession { session }, Kind::NoSuchSession).await?;
    info!(%session, node = %ended.node, "session ended");
    Ok(json(&ended))
}

/// `POST /v1/nodes/{node}:drain` and `:undrain`.
pub(super) async fn on_node(
    _: Operator,
    State(replica): State<Arc<Replica>>,
    named: Named,
    uri: Uri,
) -> Result<Response, Problem> {
    let (node, verb) = named.act::<NodeId>("node")?;
    let request = match verb {
        "drain" => Request::Drain,
        "undrain" => Request::Undrain,
        _ => return Err(Problem::new(Kind::NoSuchPath)),
    };
    no_parameters(&uri)?;
    let peer = peer_of(&replica, &node).ok_or(Problem::new(Kind::NoSuchNode))?;
    let subject = replica.subjects.node(&peer.node, peer.incarnation);
    let answer = ask(&replica, &subject, to_json(&request)).await;
    let Stated { state } = understood(answer, Kind::NodeSilent)?;
    info!(node = %node, ?state, "node told to {verb}");
    Ok(json(&NodeStated { node, state }))
}

/// Tells every node. `nobody` is what it means that none answers.
async fn command(replica: &Replica, command: &Command, nobody: Kind) -> Result<Ended, Problem> {
    let answer = ask(replica, &replica.subjects.all(), to_json(command)).await;
    let Done { node, sessions } = understood(answer, nobody)?;
    Ok(Ended { node, sessions })
}

pub(crate) async fn ask(replica: &Replica, subject: &str, message: Vec<u8>) -> Result<Bytes, RequestError> {
    // A stream-manager that has just begun, or a server that has: whoever asks does not care.
    replica.connected(ANSWER_WITHIN).await;
    let asked = replica.links.backbone.request(subject, message.into(), ANSWER_WITHIN);
    // Also where the backbone takes its time to take it.
    tokio::time::timeout(ANSWER_WITHIN * 2, asked).await.unwrap_or(Err(RequestError::Timeout))
}

pub(crate) fn understood<T: for<'a> Deserialize<'a>>(
    answer: Result<Bytes, RequestError>,
    nobody: Kind,
) -> Result<T, Problem> {
    let answer = answer.map_err(|error| match error {
        RequestError::NoResponders | RequestError::Timeout => Problem::new(nobody),
        RequestError::TooLong | RequestError::Disconnected(_) => {
            Problem::new(Kind::Unavailable).because("the backbone is not connected").retry_after(soon())
        }
    })?;
    from_json(&answer).map_err(|_| Problem::new(Kind::NodeSilent).because("its answer is not understood"))
}
