//! A message between nodes: opening it never panics, and what opens prints as it came but for the bits that are for later
//! versions.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use relay_proto::backbone::{Body, ENVELOPE_BYTES, Envelope};

/// Where flags are, and a byte that says nothing yet.
const FLAGS: usize = 2;
const FLAGS_KNOWN: u8 = 0b111;
const UNUSED: usize = 3;

fuzz_target!(|message: &[u8]| {
    let Ok(Body { envelope, bytes }) = Envelope::open(Bytes::copy_from_slice(message)) else { return };
    assert!(envelope.part < envelope.parts);
    assert_eq!(bytes, message[ENVELOPE_BYTES..]);
    let mut known = message[..ENVELOPE_BYTES].to_vec();
    known[FLAGS] &= FLAGS_KNOWN;
    known[UNUSED] = 0;
    assert_eq!(envelope.to_bytes()[..], known);
});
