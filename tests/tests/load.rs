//! The load generator against a node, and against its own ceiling: small runs of every profile, in which nothing may be
//! lost. How fast they are decides nothing here.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use std::process::Stdio;

use relay_tests::node::Node;
use relay_tests::process::{Ended, Process, loadtest};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// Runs a profile to its end; the outcome is what it wrote to standard output.
async fn run(address: &str, args: &[&str]) -> (Ended, String) {
    let url = format!("ws://{address}");
    let mut command = loadtest(["run"].iter().chain(args).copied().chain(["--url", &url, "--json", "-"]));
    let mut process = Process::start("relaycast-loadtest run", command.stdout(Stdio::piped()));
    let mut stdout = process.take_stdout();
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    (process.ended().await, text)
}

const SHORT: [&str; 4] = ["--duration=500ms", "--warmup=100ms", "--max-lost=0", "--max-refused=0"];

/// Runs a profile in which nothing may be lost, and returns its outcome.
async fn run_whole(address: &str, args: &[&str]) -> Value {
    let args = [args, &SHORT].concat();
    let (ended, text) = run(address, &args).await;
    assert!(ended.status.success(), "{args:?}: {}: {text}", ended.said);
    let outcome = serde_json::from_str::<Value>(&text).unwrap()["outcome"].take();
    for name in ["lost", "refused", "reordered", "duplicated", "damaged"] {
        assert_eq!(outcome[name], 0, "{name}: {outcome}");
    }
    outcome
}

fn number(outcome: &Value, name: &str) -> u64 {
    outcome[name].as_u64().unwrap()
}

/// Asserts of an open loop that each receiver of a channel got every message that was sent in the measurement, and that
/// each of these was measured.
fn is_measured_whole(outcome: &Value, receivers: u64) {
    let (sent, got) = (number(&outcome["lateness_us"], "count"), number(&outcome["latency_us"], "count"));
    assert_eq!(got, sent * receivers, "{outcome}");
}

#[tokio::test]
async fn in_an_open_loop_every_receiver_gets_every_message() {
    let node = Node::start(&[]).await;
    let address = node.address().to_string();
    let pid = node.pid().to_string();
    let outcome = run_whole(&address, &["event", "--receivers=100", "--rate=50", "--pid", &pid]).await;
    assert_eq!(number(&outcome, "connections"), 101);
    // Of half a second at 50 a second.
    assert!(number(&outcome["lateness_us"], "count") >= 25, "{outcome}");
    is_measured_whole(&outcome, 100);
    let server = &outcome["server"];
    assert!(server["rss_bytes"].as_u64().unwrap() > 1 << 20, "{server}");
    assert!(server["cpu_us_per_message"].as_f64().unwrap() > 0.1, "{server}");
    let outcome = run_whole(&address, &["many", "--channels=20", "--rate=50", "--threads=3"]).await;
    assert!(number(&outcome["lateness_us"], "count") >= 20 * 25, "{outcome}");
    is_measured_whole(&outcome, 2);
}

#[tokio::test]
async fn a_closed_loop_keeps_its_window_on_any_number_of_threads() {
    let node = Node::start(&[]).await;
    let address = node.address().to_string();
    for threads in ["1", "3"] {
        for profile in ["small", "bulk"] {
            let outcome = run_whole(&address, &[profile, "--receivers=20", "--threads", threads]).await;
            assert!(number(&outcome, "delivered") > 20 * 16, "{outcome}");
        }
    }
}

#[tokio::test]
async fn what_looks_like_media_is_taken_for_media() {
    let node = Node::start(&[]).await;
    let address = node.address().to_string();
    for (profile, container) in [("cameras", "flv"), ("mjpeg", "mjpeg")] {
        let args = [profile, "--channels=3", "--receivers=3", "--rate=50"];
        let (outcome, seen) = tokio::join!(run_whole(&address, &args), async {
            relay_tests::until("the container is known", async || node.channel("load-0").await?.container)
                .await
        });
        assert_eq!(seen, container);
        is_measured_whole(&outcome, 3);
    }
}

#[tokio::test]
async fn receivers_that_come_and_go_lose_nothing_while_they_are_there() {
    let node = Node::start(&[]).await;
    let args = ["churn", "--receivers=50", "--rate=100", "--churn=200"];
    let outcome = run_whole(&node.address().to_string(), &args).await;
    assert!(number(&outcome["first_message_us"], "count") > 20, "{outcome}");
}

#[tokio::test]
async fn frozen_and_slow_receivers_take_nothing_from_healthy_ones() {
    let node = Node::start(&["--write-timeout=200ms"]).await;
    let args = ["frozen", "--receivers=50", "--slow=2", "--rate=400", "--bytes=32768"];
    let outcome = run_whole(&node.address().to_string(), &args).await;
    assert_eq!(number(&outcome, "connections"), 54);
    relay_tests::until("the frozen one is closed", async || {
        (node.metric("relaycast_session_ends_total{kind=\"receive\",reason=\"too_slow\"}").await >= 1.0)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_ceiling_is_a_relay() {
    let mut command = loadtest(["ceiling", "--listen=127.0.0.1:0"]);
    let mut ceiling = Process::start("relaycast-loadtest ceiling", command.stdout(Stdio::piped()));
    let mut lines = BufReader::new(ceiling.take_stdout()).lines();
    let said = lines.next_line().await.unwrap().unwrap();
    let address = said.strip_prefix("listening on ").unwrap();
    run_whole(address, &["event", "--receivers=100", "--rate=50"]).await;
    run_whole(address, &["small", "--receivers=20"]).await;
    run_whole(address, &["bulk", "--receivers=20"]).await;
}

#[tokio::test]
async fn a_missed_threshold_and_a_run_that_cannot_be_have_codes_of_their_own() {
    let node = Node::start(&[]).await;
    let address = node.address().to_string();
    let args = ["event", "--receivers=2", "--duration=100ms", "--warmup=10ms", "--min-rate=1000000000"];
    let (ended, text) = run(&address, &args).await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
    assert!(ended.said.contains("missed: messages per second is"), "{}", ended.said);
    assert!(text.contains("\"outcome\""), "what was measured is told all the same");

    let (ended, _) = run(&address, &["event", "--bytes=3"]).await;
    assert_eq!(ended.status.code(), Some(3));
    assert!(ended.said.contains("at least 24 bytes"), "{}", ended.said);

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (ended, _) = run(&nobody.to_string(), &["event", "--receivers=2"]).await;
    assert_eq!(ended.status.code(), Some(3));
    assert!(ended.said.contains("nobody could connect: Connection refused"), "{}", ended.said);
}
