//! What an origin sends as a stream of JPEGs, whatever it is: no panic, and the same is found however it is cut.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, bytes) = input;
    relay_stream_manager::fuzzing::picture(&bytes, cut.into());
});
