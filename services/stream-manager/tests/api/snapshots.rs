//! `GET /v1/channels/{channel}/snapshot`.

use bytes::Bytes;
use relay_proto::api::{Channel, ChannelState};
use relay_proto::backbone::{Envelope, Head, HeadJoin, Kind, Origin, Request, cut, head_body};
use relay_proto::{Epoch, KeyHash};

use crate::support::{Cluster, Node, Running, channel, live, until};

const EPOCH: Epoch = Epoch::new(7);

fn picture(filling: usize) -> Vec<u8> {
    let scan = vec![0x12; filling];
    [&[0xFF, 0xD8, 0xFF, 0xDA, 0, 4, 1, 1][..], &scan, &[0xFF, 0xD9]].concat()
}

fn mjpeg(name: &str) -> Channel {
    Channel { container: Some("mjpeg".to_owned()), ..live(name) }
}

/// What an origin sends: head, then chunks.
fn snapshot(node: &Node, offset: usize, chunks: &[&[u8]], message_bytes_max: usize) -> Vec<Bytes> {
    let head = Head {
        origin: Origin {
            peer: node.peer.clone(),
            key: KeyHash::of(b"", &"cam1".parse().unwrap(), &"k".parse().unwrap()),
        },
        container: Some("mjpeg".to_owned()),
        first: 4,
        end: 4 + chunks.len() as u64,
        join: Some(HeadJoin { offset: offset as u64, init: 0, preamble: 0 }),
    };
    let head = head_body(&head, &[], &[]);
    let head = cut(Envelope::new(Kind::Head, EPOCH, 4), &head, 1 << 20);
    let chunks = (4..).zip(chunks).flat_map(|(seq, chunk)| {
        cut(Envelope::new(Kind::Chunk, EPOCH, seq), chunk, message_bytes_max).collect::<Vec<_>>()
    });
    head.chain(chunks).collect()
}

fn chunk(seq: u64, bytes: &[u8]) -> Bytes {
    cut(Envelope::new(Kind::Chunk, EPOCH, seq), bytes, 1 << 20).next().unwrap()
}

async fn origin(cluster: &Cluster, running: &Running) -> Node {
    let node = cluster.node("n1", running).await;
    node.carry(running, [mjpeg("cam1")]).await;
    node
}

#[tokio::test]
async fn the_newest_whole_picture_is_passed_on_as_it_is() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = origin(&cluster, &running).await;
    let (before, wanted) = (picture(5), picture(9000));
    let first = [&before[..], &wanted[..100]].concat();
    // In parts, as where messages are short.
    node.state.lock().unwrap().snapshot = snapshot(&node, before.len(), &[&first, &wanted[100..]], 1000);
    let answer = running.client.read("/v1/channels/cam1/snapshot").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/jpeg")));
    assert_eq!(answer.body, wanted);
    until("the origin is told that nothing more is wanted", async || {
        let state = node.state.lock().unwrap();
        matches!(state.asked[..], [Request::Snapshot { .. }, Request::Leave { .. }]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_picture_that_is_on_its_way_is_waited_for() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = origin(&cluster, &running).await;
    let wanted = picture(300);
    node.state.lock().unwrap().snapshot = snapshot(&node, 0, &[&wanted[..50]], 1 << 20);
    let take = running.client.read("/v1/channels/cam1/snapshot");
    let go_on = async {
        until("the origin is asked", async || (!node.state.lock().unwrap().asked.is_empty()).then_some(()))
            .await;
        let chunks = cluster.subjects.chunks(&"cam1".parse().unwrap());
        // What was cached comes again, and what follows does not come in order.
        for (seq, bytes) in [(4, &wanted[..50]), (6, &wanted[200..]), (5, &wanted[50..200])] {
            node.publish(&chunks, chunk(seq, bytes)).await;
        }
    };
    let (answer, ()) = tokio::join!(take, go_on);
    assert_eq!(answer.body, wanted);
}

#[tokio::test]
async fn many_who_ask_at_once_get_one_picture() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = origin(&cluster, &running).await;
    let wanted = picture(300);
    // Whole only later, so that all of them ask before.
    node.state.lock().unwrap().snapshot = snapshot(&node, 0, &[&wanted[..50]], 1 << 20);
    let asking =
        futures_util::future::join_all((0..20).map(|_| running.client.read("/v1/channels/cam1/snapshot")));
    let go_on = async {
        until("all of them are connected", async || {
            (running.metric("relaycast_manager_connections", &[]) == 20.0).then_some(())
        })
        .await;
        until("the origin is asked", async || (!node.state.lock().unwrap().asked.is_empty()).then_some(()))
            .await;
        // One answer of the whole runtime's turn: every request that was accepted has been read by now.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        node.publish(&cluster.subjects.chunks(&"cam1".parse().unwrap()), chunk(5, &wanted[50..])).await;
    };
    let (answers, ()) = tokio::join!(asking, go_on);
    assert!(answers.iter().all(|answer| answer.body == wanted));
    let state = node.state.lock().unwrap();
    let asked = state.asked.iter().filter(|request| matches!(request, Request::Snapshot { .. })).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn what_has_no_picture_is_told_apart() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = origin(&cluster, &running).await;
    let waiting = Channel { receivers: 1, ..channel("yard", ChannelState::Waiting) };
    let new = Channel { container: None, ..live("new") };
    node.carry(&running, [mjpeg("cam1"), live("flv"), new, waiting]).await;
    for (name, expected) in [
        ("flv", (501, "no-snapshot")),
        ("new", (501, "no-snapshot")),
        ("yard", (409, "not-live")),
        ("no", (404, "no-such-channel")),
        ("n!", (400, "bad-parameter")),
        // It does not come: nothing is sent.
        ("cam1", (504, "node-silent")),
    ] {
        let answer = running.client.read(&format!("/v1/channels/{name}/snapshot")).await;
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{name}");
    }
    let detail = running.client.read("/v1/channels/flv/snapshot").await.detail();
    assert!(detail.contains("container mjpeg"), "{detail}");
    let unknown = Envelope::new(Kind::Unknown, EPOCH, 0);
    node.state.lock().unwrap().snapshot = cut(unknown, &[], 1 << 20).collect();
    let answer = running.client.read("/v1/channels/cam1/snapshot").await;
    assert_eq!(answer.problem(), (409, "not-live".to_owned()));
    let endless = vec![0x12; 1 << 20];
    let chunks: Vec<&[u8]> = std::iter::repeat_n(&endless[..], 9).collect();
    node.state.lock().unwrap().snapshot = snapshot(&node, 0, &chunks, 1 << 20);
    let answer = running.client.read("/v1/channels/cam1/snapshot").await;
    assert_eq!(answer.problem(), (501, "no-snapshot".to_owned()));
    running.backbone.set_connected(false);
    let answer = running.client.read("/v1/channels/cam1/snapshot").await;
    assert_eq!(answer.problem(), (503, "unavailable".to_owned()));
}
