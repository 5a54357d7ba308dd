//! How much the cluster carries, how much it could, and how many nodes that takes. Pure.

use relay_proto::api::manager::{CapacityReport, Used};

use crate::view::{Totals, View};

/// A target below this would ask for hundreds of nodes for each that is busy.
const TARGET_MIN: f64 = 0.01;

/// The cluster as a whole. Nodes are to be filled up to `target`, 1 being full.
///
/// What draining nodes carry counts as used, and what they could carry does not: it has to find a place on the others.
/// Memory does not count: what a process has once used it keeps, so that one node more would not make it less, and the
/// next one neither.
pub fn capacity(view: &View, now: u64, target: f64) -> CapacityReport {
    let target = if target.is_finite() { target.clamp(TARGET_MIN, 1.0) } else { 1.0 };
    let (mut in_service, mut on_their_way_out) = (Totals::default(), Totals::default());
    let (mut silent, mut reserved) = (0, 0_u64);
    for member in view.nodes() {
        if member.is_silent(now) {
            silent += 1;
            continue;
        }
        reserved = reserved.saturating_add(member.reserved());
        if member.is_in_service() { in_service.add(member) } else { on_their_way_out.add(member) }
    }
    let sessions = in_service.sessions.saturating_add(on_their_way_out.sessions).saturating_add(reserved);
    let egress = in_service.egress.saturating_add(on_their_way_out.egress);
    let egress_is_known = in_service.nodes > 0 && in_service.egress_known == in_service.nodes;
    // Where all are on their way out, their size is still what there is to go by.
    let sample = if in_service.nodes > 0 { in_service } else { on_their_way_out };
    let used = [
        (sessions as f64, sample.sessions_max as f64),
        (if egress_is_known { egress as f64 } else { 0.0 }, sample.egress_max as f64),
        (in_service.busy + on_their_way_out.busy, sample.processors),
    ];
    // Of as many nodes of the mean size as the sample has.
    let fullest = used.iter().filter(|(_, of)| *of > 0.0).map(|(used, of)| used / of).fold(0.0, f64::max);
    let desired = (fullest * sample.nodes as f64 / target).ceil();
    CapacityReport {
        nodes: in_service.nodes,
        draining: on_their_way_out.nodes,
        silent,
        sessions: Used {
            used: sessions,
            capacity: (in_service.nodes > 0).then_some(in_service.sessions_max),
        },
        egress: Used { used: egress, capacity: egress_is_known.then_some(in_service.egress_max) },
        channels_live: view.channels_live(),
        receivers: in_service.receivers.saturating_add(on_their_way_out.receivers),
        utilization: fullest,
        utilization_target: target,
        desired_nodes: (desired as u64).max(1),
    }
}

#[cfg(test)]
mod tests {
    use relay_proto::Incarnation;
    use relay_proto::api::{Channel, ChannelState};
    use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};
    use relay_proto::report::Report;

    use super::*;
    use crate::view::Timing;

    fn node(name: &str, sessions: u64, of: u64) -> NodeRecord {
        NodeRecord {
            node: name.parse().unwrap(),
            incarnation: Incarnation::new(1),
            url: "ws://node.test".to_owned(),
            rtmp: None,
            region: None,
            zone: None,
            state: NodeState::InService,
            roles: vec![Role::Publish, Role::Receive],
            capacity: Capacity { sessions: of, processors: 4, egress: None },
            load: Load { sessions, receivers: sessions, ..Load::default() },
            version: "0.1.0".to_owned(),
            started_ms: 1,
        }
    }

    fn view(nodes: impl IntoIterator<Item = NodeRecord>) -> View {
        let mut view = View::new(Timing { silent_after_ms: 4_000, reservation_ms: 10_000, warm_up_ms: 0 });
        for record in nodes {
            hears(&mut view, record, Vec::new(), 0);
        }
        view
    }

    fn hears(view: &mut View, record: NodeRecord, channels: Vec<Channel>, now: u64) {
        view.heard(Report::Whole { record: Box::new(record), round: now, part: 0, parts: 1, channels }, now);
    }

    #[test]
    fn as_many_nodes_are_desired_as_are_filled_to_the_target() {
        let desired = |sessions, target| {
            let view = view([node("a", sessions, 100), node("b", sessions, 100)]);
            capacity(&view, 0, target).desired_nodes
        };
        assert_eq!([desired(0, 0.5), desired(25, 0.5), desired(26, 0.5), desired(50, 0.5)], [1, 1, 2, 2]);
        assert_eq!([desired(51, 0.5), desired(100, 0.5), desired(100, 1.0)], [3, 4, 2]);
        assert_eq!([desired(50, 0.0), desired(50, f64::NAN), desired(50, 7.0)], [100, 1, 1]);
    }

    #[test]
    fn places_that_are_kept_and_what_draining_nodes_carry_need_room() {
        let draining = NodeRecord { state: NodeState::Draining, ..node("c", 40, 100) };
        let mut view = view([node("a", 10, 100), node("b", 20, 200), draining]);
        view.reserve(&"a".parse().unwrap(), 5, 0);
        let report = capacity(&view, 0, 0.5);
        assert_eq!((report.nodes, report.draining, report.silent), (2, 1, 0));
        assert_eq!(report.sessions, Used { used: 75, capacity: Some(300) });
        assert_eq!((report.utilization, report.desired_nodes, report.receivers), (0.25, 1, 70));
    }

    #[test]
    fn the_fullest_resource_decides() {
        let busy = |name: &str, permille, egress| {
            let mut node = node(name, 10, 100);
            (node.load.cpu_permille, node.capacity.egress, node.load.egress) = (permille, egress, 600);
            node
        };
        let by_cpu = capacity(&view([busy("a", 800, None), busy("b", 600, None)]), 0, 0.7);
        assert_eq!((by_cpu.utilization, by_cpu.desired_nodes), (0.7, 2));
        assert_eq!(by_cpu.egress, Used { used: 1_200, capacity: None });
        let by_egress = capacity(&view([busy("a", 100, Some(1_000)), busy("b", 100, Some(500))]), 0, 0.7);
        assert_eq!((by_egress.utilization, by_egress.desired_nodes), (0.8, 3));
        assert_eq!(by_egress.egress, Used { used: 1_200, capacity: Some(1_500) });
        let of_one = capacity(&view([busy("a", 100, Some(600)), busy("b", 100, None)]), 0, 0.7);
        assert_eq!((of_one.utilization, of_one.egress.capacity), (0.1, None));
    }

    #[test]
    fn memory_asks_for_no_nodes() {
        let mut full = node("a", 1, 100);
        full.load.memory_permille = 900;
        assert_eq!(capacity(&view([full]), 0, 0.5).desired_nodes, 1);
    }

    #[test]
    fn without_a_node_in_service_the_others_tell_how_large_one_is() {
        let draining = |name| NodeRecord { state: NodeState::Draining, ..node(name, 90, 100) };
        let report = capacity(&view([draining("a"), draining("b")]), 0, 0.6);
        assert_eq!((report.nodes, report.sessions.capacity, report.desired_nodes), (0, None, 3));
        let none = capacity(&view([]), 0, 0.6);
        assert_eq!((none.desired_nodes, none.utilization, none.egress.capacity), (1, 0.0, None));
    }

    #[test]
    fn what_is_silent_neither_carries_nor_counts() {
        let channel = |state| Channel {
            name: "x".parse().unwrap(),
            state,
            container: None,
            tracks: Vec::new(),
            receivers: 3,
            bitrate: 0,
            epoch: relay_proto::Epoch::new(1),
            origin: None,
            started_at: None,
        };
        let mut view = view([]);
        hears(&mut view, node("a", 10, 100), vec![channel(ChannelState::Live)], 0);
        hears(&mut view, node("b", 20, 100), vec![channel(ChannelState::Waiting)], 1_000);
        assert_eq!((capacity(&view, 1_000, 0.7).channels_live, capacity(&view, 1_000, 0.7).silent), (1, 0));
        for now in [3_000, 4_001] {
            hears(&mut view, node("b", 20, 100), vec![channel(ChannelState::Waiting)], now);
        }
        let report = capacity(&view, 4_001, 0.7);
        assert_eq!((report.nodes, report.silent, report.channels_live), (1, 1, 0));
        assert_eq!(report.sessions, Used { used: 20, capacity: Some(100) });
    }
}
