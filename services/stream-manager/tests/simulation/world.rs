//! A cluster in virtual time: nodes that tell of themselves every two seconds, stream-managers that hear it, and
//! clients that ask where to go, come late or never, and leave. The same seed makes the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use relay_proto::api::{Channel, ChannelState};
use relay_proto::backbone::Peer;
use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};
use relay_proto::report::Report;
use relay_proto::{ChannelName, Epoch, Incarnation, NodeId};
use relay_stream_manager::placement::{Ask, RegionRule, place};
use relay_stream_manager::view::{Timing, View};

pub(crate) const HEARTBEAT_MS: u64 = 2_000;
const RESERVATION_MS: u64 = 10_000;
pub(crate) const WARM_UP_MS: u64 = 30_000;
const TICK_MS: u64 = 100;
/// Of a receiver, in bits per second.
const BITRATE: u64 = 2_000_000;
/// From a node to a stream-manager.
const REPORT_DELAY_MS: (u64, u64) = (1, 10);
/// From one stream-manager to another.
const PICK_DELAY_MS: (u64, u64) = (10, 30);
/// From the answer to the session.
const ARRIVAL_DELAY_MS: (u64, u64) = (50, 3_000);
/// Of a hundred clients so many never come.
const NO_SHOWS_PERCENT: usize = 5;
/// Who finds its node gone asks again.
const AGAIN_MS: (u64, u64) = (0, 3_000);

/// How a node is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// What the stream-manager does.
    Ours,
    /// The better of two random nodes, by what they have said last.
    TwoChoice,
    /// The one with the least load, by what they have said last.
    LeastLoaded,
    /// Any.
    Random,
    /// Rank all, and shuffle the best tenth: the rule of Red5's stream manager.
    Shuffle,
}

impl Strategy {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ours, Self::TwoChoice, Self::Random, Self::Shuffle, Self::LeastLoaded];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "Relaycast",
            Self::TwoChoice => "two choices, no reservations",
            Self::LeastLoaded => "least loaded",
            Self::Random => "random",
            Self::Shuffle => "shuffle of the best tenth",
        }
    }
}

/// Which channel clients want.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wants {
    /// Nobody says.
    Any,
    /// This one.
    One(&'static str),
    /// One of so many.
    OneOf(usize),
}

/// Clients that ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clients {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
    pub(crate) per_second: f64,
    pub(crate) wants: Wants,
    pub(crate) region: Option<&'static str>,
    pub(crate) rule: RegionRule,
    /// How long they stay; `None`: until the end.
    pub(crate) stay_ms: Option<(u64, u64)>,
}

impl Clients {
    /// So many per second in this time, who stay.
    pub(crate) const fn between(from_ms: u64, to_ms: u64, per_second: f64) -> Self {
        Self {
            from_ms,
            to_ms,
            per_second,
            wants: Wants::Any,
            region: None,
            rule: RegionRule::Preferred,
            stay_ms: None,
        }
    }
}

/// A node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) sessions: u64,
    pub(crate) region: Option<&'static str>,
    pub(crate) up_ms: u64,
}

/// `count` nodes that take so many sessions each.
pub(crate) fn nodes(count: usize, sessions: u64) -> Vec<Size> {
    vec![Size { sessions, region: None, up_ms: 0 }; count]
}

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// It is gone without a word. Its clients ask again, as the first kind of clients does.
    Dies,
    /// It is there again, in a new run.
    Starts,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) strategy: Strategy,
    pub(crate) replicas: usize,
    pub(crate) nodes: Vec<Size>,
    pub(crate) clients: Vec<Clients>,
    /// What happens to which node, and when.
    pub(crate) changes: Vec<(u64, usize, Change)>,
    pub(crate) seed: u64,
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        from + self.below((to - from) as usize + 1) as u64
    }

    /// Until the next of events that come at random, so many per second.
    fn gap_ms(&mut self, per_second: f64) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - unit).ln() / per_second * 1000.0
    }
}

/// A node as it is, not as others think.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) size: Size,
    pub(crate) is_up: bool,
    pub(crate) sessions: u64,
    pub(crate) accepted: u64,
    /// The most sessions that it ever had, as a share of what it takes.
    pub(crate) peak: f64,
    run: u64,
    round: u64,
    channels: BTreeMap<ChannelName, u64>,
    /// Sessions times milliseconds since the last heartbeat, up to the last change.
    busy: u64,
    changed_ms: u64,
    beat_ms: u64,
}

impl Node {
    /// Sessions, as a share of what it takes.
    pub(crate) fn share(&self) -> f64 {
        self.sessions as f64 / self.size.sessions as f64
    }

    fn changes(&mut self, now: u64) {
        self.busy += self.sessions * (now - self.changed_ms);
        self.changed_ms = now;
    }

    fn record(&mut self, now: u64, dice: &mut Dice) -> NodeRecord {
        // What is measured is the mean since the last heartbeat.
        self.changes(now);
        let elapsed_ms = (now - std::mem::replace(&mut self.beat_ms, now)).max(1);
        let sessions = std::mem::take(&mut self.busy) as f64 / elapsed_ms as f64;
        // Processor time follows the sessions, and is never the same twice.
        let cpu = sessions / self.size.sessions as f64 * 700.0 + dice.below(20) as f64;
        NodeRecord {
            node: self.id.clone(),
            incarnation: Incarnation::new(self.run),
            url: format!("ws://{}.test:8080", self.id),
            rtmp: None,
            region: self.size.region.map(str::to_owned),
            zone: None,
            state: NodeState::InService,
            roles: vec![Role::Publish, Role::Receive],
            capacity: Capacity {
                sessions: self.size.sessions,
                processors: u32::try_from(self.size.sessions.div_ceil(250)).unwrap(),
                // A tenth more than its sessions use.
                egress: Some(self.size.sessions * BITRATE / 10 * 11),
            },
            load: Load {
                sessions: self.sessions,
                receivers: self.sessions,
                egress: (sessions * BITRATE as f64) as u64,
                accepted: self.accepted,
                cpu_permille: cpu as u32,
                memory_permille: 200 + (self.share() * 100.0) as u32,
                ..Load::default()
            },
            version: "0.1.0".to_owned(),
            started_ms: self.run,
        }
    }

    fn channel(name: &ChannelName, receivers: u64) -> Channel {
        Channel {
            name: name.clone(),
            state: if receivers > 0 { ChannelState::Live } else { ChannelState::Waiting },
            container: None,
            tracks: Vec::new(),
            receivers,
            bitrate: BITRATE,
            epoch: Epoch::new(1),
            origin: Some("elsewhere".parse().unwrap()),
            started_at: None,
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Up(usize),
    Down(usize),
    Beat { node: usize, run: u64 },
    Hear { replica: usize, report: Box<Report> },
    Ask { clients: usize, again: bool },
    Told { replica: usize, node: usize },
    Start { clients: usize, node: usize, run: u64, channel: Option<ChannelName> },
    End { node: usize, run: u64, channel: Option<ChannelName> },
    Tick,
}

/// A cluster.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Node>,
    /// Picks that were answered.
    pub(crate) picked: u64,
    /// Picks that were refused.
    pub(crate) refused: u64,
    /// Picks of a node that was gone.
    pub(crate) in_vain: u64,
    /// The last of those: how long the node had been gone.
    pub(crate) in_vain_after_ms: u64,
    scenario: Scenario,
    dice: Dice,
    views: Vec<View>,
    by_id: HashMap<NodeId, usize>,
    died_ms: Vec<u64>,
    /// By time, and then in the order in which they came to be.
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event>,
    count: u64,
    /// Of the next client of each kind.
    next_ms: Vec<f64>,
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let timing = Timing::new(
            Duration::from_millis(HEARTBEAT_MS),
            Duration::from_millis(RESERVATION_MS),
            Duration::from_millis(WARM_UP_MS),
        );
        let node = |(index, size): (usize, &Size)| Node {
            id: format!("n{index:04}").parse().unwrap(),
            size: *size,
            is_up: false,
            sessions: 0,
            accepted: 0,
            peak: 0.0,
            run: 0,
            round: 0,
            channels: BTreeMap::new(),
            busy: 0,
            changed_ms: 0,
            beat_ms: 0,
        };
        let nodes: Vec<_> = scenario.nodes.iter().enumerate().map(node).collect();
        let mut world = Self {
            now: 0,
            picked: 0,
            refused: 0,
            in_vain: 0,
            in_vain_after_ms: 0,
            dice: Dice(scenario.seed),
            views: (0..scenario.replicas).map(|_| View::new(timing)).collect(),
            by_id: nodes.iter().enumerate().map(|(index, node)| (node.id.clone(), index)).collect(),
            died_ms: vec![0; nodes.len()],
            agenda: BinaryHeap::new(),
            events: HashMap::new(),
            count: 0,
            next_ms: scenario.clients.iter().map(|clients| clients.from_ms as f64).collect(),
            nodes,
            scenario,
        };
        for node in 0..world.nodes.len() {
            world.at(world.nodes[node].size.up_ms, Event::Up(node));
        }
        for (ms, node, change) in world.scenario.changes.clone() {
            let event = match change {
                Change::Dies => Event::Down(node),
                Change::Starts => Event::Up(node),
            };
            world.at(ms, event);
        }
        for clients in 0..world.scenario.clients.len() {
            world.next_client(clients);
        }
        world.at(TICK_MS, Event::Tick);
        world
    }

    /// Lets everything happen up to `ms`.
    pub(crate) fn run_to(&mut self, ms: u64) {
        while self.agenda.peek().is_some_and(|Reverse((at, _))| *at <= ms) {
            let Some(Reverse((at, number))) = self.agenda.pop() else { break };
            self.now = at;
            let event = self.events.remove(&number).unwrap();
            self.happen(event);
        }
        self.now = ms;
    }

    /// Nodes that are up.
    pub(crate) fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_up)
    }

    pub(crate) fn sessions(&self) -> u64 {
        self.up().map(|node| node.sessions).sum()
    }

    /// How full all nodes are together.
    pub(crate) fn mean_share(&self) -> f64 {
        self.sessions() as f64 / self.up().map(|node| node.size.sessions).sum::<u64>() as f64
    }

    /// The fullest node, and the one that 99 % of them are no fuller than, beside the mean.
    pub(crate) fn imbalance(&self) -> (f64, f64) {
        let mean = self.mean_share();
        let mut shares: Vec<_> = self.up().map(Node::share).collect();
        shares.sort_by(f64::total_cmp);
        let p99 = shares[(shares.len() * 99).div_ceil(100).saturating_sub(1)];
        (shares[shares.len() - 1] / mean, p99 / mean)
    }

    /// The emptiest node beside the mean.
    pub(crate) fn emptiest(&self) -> f64 {
        self.up().map(Node::share).fold(f64::INFINITY, f64::min) / self.mean_share()
    }

    /// The most that any node was ever filled.
    pub(crate) fn peak(&self) -> f64 {
        self.nodes.iter().map(|node| node.peak).fold(0.0, f64::max)
    }

    /// Nodes that carry the channel.
    pub(crate) fn carriers(&self, channel: &str) -> usize {
        let channel: ChannelName = channel.parse().unwrap();
        self.up().filter(|node| node.channels.contains_key(&channel)).count()
    }

    /// What the first stream-manager knows.
    pub(crate) fn view(&mut self) -> &mut View {
        &mut self.views[0]
    }

    fn at(&mut self, ms: u64, event: Event) {
        self.count += 1;
        self.agenda.push(Reverse((ms, self.count)));
        self.events.insert(self.count, event);
    }

    fn after(&mut self, delay_ms: (u64, u64), event: Event) {
        let ms = self.now + self.dice.between(delay_ms);
        self.at(ms, event);
    }

    fn next_client(&mut self, clients: usize) {
        let Clients { to_ms, per_second, .. } = self.scenario.clients[clients];
        self.next_ms[clients] += self.dice.gap_ms(per_second);
        if self.next_ms[clients] < to_ms as f64 {
            self.at(self.next_ms[clients] as u64, Event::Ask { clients, again: false });
        }
    }

    fn report(&mut self, report: &Report) {
        for replica in 0..self.views.len() {
            self.after(REPORT_DELAY_MS, Event::Hear { replica, report: Box::new(report.clone()) });
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Up(index) => {
                let run = ((self.now + 1) << 16) + index as u64;
                let node = &mut self.nodes[index];
                (node.is_up, node.run, node.sessions, node.accepted) = (true, run, 0, 0);
                (node.busy, node.changed_ms, node.beat_ms) = (0, self.now, self.now);
                node.channels.clear();
                // Nodes that start together are not in step for long; here from the first beat on.
                let first = Event::Beat { node: index, run };
                self.at(self.now, first.clone());
                self.after((1, HEARTBEAT_MS - 1), first);
            }
            Event::Down(index) => {
                self.died_ms[index] = self.now;
                let node = &mut self.nodes[index];
                node.is_up = false;
                node.run += 1;
                for _ in 0..std::mem::take(&mut node.sessions) {
                    self.after(AGAIN_MS, Event::Ask { clients: 0, again: true });
                }
            }
            Event::Beat { node: index, run } => self.beat(index, run),
            Event::Hear { replica, report } => self.views[replica].heard(*report, self.now),
            Event::Ask { clients, again } => {
                self.ask(clients);
                if !again {
                    self.next_client(clients);
                }
            }
            Event::Told { replica, node } => {
                self.views[replica].reserve(&self.nodes[node].id, 1, self.now);
            }
            Event::Start { clients, node, run, channel } => self.start(clients, node, run, channel),
            Event::End { node, run, channel } => {
                let was_on = &mut self.nodes[node];
                if was_on.run != run {
                    return;
                }
                was_on.changes(self.now);
                was_on.sessions -= 1;
                if let Some(channel) = channel {
                    self.receivers(node, channel, -1);
                }
            }
            Event::Tick => {
                for view in &mut self.views {
                    view.tick(self.now);
                }
                self.at(self.now + TICK_MS, Event::Tick);
            }
        }
    }

    fn beat(&mut self, index: usize, run: u64) {
        let node = &mut self.nodes[index];
        if node.run != run {
            return;
        }
        node.round += 1;
        let report = Report::Whole {
            record: Box::new(node.record(self.now, &mut self.dice)),
            round: node.round,
            part: 0,
            parts: 1,
            channels: node.channels.iter().map(|(name, receivers)| Node::channel(name, *receivers)).collect(),
        };
        // The first one, at the start, has a successor already.
        if node.round > 1 {
            self.at(self.now + HEARTBEAT_MS, Event::Beat { node: index, run });
        }
        self.report(&report);
    }

    fn ask(&mut self, clients: usize) {
        let Clients { wants, region, rule, .. } = self.scenario.clients[clients];
        let channel: Option<ChannelName> = match wants {
            Wants::Any => None,
            Wants::One(channel) => Some(channel.parse().unwrap()),
            Wants::OneOf(count) => Some(format!("c{}", self.dice.below(count)).parse().unwrap()),
        };
        let replica = self.dice.below(self.views.len());
        let ask =
            Ask { role: Role::Receive, channel: channel.as_ref(), region, rule, exclude: &[], count: 1 };
        let node = choose(self.scenario.strategy, &self.views[replica], &ask, self.now, &mut self.dice);
        if let Some(node) = &node {
            self.views[replica].reserve(node, 1, self.now);
        }
        let Some(node) = node else {
            self.refused += 1;
            return;
        };
        self.picked += 1;
        let node = self.by_id[&node];
        for other in (0..self.views.len()).filter(|other| *other != replica) {
            self.after(PICK_DELAY_MS, Event::Told { replica: other, node });
        }
        if !self.nodes[node].is_up {
            self.in_vain += 1;
            self.in_vain_after_ms = self.now - self.died_ms[node];
        }
        if self.dice.below(100) >= NO_SHOWS_PERCENT {
            let run = self.nodes[node].run;
            self.after(ARRIVAL_DELAY_MS, Event::Start { clients, node, run, channel });
        }
    }

    fn start(&mut self, clients: usize, index: usize, run: u64, channel: Option<ChannelName>) {
        let node = &mut self.nodes[index];
        if !node.is_up || node.run != run {
            self.after(AGAIN_MS, Event::Ask { clients, again: true });
            return;
        }
        node.changes(self.now);
        node.sessions += 1;
        node.accepted += 1;
        node.peak = node.peak.max(node.share());
        if let Some(channel) = channel.clone() {
            self.receivers(index, channel, 1);
        }
        if let Some(stay_ms) = self.scenario.clients[clients].stay_ms {
            self.after(stay_ms, Event::End { node: index, run, channel });
        }
    }

    fn receivers(&mut self, index: usize, channel: ChannelName, more: i64) {
        let node = &mut self.nodes[index];
        let before = node.channels.get(&channel).copied().unwrap_or(0);
        let now = before.checked_add_signed(more).unwrap();
        if now == 0 {
            node.channels.remove(&channel);
        } else {
            node.channels.insert(channel.clone(), now);
        }
        if (before == 0) != (now == 0) {
            let peer = Peer { node: node.id.clone(), incarnation: Incarnation::new(node.run) };
            self.report(&Report::Channel { peer, channel: Node::channel(&channel, now) });
        }
    }
}

/// One pick. The strategies that this is compared with see the same reports, and pass over nodes that have said that
/// they are full, or nothing for long.
fn choose(strategy: Strategy, view: &View, ask: &Ask<'_>, now: u64, dice: &mut Dice) -> Option<NodeId> {
    if strategy == Strategy::Ours {
        let placed = place(view, ask, now, &mut |bound| dice.below(bound)).ok()?;
        return placed.first().and_then(|placed| Some(view.member(placed.slot)?.record.node.clone()));
    }
    let mut nodes: Vec<_> = view
        .nodes()
        .filter(|member| !member.is_silent(now))
        .map(|member| &member.record)
        .filter(|record| record.load.sessions < record.capacity.sessions)
        .collect();
    if nodes.is_empty() {
        return None;
    }
    let load = |record: &NodeRecord| record.load.sessions as f64 / record.capacity.sessions as f64;
    let record = match strategy {
        Strategy::Ours | Strategy::Random => nodes[dice.below(nodes.len())],
        Strategy::TwoChoice => {
            let first = nodes.swap_remove(dice.below(nodes.len()));
            let second = (!nodes.is_empty()).then(|| nodes[dice.below(nodes.len())]);
            second.filter(|second| load(second) < load(first)).unwrap_or(first)
        }
        Strategy::LeastLoaded => nodes.into_iter().min_by(|a, b| load(a).total_cmp(&load(b)))?,
        Strategy::Shuffle => {
            let best = match nodes.len() {
                0..=5 => 1,
                6..=10 => 2,
                count => (count / 10).max(2),
            };
            nodes.sort_by(|a, b| load(a).total_cmp(&load(b)));
            nodes[dice.below(best)]
        }
    };
    Some(record.node.clone())
}
