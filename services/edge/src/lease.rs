//! The right to be a channel's origin: asked for when a publisher comes, renewed while it is there, given back when it goes.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Nobody publishes without a lease. A lease that was lost ends its publication; a registry that │
//! │ does not answer ends nothing.                                                                │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use relay_cluster::backbone::RequestError;
use relay_cluster::registry::holder::{Holder, Verdict};
use relay_cluster::registry::{Acquired, Attendance, Lease, Release};
use relay_proto::backbone::{Challenged, Found, Origin, Peer, Request, from_json, to_json};
use relay_proto::websocket::Close;
use relay_proto::{ChannelName, Epoch, KeyHash};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::channel::Channel;
use crate::config::PublisherPolicy;
use crate::metrics::Counted;
use crate::node::Node;
use crate::talk::{ANSWER_TIMEOUT, answer, ask, ask_again, tell, understood};

/// How long an origin has to say who it is. One that is not there costs nothing, and one that is stopped no more than this.
const FIND_TIMEOUT: Duration = Duration::from_secs(1);

/// Times that a claimant looks again because somebody was faster. A hundred publishers at once need a few.
const ATTEMPTS_MAX: usize = 16;

/// How many renewals there are between two looks whether the key was banned meanwhile. A node that hears commands knows it at
/// once.
const RENEWALS_PER_LOOK: u32 = 5;

/// The other nodes are told again who publishes no more often than this.
const TELL_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// A lease of this node.
#[derive(Debug)]
pub(crate) struct Tenure {
    node: Arc<Node>,
    lease: Lease,
    _counted: Counted,
}

/// What is known of the publisher that has the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incumbency {
    /// It sends media, or answers.
    Lives,
    /// It does neither.
    Stalled,
    /// It is not there any more.
    Gone,
    /// Nobody knows.
    Unknown,
}

impl Tenure {
    /// Asks for the lease of a channel. Of any number of claims at once, on any nodes, exactly one is granted at a time.
    ///
    /// # Errors
    /// With what the publisher is to be closed.
    pub(crate) async fn acquire(
        node: &Arc<Node>,
        channel: &Arc<Channel>,
        key: KeyHash,
    ) -> Result<Self, Close> {
        let cluster = &node.cluster;
        let busy = || Close::Busy { retry_after_ms: node.retry_after_ms() };
        let mut claim = cluster.claim(channel.name(), key, channel.newest().epoch);
        let mut challenged = false;
        let mut replaced = None;
        // The registry may have forgotten it, or have no news of it.
        if let Ok(found) = find(node, channel.name()).await {
            if found.origin.key != key {
                return Err(busy());
            }
            match may_replace(node, channel, &found.origin.peer, found.epoch).await {
                Replace::Yes => {
                    claim.replaces = Some(found.epoch);
                    claim.exceeds = claim.exceeds.max(found.epoch);
                    replaced = Some(found.origin.peer);
                }
                Replace::AskAgain if find(node, channel.name()).await.is_err() => {}
                Replace::AskAgain | Replace::No => return Err(busy()),
            }
            challenged = true;
        }
        for _ in 0..ATTEMPTS_MAX {
            let record = match cluster.registry.acquire(&claim).await {
                Ok(Acquired::Granted(epoch)) => {
                    if let Some(peer) = replaced {
                        tell_replaced(node, channel, &peer, epoch).await;
                    }
                    let lease = cluster.lease(claim, epoch);
                    let counted = Counted::new(node.metrics.leases.clone());
                    return Ok(Self { node: Arc::clone(node), lease, _counted: counted });
                }
                Ok(Acquired::Taken(record)) => record,
                Ok(Acquired::Banned(_)) => return Err(Close::Banned),
                Err(error) => {
                    node.metrics.registry_errors.inc();
                    warn!(channel = channel.name().as_str(), %error, "lease not asked for");
                    return Err(Close::Unavailable { retry_after_ms: node.retry_after_ms() });
                }
            };
            // It lives after all, or somebody newer was faster.
            if node.config.publisher_policy == PublisherPolicy::TakeoverIfStalled && challenged {
                return Err(busy());
            }
            if record.key != key || !record.is_live() {
                return Err(busy());
            }
            let peer = Peer { node: record.node, incarnation: record.incarnation };
            claim.replaces = match may_replace(node, channel, &peer, record.epoch).await {
                Replace::Yes => {
                    replaced = Some(peer);
                    Some(record.epoch)
                }
                Replace::AskAgain => None,
                Replace::No => return Err(busy()),
            };
            challenged = true;
        }
        Err(busy())
    }

    /// The publication's number.
    pub(crate) fn epoch(&self) -> Epoch {
        self.lease.epoch
    }

    /// Keeps the lease for as long as it is polled, and is there for whoever looks for the origin. Returns with what the
    /// publisher is to be closed with, when somebody has a newer lease or its key is banned.
    pub(crate) async fn keep(&self) -> Close {
        tokio::select! {
            close = self.renew() => close,
            never = self.be_found() => match never {},
        }
    }

    async fn be_found(&self) -> Infallible {
        let cluster = &self.node.cluster;
        let subject = cluster.subjects.origin(&self.lease.channel);
        let origin = Origin { peer: cluster.peer.clone(), key: self.lease.key };
        let found = Found { origin, epoch: self.lease.epoch };
        let mut contact = cluster.backbone.contact();
        loop {
            contact.borrow_and_update();
            if let Ok(mut requests) = cluster.backbone.subscribe(&subject).await {
                while let Some(request) = requests.next().await {
                    answer(&self.node, request.reply.as_deref(), &found).await;
                }
            }
            // Without a connection nobody looks.
            let _ = timeout(ANSWER_TIMEOUT, contact.changed()).await;
        }
    }

    async fn renew(&self) -> Close {
        let cluster = &self.node.cluster;
        let interval = self.node.config.registry_interval;
        let mut contact = cluster.backbone.contact();
        let mut told = 0;
        let mut next_tell = Instant::now();
        let mut renewals = 0;
        let granted = Instant::now();
        let since = |at: Instant| u64::try_from((at - granted).as_millis()).unwrap_or(u64::MAX);
        let mut holder = Holder::new(interval, 0);
        loop {
            let now = *contact.borrow_and_update();
            if now.connected && now.generation != told {
                // Each message that is lost somewhere is news of the backbone, and there may be many.
                sleep_until(next_tell).await;
                next_tell = Instant::now() + interval.min(TELL_INTERVAL_MAX);
                told = now.generation;
                // Whoever was cut off from the backbone has not heard who publishes.
                let subject = cluster.subjects.chunks(&self.lease.channel);
                let begin = cluster.begin(self.lease.epoch, self.lease.key);
                let _ = timeout(ANSWER_TIMEOUT, cluster.backbone.publish(&subject, None, begin)).await;
            }
            tokio::select! {
                _ = contact.changed() => {
                    // All leases of the node hear of it at once.
                    next_tell = next_tell.max(Instant::now() + self.node.spread(self.node.metrics.leases.get()));
                    continue;
                }
                () = sleep_until(granted + Duration::from_millis(holder.next_renewal())) => {}
            }
            renewals += 1;
            if renewals % RENEWALS_PER_LOOK == 0 && self.is_banned().await {
                return Close::Banned;
            }
            let answer = cluster.registry.renew(&self.lease).await;
            if let Err(error) = &answer {
                self.node.metrics.registry_errors.inc();
                debug!(channel = self.lease.channel.as_str(), %error, "lease not renewed");
            }
            match holder.renewed(since(Instant::now()), &answer) {
                Verdict::Keep => {}
                Verdict::Lost(epoch) => {
                    self.node.metrics.leases_lost.inc();
                    info!(channel = self.lease.channel.as_str(), lost = %self.lease.epoch, %epoch, "lease lost");
                    return Close::Replaced;
                }
            }
        }
    }

    async fn is_banned(&self) -> bool {
        let Lease { channel, key, .. } = &self.lease;
        let looked = self.node.cluster.registry.attend(channel, Attendance::Look).await;
        looked.is_ok_and(|view| view.bans.iter().any(|(banned, _)| banned == key))
    }

    /// Gives the lease back. Where the registry does not answer, it ends by itself.
    pub(crate) async fn release(self, release: Release) {
        let released =
            timeout(ANSWER_TIMEOUT, self.node.cluster.registry.release(&self.lease, release)).await;
        if !matches!(released, Ok(Ok(()))) {
            self.node.metrics.registry_errors.inc();
            debug!(channel = self.lease.channel.as_str(), "lease not given back");
        }
    }
}

/// Whether a claimant may replace the publisher that has the channel.
enum Replace {
    Yes,
    /// It lives; but what was heard may have been its farewell.
    AskAgain,
    No,
}

async fn may_replace(node: &Node, channel: &Channel, peer: &Peer, epoch: Epoch) -> Replace {
    let policy = node.config.publisher_policy;
    let incumbency = match policy {
        PublisherPolicy::Takeover => return Replace::Yes,
        PublisherPolicy::Reject => presence(node, channel, peer, epoch).await,
        PublisherPolicy::TakeoverIfStalled => challenge(node, channel, peer, epoch).await,
    };
    match (policy, incumbency) {
        (_, Incumbency::Gone) | (PublisherPolicy::TakeoverIfStalled, Incumbency::Stalled) => Replace::Yes,
        (PublisherPolicy::TakeoverIfStalled, Incumbency::Lives) => Replace::AskAgain,
        _ => Replace::No,
    }
}

/// Asks a channel's origin who it is. Where nobody publishes that is told at once.
pub(crate) async fn find(node: &Node, channel: &ChannelName) -> Result<Found, RequestError> {
    let cluster = &node.cluster;
    let find = Bytes::from(to_json(&Request::Find { channel: channel.clone() }));
    let subject = cluster.subjects.origin(channel);
    let ask = || cluster.backbone.request(&subject, find.clone(), FIND_TIMEOUT);
    let answer = ask_again(FIND_TIMEOUT, ask).await?;
    understood(&node.metrics, from_json(&answer)).ok_or(RequestError::Timeout)
}

/// Whether the publisher of a lease is alive, by asking the node that has it.
async fn challenge(node: &Node, channel: &Channel, peer: &Peer, epoch: Epoch) -> Incumbency {
    let challenge = Request::Challenge { channel: channel.name().clone(), epoch };
    let within = node.config.challenge_timeout + ANSWER_TIMEOUT;
    match locate(node, peer) {
        Located::Here => own_incumbency(node, channel, epoch).await,
        Located::Past => Incumbency::Gone,
        Located::Elsewhere => match ask_again(within, || ask(node, peer, &challenge, within)).await {
            Ok(answer) => match from_json::<Challenged>(&answer) {
                Ok(Challenged { lives: true }) | Err(_) => Incumbency::Lives,
                Ok(Challenged { lives: false }) => Incumbency::Stalled,
            },
            Err(RequestError::NoResponders) => Incumbency::Gone,
            Err(RequestError::Timeout) => Incumbency::Stalled,
            Err(RequestError::Disconnected(_) | RequestError::TooLong) => Incumbency::Unknown,
        },
    }
}

/// Whether the node that has a lease is there at all.
async fn presence(node: &Node, channel: &Channel, peer: &Peer, epoch: Epoch) -> Incumbency {
    match locate(node, peer) {
        Located::Here => match channel.present() {
            Some(present) if present.epoch == epoch => Incumbency::Lives,
            _ => Incumbency::Gone,
        },
        Located::Past => Incumbency::Gone,
        Located::Elsewhere => match challenge(node, channel, peer, epoch).await {
            Incumbency::Gone => Incumbency::Gone,
            _ => Incumbency::Lives,
        },
    }
}

/// Whether a publisher of this node is alive.
pub(crate) async fn own_incumbency(node: &Node, channel: &Channel, epoch: Epoch) -> Incumbency {
    match channel.present() {
        Some(present) if present.epoch == epoch => {
            let stalls = present.silent > node.config.publisher_stall_timeout;
            match !stalls && present.incumbent.answers(node.config.challenge_timeout).await {
                true => Incumbency::Lives,
                false => Incumbency::Stalled,
            }
        }
        _ => Incumbency::Gone,
    }
}

enum Located {
    Here,
    /// On this node before it was started again.
    Past,
    Elsewhere,
}

fn locate(node: &Node, peer: &Peer) -> Located {
    let own = &node.cluster.peer;
    if peer.node != own.node {
        Located::Elsewhere
    } else if peer.incarnation == own.incarnation {
        Located::Here
    } else {
        Located::Past
    }
}

async fn tell_replaced(node: &Node, channel: &Channel, peer: &Peer, epoch: Epoch) {
    if *peer != node.cluster.peer {
        tell(node, peer, &Request::Replaced { channel: channel.name().clone(), epoch }).await;
    }
}
