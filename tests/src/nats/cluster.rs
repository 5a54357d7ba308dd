//! NATS servers of one cluster, each with a route to each.

use std::collections::BTreeSet;

use super::{Nats, Options, Ports};
use crate::server::on_free_ports;
use crate::until;

/// No test needs more.
const SERVERS_MAX: usize = 3;

/// For clients, for whoever watches, for the other servers.
const PORTS_EACH: usize = 3;

/// A running cluster. Dropping it kills all.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<Nats>,
}

impl NatsCluster {
    /// Starts three servers and waits until each has routes to the others.
    pub async fn start() -> Self {
        Self::of(3).await
    }

    /// The same with so many servers.
    ///
    /// # Panics
    /// When they are more than three, do not start or do not find each other.
    pub async fn of(size: usize) -> Self {
        let servers = on_free_ports(async |ports: [u16; PORTS_EACH * SERVERS_MAX]| {
            let ports = &ports.as_chunks::<PORTS_EACH>().0[..size];
            let urls: Vec<_> =
                ports.iter().map(|[.., route]| format!("\"nats://127.0.0.1:{route}\"")).collect();
            let mut servers = Vec::new();
            // One after the other: a server tries a route that is not there yet again only after a second, and has it
            // from the other side before.
            for (index, &[client, monitor, route]) in ports.iter().enumerate() {
                let config = format!(
                    "server_name: n{index}\ncluster {{ name: relay, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n",
                    urls.join(", ")
                );
                let options = Options { config, ..Options::default() };
                let ports = Ports { client, monitor };
                // The port of routes is the last that a server of a cluster takes.
                servers.push(Nats::on(ports, &options, "Listening for route connections").await?);
            }
            Some(servers)
        })
        .await;
        let cluster = Self { servers };
        cluster.until_routed().await;
        cluster
    }

    /// Its servers.
    pub fn servers(&self) -> &[Nats] {
        &self.servers
    }

    /// A server, to be killed and started again.
    pub fn server_mut(&mut self, index: usize) -> &mut Nats {
        &mut self.servers[index]
    }

    /// Where it can be found, one URL for each server.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Nats::url).collect()
    }

    /// Waits until every server that runs has routes to all others that run.
    pub async fn until_routed(&self) {
        let running = || self.servers.iter().filter(|server| server.server.is_running());
        for server in running() {
            until("the servers have routes", async || {
                let told = server.monitor("/routez").await;
                // There are several to each.
                let routes = told["routes"].as_array().into_iter().flatten();
                let others: BTreeSet<_> = routes.filter_map(|route| route["remote_id"].as_str()).collect();
                (others.len() == running().count() - 1).then_some(())
            })
            .await;
        }
    }
}
