//! Two clusters of NATS joined by gateways, from the very files in `deploy/nats/`. One server stands for each region: what
//! joins regions is between clusters, of whatever size.

use std::path::Path;

use super::{Login, Nats, Ports, launch};
use crate::server::{Server, on_free_ports};
use crate::until;

/// Two running regions. Dropping them kills all.
#[derive(Debug)]
pub struct NatsRegions {
    /// Region a.
    pub a: Nats,
    /// Region b.
    pub b: Nats,
}

/// The ports of a region.
#[derive(Debug, Clone, Copy)]
struct Region {
    name: &'static str,
    client: u16,
    monitor: u16,
    cluster: u16,
    gateway: u16,
}

impl NatsRegions {
    /// Starts both regions and waits until each reaches the other.
    ///
    /// # Panics
    /// When they do not.
    pub async fn start() -> Self {
        let regions = on_free_ports(async |ports: [u16; 8]| {
            let region = |name, ports: &[u16]| Region {
                name,
                client: ports[0],
                monitor: ports[1],
                cluster: ports[2],
                gateway: ports[3],
            };
            let both = [region("a", &ports[..4]), region("b", &ports[4..])];
            Some(Self { a: start(both[0], both).await?, b: start(both[1], both).await? })
        })
        .await;
        regions.until_joined().await;
        regions
    }

    /// Waits until each region reaches the other.
    pub async fn until_joined(&self) {
        for (server, other) in [(&self.a, "b"), (&self.b, "a")] {
            until("the regions are joined", async || {
                let told = server.monitor("/gatewayz").await;
                let inbound = told["inbound_gateways"][other].as_array()?;
                (told["outbound_gateways"][other].is_object() && !inbound.is_empty()).then_some(())
            })
            .await;
        }
    }
}

async fn start(region: Region, all: [Region; 2]) -> Option<Nats> {
    let file = format!("../deploy/nats/region-{}.conf", region.name);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    // All digits, as a generated password may be: it stays text because it comes in quotes.
    let login = Login { user: "relay".to_owned(), password: "0123".to_owned() };
    let environment = vec![
        ("NATS_SERVER_NAME", format!("{}-1", region.name)),
        ("NATS_LISTEN", format!("127.0.0.1:{}", region.client)),
        ("NATS_MONITOR_LISTEN", format!("127.0.0.1:{}", region.monitor)),
        ("NATS_CLUSTER_LISTEN", format!("127.0.0.1:{}", region.cluster)),
        ("NATS_GATEWAY_LISTEN", format!("127.0.0.1:{}", region.gateway)),
        ("NATS_USER", login.user.clone()),
        ("NATS_PASSWORD", format!("\"{}\"", login.password)),
        ("NATS_LINK_PASSWORD", "\"4567\"".to_owned()),
        ("NATS_ROUTES", format!("[\"nats://link:4567@127.0.0.1:{}\"]", region.cluster)),
        ("NATS_GATEWAYS_A", format!("[\"nats://127.0.0.1:{}\"]", all[0].gateway)),
        ("NATS_GATEWAYS_B", format!("[\"nats://127.0.0.1:{}\"]", all[1].gateway)),
    ];
    let ports = Ports { client: region.client, monitor: region.monitor };
    // The port of routes is the last that is taken.
    let server = Server::start(launch(&file, environment, "Listening for route connections")).await?;
    Some(Nats { server, ports, login: Some(login), certificates: None, _folder: None })
}
