//! Decides which node a client uses, and tells and does over HTTP what operators want to know and done. Never carries media.
//!
//! [`view`] is what is known of the cluster, [`placement`] chooses from it; both are pure. Everything else brings facts to the
//! one and answers from the other.

pub mod config;
pub mod placement;
pub mod view;
pub mod webhooks;

pub use config::Config;
