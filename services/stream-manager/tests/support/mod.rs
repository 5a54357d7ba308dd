//! A stream-manager over real TCP, nodes that speak the contracts and nothing else, and a client that hides nothing.

#![allow(dead_code, unused_imports, clippy::unwrap_used, reason = "a test may do this, its helpers too")]

pub(crate) mod client;
pub(crate) mod node;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay_cluster::Links;
use relay_cluster::backbone::MemoryBackbone;
use relay_cluster::journal::MemoryJournal;
use relay_cluster::registry::MemoryRegistry;
use relay_lifecycle::access::{Access, Role};
use relay_lifecycle::drain::{self, Trigger};
use relay_lifecycle::readiness::Readiness;
use relay_proto::backbone::Subjects;
use relay_stream_manager::{Config, Manager};
use tokio::task::JoinSet;

pub(crate) use self::client::{Answer, Client};
pub(crate) use self::node::{Node, channel, live};

/// Nothing that these tests wait for takes this long.
pub(crate) const HANG: Duration = Duration::from_secs(30);

pub(crate) const OPERATOR: &str = "operator-0123456789";
pub(crate) const READER: &str = "reader-0123456789";

/// What holds a cluster together.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) registry: Arc<MemoryRegistry>,
    pub(crate) backbone: Arc<MemoryBackbone>,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) subjects: Subjects,
}

/// A stream-manager that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) metrics: prometheus::Registry,
    pub(crate) readiness: Readiness,
    pub(crate) backbone: Arc<MemoryBackbone>,
    pub(crate) trigger: Trigger,
    pub(crate) task: JoinSet<()>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self {
            registry: Arc::new(MemoryRegistry::new()),
            backbone: Arc::new(MemoryBackbone::new()),
            journal: Arc::new(MemoryJournal::new()),
            subjects: Subjects::new("relaycast".parse().unwrap()),
        }
    }

    /// Settings under which no node falls silent while a test runs.
    pub(crate) fn config() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            registry_interval: Duration::from_secs(3600),
            warm_up: Duration::ZERO,
            access: Access(vec![
                (Role::Reader, READER.parse().unwrap()),
                (Role::Operator, OPERATOR.parse().unwrap()),
            ]),
            ..Config::default()
        }
    }

    pub(crate) async fn manager(&self) -> Running {
        self.manager_with(Self::config()).await
    }

    pub(crate) async fn manager_with(&self, config: Config) -> Running {
        let running = self.unready_manager_with(config).await;
        // From here on it hears what is said.
        until("the manager is ready", async || running.readiness.check().ok()).await;
        running
    }

    pub(crate) async fn unready_manager_with(&self, config: Config) -> Running {
        let backbone = Arc::new(self.backbone.join());
        let links = Links {
            registry: Arc::clone(&self.registry) as _,
            backbone: Arc::clone(&backbone) as _,
            journal: Arc::clone(&self.journal) as _,
            secret: Arc::from(SECRET),
            shared: true,
            ..Links::alone()
        };
        let (metrics, readiness) = (prometheus::Registry::new(), Readiness::new());
        let manager = Manager::bind(config, links, &metrics, &readiness).await.unwrap();
        let address = manager.local_addr();
        let (trigger, drain) = drain::channel();
        let mut task = JoinSet::new();
        task.spawn(manager.run(drain));
        Running { address, client: Client::new(address), metrics, readiness, backbone, trigger, task }
    }

    /// A node that runs, and that the manager knows.
    pub(crate) async fn node(&self, name: &str, running: &Running) -> Node {
        let node = Node::start(self, name).await;
        node.known_to(running).await;
        node
    }
}

impl Running {
    /// The sum of a metric over those of its labels that match.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name);
        let family = family.unwrap_or_else(|| panic!("{name} is not there"));
        let matches = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|(name, value)| {
                metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
            })
        };
        let value = |metric: &prometheus::proto::Metric| {
            metric.get_counter().get_value()
                + metric.get_gauge().get_value()
                + metric.get_histogram().get_sample_count() as f64
        };
        family.get_metric().iter().filter(matches).map(value).sum()
    }
}

/// What keys are made of.
pub(crate) const SECRET: &[u8] = b"secret";

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(HANG, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("{what}: not within {HANG:?}"))
}
