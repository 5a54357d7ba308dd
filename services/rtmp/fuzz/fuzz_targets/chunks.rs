//! A chunk stream, whatever it is: no panic, and the same messages however it is cut.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (chunk_bytes, piece, bytes) = input;
    relay_rtmp::fuzzing::chunks(&bytes, chunk_bytes.into(), piece.into());
});
