//! A receiver's session: wait for a publication, follow it, be held when it vanishes, follow the next.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_proto::notice::{Notice, Start};
use relay_proto::websocket::{CacheChoice, Close, Form, Kind, Target};
use relay_proto::{KeyHash, api};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::channel::{Channel, Live, Stage};
use crate::clock::unix_ms;
use crate::feed::{End, Feed, FeedId};
use crate::fmp4::{Fmp4, Unavailable};
use crate::follower::{Announce, Follower, Pumped, StartAt};
use crate::keeper::{Ended, Session};
use crate::node::Node;

/// A receiver that has not skipped for this long is forgiven.
const SKIPS_FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// How often a receiver that asked for notices gets [`Notice::Stats`].
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs a receiver's session to its end.
pub(crate) async fn run(
    session: &mut Session,
    channel: &Arc<Channel>,
    target: &Target,
    key: KeyHash,
) -> Ended {
    let max = session.node.config.receivers_per_channel_max;
    let Some(_counted) = channel.admit_receiver(max) else {
        return Close::Full { retry_after_ms: session.node.retry_after_ms() }.into();
    };
    let mut receiver = Receiver {
        target,
        key,
        channel,
        stage: channel.stage(),
        last: channel.missed(),
        served: false,
        notices: Notices { wanted: target.options.notices, node: Arc::clone(&session.node) },
        next_stats: Instant::now() + STATS_INTERVAL,
        clear_cache: target.kind == Kind::ReceiveClearCache,
        batch: Vec::new(),
    };
    match receiver.receive(session).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

struct Receiver<'a> {
    target: &'a Target,
    key: KeyHash,
    channel: &'a Arc<Channel>,
    stage: watch::Receiver<Stage>,
    /// The feed that is or was followed, or the last one that was over before this receiver came.
    last: FeedId,
    /// Whether one was followed.
    served: bool,
    notices: Notices,
    next_stats: Instant,
    /// Still to be done; once, whatever the number of publications that are followed.
    clear_cache: bool,
    /// Reused by every turn of catching up.
    batch: Vec<Bytes>,
}

impl Receiver<'_> {
    /// From publication to publication. The error is the session's end, and there is no other way out.
    async fn receive(&mut self, session: &mut Session) -> Result<Infallible, Ended> {
        let mut start = self.first_start();
        loop {
            let live = self.publication(session).await?;
            if !session.node.config.receive_policy.admits(&self.key, &live.key) {
                return Err(Close::WrongKey.into());
            }
            session.admit();
            self.last = live.feed.id();
            self.served = true;
            let end = match self.target.options.form {
                Form::Published => self.follow(session, &live.feed, &live.feed, start).await?,
                Form::Fmp4 => match self.as_fmp4(session, &live.feed).await? {
                    Some(fmp4) => {
                        let end = self.follow(session, &live.feed, fmp4.feed(), start).await?;
                        if fmp4.feed().ended() == Some(End::Lost) && live.feed.ended().is_none() {
                            // Not the publication ended but the remuxing: it met what it cannot carry.
                            return Err(Close::FormUnavailable.into());
                        }
                        end
                    }
                    None => live.feed.ended().unwrap_or(End::Lost),
                },
            };
            if end == End::Clean {
                // Whoever ends the publication may have ended this session for a reason of its own.
                return Err(session.outlet.dismissed().unwrap_or(Close::PublisherEnded).into());
            }
            start = StartAt::FirstJoin;
        }
    }

    /// Where this receiver starts in the first publication it meets.
    fn first_start(&mut self) -> StartAt {
        if !matches!(*self.stage.borrow(), Stage::Live(_)) {
            // Nothing is cached, and what will be is not for this receiver to clear.
            self.clear_cache = false;
            return StartAt::Beginning;
        }
        match self.target.options.cache {
            CacheChoice::Gop => StartAt::NewestJoin,
            CacheChoice::Live => StartAt::NextJoin,
            CacheChoice::Init => StartAt::InitThenNextJoin,
        }
    }

    /// Waits for the next publication. A receiver that followed one before waits no longer than the grace period.
    async fn publication(&mut self, session: &mut Session) -> Result<Live, Ended> {
        let mut held_until = self.served.then(|| Instant::now() + session.node.config.grace);
        loop {
            // Before the question, so that no change is missed after it.
            let held = match *self.stage.borrow_and_update() {
                Stage::Held(until) => Some(until),
                Stage::Live(_) | Stage::Vacant => None,
            };
            if let Some(live) = self.channel.publication_after(self.last) {
                return Ok(live);
            }
            if let Some(until) = held
                && self.served
            {
                held_until = Some(until);
                let grace_ms = until.saturating_duration_since(Instant::now()).as_millis();
                let grace_ms = u64::try_from(grace_ms).unwrap_or(u64::MAX);
                self.notices.send(session, || Notice::Held { grace_ms });
            }
            session.admit();
            tokio::select! {
                biased;
                ended = session.idle() => return Err(ended),
                _ = self.stage.changed() => {}
                () = sleep_until(held_until.unwrap_or_else(Instant::now)), if held_until.is_some() => {
                    return Err(Close::PublisherLost.into());
                }
            }
        }
    }

    /// The feed as fMP4; `None` when the publication ended before it was known what it is.
    async fn as_fmp4(&mut self, session: &mut Session, feed: &Arc<Feed>) -> Result<Option<Fmp4>, Ended> {
        let mut progress = feed.progress();
        loop {
            match feed.derived().acquire(feed) {
                Ok(Some(fmp4)) => return Ok(Some(fmp4)),
                Ok(None) if feed.ended().is_some() => return Ok(None),
                Ok(None) => {}
                Err(Unavailable) => return Err(Close::FormUnavailable.into()),
            }
            tokio::select! {
                biased;
                ended = session.idle() => return Err(ended),
                _ = progress.changed() => {}
            }
        }
    }

    /// Follows a feed until it has ended and everything of it is sent, or a newer one is there.
    async fn follow(
        &mut self,
        session: &mut Session,
        origin: &Feed,
        feed: &Arc<Feed>,
        start: StartAt,
    ) -> Result<End, Ended> {
        if self.notices.wanted {
            // A start is announced together with what the stream is, which its first bytes may not tell yet.
            tokio::select! {
                biased;
                ended = session.idle() => return Err(ended),
                () = feed.known() => {}
            }
        }
        let mut to_clear = std::mem::take(&mut self.clear_cache).then(|| origin.cached());
        let mut following = Follower::attach(feed, &session.outlet, start, &self.notices);
        let mut skips = Skips::default();
        let mut blocked = false;
        let mut more = true;
        loop {
            if more {
                let pumped = following.pump(&mut self.batch, &self.notices);
                // The batch holds chunks that the ring may let go of.
                self.batch.clear();
                blocked = pumped == Pumped::Blocked;
                more = pumped == Pumped::More;
                match pumped {
                    Pumped::Drained(end) => return Ok(end),
                    Pumped::Over => return Err(Ended::ConnectionLost),
                    Pumped::Waiting | Pumped::More | Pumped::Blocked => {}
                }
                if feed.ended().is_some() {
                    // Nobody else looks after a feed that has ended; what is owed of it is bounded as while it ran.
                    feed.tidy(usize::MAX);
                }
                // What came since then is what others wait for.
                if let Some(cached) = to_clear.take() {
                    origin.clear_cache(&cached);
                }
                let new = skips.note(following.skips(), Instant::now());
                session.node.metrics.skips.inc_by(new);
                if skips.held_against > session.node.config.skips_max {
                    return Err(Close::TooSlow.into());
                }
                if more {
                    tokio::task::consume_budget().await;
                    // Catching up must not keep the session from its heartbeats; look whether anything else is due.
                    if !self.due(session).await? {
                        continue;
                    }
                }
            }
            tokio::select! {
                biased;
                ended = session.keeper.upkeep() => return Err(ended),
                received = session.inbound.next() => {
                    if let Some(ended) = Ended::by(&received) {
                        return Err(ended);
                    }
                }
                _ = self.stage.changed() => {
                    self.stage.borrow_and_update();
                    match feed.ended() {
                        // What is left of a publication that ended cleanly is still owed.
                        Some(End::Clean) => more = true,
                        Some(End::Lost) if matches!(*self.stage.borrow(), Stage::Held(_)) => more = true,
                        // The change that made this feed the live one, seen late.
                        None if self.is_live(feed) => {}
                        _ => return Ok(End::Lost),
                    }
                }
                () = session.outlet.woken() => more = true,
                () = session.outlet.writable(), if blocked => more = true,
                () = sleep_until(self.next_stats), if self.notices.wanted => self.send_stats(session),
            }
        }
    }

    fn is_live(&self, feed: &Feed) -> bool {
        matches!(&*self.stage.borrow(), Stage::Live(live) if live.feed.id() == feed.id())
    }

    /// Whether something other than catching up needs a turn.
    async fn due(&mut self, session: &mut Session) -> Result<bool, Ended> {
        tokio::select! {
            biased;
            ended = session.keeper.upkeep() => Err(ended),
            received = session.inbound.next() => match Ended::by(&received) {
                Some(ended) => Err(ended),
                None => Ok(false),
            },
            changed = std::future::ready(self.stage.has_changed().unwrap_or(true)) => Ok(changed),
        }
    }

    fn send_stats(&mut self, session: &Session) {
        self.next_stats = Instant::now() + STATS_INTERVAL;
        let receivers = self.channel.receivers() as u64;
        self.notices.send(session, || Notice::Stats { server_time_ms: unix_ms(), receivers });
    }
}

/// What a receiver is told beside the stream, if it wants to be.
struct Notices {
    wanted: bool,
    node: Arc<Node>,
}

impl Notices {
    fn send(&self, session: &Session, notice: impl FnOnce() -> Notice) {
        if let Some(text) = self.text(notice) {
            session.outlet.text(&text);
        }
    }

    fn text(&self, notice: impl FnOnce() -> Notice) -> Option<String> {
        // A notice has neither a map with odd keys nor anything else that JSON could refuse.
        self.wanted.then(|| serde_json::to_string(&notice()).unwrap_or_default())
    }
}

impl Announce for Notices {
    fn start(&self, feed: &Feed) -> Option<String> {
        self.text(|| {
            let info = feed.info();
            Notice::Start(Start {
                epoch: feed.epoch(),
                container: info.as_ref().map_or("opaque", |info| info.container.name()).to_owned(),
                mime: info.as_ref().and_then(relay_media::Info::mime),
                tracks: info
                    .map(|info| info.tracks.iter().map(api::Track::from).collect())
                    .unwrap_or_default(),
                node: self.node.config.node_id.to_string(),
                server_time_ms: unix_ms(),
            })
        })
    }

    fn skip(&self) -> Option<String> {
        self.text(|| Notice::Skip { reason: "lag".to_owned() })
    }

    fn init_after_skip(&self) -> bool {
        self.wanted
    }
}

/// Skips that were not forgiven yet.
#[derive(Debug, Default)]
struct Skips {
    seen: u32,
    held_against: u32,
    last: Option<Instant>,
}

impl Skips {
    /// Takes the count of all skips so far. Tells how many are new.
    fn note(&mut self, total: u32, now: Instant) -> u64 {
        let new = total - self.seen;
        if new > 0 {
            if self.last.is_some_and(|last| now.duration_since(last) >= SKIPS_FORGIVEN_AFTER) {
                self.held_against = 0;
            }
            self.held_against += new;
            self.seen = total;
            self.last = Some(now);
        }
        u64::from(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_without_a_skip_forgives() {
        let mut skips = Skips::default();
        let mut held_against = |total, new| {
            assert_eq!(skips.note(total, Instant::now()), new);
            skips.held_against
        };
        assert_eq!(held_against(1, 1), 1);
        assert_eq!(held_against(3, 2), 3);
        tokio::time::advance(SKIPS_FORGIVEN_AFTER - Duration::from_secs(1)).await;
        assert_eq!(held_against(4, 1), 4);
        tokio::time::advance(SKIPS_FORGIVEN_AFTER).await;
        assert_eq!(held_against(4, 0), 4, "nothing is judged until the next skip");
        assert_eq!(held_against(5, 1), 1);
    }
}
