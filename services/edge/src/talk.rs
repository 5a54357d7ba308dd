//! How this node speaks to the others.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use relay_cluster::backbone::RequestError;
use relay_proto::backbone::{Peer, Request, to_json};
use serde::Serialize;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::metrics::Metrics;
use crate::node::Node;

/// What an answer of the registry or of another node may take at all.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a node that is asked for its publisher may say nothing until it is asked again; then twice as long, and so on. A
/// server notices within milliseconds that a process is gone, and a publisher seldom takes longer to answer a ping.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Asks another node.
pub(crate) async fn ask(
    node: &Node,
    peer: &Peer,
    request: &Request,
    within: Duration,
) -> Result<Bytes, RequestError> {
    let cluster = &node.cluster;
    let subject = cluster.subjects.node(&peer.node, peer.incarnation);
    cluster.backbone.request(&subject, to_json(request).into(), within).await
}

/// Says something to another node that needs no answer.
pub(crate) async fn tell(node: &Node, peer: &Peer, request: &Request) {
    let cluster = &node.cluster;
    let subject = cluster.subjects.node(&peer.node, peer.incarnation);
    // Whoever does not hear it learns it otherwise, only later.
    let _ = timeout(ANSWER_TIMEOUT, cluster.backbone.publish(&subject, None, to_json(request).into())).await;
}

/// Answers another node, if it wants an answer.
pub(crate) async fn answer<T: Serialize>(node: &Node, reply: Option<&str>, answer: &T) {
    if let Some(reply) = reply {
        let answered = node.cluster.backbone.publish(reply, None, to_json(answer).into());
        // Whoever gets no answer asks again.
        let _ = timeout(ANSWER_TIMEOUT, answered).await;
    }
}

/// What was read of a message, if this node understands it; else it is counted.
pub(crate) fn understood<T, E: std::fmt::Display>(metrics: &Metrics, read: Result<T, E>) -> Option<T> {
    read.inspect_err(|error| {
        metrics.messages_not_understood.inc();
        debug!(%error, "a message that is not understood");
    })
    .ok()
}

/// Asks a node that may have died just now. A request that its server took before it noticed is never answered, and one that
/// comes later is refused at once: so whoever says nothing is asked again, a few times and ever more rarely.
pub(crate) async fn ask_again<T, A>(within: Duration, mut ask: impl FnMut() -> A) -> Result<T, RequestError>
where
    A: Future<Output = Result<T, RequestError>>,
{
    let mut asked = FuturesUnordered::new();
    let mut pause = ASK_AGAIN;
    let answered = timeout(within, async {
        loop {
            asked.push(ask());
            tokio::select! {
                biased;
                Some(answer) = asked.next() => return answer,
                () = sleep(pause) => pause *= 2,
            }
        }
    });
    answered.await.unwrap_or(Err(RequestError::Timeout))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn a_node_that_died_as_it_was_asked_is_found_out_by_the_next_request() {
        let (began, asked) = (Instant::now(), Cell::new(0));
        let ask = || {
            asked.set(asked.get() + 1);
            let is_first = asked.get() == 1;
            async move { if is_first { pending().await } else { Err::<(), _>(RequestError::NoResponders) } }
        };
        assert!(matches!(ask_again(WITHIN, ask).await, Err(RequestError::NoResponders)));
        assert_eq!((began.elapsed(), asked.get()), (ASK_AGAIN, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_counts_whenever_it_comes() {
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            let number = asked.get();
            async move {
                match number {
                    1 => sleep(ASK_AGAIN * 5).await,
                    _ => pending().await,
                }
                Ok(number)
            }
        };
        assert!(matches!(ask_again(WITHIN, ask).await, Ok(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_says_nothing_is_asked_few_times() {
        let (began, asked) = (Instant::now(), Cell::new(0));
        let ask = || {
            asked.set(asked.get() + 1);
            pending::<Result<(), RequestError>>()
        };
        assert!(matches!(ask_again(WITHIN, ask).await, Err(RequestError::Timeout)));
        assert_eq!(began.elapsed(), WITHIN);
        assert_eq!(asked.get(), 6);
    }
}
