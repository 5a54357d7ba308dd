//! What comes on the topic of a hub, whatever it is: no panic, and no picture that is none.

#![no_main]

libfuzzer_sys::fuzz_target!(|messages: Vec<Vec<u8>>| relay_mqtt_bridge::fuzzing::kerberos(&messages));
