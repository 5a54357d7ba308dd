//! What a client sends after the handshake, whatever it is: no panic, and the same is received however it is cut.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (ahead, piece, bytes) = input;
    relay_edge::fuzzing::inbound(&bytes, ahead.into(), piece.into());
});
