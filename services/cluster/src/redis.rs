//! Redis, as registry and journal speak to it: where it is, a connection that is made again, and scripts.

mod address;
mod dial;
mod link;
mod reply;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};
use relay_proto::NodeId;

use crate::tls::install_crypto_provider;
use dial::{Connection, Dialer};

pub use address::{Address, AddressError};
pub(crate) use link::{Failed, Link};
pub(crate) use reply::{NotUnderstood, Read, array, number, one_of, parse, texts};

/// How long a call may take: a publisher that waits for its lease notices no more, and Redis answers a thousand times faster.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

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

/// A script, and the name by which a server that has seen it knows it.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Config {
    /// Parses, and reads the CA file. The first call connects; logs tell what for.
    pub(crate) fn link(&self, purpose: &'static str) -> Result<Link, ConfigError> {
        let address: Address = self.url.parse()?;
        if self.timeout.is_zero() {
            return Err(ConfigError::Timeout);
        }
        let ca = match self.ca_file.clone() {
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
        let dialer = Dialer::new(address, ca, self.timeout).expect(
            "an address that was parsed and certificates that were read are all that a client is made of",
        );
        Ok(Link::new(dialer, self.timeout, purpose))
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

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// By name, and in full to a server that has not seen it. In full rather than loaded first: in a cluster only the server
    /// that has the key is asked, and another that is down does not matter.
    pub(crate) async fn run(
        &self,
        connection: &mut Connection,
        keys: &[String],
        args: &[String],
    ) -> RedisResult<Value> {
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
    use crate::registry::RedisRegistry;

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
