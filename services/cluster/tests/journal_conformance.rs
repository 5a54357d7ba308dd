//! What every journal does: the one in memory, and the one in Redis as two processes see it.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::time::Duration;

use relay_cluster::Journal;
use relay_cluster::journal::{ASSERTED_FOR, Delivered, EVENTS_MAX, MemoryJournal, Reading};
use relay_cluster::registry::Unavailable;
use relay_proto::Incarnation;
use relay_proto::event::{EndReason, EventId, NodePhase};
use relay_proto::journal::{FACTS_MAX, NOTED_MAX, READ_MAX, REASON_CHARS_MAX, REMEMBERED_MS, SUBJECTS_MAX};
use relay_tests::redis::Redis;
use support::journal::{all, ended, journal, live, node, refused, stalled, unwatched, watched, words};
use support::registry::peer;

const HOUR: Duration = Duration::from_secs(60 * 60);

macro_rules! conformance {
    ($($rule:ident)+) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $rule() {
                    let journal = super::MemoryJournal::new();
                    super::$rule(&journal, &journal).await;
                }
            )+
        }

        mod redis {
            $(
                #[tokio::test]
                async fn $rule() {
                    let server = super::Redis::start().await;
                    let [one, other] = [super::journal(server.url()), super::journal(server.url())];
                    super::$rule(&one, &other).await;
                }
            )+
        }
    };
}

conformance! {
    a_publication_is_told_from_its_start_to_its_end
    a_newer_publication_replaces_the_one_before
    what_was_lost_may_come_back_and_what_ended_may_not
    a_publication_that_nobody_told_of_is_told_when_it_ends
    the_word_of_another_about_a_publication_counts_for_nothing
    the_first_receiver_and_the_last_are_told_across_nodes
    a_node_is_told_through_its_life
    a_run_that_was_followed_by_another_says_nothing_more
    a_run_takes_the_place_of_one_that_was_not_told_gone
    a_node_that_nobody_told_of_is_told_when_it_is_lost
    refusals_are_always_told
    a_burial_ends_what_the_run_said_and_nothing_else
    a_burial_of_more_than_a_step_ends_all_of_it
    more_facts_than_one_call_takes_are_told_in_their_order
    two_who_say_the_same_at_once_are_told_once
    a_journal_without_events_has_no_gap_but_to_who_knows_of_some
    reading_goes_on_where_it_was
    what_is_forgotten_at_the_bound_is_told_as_a_gap
    a_duty_is_one_holders_until_it_is_given_back
    marks_of_endpoints_go_forward_only
    marks_of_endpoints_do_not_meet
    marks_have_a_bound_and_those_that_are_there_go_on
}

async fn told(journal: &dyn Journal) -> Vec<String> {
    words(&all(journal).await.unwrap())
}

async fn a_publication_is_told_from_its_start_to_its_end(one: &dyn Journal, other: &dyn Journal) {
    let n1 = peer("n1", 1);
    let started = one.record(&[live("cam", 7, &n1)]).await.unwrap();
    assert!(started.is_some() && started == Some(other.newest().await.unwrap()));
    for fact in [live("cam", 7, &n1), stalled("cam", 7, &n1), stalled("cam", 7, &n1), live("cam", 7, &n1)] {
        other.record(&[fact]).await.unwrap();
    }
    one.record(&[ended("cam", 7, &n1, EndReason::Ended)]).await.unwrap();
    assert_eq!(other.record(&[ended("cam", 7, &n1, EndReason::Ended)]).await, Ok(None));
    assert_eq!(
        told(other).await,
        [
            "1 channel.started cam/7 n1",
            "2 channel.stalled cam/7 n1",
            "3 channel.resumed cam/7 n1",
            "4 channel.ended cam/7 n1 ended",
        ]
    );
    let events = all(one).await.unwrap();
    assert!(events.is_sorted_by(|before, after| before.id < after.id));
    let first = &events[0];
    assert_eq!(Some(first.id), started);
    let at: std::time::SystemTime = humantime::parse_rfc3339(&first.at).unwrap();
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_millis(), u128::from(first.id.ms));
    assert!(at.elapsed().unwrap() < HOUR);
}

async fn a_newer_publication_replaces_the_one_before(one: &dyn Journal, _: &dyn Journal) {
    let (n1, n2) = (peer("n1", 1), peer("n2", 2));
    one.record(&[live("cam", 7, &n1), stalled("cam", 9, &n2), live("cam", 7, &n1)]).await.unwrap();
    one.record(&[ended("cam", 7, &n1, EndReason::Replaced), ended("cam", 9, &n2, EndReason::Lost)])
        .await
        .unwrap();
    one.record(&[live("cam", 10, &n1)]).await.unwrap();
    assert_eq!(
        told(one).await,
        [
            "1 channel.started cam/7 n1",
            "2 channel.ended cam/7 n1 replaced",
            "3 channel.started cam/9 n2",
            "4 channel.stalled cam/9 n2",
            "5 channel.ended cam/9 n2 lost",
            "6 channel.started cam/10 n1",
        ]
    );
}

async fn what_was_lost_may_come_back_and_what_ended_may_not(one: &dyn Journal, _: &dyn Journal) {
    let n1 = peer("n1", 1);
    let lost = ended("cam", 7, &n1, EndReason::Lost);
    one.record(&[live("cam", 7, &n1), lost.clone(), stalled("cam", 7, &n1), lost.clone()]).await.unwrap();
    // It is over after all: nothing is told of that, and nothing more of it.
    let over = ended("cam", 7, &n1, EndReason::Ended);
    assert_eq!(one.record(&[over, live("cam", 7, &n1), stalled("cam", 7, &n1), lost]).await, Ok(None));
    assert_eq!(
        told(one).await,
        [
            "1 channel.started cam/7 n1",
            "2 channel.ended cam/7 n1 lost",
            "3 channel.started cam/7 n1",
            "4 channel.stalled cam/7 n1",
            "5 channel.ended cam/7 n1 lost",
        ]
    );
}

async fn a_publication_that_nobody_told_of_is_told_when_it_ends(one: &dyn Journal, _: &dyn Journal) {
    let n1 = peer("n1", 1);
    one.record(&[ended("cam", 7, &n1, EndReason::Ended), live("cam", 7, &n1)]).await.unwrap();
    one.record(&[ended("cam", 8, &n1, EndReason::Lost), live("cam", 8, &n1)]).await.unwrap();
    assert_eq!(
        told(one).await,
        [
            "1 channel.started cam/7 n1",
            "2 channel.ended cam/7 n1 ended",
            "3 channel.started cam/8 n1",
            "4 channel.ended cam/8 n1 lost",
            "5 channel.started cam/8 n1",
        ]
    );
}

async fn the_word_of_another_about_a_publication_counts_for_nothing(one: &dyn Journal, _: &dyn Journal) {
    let (n1, n2) = (peer("n1", 1), peer("n2", 2));
    one.record(&[live("cam", 7, &n1)]).await.unwrap();
    let by_another = [stalled("cam", 7, &n2), ended("cam", 7, &peer("n1", 3), EndReason::Ended)];
    assert_eq!(one.record(&by_another).await, Ok(None));
    // Nor does a number that no registry grants.
    let no_epochs = [live("cam", 0, &n1), live("cam", 1 << 53, &n1), live("cam", u64::MAX, &n1)];
    assert_eq!(one.record(&no_epochs).await, Ok(None));
    one.record(&[live("cam", (1 << 53) - 1, &n1)]).await.unwrap();
    assert_eq!(told(one).await[2], "3 channel.started cam/9007199254740991 n1");
}

async fn the_first_receiver_and_the_last_are_told_across_nodes(one: &dyn Journal, other: &dyn Journal) {
    let (n1, n2) = (peer("n1", 1), peer("n2", 2));
    assert_eq!(one.record(&[unwatched("cam", &n1)]).await, Ok(None));
    one.record(&[watched("cam", &n1), watched("cam", &n1)]).await.unwrap();
    other.record(&[watched("cam", &n2), watched("door", &n2), unwatched("cam", &n1)]).await.unwrap();
    one.record(&[unwatched("cam", &n1), unwatched("cam", &n2), watched("cam", &n1)]).await.unwrap();
    assert_eq!(
        told(one).await,
        [
            "1 receivers.first cam n1",
            "1 receivers.first door n2",
            "2 receivers.last cam n2",
            "3 receivers.first cam n1",
        ]
    );
}

async fn a_node_is_told_through_its_life(one: &dyn Journal, _: &dyn Journal) {
    use NodePhase::{Draining, InService, Left, Lost};
    let n1 = peer("n1", 1);
    for state in [InService, Draining, InService, Lost, Lost, Draining, Draining, Lost, InService, Left] {
        one.record(&[node(&n1, state), node(&n1, state)]).await.unwrap();
    }
    for state in [InService, Draining, Left, Lost] {
        assert_eq!(one.record(&[node(&n1, state)]).await, Ok(None), "a run that has left is over");
    }
    assert_eq!(
        told(one).await,
        [
            "1 node.joined n1",
            "2 node.draining n1",
            "3 node.joined n1 undrained",
            "4 node.lost n1",
            "5 node.joined n1",
            "6 node.draining n1",
            "7 node.lost n1",
            "8 node.joined n1",
            "9 node.left n1",
        ]
    );
}

async fn a_run_that_was_followed_by_another_says_nothing_more(one: &dyn Journal, _: &dyn Journal) {
    use NodePhase::{Draining, InService, Left, Lost};
    let run = |number| peer("n1", number);
    one.record(&[node(&run(1), InService), node(&run(1), Left), node(&run(2), InService)]).await.unwrap();
    for state in [InService, Draining, Left, Lost] {
        assert_eq!(one.record(&[node(&run(1), state)]).await, Ok(None));
    }
    // Of one that nobody was told of only that it is there is news.
    assert_eq!(one.record(&[node(&run(3), Left), node(&run(3), Lost)]).await, Ok(None));
    assert_eq!(told(one).await, ["1 node.joined n1", "2 node.left n1", "3 node.joined n1"]);
    // Eight are told apart; one older than that is a new one.
    for number in 3..10 {
        one.record(&[node(&run(number), InService)]).await.unwrap();
        assert_eq!(one.record(&[node(&run(2), InService)]).await, Ok(None), "after {number}");
    }
    one.record(&[node(&run(10), InService)]).await.unwrap();
    assert!(one.record(&[node(&run(2), InService)]).await.unwrap().is_some());
}

async fn a_run_takes_the_place_of_one_that_was_not_told_gone(one: &dyn Journal, _: &dyn Journal) {
    use NodePhase::{Draining, InService};
    one.record(&[node(&peer("n1", 1), InService), node(&peer("n1", 2), Draining)]).await.unwrap();
    assert_eq!(
        told(one).await,
        ["1 node.joined n1", "2 node.lost n1", "3 node.joined n1", "4 node.draining n1"]
    );
}

async fn a_node_that_nobody_told_of_is_told_when_it_is_lost(one: &dyn Journal, _: &dyn Journal) {
    one.record(&[node(&peer("n1", 1), NodePhase::Lost), node(&peer("n2", 1), NodePhase::Left)])
        .await
        .unwrap();
    assert_eq!(told(one).await, ["1 node.lost n1", "1 node.left n2"]);
}

async fn refusals_are_always_told(one: &dyn Journal, _: &dyn Journal) {
    let n1 = peer("n1", 1);
    let long = "é".repeat(REASON_CHARS_MAX + 1);
    one.record(&[live("cam", 7, &n1), node(&n1, NodePhase::InService)]).await.unwrap();
    for reason in ["banned", "banned", "", "a \"word\"\r\n"] {
        one.record(&[refused("n1", Some("cam"), reason)]).await.unwrap();
    }
    one.record(&[refused("n1", None, &long), refused("n2", None, "full")]).await.unwrap();
    let told = told(one).await;
    assert_eq!(told[2], "2 admission.refused cam n1 banned");
    assert_eq!(told[3], "3 admission.refused cam n1 banned");
    assert_eq!(told[4], "4 admission.refused cam n1");
    assert_eq!(told[5], "5 admission.refused cam n1 a \"word\"\r\n");
    assert_eq!(told[6], format!("2 admission.refused n1 {}", "é".repeat(REASON_CHARS_MAX)));
    assert_eq!(told[7], "1 admission.refused n2 full");
    // A node may be refused at before it is told to be there.
    one.record(&[node(&peer("n2", 1), NodePhase::InService)]).await.unwrap();
    assert_eq!(self::told(one).await[8], "2 node.joined n2");
}

async fn a_burial_ends_what_the_run_said_and_nothing_else(one: &dyn Journal, other: &dyn Journal) {
    let (n1, again, like) = (peer("n1", 1), peer("n1", 2), peer("n1-a", 1));
    for by in [&n1, &again, &like] {
        let run = by.incarnation.to_string();
        let name = format!("{}-{}", by.node, &run[15..]);
        one.record(&[live(&name, 7, by), watched(&name, by), watched("all", by)]).await.unwrap();
    }
    one.record(&[node(&n1, NodePhase::InService)]).await.unwrap();
    let before = one.newest().await.unwrap();
    other.bury(&n1).await.unwrap();
    one.bury(&n1).await.unwrap();
    let after = one.read(before, usize::MAX).await.unwrap();
    assert_eq!(words(&after.events), ["3 channel.ended n1-1/7 n1 lost", "4 receivers.last n1-1 n1"]);
    for by in [&again, &like] {
        one.bury(by).await.unwrap();
    }
    assert_eq!(
        told(one).await[after_len(&after)..],
        [
            "3 channel.ended n1-2/7 n1 lost",
            "4 receivers.last n1-2 n1",
            "3 channel.ended n1-a-1/7 n1-a lost",
            "2 receivers.last all n1-a",
            "4 receivers.last n1-a-1 n1-a",
        ]
    );
    // It lives after all.
    one.record(&[live("n1-1", 7, &n1)]).await.unwrap();
    assert_eq!(told(one).await.last().unwrap(), "5 channel.started n1-1/7 n1");
}

/// Seven facts were news before a burial, and these after it.
fn after_len(after: &Reading) -> usize {
    8 + after.events.len()
}

async fn a_burial_of_more_than_a_step_ends_all_of_it(one: &dyn Journal, _: &dyn Journal) {
    let n1 = peer("n1", 1);
    let facts: Vec<_> = (0..2 * FACTS_MAX).map(|index| watched(&format!("cam-{index}"), &n1)).collect();
    let before = one.record(&facts).await.unwrap().unwrap();
    one.bury(&n1).await.unwrap();
    let lost = one.read(before, usize::MAX).await.unwrap().events;
    assert_eq!(lost.len(), facts.len());
    assert!(lost.iter().all(|event| event.kind.name() == "receivers.last"));
}

async fn more_facts_than_one_call_takes_are_told_in_their_order(one: &dyn Journal, _: &dyn Journal) {
    let n1 = peer("n1", 1);
    let mut facts: Vec<_> =
        (0..2 * FACTS_MAX + 1).map(|index| live(&format!("cam-{index}"), 7, &n1)).collect();
    let last = one.record(&facts).await.unwrap();
    assert_eq!(last, Some(one.newest().await.unwrap()));
    let expected: Vec<_> =
        (0..facts.len()).map(|index| format!("1 channel.started cam-{index}/7 n1")).collect();
    assert_eq!(told(one).await, expected);
    // The last that was told, though nothing of the last call is news.
    facts[0] = live("cam-0", 8, &n1);
    let last = one.record(&facts).await.unwrap();
    assert!(last.is_some() && last == Some(one.newest().await.unwrap()));
    assert_eq!(one.record(&[]).await, Ok(None));
}

async fn two_who_say_the_same_at_once_are_told_once(one: &dyn Journal, other: &dyn Journal) {
    let n1 = peer("n1", 1);
    for epoch in 1..100 {
        let facts = [live("cam", epoch, &n1)];
        let (first, second) = tokio::join!(one.record(&facts), other.record(&facts));
        assert!(first.unwrap().is_some() != second.unwrap().is_some());
    }
    assert_eq!(told(one).await.len(), 99 + 98);
}

async fn a_journal_without_events_has_no_gap_but_to_who_knows_of_some(one: &dyn Journal, _: &dyn Journal) {
    assert_eq!(one.newest().await, Ok(EventId::FIRST));
    assert_eq!(one.read(EventId::FIRST, 10).await, Ok(Reading::default()));
    let known = EventId { ms: 5, number: 3 };
    assert_eq!(one.read(known, 10).await, Ok(Reading { events: Vec::new(), gap: true }));
    one.record(&[refused("n1", None, "full")]).await.unwrap();
    assert!(!one.read(EventId::FIRST, 10).await.unwrap().gap);
    // Before the first event of a memory there may have been another memory.
    let reading = one.read(known, 10).await.unwrap();
    assert_eq!((reading.events.len(), reading.gap), (1, true));
    // And so where it is the clock that went back.
    let newest = one.newest().await.unwrap();
    for known in [EventId { number: newest.number + 1, ..newest }, EventId { ms: newest.ms + 1, number: 0 }] {
        let reading = one.read(known, 10).await.unwrap();
        assert_eq!((reading.events.len(), reading.gap), (1, true));
    }
    assert_eq!(one.read(newest, 10).await, Ok(Reading::default()));
}

async fn reading_goes_on_where_it_was(one: &dyn Journal, _: &dyn Journal) {
    let facts: Vec<_> = (0..READ_MAX + 2).map(|_| refused("n1", None, "full")).collect();
    one.record(&facts).await.unwrap();
    let mut after = EventId::FIRST;
    let mut sequence = 0;
    for (max, expected) in [(0, 1), (1, 1), (7, 7), (usize::MAX, READ_MAX - 7), (5, 0)] {
        let expected = expected.min(facts.len() - usize::try_from(sequence).unwrap());
        let reading = one.read(after, max).await.unwrap();
        assert!(!reading.gap);
        assert_eq!(reading.events.len(), expected);
        for event in reading.events {
            sequence += 1;
            assert_eq!(event.sequence, sequence);
            after = event.id;
        }
    }
    assert_eq!(one.read(EventId::FIRST, usize::MAX).await.unwrap().events.len(), READ_MAX);
}

async fn what_is_forgotten_at_the_bound_is_told_as_a_gap(one: &dyn Journal, _: &dyn Journal) {
    const { assert!(EVENTS_MAX == SUBJECTS_MAX) };
    let refusal = |index: usize| refused("n1", Some(&format!("cam-{index}")), "full");
    let facts: Vec<_> = (0..EVENTS_MAX).map(refusal).collect();
    for facts in facts.chunks(10_000) {
        one.record(facts).await.unwrap();
    }
    let first = one.read(EventId::FIRST, 3).await.unwrap();
    assert!(!first.gap);
    let [id, second, third] = [0, 1, 2].map(|index: usize| first.events[index].id);

    one.record(&[refusal(EVENTS_MAX)]).await.unwrap();
    let reading = one.read(EventId::FIRST, 1).await.unwrap();
    assert_eq!((reading.gap, reading.events[0].id), (true, second));
    for after in [id, second] {
        assert!(!one.read(after, 1).await.unwrap().gap, "nothing is forgotten after {after}");
    }
    one.record(&[refusal(1)]).await.unwrap();
    for (after, gap) in [(EventId::FIRST, true), (id, true), (second, false), (third, false)] {
        assert_eq!(one.read(after, 1).await.unwrap().gap, gap, "after {after}");
    }
    assert_eq!(all(one).await.unwrap().len(), EVENTS_MAX);

    // Of the channels the one that had not changed for longest was forgotten: the first.
    let before = one.newest().await.unwrap();
    one.record(&[refusal(0), refusal(1), refusal(3)]).await.unwrap();
    let words = words(&one.read(before, 3).await.unwrap().events);
    assert_eq!(words[0], "1 admission.refused cam-0 n1 full");
    assert_eq!(words[1], "3 admission.refused cam-1 n1 full");
    assert_eq!(words[2], "2 admission.refused cam-3 n1 full");
}

async fn a_duty_is_one_holders_until_it_is_given_back(one: &dyn Journal, other: &dyn Journal) {
    let (a, b) = (Incarnation::new(1), Incarnation::new(2));
    assert_eq!(one.hold("webhooks", a, HOUR).await, Ok(true));
    assert_eq!(other.hold("webhooks", b, HOUR).await, Ok(false));
    assert_eq!(other.hold("burials", b, HOUR).await, Ok(true));
    assert_eq!(one.hold("webhooks", a, HOUR).await, Ok(true));
    other.release("webhooks", b).await.unwrap();
    assert_eq!(other.hold("webhooks", b, HOUR).await, Ok(false));
    one.release("webhooks", a).await.unwrap();
    assert_eq!(other.hold("webhooks", b, Duration::MAX).await, Ok(true));
    assert_eq!(one.hold("webhooks", a, HOUR).await, Ok(false));
}

fn id(ms: u64) -> EventId {
    EventId { ms, number: 0 }
}

fn delivered(through: u64, beyond: &[(&str, u64)]) -> Delivered {
    let beyond = beyond.iter().map(|(subject, ms)| ((*subject).to_owned(), id(*ms))).collect();
    Delivered { through: id(through), beyond }
}

async fn marks_of_endpoints_go_forward_only(one: &dyn Journal, other: &dyn Journal) {
    assert_eq!(one.delivered("shop").await, Ok(Delivered::default()));
    one.note_delivered("shop", "cam", id(5)).await.unwrap();
    one.note_delivered("shop", "cam", id(4)).await.unwrap();
    one.note_delivered("shop", "door", EventId { ms: 9, number: 10 }).await.unwrap();
    one.note_delivered("shop", "door", EventId { ms: 9, number: 9 }).await.unwrap();
    one.note_delivered("shop", "", id(6)).await.unwrap();
    let mut expected = delivered(0, &[("cam", 5), ("door", 9), ("", 6)]);
    expected.beyond.insert("door".to_owned(), EventId { ms: 9, number: 10 });
    assert_eq!(other.delivered("shop").await, Ok(expected.clone()));
    // A mark goes when everything is as far as it; the next one is kept.
    other.advance_delivered("shop", id(5)).await.unwrap();
    expected.beyond.remove("cam");
    expected.through = id(5);
    assert_eq!(one.delivered("shop").await, Ok(expected.clone()));
    one.advance_delivered("shop", id(3)).await.unwrap();
    one.note_delivered("shop", "cam", id(5)).await.unwrap();
    assert_eq!(one.delivered("shop").await, Ok(expected));
    one.advance_delivered("shop", id(10)).await.unwrap();
    assert_eq!(one.delivered("shop").await, Ok(delivered(10, &[])));
}

async fn marks_of_endpoints_do_not_meet(one: &dyn Journal, _: &dyn Journal) {
    for (index, endpoint) in ["a", "a b", "", "1 a", "é"].iter().enumerate() {
        let ms = 10 * index as u64 + 1;
        one.note_delivered(endpoint, "b c", id(ms + 1)).await.unwrap();
        one.advance_delivered(endpoint, id(ms)).await.unwrap();
    }
    for (index, endpoint) in ["a", "a b", "", "1 a", "é"].iter().enumerate() {
        let ms = 10 * index as u64 + 1;
        assert_eq!(one.delivered(endpoint).await, Ok(delivered(ms, &[("b c", ms + 1)])), "{endpoint:?}");
    }
}

async fn marks_have_a_bound_and_those_that_are_there_go_on(one: &dyn Journal, _: &dyn Journal) {
    one.advance_delivered("shop", id(1)).await.unwrap();
    for index in 1..NOTED_MAX {
        one.note_delivered("shop", &format!("cam-{index}"), id(5)).await.unwrap();
    }
    one.note_delivered("shop", "another", id(5)).await.unwrap();
    one.note_delivered("shop", "cam-1", id(6)).await.unwrap();
    let marks = one.delivered("shop").await.unwrap().beyond;
    assert_eq!((marks.len(), marks.get("another"), marks["cam-1"]), (NOTED_MAX - 1, None, id(6)));
    // What one endpoint is behind by takes nothing from another.
    one.note_delivered("other", "another", id(5)).await.unwrap();
    assert_eq!(one.delivered("other").await, Ok(delivered(0, &[("another", 5)])));
    // How far an endpoint is is always noted.
    one.advance_delivered("shop", id(5)).await.unwrap();
    assert_eq!(one.delivered("shop").await, Ok(delivered(5, &[("cam-1", 6)])));
    one.note_delivered("shop", "another", id(6)).await.unwrap();
    assert_eq!(one.delivered("shop").await.unwrap().beyond.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_says_again_is_over_in_memory_and_forgotten_a_day_later() {
    let journal = MemoryJournal::new();
    let n1 = peer("n1", 1);
    journal.record(&[live("cam", 7, &n1), watched("cam", &n1)]).await.unwrap();
    tokio::time::advance(ASSERTED_FOR / 2).await;
    journal.record(&[live("cam", 7, &n1)]).await.unwrap();
    tokio::time::advance(ASSERTED_FOR / 2).await;
    journal.expire().await.unwrap();
    assert_eq!(told(&journal).await[2..], ["3 receivers.last cam n1"]);
    tokio::time::advance(ASSERTED_FOR / 2).await;
    journal.expire().await.unwrap();
    assert_eq!(told(&journal).await[3..], ["4 channel.ended cam/7 n1 lost"]);
    tokio::time::advance(Duration::from_millis(REMEMBERED_MS - 1)).await;
    assert_eq!(journal.record(&[live("cam", 6, &n1)]).await, Ok(None));
    tokio::time::advance(Duration::from_millis(1)).await;
    journal.record(&[live("cam", 6, &n1)]).await.unwrap();
    assert_eq!(told(&journal).await[4..], ["1 channel.started cam/6 n1"]);
}

#[tokio::test(start_paused = true)]
async fn a_duty_that_is_not_kept_in_time_is_anybodys_in_memory() {
    let journal = MemoryJournal::new();
    let (a, b) = (Incarnation::new(1), Incarnation::new(2));
    assert_eq!(journal.hold("webhooks", a, HOUR).await, Ok(true));
    tokio::time::advance(HOUR).await;
    assert_eq!(journal.hold("webhooks", b, HOUR).await, Ok(true));
    assert_eq!(journal.hold("webhooks", a, HOUR).await, Ok(false));
}

#[tokio::test]
async fn an_outage_of_memory_forgets_nothing_and_a_loss_of_it_everything() {
    let journal = MemoryJournal::new();
    let facts = [live("cam", 7, &peer("n1", 1))];
    journal.record(&facts).await.unwrap();
    journal.set_outage(true);
    assert_eq!(journal.record(&facts).await, Err(Unavailable("out of order".to_owned())));
    journal.set_outage(false);
    assert_eq!(journal.record(&facts).await, Ok(None));
    journal.forget_everything();
    assert!(journal.record(&facts).await.unwrap().is_some());
}
