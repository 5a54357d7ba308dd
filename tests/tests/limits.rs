//! What only a process of its own can run out of.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use relay_tests::node::Node;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_node_without_file_descriptors_goes_on_when_some_come_back() {
    const OPEN_FILES_MAX: u32 = 64;
    let node = Node::start_short_of_files(OPEN_FILES_MAX, &[]).await;
    // The kernel accepts these; the node cannot take all of them out of its queue.
    let mut connections = Vec::new();
    for _ in 0..OPEN_FILES_MAX {
        connections.push(TcpStream::connect(node.address()).await.unwrap());
    }
    node.logs("connection not accepted").await;
    drop(connections);
    assert!(node.metric("relaycast_accept_errors_total").await > 0.0);
    assert!(node.channel("cam").await.is_none(), "it answers again");
}
