//! Compares ways to choose a node in the same simulated cluster: prints a table, and draws `placement.svg`.
//!
//! ```text
//! cargo run --release -p relay-stream-manager --example placement
//! ```

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use relay_proto::api::{Channel, ChannelState};
use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};
use relay_proto::report::Report;
use relay_proto::{ChannelName, Epoch, Incarnation};
use relay_stream_manager::placement::{Ask, RegionRule, place};
use relay_stream_manager::view::{Timing, View};

use self::chart::{Panel, Series};
use self::world::{Clients, Dice, Scenario, Strategy, Wants, World, nodes};

mod chart;
#[path = "../../tests/simulation/world.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
#[expect(clippy::unwrap_used, reason = "the names that it makes follow the grammar")]
mod world;

const SEED: u64 = 1;
const BURST_MS: u64 = 5_000;
const JOINS_MS: u64 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let bursts: Vec<_> = Strategy::ALL.into_iter().map(|strategy| burst(strategy, 1)).collect();
    let steady: Vec<_> = Strategy::ALL.into_iter().map(steady).collect();
    let joins: Vec<_> = Strategy::ALL.into_iter().map(joins).collect();

    writeln!(
        out,
        "| | burst: fullest / mean | with 3 replicas | fullest node, of its limit | steady: p99 / mean | new node: most at once | its peak / mean | nine tenths after |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for (index, strategy) in Strategy::ALL.into_iter().enumerate() {
        let (one, three, joined) = (&bursts[index], burst(strategy, 3), &joins[index]);
        let steady = steady[index].last().map_or(f64::NAN, |(_, p99)| *p99);
        writeln!(
            out,
            "| {} | {:.2} | {:.2} | {:.0} % | {steady:.2} | {:.1} × | {:.2} | {} |",
            strategy.name(),
            one.fullest,
            three.fullest,
            one.peak * 100.0,
            joined.most_at_once,
            joined.peak,
            joined.reached.map_or("never".to_owned(), |seconds| format!("{seconds:.0} s")),
        )?;
    }
    writeln!(out)?;
    large(&mut out)?;
    one_pick(&mut out)?;

    let series = ["ours", "two-choice", "random", "shuffle", "least-loaded"];
    let series: Vec<_> = Strategy::ALL
        .iter()
        .zip(series)
        .map(|(strategy, class)| Series { name: strategy.name(), class })
        .collect();
    let panels = [
        Panel {
            title: "10,000 clients in one second, on 50 nodes whose reports are up to 2 s old",
            x_label: "seconds since the first client asked",
            y_label: "fullest node / mean",
            x: (0.0, 10.0),
            y: (1.0, 64.0),
            is_log: true,
            x_ticks: vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0],
            y_ticks: vec![1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
            lines: bursts.into_iter().map(|burst| burst.line).collect(),
        },
        Panel {
            title: "1,000 clients per second for a minute each, on 200 nodes",
            x_label: "seconds",
            y_label: "99th percentile / mean",
            x: (0.0, 150.0),
            y: (1.0, 8.0),
            is_log: true,
            x_ticks: vec![0.0, 30.0, 60.0, 90.0, 120.0, 150.0],
            y_ticks: vec![1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
            lines: steady,
        },
        Panel {
            title: "A node joins 20 others that are three fifths full",
            x_label: "seconds since it joined",
            y_label: "its load / mean",
            x: (0.0, 120.0),
            y: (0.0, 2.0),
            is_log: false,
            x_ticks: vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0],
            y_ticks: vec![0.0, 0.5, 1.0, 1.5, 2.0],
            lines: joins.into_iter().map(|joined| joined.line).collect(),
        },
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("placement.svg");
    std::fs::write(&path, chart::svg(&series, &panels)?)?;
    writeln!(out, "\n{}", path.display())?;
    Ok(())
}

fn scenario(strategy: Strategy, clients: Clients) -> Scenario {
    Scenario {
        strategy,
        replicas: 1,
        nodes: nodes(50, 1_000),
        clients: vec![clients],
        changes: Vec::new(),
        seed: SEED,
    }
}

struct Burst {
    line: Vec<(f64, f64)>,
    fullest: f64,
    peak: f64,
}

fn burst(strategy: Strategy, replicas: usize) -> Burst {
    let clients = Clients::between(BURST_MS, BURST_MS + 1_000, 10_000.0);
    let mut world = World::new(Scenario { replicas, ..scenario(strategy, clients) });
    let mut line = Vec::new();
    // Before that there are too few sessions to speak of a mean.
    for ms in (500..=10_000).step_by(100) {
        world.run_to(BURST_MS + ms);
        line.push((ms as f64 / 1000.0, world.imbalance().0));
    }
    Burst { line, fullest: world.imbalance().0, peak: world.peak() }
}

fn steady(strategy: Strategy) -> Vec<(f64, f64)> {
    let clients = Clients { stay_ms: Some((30_000, 90_000)), ..Clients::between(1_000, 150_000, 1_000.0) };
    let mut world = World::new(Scenario { nodes: nodes(200, 500), ..scenario(strategy, clients) });
    let mut line = Vec::new();
    for second in 10..=150 {
        world.run_to(second * 1_000);
        line.push((second as f64, world.imbalance().1));
    }
    line
}

struct Joined {
    line: Vec<(f64, f64)>,
    /// The most clients that it got in two seconds, as a multiple of an equal share.
    most_at_once: f64,
    peak: f64,
    reached: Option<f64>,
}

fn joins(strategy: Strategy) -> Joined {
    let mut nodes = nodes(21, 1_000);
    nodes[20].up_ms = JOINS_MS;
    let clients = Clients { stay_ms: Some((30_000, 90_000)), ..Clients::between(1_000, 300_000, 200.0) };
    let mut world = World::new(Scenario { nodes, ..scenario(strategy, clients) });
    world.run_to(JOINS_MS);
    let (mut line, mut accepted) = (Vec::new(), vec![0]);
    for half_seconds in 1..=240 {
        world.run_to(JOINS_MS + half_seconds * 500);
        let node = &world.nodes[20];
        accepted.push(node.accepted);
        line.push((half_seconds as f64 / 2.0, node.share() / world.mean_share()));
    }
    // Of 100 that ask 95 come.
    let most = accepted.windows(5).map(|two_seconds| two_seconds[4] - two_seconds[0]).max().unwrap_or(0);
    Joined {
        most_at_once: most as f64 / (2.0 * 200.0 * 0.95 / 21.0),
        peak: line.iter().map(|(_, share)| *share).fold(0.0, f64::max),
        reached: line.iter().find(|(_, share)| *share >= 0.9).map(|(second, _)| *second),
        line,
    }
}

/// 1,000 nodes, 1,000,000 receivers, 10,000 channels.
fn large(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let clients = Clients { wants: Wants::OneOf(10_000), ..Clients::between(5_000, 25_000, 52_700.0) };
    let mut world = World::new(Scenario { nodes: nodes(1_000, 1_500), ..scenario(Strategy::Ours, clients) });
    world.run_to(40_000);
    let (max, p99) = world.imbalance();
    writeln!(
        out,
        "{} receivers of 10,000 channels on 1,000 nodes in 20 s: {} refused, fullest / mean {max:.2}, p99 / mean {p99:.2}, \
         fullest node {:.0} % of its limit",
        world.sessions(),
        world.refused,
        world.peak() * 100.0,
    )?;
    let mut dice = Dice(SEED);
    let names: Vec<ChannelName> =
        (0..10_000).map(|number| format!("c{number}").parse()).collect::<Result<_, _>>()?;
    let now = world.now;
    let asks = |dice: &mut Dice| Ask { channel: Some(&names[dice.below(names.len())]), ..ANY };
    let micros = per_pick(world.view(), now, &mut dice, 200_000, asks)?;
    writeln!(out, "one more of them: {micros:.2} µs")?;
    Ok(())
}

const ANY: Ask<'_> = Ask {
    role: Role::Receive,
    channel: None,
    region: None,
    rule: RegionRule::Preferred,
    exclude: &[],
    count: 1,
};

/// What one pick and its reservation take, on 1,000 nodes that are half full.
fn one_pick(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let x: ChannelName = "x".parse()?;
    let hot: ChannelName = "hot".parse()?;
    let none: ChannelName = "none".parse()?;
    let asks = [
        ("any node", ANY),
        ("a node of a region", Ask { region: Some("r3"), ..ANY }),
        ("a node for a channel that is on 3", Ask { channel: Some(&x), ..ANY }),
        ("a node for a channel that is on 300", Ask { channel: Some(&hot), ..ANY }),
        ("a node for a channel that is on none", Ask { channel: Some(&none), ..ANY }),
        ("three nodes", Ask { count: 3, ..ANY }),
    ];
    for (name, ask) in asks {
        let mut dice = Dice(SEED);
        let mut view = crowd(&x, &hot, &mut dice)?;
        let micros = per_pick(&mut view, 1, &mut dice, 500_000, |_| ask)?;
        writeln!(out, "{name}: {micros:.2} µs")?;
    }
    Ok(())
}

/// Microseconds of processor time for one pick and its reservation: others may use the machine meanwhile.
fn per_pick<'a>(
    view: &mut View,
    now: u64,
    dice: &mut Dice,
    picks: u32,
    ask: impl Fn(&mut Dice) -> Ask<'a>,
) -> Result<f64, Box<dyn Error>> {
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let began = cpu();
    for number in 0..picks {
        let ask = ask(dice);
        let placed =
            place(view, &ask, now, &mut |bound| dice.below(bound)).map_err(|error| error.to_string())?;
        for placed in placed {
            view.reserve_at(placed.slot, 1, now);
        }
        // All of them end now and then, so that no node fills up.
        if number % 1_000 == 999 {
            view.tick(now + (1 << 20));
        }
    }
    Ok((cpu() - began) * 1e6 / f64::from(picks))
}

fn crowd(x: &ChannelName, hot: &ChannelName, dice: &mut Dice) -> Result<View, Box<dyn Error>> {
    let timing = Timing::new(Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(30));
    let mut view = View::new(timing);
    for number in 0..1_000_u64 {
        let carried = [(x, number % 333 == 7), (hot, number % 10 < 3)];
        let channel = |name: &ChannelName| Channel {
            name: name.clone(),
            state: ChannelState::Live,
            container: None,
            tracks: Vec::new(),
            receivers: 1,
            bitrate: 2_000_000,
            epoch: Epoch::new(1),
            origin: None,
            started_at: None,
        };
        let sessions = 4_000 + dice.below(2_000) as u64;
        let record = NodeRecord {
            node: format!("n{number}").parse()?,
            incarnation: Incarnation::new(number),
            url: format!("ws://n{number}.test:8080"),
            rtmp: None,
            region: Some(format!("r{}", number % 10)),
            zone: None,
            state: NodeState::InService,
            roles: vec![Role::Publish, Role::Receive],
            capacity: Capacity { sessions: 10_000, processors: 8, egress: Some(30_000_000_000) },
            load: Load {
                sessions,
                receivers: sessions,
                egress: sessions * 2_000_000,
                cpu_permille: 500,
                ..Load::default()
            },
            version: "0.1.0".to_owned(),
            started_ms: number,
        };
        let channels =
            carried.iter().filter(|(_, carries)| *carries).map(|(name, _)| channel(name)).collect();
        view.heard(Report::Whole { record: Box::new(record), round: 1, part: 0, parts: 1, channels }, 1);
    }
    Ok(view)
}
