//! The load generator with a cluster of its own: every scenario in small. Nothing may be lost; how fast it was decides nothing
//! here.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use relay_tests::nats;
use relay_tests::process::{Ended, Process, loadtest};
use serde_json::Value;

const SMALL: [&str; 4] = ["--warmup=200ms", "--duration=300ms", "--channels=5", "--streams=3"];

/// Runs a scenario to its end, and returns what it reports.
async fn measure(scenario: &str, more: &[&str]) -> (Ended, Value) {
    let folder = tempfile::tempdir().unwrap();
    let (out, nats) = (folder.path().to_str().unwrap(), nats::binary());
    let own = ["cluster", "--scenario", scenario, "--out", out, "--nats-server", nats.to_str().unwrap()];
    let mut command = loadtest(own.iter().chain(&SMALL).chain(more).copied());
    let ended = Process::start("relaycast-loadtest cluster", &mut command).ended().await;
    // A threshold of time may be missed on a busy machine.
    assert!(matches!(ended.status.code(), Some(0 | 1)), "{}: {}", ended.status, ended.said);
    let table = std::fs::read_to_string(folder.path().join("cluster.md")).unwrap();
    assert!(table.contains("| messages lost | ≤ 0 | 0 | reached |"), "{table}");
    let report = std::fs::read_to_string(folder.path().join("cluster.json")).unwrap();
    (ended, serde_json::from_str(&report).unwrap())
}

/// Asserts that a spread was measured, and returns its middle.
fn median(spread: &Value) -> f64 {
    let [median, min, max] = ["median", "min", "max"].map(|name| spread[name].as_f64().unwrap());
    assert!(min <= median && median <= max, "{spread}");
    median
}

#[tokio::test]
async fn a_hop_is_measured_beside_one_node_and_bare_nats() {
    let (_, report) = measure("hop", &["--rounds=1"]).await;
    let hops = report["hop"].as_array().unwrap();
    assert_eq!(hops.len(), 3);
    for hop in hops {
        for name in ["one_node_p50", "two_nodes_p50", "two_nodes_p99", "bare_p50", "bare_p99"] {
            assert!(median(&hop[name]) > 0.0, "{name}: {hop}");
        }
        median(&hop["added_p50"]);
        assert_eq!(hop["lost"], 0);
        assert!(hop["delivered"].as_u64().unwrap() > 10, "{hop}");
    }
    assert_eq!(report["thresholds"].as_array().unwrap().len(), 3 + 1);
    assert_eq!(
        [&report["cost"], &report["cold"], &report["killed"]],
        [&Value::Null; 3],
        "what was not asked"
    );
}

#[tokio::test]
async fn every_process_on_the_way_has_its_cost() {
    let (_, report) = measure("cost", &["--rounds=1", "--rate=50", "--bytes=1024"]).await;
    let cost = &report["cost"];
    assert_eq!(cost["load"]["bytes"], 1024);
    for name in
        ["one_node", "origin", "edge", "nats_of_nodes", "bare_publisher", "bare_subscriber", "nats_of_bare"]
    {
        assert!(median(&cost[name]) > 0.1, "{name}: {cost}");
    }
    assert_eq!(cost["lost"], 0);
    assert!(cost["delivered"].as_u64().unwrap() > 2 * 5 * 10, "{cost}");
}

#[tokio::test]
async fn whoever_is_first_on_a_node_can_decode_from_the_first_byte() {
    let (_, report) = measure("cold", &["--rounds=1"]).await;
    let cold = &report["cold"];
    assert_eq!([&cold["starts"], &cold["undecodable"]], [3, 0], "{cold}");
    assert_eq!([&cold["first_message_us"]["count"], &cold["first_picture_us"]["count"]], [3, 3], "{cold}");
}

#[tokio::test]
async fn receivers_go_on_when_their_origin_is_killed() {
    let (_, report) = measure("kill", &["--rounds=2"]).await;
    let killed = &report["killed"];
    assert_eq!(
        [&killed["kills"], &killed["receivers"], &killed["resumed_us"]["count"]],
        [2, 6, 6],
        "{killed}"
    );
    assert_eq!([&killed["forsaken"], &killed["lost"]], [0, 0], "{killed}");
}

#[tokio::test]
async fn a_server_that_does_not_start_is_named() {
    let mut command = loadtest(["cluster", "--redis-server=/no/such/redis"]);
    let ended = Process::start("relaycast-loadtest cluster", &mut command).ended().await;
    assert_eq!(ended.status.code(), Some(3));
    assert!(ended.said.contains("/no/such/redis does not start"), "{}", ended.said);
}
