//! Nodes to draw from, the larger the likelier: of two that are drawn the better is taken, and a node that is drawn too
//! seldom could never be filled, however empty it is.

use std::collections::HashMap;

use relay_proto::registry::{NodeRecord, NodeState, Role};

/// What all nodes of a kind together weigh: enough for the smallest of thousands to be told from nothing.
const WEIGHT: f64 = (1_u64 << 40) as f64;

/// Nodes and how likely each is drawn.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pool {
    slots: Vec<usize>,
    /// The sum of the weights up to and with each.
    upto: Vec<u64>,
}

impl Pool {
    pub(crate) fn push(&mut self, slot: usize, weight: u64) {
        self.upto.push(self.total().saturating_add(weight.max(1)));
        self.slots.push(slot);
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn slots(&self) -> &[usize] {
        &self.slots
    }

    fn total(&self) -> u64 {
        self.upto.last().copied().unwrap_or(0)
    }

    /// One of them.
    pub(crate) fn draw(&self, dice: &mut impl FnMut(usize) -> usize) -> Option<usize> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let at = dice(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
        let index = self.upto.partition_point(|upto| *upto <= at);
        self.slots.get(index.min(self.slots.len() - 1)).copied()
    }
}

/// The nodes that take new sessions, by what for and where.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    everywhere: OfRoles,
    regions: HashMap<String, OfRoles>,
    /// By the node's number.
    weights: Vec<u64>,
}

#[derive(Debug, Default)]
struct OfRoles {
    publish: Pool,
    receive: Pool,
}

impl OfRoles {
    const fn of(&self, role: Role) -> &Pool {
        match role {
            Role::Publish => &self.publish,
            Role::Receive => &self.receive,
        }
    }

    fn push(&mut self, roles: &[Role], slot: usize, weight: u64) {
        if roles.contains(&Role::Publish) {
            self.publish.push(slot, weight);
        }
        if roles.contains(&Role::Receive) {
            self.receive.push(slot, weight);
        }
    }
}

impl Pools {
    pub(crate) fn of<'a>(nodes: impl Iterator<Item = (usize, &'a NodeRecord)>) -> Self {
        let nodes: Vec<_> = nodes.filter(|(_, record)| record.state == NodeState::InService).collect();
        let share = share_of(&nodes);
        let mut pools = Self::default();
        for (slot, record) in &nodes {
            let weight = (share(record) * WEIGHT) as u64;
            if pools.weights.len() <= *slot {
                pools.weights.resize(*slot + 1, 0);
            }
            pools.weights[*slot] = weight;
            pools.everywhere.push(&record.roles, *slot, weight);
            if let Some(region) = &record.region {
                if !pools.regions.contains_key(region) {
                    pools.regions.insert(region.clone(), OfRoles::default());
                }
                if let Some(pool) = pools.regions.get_mut(region) {
                    pool.push(&record.roles, *slot, weight);
                }
            }
        }
        pools
    }

    /// Those that take `role`, in `region` or everywhere.
    pub(crate) fn get(&self, role: Role, region: Option<&str>) -> Option<&Pool> {
        match region {
            None => Some(self.everywhere.of(role)),
            Some(region) => self.regions.get(region).map(|pools| pools.of(role)),
        }
    }

    /// How likely a node is drawn, beside the others.
    pub(crate) fn weight(&self, slot: usize) -> u64 {
        self.weights.get(slot).copied().unwrap_or(0)
    }
}

/// The largest share that a node has of anything that all nodes have together. Being drawn more often than its share
/// does a node no harm, the other of the pair wins then; being drawn too seldom leaves it empty. So what it has most of
/// counts.
fn share_of<'a>(nodes: &[(usize, &'a NodeRecord)]) -> impl Fn(&NodeRecord) -> f64 + use<'a> {
    let sum = |of: fn(&NodeRecord) -> f64| nodes.iter().map(|(_, record)| of(record)).sum::<f64>();
    let resources: [fn(&NodeRecord) -> f64; 3] = [
        |record| record.capacity.sessions as f64,
        |record| f64::from(record.capacity.processors),
        |record| record.capacity.egress.unwrap_or(0) as f64,
    ];
    let sums = resources.map(sum);
    move |record| {
        let shares =
            resources.iter().zip(sums).filter(|(_, sum)| *sum > 0.0).map(|(of, sum)| of(record) / sum);
        shares.fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_drawn_in_proportion_to_its_weight() {
        let mut pool = Pool::default();
        for (slot, weight) in [(7, 1), (3, 2), (5, 5)] {
            pool.push(slot, weight);
        }
        let drawn: Vec<_> = (0..8).map(|at| pool.draw(&mut |_| at).unwrap()).collect();
        assert_eq!(drawn, [7, 3, 3, 5, 5, 5, 5, 5]);
        assert_eq!(pool.draw(&mut |bound| bound), Some(5), "dice that show too much");
        assert_eq!(Pool::default().draw(&mut |_| 0), None);
    }
}
