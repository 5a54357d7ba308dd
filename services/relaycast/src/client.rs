//! What the three clients share: where to connect, how, and what to do when it ends.

pub(crate) mod address;
pub(crate) mod args;
pub(crate) mod connection;
pub(crate) mod console;
pub(crate) mod cutter;
pub(crate) mod input;
pub(crate) mod leave;
pub(crate) mod output;
pub(crate) mod pacer;
pub(crate) mod retry;
pub(crate) mod verdict;
pub(crate) mod watch;
