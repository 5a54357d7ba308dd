//! A master, its replica, and a Sentinel that makes the replica master when the master is gone.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::time::timeout;

use super::{Client, Options, Redis, Reply, launch};
use crate::server::{Server, local, on_free_ports};
use crate::{HANG, until};

/// A running set. Dropping it kills all.
#[derive(Debug)]
pub struct RedisSentinel {
    master: Redis,
    replica: Redis,
    sentinel: Server,
    address: SocketAddr,
    _folder: TempDir,
}

impl RedisSentinel {
    /// By which the Sentinel knows the master.
    pub const MASTER: &'static str = "relay";

    /// Starts all three and waits until the replica could take over.
    pub async fn start() -> Self {
        Self::start_for(Vec::new(), &[]).await
    }

    /// The same where master and replica know these users, too, and the Sentinel those; see [`Options::users`].
    ///
    /// # Panics
    /// When it does not get there.
    pub async fn start_for(users: Vec<String>, sentinel_users: &[&str]) -> Self {
        let options = Options { users, ..Options::default() };
        let master = Redis::start_with(options.clone()).await;
        let lines = vec![format!("replicaof 127.0.0.1 {}", master.address().port())];
        let replica = Redis::start_with(Options { lines, ..options }).await;
        // The Sentinel asks the master for its replicas when it meets it, and not for long again.
        until("the replica follows", async || {
            let online = master.field(&["INFO", "replication"], "slave0").await?;
            online.contains("state=online").then_some(())
        })
        .await;

        // It writes to its configuration: the folder is its own.
        let folder = tempfile::tempdir().unwrap();
        let (sentinel, address) = on_free_ports(async |[port]| {
            let users: String = sentinel_users.iter().map(|user| format!("user {user}\n")).collect();
            let text = format!(
                "bind 127.0.0.1\nport {port}\ndir {}\nlogfile /dev/stderr\n\
                 sentinel monitor {name} 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds {name} 500\n\
                 sentinel failover-timeout {name} 5000\n{users}",
                folder.path().display(),
                master.address().port(),
                name = Self::MASTER,
            );
            let launch = launch("redis-server --sentinel", folder.path(), &text, &["--sentinel"]);
            Some((Server::start(launch).await?, local(port)))
        })
        .await;
        let set = Self { master, replica, sentinel, address, _folder: folder };
        until("the Sentinel knows the replica", async || {
            let replicas = set.ask(&["SENTINEL", "REPLICAS", Self::MASTER]).await;
            let fields = replicas.list().first()?.list();
            let link = fields.iter().position(|field| field.text() == "master-link-status")?;
            (fields[link + 1].text() == "ok").then_some(())
        })
        .await;
        set
    }

    /// Where the Sentinel answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first master.
    pub fn master(&self) -> &Redis {
        &self.master
    }

    /// What was its replica.
    pub fn replica(&self) -> &Redis {
        &self.replica
    }

    /// `kill -9` for the first master.
    pub fn kill_master(&mut self) {
        self.master.kill();
    }

    /// Starts the first master again. It is empty, and the Sentinel makes it a replica.
    pub async fn restart_master(&mut self) {
        self.master.restart().await;
    }

    /// Waits until the Sentinel has made the replica master.
    pub async fn until_promoted(&self) {
        self.sentinel.logs("+switch-master").await;
    }

    /// Who the Sentinel says is master.
    ///
    /// # Panics
    /// When it does not know.
    pub async fn master_address(&self) -> SocketAddr {
        let told = self.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::MASTER]).await;
        let [host, port] = told.list() else { panic!("an address is expected: {told:?}") };
        format!("{}:{}", host.text(), port.text()).parse().unwrap()
    }

    async fn ask(&self, words: &[&str]) -> Reply {
        let reply =
            timeout(HANG, async { Client::connect(self.address).await.unwrap().command(words).await });
        reply.await.expect("the Sentinel answers").unwrap()
    }
}
