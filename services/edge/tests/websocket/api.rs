//! What the node tells over plain HTTP.

use std::time::Duration;

use relay_edge::Config;
use relay_proto::api::ChannelState;

use crate::support::Node;
use crate::support::media::picture;

#[tokio::test]
async fn channels_are_listed_by_name_with_their_state() {
    let node = Node::start(Config::default()).await;
    assert_eq!(node.channels().await, []);
    let _waiting = node.wait_for("/b-waiting/secret/receive").await;
    let _live = node.publish("/a-live/secret/publish", &picture(1)).await;
    drop(node.publish("/c-held/secret/publish", b"first").await);
    node.until("relaycast_publications", |live| live == 1.0).await;

    let channels = node.channels().await;
    let states: Vec<_> = channels.iter().map(|channel| (channel.name.as_str(), channel.state)).collect();
    assert_eq!(
        states,
        [
            ("a-live", ChannelState::Live),
            ("b-waiting", ChannelState::Waiting),
            ("c-held", ChannelState::Held)
        ]
    );
    let live = &channels[0];
    assert_eq!(live.container.as_deref(), Some("mjpeg"));
    assert_eq!((live.tracks[0].width, live.tracks[0].height), (Some(16), Some(8)));
    assert!(live.started_at.as_ref().is_some_and(|at| at.ends_with('Z')), "{live:?}");
    assert_eq!(live.receivers, 0);
    assert_eq!(channels[1].receivers, 1);
    assert_eq!((channels[1].container.as_ref(), channels[1].started_at.as_ref()), (None, None));
}

#[tokio::test]
async fn a_publisher_without_media_shows_as_stalled_until_it_sends_again() {
    let publisher_stall_timeout = Duration::from_millis(300);
    let node = Node::start(Config { publisher_stall_timeout, ..Config::default() }).await;
    let mut publisher = node.publish("/cam/secret/publish", b"first").await;
    node.until_state(ChannelState::Stalled).await;
    assert_eq!(node.channel().await.bitrate, 0);
    publisher.send(b"second").await;
    node.until_state(ChannelState::Live).await;
}

#[tokio::test]
async fn a_held_channel_is_gone_when_the_grace_period_is_over() {
    let node = Node::start(Config { grace: Duration::from_millis(50), ..Config::default() }).await;
    drop(node.publish("/cam/secret/publish", b"first").await);
    node.until("relaycast_publications", |live| live == 0.0).await;
    node.until("relaycast_channels", |channels| channels == 0.0).await;
    assert_eq!(node.channels().await, []);
}

#[tokio::test]
async fn a_channel_is_gone_with_its_last_session() {
    let node = Node::start(Config::default()).await;
    let waiting = node.wait_for("/cam/secret/receive").await;
    assert_eq!(node.metric("relaycast_channels", &[]), 1.0);
    waiting.close().await;
    node.until("relaycast_channels", |channels| channels == 0.0).await;
}

#[tokio::test]
async fn sessions_are_listed_in_pages_where_that_is_asked_for() {
    let node = Node::start(Config::default()).await;
    let _waiting = [node.wait_for("/cam/a/receive").await, node.wait_for("/cam/b/receive").await];
    let all = node.sessions().await;
    assert_eq!(all.len(), 2);
    let get = async |query: &str| {
        let request = format!("GET /v1/sessions?{query} HTTP/1.1\r\nHost: x\r\n");
        node.connect().await.ask(&request).await
    };
    let page = async |query: &str| {
        let answer = get(query).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let page = serde_json::from_str::<relay_proto::api::Sessions>(body).unwrap();
        (page.sessions.into_iter().map(|session| session.session).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(page("max=1").await, (vec![all[0]], true));
    assert_eq!(page(&format!("channel=cam&max=1&after={}", all[0])).await, (vec![all[1]], false));
    assert_eq!(page(&format!("after={}", all[1])).await, (vec![], false));
    assert_eq!(page("channel=other").await, (vec![], false));
    for wrong in ["max=many", "max=-1", "after=first"] {
        assert!(get(wrong).await.starts_with("HTTP/1.1 400 "), "{wrong}");
    }
}

#[tokio::test]
async fn head_has_no_body_and_other_methods_are_told_which_are_allowed() {
    let node = Node::start(Config::default()).await;
    let answer = node.connect().await.ask("HEAD /v1/channels HTTP/1.1\r\nHost: x\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("application/json") && answer.ends_with("\r\n\r\n"), "{answer}");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/v1/channels", "/", "/nothing"] {
            let answer = node.connect().await.ask(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
            assert!(answer.to_ascii_lowercase().contains("\r\nallow: get, head\r\n"), "{answer}");
        }
    }
}

#[tokio::test]
async fn the_page_is_there_unless_it_is_turned_off() {
    let node = Node::start(Config::default()).await;
    let answer = node.connect().await.ask("GET / HTTP/1.1\r\nHost: x\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("text/html"), "{answer}");
    let node = Node::start(Config { page: false, ..Config::default() }).await;
    for path in ["/", "/page/app.js"] {
        let answer = node.connect().await.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}
