//! The load generator with a stream-manager of its own, in small. Every answer must be a pick; how fast it was decides nothing
//! here.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use relay_tests::nats;
use relay_tests::process::{Process, loadtest};
use serde_json::Value;

// On one processor: whoever tests this may have no other.
const SMALL: [&str; 9] = [
    "picks",
    "--rounds=2",
    "--warmup=100ms",
    "--duration=300ms",
    "--nodes=7",
    "--connections=4",
    "--load=25",
    "--server-cpu=0",
    "--cpu=0",
];

/// Asserts that a spread was measured, and returns its ends.
fn ends(spread: &Value) -> (f64, f64) {
    let [median, min, max] = ["median", "min", "max"].map(|name| spread[name].as_f64().unwrap());
    assert!(min <= median && median <= max, "{spread}");
    (min, max)
}

#[tokio::test]
async fn picks_are_measured_beside_a_handler_that_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (out, nats) = (folder.path().to_str().unwrap(), nats::binary());
    let more = ["--out", out, "--nats-server", nats.to_str().unwrap()];
    let mut command = loadtest(SMALL.iter().chain(&more).copied());
    let ended = Process::start("relaycast-loadtest picks", &mut command).ended().await;
    // A threshold of rate or time may be missed on a busy machine.
    assert!(matches!(ended.status.code(), Some(0 | 1)), "{}: {}", ended.status, ended.said);
    let table = std::fs::read_to_string(folder.path().join("picks.md")).unwrap();
    assert!(table.contains("| answers that are no pick | ≤ 0 | 0 | reached |"), "{table}");
    assert!(table.contains("| questions without an answer | ≤ 0 | 0 | reached |"), "{table}");

    let report = std::fs::read_to_string(folder.path().join("picks.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    for side in ["bare", "manager"] {
        let side = &report[side];
        for name in ["rate", "cpu_us", "cpus", "generator_cpus", "p50_us", "p99_us", "p999_us"] {
            assert!(ends(&side[name]).0 > 0.0, "{name}: {side}");
        }
        assert!(side["p50_us"]["median"].as_f64() <= side["p999_us"]["median"].as_f64(), "{side}");
    }
    for ratio in ["rate_ratio", "cpu_ratio", "p50_ratio", "p99_ratio"] {
        assert!(ends(&report[ratio]).0 > 0.0, "{ratio}: {report}");
    }
    assert!(report["answer_bytes"].as_u64().unwrap() > 100, "{report}");
    assert!(report["answered"].as_u64().unwrap() > 100, "{report}");
    assert!(ends(&report["picks_per_node"]).0 > 0.0, "every node was picked: {report}");
    assert_eq!(report["thresholds"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_stream_manager_that_does_not_start_is_named() {
    let nats = nats::binary();
    let more = ["--relaycast=/no/such/relaycast", "--nats-server", nats.to_str().unwrap()];
    let mut command = loadtest(SMALL.iter().chain(&more).copied());
    let ended = Process::start("relaycast-loadtest picks", &mut command).ended().await;
    assert_eq!(ended.status.code(), Some(3));
    assert!(ended.said.contains("/no/such/relaycast does not start"), "{}", ended.said);
}
