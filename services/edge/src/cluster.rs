//! This node as a member of its cluster: its name there, the registry and the backbone, and the tasks that use them.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use relay_cluster::registry::{Claim, Lease, Terms};
use relay_cluster::{Backbone, Journal, Links, Registry};
use relay_proto::backbone::{Envelope, Kind, Origin, Peer, Subjects, cut, to_json};
use relay_proto::{ChannelName, Epoch, KeyHash, StreamKey};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::error;

/// This node among the others.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) peer: Peer,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) subjects: Subjects,
    pub(crate) terms: Terms,
    /// Snapshots that this node has asked for at a time.
    pub(crate) asks: Arc<Semaphore>,
    secret: Arc<[u8]>,
    tasks: Mutex<JoinSet<()>>,
}

/// Snapshots that a node asks for at a time. Each may be as much as a channel caches, and all come through one connection.
const ASKS_MAX: usize = 16;

impl Cluster {
    pub(crate) fn new(peer: Peer, links: Links, terms: Terms) -> Self {
        let Links { registry, backbone, journal, cluster, secret, shared: _ } = links;
        Self {
            peer,
            registry,
            backbone,
            journal,
            subjects: Subjects::new(cluster),
            terms,
            asks: Arc::new(Semaphore::new(ASKS_MAX)),
            secret,
            tasks: Mutex::default(),
        }
    }

    /// What the cluster knows of a key.
    pub(crate) fn hash(&self, channel: &ChannelName, key: &StreamKey) -> KeyHash {
        KeyHash::of(&self.secret, channel, key)
    }

    /// What keys are hashed with, and what those of sources are made of.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// A claim of this node.
    pub(crate) fn claim(&self, channel: &ChannelName, key: KeyHash, exceeds: Epoch) -> Claim {
        let (channel, peer) = (channel.clone(), self.peer.clone());
        Claim { channel, peer, key, replaces: None, exceeds, terms: self.terms }
    }

    /// A lease that was granted to this node.
    pub(crate) fn lease(&self, claim: Claim, epoch: Epoch) -> Lease {
        Lease { channel: claim.channel, peer: claim.peer, epoch, key: claim.key, terms: claim.terms }
    }

    /// The messages that tell the others who publishes.
    pub(crate) fn begin(&self, epoch: Epoch, key: KeyHash) -> Bytes {
        let origin = Origin { peer: self.peer.clone(), key };
        self.whole(Envelope::new(Kind::Begin, epoch, 0), &to_json(&origin))
    }

    /// A message of a small body, which fits any server.
    pub(crate) fn whole(&self, envelope: Envelope, body: &[u8]) -> Bytes {
        cut(envelope, body, usize::MAX).next().unwrap_or_default()
    }

    /// Runs a task that ends by itself, or with the node.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lock().spawn(task);
    }

    /// Buries the tasks that have ended.
    pub(crate) fn reap(&self) {
        let mut tasks = self.lock();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(panic) = ended
                && panic.is_panic()
            {
                error!(error = %panic, "a task of the cluster panicked");
            }
        }
    }

    /// Ends all of them, whoever waits for what they hold.
    pub(crate) fn abort(&self) {
        self.lock().abort_all();
    }

    /// Ends all of them, and waits until they have.
    pub(crate) async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *self.lock());
        tasks.shutdown().await;
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
