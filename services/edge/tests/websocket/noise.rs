//! Whatever bytes follow a handshake: the session ends or goes on, and the node does not care.

use proptest::prelude::*;
use relay_edge::Config;

use crate::support::raw::frame;
use crate::support::{Bystanders, Node};

/// Frames that are well formed but for what their first byte says, and bytes that are nothing.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let framed = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(first, payload)| frame(first, &payload));
    let sane = (prop::sample::select(vec![0_u8, 1, 2, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A]), "[ -~]{0,130}")
        .prop_map(|(first, payload)| frame(first, payload.as_bytes()));
    let piece = prop_oneof![framed, sane, prop::collection::vec(any::<u8>(), 0..40)];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

#[test]
fn no_bytes_after_a_handshake_harm_the_node_or_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (node, others) = runtime.block_on(async {
        let node = Node::start(Config { chunk_bytes_max: 500, ..Config::default() }).await;
        let others = Bystanders::on(&node).await;
        (node, others)
    });
    let others = tokio::sync::Mutex::new(others);
    let kind = prop::sample::select(vec!["publish", "receive", "receive-clear-cache", "probe"]);
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&(kind, noise()), |(kind, bytes)| {
        runtime.block_on(async {
            let mut client = node.open_raw(&format!("/cam/secret/{kind}")).await;
            // The node may have seen enough before everything is written.
            let _ = client.try_write(&bytes).await;
            drop(client);
            // A task that panicked would leave its connection in the count.
            node.until("relaycast_connections", |open| open == 2.0).await;
            others.lock().await.are_undisturbed().await;
        });
        Ok(())
    });
    assert_eq!(result, Ok(()));
}
