//! What receivers saw: a pure account of stamps.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Where one receiver is in its channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The message that should come next; `None` for who came late and starts anywhere.
    next: Option<u64>,
    /// The newest hole: from this message up to, but without, that one.
    hole: (u64, u64),
}

/// What a message that came means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The one that was due, or the first; this many before it did not come.
    InOrder { lost: u64 },
    /// One that counted as lost.
    Late,
    /// One that had come before.
    Again,
}

impl Place {
    /// Of a receiver that must get every message.
    pub(crate) const FROM_THE_FIRST: Self = Self { next: Some(0), hole: (0, 0) };
    /// Of a receiver that comes while messages flow.
    pub(crate) const ANYWHERE: Self = Self { next: None, hole: (0, 0) };

    /// The message that should come next.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }

    pub(crate) fn arrived(&mut self, seq: u64) -> Arrival {
        let due = self.next.unwrap_or(seq);
        if seq >= due {
            if seq > due {
                self.hole = (due, seq);
            }
            self.next = Some(seq + 1);
            return Arrival::InOrder { lost: seq - due };
        }
        if (self.hole.0..self.hole.1).contains(&seq) {
            // Whoever comes late leaves a smaller hole; what lay before it in the hole counts as lost for good.
            self.hole.0 = seq + 1;
            return Arrival::Late;
        }
        Arrival::Again
    }
}

/// Sums over receivers.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) received: u64,
    pub(crate) bytes: u64,
    /// Messages that never came, with newer ones behind them.
    pub(crate) lost: u64,
    /// Messages that slow and frozen receivers did not get, with newer ones behind them.
    pub(crate) left_out: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicated: u64,
    /// Messages of another length than was sent.
    pub(crate) damaged: u64,
    /// From sending to arrival, of what was sent from the beginning of the measurement on, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// From when a message was due to when it was sent, of the same messages: the load generator's own fault.
    pub(crate) lateness: Histogram<u64>,
    /// From the start of a connection to the end of its handshake.
    pub(crate) handshake: Histogram<u64>,
    /// From the start of a connection to its first message, of those who came while messages flowed.
    pub(crate) first_message: Histogram<u64>,
    /// The same as `handshake`, of those who came while all others left at once.
    pub(crate) stampede: Histogram<u64>,
    /// Connections that ended although nobody here wanted it, by reason.
    pub(crate) ends: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let histogram = || {
            // A minute; beyond it a figure says only that something is broken.
            Histogram::new_with_max(60_000_000_000, 3).expect("bounds that hdrhistogram takes")
        };
        Self {
            received: 0,
            bytes: 0,
            lost: 0,
            left_out: 0,
            reordered: 0,
            duplicated: 0,
            damaged: 0,
            latency: histogram(),
            lateness: histogram(),
            handshake: histogram(),
            first_message: histogram(),
            stampede: histogram(),
            ends: BTreeMap::new(),
        }
    }

    /// A message came.
    pub(crate) fn arrived(&mut self, place: &mut Place, seq: u64) -> Arrival {
        let arrival = place.arrived(seq);
        match arrival {
            Arrival::InOrder { lost } => self.lost += lost,
            Arrival::Late => {
                self.lost = self.lost.saturating_sub(1);
                self.reordered += 1;
            }
            Arrival::Again => self.duplicated += 1,
        }
        arrival
    }

    /// A message came to somebody who does not read as fast as it should.
    pub(crate) fn left_out(&mut self, arrival: Arrival) {
        if let Arrival::InOrder { lost } = arrival {
            self.left_out += lost;
        }
    }

    pub(crate) fn end(&mut self, reason: String) {
        *self.ends.entry(reason).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.left_out += other.left_out;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.damaged += other.damaged;
        let histograms = [
            (&mut self.latency, &other.latency),
            (&mut self.lateness, &other.lateness),
            (&mut self.handshake, &other.handshake),
            (&mut self.first_message, &other.first_message),
            (&mut self.stampede, &other.stampede),
        ];
        for (sum, histogram) in histograms {
            sum.add(histogram).expect("histograms of the same bounds");
        }
        for (reason, count) in &other.ends {
            *self.ends.entry(reason.clone()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(place: Place, seqs: &[u64]) -> (Tally, Option<u64>) {
        let (mut tally, mut place) = (Tally::new(), place);
        for seq in seqs {
            tally.arrived(&mut place, *seq);
        }
        (tally, place.next())
    }

    fn counts(place: Place, seqs: &[u64]) -> (u64, u64, u64) {
        let (tally, _) = tally(place, seqs);
        (tally.lost, tally.reordered, tally.duplicated)
    }

    #[test]
    fn what_is_missing_late_or_twice_is_told_apart() {
        let first = Place::FROM_THE_FIRST;
        assert_eq!(counts(first, &[0, 1, 2]), (0, 0, 0));
        assert_eq!(counts(first, &[2]), (2, 0, 0), "the first two are missed");
        assert_eq!(counts(first, &[0, 3]), (2, 0, 0));
        assert_eq!(counts(first, &[0, 3, 1, 2]), (0, 2, 0));
        assert_eq!(counts(first, &[0, 0]), (0, 0, 1));
        assert_eq!(counts(first, &[0, 2, 1, 1]), (0, 1, 1));
        assert_eq!(counts(Place::ANYWHERE, &[7, 8]), (0, 0, 0));
        assert_eq!(tally(Place::ANYWHERE, &[7, 8]).1, Some(9));
    }
}
