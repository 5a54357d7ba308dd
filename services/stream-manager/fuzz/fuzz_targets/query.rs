//! What a client asks for, whatever it is: no panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: String| relay_stream_manager::fuzzing::query(&text));
