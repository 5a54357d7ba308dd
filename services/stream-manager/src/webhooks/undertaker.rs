//! Tells the journal of nodes that nobody else tells of: those that vanished. What to say is decided by the pure
//! [`Undertaker`]; who has vanished is decided by whoever gives the census.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A run of a node is only buried when the census says that it is lost, or has another run in its   │
//! │ place. Of who is not in the census for no such reason nothing is known, and nothing is said.     │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::time::Duration;

use relay_cluster::journal::ASSERTED_FOR;
use relay_cluster::registry::Unavailable;
use relay_proto::backbone::Peer;
use relay_proto::event::{Fact, NodePhase};
use relay_proto::{Incarnation, NodeId};
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
#[derive(Debug)]
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
    /// Nothing was said yet. Nodes say what is so three times within [`ASSERTED_FOR`], and the journal may have been without
    /// them for any time: before they had theirs, nothing is let go of.
    fn new(now: u64) -> Self {
        Self { said: HashMap::new(), repeat_at: now, expire_at: now + ms(ASSERTED_FOR) }
    }

    /// The journal was not there, neither for this stream-manager nor, maybe, for nodes.
    fn not_heard(&mut self, now: u64) {
        self.expire_at = now + ms(ASSERTED_FOR);
    }

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
        let mut runs: HashMap<&NodeId, Vec<Incarnation>> = HashMap::new();
        for (peer, _) in census {
            runs.entry(&peer.node).or_default().push(peer.incarnation);
        }
        let is_replaced =
            |peer: &Peer| runs.get(&peer.node).is_some_and(|runs| !runs.contains(&peer.incarnation));
        let is_open = |phase: &NodePhase| !matches!(phase, NodePhase::Left | NodePhase::Lost);
        let replaced = self.said.iter().filter(|(peer, phase)| is_open(phase) && is_replaced(peer));
        round.buried.extend(replaced.map(|(peer, _)| peer.clone()));
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
    let mut undertaker = Undertaker::new(0);
    let mut heard = true;
    loop {
        let now = ms(began.elapsed());
        let known = census.borrow_and_update().clone();
        let round = undertaker.round(&known, now);
        match tell(&link, &round).await {
            Ok(()) => undertaker.said(&known, &round, now),
            Err(error) => {
                debug!(%error, "the journal does not hear of nodes");
                undertaker.not_heard(ms(began.elapsed()));
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
        let mut undertaker = Undertaker::new(0);
        let (a, b) = (peer("a", 1), peer("b", 2));
        let mut census = vec![(a.clone(), NodePhase::InService), (b.clone(), NodePhase::InService)];
        let facts = vec![fact(&a, NodePhase::InService), fact(&b, NodePhase::InService)];
        assert_eq!(say(&mut undertaker, &census, 0), Round { facts, buried: vec![], expire: false });
        assert_eq!(say(&mut undertaker, &census, 1), Round::default());
        census[1].1 = NodePhase::Draining;
        assert_eq!(say(&mut undertaker, &census, 2).facts, [fact(&b, NodePhase::Draining)]);
        assert_eq!(undertaker.next_at(), 20_000);
        let facts = [fact(&a, NodePhase::InService), fact(&b, NodePhase::Draining)];
        assert_eq!(say(&mut undertaker, &census, 20_000).facts, facts);
        assert_eq!(say(&mut undertaker, &census, 20_001), Round::default());
    }

    #[test]
    fn nothing_is_let_go_of_before_nodes_could_say_it_again() {
        let mut undertaker = Undertaker::new(0);
        let expires = |undertaker: &mut Undertaker, now| say(undertaker, &Vec::new(), now).expire;
        let asserted_for = ms(ASSERTED_FOR);
        assert!(!expires(&mut undertaker, 0) && !expires(&mut undertaker, asserted_for - 1));
        assert!(expires(&mut undertaker, asserted_for));
        assert!(!expires(&mut undertaker, asserted_for + 1));
        assert!(expires(&mut undertaker, asserted_for + ms(EXPIRE)));
        // An outage of the journal.
        undertaker.not_heard(200_000);
        assert!(!expires(&mut undertaker, 200_000 + asserted_for - 1));
        assert!(expires(&mut undertaker, 200_000 + asserted_for));
    }

    #[test]
    fn a_run_whose_place_another_has_taken_is_buried() {
        let mut undertaker = Undertaker::new(0);
        let (old, new, other) = (peer("a", 1), peer("a", 2), peer("b", 1));
        say(&mut undertaker, &vec![(old.clone(), NodePhase::InService), (other, NodePhase::InService)], 0);
        let census = vec![(new.clone(), NodePhase::InService)];
        let round = say(&mut undertaker, &census, 1);
        assert_eq!((round.facts, round.buried), (vec![fact(&new, NodePhase::InService)], vec![old]));
        assert_eq!(say(&mut undertaker, &census, 2), Round::default());
    }

    #[test]
    fn a_run_is_buried_once_and_only_when_it_is_called_lost() {
        let mut undertaker = Undertaker::new(0);
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
        let mut undertaker = Undertaker::new(0);
        let round = say(&mut undertaker, &vec![(peer("a", 1), NodePhase::Left)], 0);
        assert_eq!((round.facts, round.buried), (vec![fact(&peer("a", 1), NodePhase::Left)], vec![]));
    }

    #[test]
    fn what_the_journal_did_not_take_is_said_again() {
        let mut undertaker = Undertaker::new(0);
        let census = vec![(peer("a", 1), NodePhase::Lost)];
        let first = undertaker.round(&census, 0);
        assert_eq!(undertaker.round(&census, 1), first);
        assert_eq!(first.buried.len(), 1);
        undertaker.said(&census, &first, 2);
        assert_eq!(undertaker.round(&census, 3), Round::default());
    }

    #[test]
    fn one_that_comes_back_and_vanishes_again_is_buried_again() {
        let mut undertaker = Undertaker::new(0);
        let a = peer("a", 1);
        say(&mut undertaker, &vec![(a.clone(), NodePhase::Lost)], 0);
        say(&mut undertaker, &vec![(a.clone(), NodePhase::InService)], 1);
        assert_eq!(say(&mut undertaker, &vec![(a.clone(), NodePhase::Lost)], 2).buried, [a]);
    }
}
