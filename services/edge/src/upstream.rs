//! Pulls a channel that somebody wants here and somebody publishes elsewhere: once, whatever the number of receivers.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ It subscribes before it asks, so nothing falls between what was cached and what comes by     │
//! │ itself. That a publication is over is said by its origin, never concluded from silence       │
//! │ before the grace period has passed.                                                          │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod order;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use relay_cluster::backbone::{Contact, Message, PublishError, RequestError, Subscription};
use relay_cluster::registry::{Attendance, Unavailable, View};
use relay_media::Container;
use relay_proto::Epoch;
use relay_proto::backbone::{
    Envelope, Found, From, Joined, Joiner, Kind, Origin, Peer, Progress, Request, from_json, parse_head,
    to_json,
};
use relay_proto::registry::LeaseRecord;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, info};

use self::order::{Beginning, Order, Step};
use crate::batch::BATCH_FRAMES_MAX;
use crate::channel::{Channel, Publication};
use crate::chunk::Chunk;
use crate::export::SYNC_INTERVAL;
use crate::feed;
use crate::lease::find;
use crate::metrics::Counted;
use crate::node::Node;
use crate::talk::{ANSWER_TIMEOUT, ask, tell, understood};

/// How long nothing may come of a snapshot that was asked for.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait with the next attempt where the origin is not there: every channel of a dead node asks.
const ABSENT_RETRY: Duration = Duration::from_secs(1);

/// How long to wait with the next attempt where this node could not ask, and with the next look at the registry that something
/// odd asks for.
const RETRY: Duration = Duration::from_millis(200);

/// Longest init and preamble together, beside a chunk.
const LEAD_BYTES_MAX: usize = 8 << 20;

/// Pulls a channel for as long as somebody wants it.
pub(crate) async fn run(node: Arc<Node>, channel: Arc<Channel>) {
    let _counted = Counted::new(node.metrics.upstreams.clone());
    let _abandoned = Abandoned(&channel);
    loop {
        let mut upstream = Upstream::new(&node, &channel);
        upstream.pull().await;
        upstream.leave().await;
        if channel.demand().retire() {
            return;
        }
    }
}

/// However the task ends, a channel that is wanted again gets another upstream.
struct Abandoned<'a>(&'a Channel);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.demand().abandon();
        }
    }
}

struct Upstream<'a> {
    node: &'a Arc<Node>,
    channel: &'a Arc<Channel>,
    order: Order,
    publication: Option<Publication>,
    joiner: Joiner,
    answers: Option<Answers>,
    /// To be asked when it is this node's turn.
    ask: Option<Ask>,
    /// Since when the origin has not answered.
    silent_since: Option<Instant>,
    look: Option<BoxFuture<'a, Looked>>,
    /// When a look is due that something odd asks for.
    look_at: Option<Instant>,
    sync: Option<BoxFuture<'a, (Epoch, Result<Progress, RequestError>)>>,
    /// Whether it was looked before.
    waited: bool,
}

/// What is to be asked of an origin.
struct Ask {
    ask: u64,
    epoch: Epoch,
    origin: Origin,
    from: From,
}

/// What comes of a snapshot.
struct Answers {
    ask: u64,
    messages: Subscription,
    joiner: Joiner,
    deadline: Instant,
    /// Others of this node wait for it.
    _turn: OwnedSemaphorePermit,
}

/// What was found of a channel.
enum Looked {
    Registry(View),
    /// The registry does not answer, but the origin does.
    Found(Found),
    Nothing(Unavailable),
}

/// What a turn brought.
enum Turn {
    Contact,
    /// A publication has begun or ended on this node, or this upstream has done something.
    Stage,
    Tick,
    Looked(Looked),
    Synced(Epoch, Result<Progress, RequestError>),
    Ask(OwnedSemaphorePermit),
    Unanswered(u64),
    Answers(u64, Vec<Message>),
    Messages(Vec<Message>),
    /// The subscription has ended.
    Over,
}

impl<'a> Upstream<'a> {
    fn new(node: &'a Arc<Node>, channel: &'a Arc<Channel>) -> Self {
        let joiner = Joiner::new(node.config.chunk_bytes_max);
        Self {
            node,
            channel,
            order: Order::new(channel.newest().epoch),
            publication: None,
            joiner,
            answers: None,
            ask: None,
            silent_since: None,
            look: None,
            look_at: None,
            sync: None,
            waited: false,
        }
    }

    /// Returns when nobody has wanted the channel for the linger.
    async fn pull(&mut self) {
        let channel = self.channel;
        let mut idle = pin!(channel.demand().idle_for(self.node.config.upstream_linger));
        let mut stage = channel.stage();
        let mut contact = self.node.cluster.backbone.contact();
        let mut tick = interval(SYNC_INTERVAL.min(self.node.config.registry_interval));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let subject = self.node.cluster.subjects.chunks(self.channel.name());
        let mut messages = None;
        loop {
            if self.channel.present().is_some() {
                // What is published here comes to nobody's ears but those of other nodes.
                messages = None;
            } else if messages.is_none() {
                // Where there is no connection: again with the next news of it, or the next tick.
                let subscribed =
                    timeout(ANSWER_TIMEOUT, self.node.cluster.backbone.subscribe(&subject)).await;
                messages = subscribed.ok().and_then(Result::ok).map(|new| new.ready_chunks(BATCH_FRAMES_MAX));
            }
            let mut next = messages.as_mut().map(StreamExt::next);
            let turn = tokio::select! {
                biased;
                () = &mut idle => return,
                _ = contact.changed() => Turn::Contact,
                _ = stage.changed() => Turn::Stage,
                _ = tick.tick() => Turn::Tick,
                turn = self.awaited() => turn,
                messages = or_pending(&mut next) => messages.map_or(Turn::Over, Turn::Messages),
            };
            if matches!(turn, Turn::Over) {
                messages = None;
            }
            self.take(turn, &mut contact).await;
        }
    }

    /// The next thing that was asked for. Safe to cancel.
    async fn awaited(&mut self) -> Turn {
        let deadline = self.answers.as_ref().map(|answers| answers.deadline);
        let look_at = self.look_at.filter(|_| self.look.is_none());
        tokio::select! {
            biased;
            looked = or_pending(&mut self.look) => {
                self.look = None;
                Turn::Looked(looked)
            }
            (epoch, progress) = or_pending(&mut self.sync) => {
                self.sync = None;
                Turn::Synced(epoch, progress)
            }
            () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {
                self.look_at = None;
                Turn::Tick
            }
            Ok(turn) = Arc::clone(&self.node.cluster.asks).acquire_owned(), if self.ask.is_some() => Turn::Ask(turn),
            (ask, messages) = next_answers(&mut self.answers) => Turn::Answers(ask, messages),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                Turn::Unanswered(self.answers.as_ref().map_or(0, |answers| answers.ask))
            }
        }
    }

    async fn take(&mut self, turn: Turn, contact: &mut watch::Receiver<Contact>) {
        let mut steps = Vec::new();
        if let Some(present) = self.channel.present() {
            self.order.superseded(present.epoch);
            self.publication = None;
        }
        match turn {
            Turn::Over => {}
            Turn::Stage => {
                if !self.channel.is_live() {
                    // Whatever was said while this node published itself was not heard.
                    self.look_soon();
                }
            }
            Turn::Contact => {
                if contact.borrow_and_update().connected {
                    // All upstreams of the node hear of it at once.
                    self.look_within(self.node.spread(self.node.metrics.upstreams.get()));
                }
            }
            Turn::Tick => {
                self.start_look();
                self.start_sync();
            }
            Turn::Looked(looked) => self.looked(looked, &mut steps),
            Turn::Synced(epoch, progress) => self.synced(epoch, progress, &mut steps),
            Turn::Ask(turn) => self.send_ask(turn).await,
            Turn::Unanswered(ask) => self.order.unanswered(ask, &mut steps),
            Turn::Answers(ask, messages) => {
                for message in messages {
                    self.answered(ask, message, &mut steps);
                }
            }
            Turn::Messages(messages) => {
                for message in messages {
                    self.heard(message, &mut steps);
                }
            }
        }
        for step in steps {
            self.step(step).await;
        }
        if self.answers.as_ref().is_some_and(|answers| self.order.asked() != Some(answers.ask)) {
            self.answers = None;
        }
        if let Some(publication) = &mut self.publication {
            publication.deliver();
        }
        self.channel.demand().set_pulled(self.publication.is_some());
    }

    /// Says that the channel is wanted, and looks who publishes on it.
    fn start_look(&mut self) {
        if self.look.is_some() {
            return;
        }
        let (node, channel) = (self.node, self.channel);
        // Longer than it takes to say so again, even where one time is lost.
        let ttl = node.cluster.terms.ttl;
        self.look = Some(
            async move {
                let cluster = &node.cluster;
                let attendance = Attendance::Wanted(&cluster.peer.node, ttl);
                let unavailable = match cluster.registry.attend(channel.name(), attendance).await {
                    Ok(view) => return Looked::Registry(view),
                    Err(unavailable) => unavailable,
                };
                match find(node, channel.name()).await {
                    Ok(found) => Looked::Found(found),
                    Err(_) => Looked::Nothing(unavailable),
                }
            }
            .boxed(),
        );
    }

    /// Asks the origin how far it is, which also tells it to go on.
    fn start_sync(&mut self) {
        let Some((epoch, origin)) = self.order.following().filter(|_| self.sync.is_none()) else { return };
        let (node, by, peer) = (self.node, self.node.cluster.peer.clone(), origin.peer.clone());
        let request = Request::Sync { channel: self.channel.name().clone(), epoch, by };
        self.sync = Some(
            async move {
                let answer = ask(node, &peer, &request, ANSWER_TIMEOUT).await;
                let progress =
                    answer.and_then(|answer| from_json(&answer).map_err(|_| RequestError::Timeout));
                (epoch, progress)
            }
            .boxed(),
        );
    }

    fn looked(&mut self, looked: Looked, steps: &mut Vec<Step>) {
        // What is found first was there before anybody waited here; what is found later has begun since.
        let from = if std::mem::replace(&mut self.waited, true) { From::Start } else { From::Newest };
        match looked {
            Looked::Registry(view) => {
                for (key, ttl) in view.bans {
                    self.node.sessions.ban(self.channel.name(), key, ttl);
                }
                let lease = view.lease.filter(LeaseRecord::is_live);
                if let Some(lease) = lease {
                    let peer = Peer { node: lease.node, incarnation: lease.incarnation };
                    if peer != self.node.cluster.peer {
                        self.order.live(lease.epoch, Origin { peer, key: lease.key }, from, steps);
                    }
                }
                self.give_up(steps);
            }
            Looked::Found(Found { origin, epoch }) => {
                if origin.peer != self.node.cluster.peer {
                    self.order.live(epoch, origin, from, steps);
                }
            }
            Looked::Nothing(error) => {
                self.node.metrics.registry_errors.inc();
                debug!(channel = self.channel.name().as_str(), %error, "nobody knows who publishes");
                self.give_up(steps);
            }
        }
    }

    /// Whether the origin has been silent for as long as receivers are held. Not sooner: should it come back, they go on where
    /// they were, and none of them gets anything twice.
    fn give_up(&mut self, steps: &mut Vec<Step>) {
        let Some(since) = self.silent_since else { return };
        if since.elapsed() >= self.node.config.grace {
            self.order.lose(steps);
            self.silent_since = None;
            if let Some(publication) = &mut self.publication {
                // The grace period has begun when the origin fell silent.
                publication.shorten_grace(since.elapsed());
            }
        }
    }

    fn synced(&mut self, epoch: Epoch, progress: Result<Progress, RequestError>, steps: &mut Vec<Step>) {
        match progress {
            Ok(progress) => {
                self.silent_since = None;
                self.order.progress(epoch, progress, steps);
            }
            Err(error) => {
                debug!(channel = self.channel.name().as_str(), %error, "origin not reached");
                self.silent_since.get_or_insert_with(Instant::now);
                self.look_soon();
            }
        }
    }

    /// A message that came by itself.
    fn heard(&mut self, message: Message, steps: &mut Vec<Step>) {
        let metrics = &self.node.metrics;
        let Some(body) = understood(metrics, Envelope::open(message.payload)) else { return };
        let Joined::Whole(body) = self.joiner.push(body) else { return };
        let envelope = body.envelope;
        match envelope.kind {
            Kind::Chunk => {
                if envelope.epoch == self.order.epoch() {
                    self.silent_since = None;
                }
                self.order.chunk(envelope.epoch, envelope.seq, envelope.flags, body.bytes, steps);
            }
            Kind::Begin => match understood(metrics, from_json::<Origin>(&body.bytes)) {
                Some(origin) if origin.peer != self.node.cluster.peer => {
                    self.order.live(envelope.epoch, origin, From::Start, steps);
                }
                _ => {}
            },
            Kind::End => self.order.ended(envelope.epoch, envelope.seq, envelope.flags.clean, steps),
            Kind::Head | Kind::Unknown => {}
        }
    }

    /// A message of a snapshot.
    fn answered(&mut self, ask: u64, message: Message, steps: &mut Vec<Step>) {
        let Some(answers) = self.answers.as_mut().filter(|answers| answers.ask == ask) else { return };
        if message.no_responders {
            self.silent_since.get_or_insert_with(Instant::now);
            answers.deadline = Instant::now() + ABSENT_RETRY;
            return;
        }
        answers.deadline = Instant::now() + SNAPSHOT_TIMEOUT;
        let metrics = &self.node.metrics;
        let Some(body) = understood(metrics, Envelope::open(message.payload)) else { return };
        let Joined::Whole(body) = answers.joiner.push(body) else { return };
        self.silent_since = None;
        match body.envelope.kind {
            Kind::Head => {
                if let Some((head, init, preamble)) = understood(metrics, parse_head(&body.bytes)) {
                    let (init, preamble) = (body.bytes.slice_ref(init), body.bytes.slice_ref(preamble));
                    self.order.head(ask, head, init, preamble, steps);
                }
            }
            Kind::Chunk => self.order.snapshot(ask, body.envelope.seq, body.bytes, steps),
            Kind::Unknown => self.order.unknown(body.envelope.epoch, steps),
            Kind::Begin | Kind::End => {}
        }
    }

    async fn step(&mut self, step: Step) {
        let metrics = &self.node.metrics;
        match step {
            Step::Ask { ask, epoch, origin, from } => {
                self.answers = None;
                self.ask = Some(Ask { ask, epoch, origin, from });
            }
            Step::Begin { epoch, origin, at, chunk } => self.begin(epoch, origin, at, &chunk),
            Step::Append(chunk) => {
                if let Some(publication) = &mut self.publication {
                    publication.append(Chunk::copy_from(&chunk));
                }
            }
            Step::Finish => {
                if let Some(mut publication) = self.publication.take() {
                    publication.deliver();
                    publication.finish();
                }
            }
            Step::Lose => {
                if let Some(mut publication) = self.publication.take() {
                    publication.deliver();
                }
            }
            Step::Look => self.look_soon(),
            Step::Healed => metrics.gaps.with_label_values(&["healed"]).inc(),
            Step::Stale(origin) => {
                metrics.stale.inc();
                if let Some(origin) = origin {
                    // A registry that has forgotten the newer publication would let it go on for ever.
                    let channel = self.channel.name().clone();
                    tell(self.node, &origin, &Request::Replaced { channel, epoch: self.order.epoch() }).await;
                }
            }
        }
    }

    fn look_soon(&mut self) {
        self.look_within(RETRY);
    }

    fn look_within(&mut self, delay: Duration) {
        self.look_at.get_or_insert_with(|| Instant::now() + delay);
    }

    async fn send_ask(&mut self, turn: OwnedSemaphorePermit) {
        let Some(Ask { ask, epoch, origin, from }) = self.ask.take() else { return };
        if self.order.asked() != Some(ask) {
            return;
        }
        let cluster = &self.node.cluster;
        let inbox = cluster.backbone.inbox();
        let request =
            Request::Snapshot { channel: self.channel.name().clone(), epoch, by: cluster.peer.clone(), from };
        let subject = cluster.subjects.node(&origin.peer.node, origin.peer.incarnation);
        debug!(channel = self.channel.name().as_str(), %epoch, origin = %origin.peer.node, ?from, "snapshot asked for");
        let asked = timeout(ANSWER_TIMEOUT, async {
            let messages = cluster.backbone.subscribe(&inbox).await?;
            cluster.backbone.publish(&subject, Some(&inbox), to_json(&request).into()).await?;
            Ok::<_, PublishError>(messages)
        });
        let (messages, within) = match asked.await {
            Ok(Ok(messages)) => (messages, SNAPSHOT_TIMEOUT),
            Ok(Err(_)) | Err(_) => (futures_util::stream::pending().boxed(), RETRY),
        };
        let joiner = Joiner::new(self.node.config.chunk_bytes_max.max(LEAD_BYTES_MAX));
        let deadline = Instant::now() + within;
        self.answers = Some(Answers { ask, messages, joiner, deadline, _turn: turn });
    }

    fn begin(&mut self, epoch: Epoch, origin: Origin, at: Beginning, chunk: &Bytes) {
        let chunk = Chunk::copy_from(chunk);
        let mut first = Some(chunk);
        let beginning = match at {
            Beginning::Start => None,
            Beginning::Join { first: number, container, offset, init, preamble } => {
                let beginning = feed::Beginning {
                    first: number,
                    // One that this version does not know.
                    container: container.parse().unwrap_or(Container::Opaque),
                    offset: usize::try_from(offset).unwrap_or(usize::MAX),
                    init,
                    preamble,
                };
                first.take().map(|chunk| (beginning, chunk))
            }
        };
        let Origin { peer, key } = origin;
        let grace = self.node.config.grace;
        let goes_on = self.publication.as_ref().is_some_and(|before| before.epoch() == epoch);
        if goes_on {
            // First, so that whoever has seen the hole finds it counted.
            self.node.metrics.gaps.with_label_values(&["skipped"]).inc();
            info!(channel = self.channel.name().as_str(), %epoch, "chunks left out between nodes");
        } else {
            info!(channel = self.channel.name().as_str(), %epoch, origin = %peer.node, "publication pulled");
        }
        let begun = self.channel.begin_elsewhere(peer.node, epoch, key, grace, beginning);
        let before = std::mem::replace(&mut self.publication, begun);
        if let Some(before) = before.filter(|_| goes_on) {
            before.supersede();
        }
        if let (Some(publication), Some(chunk)) = (&mut self.publication, first) {
            publication.append(chunk);
        }
    }

    /// Tells origin and registry that the channel is not wanted any more.
    async fn leave(mut self) {
        if let Some(mut publication) = self.publication.take() {
            // First, so that whoever comes now does not begin with what is not pulled any more. Nobody is held for it.
            publication.shorten_grace(Duration::MAX);
        }
        let cluster = &self.node.cluster;
        if let Some((epoch, origin)) = self.order.following() {
            let (channel, by) = (self.channel.name().clone(), cluster.peer.clone());
            tell(self.node, &origin.peer, &Request::Leave { channel, epoch, by }).await;
        }
        // Whom this does not reach learns it by our silence.
        let _ = cluster.registry.attend(self.channel.name(), Attendance::Left(&cluster.peer.node)).await;
    }
}

async fn next_answers(answers: &mut Option<Answers>) -> (u64, Vec<Message>) {
    let Some(Answers { ask, messages, .. }) = answers else { return pending().await };
    let Some(first) = messages.next().await else { return pending().await };
    let mut batch = vec![first];
    while batch.len() < BATCH_FRAMES_MAX
        && let Some(Some(message)) = messages.next().now_or_never()
    {
        batch.push(message);
    }
    (*ask, batch)
}

async fn or_pending<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}
