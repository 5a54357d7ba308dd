//! A publisher's connection, whatever it sends: no panic, and no message beyond the bound.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (bool, u8, Vec<u8>)| {
    let (shaken, piece, bytes) = input;
    relay_rtmp::fuzzing::connection(&bytes, shaken, piece.into());
});
