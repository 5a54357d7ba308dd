//! The registry of a cluster of processes: keys and scripts of [`relay_proto::registry`] in Redis. Holds no state of channels
//! or nodes; what it says is what Redis said.

mod address;
mod dial;
mod link;
mod reply;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};
use relay_proto::backbone::Peer;
use relay_proto::registry::{BANS_MAX, Keys, NODES_MAX, NodeRecord, REMEMBERED_MS, script};
use relay_proto::{ChannelName, Epoch, KeyHash, NodeId};

use super::{Acquired, Answer, Attendance, Claim, Lease, Registry, Release, Renewed, Terms, View, ms};
use crate::tls::install_crypto_provider;
use dial::{Connection, Dialer};
use link::{Failed, Link};

pub use address::{Address, AddressError};

/// How long a call may take: a publisher that waits for its lease notices no more, and Redis answers a thousand times faster.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// Records that are asked for at a time: enough to fill the way there and back, and no burst on a server that all nodes share.
const RECORDS_AT_ONCE: usize = 64;

/// Where Redis is and how it is spoken to.
#[derive(Clone)]
pub struct Config {
    /// An [`Address`].
    pub url: String,
    /// Prefix of all keys.
    pub cluster: NodeId,
    /// Certificates in PEM, which are trusted instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long a call may take. [`DEFAULT_TIMEOUT`] where nothing speaks for another.
    pub timeout: Duration,
}

/// Why there can be no registry of a [`Config`]. Has nothing of the URL.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is no address.
    #[error("the registry's URL {0}")]
    Address(#[from] AddressError),
    /// There is a CA, but nothing is encrypted.
    #[error("a CA is given, but the registry's URL starts with 'redis', not with 'rediss'")]
    CaWithoutTls,
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has no certificate, or one that is none.
    #[error("{}: has no certificates in PEM", .0.display())]
    Ca(PathBuf),
    /// No time for a call.
    #[error("a call to the registry needs more time than none")]
    Timeout,
}

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
}

/// A script, and the name by which a server that has seen it knows it.
struct Script {
    text: &'static str,
    hash: String,
}

impl RedisRegistry {
    /// Parses, and reads the CA file. The first call connects.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let address: Address = config.url.parse()?;
        if config.timeout.is_zero() {
            return Err(ConfigError::Timeout);
        }
        let ca = match config.ca_file {
            Some(_) if !address.is_tls() => return Err(ConfigError::CaWithoutTls),
            Some(path) => match std::fs::read(&path) {
                Ok(pem) if has_certificates(&pem) => Some(pem),
                Ok(_) => return Err(ConfigError::Ca(path)),
                Err(source) => return Err(ConfigError::CaFile { path, source }),
            },
            None => None,
        };
        if address.is_tls() {
            install_crypto_provider();
        }
        let dialer = Dialer::new(address, ca, config.timeout).expect(
            "an address that was parsed and certificates that were read are all that a client is made of",
        );
        Ok(Self {
            link: Link::new(dialer, config.timeout),
            keys: Keys::new(config.cluster),
            scripts: Scripts::new(),
        })
    }

    /// Runs a script, and reads its answer.
    fn run<'a, T: Send + 'a>(
        &'a self,
        script: &'a Script,
        keys: Vec<String>,
        args: Vec<String>,
        read: fn(Value) -> Result<T, reply::NotUnderstood>,
    ) -> Answer<'a, T> {
        self.link
            .call(async move |mut connection| Ok(read(script.run(&mut connection, &keys, &args).await?)?))
            .boxed()
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
        self.run(&self.scripts.withdraw, vec![self.keys.node(&peer.node)], args, reply::withdrawn)
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
        self.run(&self.scripts.acquire, keys, args, reply::acquired)
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> Answer<'a, Renewed> {
        let keys = vec![self.keys.lease(&lease.channel)];
        let [node, incarnation] = names(&lease.peer);
        let [ttl, grace, remembered] = times(lease.terms);
        let args =
            vec![node, incarnation, lease.key.to_string(), lease.epoch.to_string(), ttl, grace, remembered];
        self.run(&self.scripts.renew, keys, args, reply::renewed)
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
        self.run(&self.scripts.release, keys, args, reply::released)
    }

    fn attend<'a>(&'a self, channel: &'a ChannelName, attendance: Attendance<'a>) -> Answer<'a, View> {
        let keys = vec![self.keys.lease(channel), self.keys.bans(channel), self.keys.demand(channel)];
        let (node, ttl) = match attendance {
            Attendance::Wanted(node, ttl) => (node.to_string(), ms(ttl)),
            Attendance::Left(node) => (node.to_string(), 0),
            Attendance::Look => (String::new(), 0),
        };
        self.run(&self.scripts.attend, keys, vec![node, ttl.to_string()], reply::view)
    }

    fn ban<'a>(&'a self, channel: &'a ChannelName, key: KeyHash, ttl: Duration) -> Answer<'a, ()> {
        let args = vec![key.to_string(), ms(ttl).to_string(), BANS_MAX.to_string()];
        self.run(&self.scripts.ban, vec![self.keys.bans(channel)], args, reply::banned)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &"***")
            .field("cluster", &self.cluster)
            .field("ca_file", &self.ca_file)
            .field("timeout", &self.timeout)
            .finish()
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
        }
    }
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// By name, and in full to a server that has not seen it. In full rather than loaded first: in a cluster only the server
    /// that has the key is asked, and another that is down does not matter.
    async fn run(&self, connection: &mut Connection, keys: &[String], args: &[String]) -> RedisResult<Value> {
        match connection.query(&command("EVALSHA", &self.hash, keys, args)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                connection.query(&command("EVAL", self.text, keys, args)).await
            }
            answer => answer,
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)
    }
}

fn command(name: &str, script: &str, keys: &[String], args: &[String]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(args);
    command
}

fn names(peer: &Peer) -> [String; 2] {
    [peer.node.to_string(), peer.incarnation.to_string()]
}

/// Live, held after that, and remembered in all.
fn times(terms: Terms) -> [String; 3] {
    let (ttl, grace) = (ms(terms.ttl), ms(terms.grace));
    [ttl, grace, ttl + grace + REMEMBERED_MS].map(|ms| ms.to_string())
}

fn has_certificates(pem: &[u8]) -> bool {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let mut store = rustls::RootCertStore::empty();
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.is_ok_and(|certificates| {
        !certificates.is_empty() && certificates.into_iter().all(|certificate| store.add(certificate).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        let cluster = "relaycast".parse().unwrap();
        Config { url: url.to_owned(), cluster, ca_file: None, timeout: DEFAULT_TIMEOUT }
    }

    #[test]
    fn nothing_of_the_url_is_told() {
        let secret = "redis://u:hunter2@h";
        assert!(!format!("{:?}", config(secret)).contains("hunter2"));
        let registry = RedisRegistry::new(config(secret)).unwrap();
        assert!(!format!("{registry:?}").contains("hunter2"));
        let error = RedisRegistry::new(config("redis://u:hunter2@h:x")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_ca_that_does_not_work_is_found_before_anything_connects() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with_ca = |url: &str, path: PathBuf| {
            RedisRegistry::new(Config { ca_file: Some(path), ..config(url) }).unwrap_err()
        };
        let path = file.path().to_owned();
        assert!(matches!(with_ca("redis://h", path.clone()), ConfigError::CaWithoutTls));
        assert!(matches!(with_ca("rediss://h", path.clone()), ConfigError::Ca(_)));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(with_ca("rediss://h", path.clone()), ConfigError::Ca(_)));
        drop(file);
        assert!(matches!(with_ca("rediss://h", path), ConfigError::CaFile { .. }));
    }
}
