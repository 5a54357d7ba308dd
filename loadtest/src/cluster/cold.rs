//! Cold starts: how long the first receiver on a node waits for the first byte of a stream that another node has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{Client, Gone, Stream, ms_since};
use super::servers::Cluster;
use super::verdict::Verdict;
use super::{Error, Rounds, endpoint};
use crate::clock::Clock;
use crate::payload::GOP_MESSAGES;
use crate::progress::Steps;
use crate::report::Quantiles;

/// A tenth of a second: what people take for at once.
const FIRST_MS_MAX: f64 = 100.0;

/// Whoever waits for so long has lost.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Between two starts, so that they do not keep step with the streams.
const PAUSE_MS_MAX: u64 = 50;

/// Of a thousand cold starts few are more than a minute.
const LONGEST_US: u64 = 60_000_000;

/// Milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Cold {
    stream: Stream,
    pub(crate) starts: u64,
    /// From the start of the connection to the first binary message, which is the init.
    first_message_us: Quantiles,
    /// To the first picture.
    first_picture_us: Quantiles,
    /// Starts whose first picture was no key frame, or that had none.
    pub(crate) undecodable: u64,
}

/// Several channels a round, each of which is started once.
pub(crate) async fn measure(
    cluster: &Cluster,
    stream: Stream,
    channels: usize,
    rounds: Rounds,
) -> Result<Cold, Error> {
    let steps = Steps::new();
    let (mut messages, mut pictures) = (histogram(), histogram());
    let mut undecodable = 0;
    for round in 1..=rounds.rounds {
        let title = format!("cold starts, round {round} of {}", rounds.rounds);
        steps.now(title.clone());
        let clock = Clock::start();
        let name = format!("cold-{round}");
        let publish: Arc<[_]> = [endpoint(cluster.node(0), &name, "publish")].into();
        // Ended with the round.
        let mut publishers = JoinSet::new();
        for channel in 0..channels {
            let publish = Arc::clone(&publish);
            publishers.spawn(async move { stream.publish(&publish, channel, clock).await });
        }
        sleep(rounds.warmup).await;
        let receive = endpoint(cluster.node(1), &name, "receive");
        for channel in 0..channels {
            steps.now(format!("{title}, {} of {channels}", channel + 1));
            sleep(Duration::from_millis(fastrand::u64(..PAUSE_MS_MAX))).await;
            let started = timeout(WAIT_MAX, start(&receive, channel)).await;
            let start = started
                .map_err(|_| Error::Failed(format!("a cold start took more than {} s", WAIT_MAX.as_secs())))?
                .map_err(|gone| Error::Failed(format!("a receiver was sent away: {gone}")))?;
            messages.saturating_record((start.message_ms * 1e3) as u64);
            pictures.saturating_record((start.picture_ms * 1e3) as u64);
            undecodable += u64::from(!start.is_decodable);
        }
    }
    Ok(Cold {
        stream,
        starts: messages.len(),
        first_message_us: quantiles(&messages),
        first_picture_us: quantiles(&pictures),
        undecodable,
    })
}

struct Start {
    message_ms: f64,
    picture_ms: f64,
    is_decodable: bool,
}

async fn start(receive: &crate::plan::Endpoint, channel: usize) -> Result<Start, Gone> {
    let begun = Instant::now();
    let mut client = Client::connect(receive, channel).await?;
    let first = client.next().await?;
    let message_ms = ms_since(begun);
    let mut heard = first.clone();
    let stamp = loop {
        match heard.stamp {
            Some(stamp) => break stamp,
            None => heard = client.next().await?,
        }
    };
    let is_decodable = first.stamp.is_none() && stamp.seq.is_multiple_of(GOP_MESSAGES);
    Ok(Start { message_ms, picture_ms: ms_since(begun), is_decodable })
}

pub(super) fn histogram() -> hdrhistogram::Histogram<u64> {
    hdrhistogram::Histogram::new_with_max(LONGEST_US, 3).expect("bounds that hdrhistogram takes")
}

/// Of microseconds.
pub(super) fn quantiles(us: &hdrhistogram::Histogram<u64>) -> Quantiles {
    let at = |quantile| us.value_at_quantile(quantile) as f64;
    Quantiles { count: us.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999), max: us.max() as f64 }
}

impl Cold {
    pub(crate) fn verdicts(&self) -> [Verdict; 2] {
        [
            Verdict::at_most(
                "cold start: p99 of the first byte",
                FIRST_MS_MAX,
                self.first_message_us.p99 / 1e3,
                "ms",
            ),
            Verdict::at_most("cold starts that cannot be decoded", 0.0, self.undecodable as f64, ""),
        ]
    }

    /// Rows of a table in Markdown.
    pub(crate) fn rows(&self) -> String {
        let Self { starts, first_message_us, first_picture_us, .. } = self;
        format!(
            "| first byte of a cold start | {starts} | {} |\n| first picture of a cold start | {starts} | {} |\n",
            times(first_message_us),
            times(first_picture_us)
        )
    }
}

/// Cells of a table in Markdown.
pub(super) fn times(us: &Quantiles) -> String {
    let ms = |us: f64| format!("{:.1}", us / 1e3);
    format!("{} | {} | {}", ms(us.p50), ms(us.p99), ms(us.max))
}
