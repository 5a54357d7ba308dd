//! What is known of the cluster: nodes, what they carry, and where clients were sent a moment ago. Pure: time comes in as
//! milliseconds of a clock that never goes back.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What a run of a node has said last counts, until it says otherwise or is silent for too long.   │
//! │ What an older run says never undoes what a newer one has said.                                  │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
