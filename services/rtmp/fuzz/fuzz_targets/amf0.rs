//! Values, whatever they are: no panic, and what was read can be written and read.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relay_rtmp::fuzzing::amf0(bytes));
