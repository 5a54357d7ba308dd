use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_async;

use super::*;

/// Stands for a node.
struct Node(TcpListener);

type Publisher = WebSocketStream<TcpStream>;

impl Node {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("ws://{}/source-a/key/publish", self.0.local_addr().unwrap())
    }

    async fn publisher(&self) -> Publisher {
        accept_async(self.0.accept().await.unwrap().0).await.unwrap()
    }
}

fn start(url: String) -> (Pictures, JoinSet<Ended>) {
    let (pictures, run) = publish(url);
    let mut tasks = JoinSet::new();
    tasks.spawn(run);
    (pictures, tasks)
}

fn picture(bytes: &[u8]) -> Picture {
    bytes.into()
}

async fn ended(mut tasks: JoinSet<Ended>) -> Ended {
    tasks.join_next().await.unwrap().unwrap()
}

async fn chunk(publisher: &mut Publisher) -> Bytes {
    match publisher.next().await {
        Some(Ok(Message::Binary(chunk))) => chunk,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn pictures_are_chunks_as_they_are_and_the_end_is_told() {
    let node = Node::start().await;
    let (pictures, tasks) = start(node.url());
    assert_eq!(pictures.show(picture(b"one")), Shown::Kept);
    let mut publisher = node.publisher().await;
    assert_eq!(chunk(&mut publisher).await, "one");
    assert_eq!(pictures.show(picture(&[7; 100_000])), Shown::Kept);
    assert_eq!(chunk(&mut publisher).await, vec![7; 100_000]);
    pictures.show(picture(b"last"));
    pictures.finish();
    assert_eq!(chunk(&mut publisher).await, "last");
    let goodbye = publisher.next().await.unwrap().unwrap();
    assert!(matches!(goodbye, Message::Close(Some(CloseFrame { code: CloseCode::Normal, .. }))));
    drop(publisher);
    assert_eq!(ended(tasks).await, Ended::Done);
}

#[tokio::test]
async fn of_pictures_that_wait_the_newest_is_sent() {
    let node = Node::start().await;
    let (pictures, _tasks) = start(node.url());
    assert_eq!(pictures.show(picture(b"one")), Shown::Kept);
    assert_eq!(pictures.show(picture(b"two")), Shown::InsteadOfOlder);
    let mut publisher = node.publisher().await;
    assert_eq!(chunk(&mut publisher).await, "two");
}

#[tokio::test]
async fn whoever_is_dropped_says_no_goodbye() {
    let node = Node::start().await;
    let (pictures, tasks) = start(node.url());
    pictures.show(picture(b"one"));
    let mut publisher = node.publisher().await;
    assert_eq!(chunk(&mut publisher).await, "one");
    drop(pictures);
    assert_eq!(ended(tasks).await, Ended::Done);
    assert!(!matches!(publisher.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn why_the_node_closes_is_told() {
    let node = Node::start().await;
    let (pictures, tasks) = start(node.url());
    pictures.show(picture(b"one"));
    let mut publisher = node.publisher().await;
    let busy = CloseFrame { code: 4409.into(), reason: "busy retry_after_ms=250".into() };
    publisher.close(Some(busy)).await.unwrap();
    let reason = "busy".to_owned();
    assert_eq!(ended(tasks).await, Ended::Refused { code: 4409, reason, retry_after_ms: Some(250) });
}

#[tokio::test]
async fn where_nobody_is_there_it_is_lost() {
    let node = Node::start().await;
    let url = node.url();
    drop(node);
    let (pictures, tasks) = start(url);
    pictures.show(picture(b"one"));
    assert_eq!(ended(tasks).await, Ended::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_nothing_is_given_up_and_nobody_waited_for_it() {
    let node = Node::start().await;
    let (pictures, tasks) = start(node.url());
    pictures.show(picture(b"one"));
    let publisher = node.publisher().await;
    let large = picture(&[0; 8 << 20]);
    let began = Instant::now();
    for _ in 0..100 {
        pictures.show(large.clone());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(ended(tasks).await, Ended::Lost);
    assert!(began.elapsed() >= WRITE_WITHIN);
    drop(publisher);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_out_and_a_silent_node_is_given_up() {
    let node = Node::start().await;
    let (pictures, tasks) = start(node.url());
    pictures.show(picture(b"one"));
    let mut publisher = node.publisher().await;
    assert_eq!(chunk(&mut publisher).await, "one");
    let began = Instant::now();
    let mut heartbeats = 0;
    while let Some(Ok(message)) = publisher.next().await {
        assert_eq!(message, Message::text(HEARTBEAT));
        heartbeats += 1;
    }
    assert_eq!(heartbeats, 2);
    assert_eq!(ended(tasks).await, Ended::Lost);
    assert!(began.elapsed() >= IDLE_TIMEOUT);
}
