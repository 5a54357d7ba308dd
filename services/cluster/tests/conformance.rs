//! What holds of every backbone, be it in memory, a NATS server or two. Each check has two ends of one.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use relay_cluster::Backbone;
use relay_cluster::backbone::{Disconnected, MemoryBackbone, PublishError, RequestError};
use relay_tests::nats::{Nats, NatsCluster};
use support::backbone::{SOON, connect, connect_across, next, next_number, until};

/// Every check, once with each backbone.
macro_rules! conformance {
    ($($check:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $check() {
                let one = super::MemoryBackbone::new();
                super::$check(&one, &one.join()).await;
            })*
        }

        mod nats {
            $(#[tokio::test]
            async fn $check() {
                let server = super::Nats::start().await;
                let (one, other) = (super::connect(&server.url()).await, super::connect(&server.url()).await);
                super::$check(&one, &other).await;
            })*
        }

        mod nats_cluster {
            $(#[tokio::test]
            async fn $check() {
                let cluster = super::NatsCluster::of(2).await;
                let (one, other) = super::connect_across(&cluster).await;
                super::$check(&one, &other).await;
            })*
        }
    };
}

conformance! {
    messages_come_in_the_order_of_their_publisher
    a_publisher_hears_itself
    others_subjects_are_not_heard
    what_is_asked_for_after_a_subscription_is_heard_whole
    a_request_gets_the_first_answer
    a_request_that_nobody_answers_ends_in_time
    a_request_that_nobody_hears_ends_at_once
    an_inbox_is_told_when_nobody_hears
    a_subscription_that_is_dropped_is_gone
    a_message_at_the_bound_passes_and_one_beyond_is_refused
    closing_loses_nothing_and_refuses_what_comes_later
    inboxes_are_different
}

fn payload(number: u64) -> Bytes {
    number.to_string().into()
}

async fn messages_come_in_the_order_of_their_publisher(one: &dyn Backbone, other: &dyn Backbone) {
    let mut messages = other.subscribe("t.a").await.unwrap();
    settle(one, other).await;
    for number in 0..1000 {
        one.publish("t.a", None, payload(number)).await.unwrap();
    }
    for number in 0..1000 {
        assert_eq!(next_number(&mut messages).await, number);
    }
}

async fn a_publisher_hears_itself(one: &dyn Backbone, _other: &dyn Backbone) {
    let mut messages = one.subscribe("t.a").await.unwrap();
    one.publish("t.a", Some("t.reply"), payload(1)).await.unwrap();
    let message = next(&mut messages).await;
    assert_eq!((message.reply.as_deref(), message.no_responders), (Some("t.reply"), false));
    assert_eq!(message.payload, payload(1));
}

async fn others_subjects_are_not_heard(one: &dyn Backbone, other: &dyn Backbone) {
    let mut messages = other.subscribe("t.a").await.unwrap();
    settle(one, other).await;
    for (subject, number) in [("t.b", 1), ("t", 2), ("t.a.b", 3), ("t.a", 4)] {
        one.publish(subject, None, payload(number)).await.unwrap();
    }
    assert_eq!(next_number(&mut messages).await, 4);
}

/// How an edge gets a stream: it subscribes, then asks, and the origin publishes from then on.
async fn what_is_asked_for_after_a_subscription_is_heard_whole(one: &dyn Backbone, other: &dyn Backbone) {
    for round in 0..20 {
        let (ask, chunks) = (format!("t.ask.{round}"), format!("t.chunks.{round}"));
        let mut asked = other.subscribe(&ask).await.unwrap();
        settle(one, other).await;
        let edge = async {
            let mut messages = one.subscribe(&chunks).await.unwrap();
            one.request(&ask, Bytes::new(), SOON).await.unwrap();
            for number in 0..100 {
                assert_eq!(next_number(&mut messages).await, number, "round {round}");
            }
        };
        let origin = async {
            let reply = next(&mut asked).await.reply.unwrap();
            for number in 0..100 {
                other.publish(&chunks, None, payload(number)).await.unwrap();
            }
            other.publish(&reply, None, Bytes::new()).await.unwrap();
        };
        tokio::join!(edge, origin);
    }
}

async fn a_request_gets_the_first_answer(one: &dyn Backbone, other: &dyn Backbone) {
    let mut asked = other.subscribe("t.ask").await.unwrap();
    settle(one, other).await;
    let answer = async {
        let request = next(&mut asked).await;
        assert_eq!(request.payload, "why?");
        let reply = request.reply.unwrap();
        other.publish(&reply, None, payload(1)).await.unwrap();
        other.publish(&reply, None, payload(2)).await.unwrap();
    };
    let (answered, ()) = tokio::join!(one.request("t.ask", "why?".into(), SOON), answer);
    assert_eq!(answered, Ok(payload(1)));
}

async fn a_request_that_nobody_answers_ends_in_time(one: &dyn Backbone, other: &dyn Backbone) {
    let _asked = other.subscribe("t.ask").await.unwrap();
    settle(one, other).await;
    let answered = one.request("t.ask", Bytes::new(), Duration::from_millis(50)).await;
    assert_eq!(answered, Err(RequestError::Timeout));
}

async fn a_request_that_nobody_hears_ends_at_once(one: &dyn Backbone, _other: &dyn Backbone) {
    let begun = Instant::now();
    assert_eq!(one.request("t.ask", Bytes::new(), SOON).await, Err(RequestError::NoResponders));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

async fn an_inbox_is_told_when_nobody_hears(one: &dyn Backbone, _other: &dyn Backbone) {
    let inbox = one.inbox();
    let mut answers = one.subscribe(&inbox).await.unwrap();
    one.publish("t.ask", Some(&inbox), payload(1)).await.unwrap();
    let answer = next(&mut answers).await;
    assert!(answer.no_responders && answer.payload.is_empty());
}

async fn a_subscription_that_is_dropped_is_gone(one: &dyn Backbone, other: &dyn Backbone) {
    let asked = other.subscribe("t.ask").await.unwrap();
    let kept = other.subscribe("t.kept").await.unwrap();
    settle(one, other).await;
    drop(asked);
    settle(one, other).await;
    assert_eq!(one.request("t.ask", Bytes::new(), SOON).await, Err(RequestError::NoResponders));
    drop(kept);
    settle(one, other).await;
    assert_eq!(one.request("t.kept", Bytes::new(), SOON).await, Err(RequestError::NoResponders));
}

async fn a_message_at_the_bound_passes_and_one_beyond_is_refused(one: &dyn Backbone, other: &dyn Backbone) {
    let mut messages = other.subscribe("t.a").await.unwrap();
    settle(one, other).await;
    let generation = one.contact().borrow().generation;
    let bytes = |len: usize| Bytes::from(vec![7; len]);
    let max = one.message_bytes_max();
    assert_eq!(one.publish("t.a", None, bytes(max + 1)).await, Err(PublishError::TooLong));
    assert_eq!(one.request("t.a", bytes(max + 1), SOON).await, Err(RequestError::TooLong));
    one.publish("t.a", None, bytes(max)).await.unwrap();
    assert_eq!(next(&mut messages).await.payload.len(), max);
    let contact = *one.contact().borrow();
    assert!(contact.connected && contact.generation == generation);
}

async fn closing_loses_nothing_and_refuses_what_comes_later(one: &dyn Backbone, other: &dyn Backbone) {
    let mut messages = other.subscribe("t.a").await.unwrap();
    settle(one, other).await;
    for number in 0..500 {
        one.publish("t.a", None, payload(number)).await.unwrap();
    }
    one.close().await;
    for number in 0..500 {
        assert_eq!(next_number(&mut messages).await, number);
    }
    assert_eq!(one.publish("t.a", None, payload(0)).await, Err(Disconnected.into()));
    assert_eq!(one.subscribe("t.a").await.err(), Some(Disconnected));
    assert_eq!(one.request("t.a", payload(0), SOON).await, Err(Disconnected.into()));
    until(one, |contact| !contact.connected).await;
}

async fn inboxes_are_different(one: &dyn Backbone, other: &dyn Backbone) {
    let inboxes = [one.inbox(), one.inbox(), other.inbox(), other.inbox()];
    let different: std::collections::BTreeSet<_> = inboxes.iter().collect();
    assert_eq!(different.len(), inboxes.len());
}

/// Comes back when all that `other` did before is known to whoever `one` asks: interest spreads in order, so the subscription
/// that was made last is the last to be known.
async fn settle(one: &dyn Backbone, other: &dyn Backbone) {
    let subject = other.inbox();
    let mut asked = other.subscribe(&subject).await.unwrap();
    let answer = async {
        let reply = next(&mut asked).await.reply.unwrap();
        other.publish(&reply, None, Bytes::new()).await.unwrap();
    };
    let ask = async {
        let mut answered = Err(RequestError::NoResponders);
        while answered == Err(RequestError::NoResponders) {
            answered = one.request(&subject, Bytes::new(), SOON).await;
        }
        answered.unwrap();
    };
    tokio::join!(ask, answer);
}
