//! The limit of open files, which is the limit of connections.
//!
//! Shells and service managers start processes with a soft limit of 1,024 for the sake of programs that still use
//! `select`; the hard limit is what the operator allows. A node takes all of it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Files beside the clients' sockets: listeners, logs, the runtime's own, an admin connection or two.
const OTHER_FILES: u64 = 128;

/// Raises the limit as far as allowed, and says so when that is less than the settings promise.
pub(super) fn raise_limit(sessions_max: usize, handshakes_max: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // Nothing stands for no limit.
    let limit = if raised.is_ok() { maximum } else { current }.unwrap_or(u64::MAX);
    let wanted = (sessions_max as u64).saturating_add(handshakes_max as u64).saturating_add(OTHER_FILES);
    if limit < wanted {
        warn!(
            limit,
            wanted, "fewer open files allowed than sessions-max and handshakes-max need (ulimit -n)"
        );
    } else {
        info!(limit, "open files");
    }
}
