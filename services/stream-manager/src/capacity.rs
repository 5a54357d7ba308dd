//! How much the cluster carries, how much it could, and how many nodes that takes. Pure.

use relay_proto::api::manager::{CapacityReport, Used};

use crate::view::{Totals, View};

/// A target below this would ask for hundreds of nodes for each that is busy.
const TARGET_MIN: f64 = 0.01;

/// The cluster as a whole. Nodes are to be filled up to `target`, 1 being full.
///
/// What draining nodes carry counts as used, and what they could carry does not: it has to find a place on the others. Memory does
/// not count: what a process has once used it keeps, so that one node more would not make it less, and the next one neither.
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
