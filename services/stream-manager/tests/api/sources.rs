//! `/v1/sources`, `/v1/devices`, and picks by source, with a bridge that answers as it is told.

use std::sync::Arc;

use futures_util::StreamExt;
use relay_cluster::Backbone;
use relay_cluster::backbone::MemoryBackbone;
use relay_proto::Incarnation;
use relay_proto::api::manager::Picks;
use relay_proto::api::source::Sources;
use relay_proto::backbone::{Peer, Subjects, from_json, to_json};
use relay_proto::source::{
    Answered, Ask, Command, Source, SourceId, SourceKeys, SourceState, SourcesReport, StartOptions,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Cluster, OPERATOR, Running, SECRET, until};

const DOCK: &str = "dji/4BK/165-0-7/normal-0";
const CAMERA: &str = "kerberos/hub/cam";

/// A bridge as far as a stream-manager sees it.
struct Bridge {
    backbone: Arc<MemoryBackbone>,
    by: Peer,
    subjects: Subjects,
    tasks: JoinSet<()>,
}

fn source(id: &str, state: SourceState, bridge: Option<&str>) -> Source {
    let id: SourceId = id.parse().unwrap();
    Source {
        channel: id.channel(),
        kind: id.kind(),
        id,
        state,
        reason: None,
        node: None,
        bridge: bridge.map(|bridge| bridge.parse().unwrap()),
        online: None,
    }
}

impl Bridge {
    fn new(name: &str, running: &Running) -> Self {
        Self {
            backbone: Arc::clone(&running.backbone),
            by: Peer { node: name.parse().unwrap(), incarnation: Incarnation::new(1) },
            subjects: Subjects::new("relaycast".parse().unwrap()),
            tasks: JoinSet::new(),
        }
    }

    /// Tells of these, and waits until the stream-manager knows.
    async fn tells(&self, running: &Running, sources: Vec<Source>) {
        let last = sources.last().unwrap().clone();
        let by = self.by.clone();
        let report = SourcesReport::Whole { by, round: 1, part: 0, parts: 1, sources };
        self.backbone.publish(&self.subjects.sources(), None, to_json(&report).into()).await.unwrap();
        until("the source is known", async || {
            let answer = running.client.read(&format!("/v1/sources/{}", last.id)).await;
            (answer.status == 200 && answer.json::<Source>() == last).then_some(())
        })
        .await;
    }

    /// Answers with what it was asked, or as told.
    async fn answers(&mut self, with: impl Fn(Ask) -> Answered + Send + 'static) {
        let subject = self.subjects.node(&self.by.node, self.by.incarnation);
        let mut asked = self.backbone.subscribe(&subject).await.unwrap();
        let backbone = Arc::clone(&self.backbone);
        self.tasks.spawn(async move {
            while let Some(message) = asked.next().await {
                let answer = with(from_json(&message.payload).unwrap());
                let reply = message.reply.unwrap();
                backbone.publish(&reply, None, to_json(&answer).into()).await.unwrap();
            }
        });
    }
}

fn as_asked(ask: Ask) -> Answered {
    Answered::Done { result: serde_json::to_value(ask).unwrap() }
}

#[tokio::test]
async fn sources_come_by_name_in_pages_and_by_what_they_do() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let bridge = Bridge::new("b1", &running);
    let [dock, camera] =
        [source(DOCK, SourceState::Idle, None), source(CAMERA, SourceState::Live, Some("b1"))];
    bridge.tells(&running, vec![dock.clone(), camera.clone()]).await;
    let list =
        async |query: &str| running.client.read(&format!("/v1/sources{query}")).await.json::<Sources>();
    assert_eq!(list("").await.sources.len(), 2);
    assert_eq!(list("?kind=dji").await.sources, [dock]);
    assert_eq!(list("?state=live").await.sources, std::slice::from_ref(&camera));
    let mut seen = Vec::new();
    let mut next = None;
    loop {
        let after: String = next.map(|id: SourceId| format!("&after={id}")).unwrap_or_default();
        let page = list(&format!("?limit=1{after}")).await;
        seen.extend(page.sources);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 2);
    assert!(seen[0].id < seen[1].id);
    let encoded = CAMERA.replace('/', "%2F");
    let one: Source = running.client.read(&format!("/v1/sources/{encoded}")).await.json();
    assert_eq!(one, camera);
    for (path, problem) in [
        ("/v1/sources/kerberos/hub/other", (404, "unknown-source")),
        ("/v1/sources/kerberos/hub", (400, "bad-parameter")),
        ("/v1/sources?state=on", (400, "bad-parameter")),
        ("/v1/sources?after=x", (400, "bad-parameter")),
    ] {
        let answer = running.client.read(path).await.problem();
        assert_eq!((answer.0, answer.1.as_str()), problem, "{path}");
    }
    // The name has the key of a hub.
    assert_eq!(running.client.get("/v1/sources").await.status, 401);
}

#[tokio::test]
async fn a_command_is_done_by_the_bridge_that_has_the_source() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let (mut one, mut other) = (Bridge::new("b1", &running), Bridge::new("b2", &running));
    one.answers(as_asked).await;
    other
        .answers(|_| Answered::Problem {
            status: 409,
            code: "not-mine".to_owned(),
            detail: "another has it".to_owned(),
        })
        .await;
    let holder = source(CAMERA, SourceState::Live, Some("b1"));
    one.tells(&running, vec![holder]).await;
    let report = SourcesReport::Whole {
        by: other.by.clone(),
        round: 9,
        part: 0,
        parts: 1,
        sources: vec![source(CAMERA, SourceState::Idle, None), source(DOCK, SourceState::Idle, None)],
    };
    other.backbone.publish(&other.subjects.sources(), None, to_json(&report).into()).await.unwrap();
    until("the dock is known", async || {
        (running.client.read(&format!("/v1/sources/{DOCK}")).await.status == 200).then_some(())
    })
    .await;
    let done: Value = running.client.post(&format!("/v1/sources/{CAMERA}:start")).await.json();
    let start = Command::Start(StartOptions::default());
    let asked = Ask::Command { source: CAMERA.parse().unwrap(), command: start };
    assert_eq!(done, serde_json::to_value(&asked).unwrap());
    let refused = running.client.post(&format!("/v1/sources/{DOCK}:stop")).await;
    assert_eq!(refused.problem(), (409, "not-mine".to_owned()));
    let body = r#"{"pan":1}"#;
    let request = format!(
        "POST /v1/sources/{CAMERA}:ptz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {OPERATOR}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let acted: Value = running.client.raw(request.as_bytes(), false).await.json();
    assert_eq!((&acted["with"]["name"], &acted["with"]["value"]), (&json!("ptz"), &json!({"pan": 1})));
}

#[tokio::test]
async fn what_cannot_be_done_is_told_apart() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let start = format!("/v1/sources/{CAMERA}:start");
    let problem = async |path: &str| running.client.post(path).await.problem();
    assert_eq!(problem(&start).await, (503, "no-bridge".to_owned()));
    let devices = running.client.read("/v1/devices").await;
    assert_eq!(devices.problem(), (503, "no-bridge".to_owned()));
    let mut bridge = Bridge::new("b1", &running);
    bridge.tells(&running, vec![source(DOCK, SourceState::Idle, None)]).await;
    assert_eq!(problem(&start).await, (404, "unknown-source".to_owned()));
    let dock = format!("/v1/sources/{DOCK}");
    assert_eq!(problem(&format!("{dock}:start")).await, (503, "no-bridge".to_owned()), "nobody hears it");
    bridge.answers(as_asked).await;
    assert_eq!(problem(&format!("{dock}:ptz")).await, (404, "no-such-path".to_owned()));
    assert_eq!(problem(&format!("{dock}:lens")).await, (400, "bad-parameter".to_owned()));
    assert_eq!(problem(&dock).await, (405, "method-not-allowed".to_owned()));
    let devices: Value = running.client.read("/v1/devices").await.json();
    assert_eq!(devices, json!({"ask": "devices"}));
    let reader = running.client.send("POST", &format!("{dock}:stop"), &[]).await;
    assert_eq!(reader.status, 401);
}

#[tokio::test]
async fn a_pick_by_source_has_the_key_that_the_role_needs_and_no_other() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let bridge = Bridge::new("b1", &running);
    let dock = source(DOCK, SourceState::Idle, None);
    bridge.tells(&running, vec![dock.clone()]).await;
    let keys = SourceKeys::of(SECRET, &dock.channel).unwrap();
    let url = |key: &relay_proto::StreamKey, kind: &str| {
        format!("ws://n1.example:8080/{}/{}/{kind}", dock.channel, key.expose())
    };
    let path = format!("/v1/pick?source={DOCK}&role=receive");
    let picks: Picks = running.client.read(&path).await.json();
    assert_eq!(picks.picks[0].urls.websocket, url(&keys.watch, "receive"));
    assert_eq!(running.client.get(&path).await.problem(), (401, "token-needed".to_owned()));
    let publish = format!("/v1/pick?source={DOCK}&role=publish");
    assert_eq!(running.client.read(&publish).await.problem(), (403, "forbidden".to_owned()));
    let token = format!("Bearer {OPERATOR}");
    let picks: Picks = running.client.send("GET", &publish, &[("authorization", &token)]).await.json();
    assert_eq!(picks.picks[0].urls.websocket, url(&keys.publish, "publish"));
    for beside in ["channel=cam", "key=k"] {
        let answer = running.client.read(&format!("{path}&{beside}")).await;
        assert_eq!(answer.problem(), (400, "bad-parameter".to_owned()), "{beside}");
    }
    let unknown = running.client.read(&format!("/v1/pick?source={CAMERA}")).await;
    assert_eq!(unknown.problem(), (404, "unknown-source".to_owned()));
}
