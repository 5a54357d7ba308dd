//! Whatever is asked, the answer is an answer.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use relay_proto::api::Channel;
use relay_proto::api::ChannelState;

use crate::support::{Answer, Cluster, OPERATOR, READER, channel, live};

/// Of characters that an address may have: what has others is no HTTP, and is answered without a body.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "v1", "pick", "channels", "nodes", "sessions", "events", "capacity", "probe", "snapshot", "docs",
            "openapi.json", "cam1", "yard", "n1", "n1:drain", "cam1:close", "0000000000000001:kick", "", ".", "..",
            "%2e%2e", "%00", "%ff", "%2f", "cam1:", ":close", "*", "{channel}",
        ]).prop_map(str::to_owned),
        1 => "[!$-;=@-_a-z~]{0,20}",
        1 => "[a-z]{120,140}",
    ]
}

fn parameter() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "channel", "role", "region", "strict", "n", "exclude", "wait", "explain", "key", "prefix", "state",
        "node", "after", "limit", "type", "x",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "",
            "0",
            "1",
            "-1",
            "99999999999999999999",
            "cam1",
            "n1",
            "n1,n2",
            "receive",
            "publish",
            "true",
            "live",
            "draining",
            "%ff",
            "%",
            "%zz",
            "+",
            "1-1",
            "channel.started",
            "0000000000000001",
            "%0d%0a",
            "eu",
        ])
        .prop_map(str::to_owned),
        "[!$-;=@-_a-z~]{0,40}",
    ];
    // Nobody waits for anything here.
    (name, value).prop_map(|(name, value)| match name {
        "wait" => {
            format!("wait={}", value.trim_start_matches(char::is_numeric))
        }
        name => format!("{name}={value}"),
    })
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec![
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X-Y",
    ]);
    let known = prop::sample::select(vec![
        "/v1/pick",
        "/v1/channels",
        "/v1/channels/cam1",
        "/v1/channels/cam1/probe",
        "/v1/channels/yard/probe",
        "/v1/nodes",
        "/v1/nodes/n1",
        "/v1/nodes/n1:undrain",
        "/v1/sessions",
        "/v1/capacity",
        "/openapi.json",
        "/docs",
        "/v1/events",
        "/v1/channels/yard/snapshot",
        "/v1/channels/nobody/snapshot",
    ]);
    let path = prop_oneof![
        2 => known.prop_map(str::to_owned),
        3 => prop::collection::vec(segment(), 0..5).prop_map(|segments| format!("/{}", segments.join("/"))),
    ];
    let header = prop_oneof![
        Just(format!("authorization: Bearer {OPERATOR}\r\n")),
        Just(format!("authorization: Bearer {READER}\r\n")),
        Just("authorization: Bearer x\r\n".to_owned()),
        Just("host: evil.example\r\n".to_owned()),
        Just("last-event-id: x\r\n".to_owned()),
        Just("expect: 100-continue\r\n".to_owned()),
        Just("upgrade: websocket\r\nconnection: upgrade\r\n".to_owned()),
        "[a-z-]{1,10}: [!-~]{0,30}\r\n".prop_filter("framing is another matter", |header| {
            !header.starts_with("te") && !header.starts_with("tr") && !header.starts_with("co")
        }),
    ];
    let body = prop::collection::vec(any::<u8>(), 0..200);
    let query = prop::collection::vec(parameter(), 0..4);
    (method, path, query, prop::collection::vec(header, 0..4), body).prop_map(
        |(method, path, query, headers, body)| {
            let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
            let head = format!(
                "{method} {path}{query} HTTP/1.1\r\nconnection: close\r\n{}content-length: {}\r\n\r\n",
                headers.concat(),
                body.len()
            );
            [head.as_bytes(), &body].concat()
        },
    )
}

/// Server errors that are documented, and what they may be.
const DOCUMENTED: [(u16, &str); 5] =
    [(501, "no-snapshot"), (503, "no-node"), (503, "unavailable"), (503, "busy"), (504, "node-silent")];

fn check(answer: &Answer, is_head: bool) -> Result<(), String> {
    match answer.status {
        200 => Ok(()),
        400.. if is_head => Ok(()),
        400.. => {
            if answer.header("content-type") != Some("application/problem+json") {
                return Err("no problem".to_owned());
            }
            let problem = answer.problem();
            let is_known = problem.0 < 500
                || DOCUMENTED
                    .iter()
                    .any(|(status, name)| (*status, *name) == (problem.0, problem.1.as_str()));
            if is_known { Ok(()) } else { Err(format!("{problem:?}")) }
        }
        _ => Err("an odd status".to_owned()),
    }
}

#[tokio::test]
async fn whatever_is_asked_the_answer_is_served_or_a_problem() {
    const REQUESTS: u32 = 3000;

    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    let waiting = Channel { receivers: 1, ..channel("yard", ChannelState::Waiting) };
    node.carry(&running, [live("cam1"), waiting]).await;
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let strategy = request();
    for _ in 0..REQUESTS {
        let request = strategy.new_tree(&mut runner).unwrap().current();
        let is_head = request.starts_with(b"HEAD");
        let text = String::from_utf8_lossy(&request).into_owned();
        // What follows events does not end.
        if text.starts_with("GET /v1/events") {
            continue;
        }
        // A command that nobody answers to takes its time.
        if text.contains(":close") || text.contains(":kick") {
            continue;
        }
        let answer = running.client.raw(&request, is_head).await;
        if let Err(why) = check(&answer, is_head) {
            panic!("{why}: {text:?} is answered {answer:?}");
        }
    }
    assert_eq!(running.client.get("/v1/capacity").await.status, 200);
}
