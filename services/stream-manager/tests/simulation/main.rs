//! Placement in a whole cluster, in virtual time: what comes of many picks when what is known is seconds old.

use relay_stream_manager::placement::RegionRule;

use self::world::{Change, Clients, HEARTBEAT_MS, Scenario, Size, Strategy, WARM_UP_MS, Wants, World, nodes};

#[expect(dead_code, reason = "the example that draws the picture uses the rest")]
#[expect(clippy::unwrap_used, reason = "it is a test, but none of its functions is marked as one")]
mod world;

const SEEDS: [u64; 3] = [1, 2, 3];

fn scenario(strategy: Strategy, seed: u64) -> Scenario {
    Scenario {
        strategy,
        replicas: 1,
        nodes: nodes(50, 1_000),
        clients: Vec::new(),
        changes: Vec::new(),
        seed,
    }
}

/// 10,000 picks in one second, on 50 nodes that take 1,000 each.
fn after_a_burst(strategy: Strategy, replicas: usize, seed: u64) -> World {
    let clients = vec![Clients::between(5_000, 6_000, 10_000.0)];
    let mut world = World::new(Scenario { replicas, clients, ..scenario(strategy, seed) });
    world.run_to(20_000);
    assert!((9_700..10_300).contains(&(world.picked + world.refused)));
    world
}

#[test]
fn ten_thousand_picks_in_a_second_end_within_a_tenth_of_even() {
    for seed in SEEDS {
        let world = after_a_burst(Strategy::Ours, 1, seed);
        let (max, _) = world.imbalance();
        assert!(max < 1.10 && world.emptiest() > 0.90, "seed {seed}: {max} {}", world.emptiest());
        assert!(world.peak() <= 1.0 && world.refused == 0);
    }
}

#[test]
fn no_other_strategy_stands_a_burst_as_well() {
    let (ours, _) = after_a_burst(Strategy::Ours, 1, 1).imbalance();
    let beside = |strategy| {
        let world = after_a_burst(strategy, 1, 1);
        (world.imbalance().0, world.peak())
    };
    let (two_choice, _) = beside(Strategy::TwoChoice);
    assert!(two_choice > ours + 0.2, "{two_choice}");
    let (random, _) = beside(Strategy::Random);
    assert!(random > ours + 0.08, "{random}");
    let (shuffle, peak) = beside(Strategy::Shuffle);
    assert!(shuffle > 5.0 && peak > 1.5, "{shuffle} {peak}");
    let (least_loaded, peak) = beside(Strategy::LeastLoaded);
    assert!(least_loaded > 10.0 && peak > 3.0, "{least_loaded} {peak}");
}

#[test]
fn three_replicas_that_pick_at_once_do_as_well_as_one() {
    for seed in SEEDS {
        let (one, _) = after_a_burst(Strategy::Ours, 1, seed).imbalance();
        let world = after_a_burst(Strategy::Ours, 3, seed);
        let (three, _) = world.imbalance();
        assert!(three < 1.10 && world.emptiest() > 0.90, "seed {seed}: {three} {}", world.emptiest());
        assert!(three - 1.0 < 2.0 * (one - 1.0), "seed {seed}: {three} {one}");
    }
}

#[test]
fn who_comes_when_all_is_full_is_refused_and_no_node_is_ever_over_its_limit() {
    // 24,000 for 20,000 places, and then more, until those that never came are replaced.
    let clients = vec![Clients::between(5_000, 9_000, 6_000.0), Clients::between(9_000, 35_000, 200.0)];
    for (replicas, over) in [(1, 0.0), (3, 0.01)] {
        let nodes = nodes(20, 1_000);
        let mut world =
            World::new(Scenario { replicas, nodes, clients: clients.clone(), ..scenario(Strategy::Ours, 1) });
        world.run_to(40_000);
        // Replicas hear of each other's last picks only a moment later; the node itself refuses who is too many.
        assert!(world.peak() <= 1.0 + over, "{replicas}: {}", world.peak());
        assert!(world.mean_share() > 0.995, "{replicas}: {}", world.mean_share());
        assert!(world.refused > 5_000, "{replicas}: {}", world.refused);
    }
}

#[test]
fn a_full_cluster_in_which_clients_come_and_go_is_nearly_full_and_never_over() {
    let stay_ms = Some((20_000, 60_000));
    let clients = vec![Clients { stay_ms, ..Clients::between(5_000, 90_000, 375.0) }];
    let mut world = World::new(Scenario { nodes: nodes(20, 500), clients, ..scenario(Strategy::Ours, 1) });
    world.run_to(90_000);
    assert!(world.peak() <= 1.0, "{}", world.peak());
    // Some places are kept for clients that never come.
    assert!(world.mean_share() > 0.85, "{}", world.mean_share());
}

/// Of a node that joins 20 others that are used to three fifths: the most clients that it got in two seconds, as a
/// multiple of what an equal share would be; the most that it was filled, beside the mean; and after how many seconds
/// it came to nine tenths of it.
fn new_node(strategy: Strategy) -> (f64, f64, u64) {
    const UP_MS: u64 = 100_000;
    let mut nodes = nodes(21, 1_000);
    nodes[20].up_ms = UP_MS;
    let clients =
        vec![Clients { stay_ms: Some((30_000, 90_000)), ..Clients::between(1_000, 400_000, 200.0) }];
    let mut world = World::new(Scenario { nodes, clients, ..scenario(strategy, 1) });
    world.run_to(UP_MS);
    let (mut accepted, mut most, mut top, mut reached) = (0, 0, 0.0_f64, u64::MAX);
    for two_seconds in 1..=60 {
        world.run_to(UP_MS + two_seconds * 2_000);
        let node = &world.nodes[20];
        most = most.max(node.accepted - std::mem::replace(&mut accepted, node.accepted));
        let beside_mean = node.share() / world.mean_share();
        top = top.max(beside_mean);
        if beside_mean >= 0.9 {
            reached = reached.min(two_seconds * 2);
        }
    }
    (most as f64 / (2.0 * 0.95 * 200.0 / 21.0), top, reached)
}

#[test]
fn a_new_node_reaches_its_share_without_a_stampede() {
    let (most, top, reached) = new_node(Strategy::Ours);
    assert!(most < 3.0, "{most}");
    assert!(top < 1.15, "{top}");
    assert!((10..=WARM_UP_MS / 1000 * 3 / 2).contains(&reached), "{reached}");

    let (most, top, _) = new_node(Strategy::LeastLoaded);
    assert!(most > 10.0 && top > 1.3, "{most} {top}");
}

#[test]
fn nodes_of_all_sizes_fill_in_proportion() {
    let sizes = |count, sessions| vec![Size { sessions, region: None, up_ms: 0 }; count];
    for seed in SEEDS {
        let nodes = [sizes(20, 250), sizes(10, 500), sizes(2, 2_000)].concat();
        let clients = vec![Clients::between(5_000, 8_000, 2_800.0)];
        let mut world = World::new(Scenario { nodes, clients, ..scenario(Strategy::Ours, seed) });
        world.run_to(20_000);
        let (max, _) = world.imbalance();
        assert!(max < 1.10 && world.emptiest() > 0.90, "seed {seed}: {max} {}", world.emptiest());
        for size in [250, 500, 2_000] {
            let shares =
                world.nodes.iter().filter(|node| node.size.sessions == size).map(|node| node.share());
            let count = shares.clone().count() as f64;
            let beside_mean = shares.sum::<f64>() / count / world.mean_share();
            assert!((0.95..1.05).contains(&beside_mean), "seed {seed}: {size} {beside_mean}");
        }
    }
}

#[test]
fn a_region_that_is_gone_is_refused_or_replaced_and_taken_again_when_it_is_back() {
    let in_region = |region| vec![Size { sessions: 1_000, region: Some(region), up_ms: 0 }; 10];
    let nodes = [in_region("eu"), in_region("us"), in_region("ap")].concat();
    let asks = |rule| Clients { region: Some("eu"), rule, ..Clients::between(5_000, 90_000, 100.0) };
    let clients = vec![asks(RegionRule::Preferred), asks(RegionRule::Strict)];
    let changes = (0..10).flat_map(|node| [(30_000, node, Change::Dies), (60_000, node, Change::Starts)]);
    let mut world =
        World::new(Scenario { nodes, clients, changes: changes.collect(), ..scenario(Strategy::Ours, 1) });
    let mut accepted_between = |from, to| {
        world.run_to(from);
        let before: Vec<_> = world.nodes.iter().map(|node| node.accepted).collect();
        let refused = world.refused;
        world.run_to(to);
        let accepted: Vec<_> = world
            .nodes
            .iter()
            .zip(before)
            .map(|(node, before)| node.accepted.saturating_sub(before))
            .collect();
        (accepted, world.refused - refused, world.in_vain_after_ms)
    };

    let (accepted, refused, _) = accepted_between(5_000, 30_000);
    assert!(accepted[..10].iter().all(|count| *count > 300), "{accepted:?}");
    assert!(accepted[10..].iter().all(|count| *count == 0) && refused == 0, "{accepted:?} {refused}");

    // Those that were connected ask again, and prefer the region, as half of the others do. It takes two heartbeats
    // until the region is known to be gone; who is sent there in that time asks again.
    let (accepted, refused, in_vain_after_ms) = accepted_between(30_000, 60_000);
    assert!(in_vain_after_ms <= 2 * HEARTBEAT_MS, "{in_vain_after_ms}");
    assert!((2_500..3_500).contains(&refused), "{refused}");
    let elsewhere = &accepted[10..];
    let mean = elsewhere.iter().sum::<u64>() as f64 / 20.0;
    assert!(elsewhere.iter().all(|count| (*count as f64 / mean - 1.0).abs() < 0.10), "{elsewhere:?}");

    // A second for the first word of those that are back, and three for those that were on their way elsewhere.
    let (accepted, refused, _) = accepted_between(64_000, 90_000);
    assert!(accepted[..10].iter().all(|count| *count > 300), "{accepted:?}");
    assert!(accepted[10..].iter().all(|count| *count == 0) && refused == 0, "{accepted:?} {refused}");
}

#[test]
fn a_node_that_dies_is_not_answered_two_heartbeats_later() {
    for seed in SEEDS {
        let clients = vec![Clients::between(5_000, 30_000, 500.0)];
        let changes = vec![(15_000 + seed * 333, 7, Change::Dies)];
        let mut world =
            World::new(Scenario { replicas: 3, clients, changes, ..scenario(Strategy::Ours, seed) });
        world.run_to(30_000);
        assert!(world.in_vain > 0);
        assert!(world.in_vain_after_ms <= 2 * HEARTBEAT_MS, "seed {seed}: {}", world.in_vain_after_ms);
    }
}

#[test]
fn a_hot_channel_is_on_few_nodes_until_those_are_rather_full() {
    for replicas in [1, 3] {
        let hot = Clients { wants: Wants::One("final"), ..Clients::between(5_000, 20_000, 1_000.0) };
        let others = Clients { wants: Wants::OneOf(2_000), ..Clients::between(5_000, 20_000, 100.0) };
        let clients = vec![hot, others];
        let mut world = World::new(Scenario { replicas, clients, ..scenario(Strategy::Ours, 1) });
        for (second, most) in [(6, 3), (10, 10), (15, 16), (20, 22), (25, 22)] {
            world.run_to(second * 1_000);
            let carriers = world.carriers("final");
            assert!(
                carriers <= most,
                "{replicas} replicas, second {second}: {carriers} of {}",
                world.sessions()
            );
        }
        // As many as 15,750 clients need that fill nodes to four fifths, and two in which they begin to.
        assert!(world.peak() < 0.83, "{}", world.peak());
        assert!(world.carriers("final") >= 18);
    }
}

#[test]
fn hundreds_of_nodes_with_thousands_of_channels_are_never_over_their_limit() {
    let clients = vec![Clients { wants: Wants::OneOf(3_000), ..Clients::between(5_000, 9_000, 7_500.0) }];
    let mut world = World::new(Scenario { nodes: nodes(300, 150), clients, ..scenario(Strategy::Ours, 1) });
    world.run_to(13_000);
    assert!(world.refused == 0 && world.peak() <= 1.0, "{} {}", world.refused, world.peak());
    // Ten channels a node, which are watched by more or by fewer: they stay together all the same while there is room.
    assert!(
        world.imbalance().0 < 1.35 && world.emptiest() > 0.4,
        "{:?} {}",
        world.imbalance(),
        world.emptiest()
    );
}
