//! Nodes that are killed: how long receivers of another node wait until the stream goes on, when its publisher comes back at
//! once through a third.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{Client, Gone, Stream};
use super::cold::{histogram, quantiles, times};
use super::servers::Cluster;
use super::verdict::Verdict;
use super::{Error, Rounds, endpoint};
use crate::clock::Clock;
use crate::plan::Endpoint;
use crate::progress::Steps;
use crate::report::Quantiles;
use crate::tally::{Arrival, Place};

/// Long enough for nodes to find out, short enough for people to stay.
const RESUMED_MS_MAX: f64 = 2000.0;

/// Whoever waits for so long has lost.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The node that has all receivers. The others take turns: one is killed, the other takes its publishers.
const RECEIVING: usize = 2;

#[derive(Debug, Serialize)]
pub(crate) struct Killed {
    stream: Stream,
    kills: usize,
    /// Receivers whose node lost the origin.
    pub(crate) receivers: u64,
    /// From the kill to the first byte that was published after it.
    resumed_us: Quantiles,
    /// Receivers that got nothing any more, or were sent away.
    pub(crate) forsaken: u64,
    /// Messages that are missing before the kill, or at the start of what came after it.
    pub(crate) lost: u64,
    /// Why receivers were sent away.
    ends: Vec<String>,
}

pub(crate) async fn measure(
    cluster: &mut Cluster,
    stream: Stream,
    channels: usize,
    rounds: Rounds,
) -> Result<Killed, Error> {
    let steps = Steps::new();
    let mut resumed = histogram();
    let mut killed = Killed {
        stream,
        kills: rounds.rounds,
        receivers: (channels * rounds.rounds) as u64,
        resumed_us: Quantiles::default(),
        forsaken: 0,
        lost: 0,
        ends: Vec::new(),
    };
    for round in 1..=rounds.rounds {
        let title = format!("killed nodes, round {round} of {}", rounds.rounds);
        steps.now(title.clone());
        let victim = round % RECEIVING;
        let clock = Clock::start();
        let name = format!("killed-{round}");
        let node = |index| cluster.node(index);
        let publish: Arc<[Endpoint]> =
            [victim, 1 - victim].map(|index| endpoint(node(index), &name, "publish")).into();
        let receive = Arc::new(endpoint(node(RECEIVING), &name, "receive"));
        let (kill, was_killed) = watch::channel(None);
        let (first, mut firsts) = mpsc::channel(channels);
        // Both ended with the round.
        let mut publishers = JoinSet::new();
        let mut receivers = JoinSet::new();
        for channel in 0..channels {
            let publish = Arc::clone(&publish);
            publishers.spawn(async move { stream.publish(&publish, channel, clock).await });
            let receiver = Receiver {
                killed: was_killed.clone(),
                clock,
                place: Place::ANYWHERE,
                lost: 0,
                first: Some(first.clone()),
            };
            let receive = Arc::clone(&receive);
            receivers.spawn(async move { receiver.run(&receive, channel).await });
        }
        drop(first);
        let all = async {
            for _ in 0..channels {
                firsts.recv().await?;
            }
            Some(())
        };
        let began = timeout(WAIT_MAX, all).await.ok().flatten();
        began.ok_or_else(|| Error::Failed("not every receiver got the stream before the kill".to_owned()))?;
        tokio::time::sleep(rounds.warmup).await;
        steps.now(format!("{title}: killed"));
        // Those who see it first are not told when it was.
        kill.send_replace(Some(clock.now_ns()));
        node(victim).kill();
        let outcomes = timeout(WAIT_MAX, async {
            while let Some(outcome) = receivers.join_next().await {
                match outcome.map_err(|error| Error::Failed(error.to_string()))? {
                    Ok(Resumed { after_ns, lost }) => {
                        resumed.saturating_record(after_ns / 1000);
                        killed.lost += lost;
                    }
                    Err(gone) => killed.ends.push(gone.to_string()),
                }
            }
            Ok(())
        });
        // Those who still wait are forsaken.
        outcomes.await.unwrap_or(Ok::<_, Error>(()))?;
        publishers.shutdown().await;
        steps.now(format!("{title}: started again"));
        cluster.restart(victim)?;
    }
    killed.forsaken = killed.receivers - resumed.len();
    killed.resumed_us = quantiles(&resumed);
    Ok(killed)
}

struct Receiver {
    killed: watch::Receiver<Option<u64>>,
    clock: Clock,
    place: Place,
    lost: u64,
    /// To tell that something came.
    first: Option<mpsc::Sender<()>>,
}

struct Resumed {
    after_ns: u64,
    lost: u64,
}

impl Receiver {
    async fn run(mut self, receive: &Endpoint, channel: usize) -> Result<Resumed, Gone> {
        let mut client = Client::connect(receive, channel).await?;
        loop {
            // An init without a stamp may be of either publication.
            let Some(stamp) = client.next().await?.stamp else { continue };
            if let Some(first) = self.first.take() {
                // Whoever waited for it has failed already.
                let _ = first.try_send(());
            }
            let killed = *self.killed.borrow();
            // What was on its way when the node was killed is older.
            if let Some(killed_ns) = killed.filter(|killed_ns| stamp.sent_ns > *killed_ns) {
                // The new publication, from its beginning on.
                let lost = self.lost + stamp.seq;
                return Ok(Resumed { after_ns: self.clock.now_ns() - killed_ns, lost });
            }
            if let Arrival::InOrder { lost } = self.place.arrived(stamp.seq) {
                self.lost += lost;
            }
        }
    }
}

impl Killed {
    pub(crate) fn verdicts(&self) -> [Verdict; 2] {
        [
            Verdict::at_most(
                "origin killed: p99 until bytes flow again",
                RESUMED_MS_MAX,
                self.resumed_us.p99 / 1e3,
                "ms",
            ),
            Verdict::at_most("origin killed: receivers that got nothing more", 0.0, self.forsaken as f64, ""),
        ]
    }

    /// Rows of a table in Markdown.
    pub(crate) fn rows(&self) -> String {
        let what = format!("origin killed {} times, until bytes flow again", self.kills);
        format!("| {what} | {} | {} |\n", self.receivers, times(&self.resumed_us))
    }
}
