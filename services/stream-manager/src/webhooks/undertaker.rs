//! Tells the journal of nodes that nobody else tells of: those that vanished. What to say is decided by the pure
//! [`Undertaker`]; who has vanished is decided by whoever gives the census.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A run of a node is only buried when the census says that it is lost. Who is not in the census   │
//! │ is not known, and nothing is said of it.                                                        │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::time::Duration;

use relay_cluster::journal::ASSERTED_FOR;
use relay_cluster::registry::Unavailable;
use relay_proto::backbone::Peer;
use relay_proto::event::{Fact, NodePhase};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info};

use super::link::Link;

/// Every run of a node that is known, and how it is.
pub type Census = Vec<(Peer, NodePhase)>;

/// How often everything is said again: a journal that has lost its memory knows it by then, and nobody else says it for a node
/// that cannot.
const REPEAT: Duration = Duration::from_secs(ASSERTED_FOR.as_secs() / 3);

/// How often the journal forgets what nobody says any more. So much longer than [`ASSERTED_FOR`] it lasts at most.
const EXPIRE: Duration = Duration::from_secs(5);

/// Facts that are said at a time: one short script.
const FACTS_MAX: usize = 128;

/// How soon what the journal did not take is said again.
const RETRY: Duration = Duration::from_secs(1);

/// What was said of nodes. Times are milliseconds of a clock that never goes back.
#[derive(Debug, Default)]
struct Undertaker {
    said: HashMap<Peer, NodePhase>,
    repeat_at: u64,
    expire_at: u64,
}

/// What to tell the journal, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    /// How nodes are.
    facts: Vec<Fact>,
    /// Whose publications and receivers are no more.
    buried: Vec<Peer>,
    /// Whether to let go of what nobody says any more.
    expire: bool,
}

impl Undertaker {
    /// What is to be said. Said again until [`Undertaker::said`].
    fn round(&self, census: &Census, now: u64) -> Round {
        let again = now >= self.repeat_at;
        let mut round = Round { expire: now >= self.expire_at, ..Round::default() };
        for (peer, phase) in census {
            let is_news = self.said.get(peer) != Some(phase);
            // What is over is said once: a journal that has forgotten it would take it for news.
            let is_over = matches!(phase, NodePhase::Left | NodePhase::Lost);
            if is_news || (again && !is_over) {
                round.facts.push(Fact::Node { peer: peer.clone(), state: *phase });
            }
            if is_news && *phase == NodePhase::Lost {
                round.buried.push(peer.clone());
            }
        }
        round
    }

    /// The journal has taken what this census led to.
    fn said(&mut self, census: &Census, round: &Round, now: u64) {
        if now >= self.repeat_at {
            self.repeat_at = now + ms(REPEAT);
        }
        if round.expire {
            self.expire_at = now + ms(EXPIRE);
        }
        // Who is in it no more is forgotten: this holds no more than the census.
        self.said = census.iter().cloned().collect();
    }

    /// When to look again, if nothing is heard until then.
    fn next_at(&self) -> u64 {
        self.repeat_at.min(self.expire_at)
    }
}

/// Tells the journal for as long as it is polled.
pub(super) async fn run(link: Link, mut census: watch::Receiver<Census>) {
    let began = Instant::now();
    let mut undertaker = Undertaker::default();
    let mut heard = true;
    loop {
        let now = ms(began.elapsed());
        let known = census.borrow_and_update().clone();
        let round = undertaker.round(&known, now);
        match tell(&link, &round).await {
            Ok(()) => undertaker.said(&known, &round, now),
            Err(error) => {
                debug!(%error, "the journal does not hear of nodes");
                sleep(RETRY).await;
                continue;
            }
        }
        for peer in &round.buried {
            info!(node = %peer.node, incarnation = %peer.incarnation, "node has vanished");
        }
        tokio::select! {
            changed = census.changed(), if heard => heard = changed.is_ok(),
            () = sleep_until(began + Duration::from_millis(undertaker.next_at())) => {}
        }
    }
}

async fn tell(link: &Link, round: &Round) -> Result<(), Unavailable> {
    for facts in round.facts.chunks(FACTS_MAX) {
        link.ask(|journal| journal.record(facts)).await?;
    }
    for peer in &round.buried {
        link.ask(|journal| journal.bury(peer)).await?;
    }
    if round.expire {
        link.ask(|journal| journal.expire()).await?;
    }
    Ok(())
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use relay_proto::Incarnation;

    use super::*;

    fn peer(node: &str, run: u64) -> Peer {
        Peer { node: node.parse().unwrap(), incarnation: Incarnation::new(run) }
    }

    fn fact(peer: &Peer, state: NodePhase) -> Fact {
        Fact::Node { peer: peer.clone(), state }
    }

    /// What is said, and that the journal takes it.
    fn say(undertaker: &mut Undertaker, census: &Census, now: u64) -> Round {
        let round = undertaker.round(census, now);
        undertaker.said(census, &round, now);
        round
    }

    #[test]
    fn what_is_new_is_said_at_once_and_the_rest_now_and_then() {
        let mut undertaker = Undertaker::default();
        let (a, b) = (peer("a", 1), peer("b", 2));
        let mut census = vec![(a.clone(), NodePhase::InService), (b.clone(), NodePhase::InService)];
        let facts = vec![fact(&a, NodePhase::InService), fact(&b, NodePhase::InService)];
        assert_eq!(say(&mut undertaker, &census, 0), Round { facts, buried: vec![], expire: true });
        assert_eq!(say(&mut undertaker, &census, 1), Round::default());
        census[1].1 = NodePhase::Draining;
        assert_eq!(say(&mut undertaker, &census, 2).facts, [fact(&b, NodePhase::Draining)]);
        assert_eq!(undertaker.next_at(), 5_000);
        assert_eq!(say(&mut undertaker, &census, 5_000), Round { expire: true, ..Round::default() });
        let facts = [fact(&a, NodePhase::InService), fact(&b, NodePhase::Draining)];
        assert_eq!(say(&mut undertaker, &census, 20_000).facts, facts);
        assert_eq!(say(&mut undertaker, &census, 20_001), Round::default());
    }

    #[test]
    fn a_run_is_buried_once_and_only_when_it_is_called_lost() {
        let mut undertaker = Undertaker::default();
        let (a, again) = (peer("a", 1), peer("a", 2));
        say(&mut undertaker, &vec![(a.clone(), NodePhase::InService)], 0);
        // It is not in the census: nobody knows.
        assert_eq!(say(&mut undertaker, &vec![], 1), Round::default());
        let census = vec![(a.clone(), NodePhase::Lost), (again.clone(), NodePhase::InService)];
        let round = say(&mut undertaker, &census, 2);
        assert_eq!(round.facts, [fact(&a, NodePhase::Lost), fact(&again, NodePhase::InService)]);
        assert_eq!(round.buried, [a]);
        let later = say(&mut undertaker, &census, 60_000);
        assert_eq!((later.facts, later.buried), (vec![fact(&again, NodePhase::InService)], vec![]));
    }

    #[test]
    fn one_that_left_in_order_is_not_buried() {
        let mut undertaker = Undertaker::default();
        let round = say(&mut undertaker, &vec![(peer("a", 1), NodePhase::Left)], 0);
        assert_eq!((round.facts, round.buried), (vec![fact(&peer("a", 1), NodePhase::Left)], vec![]));
    }

    #[test]
    fn what_the_journal_did_not_take_is_said_again() {
        let mut undertaker = Undertaker::default();
        let census = vec![(peer("a", 1), NodePhase::Lost)];
        let first = undertaker.round(&census, 0);
        assert_eq!(undertaker.round(&census, 1), first);
        assert_eq!(first.buried.len(), 1);
        undertaker.said(&census, &first, 2);
        assert_eq!(undertaker.round(&census, 3), Round::default());
    }

    #[test]
    fn one_that_comes_back_and_vanishes_again_is_buried_again() {
        let mut undertaker = Undertaker::default();
        let a = peer("a", 1);
        say(&mut undertaker, &vec![(a.clone(), NodePhase::Lost)], 0);
        say(&mut undertaker, &vec![(a.clone(), NodePhase::InService)], 1);
        assert_eq!(say(&mut undertaker, &vec![(a.clone(), NodePhase::Lost)], 2).buried, [a]);
    }
}
