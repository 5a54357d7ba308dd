//! A lease, as the node that has it sees it: when it is due for renewal, and whether it is still the node's. No registry, no
//! clock: whoever drives it asks the registry, and passes in the time and the answer.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Only the registry's word that somebody has a newer lease ends a publication. Silence never    │
//! │ does: a registry that is away must not take the streams with it.                              │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::time::Duration;

use relay_proto::Epoch;

use super::{Renewed, Unavailable, ms};

/// The node's side of one lease. Times are milliseconds of any clock of the node's that never goes back.
#[derive(Debug, Clone)]
pub struct Holder {
    interval_ms: u64,
    next_ms: u64,
    confirmed_ms: u64,
    unanswered: u32,
}

/// What an answer means for the publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// Somebody has a newer lease, of this epoch: it ends as replaced, and no renewal follows.
    Lost(Epoch),
}

impl Holder {
    /// A lease that was granted at `now` and is to be renewed every `interval`.
    pub fn new(interval: Duration, now_ms: u64) -> Self {
        let interval_ms = ms(interval).max(1);
        Self { interval_ms, next_ms: now_ms.saturating_add(interval_ms), confirmed_ms: now_ms, unanswered: 0 }
    }

    /// When to renew. In the past for a node that was suspended: at once.
    pub const fn next_renewal(&self) -> u64 {
        self.next_ms
    }

    /// A renewal was answered at `now`, or was given up. The next one is due an interval later in either case, so that a
    /// registry that comes back knows every lease again after one interval.
    pub fn renewed(&mut self, now_ms: u64, answer: &Result<Renewed, Unavailable>) -> Verdict {
        self.next_ms = now_ms.saturating_add(self.interval_ms);
        match answer {
            Ok(Renewed::Kept) => {
                self.confirmed_ms = now_ms;
                self.unanswered = 0;
                Verdict::Keep
            }
            Ok(Renewed::Lost(epoch)) => Verdict::Lost(*epoch),
            Err(Unavailable(_)) => {
                self.unanswered = self.unanswered.saturating_add(1);
                Verdict::Keep
            }
        }
    }

    /// When the registry last said that the lease is kept, or granted it.
    pub const fn last_confirmed(&self) -> u64 {
        self.confirmed_ms
    }

    /// Renewals since then that were not answered.
    pub const fn unanswered(&self) -> u32 {
        self.unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence() -> Result<Renewed, Unavailable> {
        Err(Unavailable("no answer in time".to_owned()))
    }

    #[test]
    fn a_lease_is_renewed_an_interval_after_every_answer_and_every_silence() {
        let mut holder = Holder::new(Duration::from_secs(5), 1_000);
        assert_eq!(holder.next_renewal(), 6_000);
        assert_eq!(holder.renewed(6_010, &Ok(Renewed::Kept)), Verdict::Keep);
        assert_eq!((holder.next_renewal(), holder.last_confirmed()), (11_010, 6_010));
        assert_eq!(holder.renewed(12_010, &silence()), Verdict::Keep);
        assert_eq!((holder.next_renewal(), holder.last_confirmed()), (17_010, 6_010));
    }

    #[test]
    fn silence_is_counted_until_the_lease_is_confirmed_again() {
        let mut holder = Holder::new(Duration::from_secs(5), 0);
        for count in 1..=1_000 {
            assert_eq!(holder.renewed(holder.next_renewal(), &silence()), Verdict::Keep);
            assert_eq!(holder.unanswered(), count);
        }
        assert_eq!(holder.renewed(holder.next_renewal(), &Ok(Renewed::Kept)), Verdict::Keep);
        assert_eq!(holder.unanswered(), 0);
    }

    #[test]
    fn a_newer_lease_of_somebody_else_ends_it() {
        let mut holder = Holder::new(Duration::from_secs(5), 0);
        let newer = Epoch::new(7);
        assert_eq!(holder.renewed(5_000, &Ok(Renewed::Lost(newer))), Verdict::Lost(newer));
    }

    #[test]
    fn an_interval_of_nothing_still_lets_time_pass() {
        assert_eq!(Holder::new(Duration::ZERO, 3).next_renewal(), 4);
    }
}
