//! Publishers that are no websockets: each module takes one protocol, and to a channel it is a publisher like any other.

pub(crate) mod rtmp;
