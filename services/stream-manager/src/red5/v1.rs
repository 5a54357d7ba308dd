//! The dialect of 1.x: `/streammanager/api/VERSION/…` ("Streams", "Nodes" and "Groups" of its "REST API").

use hyper::Method;
use relay_proto::NodeId;
use relay_proto::registry::{NodeRecord, NodeState, Role};
use serde::Serialize;

use super::answer::{Answer, Refusal};
use super::pick::{self, Endpoint, Wanted};
use super::query::Query;
use super::rows::{self, Of, Row};
use super::stream::Stream;
use super::{Known, Setup};
use crate::http::access::Need;
use crate::view::{Member, View};

/// Versions whose calls are the same as far as they are spoken here.
const VERSIONS: [&str; 6] = ["1.0", "2.0", "2.1", "3.0", "3.1", "4.0"];

/// Nodes that one request sunsets.
const SUNSET_MAX: usize = 64;

/// What stands for the images and rules that nodes are made by there: here nodes come by themselves.
const LAUNCH_CONFIG: &str = "default";

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// Read Stream: where to publish or to receive it.
    Pick(Wanted),
    /// List Streams.
    List,
    /// List All Streams With Stats.
    ListStats(Aggregate),
    /// Read Stream With Stats.
    Stats(Stream),
    /// Read Node.
    Node(String),
    /// Read Node Stats.
    NodeStats(String),
    /// List Groups.
    Groups,
    /// Read Group.
    Group(String),
    /// List Group Nodes, Origins or Edges.
    GroupNodes(String, Option<Role>),
}

/// Whether a stream is told as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aggregate(bool);

/// Reads a request.
pub(super) fn read(
    method: &Method,
    version: &str,
    path: &[&str],
    query: &Query<'_>,
) -> Result<super::Call, Refusal> {
    if !VERSIONS.contains(&version) {
        return Err(Refusal::not_found("this version of the API is not spoken here, 2.0 to 4.0 are"));
    }
    if *path == ["admin", "node", "sunset"] {
        return if method == Method::POST { Ok(super::Call::Sunset) } else { Err(Refusal::only("POST")) };
    }
    // A stream may be called `stats` or `join`: then the request says what it is wanted for.
    let acts = query.has("action");
    let call = match *path {
        ["event", "list"] => Call::List,
        ["event", "list", "stats"] if !acts => Call::ListStats(Aggregate(query.is_not_false("aggregate"))),
        ["event", ref stream @ .., "stats"] if !acts && stream.len() > 1 => {
            Call::Stats(Stream::called(stream)?)
        }
        ["event", ref room @ .., "join"] if !acts && room.len() > 1 => {
            return Err(Refusal::not_found("there are no conferences here"));
        }
        ["event", ref stream @ ..] => Call::Pick(wanted(stream, query)?),
        ["admin", "node", node] => Call::Node(node.to_owned()),
        ["admin", "node", node, "stats"] => Call::NodeStats(node.to_owned()),
        ["admin", "nodegroup"] => Call::Groups,
        ["admin", "nodegroup", group] => Call::Group(group.to_owned()),
        ["admin", "nodegroup", group, "node"] => Call::GroupNodes(group.to_owned(), None),
        ["admin", "nodegroup", group, "node", "origin"] => {
            Call::GroupNodes(group.to_owned(), Some(Role::Publish))
        }
        ["admin", "nodegroup", group, "node", "edge"] => {
            Call::GroupNodes(group.to_owned(), Some(Role::Receive))
        }
        ["admin", ..] => {
            return Err(Refusal::not_found("this is not offered here: see /v1/nodes and /v1/channels"));
        }
        ["media", ..] => return Err(Refusal::not_found("there are no recordings here")),
        _ => return Err(Refusal::not_found("nothing is here")),
    };
    if method == Method::GET || method == Method::HEAD {
        Ok(super::Call::V1(call))
    } else {
        Err(Refusal::only("GET, HEAD, OPTIONS"))
    }
}

fn wanted(stream: &[&str], query: &Query<'_>) -> Result<Wanted, Refusal> {
    let stream = Stream::called(stream)?;
    let role = match query.get("action") {
        Some("broadcast") => Role::Publish,
        Some("subscribe") => Role::Receive,
        _ => return Err(Refusal::bad("action is neither broadcast nor subscribe")),
    };
    match (query.get("region"), query.has("geozone")) {
        (Some(_), true) => Err(Refusal::bad("region and geozone exclude each other")),
        (None, true) => {
            Err(Refusal::bad("no geo information is provisioned: there are regions, and no geozones"))
        }
        (region, false) => Wanted::read(stream, role, region, query),
    }
}

impl Call {
    pub(super) const fn need(&self) -> Need {
        match self {
            Self::Pick(_) | Self::List | Self::ListStats(_) | Self::Stats(_) => Need::Read,
            Self::Node(_) | Self::NodeStats(_) | Self::Groups | Self::Group(_) | Self::GroupNodes(..) => {
                Need::Operate
            }
        }
    }

    pub(super) fn answer(&self, known: &impl Known, setup: &Setup<'_>) -> Result<Answer, Refusal> {
        match self {
            Self::Pick(wanted) => picked(wanted, known, setup),
            Self::List => {
                let (list, is_cut) =
                    rows::list(known, setup, Of::EachNode, |_, _, row| listed(row, setup, false));
                Ok(Answer { is_cut, ..Answer::of(&list) })
            }
            Self::ListStats(Aggregate(aggregate)) => {
                let of = Of::aggregate(*aggregate);
                let (list, is_cut) = rows::list(known, setup, of, |_, _, row| listed(row, setup, true));
                Ok(Answer { is_cut, ..Answer::of(&list) })
            }
            Self::Stats(stream) => {
                let whole = rows::one(known, stream, Of::Whole, |_, _, row| stats(row, setup));
                let whole = whole.first().ok_or_else(|| Refusal::not_found("nobody publishes the stream"))?;
                Ok(Answer::of(whole))
            }
            Self::Node(node) => known.look(|view, now| {
                let member = find(view, node)?;
                Ok(Answer::of(&described(member, now, Some(setup.cluster.as_str()), None)))
            }),
            Self::NodeStats(node) => known.look(|view, now| {
                let member = find(view, node)?;
                Ok(Answer::of(&NodeStats {
                    total_connections: member.record.load.sessions,
                    parents: [],
                    last_traffic_time: 0,
                    last_ping: setup.unix_ms.saturating_sub(member.age_ms(now)),
                    node: described(member, now, Some(setup.cluster.as_str()), None),
                }))
            }),
            Self::Groups => Ok(known.look(|view, _| Answer::of(&[group(view, setup)]))),
            Self::Group(name) => {
                check_group(name, setup)?;
                Ok(known.look(|view, _| Answer::of(&group(view, setup))))
            }
            Self::GroupNodes(name, role) => {
                check_group(name, setup)?;
                Ok(known.look(|view, now| {
                    let takes =
                        |member: &&Member| role.is_none_or(|role| member.record.roles.contains(&role));
                    let nodes = view.nodes().filter(takes);
                    let nodes: Vec<_> = nodes.map(|member| described(member, now, None, *role)).collect();
                    Answer::of(&nodes)
                }))
            }
        }
    }
}

/// The nodes that the body of a request for a sunset names.
pub(super) fn to_sunset(body: &[u8], known: &impl Known) -> Result<Vec<NodeId>, Refusal> {
    let named: Vec<String> =
        serde_json::from_slice(body).map_err(|_| Refusal::bad("the body is not a JSON list of nodes"))?;
    if named.is_empty() || named.len() > SUNSET_MAX {
        return Err(Refusal::bad(format!("the body does not name 1 to {SUNSET_MAX} nodes")));
    }
    // All of them, before anything is done to one.
    known.look(|view, _| named.iter().map(|node| Ok(find(view, node)?.record.node.clone())).collect())
}

/// What is answered when these nodes take nothing new any more.
pub(super) fn sunset(nodes: &[NodeId], known: &impl Known, setup: &Setup<'_>) -> Answer {
    known.look(|view, now| {
        let members = nodes.iter().filter_map(|node| view.node(node));
        let group = Some(setup.cluster.as_str());
        let nodes =
            members.map(|member| Node { state: "terminating", ..described(member, now, group, None) });
        Answer::of(&nodes.collect::<Vec<_>>())
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Picked {
    name: String,
    scope: String,
    server_address: String,
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    node: String,
    url: String,
    port: u16,
    #[serde(rename = "reserved_ms")]
    reserved_ms: u64,
}

/// One is an object, several are a list, even where fewer were found.
fn picked(wanted: &Wanted, known: &impl Known, setup: &Setup<'_>) -> Result<Answer, Refusal> {
    let stream = &wanted.stream;
    // Whoever publishes may come back to a stream that is there, and where that is, the placement knows.
    let channel = match wanted.role {
        Role::Receive => pick::published(known, stream),
        Role::Publish => None,
    };
    let chosen = pick::choose(wanted, channel.as_ref(), known, setup, |chosen| Picked {
        name: stream.name.clone(),
        scope: format!("/{}", stream.scope),
        server_address: chosen.endpoint.host.clone(),
        region: region(chosen.record).to_owned(),
        hostname: chosen.endpoint.hostname().map(str::to_owned),
        node: chosen.record.node.to_string(),
        url: chosen.endpoint.url.clone(),
        port: chosen.endpoint.port,
        reserved_ms: setup.reserved_ms,
    })?;
    match (&chosen[..], wanted.count) {
        ([only], 1) => Ok(Answer::of(only)),
        (several, _) => Ok(Answer::of(&several)),
    }
}

/// A stream in a list, whose scope has no slash there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(skip_serializing_if = "Option::is_none")]
    current_subscribers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
    r#type: &'static str,
    name: String,
    scope: String,
    server_address: String,
    region: String,
}

fn listed(row: &Row<'_>, setup: &Setup<'_>, with_stats: bool) -> Listed {
    Listed {
        current_subscribers: with_stats.then_some(row.receivers),
        start_time: with_stats.then_some(row.started_ms.unwrap_or(0)),
        r#type: rows::name(row.role),
        name: row.stream.name.clone(),
        scope: row.stream.scope.clone(),
        server_address: Endpoint::node(setup, &row.member.record).host,
        region: region(&row.member.record).to_owned(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    name: String,
    scope: String,
    server_address: String,
    region: String,
    current_subscribers: u64,
    start_time: u64,
}

fn stats(row: &Row<'_>, setup: &Setup<'_>) -> Stats {
    Stats {
        name: row.stream.name.clone(),
        scope: format!("/{}", row.stream.scope),
        server_address: Endpoint::node(setup, &row.member.record).host,
        region: region(&row.member.record).to_owned(),
        current_subscribers: row.receivers,
        start_time: row.started_ms.unwrap_or(0),
    }
}

/// A node, for operators: with its own address, whatever clients are told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    identifier: &'a str,
    role: &'static str,
    availability_zone: &'a str,
    address: String,
    state: &'static str,
    launch_config: &'static str,
    capacity: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeStats<'a> {
    total_connections: u64,
    parents: [&'a str; 0],
    last_traffic_time: u64,
    last_ping: u64,
    #[serde(flatten)]
    node: Node<'a>,
}

fn described<'a>(member: &'a Member, now: u64, group: Option<&'a str>, as_role: Option<Role>) -> Node<'a> {
    let record = &member.record;
    let main = if record.roles.contains(&Role::Publish) { Role::Publish } else { Role::Receive };
    Node {
        identifier: record.node.as_str(),
        role: rows::name(as_role.unwrap_or(main)),
        availability_zone: record.zone.as_deref().unwrap_or_else(|| region(record)),
        address: Endpoint::at(record.url.clone()).host,
        // What has no word of its own there: it runs, and takes nobody.
        state: match record.state {
            _ if member.is_silent(now) => "running",
            NodeState::InService => "inservice",
            NodeState::Draining => "terminating",
        },
        launch_config: LAUNCH_CONFIG,
        capacity: record.capacity.sessions,
        group,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'a> {
    id: u32,
    name: &'a str,
    origin_connections: u64,
    regions: Vec<&'a str>,
    launch_config: &'static str,
    scale_policy: &'static str,
    state: &'static str,
    timestamp: Option<u64>,
}

/// The one group that there is.
fn group<'a>(view: &'a View, setup: &Setup<'a>) -> Group<'a> {
    let mut regions: Vec<&str> = view.nodes().filter_map(|member| member.record.region.as_deref()).collect();
    regions.sort_unstable();
    regions.dedup();
    Group {
        id: 1,
        name: setup.cluster.as_str(),
        origin_connections: 0,
        regions,
        launch_config: LAUNCH_CONFIG,
        scale_policy: LAUNCH_CONFIG,
        state: "active",
        timestamp: None,
    }
}

fn check_group(name: &str, setup: &Setup<'_>) -> Result<(), Refusal> {
    if name == setup.cluster.as_str() || name == super::v2::THE_GROUP {
        Ok(())
    } else {
        Err(Refusal::not_found("there is no such group of nodes"))
    }
}

/// Nodes where they run; empty where nobody said, since some clients do not start without.
fn region(record: &NodeRecord) -> &str {
    record.region.as_deref().unwrap_or_default()
}

/// The node of this name, or of this address: a host, with its port where several have the host.
fn find<'a>(view: &'a View, called: &str) -> Result<&'a Member, Refusal> {
    let by_name = called.parse().ok().and_then(|name: NodeId| view.node(&name));
    if let Some(member) = by_name {
        return Ok(member);
    }
    let is_at = |member: &&Member| {
        let Endpoint { host, port, .. } = Endpoint::at(member.record.url.clone());
        let rest = called.strip_prefix(&*host).filter(|_| !host.is_empty());
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix(':').is_some_and(|at| at.parse() == Ok(port))
        })
    };
    let mut there = view.nodes().filter(is_at);
    match (there.next(), there.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Refusal::bad("several nodes have this address: name one, or its port too")),
        (None, _) => Err(Refusal::not_found("there is no such node")),
    }
}
