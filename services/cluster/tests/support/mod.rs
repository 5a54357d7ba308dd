//! What the tests that need real servers share, beside the servers.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

pub(crate) mod backbone;
pub(crate) mod deployments;
pub(crate) mod journal;
pub(crate) mod registry;
