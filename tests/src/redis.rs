//! A real Redis as a process of its own, on free ports and with nothing on disk.
//!
//! Whatever it held is gone when it was killed, as after the loss of a machine.

use std::ffi::OsString;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::time::timeout;

pub use self::client::{Client, Reply};
pub use self::cluster::RedisCluster;
pub use self::sentinel::RedisSentinel;
use crate::HANG;
use crate::certificates::{Certificates, Transport};
use crate::server::{Launch, Server, local, on_free_ports};

mod client;
mod cluster;
mod sentinel;

/// Who may do what, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The password of the default user.
    pub password: Option<String>,
    /// Other users, each a line of access control without the word `user`: `relay on >secret ~* &* +@all`.
    pub users: Vec<String>,
    /// What clients speak.
    pub transport: Transport,
    /// More lines of its configuration file.
    pub lines: Vec<String>,
}

/// Whether it has slots of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Single,
    ClusterMember,
}

/// A running Redis. Dropping it kills the process.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    options: Options,
    ports: Ports,
    certificates: Option<Certificates>,
    _folder: TempDir,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    /// Of raw commands, whatever clients speak.
    plain: u16,
    tls: u16,
    /// On which the members of a cluster speak with each other.
    bus: u16,
}

impl Redis {
    /// Starts one that lets everybody in.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts one with these options.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(options: Options) -> Self {
        Self::start_as(Role::Single, options).await
    }

    async fn start_as(role: Role, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = options.transport.certificates(folder.path()).await;
        let (server, ports) = on_free_ports(async |[plain, tls, bus]| {
            let ports = Ports { plain, tls, bus };
            let text = config(folder.path(), role, &options, ports, certificates.as_ref());
            Some((Server::start(launch("redis-server", folder.path(), &text, &[])).await?, ports))
        })
        .await;
        Self { server, options, ports, certificates, _folder: folder }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        match self.options.transport {
            Transport::Plain => local(self.ports.plain),
            Transport::Tls => local(self.ports.tls),
        }
    }

    /// `redis://HOST:PORT/`, or `rediss:`, with the password of the default user where it has one.
    pub fn url(&self) -> String {
        match &self.options.password {
            Some(password) => self.url_as("", password),
            None => format!("{}://{}/", self.scheme(), self.address()),
        }
    }

    /// The URL of a user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("{}://{user}:{password}@{}/", self.scheme(), self.address())
    }

    fn scheme(&self) -> &'static str {
        match self.options.transport {
            Transport::Plain => "redis",
            Transport::Tls => "rediss",
        }
    }

    /// The certificate that clients have to trust.
    ///
    /// # Panics
    /// When it does not speak TLS.
    pub fn authority(&self) -> PathBuf {
        self.certificates.as_ref().expect("it was started with TLS").authority()
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on its ports, empty, after killing it where it still runs.
    pub async fn restart(&mut self) {
        self.server.restart().await;
    }

    /// `kill -STOP`: it keeps its connections and answers nothing.
    pub async fn stop(&self) {
        self.server.process().stop().await;
    }

    /// `kill -CONT`: it goes on after [`Redis::stop`].
    pub fn resume(&self) {
        self.server.process().resume();
    }

    /// A connection of the default user, past TLS.
    ///
    /// # Panics
    /// When it does not let us in.
    pub async fn client(&self) -> Client {
        let mut client = Client::connect(local(self.ports.plain)).await.unwrap();
        if let Some(password) = &self.options.password {
            assert_eq!(client.command(&["AUTH", password]).await.unwrap(), Reply::ok());
        }
        client
    }

    /// One command of the default user, on a connection of its own.
    ///
    /// # Panics
    /// When there is no answer. A refusal is one.
    pub async fn command(&self, words: &[&str]) -> Reply {
        let reply = timeout(HANG, async { self.client().await.command(words).await });
        reply.await.unwrap_or_else(|_| panic!("redis-server hangs: {words:?}")).unwrap()
    }

    /// The same for a command that is answered by `OK`.
    ///
    /// # Panics
    /// When there is another answer, or none.
    pub async fn ok(&self, words: &[&str]) {
        assert_eq!(self.command(words).await, Reply::ok(), "{words:?}");
    }

    /// Forgets everything while it runs.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn flush_all(&self) {
        self.ok(&["FLUSHALL"]).await;
    }

    /// A field of what `INFO` and the like tell.
    async fn field(&self, words: &[&str], name: &str) -> Option<String> {
        self.command(words).await.field(name).map(str::to_owned)
    }
}

/// How a Redis is started with this configuration, which is written to its folder.
fn launch(name: &'static str, folder: &Path, config: &str, flags: &[&str]) -> Launch {
    let file = folder.join("redis.conf");
    std::fs::write(&file, config).unwrap();
    let args = std::iter::once(file.into_os_string()).chain(flags.iter().map(OsString::from));
    // Sentinel says that it watches, the others that they accept.
    let ready = if flags.is_empty() { "Ready to accept connections" } else { "+monitor master" };
    Launch { name, program: "redis-server".into(), args: args.collect(), environment: Vec::new(), ready }
}

fn config(folder: &Path, role: Role, options: &Options, ports: Ports, tls: Option<&Certificates>) -> String {
    let mut text = format!(
        "bind 127.0.0.1\nport {}\ndir {}\nlogfile /dev/stderr\nsave \"\"\nappendonly no\n\
         repl-diskless-sync-delay 0\n",
        ports.plain,
        folder.display()
    );
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes all");
    if let Some(password) = &options.password {
        line(format_args!("requirepass {password}"));
    }
    for user in &options.users {
        line(format_args!("user {user}"));
    }
    if let Some(tls) = tls {
        line(format_args!("tls-port {}\ntls-auth-clients no", ports.tls));
        line(format_args!("tls-ca-cert-file {}", tls.authority().display()));
        line(format_args!("tls-cert-file {}", tls.certificate().display()));
        line(format_args!("tls-key-file {}", tls.key().display()));
    }
    if role == Role::ClusterMember {
        line(format_args!("cluster-enabled yes\ncluster-port {}", ports.bus));
        line(format_args!("cluster-node-timeout {}", cluster::NODE_TIMEOUT.as_millis()));
    }
    for other in &options.lines {
        line(format_args!("{other}"));
    }
    text
}
