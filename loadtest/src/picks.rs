//! Picks: how many a second a stream-manager answers on one processor and how soon, beside the least that an answer costs.
//!
//! That least is a server of hyper's whose handler returns a constant: a pick of the same stream-manager, byte for byte but
//! the date. Both are asked the same questions by the same code, in turns, round after round.

pub(crate) mod answer;
pub(crate) mod asker;
pub(crate) mod bare;
pub(crate) mod fleet;

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use relay_proto::api::manager::{CapacityReport, Picks};
use serde::Serialize;

use crate::cluster::Rounds;
use crate::cluster::servers::{Cluster, Node, Owned, Programs, StartError, listening};
use crate::cluster::spread::Spread;
use crate::cluster::verdict::Verdict;
use crate::command::run::pin;
use crate::compare::server::free_port;
use crate::progress::Steps;
use crate::report::{Quantiles, bytes, count};
use answer::Answer;
use asker::{Asked, Asking, Pace, ask, ask_once};
use fleet::{Arrivals, Fleet};

/// Of the bare handler's rate, on one processor.
const RATE_MIN: f64 = 0.6;

/// Of the bare handler's latency, at the same rate.
const P99_MAX: f64 = 2.0;

/// How many questions differ from each other.
const QUESTIONS: usize = 4096;

/// How many kinds of them there are.
const KINDS: usize = 4;

/// How long a stream-manager may take until it knows all nodes: some rounds of their reports.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(20);

/// How often it is looked whether it does.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often and of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: Rounds,
    pub(crate) nodes: usize,
    pub(crate) connections: usize,
    /// The part of the slower one's rate that both are asked at for their latency.
    pub(crate) share: f64,
    /// The processor of whichever server is asked.
    pub(crate) server_cpu: usize,
    /// The processor of the load generator, Redis and NATS.
    pub(crate) own_cpu: usize,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{what}: {source}")]
    Asking { what: String, source: io::Error },
    #[error("the stream-manager knows {known} of {nodes} nodes after {} s", KNOWN_TIMEOUT.as_secs())]
    Unknown { known: String, nodes: usize },
    #[error("no pick: {0}")]
    NoPick(String),
    #[error("simulated nodes: {0}")]
    Fleet(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What was measured. Durations in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    nodes: usize,
    connections: usize,
    /// Of one answer, with its head.
    answer_bytes: usize,
    bare: Side,
    manager: Side,
    /// Of the stream-manager to the bare handler, each in the same round.
    rate_ratio: Spread,
    cpu_ratio: Spread,
    /// Questions per second while latency was measured.
    paced_rate: f64,
    p50_ratio: Spread,
    p99_ratio: Spread,
    /// How many picks a node got.
    picks_per_node: Spread,
    pub(crate) answered: u64,
    pub(crate) wrong: u64,
    /// What the first wrong answer said.
    first_wrong: Option<String>,
    unanswered: u64,
}

/// One of the two.
#[derive(Debug, Serialize)]
struct Side {
    /// Answers per second in the closed loop.
    rate: Spread,
    /// Processor time per answer there.
    cpu_us: Spread,
    /// Processors that it kept busy there.
    cpus: Spread,
    /// And that the load generator did, which never sleeps there: less than one, and others took its processor.
    generator_cpus: Spread,
    /// At the fixed rate, from when a question was due to its answer.
    p50_us: Spread,
    p99_us: Spread,
    p999_us: Spread,
    /// How late the load generator itself was.
    lateness_p99_us: Spread,
}

/// All rounds of one of the two.
#[derive(Debug, Default)]
struct Taken {
    closed: Vec<Asked>,
    paced: Vec<Asked>,
}

/// Starts all it takes, and measures.
pub(crate) fn measure(programs: Programs, plan: &Plan) -> Result<Outcome, Error> {
    // What is started from here on has it too, but for the servers.
    pin(&[plan.own_cpu])?;
    let cluster = Cluster::start(programs, 0)?;
    let arrivals = Arrivals::of(plan.nodes);
    let fleet = Fleet::start(cluster.nats_url(), arrivals.clone())?;
    let manager = cluster.start_manager()?;
    let steps = Steps::new();
    steps.now(format!("waiting until the stream-manager knows {} nodes", plan.nodes));
    until_known(manager.address(), plan.nodes)?;
    let questions = questions(plan.nodes, manager.address())?;
    let constant = try_out(&manager, &questions, &arrivals)?;
    let (bare_address, bare) = bare(&constant, plan.server_cpu)?;

    let sides =
        [("bare handler", bare_address, bare.pid()), ("stream-manager", manager.address(), manager.pid())];
    let mut taken = [Taken::default(), Taken::default()];
    let in_turns = |pace: Pace, take: &mut dyn FnMut(usize, Asked)| {
        let Rounds { rounds, warmup, duration } = plan.rounds;
        for round in 1..=rounds {
            for (side, (name, address, pid)) in sides.into_iter().enumerate() {
                let what = match pace {
                    Pace::Closed => format!("as fast as it can, round {round} of {rounds}, {name}"),
                    Pace::Rate(rate) => format!("{rate:.0}/s, round {round} of {rounds}, {name}"),
                };
                steps.now(what.clone());
                let connections = plan.connections;
                let asking =
                    Asking { address, pid, questions: &questions, connections, warmup, duration, pace };
                // Nobody is sent anywhere by a constant.
                let mut check = |answer: &Answer<'_>| {
                    let arrives = |node| if side == 0 { arrivals.has(node) } else { arrivals.arrive(node) };
                    answer.is_ok() && answer.node().is_some_and(arrives)
                };
                take(side, ask(asking, &mut check).map_err(|source| Error::Asking { what, source })?);
            }
        }
        Ok::<(), Error>(())
    };
    in_turns(Pace::Closed, &mut |side, asked| taken[side].closed.push(asked))?;
    let slower = taken.iter().map(|taken| Spread::of(taken.closed.iter().map(Asked::rate)).median);
    let paced_rate = (slower.fold(f64::INFINITY, f64::min) * plan.share).round().max(1.0);
    in_turns(Pace::Rate(paced_rate), &mut |side, asked| taken[side].paced.push(asked))?;

    drop(steps);
    fleet.end().map_err(Error::Fleet)?;
    let [bare, manager] = taken;
    let picks_per_node = Spread::of(arrivals.counts().into_iter().map(|count| count as f64));
    Ok(Outcome::of(plan, constant.bytes, paced_rate, picks_per_node, &bare, &manager))
}

/// Waits until the stream-manager has heard of every node.
fn until_known(address: SocketAddr, nodes: usize) -> Result<(), Error> {
    let deadline = Instant::now() + KNOWN_TIMEOUT;
    let question = question(address, "/v1/capacity");
    loop {
        let known = ask_once(address, &question, |answer| {
            let report: Option<CapacityReport> = serde_json::from_slice(answer.body).ok();
            report.map_or_else(|| Err(answer.words()), |report| Ok(report.nodes))
        });
        let known = known.map_err(|source| Error::Asking { what: "stream-manager".to_owned(), source })?;
        match known {
            Ok(known) if known == nodes as u64 => return Ok(()),
            known if Instant::now() > deadline => {
                let known = known.map_or_else(|words| words, |known| known.to_string());
                return Err(Error::Unknown { known, nodes });
            }
            _ => thread::park_timeout(LOOK_INTERVAL),
        }
    }
}

/// Both roles, for channels that nodes have and for those that none has, in turns.
fn questions(nodes: usize, address: SocketAddr) -> Result<Vec<Vec<u8>>, Error> {
    let live = nodes * fleet::CHANNELS_PER_NODE;
    let question = |number: usize| {
        // Far from one question to the next, so that they are of channels of all nodes.
        let of_live = number / KINDS * 7919 % live;
        let (channel, role) = match number % KINDS {
            0 => (live + number, "publish"),
            1 => (of_live, "receive"),
            2 => (of_live, "publish"),
            _ => (live + number, "receive"),
        };
        let channel = fleet::channel(channel).map_err(|error| Error::Fleet(error.to_string()))?;
        Ok(question(address, &format!("/v1/pick?channel={channel}&role={role}")))
    };
    (0..QUESTIONS).map(question).collect()
}

/// With the fields that programs send.
fn question(address: SocketAddr, target: &str) -> Vec<u8> {
    let agent = concat!("relaycast-loadtest/", env!("CARGO_PKG_VERSION"));
    format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {agent}\r\nAccept: application/json\r\n\r\n"
    )
    .into_bytes()
}

/// A pick, as the bare handler repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Constant {
    /// But for those that hyper adds.
    headers: Vec<String>,
    body: String,
    /// With its head.
    bytes: usize,
}

impl Constant {
    fn of(answer: &Answer<'_>) -> Self {
        const OF_HYPER: [&str; 2] = ["content-length", "date"];
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let headers = answer.fields().map(|(name, value)| (text(name), text(value)));
        let headers = headers.filter(|(name, _)| !OF_HYPER.contains(&name.to_ascii_lowercase().as_str()));
        Self {
            headers: headers.map(|(name, value)| format!("{name}:{value}")).collect(),
            body: text(answer.body),
            bytes: answer.len(),
        }
    }
}

/// Looks at one pick of each kind as a client does, and returns one of them.
fn try_out(manager: &Node, questions: &[Vec<u8>], arrivals: &Arrivals) -> Result<Constant, Error> {
    let address = manager.address();
    let mut last = None;
    for question in &questions[..KINDS] {
        let asked = ask_once(address, question, |answer| {
            let picks: Result<Picks, _> = serde_json::from_slice(answer.body);
            let is_pick = picks.is_ok_and(|picks| {
                picks.picks.len() == 1
                    && picks.picks.iter().all(|pick| {
                        arrivals.arrive(pick.node.as_str().as_bytes())
                            && pick.urls.websocket.starts_with("ws://10.")
                    })
            });
            if answer.is_ok() && is_pick { Ok(Constant::of(answer)) } else { Err(answer.words()) }
        });
        let asked = asked.map_err(|source| Error::Asking { what: "stream-manager".to_owned(), source })?;
        last = Some(asked.map_err(Error::NoPick)?);
    }
    last.ok_or_else(|| Error::NoPick("nothing was asked".to_owned()))
}

/// Starts the bare handler.
fn bare(constant: &Constant, cpu: usize) -> Result<(SocketAddr, Owned), Error> {
    let port = free_port()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listen = address.to_string();
    let mut args = vec!["bare-http", "--listen", &listen, "--body", &constant.body];
    for header in &constant.headers {
        args.extend(["--header", header]);
    }
    Ok((address, listening(&env::current_exe()?, port, &args, &[cpu])?))
}

impl Asked {
    fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    fn cpu_us(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.answered as f64
    }
}

impl Side {
    fn of(taken: &Taken) -> Self {
        let Taken { closed, paced } = taken;
        let of = |all: &[Asked], figure: fn(&Asked) -> f64| Spread::of(all.iter().map(figure));
        let latency = |asked: &Asked| Quantiles::from(&asked.latency);
        Self {
            rate: of(closed, Asked::rate),
            cpu_us: of(closed, Asked::cpu_us),
            cpus: of(closed, |asked| asked.server_cpu.as_secs_f64() / asked.seconds),
            generator_cpus: of(closed, |asked| asked.own_cpu.as_secs_f64() / asked.seconds),
            p50_us: Spread::of(paced.iter().map(|asked| latency(asked).p50)),
            p99_us: Spread::of(paced.iter().map(|asked| latency(asked).p99)),
            p999_us: Spread::of(paced.iter().map(|asked| latency(asked).p999)),
            lateness_p99_us: of(paced, |asked| Quantiles::from(&asked.lateness).p99),
        }
    }
}

impl Outcome {
    fn of(
        plan: &Plan,
        answer_bytes: usize,
        paced_rate: f64,
        picks_per_node: Spread,
        bare: &Taken,
        manager: &Taken,
    ) -> Self {
        let ratio = |bare: &[Asked], manager: &[Asked], figure: fn(&Asked) -> f64| {
            let rounds = bare.iter().zip(manager);
            Spread::of(rounds.map(|(bare, manager)| figure(manager) / figure(bare)))
        };
        let closed = |figure| ratio(&bare.closed, &manager.closed, figure);
        let paced = |figure| ratio(&bare.paced, &manager.paced, figure);
        let all = || [bare, manager].into_iter().flat_map(|taken| taken.closed.iter().chain(&taken.paced));
        Self {
            nodes: plan.nodes,
            connections: plan.connections,
            answer_bytes,
            bare: Side::of(bare),
            manager: Side::of(manager),
            rate_ratio: closed(Asked::rate),
            cpu_ratio: closed(Asked::cpu_us),
            paced_rate,
            p50_ratio: paced(|asked| Quantiles::from(&asked.latency).p50),
            p99_ratio: paced(|asked| Quantiles::from(&asked.latency).p99),
            picks_per_node,
            answered: all().map(|asked| asked.answered).sum(),
            wrong: all().map(|asked| asked.wrong).sum(),
            first_wrong: all().find_map(|asked| asked.first_wrong.clone()),
            unanswered: all().map(|asked| asked.unanswered).sum(),
        }
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        vec![
            Verdict::at_least(
                "picks per second, of the bare handler's",
                RATE_MIN,
                self.rate_ratio.median,
                "×",
            ),
            Verdict::at_most(
                "p99 at the same rate, of the bare handler's",
                P99_MAX,
                self.p99_ratio.median,
                "×",
            ),
            Verdict::at_most("answers that are no pick", 0.0, self.wrong as f64, ""),
            Verdict::at_most("questions without an answer", 0.0, self.unanswered as f64, ""),
        ]
    }

    /// What the first wrong answer said.
    pub(crate) fn first_wrong(&self) -> Option<&str> {
        self.first_wrong.as_deref()
    }

    /// In Markdown.
    pub(crate) fn table(&self) -> String {
        let Self { nodes, connections, bare, manager, .. } = self;
        let size = bytes(self.answer_bytes as f64);
        let head = format!(
            "| {nodes} nodes, {connections} connections, answers of {size} | bare handler | stream-manager | ratio |\n\
             |---|---|---|---|\n"
        );
        let rate = count(self.paced_rate);
        let row = |what: &str, of: fn(&Side) -> Spread, digits: usize, ratio: Option<Spread>| {
            let ratio = ratio.map_or_else(String::new, |ratio| ratio.text(2));
            format!("| {what} | {} | {} | {ratio} |\n", of(bare).text(digits), of(manager).text(digits))
        };
        let rows = [
            row("answers per second", |side| side.rate, 0, Some(self.rate_ratio)),
            row("CPU per answer, µs", |side| side.cpu_us, 1, Some(self.cpu_ratio)),
            row("processors busy", |side| side.cpus, 2, None),
            row("processors of the load generator busy", |side| side.generator_cpus, 2, None),
            row(&format!("at {rate}/s: p50, µs"), |side| side.p50_us, 0, Some(self.p50_ratio)),
            row(&format!("at {rate}/s: p99, µs"), |side| side.p99_us, 0, Some(self.p99_ratio)),
            row(&format!("at {rate}/s: p99.9, µs"), |side| side.p999_us, 0, None),
            row("of that the load generator's, p99, µs", |side| side.lateness_p99_us, 0, None),
        ];
        let spread = self.picks_per_node.text(0);
        rows.iter().fold(head, |table, row| table + row) + &format!("\nPicks per node: {spread}.\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_of_both_roles_and_of_all_nodes() {
        let questions = questions(3, SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).unwrap();
        let texts: Vec<_> = questions.iter().map(|question| String::from_utf8_lossy(question)).collect();
        let first = "GET /v1/pick?channel=camera-000120&role=publish HTTP/1.1\r\nHost: 127.0.0.1:1\r\n";
        assert!(texts[0].starts_with(first), "{}", texts[0]);
        let live = (0..3 * fleet::CHANNELS_PER_NODE)
            .map(|number| format!("channel={}&", fleet::channel(number).unwrap()));
        for channel in live {
            for role in ["publish", "receive"] {
                let of = |text: &&std::borrow::Cow<'_, str>| text.contains(&format!("{channel}role={role} "));
                assert!(texts.iter().any(|text| of(&text)), "{channel} {role}");
            }
        }
        assert!(texts.iter().all(|text| text.len() == texts[0].len()), "all are as long");
    }

    #[test]
    fn the_bare_handler_repeats_a_pick() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\
            Date: today\r\n\r\n{}";
        let answer = Answer::read(bytes).unwrap().unwrap();
        let constant = Constant::of(&answer);
        assert_eq!(constant.headers, ["content-type:application/json"]);
        assert_eq!((constant.body.as_str(), constant.bytes), ("{}", bytes.len()));
    }
}
