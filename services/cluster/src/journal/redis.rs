//! The journal of a cluster of processes: keys and scripts of [`relay_proto::journal`] in Redis. Holds nothing of what happened;
//! what it says is what Redis said.
//!
//! It has a connection of its own, so that many events never delay a lease.

mod reply;

use std::time::Duration;

use futures_util::FutureExt;
use relay_proto::Incarnation;
use relay_proto::backbone::Peer;
use relay_proto::event::{EventId, Fact, NodePhase};
use relay_proto::journal::{
    FACTS_MAX, KEPT_MS, Keys, NOTED_MAX, READ_MAX, REMEMBERED_MS, RUNS_MAX, SUBJECTS_MAX, script,
};
use relay_proto::registry::Role;

use super::{ASSERTED_FOR, Delivered, EVENTS_MAX, Journal, Reading, cut_reason, is_epoch};
use crate::redis::{Config, ConfigError, Link, Script};
use crate::registry::{Answer, ms};

/// What one step of a burial, or of what expires, ends at most: as much as a call may say.
const STEP_MAX: usize = FACTS_MAX;

/// A journal in Redis.
#[derive(Debug)]
pub struct RedisJournal {
    link: Link,
    keys: Keys,
    scripts: Scripts,
}

#[derive(Debug)]
struct Scripts {
    record: Script,
    bury: Script,
    expire: Script,
    read: Script,
    hold: Script,
    release: Script,
    delivered: Script,
    note: Script,
    advance: Script,
}

impl RedisJournal {
    /// Parses, and reads the CA file. The first call connects.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let link = config.link("journal")?;
        Ok(Self { link, keys: Keys::new(config.cluster), scripts: Scripts::new() })
    }

    /// Takes steps until there is nothing more to do.
    async fn to_the_end(
        &self,
        script: &Script,
        args: Vec<String>,
    ) -> Result<(), crate::registry::Unavailable> {
        loop {
            if self.link.run(script, self.keys.all(), rules(args.clone()), reply::is_done).await? {
                return Ok(());
            }
        }
    }
}

impl Journal for RedisJournal {
    fn record<'a>(&'a self, facts: &'a [Fact]) -> Answer<'a, Option<EventId>> {
        async move {
            let mut last = None;
            for facts in facts.chunks(FACTS_MAX) {
                let args = rules(facts.iter().filter_map(words).flatten().collect());
                let told = self.link.run(&self.scripts.record, self.keys.all(), args, reply::told).await?;
                last = told.or(last);
            }
            Ok(last)
        }
        .boxed()
    }

    fn read(&self, after: EventId, max: usize) -> Answer<'_, Reading> {
        async move {
            let max = max.clamp(1, READ_MAX).to_string();
            let mut from = after;
            let mut gap = false;
            loop {
                let args = vec![from.to_string(), max.clone()];
                let page =
                    self.link.run(&self.scripts.read, vec![self.keys.log()], args, reply::page).await?;
                gap |= page.gap;
                match page.last {
                    // Only events of kinds that this program does not know: what it knows may come after them.
                    Some(last) if page.events.is_empty() => from = last,
                    _ => return Ok(Reading { events: page.events, gap }),
                }
            }
        }
        .boxed()
    }

    fn newest(&self) -> Answer<'_, EventId> {
        let mut look = redis::cmd("XREVRANGE");
        look.arg(self.keys.log()).arg("+").arg("-").arg("COUNT").arg(1);
        self.link.call(async move |mut connection| Ok(reply::newest(connection.query(&look).await?)?)).boxed()
    }

    fn bury<'a>(&'a self, peer: &'a Peer) -> Answer<'a, ()> {
        let args = vec![peer.node.to_string(), peer.incarnation.to_string(), STEP_MAX.to_string()];
        self.to_the_end(&self.scripts.bury, args).boxed()
    }

    fn expire(&self) -> Answer<'_, ()> {
        self.to_the_end(&self.scripts.expire, vec![STEP_MAX.to_string()]).boxed()
    }

    fn hold<'a>(&'a self, duty: &'a str, holder: Incarnation, ttl: Duration) -> Answer<'a, bool> {
        // Redis takes no time that is none.
        let args = vec![holder.to_string(), ms(ttl).max(1).to_string()];
        self.link.run(&self.scripts.hold, vec![self.keys.duty(duty)], args, reply::held)
    }

    fn release<'a>(&'a self, duty: &'a str, holder: Incarnation) -> Answer<'a, ()> {
        let args = vec![holder.to_string()];
        self.link.run(&self.scripts.release, vec![self.keys.duty(duty)], args, reply::released)
    }

    fn delivered<'a>(&'a self, endpoint: &'a str) -> Answer<'a, Delivered> {
        let args = vec![KEPT_MS.to_string()];
        self.link.run(&self.scripts.delivered, vec![self.keys.delivered(endpoint)], args, reply::delivered)
    }

    fn note_delivered<'a>(&'a self, endpoint: &'a str, subject: &'a str, id: EventId) -> Answer<'a, ()> {
        let args = vec![subject.to_owned(), id.to_string(), NOTED_MAX.to_string(), KEPT_MS.to_string()];
        self.link.run(&self.scripts.note, vec![self.keys.delivered(endpoint)], args, reply::noted)
    }

    fn advance_delivered<'a>(&'a self, endpoint: &'a str, through: EventId) -> Answer<'a, ()> {
        let args = vec![through.to_string(), KEPT_MS.to_string()];
        self.link.run(&self.scripts.advance, vec![self.keys.delivered(endpoint)], args, reply::advanced)
    }
}

impl Scripts {
    fn new() -> Self {
        Self {
            record: Script::new(script::RECORD),
            bury: Script::new(script::BURY),
            expire: Script::new(script::EXPIRE),
            read: Script::new(script::READ),
            hold: Script::new(script::HOLD),
            release: Script::new(script::RELEASE),
            delivered: Script::new(script::DELIVERED),
            note: Script::new(script::NOTE),
            advance: Script::new(script::ADVANCE),
        }
    }
}

/// What the rules want to know, and after that these.
fn rules(args: Vec<String>) -> Vec<String> {
    let bounds = [
        ms(ASSERTED_FOR).to_string(),
        EVENTS_MAX.to_string(),
        REMEMBERED_MS.to_string(),
        SUBJECTS_MAX.to_string(),
        RUNS_MAX.to_string(),
        KEPT_MS.to_string(),
    ];
    bounds.into_iter().chain(args).collect()
}

/// The seven words of a fact, if it is one to hear.
fn words(fact: &Fact) -> Option<[String; 7]> {
    let publication = |what: &str, channel: &relay_proto::ChannelName, epoch, peer: &Peer, word: &str| {
        is_epoch(epoch).then(|| said(what, channel.as_str(), &epoch.to_string(), peer, word))
    };
    match fact {
        Fact::Live { channel, epoch, peer } => publication("live", channel, *epoch, peer, ""),
        Fact::Stalled { channel, epoch, peer } => publication("stalled", channel, *epoch, peer, ""),
        Fact::Ended { channel, epoch, peer, reason } => {
            publication("ended", channel, *epoch, peer, reason.name())
        }
        Fact::Watched { channel, peer } => Some(said("watched", channel.as_str(), "", peer, "")),
        Fact::Unwatched { channel, peer } => Some(said("unwatched", channel.as_str(), "", peer, "")),
        Fact::Node { peer, state } => Some(said("node", "", "", peer, phase(*state))),
        Fact::Refused { node, channel, role, reason } => {
            let channel = channel.as_ref().map_or_else(String::new, ToString::to_string);
            let reason = cut_reason(reason).unwrap_or_default();
            let none = String::new;
            let role = role_word(*role).to_owned();
            Some(["refused".to_owned(), channel, none(), node.to_string(), none(), reason, role])
        }
    }
}

fn said(what: &str, channel: &str, epoch: &str, peer: &Peer, word: &str) -> [String; 7] {
    let Peer { node, incarnation } = peer;
    [what, channel, epoch, node.as_str(), &incarnation.to_string(), word, ""].map(str::to_owned)
}

const fn phase(state: NodePhase) -> &'static str {
    match state {
        NodePhase::InService => "in_service",
        NodePhase::Draining => "draining",
        NodePhase::Left => "left",
        NodePhase::Lost => "lost",
    }
}

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Publish => "publish",
        Role::Receive => "receive",
    }
}
