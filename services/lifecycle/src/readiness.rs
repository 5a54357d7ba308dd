//! Readiness as latches: the process is ready when every part that took a latch has said so.
//!
//! Only [`Latch::ready`] counts. A latch that is dropped by a failing part stays closed for ever, so a process is
//! never ready by accident.

use std::sync::{Arc, Mutex, PoisonError};

/// The parts that must be ready, and whether the process has begun to leave. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<&'static str>,
    leaving: bool,
}

/// Held by a part that is not ready yet.
#[derive(Debug)]
#[must_use = "a latch that is dropped keeps the process unready for ever"]
pub struct Latch {
    readiness: Readiness,
    part: &'static str,
}

impl Readiness {
    /// Readiness without any part: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the process is unready until `part` says it is ready.
    pub fn latch(&self, part: &'static str) -> Latch {
        self.lock().waiting.push(part);
        Latch { readiness: self.clone(), part }
    }

    /// The process leaves: unready from now on, whatever its parts say.
    pub fn leave(&self) {
        self.lock().leaving = true;
    }

    /// `Ok` when ready; else what is missing.
    ///
    /// # Errors
    /// The names of the parts that are not ready, or `draining`.
    pub fn check(&self) -> Result<(), Vec<&'static str>> {
        let state = self.lock();
        if state.leaving {
            Err(vec!["draining"])
        } else if state.waiting.is_empty() {
            Ok(())
        } else {
            Err(state.waiting.clone())
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// The part is ready.
    pub fn ready(self) {
        let mut state = self.readiness.lock();
        if let Some(index) = state.waiting.iter().position(|part| *part == self.part) {
            state.waiting.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_said_so() {
        let readiness = Readiness::new();
        assert_eq!(readiness.check(), Ok(()));
        let (registry, backbone) = (readiness.latch("registry"), readiness.latch("backbone"));
        assert_eq!(readiness.check(), Err(vec!["registry", "backbone"]));
        registry.ready();
        assert_eq!(readiness.check(), Err(vec!["backbone"]));
        backbone.ready();
        assert_eq!(readiness.check(), Ok(()));
    }

    #[test]
    fn a_dropped_latch_keeps_the_process_unready() {
        let readiness = Readiness::new();
        drop(readiness.latch("registry"));
        assert_eq!(readiness.check(), Err(vec!["registry"]));
    }

    #[test]
    fn two_parts_of_one_name_are_both_waited_for() {
        let readiness = Readiness::new();
        let (first, second) = (readiness.latch("listener"), readiness.latch("listener"));
        first.ready();
        assert_eq!(readiness.check(), Err(vec!["listener"]));
        second.ready();
        assert_eq!(readiness.check(), Ok(()));
    }

    #[test]
    fn leaving_is_unready_whatever_the_parts_say() {
        let readiness = Readiness::new();
        let latch = readiness.latch("registry");
        readiness.leave();
        latch.ready();
        assert_eq!(readiness.check(), Err(vec!["draining"]));
    }
}
