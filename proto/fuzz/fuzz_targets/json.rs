//! Requests, commands, answers and reports of peers: reading them never panics, and what was read is written and read back the
//! same.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use relay_proto::api::Sessions;
use relay_proto::backbone::{Command, Request, SESSIONS_BYTES_MAX, Stated, from_json, from_json_within, to_json};
use relay_proto::report::{Picks, Report, read};
use relay_proto::source::{Answered, Ask, SourcesReport};
use relay_proto::telemetry::{TELEMETRY_BYTES_MAX, Telemetry, TelemetryAsk};
use serde::Serialize;

fn same<T: Serialize + PartialEq + Debug, E: Debug>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, E>,
) {
    let Ok(message) = read(bytes) else { return };
    let written = to_json(&message);
    // What is written may be longer than what was read, where members are filled in that were absent.
    if let Ok(again) = read(&written) {
        assert_eq!(again, message);
    } else {
        assert!(written.len() > bytes.len());
    }
}

fuzz_target!(|bytes: &[u8]| {
    same(bytes, from_json::<Request>);
    same(bytes, from_json::<Stated>);
    same(bytes, |bytes| from_json_within::<Sessions>(bytes, SESSIONS_BYTES_MAX));
    same(bytes, read::<Report>);
    same(bytes, read::<Picks>);
    same(bytes, from_json::<Command>);
    same(bytes, read::<SourcesReport>);
    same(bytes, from_json::<Ask>);
    same(bytes, from_json::<Answered>);
    same(bytes, |bytes| from_json_within::<Telemetry>(bytes, TELEMETRY_BYTES_MAX));
    same(bytes, from_json::<TelemetryAsk>);
    // A command over HTTP: what follows `/v1/sources/`, and the body after the first line.
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    if let (Some(Ok(path)), body) = (parts.next().map(std::str::from_utf8), parts.next().unwrap_or_default()) {
        if let Ok((source, command)) = relay_proto::api::source::command(path, body) {
            same(&to_json(&Ask::Command { source, command }), from_json::<Ask>);
        }
    }
});
