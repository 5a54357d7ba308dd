//! `GET /v1/pick`: the request that every client makes, so it takes the view's lock once, and writes its answer straight from
//! what is there.

mod answer;

use std::time::Duration;

use bytes::Bytes;
use relay_proto::api::ChannelState;
use relay_proto::api::manager::RefusedBecause;
use relay_proto::registry::Role;
use relay_proto::source::{SourceId, SourceKeys};
use relay_proto::{ChannelName, NodeId, StreamKey};
use tokio::time::{Instant, sleep, timeout_at};

use self::answer::Pick;
use super::access::Need;
use super::problem::{Kind, Problem};
use super::query;
use crate::metrics::Picked;
use crate::placement::{Ask, NODES_PER_ANSWER_MAX, NoNode, RegionRule, explain, place};
use crate::replica::{Replica, WAITS_MAX};
use crate::urls::Target;

/// Nodes in one answer: for a client that tries another when one fails, and for whoever spreads a stream.
pub(crate) const COUNT_MAX: u64 = NODES_PER_ANSWER_MAX as u64;

/// Nodes that one request excludes: those that a client has tried in vain.
pub(crate) const EXCLUDED_MAX: usize = 64;

/// How long a request waits at the most, in seconds: shorter than proxies mostly wait for an answer.
pub(crate) const WAIT_SECONDS_MAX: u64 = 30;

/// How long a request that waits lets news gather before it looks again, at the least: each report wakes all of them.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Looks per second of all requests that wait together. Where all nodes are full each looks at every node, and takes the lock that
/// picks need: with so many of them and a thousand nodes most of a processor is left.
const LOOKS_PER_SECOND: u32 = 4096;

/// When to come back where no node can be chosen: after this, and up to twice as long, since all clients are told at once.
const RETRY_AFTER_MS: u64 = 1000;

const PARAMETERS: &str =
    "the parameters are channel, source, role, region, strict, n, exclude, wait, explain, key, and no others";

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    role: Role,
    /// Whose channel and key are wanted.
    source: Option<SourceId>,
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
        let mut source = None;
        let mut exclude = Vec::new();
        for pair in query::pairs(query) {
            let (name, value) = pair?;
            match &*name {
                "channel" => query::once(&mut channel, "channel", query::parse("channel", &value)?)?,
                "source" => query::once(&mut source, "source", query::parse("source", &value)?)?,
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
            source,
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

    /// What it takes beyond reading: the key of a source is in the answer.
    pub(crate) fn needs(&self) -> Option<Need> {
        self.source.as_ref().map(|_| match self.role {
            Role::Receive => Need::ReadPrivate,
            Role::Publish => Need::Operate,
        })
    }

    /// Fills in the channel of the source that is wanted and its key, for somebody who may have it.
    pub(crate) fn open(&mut self, replica: &Replica) -> Result<(), Problem> {
        let Some(source) = &self.source else { return Ok(()) };
        let channel = source.channel();
        let keys = SourceKeys::of(&replica.links.secret, &channel).ok_or(Problem::new(Kind::NoSecret))?;
        if replica.known().sources.find(source).is_none() {
            return Err(Problem::new(Kind::UnknownSource));
        }
        if self.channel.is_some() || self.key.is_some() {
            return Err(Problem::bad("source names the channel and the key, so there is neither beside it"));
        }
        self.channel = Some(channel);
        self.key = Some(match self.role {
            Role::Receive => keys.watch,
            Role::Publish => keys.publish,
        });
        Ok(())
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

/// Chooses, from what is known now.
pub(crate) fn choose(
    replica: &Replica,
    wanted: &Wanted,
    reserve: Reserve,
    now: u64,
) -> Result<Bytes, Problem> {
    let ask = wanted.ask();
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
        Reserve::Yes => known.view.timing().reservation_ms,
        Reserve::No => 0,
    };
    let picks = placed.iter().filter_map(|placed| {
        let node = &known.view.member(placed.slot)?.record;
        let target = Target {
            addresses: replica.config.addresses,
            public: &replica.public,
            node,
            channel: wanted.channel.as_ref(),
            key: wanted.key.as_ref(),
            role: wanted.role,
        };
        Some(Pick { target, carries: placed.carries, reserved_ms })
    });
    let body = answer::of(picks, &replica.state_of(&known.view, now), explanation.as_ref());
    drop(known);
    if tell {
        replica.picked.notify_one();
    }
    replica.metrics.picks.count(wanted.role, if carries { Picked::Carries } else { Picked::Placed });
    Ok(body)
}

/// Chooses as soon as a node can take the client, and somebody publishes what it wants to receive, or the time is over.
pub(crate) async fn wait(replica: &Replica, wanted: &Wanted, reserve: Reserve) -> Result<Bytes, Problem> {
    let Some(within) = wanted.wait else { return choose(replica, wanted, reserve, replica.now()) };
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
            let waiting = WAITS_MAX.saturating_sub(replica.waits.available_permits());
            sleep(look_pause(waiting, fastrand::f64())).await;
        }
    };
    tokio::select! {
        _ = timeout_at(deadline, possible) => choose(replica, wanted, reserve, replica.now()),
        () = replica.left() => Err(Problem::new(Kind::Leaving).retry_after(Duration::ZERO)),
    }
}

/// How long one of so many lets news gather. `dice` is from 0 to 1: who is woken together does not look together.
fn look_pause(waiting: usize, dice: f64) -> Duration {
    let turns = Duration::from_secs(1) / LOOKS_PER_SECOND * u32::try_from(waiting).unwrap_or(u32::MAX);
    LOOK_PAUSE.max(turns).mul_f64(1.0 + dice)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_wait_they_look_no_more_often_together() {
        for waiting in [1, 80, 81, 82, 1000, WAITS_MAX] {
            let looks_per_second = waiting as f64 / look_pause(waiting, 0.0).as_secs_f64();
            assert!(looks_per_second <= f64::from(LOOKS_PER_SECOND) * 1.001, "{waiting}: {looks_per_second}");
            assert_eq!(look_pause(waiting, 1.0), look_pause(waiting, 0.0) * 2);
        }
        assert_eq!(look_pause(1, 0.0), LOOK_PAUSE, "few do not wait for longer than it takes");
        assert!(look_pause(WAITS_MAX, 1.0) <= Duration::from_secs(2), "nor do many wait in vain");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_with_many_others_is_answered_in_time() {
        let replica = crate::http::tests::replica();
        let others = replica.waits.try_acquire_many(u32::try_from(WAITS_MAX - 1).unwrap()).unwrap();
        let wanted = Wanted::parse(Some("wait=1")).unwrap();
        let began = Instant::now();
        assert_eq!(wait(&replica, &wanted, Reserve::Yes).await.unwrap_err().kind, Kind::NoNode);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        drop(others);
    }
}
