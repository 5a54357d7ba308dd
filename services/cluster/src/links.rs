//! How a process reaches the others.

use std::sync::Arc;

use relay_proto::NodeId;
use relay_proto::registry::DEFAULT_CLUSTER;

use crate::backbone::MemoryBackbone;
use crate::journal::MemoryJournal;
use crate::registry::MemoryRegistry;
use crate::{Backbone, Journal, Registry};

/// As long as a key of HMAC-SHA-256 is of use.
const ALONE_SECRET_BYTES: usize = 32;

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
    /// Of a process that is alone. Nobody else has to know its secret, so it is drawn; where the system has no randomness there
    /// is none, and so no keys of sources.
    pub fn alone() -> Self {
        let mut secret = [0; ALONE_SECRET_BYTES];
        let secret: &[u8] = if getrandom::fill(&mut secret).is_ok() { &secret } else { &[] };
        Self {
            registry: Arc::new(MemoryRegistry::new()),
            backbone: Arc::new(MemoryBackbone::new()),
            journal: Arc::new(MemoryJournal::new()),
            cluster: DEFAULT_CLUSTER.parse().expect("the default follows the grammar"),
            secret: Arc::from(secret),
            shared: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_are_alone_have_secrets_of_their_own() {
        let [one, other] = [Links::alone(), Links::alone()];
        assert_eq!(one.secret.len(), ALONE_SECRET_BYTES);
        assert_ne!(one.secret, other.secret);
    }
}
