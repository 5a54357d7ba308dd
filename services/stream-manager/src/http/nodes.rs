//! The nodes, and what they can carry together.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::{HeaderMap, Uri};
use relay_proto::NodeId;
use relay_proto::api::manager::{ClusterNode, NodePage};
use relay_proto::registry::NodeState;

use super::access::Reader;
use super::problem::{Kind, Problem};
use super::{Named, Paging, json, no_parameters, query};
use crate::config::Addresses;
use crate::replica::Replica;

const PARAMETERS: &str = "the parameters are state, region, after, limit, and no others";

/// What a list of nodes can be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    InService,
    Draining,
    Silent,
}

/// `GET /v1/nodes`.
pub(super) async fn list(
    _: Reader,
    State(replica): State<Arc<Replica>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut state, mut region) = (None, None);
    let mut paging = Paging::<NodeId>::new();
    for pair in query::pairs(uri.query()) {
        let (name, value) = pair?;
        match &*name {
            "state" => query::once(&mut state, "state", parse_state(&value)?)?,
            "region" => query::once(&mut region, "region", query::text("region", &value)?)?,
            name if paging.take(name, &value)? => {}
            _ => return Err(query::unknown(PARAMETERS)),
        }
    }
    let limit = paging.limit();
    let now = replica.now();
    let known = replica.known();
    // One more than is told, which tells whether there are more.
    let mut nodes: Vec<ClusterNode> = known
        .view
        .nodes()
        .filter(|member| paging.after.as_ref().is_none_or(|after| member.record.node > *after))
        .filter(|member| region.is_none() || member.record.region == region)
        .filter(|member| match state {
            None => true,
            Some(Standing::Silent) => member.is_silent(now),
            Some(Standing::InService) => {
                !member.is_silent(now) && member.record.state == NodeState::InService
            }
            Some(Standing::Draining) => !member.is_silent(now) && member.record.state == NodeState::Draining,
        })
        .take(limit + 1)
        .map(|member| member.describe(now))
        .collect();
    let view = replica.state_of(&known.view, now);
    drop(known);
    let next = (nodes.len() > limit).then(|| {
        nodes.truncate(limit);
        nodes.last().map(|node| node.node.to_string())
    });
    if hides_addresses(&replica, &headers) {
        nodes.iter_mut().for_each(|node| node.url = None);
    }
    Ok(json(&NodePage { nodes, next: next.flatten(), view }))
}

/// `GET /v1/nodes/{node}`.
pub(super) async fn one(
    _: Reader,
    State(replica): State<Arc<Replica>>,
    named: Named,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let node: NodeId = named.read("node")?;
    no_parameters(&uri)?;
    let now = replica.now();
    let described = replica.known().view.node(&node).map(|member| member.describe(now));
    let mut node = described.ok_or(Problem::new(Kind::NoSuchNode))?;
    if hides_addresses(&replica, &headers) {
        node.url = None;
    }
    Ok(json(&node))
}

/// `GET /v1/capacity`.
pub(super) async fn capacity(
    _: Reader,
    State(replica): State<Arc<Replica>>,
    uri: Uri,
) -> Result<Response, Problem> {
    no_parameters(&uri)?;
    let now = replica.now();
    let report = crate::capacity::capacity(&replica.known().view, now, replica.config.utilization_target);
    Ok(json(&report))
}

/// Where clients reach nodes through the stream-manager alone, addresses are for those with a token.
fn hides_addresses(replica: &Replica, headers: &HeaderMap) -> bool {
    replica.config.addresses == Addresses::Proxied && replica.config.access.role(headers).is_none()
}

fn parse_state(value: &str) -> Result<Standing, Problem> {
    match value {
        "in_service" => Ok(Standing::InService),
        "draining" => Ok(Standing::Draining),
        "silent" => Ok(Standing::Silent),
        _ => Err(Problem::bad("state is none of in_service, draining, silent")),
    }
}
