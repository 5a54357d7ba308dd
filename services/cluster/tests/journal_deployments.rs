//! The journal in the forms that Redis is run in, and through the ways in which it fails. Where it is and how it is spoken to is
//! the registry's code, and tested with it.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::time::{Duration, Instant};

use relay_cluster::Journal;
use relay_cluster::journal::{Delivered, RedisJournal};
use relay_cluster::registry::redis::{Config, DEFAULT_TIMEOUT};
use relay_cluster::registry::{Registry, Unavailable};
use relay_proto::Incarnation;
use relay_proto::event::{EndReason, EventId, NodePhase};
use relay_proto::journal::Keys;
use relay_tests::redis::{Redis, RedisCluster, Reply};
use support::deployments::{
    LOGIN, PATIENCE, TOLERANCE, answered, answered_within, connections, login, start_for,
};
use support::journal::{all, ended, journal, live, node, refused, stalled, unwatched, watched, words};
use support::registry::{config, peer, registry};

const MINUTE: Duration = Duration::from_secs(60);

fn keys() -> Keys {
    Keys::new("relaycast".parse().unwrap())
}

/// Every call there is, and every fact.
async fn use_everything(journal: &RedisJournal) {
    let (n1, n2) = (peer("n1", 1), peer("n2", 2));
    let facts = [
        node(&n1, NodePhase::InService),
        node(&n2, NodePhase::Draining),
        live("cam", 7, &n1),
        stalled("cam", 7, &n1),
        live("cam", 8, &n1),
        ended("cam", 8, &n1, EndReason::Ended),
        live("door", 9, &n2),
        watched("door", &n1),
        unwatched("door", &n1),
        watched("door", &n2),
        refused("n2", Some("door"), "full"),
        refused("n2", None, "full"),
    ];
    let last = journal.record(&facts).await.unwrap().unwrap();
    assert_eq!(journal.newest().await, Ok(last));
    journal.bury(&n2).await.unwrap();
    journal.expire().await.unwrap();
    let events = journal.read(last, 10).await.unwrap().events;
    assert_eq!(words(&events), ["6 channel.ended door/9 n2 lost", "7 receivers.last door n2"]);
    let events = all(journal).await.unwrap();
    assert_eq!(events.len(), 16, "{:?}", words(&events));

    let (a, b) = (Incarnation::new(1), Incarnation::new(2));
    assert_eq!(journal.hold("webhooks", a, MINUTE).await, Ok(true));
    assert_eq!(journal.hold("webhooks", b, MINUTE).await, Ok(false));
    journal.release("webhooks", a).await.unwrap();
    journal.note_delivered("shop", "cam", last).await.unwrap();
    journal.advance_delivered("shop", events[0].id).await.unwrap();
    let beyond = [("cam".to_owned(), last)].into();
    assert_eq!(journal.delivered("shop").await, Ok(Delivered { through: events[0].id, beyond }));
}

#[tokio::test]
async fn the_rights_that_are_written_down_suffice_and_no_key_of_others_is_in_reach() {
    let server = start_for(vec![login(&[]), "default off".to_owned()]).await;
    let url = format!("redis://{LOGIN}{}", server.address());
    use_everything(&journal(url.clone())).await;
    let other = RedisJournal::new(Config { cluster: "other".parse().unwrap(), ..config(url) }).unwrap();
    let error = other.record(&[refused("n1", None, "full")]).await.unwrap_err();
    assert!(error.to_string().contains("Redis answers"), "{error}");
}

#[tokio::test]
async fn a_cluster_of_three_serves_every_call() {
    let cluster = RedisCluster::start_for(vec![login(&["+cluster|slots", "+ping"])]).await;
    for (index, member) in cluster.members().iter().enumerate() {
        // Whichever of them is asked, one of the three has all of it.
        let (url, name) = (format!("redis+cluster://{}/", member.address()), format!("cluster-{index}"));
        let config = Config { timeout: PATIENCE, cluster: name.parse().unwrap(), ..config(url) };
        use_everything(&RedisJournal::new(config).unwrap()).await;
    }
    let first = cluster.members()[0].address();
    use_everything(&journal(format!("redis+cluster://{LOGIN}{first}"))).await;
}

/// Of two in one process each has its own, so that neither waits for the other's answers.
#[tokio::test]
async fn the_journal_and_the_registry_have_a_connection_each() {
    let server = Redis::start().await;
    let (journal, registry) = (journal(server.url()), registry(server.url()));
    let mut client = server.client().await;
    let before = connections(&mut client).await;
    for _ in 0..3 {
        journal.record(&[refused("n1", None, "full")]).await.unwrap();
        registry.nodes().await.unwrap();
    }
    assert_eq!(connections(&mut client).await - before, 2);
}

#[tokio::test]
async fn a_server_that_starts_again_empty_is_told_everything_again_and_readers_are_told_of_the_gap() {
    let mut server = Redis::start().await;
    let journal = journal(server.url());
    let facts = [live("cam", 7, &peer("n1", 1)), watched("cam", &peer("n2", 2))];
    let known = journal.record(&facts).await.unwrap().unwrap();
    server.kill();
    let error = journal.record(&facts).await.unwrap_err();
    assert!(error.to_string().starts_with("the registry is not available"), "{error}");
    server.restart().await;
    assert!(answered_within(PATIENCE, async || journal.read(known, 10).await).await.gap);
    assert!(journal.record(&facts).await.unwrap().is_some());
    let reading = journal.read(known, 10).await.unwrap();
    assert!(reading.gap && reading.events.iter().all(|event| event.id > known));
    assert_eq!(words(&reading.events), ["1 channel.started cam/7 n1", "2 receivers.first cam n2"]);
    assert_eq!(journal.record(&facts).await, Ok(None));
}

#[tokio::test]
async fn what_was_forgotten_is_told_again_when_it_is_said_again() {
    let server = Redis::start().await;
    let journal = journal(server.url());
    let n1 = peer("n1", 1);
    let facts = [live("cam", 7, &n1), watched("cam", &n1), node(&n1, NodePhase::InService)];
    let known = journal.record(&facts).await.unwrap().unwrap();
    journal.advance_delivered("shop", known).await.unwrap();
    server.flush_all().await;
    assert_eq!(journal.newest().await, Ok(EventId::FIRST));
    assert_eq!(journal.delivered("shop").await, Ok(Delivered::default()));
    let reading = journal.read(known, 10).await.unwrap();
    assert!(reading.gap && reading.events.is_empty());
    journal.record(&facts).await.unwrap();
    assert_eq!(
        words(&all(&journal).await.unwrap()),
        ["1 channel.started cam/7 n1", "2 receivers.first cam n1", "1 node.joined n1"]
    );
}

/// What a fail-over to a replica that lags does.
#[tokio::test]
async fn a_reader_of_events_that_were_lost_is_told_of_the_gap() {
    let server = Redis::start().await;
    let journal = journal(server.url());
    let n1 = peer("n1", 1);
    let kept = journal.record(&[live("cam", 7, &n1)]).await.unwrap().unwrap();
    let lost = journal.record(&[refused("n1", None, "full")]).await.unwrap().unwrap();
    assert_eq!(server.command(&["XDEL", &keys().log(), &lost.to_string()]).await, Reply::Number(1));
    assert!(journal.read(lost, 10).await.unwrap().gap);
    // A stream that is not lost as a whole takes no identifier twice.
    let millisecond = async || {
        let time = server.command(&["TIME"]).await;
        let [seconds, micros] = time.list() else { panic!("{time:?} is no time") };
        let number = |reply: &Reply| reply.text().parse::<u64>().unwrap();
        number(seconds) * 1000 + number(micros) / 1000
    };
    while millisecond().await <= lost.ms {}
    let next = journal.record(&[stalled("cam", 7, &n1)]).await.unwrap().unwrap();
    for (known, gap) in [(kept, false), (lost, true)] {
        let reading = journal.read(known, 10).await.unwrap();
        assert_eq!((reading.events[0].id, reading.events.len(), reading.gap), (next, 1, gap), "{known}");
    }
}

#[tokio::test]
async fn scripts_that_were_forgotten_are_sent_again() {
    let server = Redis::start().await;
    let journal = journal(server.url());
    let facts = [live("cam", 7, &peer("n1", 1))];
    journal.record(&facts).await.unwrap();
    server.ok(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(journal.record(&facts).await, Ok(None));
    server.ok(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(journal.read(EventId::FIRST, 10).await.unwrap().events.len(), 1);
}

/// Whoever gets no answer does not know whether it was heard, and says it again.
#[tokio::test]
async fn a_fact_whose_answer_was_lost_is_told_once() {
    let server = Redis::start().await;
    let journal = RedisJournal::new(config(server.url())).unwrap();
    let n1 = peer("n1", 1);
    answered(async || journal.record(&[live("cam", 7, &n1)]).await).await;
    server.stop().await;
    let facts = [stalled("cam", 7, &n1), watched("cam", &n1)];
    let begun = Instant::now();
    assert!(journal.record(&facts).await.is_err());
    assert!(begun.elapsed() < DEFAULT_TIMEOUT + TOLERANCE, "took {:?}", begun.elapsed());
    server.resume();
    answered(async || journal.record(&facts).await).await;
    assert_eq!(
        words(&all(&journal).await.unwrap()),
        ["1 channel.started cam/7 n1", "2 channel.stalled cam/7 n1", "3 receivers.first cam n1"]
    );
}

#[tokio::test]
async fn every_key_of_a_journal_ends() {
    let server = Redis::start().await;
    let journal = journal(server.url());
    use_everything(&journal).await;
    let n1 = peer("n1", 1);
    journal.record(&[live("cam", 10, &n1)]).await.unwrap();
    journal.hold("webhooks", n1.incarnation, MINUTE).await.unwrap();
    let names = server.command(&["KEYS", "*"]).await;
    let mut names: Vec<_> = names.list().iter().map(Reply::text).collect();
    names.sort_unstable();
    let mut expected = [keys().all(), vec![keys().delivered("shop"), keys().duty("webhooks")]].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for name in names {
        let left = server.command(&["PTTL", name]).await;
        assert!(matches!(left, Reply::Number(1..)), "{name}: {left:?}");
    }
}

/// A program of other times told an event that this one does not know.
#[tokio::test]
async fn an_event_of_an_unknown_kind_is_passed_over() {
    let server = Redis::start().await;
    let journal = journal(server.url());
    let first = journal.record(&[refused("n1", None, "full")]).await.unwrap().unwrap();
    let mut before = first.to_string();
    for _ in 0..3 {
        let log = keys().log();
        let add =
            ["XADD", &log, "*", "type", "node.upgraded", "sequence", "2", "cores", "8", "after", &before];
        before = server.command(&add).await.text().to_owned();
    }
    let last = journal.record(&[refused("n1", None, "full")]).await.unwrap().unwrap();
    let reading = journal.read(first, 1).await.unwrap();
    assert_eq!((reading.events.len(), reading.events[0].id, reading.gap), (1, last, false));
    assert_eq!(all(&journal).await.unwrap().len(), 2);
}

/// An answer of other types than a script's is an error that tells nothing of it.
#[tokio::test]
async fn what_is_not_understood_is_not_told() {
    let server = Redis::start().await;
    let journal = journal(server.url());
    for (fields, wanted) in [
        ("type node.lost sequence hunter2", "a number"),
        ("type node.lost sequence 1 node hunter2!", "an event's node"),
        ("type node.lost sequence 1 epoch 9007199254740992", "an event's epoch"),
        ("type node.lost sequence 1 role hunter2", "an event's role"),
        ("type node.lost", "an event's sequence"),
        ("hunter2 node.lost", "an event's type"),
    ] {
        server.flush_all().await;
        let log = keys().log();
        let add: Vec<_> = ["XADD", &log, "*"].into_iter().chain(fields.split(' ')).collect();
        assert!(matches!(server.command(&add).await, Reply::Text(_)));
        let Unavailable(reason) = journal.read(EventId::FIRST, 1).await.unwrap_err();
        assert_eq!(reason, format!("an answer that is not understood: {wanted} was wanted"));
    }
}

/// Which a Redis does that is set up to evict. It is a loss of memory, and heals like one.
#[tokio::test]
async fn a_journal_that_lost_any_one_key_goes_on() {
    let (n1, n2) = (peer("n1", 1), peer("n2", 2));
    let says = [
        live("cam", 7, &n1),
        watched("cam", &n1),
        watched("cam", &n2),
        node(&n1, NodePhase::InService),
        refused("n1", None, "full"),
    ];
    let over = [unwatched("cam", &n2), ended("cam", 7, &n1, EndReason::Ended)];
    for key in keys().all() {
        let server = Redis::start().await;
        let journal = journal(server.url());
        journal.record(&says).await.unwrap();
        journal.advance_delivered("shop", EventId { ms: 5, number: 0 }).await.unwrap();
        server.command(&["DEL", &key]).await;
        let newest = journal.newest().await.unwrap();
        journal.record(&says).await.unwrap();
        assert!(journal.newest().await.unwrap() > newest, "{key}");
        journal.record(&over).await.unwrap();
        journal.bury(&n1).await.unwrap();
        journal.bury(&n2).await.unwrap();
        journal.expire().await.unwrap();
        // From here on all is as it should be.
        let newest = journal.newest().await.unwrap();
        journal.record(&[watched("door", &n1), live("cam", 8, &n2), unwatched("door", &n1)]).await.unwrap();
        let told = words(&journal.read(newest, 10).await.unwrap().events);
        assert_eq!(told.len(), 3, "{key}: {told:?}");
    }
}
