use std::collections::HashSet;

use proptest::prelude::*;
use relay_proto::Incarnation;
use relay_proto::api::{Channel, ChannelState};
use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState};
use relay_proto::report::Report;

use super::*;
use crate::view::Timing;

const TIMING: Timing = Timing { silent_after_ms: 4_000, reservation_ms: 10_000, warm_up_ms: 30_000 };

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn record(name: &str) -> NodeRecord {
    NodeRecord {
        node: id(name),
        incarnation: Incarnation::new(1),
        url: format!("ws://{name}.test:8080"),
        rtmp: None,
        region: None,
        zone: None,
        state: NodeState::InService,
        roles: vec![Role::Publish, Role::Receive],
        capacity: Capacity { sessions: 100, processors: 2, egress: None },
        load: Load::default(),
        version: "0.1.0".to_owned(),
        started_ms: 1,
    }
}

fn with(name: &str, change: impl FnOnce(&mut NodeRecord)) -> NodeRecord {
    let mut record = record(name);
    change(&mut record);
    record
}

fn loaded(name: &str, sessions: u64) -> NodeRecord {
    with(name, |record| record.load.sessions = sessions)
}

fn in_region(name: &str, region: &str) -> NodeRecord {
    with(name, |record| record.region = Some(region.to_owned()))
}

fn hears(view: &mut View, record: NodeRecord, channels: Vec<Channel>, now: u64) {
    view.heard(Report::Whole { record: Box::new(record), round: now, part: 0, parts: 1, channels }, now);
}

fn view(records: impl IntoIterator<Item = NodeRecord>) -> View {
    let mut view = View::new(TIMING);
    for record in records {
        hears(&mut view, record, Vec::new(), 0);
    }
    view
}

fn channel(name: &str, bitrate: u64) -> Channel {
    Channel {
        name: name.parse().unwrap(),
        state: ChannelState::Live,
        container: None,
        tracks: Vec::new(),
        receivers: 0,
        bitrate,
        epoch: relay_proto::Epoch::new(1),
        origin: None,
        started_at: None,
    }
}

const ASK: Ask<'_> = Ask {
    role: Role::Receive,
    channel: None,
    region: None,
    rule: RegionRule::Preferred,
    exclude: &[],
    count: 1,
};

fn dice(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |bound| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(seed) * bound as u128) >> 64) as usize
    }
}

fn name(view: &View, placed: Placed) -> &NodeId {
    &view.member(placed.slot).unwrap().record.node
}

/// The nodes that are answered when many ask, each for himself, without being counted.
fn answers(view: &View, ask: &Ask<'_>) -> Result<Vec<String>, NoNode> {
    let mut dice = dice(1);
    let mut nodes = HashSet::new();
    for _ in 0..200 {
        nodes
            .extend(place(view, ask, 0, &mut dice)?.into_iter().map(|placed| name(view, placed).to_string()));
    }
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort();
    Ok(nodes)
}

fn refused(view: &View, ask: &Ask<'_>) -> Vec<(RefusedBecause, usize)> {
    match place(view, ask, 0, &mut dice(1)) {
        Err(NoNode::NoneEligible { reasons }) => reasons,
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_no_node_is_known_none_is_answered() {
    assert_eq!(place(&View::new(TIMING), &ASK, 0, &mut dice(1)), Err(NoNode::NoneKnown));
}

#[test]
fn a_node_may_say_any_number_of_itself() {
    for most in [u64::MAX, u64::MAX - 1] {
        let mut view = view([
            loaded("a", 1),
            with("b", |record| {
                record.load = Load {
                    sessions: most,
                    publications: most,
                    receivers: most,
                    upstreams: most,
                    egress: most,
                    accepted: most,
                    cpu_permille: u32::MAX,
                    memory_permille: u32::MAX,
                };
                record.capacity = Capacity { sessions: most, processors: u32::MAX, egress: Some(most) };
                record.started_ms = most;
            }),
        ]);
        view.reserve(&id("a"), u32::MAX / 2, 0);
        view.reserve(&id("b"), u32::MAX, 0);
        assert_eq!(refused(&view, &ASK), [(RefusedBecause::Full, 2)]);
        assert_eq!(explain(&view, &ASK, 0).candidates.len(), 2);
        assert!(crate::capacity::capacity(&view, 0, 0.7).desired_nodes >= 1);
    }
}

#[test]
fn each_reason_keeps_a_node_from_being_chosen() {
    use RefusedBecause::{Draining, Excluded, Full, Region, Role as OtherRole};
    let refuses = |record: NodeRecord, ask: &Ask<'_>| refused(&view([record]), ask);
    assert_eq!(refuses(with("a", |a| a.state = NodeState::Draining), &ASK), [(Draining, 1)]);
    assert_eq!(refuses(with("a", |a| a.roles = vec![Role::Publish]), &ASK), [(OtherRole, 1)]);
    assert_eq!(refuses(record("a"), &Ask { exclude: &[id("a")], ..ASK }), [(Excluded, 1)]);
    let eu = Ask { region: Some("eu"), rule: RegionRule::Strict, ..ASK };
    assert_eq!(refuses(in_region("a", "us"), &eu), [(Region, 1)]);
    assert_eq!(refuses(record("a"), &eu), [(Region, 1)], "a node that does not say where it is");
    assert_eq!(refuses(loaded("a", 100), &ASK), [(Full, 1)]);
    assert_eq!(refuses(with("a", |a| a.capacity.sessions = 0), &ASK), [(Full, 1)]);
    assert_eq!(refuses(with("a", |a| a.load.cpu_permille = 950), &ASK), [(Full, 1)]);
    assert_eq!(refuses(with("a", |a| a.load.memory_permille = 950), &ASK), [(Full, 1)]);
    let full = with("a", |a| (a.capacity.egress, a.load.egress) = (Some(1_000), 1_000));
    assert_eq!(refuses(full, &ASK), [(Full, 1)]);
    let both = with("a", |a| (a.state, a.load.sessions) = (NodeState::Draining, 100));
    assert_eq!(refused(&view([both, loaded("b", 100)]), &ASK), [(Draining, 1), (Full, 2)]);
}

#[test]
fn a_node_just_below_every_limit_is_chosen() {
    let nearly = with("a", |a| {
        a.capacity.egress = Some(1_000);
        a.load =
            Load { sessions: 99, egress: 999, cpu_permille: 949, memory_permille: 949, ..Load::default() };
    });
    assert_eq!(answers(&view([nearly]), &ASK).unwrap(), ["a"]);
}

#[test]
fn a_node_that_is_silent_is_not_chosen() {
    let mut view = view([record("a"), record("b")]);
    for now in [2_000, 4_001] {
        hears(&mut view, record("b"), Vec::new(), now);
    }
    let mut dice = dice(1);
    for _ in 0..100 {
        let placed = place(&view, &ASK, 4_001, &mut dice).unwrap();
        assert_eq!(*name(&view, placed[0]), id("b"));
    }
}

#[test]
fn places_that_are_kept_count_as_if_taken() {
    let mut view = view([loaded("a", 90), loaded("b", 95)]);
    let mut dice = dice(1);
    for _ in 0..15 {
        let placed = place(&view, &ASK, 0, &mut dice).unwrap();
        view.reserve_at(placed[0].slot, 1, 0);
    }
    assert_eq!(refused(&view, &ASK), [(RefusedBecause::Full, 2)]);
    view.tick(10_300);
    assert!(place(&view, &ASK, 10_300, &mut dice).is_ok());
}

#[test]
fn egress_that_is_not_measured_yet_counts() {
    // Ten more receivers of 2 Mbit/s fit in.
    let node = with("a", |a| {
        a.capacity.egress = Some(100_000_000);
        a.load = Load { sessions: 40, receivers: 40, egress: 80_000_000, ..Load::default() };
    });
    let mut view = view([node]);
    let mut dice = dice(1);
    let mut placed = 0;
    while place(&view, &ASK, 0, &mut dice).is_ok() {
        view.reserve(&id("a"), 1, 0);
        placed += 1;
    }
    assert_eq!(placed, 9, "the tenth would fill it to the brim");
    assert!(
        place(&view, &Ask { role: Role::Publish, ..ASK }, 0, &mut dice).is_ok(),
        "who publishes receives nothing"
    );
}

#[test]
fn what_a_channel_takes_is_known_before_its_receivers_come() {
    let node = with("a", |a| a.capacity.egress = Some(50_000_000));
    let mut view = View::new(TIMING);
    hears(&mut view, node, vec![channel("x", 20_000_000)], 0);
    let x = "x".parse().unwrap();
    let ask = Ask { channel: Some(&x), ..ASK };
    let mut dice = dice(1);
    for _ in 0..2 {
        assert!(place(&view, &ask, 0, &mut dice).is_ok());
        view.reserve(&id("a"), 1, 0);
    }
    assert_eq!(refused(&view, &ask), [(RefusedBecause::Full, 1)]);
}

#[test]
fn the_worst_resource_counts_more_than_all_together() {
    let one_is_short = with("a", |a| {
        a.capacity.egress = Some(1_000);
        a.load = Load { egress: 950, cpu_permille: 50, ..Load::default() };
    });
    let all_are_half = with("b", |a| {
        a.capacity.egress = Some(1_000);
        a.load =
            Load { sessions: 50, egress: 500, cpu_permille: 500, memory_permille: 500, ..Load::default() };
    });
    assert_eq!(answers(&view([one_is_short, all_are_half]), &ASK).unwrap(), ["b"]);
}

#[test]
fn a_preferred_region_comes_before_load_and_before_the_channel() {
    let x = "x".parse().unwrap();
    let ask = Ask { region: Some("eu"), channel: Some(&x), ..ASK };
    let mut view = view([with("eu", |a| (a.region, a.load.sessions) = (Some("eu".to_owned()), 99))]);
    hears(&mut view, in_region("us", "us"), vec![channel("x", 0)], 0);
    assert_eq!(answers(&view, &ask).unwrap(), ["eu"]);
    view.reserve(&id("eu"), 1, 0);
    assert_eq!(answers(&view, &ask).unwrap(), ["us"]);
    let nowhere = Ask { region: Some("mars"), ..ask };
    assert_eq!(answers(&view, &nowhere).unwrap(), ["us"]);
}

#[test]
fn receivers_go_where_their_channel_is_while_there_is_room() {
    let mut view = view((0..30).map(|n| record(&format!("n{n}"))));
    hears(&mut view, loaded("n7", 79), vec![channel("x", 0)], 1);
    let x = "x".parse().unwrap();
    let ask = Ask { channel: Some(&x), ..ASK };
    assert_eq!(answers(&view, &ask).unwrap(), ["n7"]);
    let placed = place(&view, &ask, 0, &mut dice(1)).unwrap();
    assert!(placed[0].carries);
    assert!(answers(&view, &Ask { role: Role::Publish, ..ask }).unwrap().len() > 20, "publishers do not");
    view.reserve(&id("n7"), 1, 0);
    let next = answers(&view, &ask).unwrap();
    assert!(next.len() == 1 && next != ["n7"], "one more node, the same for all: {next:?}");
}

#[test]
fn who_comes_first_for_a_channel_meets_there_whichever_replica_is_asked() {
    let nodes = || (0..30).map(|n| record(&format!("n{n}")));
    // Replicas have heard of the nodes in another order.
    let (mut one, mut other) = (view(nodes()), view(nodes().collect::<Vec<_>>().into_iter().rev()));
    let x = "first".parse().unwrap();
    let ask = Ask { channel: Some(&x), ..ASK };
    let mut met = HashSet::new();
    for number in 0..60 {
        let view = if number % 2 == 0 { &mut one } else { &mut other };
        let placed = place(view, &ask, 0, &mut dice(number)).unwrap();
        met.insert(name(view, placed[0]).clone());
        view.reserve_at(placed[0].slot, 1, 0);
    }
    assert_eq!(met.len(), 2, "{met:?}");
}

#[test]
fn a_channel_that_is_on_hundreds_of_nodes_is_placed_as_well() {
    let mut view = View::new(TIMING);
    for n in 0..300 {
        hears(&mut view, loaded(&format!("n{n:03}"), 10), vec![channel("x", 0)], 0);
    }
    let x = "x".parse().unwrap();
    let used = answers(&view, &Ask { channel: Some(&x), ..ASK }).unwrap();
    assert!(used.len() > 100, "{}", used.len());
}

#[test]
fn several_nodes_are_several_and_the_best_comes_first() {
    let loads = [("a", 50), ("b", 10), ("c", 90), ("d", 30)];
    let view = view(loads.map(|(name, sessions)| loaded(name, sessions)));
    let names = |count| {
        let placed = place(&view, &Ask { count, ..ASK }, 0, &mut dice(3)).unwrap();
        placed.into_iter().map(|placed| name(&view, placed).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(4), ["b", "d", "a", "c"]);
    assert_eq!(names(100), ["b", "d", "a", "c"], "as many as there are");
    assert_eq!(names(0).len(), 1);
    assert_eq!(names(2).len(), 2);
}

#[test]
fn no_answer_names_more_nodes_than_its_limit() {
    let view = view((0..NODES_PER_ANSWER_MAX + 1).map(|n| record(&format!("n{n}"))));
    let placed = place(&view, &Ask { count: usize::MAX, ..ASK }, 0, &mut dice(1)).unwrap();
    assert_eq!(placed.len(), NODES_PER_ANSWER_MAX);
}

#[test]
fn the_one_node_with_room_among_many_is_found() {
    let mut full: Vec<_> = (0..500).map(|n| loaded(&format!("n{n:03}"), 100)).collect();
    full[321] = loaded("n321", 99);
    assert_eq!(answers(&view(full), &ASK).unwrap(), ["n321"]);
}

#[test]
fn a_new_node_counts_as_loaded_as_the_others_at_first() {
    let mut view = view([loaded("old", 60)]);
    hears(&mut view, loaded("old", 60), Vec::new(), 5_000);
    hears(&mut view, record("new"), Vec::new(), 5_000);
    let score = |view: &View, name: &str, now| {
        let explanation = explain(view, &ASK, now);
        explanation.candidates.iter().find(|candidate| candidate.node == id(name)).unwrap().score.unwrap()
    };
    // The mean is that of both, of which one is empty.
    let (old, half) = (score(&view, "old", 5_000), score(&view, "old", 5_000) / 2.0);
    assert!((score(&view, "new", 5_000) - half).abs() < 1e-9);
    assert!((score(&view, "new", 20_000) - half / 2.0).abs() < 1e-9);
    assert!(score(&view, "new", 35_000).abs() < 1e-9);
    assert!(old > 0.4);
}

#[test]
fn a_new_node_has_room_for_a_hot_channel_as_it_ramps_up() {
    let mut view = view([record("old")]);
    hears(&mut view, record("old"), Vec::new(), 5_000);
    hears(&mut view, loaded("new", 1), vec![channel("x", 0)], 5_000);
    let x = "x".parse().unwrap();
    let ask = Ask { channel: Some(&x), ..ASK };
    let affinity = |view: &View, now| {
        let explanation = explain(view, &ask, now);
        explanation.candidates.iter().find(|candidate| candidate.node == id("new")).unwrap().terms.affinity
    };
    assert_eq!(affinity(&view, 5_000), 0.0);
    assert_eq!(affinity(&view, 6_000), -weights::AFFINITY);
    view.reserve(&id("new"), 20, 6_000);
    assert_eq!(affinity(&view, 6_000), 0.0);
    assert_eq!(affinity(&view, 20_000), -weights::AFFINITY);
}

#[test]
fn an_explanation_has_every_node_with_its_terms_the_best_first() {
    let mut view = view([
        loaded("a", 50),
        loaded("b", 10),
        with("c", |a| a.state = NodeState::Draining),
        in_region("d", "eu"),
    ]);
    view.reserve(&id("b"), 5, 0);
    let ask = Ask { region: Some("eu"), exclude: &[id("c")], ..ASK };
    let explanation = explain(&view, &ask, 0);
    let names: Vec<_> = explanation.candidates.iter().map(|candidate| candidate.node.as_str()).collect();
    assert_eq!(names, ["d", "b", "a", "c"]);
    let [d, b, _, c] = &explanation.candidates[..] else { panic!() };
    assert_eq!((d.score, d.terms.region), (Some(0.0), 0.0));
    assert_eq!((b.reserved, b.terms.sessions, b.terms.region), (5, 0.15, weights::REGION));
    let terms = &b.terms;
    assert!((b.score.unwrap() - (terms.worst + terms.sum + terms.region)).abs() < 1e-9);
    assert_eq!((c.score, &c.refused[..]), (None, &[RefusedBecause::Draining, RefusedBecause::Excluded][..]));
}

#[test]
fn region_comes_before_affinity_and_affinity_before_load() {
    let load = weights::WORST + weights::SESSIONS + weights::EGRESS + weights::CPU + weights::MEMORY;
    assert!((load - 1.0).abs() < 1e-9, "a full node costs 1");
    // A node with room costs less than ROOM, so with affinity less than nothing.
    const { assert!(weights::AFFINITY > ROOM) };
    // In the region a full, new node costs 2 at most; elsewhere an empty one that has the channel costs this.
    const { assert!(weights::REGION - weights::AFFINITY >= 2.0) };
}

fn any_node() -> impl Strategy<Value = NodeRecord> {
    let share = prop_oneof![Just(0_u64), 0..=100_u64, Just(100_u64)];
    (
        share,
        0..=1_000_u32,
        0..=1_000_u32,
        any::<bool>(),
        0..4_u8,
        0..3_u8,
        prop_oneof![Just(None), Just(Some(1_000))],
    )
        .prop_map(|(sessions, cpu, memory, is_draining, roles, region, egress)| {
            with("unnamed", |record| {
                record.state = if is_draining { NodeState::Draining } else { NodeState::InService };
                record.roles = [(1, Role::Publish), (2, Role::Receive)]
                    .into_iter()
                    .filter(|(bit, _)| roles & bit != 0)
                    .map(|(_, role)| role)
                    .collect();
                record.region = [None, Some("eu"), Some("us")][usize::from(region)].map(str::to_owned);
                record.capacity = Capacity { sessions: 100, processors: 2, egress };
                record.load = Load {
                    sessions,
                    receivers: sessions,
                    egress: sessions * 9,
                    cpu_permille: cpu,
                    memory_permille: memory,
                    ..Load::default()
                };
            })
        })
}

proptest! {
    #[test]
    fn what_is_answered_is_eligible_distinct_and_there_if_anything_is(
        nodes in proptest::collection::vec((any_node(), any::<bool>(), any::<bool>()), 0..25),
        excluded in proptest::collection::vec(0..25_usize, 0..4),
        region in prop_oneof![Just(None), Just(Some("eu")), Just(Some("mars"))],
        (is_strict, publishes, with_channel) in any::<(bool, bool, bool)>(),
        (count, reserved, seed) in (0..30_usize, 0..100_u32, any::<u64>()),
    ) {
        let mut view = View::new(TIMING);
        let is_silent = |number: usize| nodes.get(number).is_some_and(|(_, silent, _)| *silent);
        for (number, (record, _, carries)) in nodes.iter().enumerate() {
            let record = NodeRecord { node: id(&format!("n{number}")), ..record.clone() };
            let channels = if *carries { vec![channel("x", 1_000_000)] } else { Vec::new() };
            hears(&mut view, record.clone(), channels.clone(), 0);
            view.reserve(&record.node, reserved.saturating_mul(number as u32) / 8, 0);
        }
        let now = 5_000;
        for word in [2_000, 4_000, now] {
            view.heard(Report::Gone { peer: relay_proto::backbone::Peer {
                node: id("nobody"), incarnation: Incarnation::new(99) } }, word);
        }
        for (number, (record, _, carries)) in nodes.iter().enumerate().filter(|(number, _)| !is_silent(*number)) {
            let record = NodeRecord { node: id(&format!("n{number}")), ..record.clone() };
            let channels = if *carries { vec![channel("x", 1_000)] } else { Vec::new() };
            hears(&mut view, record, channels, now);
        }
        let x = "x".parse().unwrap();
        let exclude: Vec<_> = excluded.iter().map(|number| id(&format!("n{number}"))).collect();
        let ask = Ask {
            role: if publishes { Role::Publish } else { Role::Receive },
            channel: with_channel.then_some(&x),
            region,
            rule: if is_strict { RegionRule::Strict } else { RegionRule::Preferred },
            exclude: &exclude,
            count,
        };
        let explanation = explain(&view, &ask, now);
        prop_assert_eq!(explanation.candidates.len(), nodes.len());
        let eligible: HashSet<_> = explanation
            .candidates
            .iter()
            .filter(|candidate| candidate.refused.is_empty())
            .map(|candidate| candidate.node.clone())
            .collect();
        let scores: Vec<_> = explanation.candidates.iter().map_while(|candidate| candidate.score).collect();
        prop_assert!(scores.is_sorted());
        prop_assert_eq!(scores.len(), eligible.len());
        match place(&view, &ask, now, &mut dice(seed)) {
            Ok(placed) => {
                prop_assert_eq!(placed.len(), count.max(1).min(eligible.len()));
                let distinct: HashSet<_> = placed.iter().map(|placed| name(&view, *placed).clone()).collect();
                prop_assert_eq!(distinct.len(), placed.len());
                prop_assert!(distinct.is_subset(&eligible));
                for placed in placed {
                    let node = name(&view, placed);
                    prop_assert!(!exclude.contains(node));
                    let number: usize = node.as_str()[1..].parse().unwrap();
                    prop_assert!(!is_silent(number));
                    prop_assert_eq!(placed.carries, with_channel && nodes[number].2);
                }
            }
            Err(NoNode::NoneKnown) => prop_assert!(nodes.is_empty()),
            Err(NoNode::NoneEligible { reasons }) => {
                prop_assert!(eligible.is_empty() && !nodes.is_empty());
                prop_assert!(reasons.iter().all(|(_, count)| (1..=nodes.len()).contains(count)));
            }
        }
    }
}
