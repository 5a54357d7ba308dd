//! Requests and answers word for word, as in `tests/red5/golden`, and what holds of all requests.

use axum::body::to_bytes;
use axum::response::Response;
use futures_util::FutureExt;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows::STREAMS_MAX;
use super::stage::Stage;
use super::{Call, answer, serve, v1};
use crate::http::access::Need;

/// Requests to one cluster, each as if it were the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    stage: String,
    exchanges: Vec<Exchange>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    /// Method and target.
    request: String,
    status: u16,
    content_type: String,
    /// Of those that answers have for a reason.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    headers: serde_json::Map<String, Value>,
    body: Value,
}

/// Headers that say something of the answer.
const HEADERS: [&str; 3] = ["allow", "retry-after", "relaycast-truncated"];

fn exchange(stage: &Stage, method: &Method, target: &str) -> Exchange {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let call = Call::read(method, path, query);
    let answered = call.and_then(|call| answer(&call, stage, &stage.setup()));
    let response = match answered {
        Ok(answer) => serve::response(answer),
        Err(refusal) => serve::refused(&refusal, stage.setup().unix_ms),
    };
    read(format!("{method} {target}"), response)
}

fn read(request: String, response: Response) -> Exchange {
    let text =
        |name: HeaderName| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let headers = HEADERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), Value::from(text(HeaderName::from_static(name))?))));
    let (status, content_type, headers) =
        (response.status().as_u16(), text(CONTENT_TYPE).unwrap(), headers.collect());
    let body = to_bytes(response.into_body(), usize::MAX).now_or_never().unwrap().unwrap();
    Exchange { request, status, content_type, headers, body: serde_json::from_slice(&body).unwrap() }
}

#[test]
fn answers_are_pinned() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/red5/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let golden: Golden =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut real = Vec::new();
        for expected in &golden.exchanges {
            let (method, target) = expected.request.split_once(' ').unwrap();
            real.push(exchange(&Stage::named(&golden.stage), &method.parse().unwrap(), target));
        }
        for (real, expected) in real.iter().zip(&golden.exchanges) {
            assert_eq!(real, expected, "{}", file.display());
        }
    }
}

/// What clients of 1.x and 2.0 look for in what is no answer.
fn is_error(exchange: &Exchange) -> bool {
    let text = |name: &str| exchange.body[name].as_str().is_some_and(|text| !text.is_empty());
    text("errorMessage")
        && exchange.body["error"] == exchange.body["errorMessage"]
        && exchange.body["timestamp"].is_u64()
}

#[test]
fn places_are_kept_for_who_is_sent_and_for_nobody_else() {
    let stage = Stage::named("cluster");
    let ask = |target: &str| exchange(&stage, &Method::GET, target).status;
    let reserved = || (stage.reserved("n1"), stage.reserved("n2"));
    assert_eq!(ask("/streammanager/api/4.0/event/live/new?action=broadcast&endpoints=2"), 200);
    assert_eq!(reserved(), (1, 1));
    assert_eq!(ask("/as/v1/streams/stream/default/subscribe/live/cam?subGroup=us&strict=true"), 200);
    assert_eq!(reserved(), (1, 2));
    for (refused, status) in [
        ("/streammanager/api/4.0/event/live/new?action=broadcast&endpoints=3&strict=true", 404),
        ("/streammanager/api/4.0/event/live/nobody?action=subscribe", 404),
        ("/as/v1/streams/stream/default/publish/live/cam", 409),
        ("/as/v1/streams/stream/other/publish/live/new", 404),
        ("/streammanager/api/4.0/event/list", 200),
    ] {
        assert_eq!(ask(refused), status, "{refused}");
    }
    assert_eq!(reserved(), (1, 2));
}

#[test]
fn what_operators_ask_needs_their_token() {
    let need = |method: Method, path: &str| Call::read(&method, path, None).unwrap().need();
    for path in [
        "/streammanager/api/4.0/admin/node/n1",
        "/streammanager/api/4.0/admin/node/n1/stats",
        "/streammanager/api/4.0/admin/nodegroup",
        "/streammanager/api/4.0/admin/nodegroup/default",
        "/streammanager/api/4.0/admin/nodegroup/default/node",
    ] {
        assert_eq!(need(Method::GET, path), Need::Operate, "{path}");
    }
    assert_eq!(need(Method::POST, "/streammanager/api/4.0/admin/node/sunset"), Need::Operate);
    for path in ["/streammanager/api/4.0/event/list", "/as/v1/streams/stream/default"] {
        assert_eq!(need(Method::GET, path), Need::Read, "{path}");
    }
}

#[test]
fn a_list_ends_where_it_is_long_enough() {
    for (streams, told, is_cut) in [(STREAMS_MAX, STREAMS_MAX, false), (STREAMS_MAX + 1, STREAMS_MAX, true)] {
        let stage = Stage::with_streams(streams);
        let exchange = exchange(&stage, &Method::GET, "/as/v1/streams/stream/default");
        assert_eq!(exchange.body.as_array().unwrap().len(), told);
        assert_eq!(exchange.headers.contains_key("relaycast-truncated"), is_cut, "{streams}");
    }
}

#[test]
fn the_nodes_of_a_sunset_are_all_known_before_one_is_told() {
    let stage = Stage::named("cluster");
    let named =
        |body: &str| v1::to_sunset(body.as_bytes(), &stage).map_err(|refusal| refusal.status.as_u16());
    let names = |names: &[&str]| Ok(names.iter().map(|name| name.parse().unwrap()).collect());
    assert_eq!(named(r#"["n1","10.0.0.2"]"#), names(&["n1", "n2"]));
    assert_eq!(named(r#"["n1","10.0.0.9"]"#), Err(404));
    for bad in ["", "[]", "{}", "[1]", r#""n1""#, r#"["n1""#] {
        assert_eq!(named(bad), Err(400), "{bad}");
    }
    let many = |count: usize| serde_json::to_string(&vec!["n1"; count]).unwrap();
    assert!(named(&many(64)).is_ok());
    assert_eq!(named(&many(65)), Err(400));
}

/// Paths as these clients have them, and what is wrong with them.
fn targets() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        8 => prop::sample::select(vec![
            "event", "live", "cam", "held", "new", "list", "stats", "join", "admin", "node", "nodegroup", "sunset",
            "origin", "edge", "n1", "10.0.0.2", "default", "relaycast", "streams", "stream", "publish", "subscribe",
            "auth", "login", "provision", "proxy", "4.0", "api", "v1", "node-groups", "media",
        ])
        .prop_map(str::to_owned),
        1 => "[ -~]{0,12}",
        1 => "%[0-9A-Fa-f]{0,2}",
        1 => "\\PC{0,8}",
    ];
    let parameter = prop_oneof![
        8 => (
            prop::sample::select(vec![
                "action", "region", "subGroup", "strict", "endpoints", "geozone", "transcode", "aggregate", "stats",
                "accessToken",
            ]),
            prop::sample::select(vec!["broadcast", "subscribe", "true", "false", "eu", "us,eu", "1", "2", "33", "", "-1"]),
        )
            .prop_map(|(name, value)| format!("{name}={value}")),
        1 => "[ -~]{0,16}",
    ];
    let prefix = prop::sample::select(vec![
        "/streammanager/api/4.0/event/",
        "/streammanager/api/2.0/",
        "/streammanager/",
        "/as/v1/streams/stream/default/",
        "/as/v1/",
        "/as/",
    ]);
    (prefix, prop::collection::vec(segment, 0..6), prop::collection::vec(parameter, 0..5))
        .prop_map(|(prefix, path, query)| format!("{prefix}{}?{}", path.join("/"), query.join("&")))
}

proptest! {
    #[test]
    fn any_request_is_answered_in_json_and_an_error_says_so(
        target in targets(),
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]),
        stage in prop::sample::select(vec!["cluster", "alone", "proxied", "full", "empty"]),
    ) {
        let exchange = exchange(&Stage::named(stage), &method.parse().unwrap(), &target);
        prop_assert_eq!(&exchange.content_type, "application/json");
        prop_assert!(exchange.status < 500 || exchange.status == 503 && stage == "full", "{:?}", exchange);
        prop_assert_eq!(is_error(&exchange), exchange.status != 200, "{:?}", exchange);
    }

    #[test]
    fn any_body_names_nodes_or_is_refused(body in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(refusal) = v1::to_sunset(&body, &Stage::named("cluster")) {
            prop_assert!(refusal.status.is_client_error());
        }
    }
}
