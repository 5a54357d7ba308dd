//! A Redis Cluster: three masters, each with a third of the slots, and no replicas.

use std::time::Duration;

use super::{Options, Redis, Role};
use crate::until;

/// How long a member may say nothing until the others take it for dead.
pub(super) const NODE_TIMEOUT: Duration = Duration::from_secs(1);

const SLOTS: usize = 16_384;
const MASTERS: usize = 3;

/// A running cluster, in which every slot has a master. Dropping it kills all.
#[derive(Debug)]
pub struct RedisCluster {
    members: Vec<Redis>,
}

impl RedisCluster {
    /// Starts three masters and waits until each of them finds the cluster whole.
    pub async fn start() -> Self {
        Self::start_for(Vec::new()).await
    }

    /// The same where all know these users, too; see [`Options::users`].
    ///
    /// # Panics
    /// When they do not find it whole.
    pub async fn start_for(users: Vec<String>) -> Self {
        let options = Options { users, ..Options::default() };
        let mut members = Vec::new();
        for index in 0..MASTERS {
            let member = Redis::start_as(Role::ClusterMember, options.clone()).await;
            let slots = index * SLOTS / MASTERS..(index + 1) * SLOTS / MASTERS;
            let (first, last) = (slots.start.to_string(), (slots.end - 1).to_string());
            member.ok(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            // Two that meet with the same epoch have to settle first who keeps it.
            member.ok(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            members.push(member);
        }
        for other in &members[1..] {
            let (port, bus) = (other.ports.plain.to_string(), other.ports.bus.to_string());
            members[0].ok(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        }
        let cluster = Self { members };
        cluster.until_whole().await;
        cluster
    }

    /// Its masters. All of the cluster can be found from each of them.
    pub fn members(&self) -> &[Redis] {
        &self.members
    }

    /// A master, to be killed and started again. It comes back with its slots and without what was in them.
    pub fn member_mut(&mut self, index: usize) -> &mut Redis {
        &mut self.members[index]
    }

    /// Where it can be found, one URL for each master.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(Redis::url).collect()
    }

    /// Waits until every master finds that every slot has one.
    pub async fn until_whole(&self) {
        for member in &self.members {
            until("the cluster is whole", async || {
                let known = member.field(&["CLUSTER", "INFO"], "cluster_known_nodes").await?;
                let state = member.field(&["CLUSTER", "INFO"], "cluster_state").await?;
                (known == MASTERS.to_string() && state == "ok").then_some(())
            })
            .await;
        }
    }
}
