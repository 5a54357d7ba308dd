//! What a client sends after the handshake, whatever it is: no panic, the same is received however it is cut, and the same
//! as another implementation receives.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (piece, direct_min, bytes) = input;
    relay_edge::fuzzing::inbound(&bytes, piece.into(), direct_min.into());
});
