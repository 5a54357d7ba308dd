//! The websocket streaming protocol: path grammar, heartbeat, errors, close codes. Normative text: `proto/WEBSOCKET.md`.

mod close;
mod frame;
mod mask;
mod target;

use std::time::Duration;

pub use close::{Close, ERROR_PREFIX};
pub use frame::{FRAME_HEADER_BYTES_MAX, FrameHeader, MASKED_FRAME_HEADER_BYTES_MAX, OpCode};
pub use mask::Mask;
pub use target::{CacheChoice, Form, Kind, ParseTargetError, ReceiveOptions, Target};

/// The heartbeat: a TEXT message of this one letter, both ways.
pub const HEARTBEAT: &str = "h";

/// How often each side sends a heartbeat. Proxies cut sockets that are silent for 60 s.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(20);

/// A side that has heard nothing for this long may end the connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest chunk a node takes unless configured otherwise: a 4K key frame with room to spare.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;
