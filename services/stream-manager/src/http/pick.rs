//! `GET /v1/pick`: the request that every client makes, so it takes the view's lock once, and writes its answer straight from
//! what is there.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use relay_proto::api::ChannelState;
use relay_proto::api::manager::{Explanation, RefusedBecause, ViewState};
use relay_proto::registry::Role;
use relay_proto::{ChannelName, NodeId, StreamKey};
use serde::{Serialize, Serializer};
use tokio::time::{Instant, sleep, timeout_at};

use super::problem::{Kind, Problem};
use super::query;
use super::urls::Target;
use crate::metrics::Picked;
use crate::placement::{Ask, NODES_PER_ANSWER_MAX, NoNode, RegionRule, explain, place};
use crate::replica::Replica;

/// Nodes in one answer: for a client that tries another when one fails, and for whoever spreads a stream.
pub(crate) const COUNT_MAX: u64 = NODES_PER_ANSWER_MAX as u64;

/// Nodes that one request excludes: those that a client has tried in vain.
pub(crate) const EXCLUDED_MAX: usize = 64;

/// How long a request waits at the most, in seconds: shorter than proxies mostly wait for an answer.
pub(crate) const WAIT_SECONDS_MAX: u64 = 30;

/// How long a request that waits lets news gather before it looks again: with many of them, each report would wake them all.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// When to come back where no node can be chosen: after this, and up to twice as long, since all clients are told at once.
const RETRY_AFTER_MS: u64 = 1000;

const PARAMETERS: &str =
    "the parameters are channel, role, region, strict, n, exclude, wait, explain, key, and no others";

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    role: Role,
    channel: Option<ChannelName>,
    key: Option<StreamKey>,
    region: Option<String>,
    rule: RegionRule,
    count: usize,
    exclude: Vec<NodeId>,
    wait: Option<Duration>,
    explain: bool,
}

impl Wanted {
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let (mut role, mut channel, mut key, mut region) = (None, None, None, None);
        let (mut strict, mut count, mut wait, mut explain) = (None, None, None, None);
        let mut exclude = Vec::new();
        for pair in query::pairs(query) {
            let (name, value) = pair?;
            match &*name {
                "channel" => query::once(&mut channel, "channel", query::parse("channel", &value)?)?,
                "role" => query::once(&mut role, "role", parse_role(&value)?)?,
                "key" => query::once(&mut key, "key", query::parse("key", &value)?)?,
                "region" => query::once(&mut region, "region", query::text("region", &value)?)?,
                "strict" => query::once(&mut strict, "strict", query::flag("strict", &value)?)?,
                "n" => query::once(&mut count, "n", query::number("n", &value, 1..=COUNT_MAX)?)?,
                "wait" => {
                    query::once(&mut wait, "wait", query::number("wait", &value, 0..=WAIT_SECONDS_MAX)?)?;
                }
                "explain" => query::once(&mut explain, "explain", query::flag("explain", &value)?)?,
                "exclude" => {
                    for node in value.split(',').filter(|node| !node.is_empty()) {
                        if exclude.len() == EXCLUDED_MAX {
                            return Err(Problem::bad(format!("exclude has more than {EXCLUDED_MAX} nodes")));
                        }
                        exclude.push(query::parse("exclude", node)?);
                    }
                }
                _ => return Err(query::unknown(PARAMETERS)),
            }
        }
        Ok(Self {
            role: role.unwrap_or(Role::Receive),
            channel,
            key,
            region,
            rule: if strict == Some(true) { RegionRule::Strict } else { RegionRule::Preferred },
            count: usize::try_from(count.unwrap_or(1)).unwrap_or(1),
            exclude,
            wait: wait.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            explain: explain.unwrap_or(false),
        })
    }

    pub(crate) const fn waits(&self) -> bool {
        self.wait.is_some()
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            role: self.role,
            channel: self.channel.as_ref(),
            region: self.region.as_deref(),
            rule: self.rule,
            exclude: &self.exclude,
            count: self.count,
        }
    }
}

fn parse_role(value: &str) -> Result<Role, Problem> {
    match value {
        "publish" => Ok(Role::Publish),
        "receive" => Ok(Role::Receive),
        _ => Err(Problem::bad("role is neither publish nor receive")),
    }
}

/// Whether an answer keeps places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserve {
    Yes,
    /// For a request that only looks.
    No,
}

/// As `api::manager::Picks`, of borrowed parts.
#[derive(Serialize)]
struct Answer<'a> {
    picks: Vec<Pick<'a>>,
    view: ViewState,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

#[derive(Serialize)]
struct Pick<'a> {
    node: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    carries: bool,
    #[serde(serialize_with = "urls")]
    urls: Target<'a>,
    reserved_ms: u64,
}

fn urls<S: Serializer>(target: &Target<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Urls<W: Display, P: Display> {
        #[serde(serialize_with = "shown")]
        websocket: W,
        #[serde(serialize_with = "shown_if_any", skip_serializing_if = "Option::is_none")]
        page: Option<P>,
    }

    Urls { websocket: target.websocket(), page: target.page() }.serialize(serializer)
}

fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn shown_if_any<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Chooses, from what is known now.
pub(crate) fn now(replica: &Replica, wanted: &Wanted, reserve: Reserve) -> Result<Bytes, Problem> {
    /// What an answer for one node mostly takes.
    const ANSWER_BYTES: usize = 512;

    let ask = wanted.ask();
    let now = replica.now();
    let mut tell = false;
    let mut known = replica.known();
    // Before the places are kept, which would otherwise count against the nodes that are chosen.
    let explanation = wanted.explain.then(|| explain(&known.view, &ask, now));
    let placed = match place(&known.view, &ask, now, &mut |bound| fastrand::usize(..bound)) {
        Ok(placed) => placed,
        Err(none) => {
            drop(known);
            replica.metrics.picks.count(wanted.role, Picked::None);
            return Err(no_node(&none));
        }
    };
    let carries = placed.first().is_some_and(|placed| placed.carries);
    if reserve == Reserve::Yes {
        for placed in &placed {
            tell |= known.reserve(placed.slot, now);
        }
    }
    let reserved_ms = match reserve {
        Reserve::Yes => u64::try_from(replica.config.reservation.as_millis()).unwrap_or(u64::MAX),
        Reserve::No => 0,
    };
    let picks = placed.iter().filter_map(|placed| {
        let node = &known.view.member(placed.slot)?.record;
        let urls = Target {
            addresses: replica.config.addresses,
            public: &replica.public,
            node,
            channel: wanted.channel.as_ref(),
            key: wanted.key.as_ref(),
            role: wanted.role,
        };
        Some(Pick {
            node: node.node.as_str(),
            region: node.region.as_deref(),
            zone: node.zone.as_deref(),
            carries: placed.carries,
            urls,
            reserved_ms,
        })
    });
    let answer = Answer { picks: picks.collect(), view: replica.state_of(&known.view, now), explanation };
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    // Neither a map with odd keys nor anything else that JSON could refuse.
    let _ = serde_json::to_writer(&mut body, &answer);
    drop(known);
    if tell {
        replica.picked.notify_one();
    }
    replica.metrics.picks.count(wanted.role, if carries { Picked::Carries } else { Picked::Placed });
    Ok(body.into())
}

/// Chooses as soon as a node can take the client, and somebody publishes what it wants to receive, or the time is over.
pub(crate) async fn wait(replica: &Replica, wanted: &Wanted, reserve: Reserve) -> Result<Bytes, Problem> {
    let Some(within) = wanted.wait else { return now(replica, wanted, reserve) };
    let Ok(_permit) = replica.waits.try_acquire() else {
        return Err(Problem::new(Kind::Busy).retry_after(Duration::from_millis(spread())));
    };
    let deadline = Instant::now() + within;
    let mut news = replica.news.subscribe();
    let possible = async {
        loop {
            news.borrow_and_update();
            if is_possible(replica, wanted) {
                return;
            }
            // What is known changes by time too: nodes fall silent, reservations expire.
            let _ = timeout_at(Instant::now() + Duration::from_secs(1), news.changed()).await;
            sleep(LOOK_PAUSE).await;
        }
    };
    tokio::select! {
        _ = timeout_at(deadline, possible) => now(replica, wanted, reserve),
        () = replica.left() => Err(Problem::new(Kind::Leaving).retry_after(Duration::ZERO)),
    }
}

fn is_possible(replica: &Replica, wanted: &Wanted) -> bool {
    let now = replica.now();
    let known = replica.known();
    if let (Role::Receive, Some(channel)) = (wanted.role, &wanted.channel)
        && known.view.channel(channel).is_none_or(|channel| channel.state != ChannelState::Live)
    {
        return false;
    }
    place(&known.view, &wanted.ask(), now, &mut |bound| fastrand::usize(..bound)).is_ok()
}

fn no_node(none: &NoNode) -> Problem {
    let mut problem = Problem::new(Kind::NoNode);
    if none.is_for_now() {
        problem = problem.retry_after(Duration::from_millis(spread()));
    }
    match none {
        NoNode::NoneKnown => problem.because("no node is known"),
        NoNode::NoneEligible { reasons } => {
            let reasons: Vec<String> =
                reasons.iter().map(|(because, count)| format!("{count} {}", word(*because))).collect();
            problem.because(format!("of the nodes that are known {}", reasons.join(", ")))
        }
    }
}

/// What follows the number of nodes.
const fn word(because: RefusedBecause) -> &'static str {
    match because {
        RefusedBecause::Draining => "draining",
        RefusedBecause::Silent => "silent",
        RefusedBecause::Role => "not for this role",
        RefusedBecause::Region => "elsewhere",
        RefusedBecause::Excluded => "excluded",
        RefusedBecause::Full => "full",
    }
}

fn spread() -> u64 {
    fastrand::u64(RETRY_AFTER_MS..=2 * RETRY_AFTER_MS)
}
