//! Which connections of a plan are one thread's.

use super::connection::{Connection, Publisher, Receiver, Role, Temper};
use crate::payload::Composer;
use crate::plan::{Pace, Plan};
use crate::tally::Place;

/// The connections of one thread: receivers, those that misbehave, then publishers; and the indices of each.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) connections: Vec<Connection>,
    pub(super) healthy: Vec<usize>,
    pub(super) slow: Vec<usize>,
    pub(super) publishers: Vec<usize>,
}

impl Share {
    pub(super) fn of(index: usize, plan: &Plan) -> Self {
        let is_mine = |number: &usize| number % plan.threads == index;
        let mut connections = Vec::new();
        let mut receiver = |channel, temper| {
            let receiver = Receiver { place: Place::FROM_THE_FIRST, temper, expects_first: false };
            connections.push(Connection::new(Role::Receiver(receiver), channel));
            connections.len() - 1
        };
        let healthy = (0..plan.channels * plan.receivers)
            .filter(is_mine)
            .map(|number| receiver(number % plan.channels, Temper::Healthy))
            .collect();
        let tempers = std::iter::repeat_n(Temper::Slow, plan.slow)
            .chain(std::iter::repeat_n(Temper::Frozen, plan.frozen))
            .enumerate();
        let slow =
            tempers.filter(|(number, _)| is_mine(number)).map(|(_, temper)| receiver(0, temper)).collect();
        let ms_per_message = match plan.pace {
            Pace::Rate(rate) => (1e3 / rate) as u64,
            Pace::Window(_) | Pace::Silent => 1,
        };
        let channels = if plan.publishes() { plan.channels } else { 0 };
        let publishers = (0..channels)
            .filter(is_mine)
            .map(|channel| {
                let composer = Composer::new(plan.form, plan.bytes, ms_per_message);
                let publisher = Publisher { composer, sent: 0, done: 0 };
                connections.push(Connection::new(Role::Publisher(publisher), channel));
                connections.len() - 1
            })
            .collect();
        Self { connections, healthy, slow, publishers }
    }
}
