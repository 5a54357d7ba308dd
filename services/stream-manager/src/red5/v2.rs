//! The dialect of 2.0: `/as/v1/…` ("Stream Manager 2.0 Streams").

use hyper::{Method, StatusCode};
use relay_proto::api::ChannelState;
use relay_proto::registry::{NodeState, Role};
use serde::Serialize;

use super::answer::{Answer, Refusal};
use super::pick::{self, Chosen, Endpoint, Wanted};
use super::query::Query;
use super::rows::{self, Of, Row};
use super::stream::Stream;
use super::{Known, Setup};
use crate::view::Member;

/// What clients call the group where there is one only.
pub(super) const THE_GROUP: &str = "default";

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// The groups that there are.
    Groups,
    /// Something of one group.
    Of { group: String, what: What },
}

/// What is asked of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// List All Streams in NodeGroup.
    List { aggregate: bool },
    /// Get Stream Stats.
    Stream { stream: Stream, aggregate: bool },
    /// Get Server for Publish, Get Server for Subscribe.
    Pick(Wanted),
}

impl Call {
    /// Reads a request.
    pub(super) fn read(method: &Method, path: &[&str], query: &Query<'_>) -> Result<Self, Refusal> {
        let aggregate = query.is_not_false("aggregate");
        let (group, what) = match *path {
            ["streams", "stream", "node-groups"] => return only_read(method, Self::Groups),
            ["streams", "stream", group] => (group, What::List { aggregate }),
            ["streams", "stream", group, "stream", ref guid @ ..] => {
                (group, What::Stream { stream: Stream::called(guid)?, aggregate })
            }
            ["streams", "stream", group, "publish", ref guid @ ..] => {
                let wanted = wanted(guid, Role::Publish, query)?;
                if wanted.count > 1 && query.is_true("transcode") {
                    return Err(Refusal::bad("transcode is for one endpoint"));
                }
                (group, What::Pick(wanted))
            }
            ["streams", "stream", group, "subscribe", ref guid @ ..] => {
                (group, What::Pick(wanted(guid, Role::Receive, query)?))
            }
            ["auth", ..] => {
                return Err(Refusal::not_found(
                    "there is no login here: calls that need a token take one that the stream-manager was configured \
                     with, as authorization: Bearer",
                ));
            }
            ["streams", "provision", ..] => {
                return Err(Refusal::not_found(
                    "there are no provisions here: streams are published without",
                ));
            }
            ["proxy", ..] => {
                return Err(Refusal::not_found("this is not relayed here: connect to the url of an answer"));
            }
            ["admin", ..] => {
                return Err(Refusal::not_found("this is not offered here: see /v1/nodes and /v1/capacity"));
            }
            _ => return Err(Refusal::not_found("nothing is here")),
        };
        only_read(method, Self::Of { group: group.to_owned(), what })
    }

    pub(super) fn answer(&self, known: &impl Known, setup: &Setup<'_>) -> Result<Answer, Refusal> {
        let (group, what) = match self {
            Self::Groups => return Ok(Answer::of(&[setup.cluster])),
            Self::Of { group, what } => (group, what),
        };
        if group != THE_GROUP && group != setup.cluster.as_str() {
            return Err(Refusal::not_found("there is no such node group"));
        }
        match what {
            What::List { aggregate } => {
                let of = Of::aggregate(*aggregate);
                let (list, is_cut) = rows::list(known, setup, of, |_, now, row| listed(row, now, setup));
                Ok(Answer { is_cut, ..Answer::of(&list) })
            }
            What::Stream { stream, aggregate } => {
                let of = Of::aggregate(*aggregate);
                let list = rows::one(known, stream, of, |_, now, row| listed(row, now, setup));
                if list.is_empty() {
                    return Err(Refusal::not_found("nobody publishes the stream"));
                }
                Ok(Answer::of(&list))
            }
            What::Pick(wanted) => picked(wanted, known, setup),
        }
    }
}

fn only_read(method: &Method, call: Call) -> Result<Call, Refusal> {
    if method == Method::GET || method == Method::HEAD {
        Ok(call)
    } else {
        Err(Refusal::only("GET, HEAD, OPTIONS"))
    }
}

/// The sub-group is the region, and some clients call it so.
fn wanted(guid: &[&str], role: Role, query: &Query<'_>) -> Result<Wanted, Refusal> {
    let regions = query.get("subGroup").or_else(|| query.get("region"));
    Wanted::read(Stream::called(guid)?, role, regions, query)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    stream_guid: String,
    server_address: String,
    node_role: &'static str,
    sub_group: String,
    node_state: &'static str,
    subscribers: u64,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    port: u16,
    #[serde(rename = "reserved_ms", skip_serializing_if = "Option::is_none")]
    reserved_ms: Option<u64>,
}

fn picked(wanted: &Wanted, known: &impl Known, setup: &Setup<'_>) -> Result<Answer, Refusal> {
    // A publisher that has lost its connection comes back while the stream is stalled or held, and is let in.
    let channel = pick::published(known, &wanted.stream);
    let is_live = channel.as_ref().is_some_and(|channel| channel.state == ChannelState::Live);
    if wanted.role == Role::Publish && is_live {
        return Err(Refusal::new(StatusCode::CONFLICT, "the stream is published already"));
    }
    let started_ms = channel.as_ref().and_then(rows::started_ms);
    let locate = |chosen: &Chosen<'_>| {
        let Endpoint { url, host, port, .. } = chosen.endpoint;
        Location {
            stream_guid: wanted.stream.guid(),
            server_address: host.clone(),
            node_role: rows::name(wanted.role),
            sub_group: chosen.record.region.clone().unwrap_or_default(),
            node_state: IN_SERVICE,
            subscribers: chosen.receivers(),
            duration_ms: started_ms.map_or(0, |at| setup.unix_ms.saturating_sub(at)),
            hostname: chosen.endpoint.hostname().map(str::to_owned),
            node: chosen.record.node.to_string(),
            url: Some(url.clone()),
            port: *port,
            reserved_ms: Some(setup.reserved_ms),
        }
    };
    Ok(Answer::of(&pick::choose(wanted, channel.as_ref(), known, setup, locate)?))
}

fn listed(row: &Row<'_>, now: u64, setup: &Setup<'_>) -> Location {
    let record = &row.member.record;
    let endpoint = Endpoint::node(setup, record);
    Location {
        stream_guid: row.stream.guid(),
        node_role: rows::name(row.role),
        sub_group: record.region.clone().unwrap_or_default(),
        node_state: state(row.member, now),
        subscribers: row.receivers,
        duration_ms: row.started_ms.map_or(0, |at| setup.unix_ms.saturating_sub(at)),
        hostname: endpoint.hostname().map(str::to_owned),
        node: record.node.to_string(),
        url: None,
        port: endpoint.port,
        reserved_ms: None,
        server_address: endpoint.host,
    }
}

const IN_SERVICE: &str = "INSERVICE";

fn state(member: &Member, now: u64) -> &'static str {
    match member.record.state {
        _ if member.is_silent(now) => "FAULT",
        NodeState::InService => IN_SERVICE,
        NodeState::Draining => "SOFT_SUNSET",
    }
}
