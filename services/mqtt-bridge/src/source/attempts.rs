//! Attempts in vain: how long it takes until the next, and which nodes it leaves out.

use relay_proto::NodeId;

/// Pauses between attempts to start. Docks refuse for a while after their topology changed, and must not be asked all the time.
const PAUSES_MS: [u64; 4] = [5_000, 10_000, 20_000, 30_000];

/// After this many attempts in vain, some three minutes, a viewer who still waits is helped by patience alone.
const ATTEMPTS_QUICK: usize = 8;

/// The pause from then on.
const PAUSE_SLOW_MS: u64 = 60_000;

/// Nodes that are avoided because a stream to them failed: with all of them excluded, none would be left.
const EXCLUDED_MAX: usize = 3;

/// Those of one source, since it was last live.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    in_vain: usize,
    excluded: Vec<NodeId>,
}

impl Attempts {
    /// One more was in vain. How long to wait before the next.
    pub(super) fn fail(&mut self) -> u64 {
        self.in_vain = self.in_vain.saturating_add(1);
        if self.in_vain > ATTEMPTS_QUICK { PAUSE_SLOW_MS } else { pause_ms(self.in_vain - 1) }
    }

    /// How long to wait for a device that begins anew.
    pub(super) fn begin_anew(&mut self) -> u64 {
        self.restart();
        pause_ms(0)
    }

    /// Whether just one was in vain.
    pub(super) fn is_first(&self) -> bool {
        self.in_vain == 1
    }

    /// The next may be as soon as the first, on the nodes that are left.
    pub(super) fn restart(&mut self) {
        self.in_vain = 0;
    }

    /// The node that failed is not tried again for now.
    pub(super) fn exclude(&mut self, node: NodeId) {
        if !self.excluded.contains(&node) {
            if self.excluded.len() == EXCLUDED_MAX {
                self.excluded.remove(0);
            }
            self.excluded.push(node);
        }
    }

    /// Nodes that are not to be tried.
    pub(super) fn excluded(&self) -> &[NodeId] {
        &self.excluded
    }

    /// All nodes may be tried again: those that were left out may be all there are.
    pub(super) fn exclude_none(&mut self) {
        self.excluded.clear();
    }
}

fn pause_ms(number: usize) -> u64 {
    PAUSES_MS[number.min(PAUSES_MS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_begin_small_again() {
        let mut attempts = Attempts::default();
        let pauses: Vec<u64> = (0..10).map(|_| attempts.fail() / 1_000).collect();
        assert_eq!(pauses, [5, 10, 20, 30, 30, 30, 30, 30, 60, 60]);
        attempts.restart();
        assert_eq!(attempts.fail(), 5_000);
        assert!(attempts.is_first());
    }

    #[test]
    fn so_many_nodes_are_left_out_the_last_that_failed() {
        let mut attempts = Attempts::default();
        let nodes: Vec<NodeId> =
            (0..=EXCLUDED_MAX).map(|number| format!("n{number}").parse().unwrap()).collect();
        for node in nodes.iter().chain(&nodes) {
            attempts.exclude(node.clone());
        }
        assert_eq!(attempts.excluded(), &nodes[1..]);
        attempts.exclude_none();
        assert!(attempts.excluded().is_empty());
    }
}
