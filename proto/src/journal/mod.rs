//! What happened in the cluster, as Redis keeps it: keys, bounds and words of the journal. Normative text: `proto/EVENTS.md`.

/// How long is remembered of a channel, or of a node, that nothing is open of or nobody speaks of: a day. What is said of it
/// after that is news again, and its sequence begins anew.
pub const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1000;

/// Channels and nodes that are remembered though nothing is open of them, together: whoever may come may name any, and this is
/// some 30 MiB of Redis.
pub const SUBJECTS_MAX: usize = 100_000;

/// Runs of a node that are told apart, with the present one. Messages of older ones are long gone.
pub const RUNS_MAX: usize = 8;

/// Events that are told at a time: some 200 KiB, and a millisecond of Redis.
pub const READ_MAX: usize = 1024;

/// Marks of how far webhooks are, of all endpoints together. What is not noted is delivered twice after a change of duty.
pub const NOTED_MAX: usize = 10_000;

/// The longest word that tells why somebody was refused.
pub const REASON_CHARS_MAX: usize = 64;

/// Why a node joined that had been there all the time: it takes sessions again.
pub const UNDRAINED: &str = "undrained";
