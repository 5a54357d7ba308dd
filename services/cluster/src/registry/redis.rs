//! The registry of a cluster of processes: keys and scripts of [`relay_proto::registry`] in Redis. Holds no state of channels
//! or nodes; what it says is what Redis said.

mod reply;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::ready;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use relay_proto::backbone::Peer;
use relay_proto::registry::{
    BANS_MAX, Keys, MEMORIES_MAX, MEMORY_BYTES_MAX, NODES_MAX, NodeRecord, REMEMBERED_MS, SOURCES_AT_ONCE,
    script,
};
use relay_proto::source::SourceId;
use relay_proto::{ChannelName, Epoch, Incarnation, KeyHash};

use super::{Acquired, Answer, Attendance, Claim, Lease, Registry, Release, Renewed, Terms, View, ms};
use crate::redis::{Failed, Link, Script};

pub use crate::redis::{Address, AddressError, Config, ConfigError, DEFAULT_TIMEOUT};

/// Records that are asked for at a time: enough to fill the way there and back, and no burst on a server that all nodes share.
const RECORDS_AT_ONCE: usize = 64;

/// A registry in Redis.
#[derive(Debug)]
pub struct RedisRegistry {
    link: Link,
    keys: Keys,
    scripts: Scripts,
}

#[derive(Debug)]
struct Scripts {
    acquire: Script,
    renew: Script,
    release: Script,
    attend: Script,
    ban: Script,
    withdraw: Script,
    nodes: Script,
    hold_sources: Script,
    release_sources: Script,
    remember: Script,
    recall: Script,
}

impl RedisRegistry {
    /// Parses, and reads the CA file. The first call connects.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let link = config.link("registry")?;
        Ok(Self { link, keys: Keys::new(config.cluster), scripts: Scripts::new() })
    }
}

impl Registry for RedisRegistry {
    fn announce<'a>(&'a self, record: &'a NodeRecord, ttl: Duration) -> Answer<'a, Option<NodeRecord>> {
        let json = serde_json::to_string(record).expect("a record has no map with keys other than texts");
        // Redis takes no time that is none.
        let ttl = ms(ttl).max(1).to_string();
        let index = vec![record.node.to_string(), ttl.clone(), NODES_MAX.to_string()];
        let mut set = redis::cmd("SET");
        set.arg(self.keys.node(&record.node)).arg(json).arg("PX").arg(ttl).arg("GET");
        // The index first: what tells of a displaced record is the last that can fail.
        self.link
            .call(async move |mut connection| {
                self.scripts.nodes.run(&mut connection, &[self.keys.nodes()], &index).await?;
                Ok(reply::record(connection.query(&set).await?)?)
            })
            .boxed()
    }

    fn withdraw<'a>(&'a self, peer: &'a Peer) -> Answer<'a, ()> {
        let args = vec![peer.incarnation.to_string()];
        self.link.run(&self.scripts.withdraw, vec![self.keys.node(&peer.node)], args, reply::withdrawn)
    }

    fn nodes(&self) -> Answer<'_, Vec<NodeRecord>> {
        let look = vec![String::new(), "0".to_owned(), NODES_MAX.to_string()];
        self.link
            .call(async move |mut connection| {
                let names = self.scripts.nodes.run(&mut connection, &[self.keys.nodes()], &look).await?;
                let mut names = reply::names(names)?;
                names.sort_unstable();
                // One by one, since in a cluster they are in many places; on their way they are many at a time.
                let records = stream::iter(names).map(|name| {
                    let mut connection = connection.clone();
                    let mut get = redis::cmd("GET");
                    get.arg(self.keys.node(&name));
                    async move { Ok::<_, Failed>(reply::record(connection.query(&get).await?)?) }
                });
                let records: Vec<_> = records.buffered(RECORDS_AT_ONCE).try_collect().await?;
                Ok(records.into_iter().flatten().collect())
            })
            .boxed()
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Acquired> {
        let keys = vec![self.keys.lease(&claim.channel), self.keys.bans(&claim.channel)];
        let [node, incarnation] = names(&claim.peer);
        let replaces = claim.replaces.unwrap_or(Epoch::NONE).to_string();
        let [ttl, grace, remembered] = times(claim.terms);
        let key = claim.key.to_string();
        let args = vec![node, incarnation, key, replaces, claim.exceeds.to_string(), ttl, grace, remembered];
        self.link.run(&self.scripts.acquire, keys, args, reply::acquired)
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> Answer<'a, Renewed> {
        let keys = vec![self.keys.lease(&lease.channel)];
        let [node, incarnation] = names(&lease.peer);
        let [ttl, grace, remembered] = times(lease.terms);
        let args =
            vec![node, incarnation, lease.key.to_string(), lease.epoch.to_string(), ttl, grace, remembered];
        self.link.run(&self.scripts.renew, keys, args, reply::renewed)
    }

    fn release<'a>(&'a self, lease: &'a Lease, release: Release) -> Answer<'a, ()> {
        let keys = vec![self.keys.lease(&lease.channel)];
        let [node, incarnation] = names(&lease.peer);
        let grace = match release {
            Release::Free => 0,
            Release::Held => ms(lease.terms.grace),
        };
        let remembered = grace + REMEMBERED_MS;
        let args =
            vec![node, incarnation, lease.epoch.to_string(), grace.to_string(), remembered.to_string()];
        self.link.run(&self.scripts.release, keys, args, reply::released)
    }

    fn attend<'a>(&'a self, channel: &'a ChannelName, attendance: Attendance<'a>) -> Answer<'a, View> {
        let keys = vec![self.keys.lease(channel), self.keys.bans(channel), self.keys.demand(channel)];
        let (node, ttl) = match attendance {
            Attendance::Wanted(node, ttl) => (node.to_string(), ms(ttl)),
            Attendance::Left(node) => (node.to_string(), 0),
            Attendance::Look => (String::new(), 0),
        };
        self.link.run(&self.scripts.attend, keys, vec![node, ttl.to_string()], reply::view)
    }

    fn ban<'a>(&'a self, channel: &'a ChannelName, key: KeyHash, ttl: Duration) -> Answer<'a, ()> {
        let args = vec![key.to_string(), ms(ttl).to_string(), BANS_MAX.to_string()];
        self.link.run(&self.scripts.ban, vec![self.keys.bans(channel)], args, reply::banned)
    }

    fn hold_sources<'a>(
        &'a self,
        sources: &'a [SourceId],
        holder: Incarnation,
        ttl: Duration,
    ) -> Answer<'a, Vec<bool>> {
        let args = vec![holder.to_string(), ms(ttl).max(1).to_string()];
        self.link
            .call(async move |mut connection| {
                let mut held = Vec::with_capacity(sources.len());
                for some in sources.chunks(SOURCES_AT_ONCE) {
                    let keys: Vec<_> = some.iter().map(|source| self.keys.source(source)).collect();
                    let answer = self.scripts.hold_sources.run(&mut connection, &keys, &args).await?;
                    held.extend(reply::held(answer, some.len())?);
                }
                Ok(held)
            })
            .boxed()
    }

    fn release_sources<'a>(&'a self, sources: &'a [SourceId], holder: Incarnation) -> Answer<'a, ()> {
        let args = vec![holder.to_string()];
        self.link
            .call(async move |mut connection| {
                for some in sources.chunks(SOURCES_AT_ONCE) {
                    let keys: Vec<_> = some.iter().map(|source| self.keys.source(source)).collect();
                    let answer = self.scripts.release_sources.run(&mut connection, &keys, &args).await?;
                    reply::sources_released(answer)?;
                }
                Ok(())
            })
            .boxed()
    }

    fn remember<'a>(&'a self, name: &'a str, text: &'a str, ttl: Duration) -> Answer<'a, ()> {
        if text.len() > MEMORY_BYTES_MAX {
            return ready(Ok(())).boxed();
        }
        let (ttl, max) = (ms(ttl).max(1).to_string(), MEMORIES_MAX.to_string());
        let args = vec![name.to_owned(), text.to_owned(), ttl, max];
        self.link.run(&self.scripts.remember, self.keys.memories().into(), args, reply::kept)
    }

    fn remembered(&self) -> Answer<'_, Vec<(String, String)>> {
        let args = vec![String::new(), String::new(), "0".to_owned(), MEMORIES_MAX.to_string()];
        self.link.run(&self.scripts.remember, self.keys.memories().into(), args, reply::memories)
    }

    fn recall<'a>(&'a self, names: &'a [String]) -> Answer<'a, Vec<(String, String)>> {
        self.link
            .call(async move |mut connection| {
                let mut kept = Vec::new();
                for some in names.chunks(SOURCES_AT_ONCE) {
                    let answer =
                        self.scripts.recall.run(&mut connection, &self.keys.memories(), some).await?;
                    kept.extend(reply::memories(answer)?);
                }
                kept.sort_unstable();
                Ok(kept)
            })
            .boxed()
    }
}

impl Scripts {
    fn new() -> Self {
        Self {
            acquire: Script::new(script::ACQUIRE),
            renew: Script::new(script::RENEW),
            release: Script::new(script::RELEASE),
            attend: Script::new(script::ATTEND),
            ban: Script::new(script::BAN),
            withdraw: Script::new(script::WITHDRAW),
            nodes: Script::new(script::NODES),
            hold_sources: Script::new(script::HOLD_SOURCES),
            release_sources: Script::new(script::RELEASE_SOURCES),
            remember: Script::new(script::REMEMBER),
            recall: Script::new(script::RECALL),
        }
    }
}

fn names(peer: &Peer) -> [String; 2] {
    [peer.node.to_string(), peer.incarnation.to_string()]
}

/// Live, held after that, and remembered in all.
fn times(terms: Terms) -> [String; 3] {
    let (ttl, grace) = (ms(terms.ttl), ms(terms.grace));
    [ttl, grace, ttl + grace + REMEMBERED_MS].map(|ms| ms.to_string())
}
