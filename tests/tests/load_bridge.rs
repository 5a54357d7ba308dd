//! The load generator with a bridge of its own, in small. Every camera must be seen; what that cost decides nothing here.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use relay_tests::process::{Process, loadtest};
use relay_tests::{mosquitto, nats};
use serde_json::Value;

#[tokio::test]
async fn cameras_are_seen_through_a_bridge_beside_a_bare_client() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let (nats, mosquitto) = (nats::binary(), mosquitto::binary());
    let small =
        ["bridge", "--cameras=12", "--docks=5", "--image-bytes=20000", "--warmup=500ms", "--duration=3s"];
    let programs = ["--nats-server", nats.to_str().unwrap(), "--mosquitto", mosquitto.to_str().unwrap()];
    let mut command = loadtest(small.iter().chain(&programs).chain(&["--out", out]).copied());
    let ended = Process::start("relaycast-loadtest bridge", &mut command).ended().await;
    // A threshold of cost or time may be missed on a busy machine.
    assert!(matches!(ended.status.code(), Some(0 | 1)), "{}: {}", ended.status, ended.said);
    let table = std::fs::read_to_string(folder.path().join("bridge.md")).unwrap();
    assert!(table.contains("| cameras that are seen | ≥ 12 | 12 | reached |"), "{table}");

    let report = std::fs::read_to_string(folder.path().join("bridge.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["ends"], 0, "{report}");
    let [heard, pictures, viewed] =
        [&report["heard"]["messages"], &report["heard"]["pictures"], &report["viewed"]]
            .map(|number| number.as_u64().unwrap());
    // Docks say how they are as well.
    assert!(pictures >= 12 && viewed >= 12 && heard > pictures, "{report}");
    for process in ["bridge", "bare", "node", "broker"] {
        assert!(report[process]["cpus"].as_f64().unwrap() > 0.0, "{process}: {report}");
        assert!(report[process]["rss_bytes"].as_u64().unwrap() > 1 << 20, "{process}: {report}");
    }
    for delay in [&report["viewer_delay_us"], &report["heard"]["delay_us"]] {
        assert!(delay["p50"].as_f64().unwrap() > 0.0, "pictures say when they were sent: {report}");
    }
}
