//! The API, told to machines (OpenAPI 3.1): schemas from the types, bounds from the constants that are checked, problems from
//! the kinds that there are.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use hyper::header::{self, HeaderValue};
use relay_lifecycle::problem::MEDIA_TYPE;
use relay_proto::api::manager;
use relay_proto::api::source::Sources;
use relay_proto::api::{ChannelState, Session, Track};
use relay_proto::event::{Event, EventKind};
use relay_proto::registry::{Capacity, Load, NodeState, Role};
use relay_proto::source::{Source, SourceKind, SourceState};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::access::Need;
use super::pick::{COUNT_MAX, EXCLUDED_MAX, WAIT_SECONDS_MAX};
use super::problem::{Kind, Problem};
use super::{JSON, NOSNIFF, PAGE, PAGE_MAX};

/// `GET /openapi.json`.
pub(super) async fn document() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| api().to_string());

    let headers = [
        (header::CONTENT_TYPE, JSON),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    ];
    (headers, DOCUMENT.as_str()).into_response()
}

#[derive(OpenApi)]
#[openapi(components(schemas(
    manager::Picks,
    manager::Pick,
    manager::Urls,
    manager::ViewState,
    manager::Reach,
    manager::Explanation,
    manager::Candidate,
    manager::Terms,
    manager::RefusedBecause,
    manager::ChannelPage,
    manager::ClusterChannel,
    manager::Carrier,
    manager::Part,
    manager::Probe,
    manager::NodePage,
    manager::ClusterNode,
    manager::SessionPage,
    manager::ClusterSession,
    manager::Ended,
    manager::NodeStated,
    manager::CapacityReport,
    manager::Used,
    manager::Problem,
    Session,
    Track,
    ChannelState,
    NodeState,
    Role,
    Capacity,
    Load,
    Event,
    EventKind,
    Sources,
    Source,
    SourceKind,
    SourceState,
)))]
struct Schemas;

/// What an operation answers.
enum Answer {
    /// A type, and an example of it.
    Of(&'static str, Value),
    Picture,
    Events,
    /// What a bridge answers.
    Told,
    /// This document.
    Document,
}

struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: Vec<Value>,
    /// What comes with the request, where anything does.
    body: Option<Value>,
    answer: Answer,
    need: Option<Need>,
    problems: &'static [Kind],
}

/// The whole document.
fn api() -> Value {
    // What a derive has made is JSON.
    let generated = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = describe(&operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Relaycast stream-manager",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Which node a client uses, and what operators of a cluster want to know and done. \
                Any replica answers everything.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": TAGS.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": generated["components"]["schemas"],
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the settings, of a reader or an operator. Where none is configured, requests \
                        from the machine itself need none.",
                },
            },
        },
    })
}

fn describe(operation: &Operation) -> Value {
    let mut responses = BTreeMap::new();
    responses.insert(200, success(&operation.answer));
    let always: &[Kind] = if operation.need.is_some() {
        &[Kind::BadParameter, Kind::UriTooLong, Kind::BodyTooLarge]
    } else {
        &[Kind::UriTooLong, Kind::BodyTooLarge]
    };
    let by_need: &[Kind] = match operation.need {
        None => &[],
        // Where the settings ask for a token; and where they ask for one that there is not, from elsewhere.
        Some(_) => &[Kind::TokenNeeded, Kind::TokenRefused, Kind::Forbidden],
    };
    let mut by_status = BTreeMap::<u16, Vec<Kind>>::new();
    for kind in always.iter().chain(by_need).chain(operation.problems) {
        by_status.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    for (status, kinds) in by_status {
        responses.insert(status, problems(status, &kinds));
    }
    let security = match operation.need {
        None => json!([]),
        // Public, or not: by setting.
        Some(Need::Read) => json!([{}, {"token": []}]),
        Some(Need::ReadPrivate | Need::Operate) => json!([{"token": []}]),
    };
    let mut responses: Map<String, Value> =
        responses.into_iter().map(|(status, response)| (status.to_string(), response)).collect();
    if matches!(operation.answer, Answer::Told) {
        let problem = json!({
            "description": "A problem that the bridge tells.",
            "content": {(MEDIA_TYPE): {"schema": reference("Problem")}},
        });
        responses.insert("default".to_owned(), problem);
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [tag(operation.path)],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": operation.parameters,
        "responses": responses,
        "security": security,
    });
    if let Some(body) = &operation.body {
        let content = json!({"application/json": {"schema": body}});
        described["requestBody"] = json!({"required": false, "content": content});
    }
    described
}

/// What operations are about, in the order in which they are shown.
const TAGS: [&str; 9] =
    ["pick", "channels", "nodes", "sessions", "sources", "devices", "events", "capacity", "openapi.json"];

/// What a path is about: the first part of it that says so.
fn tag(path: &str) -> &'static str {
    let about = |tag: &&&str| path.split('/').any(|segment| segment == **tag);
    TAGS.iter().find(about).copied().unwrap_or(TAGS[0])
}

fn success(answer: &Answer) -> Value {
    match answer {
        Answer::Of(schema, example) => json!({
            "description": "What was asked for, or what was done.",
            "content": {"application/json": {"schema": reference(schema), "example": example}},
        }),
        Answer::Picture => json!({
            "description": "The newest whole picture.",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        }),
        Answer::Events => json!({
            "description": "Server-sent events, without end: `id` and `event` as in the type Event, which `data` is in JSON. \
                `event: gap` says that events after the one it names were forgotten.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }),
        Answer::Told => json!({
            "description": "What the bridge says: which members it has depends on what was asked.",
            "content": {"application/json": {"schema": {}}},
        }),
        Answer::Document => json!({
            "description": "OpenAPI 3.1.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }),
    }
}

fn problems(status: u16, kinds: &[Kind]) -> Value {
    let names: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.name())).collect();
    let mut response = json!({
        "description": format!("The type ends in {}.", names.join(" or ")),
        "content": {(MEDIA_TYPE): {
            "schema": reference("Problem"),
            "example": kinds.first().map(|kind| manager::Problem::from(Problem::new(*kind))),
        }},
    });
    if status == 503 {
        response["headers"] = json!({
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
        });
    }
    if status == 401 {
        response["headers"] = json!({"WWW-Authenticate": {"schema": {"type": "string"}}});
    }
    response
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// A parameter of the query.
fn query(name: &str, schema: Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "required": false, "schema": schema, "description": description})
}

fn path(name: &str, schema: Value, description: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema, "description": description})
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9_-]{1,128}$"})
}

fn source() -> Value {
    // Less than what may be: devices and people mostly have such names.
    const PART: &str = "[A-Za-z0-9._-]{1,64}";
    json!({
        "type": "string",
        "pattern": format!("^(kerberos/{PART}/{PART}|dji/{PART}/{PART}/{PART})$"),
        "example": "dji/4BKBJ4R1010TGD/165-0-7/normal-0",
    })
}

fn session() -> Value {
    json!({"type": "string", "pattern": "^[0-9a-f]{16}$", "example": "cb341907fdaff9bb"})
}

fn text() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"})
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn paging(after: Value) -> [Value; 2] {
    [
        query("after", after, "Goes on after this entry: the `next` of the page before."),
        query(
            "limit",
            json!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE}),
            "Entries of the page.",
        ),
    ]
}

fn region() -> Value {
    query("region", text(), "Where the node runs, as its operator calls it.")
}

fn operations() -> Vec<Operation> {
    let channel = || path("channel", name(), "The channel.");
    let node = || path("node", name(), "The node.");
    let event_id =
        || json!({"type": "string", "pattern": "^[0-9]{1,19}-[0-9]{1,19}$", "example": "1769860800000-0"});
    let flag = || json!({"type": "boolean", "default": false});
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
    vec![
        Operation {
            method: "get",
            path: super::PICK,
            id: "pick",
            summary: "Which node to use",
            description: "Keeps a place there for a while. Asking with HEAD keeps none.",
            parameters: vec![
                query(
                    "channel",
                    name(),
                    "What is to be published or received; without it, the URLs have `{channel}`.",
                ),
                query(
                    "source",
                    source(),
                    "A source, in place of `channel` and `key`: the URLs have its channel and, to receive, the key to watch. This \
                     takes the token of a reader; to publish, an operator's.",
                ),
                query(
                    "role",
                    json!({"type": "string", "enum": ["publish", "receive"], "default": "receive"}),
                    "What the client comes for.",
                ),
                query(
                    "key",
                    name(),
                    "The key of the stream, for the URLs alone; without it, they have `{key}`.",
                ),
                region(),
                query(
                    "strict",
                    flag(),
                    "There or nowhere; otherwise elsewhere, where the region has no node.",
                ),
                query(
                    "n",
                    json!({"type": "integer", "minimum": 1, "maximum": COUNT_MAX, "default": 1}),
                    "So many nodes, or as many as there are. A place is kept on each.",
                ),
                json!({
                    "name": "exclude", "in": "query", "required": false, "style": "form", "explode": false,
                    "schema": {"type": "array", "maxItems": EXCLUDED_MAX, "items": name()},
                    "description": "Not these: names with commas between them, or the parameter several times.",
                }),
                query(
                    "wait",
                    json!({"type": "integer", "minimum": 0, "maximum": WAIT_SECONDS_MAX, "default": 0}),
                    "Waits for so many seconds until there is a node, and until the channel of a receiver is live. Then the \
                     answer is what it is.",
                ),
                query("explain", flag(), "Tells how every node was seen."),
            ],
            body: None,
            answer: Answer::Of("Picks", picks()),
            need: Some(Need::Read),
            problems: &[Kind::UnknownSource, Kind::NoSecret, Kind::NoNode, Kind::Busy, Kind::Leaving],
        },
        Operation {
            method: "get",
            path: "/v1/channels",
            id: "channels",
            summary: "What is on",
            description: "By name.",
            parameters: [
                query("prefix", name(), "What the name begins with."),
                query("state", one_of(&["waiting", "live", "stalled", "held"]), "What the publication does."),
                query("node", name(), "A node that carries it."),
            ]
            .into_iter()
            .chain(paging(name()))
            .collect(),
            body: None,
            answer: Answer::Of("ChannelPage", json!({"channels": [a_channel()], "next": "cam1"})),
            need: Some(Need::Read),
            problems: &[],
        },
        Operation {
            method: "get",
            path: "/v1/channels/{channel}",
            id: "channel",
            summary: "One channel",
            description: "Where it comes from and where it flows.",
            parameters: vec![channel()],
            body: None,
            answer: Answer::Of("ClusterChannel", a_channel()),
            need: Some(Need::Read),
            problems: &[Kind::NoSuchChannel],
        },
        Operation {
            method: "get",
            path: "/v1/channels/{channel}/probe",
            id: "probe",
            summary: "What is in a stream",
            description: "Container, codecs and resolution, as far as its node knows them.",
            parameters: vec![channel()],
            body: None,
            answer: Answer::Of("Probe", json!({"epoch": 7, "container": "flv", "tracks": [a_track()]})),
            need: Some(Need::Read),
            problems: &[Kind::NoSuchChannel, Kind::NotLive],
        },
        Operation {
            method: "get",
            path: "/v1/channels/{channel}/snapshot",
            id: "snapshot",
            summary: "A picture of a stream",
            description: "Of container mjpeg only, whose pictures stand for themselves; nothing is decoded. For those with a \
                token: on a node, seeing the stream takes its key.",
            parameters: vec![channel()],
            body: None,
            answer: Answer::Picture,
            need: Some(Need::ReadPrivate),
            problems: &[
                Kind::NoSuchChannel,
                Kind::NotLive,
                Kind::NoSnapshot,
                Kind::Busy,
                Kind::Unavailable,
                Kind::NodeSilent,
            ],
        },
        Operation {
            method: "post",
            path: "/v1/channels/{channel}:close",
            id: "closeChannel",
            summary: "End a publication",
            description: "And its receivers.",
            parameters: vec![channel()],
            body: None,
            answer: Answer::Of("Ended", json!({"node": "n1", "sessions": 1})),
            need: Some(Need::Operate),
            problems: &[Kind::NotLive, Kind::Unavailable, Kind::NodeSilent],
        },
        Operation {
            method: "get",
            path: "/v1/nodes",
            id: "nodes",
            summary: "The nodes",
            description: "By name.",
            parameters: [
                query("state", one_of(&["in_service", "draining", "silent"]), "How it is."),
                region(),
            ]
            .into_iter()
            .chain(paging(name()))
            .collect(),
            body: None,
            answer: Answer::Of("NodePage", json!({"nodes": [a_node()], "view": a_view()})),
            need: Some(Need::Read),
            problems: &[],
        },
        Operation {
            method: "get",
            path: "/v1/nodes/{node}",
            id: "node",
            summary: "One node",
            description: "What it carries, and what it can.",
            parameters: vec![node()],
            body: None,
            answer: Answer::Of("ClusterNode", a_node()),
            need: Some(Need::Read),
            problems: &[Kind::NoSuchNode],
        },
        Operation {
            method: "post",
            path: "/v1/nodes/{node}:drain",
            id: "drainNode",
            summary: "Take a node out of service",
            description: "It takes nothing new, and lets its sessions go in its own time. Its process goes on.",
            parameters: vec![node()],
            body: None,
            answer: Answer::Of("NodeStated", json!({"node": "n1", "state": "draining"})),
            need: Some(Need::Operate),
            problems: &[Kind::NoSuchNode, Kind::Unavailable, Kind::NodeSilent],
        },
        Operation {
            method: "post",
            path: "/v1/nodes/{node}:undrain",
            id: "undrainNode",
            summary: "Put a node back into service",
            description: "Unless its process is leaving.",
            parameters: vec![node()],
            body: None,
            answer: Answer::Of("NodeStated", json!({"node": "n1", "state": "in_service"})),
            need: Some(Need::Operate),
            problems: &[Kind::NoSuchNode, Kind::Unavailable, Kind::NodeSilent],
        },
        Operation {
            method: "get",
            path: "/v1/sessions",
            id: "sessions",
            summary: "Open sessions",
            description: "By number, of all nodes or of those with the channel. Nodes that do not answer within a second are \
                named: their sessions are missing.",
            parameters: [query("channel", name(), "Of this channel only.")]
                .into_iter()
                .chain(paging(session()))
                .collect(),
            body: None,
            answer: Answer::Of(
                "SessionPage",
                json!({
                    "sessions": [{
                        "node": "n1", "session": "cb341907fdaff9bb", "kind": "receive", "channel": "cam1",
                        "sent_bytes": 582_672, "started_at": "2026-01-31T12:00:00Z",
                    }],
                    "next": "cb341907fdaff9bb",
                    "missing": ["n3"],
                }),
            ),
            need: Some(Need::ReadPrivate),
            problems: &[Kind::Busy],
        },
        Operation {
            method: "post",
            path: "/v1/sessions/{session}:kick",
            id: "kickSession",
            summary: "End a session",
            description: "Wherever it is. Its client may come back.",
            parameters: vec![path("session", session(), "Its number.")],
            body: None,
            answer: Answer::Of("Ended", json!({"node": "n1", "sessions": 1})),
            need: Some(Need::Operate),
            problems: &[Kind::NoSuchSession, Kind::Unavailable, Kind::NodeSilent],
        },
        Operation {
            method: "get",
            path: "/v1/sources",
            id: "sources",
            summary: "Cameras that can be started",
            description: "As bridges tell of them, by name.",
            parameters: [
                query("kind", one_of(&["kerberos", "dji"]), "What makes the picture."),
                query(
                    "state",
                    one_of(&["idle", "starting", "live", "stopping", "external"]),
                    "What the source does.",
                ),
            ]
            .into_iter()
            .chain(paging(source()))
            .collect(),
            body: None,
            answer: Answer::Of("Sources", json!({"sources": [a_source()]})),
            need: Some(Need::ReadPrivate),
            problems: &[],
        },
        Operation {
            method: "get",
            path: "/v1/sources/{id}",
            id: "source",
            summary: "One source",
            description: "Its name has slashes, which may be percent-encoded.",
            parameters: vec![path("id", source(), "The source.")],
            body: None,
            answer: Answer::Of("Source", a_source()),
            need: Some(Need::ReadPrivate),
            problems: &[Kind::UnknownSource],
        },
        Operation {
            method: "post",
            path: "/v1/sources/{id}:{verb}",
            id: "commandSource",
            summary: "Does something with a source",
            description: "`start` takes `quality` and `protocol`, `stop` nothing; of DJI, `quality` takes `quality`, `lens` takes \
                `lens`, `camera` takes `position`; of Kerberos, any action takes what the agent takes. Answered when the device \
                has answered, which may take a minute.",
            parameters: vec![
                path("id", source(), "The source."),
                path(
                    "verb",
                    json!({"type": "string", "pattern": "^[a-z0-9_-]{1,32}$", "example": "start"}),
                    "What to do.",
                ),
            ],
            body: Some(json!({})),
            answer: Answer::Told,
            need: Some(Need::Operate),
            problems: &[
                Kind::NoSuchPath,
                Kind::UnknownSource,
                Kind::NoBridge,
                Kind::Busy,
                Kind::Leaving,
                Kind::Unavailable,
                Kind::BridgeSilent,
            ],
        },
        Operation {
            method: "get",
            path: "/v1/devices",
            id: "devices",
            summary: "Devices, and what they can do",
            description: "As a bridge knows them.",
            parameters: vec![],
            body: None,
            answer: Answer::Told,
            need: Some(Need::ReadPrivate),
            problems: &[Kind::NoBridge, Kind::Busy, Kind::Leaving, Kind::Unavailable, Kind::BridgeSilent],
        },
        Operation {
            method: "get",
            path: "/v1/events",
            id: "events",
            summary: "What happens, as it happens",
            description: "From now on, or after an event that is named: those in between come first. Comments keep the \
                connection alive. A client that does not take what it is sent is disconnected, and goes on where it was.",
            parameters: vec![
                query("after", event_id(), "Goes on after this event."),
                json!({
                    "name": "Last-Event-ID", "in": "header", "required": false, "schema": event_id(),
                    "description": "The same, and stronger: what a browser sends when it comes back.",
                }),
                json!({
                    "name": "type", "in": "query", "required": false, "style": "form", "explode": false,
                    "schema": {"type": "array", "items": {"type": "string", "enum": kinds}},
                    "description": "Of these types only.",
                }),
                query("channel", name(), "Of this channel only."),
            ],
            body: None,
            answer: Answer::Events,
            need: Some(Need::Read),
            problems: &[Kind::Busy, Kind::Unavailable],
        },
        Operation {
            method: "get",
            path: "/v1/capacity",
            id: "capacity",
            summary: "What the cluster can carry",
            description: "And how many nodes it would take.",
            parameters: vec![],
            body: None,
            answer: Answer::Of(
                "CapacityReport",
                json!({
                    "nodes": 3, "draining": 0, "silent": 0,
                    "sessions": {"used": 1200, "capacity": 6000}, "egress": {"used": 480_000_000},
                    "channels_live": 12, "receivers": 1180, "utilization": 0.2, "utilization_target": 0.7,
                    "desired_nodes": 1,
                }),
            ),
            need: Some(Need::Read),
            problems: &[],
        },
        Operation {
            method: "get",
            path: "/openapi.json",
            id: "openapi",
            summary: "This document",
            description: "For everybody. `/docs` shows it.",
            parameters: vec![],
            body: None,
            answer: Answer::Document,
            need: None,
            problems: &[],
        },
    ]
}

fn a_view() -> Value {
    json!({"registry": "up", "backbone": "up", "age_ms": 120})
}

fn picks() -> Value {
    json!({
        "picks": [{
            "node": "n1", "region": "eu", "carries": true,
            "urls": {
                "websocket": "wss://n1.example/cam1/{key}/receive",
                "page": "https://n1.example/#watch=cam1",
            },
            "reserved_ms": 10_000,
        }],
        "view": a_view(),
    })
}

fn a_source() -> Value {
    json!({
        "id": "dji/4BKBJ4R1010TGD/165-0-7/normal-0",
        "channel": "source-dji-4BKBJ4R1010TGD-165-0-7-normal-0-fa48dea885",
        "kind": "dji", "state": "live", "node": "n1", "bridge": "b1", "online": true,
    })
}

fn a_track() -> Value {
    json!({"kind": "video", "codec": "avc1.64001f", "width": 1280, "height": 720})
}

fn a_channel() -> Value {
    json!({
        "name": "cam1", "state": "live", "origin": "n1", "epoch": 7, "started_at": "2026-01-31T12:00:00Z",
        "container": "flv", "tracks": [a_track()], "bitrate": 2_500_000, "receivers": 5,
        "nodes": [
            {"node": "n1", "part": "origin", "receivers": 2},
            {"node": "n2", "part": "edge", "receivers": 3},
        ],
    })
}

fn a_node() -> Value {
    json!({
        "node": "n1", "url": "wss://n1.example", "region": "eu", "state": "in_service", "silent": false,
        "roles": ["publish", "receive"], "capacity": {"sessions": 2000, "processors": 2},
        "load": {
            "sessions": 400, "publications": 4, "receivers": 393, "upstreams": 3, "egress": 160_000_000,
            "accepted": 1834, "cpu_permille": 210, "memory_permille": 90,
        },
        "reserved": 2, "channels": 7, "version": "0.1.0", "started_at": "2026-01-31T11:00:00Z", "age_ms": 120,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::http::ENDPOINTS;

    #[test]
    fn what_is_routed_is_documented_and_what_is_documented_is_routed() {
        let documented: BTreeSet<(&str, &str)> =
            operations().iter().map(|operation| (operation.method, operation.path)).collect();
        let routed: BTreeSet<(&str, &str)> = ENDPOINTS
            .iter()
            .flat_map(|endpoint| endpoint.documented.iter().copied())
            .chain([("get", super::super::PICK)])
            .collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn what_reading_needs_is_documented_as_it_is() {
        for endpoint in ENDPOINTS {
            for (method, path) in endpoint.documented {
                let all = operations();
                let operation = all
                    .iter()
                    .find(|operation| (operation.method, operation.path) == (*method, *path))
                    .unwrap();
                let expected = if *method == "post" { Some(Need::Operate) } else { endpoint.need };
                assert_eq!(operation.need, expected, "{method} {path}");
            }
        }
    }

    #[test]
    fn whatever_is_referred_to_is_there_and_all_of_it_is_referred_to() {
        fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }

        let api = api();
        let mut found = BTreeSet::new();
        references(&api, &mut found);
        let schemas = api["components"]["schemas"].as_object().unwrap();
        let defined: Vec<String> =
            schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
        // What `data` of server-sent events is stands in no content type.
        let defined: BTreeSet<&str> =
            defined.iter().map(String::as_str).filter(|name| !name.ends_with("/Event")).collect();
        assert_eq!(found, defined);
    }

    fn is<T: Serialize + DeserializeOwned>(example: &Value) {
        let typed: T = serde_json::from_value(example.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *example);
    }

    #[test]
    fn examples_are_of_their_types() {
        for operation in operations() {
            let Answer::Of(schema, example) = operation.answer else { continue };
            match schema {
                "Picks" => is::<manager::Picks>(&example),
                "ChannelPage" => is::<manager::ChannelPage>(&example),
                "ClusterChannel" => is::<manager::ClusterChannel>(&example),
                "Probe" => is::<manager::Probe>(&example),
                "Ended" => is::<manager::Ended>(&example),
                "NodePage" => is::<manager::NodePage>(&example),
                "ClusterNode" => is::<manager::ClusterNode>(&example),
                "NodeStated" => is::<manager::NodeStated>(&example),
                "SessionPage" => is::<manager::SessionPage>(&example),
                "Sources" => is::<Sources>(&example),
                "Source" => is::<Source>(&example),
                "CapacityReport" => is::<manager::CapacityReport>(&example),
                other => panic!("{other} has no test"),
            }
        }
    }

    #[test]
    fn every_path_is_about_something() {
        for operation in operations() {
            let tag = tag(operation.path);
            assert!(operation.path.contains(tag), "{}", operation.path);
        }
    }

    #[test]
    fn operations_have_names_of_their_own_and_parameters_for_their_paths() {
        let operations = operations();
        let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), operations.len());
        for operation in &operations {
            let named = |parameter: &Value| parameter["in"] == "path";
            assert_eq!(
                operation.path.contains('{'),
                operation.parameters.iter().any(named),
                "{}",
                operation.id
            );
        }
    }
}
