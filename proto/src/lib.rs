//! Every contract of Relaycast that crosses a process border.
//!
//! Types that parse and print, constants that both sides must agree on, and nothing that runs: no socket, no task,
//! no clock. The normative texts stand beside this crate (`proto/*.md`) and change in the same commit as the code.

pub mod api;
pub mod backbone;
pub mod dji;
pub mod event;
pub mod ids;
pub mod journal;
pub mod kerberos;
pub mod key_hash;
pub mod notice;
pub mod registry;
pub mod report;
pub mod rtmp;
pub mod source;
pub mod telemetry;
pub mod websocket;

pub use ids::{ChannelName, Epoch, Incarnation, NodeId, SessionId, StreamKey};
pub use key_hash::KeyHash;
