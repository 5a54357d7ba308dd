//! How a process reaches the others.

use std::sync::Arc;

use relay_proto::NodeId;
use relay_proto::registry::DEFAULT_CLUSTER;

use crate::backbone::MemoryBackbone;
use crate::journal::MemoryJournal;
use crate::registry::MemoryRegistry;
use crate::{Backbone, Journal, Registry};

/// How a process reaches the others.
#[derive(Debug, Clone)]
pub struct Links {
    /// Who publishes what.
    pub registry: Arc<dyn Registry>,
    /// What carries messages.
    pub backbone: Arc<dyn Backbone>,
    /// What happened.
    pub journal: Arc<dyn Journal>,
    /// The name of the cluster: the first part of keys and subjects.
    pub cluster: NodeId,
    /// What keys are hashed with; all nodes have the same.
    pub secret: Arc<[u8]>,
    /// Whether there are others at all: if so, a process is not ready without its links.
    pub shared: bool,
}

impl Links {
    /// Of a process that is alone.
    pub fn alone() -> Self {
        Self {
            registry: Arc::new(MemoryRegistry::new()),
            backbone: Arc::new(MemoryBackbone::new()),
            journal: Arc::new(MemoryJournal::new()),
            cluster: DEFAULT_CLUSTER.parse().expect("the default follows the grammar"),
            secret: Arc::from([]),
            shared: false,
        }
    }
}
