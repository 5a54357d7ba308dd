//! `GET /v1/events`.

use std::time::Duration;

use relay_cluster::Journal;
use relay_proto::Epoch;
use relay_proto::backbone::Peer;
use relay_proto::event::{Event, EventId, Fact};

use crate::support::client::Stream;
use crate::support::{Cluster, Running, until};

fn peer() -> Peer {
    Peer { node: "n1".parse().unwrap(), incarnation: relay_proto::Incarnation::new(1) }
}

async fn start(cluster: &Cluster, channel: &str, epoch: u64) -> EventId {
    let channel = channel.parse().unwrap();
    let facts = [Fact::Live { channel, epoch: Epoch::new(epoch), peer: peer() }];
    cluster.journal.record(&facts).await.unwrap().unwrap()
}

async fn next(stream: &mut Stream) -> (EventId, String) {
    let (kind, data) = stream.event().await.expect("the stream goes on");
    let event: Event = serde_json::from_str(&data).unwrap();
    assert_eq!(event.kind.name(), kind);
    (event.id, event.channel.map_or_else(String::new, String::from))
}

/// A manager that has found the journal.
async fn manager(cluster: &Cluster) -> Running {
    let running = cluster.manager().await;
    until("the journal is followed", async || {
        (running.client.send("HEAD", "/v1/events", &[]).await.status == 200).then_some(())
    })
    .await;
    running
}

#[tokio::test]
async fn events_come_as_they_happen_with_ids_of_their_own() {
    let cluster = Cluster::new();
    let before = start(&cluster, "before", 1).await;
    let running = manager(&cluster).await;
    let mut stream = running.client.follow("/v1/events", &[]).await;
    assert!(stream.head.contains("content-type: text/event-stream\r\n"), "{}", stream.head);
    assert!(stream.next().await.unwrap().starts_with("retry: "));
    let id = start(&cluster, "cam1", 1).await;
    let text = stream.next().await.unwrap();
    assert!(text.starts_with(&format!("id: {id}\nevent: channel.started\ndata: {{")), "{text}");
    assert!(id > before);
    assert_eq!(running.metric("relaycast_manager_sse_clients", &[]), 1.0);
    drop(stream);
    until("it is gone", async || (running.metric("relaycast_manager_sse_clients", &[]) == 0.0).then_some(()))
        .await;
}

#[tokio::test]
async fn who_comes_back_goes_on_where_it_was() {
    let cluster = Cluster::new();
    // Before the manager began: these are in the journal alone.
    let one = start(&cluster, "cam1", 1).await;
    let two = start(&cluster, "cam2", 1).await;
    let running = manager(&cluster).await;
    let three = start(&cluster, "cam3", 1).await;
    for (path, last) in [
        (format!("/v1/events?after={one}"), None),
        ("/v1/events".to_owned(), Some(one)),
        // A browser that comes back has the address that it began with.
        (format!("/v1/events?after={two}"), Some(one)),
    ] {
        let last = last.map(|last| last.to_string());
        let headers: Vec<(&str, &str)> =
            last.as_deref().map(|last| ("Last-Event-ID", last)).into_iter().collect();
        let mut stream = running.client.follow(&path, &headers).await;
        assert_eq!(next(&mut stream).await.0, two, "{path}");
        assert_eq!(next(&mut stream).await.0, three, "{path}");
    }
}

#[tokio::test]
async fn a_long_backlog_comes_whole_and_in_order() {
    let cluster = Cluster::new();
    let mut expected = Vec::new();
    for epoch in 1..=1200 {
        expected.push(start(&cluster, "cam1", epoch).await);
    }
    let running = manager(&cluster).await;
    let mut stream = running.client.follow("/v1/events?after=0-0", &[]).await;
    // A new publication ends the one before.
    let mut started = Vec::new();
    for epoch in 1201..=1210 {
        expected.push(start(&cluster, "cam1", epoch).await);
    }
    let mut last = EventId::FIRST;
    while started.len() < expected.len() {
        let (kind, data) = stream.event().await.unwrap();
        let event: Event = serde_json::from_str(&data).unwrap();
        assert!(event.id > last, "{} after {last}", event.id);
        last = event.id;
        if kind == "channel.started" {
            started.push(event.epoch.unwrap().number());
        }
    }
    assert_eq!(started, (1..=1210).collect::<Vec<u64>>());
}

#[tokio::test]
async fn only_what_was_asked_for_comes() {
    let cluster = Cluster::new();
    let running = manager(&cluster).await;
    let mut of_channel = running.client.follow("/v1/events?channel=cam2", &[]).await;
    let mut of_type =
        running.client.follow("/v1/events?type=channel.ended,node.lost&type=node.left", &[]).await;
    start(&cluster, "cam1", 1).await;
    let wanted = start(&cluster, "cam2", 1).await;
    start(&cluster, "cam1", 2).await;
    assert_eq!(next(&mut of_channel).await.0, wanted);
    let (kind, data) = of_type.event().await.unwrap();
    assert_eq!(kind, "channel.ended", "{data}");
}

#[tokio::test]
async fn what_was_forgotten_is_told() {
    let cluster = Cluster::new();
    let running = manager(&cluster).await;
    let mut present = running.client.follow("/v1/events", &[]).await;
    let old = start(&cluster, "cam1", 1).await;
    assert_eq!(next(&mut present).await.0, old);
    cluster.journal.forget_everything();
    // What happens in the same millisecond would have the same number.
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    until("the clock goes on", async || (now() > u128::from(old.ms) + 1).then_some(())).await;
    let new = start(&cluster, "cam2", 1).await;
    let gap = ("gap".to_owned(), format!("{{\"after\":\"{old}\"}}"));
    // Who follows when it is lost is told, and so is who comes back.
    assert_eq!(present.event().await.unwrap(), gap);
    let mut back = running.client.follow(&format!("/v1/events?after={old}"), &[]).await;
    assert_eq!(back.event().await.unwrap(), gap);
    let next_id = start(&cluster, "cam3", 1).await;
    for stream in [&mut present, &mut back] {
        let mut id = next(stream).await.0;
        // It may have been told of the gap before or after the first of the new events.
        if id == new {
            id = next(stream).await.0;
        }
        assert_eq!(id, next_id);
    }
}

#[tokio::test]
async fn a_hint_makes_events_come_at_once() {
    let cluster = Cluster::new();
    let running = manager(&cluster).await;
    let mut stream = running.client.follow("/v1/events", &[]).await;
    stream.next().await.unwrap();
    let mut soonest = Duration::MAX;
    for epoch in 1..=5 {
        let began = std::time::Instant::now();
        let id = start(&cluster, &format!("cam{epoch}"), 1).await;
        use relay_cluster::Backbone;
        cluster.backbone.publish(&cluster.subjects.events(), None, bytes::Bytes::new()).await.unwrap();
        assert_eq!(next(&mut stream).await.0, id);
        soonest = soonest.min(began.elapsed());
    }
    // Without hints the journal is read every 500 ms.
    assert!(soonest < Duration::from_millis(250), "{soonest:?}");
}

#[tokio::test]
async fn who_follows_outlives_an_outage_of_the_journal() {
    let cluster = Cluster::new();
    let running = manager(&cluster).await;
    let mut stream = running.client.follow("/v1/events", &[]).await;
    cluster.journal.set_outage(true);
    until("the outage is noticed", async || {
        (running.metric("relaycast_manager_journal_errors_total", &[]) > 0.0).then_some(())
    })
    .await;
    cluster.journal.set_outage(false);
    let id = start(&cluster, "cam1", 1).await;
    assert_eq!(next(&mut stream).await.0, id);
}

#[tokio::test]
async fn before_the_journal_has_answered_nobody_is_told_a_wrong_beginning() {
    let cluster = Cluster::new();
    cluster.journal.set_outage(true);
    let running = cluster.manager().await;
    let answer = running.client.get("/v1/events").await;
    assert_eq!(answer.problem(), (503, "unavailable".to_owned()));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn bad_parameters_are_refused() {
    let cluster = Cluster::new();
    let running = manager(&cluster).await;
    for bad in ["after=1", "after=+1-1", "after=x-y", "type=on", "channel=!", "x=1", "after=1-1&after=1-1"] {
        let answer = running.client.get(&format!("/v1/events?{bad}")).await;
        assert_eq!(answer.problem(), (400, "bad-parameter".to_owned()), "{bad}");
    }
    let answer = running.client.send("GET", "/v1/events", &[("last-event-id", "s3cret")]).await;
    assert_eq!(answer.problem(), (400, "bad-parameter".to_owned()));
    assert!(!answer.text().contains("s3cret"));
}

#[tokio::test]
async fn no_more_follow_than_may() {
    let cluster = Cluster::new();
    let running = manager(&cluster).await;
    let mut streams = Vec::new();
    for _ in 0..1024 {
        streams.push(running.client.follow("/v1/events", &[]).await);
    }
    assert_eq!(running.client.get("/v1/events").await.problem(), (503, "busy".to_owned()));
    streams.pop();
    until("another may follow", async || {
        (running.client.send("HEAD", "/v1/events", &[]).await.status == 200).then_some(())
    })
    .await;
}
