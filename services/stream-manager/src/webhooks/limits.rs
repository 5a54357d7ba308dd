//! How much, how often and for how long, with the reasons.

use std::time::Duration;

/// How much, how often and for how long webhooks are delivered.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests to one endpoint at a time.
    pub in_flight_max: usize,
    /// Events for one endpoint in memory.
    pub held_max: usize,
    /// Events that are looked at beyond the oldest one that is not settled.
    pub ahead_max: u64,
    /// Events that are read at a time.
    pub page: usize,
    /// How long an endpoint may take to answer.
    pub answer_timeout: Duration,
    /// The first retry comes within this time, the next within twice that.
    pub first_retry: Duration,
    /// Every retry comes within this time.
    pub longest_retry: Duration,
    /// An attempt that fails this long after the event's first is its last.
    pub give_up_after: Duration,
    /// So many answers that the endpoint does not want the event are enough.
    pub refusals_max: u32,
    /// An endpoint that asks for a longer pause gets this one.
    pub retry_after_max: Duration,
    /// How long a deliverer that says nothing keeps its duty.
    pub duty_ttl: Duration,
    /// How often the journal is asked where nobody hints at anything, and how soon again after it did not answer.
    pub poll_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: 16,
            // 2 MB or so of small objects for each endpoint.
            held_max: 4096,
            // What is settled beyond the oldest event is noted by subject: this bounds the notes, of which the journal takes
            // 10,000 of each endpoint. While one channel is stuck for an hour, others go on at two events per second.
            ahead_max: 8192,
            page: 256,
            answer_timeout: Duration::from_secs(10),
            first_retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(60),
            // An endpoint that is away for less loses nothing. Its channels wait as long as it does not come back.
            give_up_after: Duration::from_secs(60 * 60),
            // Two minutes or so: a gateway says 404 as well while what stands behind it starts.
            refusals_max: 10,
            retry_after_max: Duration::from_secs(10 * 60),
            duty_ttl: Duration::from_secs(6),
            poll_interval: Duration::from_secs(1),
        }
    }
}
