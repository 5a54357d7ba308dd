//! What is on, from what is known.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::Uri;
use relay_proto::ChannelName;
use relay_proto::api::ChannelState;
use relay_proto::api::manager::{ClusterChannel, Probe};

use super::access::Reader;
use super::problem::{Kind, Problem};
use super::{Named, Paging, json, no_parameters, query};
use crate::replica::Replica;
use crate::view::ChannelFilter;

const PARAMETERS: &str = "the parameters are prefix, state, node, after, limit, and no others";

/// `GET /v1/channels`.
pub(super) async fn list(
    _: Reader,
    State(replica): State<Arc<Replica>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (mut prefix, mut state, mut node) = (None, None, None);
    let mut paging = Paging::<ChannelName>::new();
    for pair in query::pairs(uri.query()) {
        let (name, value) = pair?;
        match &*name {
            "prefix" => {
                // What begins a name is a name.
                let beginning: ChannelName = query::parse("prefix", &value)?;
                query::once(&mut prefix, "prefix", String::from(beginning))?;
            }
            "state" => query::once(&mut state, "state", parse_state(&value)?)?,
            "node" => query::once(&mut node, "node", query::parse("node", &value)?)?,
            name if paging.take(name, &value)? => {}
            _ => return Err(query::unknown(PARAMETERS)),
        }
    }
    let filter = ChannelFilter { prefix, state, node };
    let after = paging.after.as_ref().map(ChannelName::as_str);
    let page = replica.known().view.channels(&filter, after, paging.limit());
    Ok(json(&page))
}

/// `GET /v1/channels/{channel}`.
pub(super) async fn one(
    _: Reader,
    State(replica): State<Arc<Replica>>,
    named: Named,
    uri: Uri,
) -> Result<Response, Problem> {
    let channel = named.read("channel")?;
    no_parameters(&uri)?;
    Ok(json(&known(&replica, &channel)?))
}

/// `GET /v1/channels/{channel}/probe`.
pub(super) async fn probe(
    _: Reader,
    State(replica): State<Arc<Replica>>,
    named: Named,
    uri: Uri,
) -> Result<Response, Problem> {
    let channel = named.read("channel")?;
    no_parameters(&uri)?;
    let ClusterChannel { epoch, container, tracks, .. } = published(&replica, &channel)?;
    Ok(json(&Probe { epoch, container, tracks }))
}

/// A channel that some node carries.
fn known(replica: &Replica, channel: &ChannelName) -> Result<ClusterChannel, Problem> {
    replica.known().view.channel(channel).ok_or(Problem::new(Kind::NoSuchChannel))
}

/// A channel with a publication.
pub(super) fn published(replica: &Replica, channel: &ChannelName) -> Result<ClusterChannel, Problem> {
    let channel = known(replica, channel)?;
    match channel.state {
        ChannelState::Waiting => Err(Problem::new(Kind::NotLive)),
        ChannelState::Live | ChannelState::Stalled | ChannelState::Held => Ok(channel),
    }
}

fn parse_state(value: &str) -> Result<ChannelState, Problem> {
    match value {
        "waiting" => Ok(ChannelState::Waiting),
        "live" => Ok(ChannelState::Live),
        "stalled" => Ok(ChannelState::Stalled),
        "held" => Ok(ChannelState::Held),
        _ => Err(Problem::bad("state is none of waiting, live, stalled, held")),
    }
}
