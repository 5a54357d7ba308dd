use proptest::prelude::*;
use relay_proto::api::manager::{ClusterChannel, Part};
use relay_proto::api::{Channel, ChannelState, Track};
use relay_proto::backbone::Peer;
use relay_proto::event::NodePhase;
use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};
use relay_proto::report::Report;
use relay_proto::{ChannelName, Epoch, Incarnation, NodeId};

use super::*;

const TIMING: Timing = Timing { silent_after_ms: 4_000, reservation_ms: 10_000, warm_up_ms: 30_000 };

fn view() -> View {
    View::new(TIMING)
}

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn incarnation(name: &str, run: u64) -> Incarnation {
    Incarnation::new(
        name.bytes().fold(run, |number, byte| number.wrapping_mul(257).wrapping_add(byte.into())),
    )
}

/// A run of a node that began at this time of its clock.
fn record(name: &str, started_ms: u64) -> NodeRecord {
    NodeRecord {
        node: id(name),
        incarnation: incarnation(name, started_ms),
        url: format!("ws://{name}.test:8080"),
        rtmp: None,
        region: None,
        zone: None,
        state: NodeState::InService,
        roles: vec![Role::Publish, Role::Receive],
        capacity: Capacity { sessions: 100, processors: 2, egress: None },
        load: Load::default(),
        version: "0.1.0".to_owned(),
        started_ms,
    }
}

fn accepted(mut record: NodeRecord, accepted: u64) -> NodeRecord {
    record.load.accepted = accepted;
    record
}

fn channel(name: &str, state: ChannelState, epoch: u64, receivers: u64) -> Channel {
    Channel {
        name: name.parse().unwrap(),
        state,
        container: None,
        tracks: Vec::new(),
        receivers,
        bitrate: 0,
        epoch: Epoch::new(epoch),
        origin: None,
        started_at: None,
    }
}

fn edge(name: &str, epoch: u64, receivers: u64) -> Channel {
    Channel { origin: Some(id("o")), ..channel(name, ChannelState::Live, epoch, receivers) }
}

fn whole(record: NodeRecord, round: u64, channels: Vec<Channel>) -> Report {
    Report::Whole { record: Box::new(record), round, part: 0, parts: 1, channels }
}

fn part(round: u64, part: u32, parts: u32, channels: Vec<Channel>) -> Report {
    Report::Whole { record: Box::new(record("a", 1)), round, part, parts, channels }
}

fn says(name: &str, run: u64, channel: Channel) -> Report {
    Report::Channel { peer: peer(name, run), channel }
}

fn peer(name: &str, run: u64) -> Peer {
    Peer { node: id(name), incarnation: incarnation(name, run) }
}

fn run(view: &View, name: &str) -> Option<u64> {
    view.node(&id(name)).map(|member| member.record.started_ms)
}

fn silent(view: &View, name: &str, now: u64) -> bool {
    view.node(&id(name)).unwrap().is_silent(now)
}

fn names(view: &View, filter: &ChannelFilter) -> Vec<String> {
    view.channels(filter, None, 1_000).channels.into_iter().map(|channel| channel.name.to_string()).collect()
}

fn all(view: &View) -> Vec<String> {
    names(view, &ChannelFilter::default())
}

fn one(view: &View, name: &str) -> Option<ClusterChannel> {
    view.channel(&name.parse().unwrap())
}

#[test]
fn what_an_older_run_says_is_passed_over() {
    let mut view = view();
    view.heard(whole(record("a", 2), 1, vec![channel("new", ChannelState::Live, 2, 0)]), 0);
    view.heard(whole(record("a", 1), 9, vec![channel("old", ChannelState::Live, 1, 0)]), 1);
    view.heard(says("a", 1, channel("old", ChannelState::Live, 1, 0)), 2);
    view.heard(Report::Gone { peer: peer("a", 1) }, 3);
    view.registered(vec![record("a", 1)], 4);
    assert_eq!((run(&view, "a"), all(&view)), (Some(2), vec!["new".to_owned()]));
}

#[test]
fn a_newer_run_takes_nothing_over_from_the_older() {
    let mut view = view();
    view.heard(whole(record("a", 1), 7, vec![channel("old", ChannelState::Live, 1, 0)]), 0);
    view.reserve(&id("a"), 3, 0);
    view.heard(whole(record("a", 2), 1, Vec::new()), 1);
    assert_eq!((run(&view, "a"), all(&view)), (Some(2), Vec::new()));
    assert_eq!(view.node(&id("a")).unwrap().reserved(), 0);
    assert_eq!(view.reserved(), 0);
}

#[test]
fn a_run_whose_clock_was_set_back_waits_until_the_other_is_silent_and_no_longer() {
    let mut view = view();
    view.heard(whole(record("a", 1_000), 1, Vec::new()), 0);
    view.heard(whole(record("a", 5), 1, Vec::new()), 2_000);
    view.heard(whole(record("a", 5), 2, Vec::new()), 4_000);
    assert_eq!(run(&view, "a"), Some(1_000));
    view.heard(whole(record("a", 5), 3, Vec::new()), 4_001);
    assert_eq!(run(&view, "a"), Some(5));
    view.heard(whole(record("a", 5), 4, Vec::new()), 6_000);
    assert_eq!(run(&view, "a"), Some(5));
}

#[test]
fn a_run_that_said_goodbye_leaves_room_for_one_whose_clock_is_behind() {
    let mut view = view();
    view.heard(whole(record("a", 1_000), 1, Vec::new()), 0);
    view.heard(Report::Gone { peer: peer("a", 1_000) }, 1);
    assert!(view.node(&id("a")).is_none());
    view.heard(whole(record("a", 5), 1, Vec::new()), 2);
    assert_eq!(run(&view, "a"), Some(5));
}

#[test]
fn a_record_that_outlives_the_goodbye_brings_no_node_back() {
    let mut view = view();
    view.heard(whole(record("a", 1), 1, Vec::new()), 0);
    view.heard(Report::Gone { peer: peer("a", 1) }, 1);
    view.registered(vec![record("a", 1)], 2);
    view.heard(whole(record("a", 1), 2, Vec::new()), 3);
    assert!(view.node(&id("a")).is_none());
    view.tick(40_001);
    assert!(view.over.is_empty(), "it is not remembered for ever");
}

#[test]
fn channels_of_a_round_replace_the_former_once_all_parts_are_there() {
    let mut view = view();
    let live = |name| channel(name, ChannelState::Live, 1, 0);
    view.heard(part(1, 0, 1, vec![live("x")]), 0);
    view.heard(part(2, 1, 2, vec![live("z")]), 1);
    view.heard(part(2, 1, 2, vec![live("z")]), 1);
    assert_eq!(all(&view), ["x"], "a part twice is one part");
    view.heard(part(2, 0, 2, vec![live("y")]), 2);
    assert_eq!(all(&view), ["y", "z"]);
    view.heard(part(3, 0, 2, Vec::new()), 3);
    view.heard(part(4, 1, 2, vec![live("w")]), 4);
    view.heard(part(3, 1, 2, Vec::new()), 5);
    assert_eq!(all(&view), ["y", "z"], "a round of which a part is missing changes nothing");
    view.heard(part(4, 0, 2, Vec::new()), 6);
    assert_eq!(all(&view), ["w"]);
}

#[test]
fn what_is_said_between_the_parts_of_a_report_is_newer_than_the_report() {
    let mut view = view();
    let live = |name| channel(name, ChannelState::Live, 1, 0);
    view.heard(part(1, 0, 2, vec![live("x"), live("y")]), 0);
    view.heard(says("a", 1, channel("x", ChannelState::Waiting, 1, 0)), 1);
    view.heard(says("a", 1, live("z")), 2);
    view.heard(part(1, 1, 2, Vec::new()), 3);
    assert_eq!(all(&view), ["y", "z"]);
}

#[test]
fn parts_that_cannot_be_are_passed_over() {
    let mut view = view();
    for (number, parts) in [(0, 0), (1, 1), (5, 2), (0, PARTS_MAX + 1), (u32::MAX, u32::MAX)] {
        view.heard(part(1, number, parts, Vec::new()), 0);
    }
    assert_eq!(view.nodes().count(), 0);
    view.heard(part(1, PARTS_MAX - 1, PARTS_MAX, Vec::new()), 0);
    assert_eq!(view.nodes().count(), 1);
}

#[test]
fn a_channel_that_nobody_publishes_or_receives_is_not_carried() {
    let mut view = view();
    view.heard(whole(record("a", 1), 1, vec![channel("x", ChannelState::Waiting, 0, 2)]), 0);
    assert_eq!(all(&view), ["x"]);
    view.heard(says("a", 1, channel("x", ChannelState::Waiting, 0, 0)), 1);
    assert_eq!(all(&view), Vec::<String>::new());
    view.heard(says("nobody", 1, channel("x", ChannelState::Live, 1, 0)), 2);
    assert_eq!(all(&view), Vec::<String>::new(), "a node of which nothing is known");
    assert!(view.flow(&"x".parse().unwrap()).is_none());
}

#[test]
fn a_channel_is_what_its_nodes_say_together() {
    let mut view = view();
    let track = Track {
        kind: "video".to_owned(),
        codec: "avc1.64001f".to_owned(),
        width: Some(1280),
        height: Some(720),
        sample_rate: None,
        channels: None,
    };
    let published = Channel {
        container: Some("mpegts".to_owned()),
        tracks: vec![track],
        bitrate: 3_000,
        started_at: Some("2026-01-01T00:00:00Z".to_owned()),
        ..channel("x", ChannelState::Stalled, 7, 2)
    };
    // Its publisher was connected to `b` before.
    view.heard(whole(record("b", 1), 1, vec![channel("x", ChannelState::Held, 6, 1)]), 0);
    view.heard(whole(record("a", 1), 1, vec![edge("x", 7, 30)]), 0);
    view.heard(whole(record("o", 1), 1, vec![published.clone()]), 0);
    view.heard(whole(record("c", 1), 1, vec![channel("x", ChannelState::Waiting, 0, 4)]), 0);
    let whole = one(&view, "x").unwrap();
    assert_eq!((whole.state, whole.epoch, whole.receivers), (ChannelState::Stalled, Epoch::new(7), 37));
    assert_eq!(
        (whole.bitrate, &whole.tracks, &whole.container),
        (3_000, &published.tracks, &published.container)
    );
    assert_eq!((whole.origin, whole.started_at), (Some(id("o")), published.started_at));
    let nodes: Vec<_> = whole.nodes.iter().map(|at| (at.node.as_str(), at.part, at.receivers)).collect();
    assert_eq!(
        nodes,
        [("a", Part::Edge, 30), ("b", Part::Edge, 1), ("c", Part::Waiting, 4), ("o", Part::Origin, 2)]
    );
}

#[test]
fn a_channel_whose_nodes_are_all_silent_is_not_listed() {
    let mut view = view();
    view.heard(whole(record("o", 1), 1, vec![channel("x", ChannelState::Live, 1, 0)]), 0);
    view.heard(whole(record("b", 1), 1, Vec::new()), 2_000);
    view.heard(whole(record("a", 1), 1, vec![edge("x", 1, 3)]), 3_000);
    view.heard(whole(record("b", 1), 2, Vec::new()), 4_001);
    let whole = one(&view, "x").unwrap();
    assert_eq!((whole.origin, whole.nodes.len(), whole.receivers), (None, 1, 3));
    view.heard(self::whole(record("b", 1), 3, Vec::new()), 6_000);
    view.heard(self::whole(record("b", 1), 4, Vec::new()), 7_001);
    assert_eq!((one(&view, "x"), all(&view)), (None, Vec::new()));
    assert_eq!(
        names(&view, &ChannelFilter { node: Some(id("a")), ..ChannelFilter::default() }),
        Vec::<String>::new()
    );
}

#[test]
fn pages_follow_each_other_without_gap_or_overlap() {
    let mut view = view();
    let some: Vec<_> = (0..25).map(|n| channel(&format!("c{n:02}"), ChannelState::Live, 1, 0)).collect();
    view.heard(whole(record("a", 1), 1, some), 0);
    view.heard(whole(record("b", 1), 1, vec![channel("d", ChannelState::Waiting, 0, 1)]), 0);
    let pages = |filter: &ChannelFilter, limit| {
        let (mut pages, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = view.channels(filter, after.as_deref(), limit);
            pages.push(page.channels.iter().map(|channel| channel.name.to_string()).collect::<Vec<_>>());
            after = page.next;
            if after.is_none() {
                return pages;
            }
        }
    };
    let every = pages(&ChannelFilter::default(), 10);
    assert_eq!(every.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 6]);
    assert!(every.concat().is_sorted());
    let c1 = ChannelFilter { prefix: Some("c1".to_owned()), ..ChannelFilter::default() };
    assert_eq!(
        pages(&c1, 5).iter().map(Vec::len).collect::<Vec<_>>(),
        [5, 5],
        "the last page is not an empty one"
    );
    let waiting = ChannelFilter { state: Some(ChannelState::Waiting), ..ChannelFilter::default() };
    assert_eq!(pages(&waiting, 0), [["d"]]);
    let on_b = ChannelFilter { node: Some(id("b")), ..ChannelFilter::default() };
    assert_eq!(pages(&on_b, 5), [["d"]]);
    assert_eq!(view.channels(&ChannelFilter::default(), Some("/no name/"), 1).channels.len(), 1);
    assert_eq!(view.channels(&c1, Some("zz"), 5).channels.len(), 0);
    assert_eq!(view.channels(&c1, Some("a"), 5).channels.len(), 5);
}

#[test]
fn a_filter_that_little_matches_is_answered_in_short_pages() {
    let mut view = view();
    let mut some: Vec<_> =
        (0..SCANNED_MAX + 5).map(|n| channel(&format!("c{n:05}"), ChannelState::Live, 1, 0)).collect();
    some.push(channel("z", ChannelState::Waiting, 0, 1));
    view.heard(whole(record("a", 1), 1, some), 0);
    let waiting = ChannelFilter { state: Some(ChannelState::Waiting), ..ChannelFilter::default() };
    let first = view.channels(&waiting, None, 5);
    assert_eq!(first.channels.len(), 0);
    let second = view.channels(&waiting, first.next.as_deref(), 5);
    assert_eq!((second.channels.len(), second.next), (1, None));
}

#[test]
fn a_node_is_silent_two_heartbeats_after_its_last_word() {
    let mut view = view();
    view.heard(whole(record("a", 1), 1, Vec::new()), 0);
    view.heard(whole(record("b", 1), 1, Vec::new()), 2_000);
    view.heard(whole(record("b", 1), 2, Vec::new()), 4_000);
    assert!(!silent(&view, "a", 4_000));
    view.heard(whole(record("b", 1), 3, Vec::new()), 4_001);
    assert!(silent(&view, "a", 4_001));
    assert_eq!(view.node(&id("a")).unwrap().age_ms(4_001), 4_001);
    view.heard(says("a", 1, channel("x", ChannelState::Live, 1, 0)), 4_002);
    assert!(!silent(&view, "a", 4_002), "whatever it says is a sign");
}

#[test]
fn the_record_of_a_dead_node_is_no_sign_of_life_while_others_report() {
    let mut view = view();
    let last = accepted(record("dead", 1), 7);
    view.registered(vec![accepted(record("dead", 1), 6)], 0);
    view.heard(whole(last.clone(), 1, Vec::new()), 100);
    for now in [1_000, 2_000, 3_000, 4_000, 4_101] {
        view.heard(whole(record("b", 1), now, Vec::new()), now);
        view.registered(vec![last.clone(), record("b", 1)], now);
    }
    assert!(silent(&view, "dead", 4_101));
}

#[test]
fn a_record_that_changes_is_a_sign_of_life() {
    let mut view = view();
    view.heard(whole(record("a", 1), 1, Vec::new()), 0);
    for now in [1_000, 2_000, 3_000, 4_000, 5_000, 6_000] {
        view.heard(whole(record("b", 1), now, Vec::new()), now);
        view.registered(vec![accepted(record("a", 1), now), record("b", 1)], now);
    }
    assert!(!silent(&view, "a", 6_000), "it has lost the backbone only");
    assert_eq!(view.node(&id("a")).unwrap().record.load.accepted, 6_000);
}

#[test]
fn a_record_is_no_newer_than_what_the_node_reports_itself() {
    let mut view = view();
    view.heard(whole(accepted(record("a", 1), 5), 1, Vec::new()), 0);
    view.registered(vec![accepted(record("a", 1), 4)], 10);
    assert_eq!(view.node(&id("a")).unwrap().record.load.accepted, 5);
}

#[test]
fn without_the_backbone_the_registry_is_all_there_is() {
    let mut view = view();
    view.registered(vec![record("a", 1), record("b", 1)], 0);
    for now in [2_000, 4_000, 6_000, 8_000] {
        view.registered(vec![record("a", 1), record("b", 1)], now);
    }
    assert!(!silent(&view, "a", 8_000), "an idle node's record is the same each time");
    view.registered(vec![record("b", 1)], 10_000);
    assert!(silent(&view, "a", 10_000), "its record has ended");
    view.registered(vec![accepted(record("a", 1), 1), record("b", 1)], 12_000);
    assert!(!silent(&view, "a", 12_000));
}

#[test]
fn a_registry_that_lost_its_memory_takes_no_node_away() {
    let mut view = view();
    view.heard(whole(record("a", 1), 1, vec![channel("x", ChannelState::Live, 1, 0)]), 0);
    view.registered(vec![record("a", 1)], 500);
    view.registered(Vec::new(), 1_000);
    assert!(!silent(&view, "a", 1_000));
    assert_eq!(all(&view), ["x"]);
}

#[test]
fn who_hears_of_nobody_goes_on_with_what_he_knew() {
    let mut view = view();
    view.heard(whole(record("a", 1), 1, Vec::new()), 0);
    view.heard(whole(record("b", 1), 1, Vec::new()), 1_900);
    view.tick(3_600_000);
    assert!(!silent(&view, "a", 3_600_000) && !silent(&view, "b", 3_600_000));
    assert_eq!(view.age_ms(3_600_000), Some(3_598_100));
    for (round, now) in [(2, 3_600_000), (3, 3_602_000), (4, 3_604_000)] {
        view.heard(whole(record("b", 1), round, Vec::new()), now);
        assert!(!silent(&view, "a", now));
    }
    view.heard(whole(record("b", 1), 5, Vec::new()), 3_604_001);
    assert!(silent(&view, "a", 3_604_001));
}

#[test]
fn a_silent_node_is_shown_for_a_while_and_then_forgotten() {
    let mut view = view();
    view.heard(whole(record("a", 1), 1, vec![channel("x", ChannelState::Live, 1, 0)]), 0);
    for now in (2_000..=40_000).step_by(2_000) {
        view.heard(whole(record("b", 1), now, Vec::new()), now);
    }
    view.reserve(&id("a"), 1, 40_000);
    view.reserve(&id("b"), 3, 40_000);
    view.tick(40_000);
    assert!(silent(&view, "a", 40_000));
    view.heard(whole(record("b", 1), 40_001, Vec::new()), 40_001);
    view.tick(40_001);
    assert!(view.node(&id("a")).is_none() && view.flow(&"x".parse().unwrap()).is_none());
    assert_eq!((view.nodes().count(), view.reserved()), (1, 3));
}

#[test]
fn places_are_kept_until_the_node_has_accepted_as_many() {
    let mut view = view();
    let a = id("a");
    view.heard(whole(accepted(record("a", 1), 50), 1, Vec::new()), 0);
    view.reserve(&a, 5, 100);
    view.heard(whole(accepted(record("a", 1), 53), 2, Vec::new()), 2_000);
    assert_eq!((view.node(&a).unwrap().reserved(), view.reserved()), (2, 2));
    view.tick(10_000);
    assert_eq!(view.node(&a).unwrap().reserved(), 2);
    view.tick(10_300);
    assert_eq!((view.node(&a).unwrap().reserved(), view.reserved()), (0, 0));
    view.reserve(&id("nobody"), 5, 10_300);
    assert_eq!(view.reserved(), 0);
}

#[test]
fn a_node_that_was_there_before_the_stream_manager_is_not_new() {
    let mut view = view();
    view.heard(whole(record("a", 1), 1, Vec::new()), 0);
    view.heard(whole(record("b", 1), 1, Vec::new()), 4_000);
    view.heard(whole(record("c", 1), 1, Vec::new()), 4_001);
    let ramp = |name, now| view.node(&id(name)).unwrap().ramp(now);
    assert_eq!((ramp("a", 0), ramp("b", 4_000), ramp("c", 4_001)), (1.0, 1.0, 0.0));
    assert_eq!((ramp("c", 19_001), ramp("c", 34_001)), (0.5, 1.0));
}

#[test]
fn no_more_nodes_are_known_than_a_registry_tells_of() {
    let mut view = view();
    for n in 0..=NODES_MAX {
        view.heard(whole(record(&format!("n{n}"), 1 + n as u64), 1, Vec::new()), 0);
    }
    assert_eq!(view.nodes().count(), NODES_MAX);
    view.heard(Report::Gone { peer: peer("n0", 1) }, 0);
    view.heard(whole(record("late", 1 << 32), 1, Vec::new()), 0);
    assert!(view.node(&id("late")).is_some());
}

#[test]
fn a_node_is_described_whatever_it_says_of_its_clock() {
    let mut view = view();
    view.heard(whole(record("a", u64::MAX), 1, Vec::new()), 0);
    view.heard(whole(record("b", 1_769_904_000_000), 1, vec![channel("x", ChannelState::Live, 1, 0)]), 0);
    let described: Vec<_> = view.nodes().map(|member| member.describe(5)).collect();
    assert_eq!(described[0].started_at, "9999-12-31T23:59:59Z");
    assert_eq!(described[1].started_at, "2026-02-01T00:00:00Z");
    assert_eq!((described[1].channels, described[1].age_ms, described[1].silent), (1, 5, false));
    assert_eq!(described[1].url.as_deref(), Some("ws://b.test:8080"));
}

/// Anything that can come.
#[derive(Debug, Clone)]
enum Step {
    Heard(Report),
    Registered(Vec<NodeRecord>),
    Reserve(u8, u32),
    Tick,
}

fn any_channel() -> impl Strategy<Value = Channel> {
    let state = prop_oneof![
        Just(ChannelState::Waiting),
        Just(ChannelState::Live),
        Just(ChannelState::Stalled),
        Just(ChannelState::Held)
    ];
    (0..4_u8, state, 0..4_u64, prop_oneof![Just(0), Just(1), Just(u64::MAX)], any::<bool>()).prop_map(
        |(name, state, epoch, receivers, is_edge)| Channel {
            origin: is_edge.then(|| id("n0")),
            ..channel(&format!("c{name}"), state, epoch, receivers)
        },
    )
}

fn any_record() -> impl Strategy<Value = NodeRecord> {
    let number = prop_oneof![Just(0), 0..20_u64, Just(u64::MAX)];
    (0..3_u8, 1..4_u64, proptest::array::uniform6(number), any::<bool>()).prop_map(
        |(name, run, [a, b, c, d, e, f], is_draining)| NodeRecord {
            state: if is_draining { NodeState::Draining } else { NodeState::InService },
            capacity: Capacity { sessions: a, processors: b as u32, egress: (c > 0).then_some(c) },
            load: Load {
                sessions: d,
                receivers: e,
                egress: f,
                accepted: a,
                cpu_permille: c as u32,
                ..Load::default()
            },
            ..record(&format!("n{name}"), run * 10)
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let heard = prop_oneof![
        4 => (any_record(), prop_oneof![0..5_u64, Just(u64::MAX)], 0..3_u32, 0..3_u32,
              proptest::collection::vec(any_channel(), 0..4))
            .prop_map(|(record, round, part, parts, channels)| Report::Whole {
                record: Box::new(record), round, part, parts, channels }),
        3 => (0..3_u8, 1..4_u64, any_channel())
            .prop_map(|(name, run, channel)| says(&format!("n{name}"), run * 10, channel)),
        1 => (0..3_u8, 1..4_u64).prop_map(|(name, run)| Report::Gone { peer: peer(&format!("n{name}"), run * 10) }),
    ];
    prop_oneof![
        6 => heard.prop_map(Step::Heard),
        2 => proptest::collection::vec(any_record(), 0..4).prop_map(Step::Registered),
        2 => (0..3_u8, prop_oneof![0..5_u32, Just(u32::MAX)]).prop_map(|(name, count)| Step::Reserve(name, count)),
        1 => Just(Step::Tick),
    ]
}

#[test]
fn a_node_whose_report_is_late_is_asked_once_and_silent_if_nobody_hears_it() {
    let late = TIMING.silent_after_ms / 2 + TIMING.silent_after_ms / 20;
    let peer = |name: &str| Peer { node: id(name), incarnation: incarnation(name, 1) };
    let mut view = view();
    let report =
        |view: &mut View, name: &str, round, now| view.heard(whole(record(name, 1), round, Vec::new()), now);
    report(&mut view, "n1", 1, 0);
    report(&mut view, "n2", 1, 0);
    assert_eq!(view.late(late), []);
    report(&mut view, "n2", 2, late);
    assert_eq!(view.late(late + 1), [peer("n1")]);
    assert_eq!(view.late(late + 2), [], "once");
    view.unreachable(&peer("n1"));
    let is_silent = |view: &View| view.node(&id("n1")).unwrap().is_silent(late + 2);
    assert!(is_silent(&view));
    assert_eq!(view.node(&id("n1")).unwrap().phase(late + 2), NodePhase::InService, "it may be cut off only");
    // A record that outlives it changes nothing, a report does; and so does one that comes before the answer.
    view.registered(vec![record("n1", 1), record("n2", 1)], late + 2);
    assert!(is_silent(&view));
    report(&mut view, "n1", 2, late + 2);
    assert!(!is_silent(&view));
    view.unreachable(&peer("n1"));
    assert!(!is_silent(&view));
    // Another run is not the one that was asked.
    view.unreachable(&Peer { node: id("n2"), incarnation: incarnation("n2", 9) });
    assert!(!view.node(&id("n2")).unwrap().is_silent(late + 2));
}

proptest! {
    #[test]
    fn whatever_comes_in_whatever_order_the_view_holds_together(
        steps in proptest::collection::vec((any_step(), 0..5_000_u64), 0..60),
    ) {
        let mut view = view();
        let mut now = 0;
        let mut gone: Vec<(Incarnation, u64)> = Vec::new();
        for (step, later) in steps {
            now += later;
            let before: Vec<(NodeId, u64, bool)> = view
                .nodes()
                .map(|member| (member.record.node.clone(), member.record.started_ms, member.is_silent(now)))
                .collect();
            if let Step::Heard(Report::Gone { peer }) = &step {
                gone.push((peer.incarnation, now));
            }
            match step {
                Step::Heard(report) => view.heard(report, now),
                Step::Registered(records) => view.registered(records, now),
                Step::Reserve(name, count) => view.reserve(&id(&format!("n{name}")), count, now),
                Step::Tick => view.tick(now),
            }
            for (name, started_ms, _) in before {
                let Some(member) = view.node(&name) else { continue };
                // An older run comes only where the newer one has not been heard, as of this word.
                if member.record.started_ms < started_ms {
                    prop_assert!(member.age_ms(now) == 0);
                }
            }
            // What said goodbye does not come back.
            for (incarnation, at) in &gone {
                if now < at + TIMING.silent_after_ms * FORGOTTEN_AFTER_SILENCES {
                    prop_assert!(view.nodes().all(|member| member.record.incarnation != *incarnation));
                }
            }
            // The index says the same as the nodes.
            for slot in view.slots() {
                for name in view.member(slot).unwrap().channels.keys() {
                    let carriers = &view.flows.get(name).unwrap().carriers;
                    prop_assert_eq!(carriers.iter().filter(|carrier| **carrier == slot).count(), 1);
                }
            }
            let carried: usize = view.nodes().map(Member::channels).sum();
            let indexed: usize = (0..4)
                .filter_map(|n| view.flow(&format!("c{n}").parse::<ChannelName>().unwrap()))
                .map(|flow| flow.carriers.len())
                .sum();
            prop_assert_eq!(carried, indexed);
            prop_assert_eq!(view.reserved(), view.nodes().map(Member::reserved).fold(0, u64::saturating_add));
            let listed = view.channels(&ChannelFilter::default(), None, 100);
            prop_assert!(listed.next.is_none());
            for member in view.nodes() {
                let _ = member.describe(now);
            }
            let report = crate::capacity::capacity(&view, now, 0.7);
            prop_assert!(report.desired_nodes >= 1);
            prop_assert_eq!(report.nodes + report.draining + report.silent, view.nodes().count() as u64);
        }
    }

    #[test]
    fn an_older_run_never_wins_while_the_newer_is_heard(
        older in proptest::collection::vec((any::<bool>(), 0..1_000_u64), 1..40),
    ) {
        let mut view = view();
        let mut now = 0;
        view.heard(whole(record("a", 20), 1, Vec::new()), now);
        for (number, (over_the_backbone, later)) in older.into_iter().enumerate() {
            now += later;
            if over_the_backbone {
                view.heard(whole(record("a", 10), number as u64, vec![channel("x", ChannelState::Live, 1, 0)]), now);
            } else {
                view.registered(vec![record("a", 10)], now);
            }
            prop_assert_eq!(run(&view, "a"), Some(20));
            prop_assert_eq!(all(&view), Vec::<String>::new());
            view.heard(whole(record("a", 20), 2 + number as u64, Vec::new()), now);
        }
    }
}

#[test]
fn who_hears_again_takes_nobody_for_dead_before_he_could_have_heard_him() {
    for deaf_ms in [TIMING.silent_after_ms, 10 * TIMING.silent_after_ms + 1] {
        let mut view = view();
        let words =
            [("dead", 0), ("a", 2_000), ("a", 4_000), ("a", 6_000), ("b", 7_500), ("a", 9_000), ("b", 9_500)];
        for (name, at) in words.into_iter().chain([("gone", 10_000)]) {
            view.heard(whole(record(name, 1), at, vec![edge("cam", 1, 1)]), at);
        }
        let is_silent = |view: &View, name: &str, now| view.node(&id(name)).unwrap().is_silent(now);
        let back = 10_000 + deaf_ms;
        assert!(is_silent(&view, "dead", back), "as it was before");
        view.heard(whole(record("a", 1), back, vec![edge("cam", 1, 1)]), back);
        view.tick(back);
        // One has reported, and the others are to within a heartbeat.
        for name in ["a", "b", "gone"] {
            assert!(!is_silent(&view, name, back), "{name} after {deaf_ms} ms");
        }
        assert!(view.node(&id("dead")).is_none_or(|member| member.is_silent(back)));
        assert_eq!(view.node(&id("b")).unwrap().age_ms(back), back - 9_500, "what is told is true");
        // Nor does a registry that has forgotten them know better so soon.
        view.registered(vec![record("a", 1)], back + 1);
        assert!(!is_silent(&view, "b", back + 1));
        let later = back + TIMING.silent_after_ms;
        for now in [back + 2_000, back + 4_000] {
            view.heard(whole(record("a", 1), now, vec![]), now);
            view.heard(whole(record("b", 1), now, vec![]), now);
        }
        view.heard(whole(record("a", 1), later + 1, vec![]), later + 1);
        assert!(is_silent(&view, "gone", later + 1) && !is_silent(&view, "b", later + 1));
    }
}
