//! What gateways say, whatever it is: no panic, and every command is answered once.

#![no_main]

libfuzzer_sys::fuzz_target!(|messages: Vec<Vec<u8>>| relay_mqtt_bridge::fuzzing::dji(&messages));
