//! `GET /v1/channels` and what follows it.

use relay_proto::api::manager::{ChannelPage, ClusterChannel, Part, Probe};
use relay_proto::api::{Channel, ChannelState, Track};

use crate::support::{Cluster, channel, live};

#[tokio::test]
async fn channels_are_told_by_name_in_pages_and_filtered() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let one = cluster.node("n1", &running).await;
    let two = cluster.node("n2", &running).await;
    one.carry(&running, [live("cam2"), live("cam1"), channel("door", ChannelState::Stalled)]).await;
    let waiting = Channel { receivers: 1, ..channel("yard", ChannelState::Waiting) };
    two.carry(&running, [waiting]).await;
    for (query, expected, next) in [
        ("", &["cam1", "cam2", "door", "yard"][..], None),
        ("prefix=cam", &["cam1", "cam2"], None),
        ("state=live", &["cam1", "cam2"], None),
        ("state=stalled", &["door"], None),
        ("state=waiting", &["yard"], None),
        ("node=n2", &["yard"], None),
        ("limit=1", &["cam1"], Some("cam1")),
        ("limit=2&after=cam1", &["cam2", "door"], Some("door")),
        ("after=yard", &[], None),
    ] {
        let page: ChannelPage = running.client.get(&format!("/v1/channels?{query}")).await.json();
        let names: Vec<&str> = page.channels.iter().map(|channel| channel.name.as_str()).collect();
        assert_eq!((names.as_slice(), page.next.as_deref()), (expected, next), "{query}");
    }
    for bad in
        ["limit=0", "limit=1001", "state=on", "node=!", "prefix=", "after=%20", "x=1", "limit=1&limit=1"]
    {
        let answer = running.client.get(&format!("/v1/channels?{bad}")).await;
        assert_eq!(answer.problem(), (400, "bad-parameter".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn a_channel_is_told_with_where_it_flows() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let origin = cluster.node("n1", &running).await;
    let edge = cluster.node("n2", &running).await;
    origin.carry(&running, [Channel { receivers: 2, ..live("cam1") }]).await;
    let pulled = Channel { receivers: 3, origin: Some("n1".parse().unwrap()), ..live("cam1") };
    edge.carry(&running, [pulled]).await;
    let told: ClusterChannel = running.client.get("/v1/channels/cam1").await.json();
    assert_eq!((told.receivers, told.origin.as_ref().map(|origin| origin.as_str())), (5, Some("n1")));
    let parts: Vec<(&str, Part)> = told.nodes.iter().map(|node| (node.node.as_str(), node.part)).collect();
    assert_eq!(parts, [("n1", Part::Origin), ("n2", Part::Edge)]);
    assert_eq!(running.client.get("/v1/channels/cam2").await.problem(), (404, "no-such-channel".to_owned()));
    assert_eq!(running.client.get("/v1/channels/c!").await.problem(), (400, "bad-parameter".to_owned()));
    assert_eq!(running.client.get("/v1/channels/%ff").await.problem(), (400, "bad-parameter".to_owned()));
    assert_eq!(running.client.get("/v1/channels/cam1?x").await.problem(), (400, "bad-parameter".to_owned()));
}

#[tokio::test]
async fn a_probe_tells_what_is_in_the_stream() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    let track = Track {
        kind: "video".to_owned(),
        codec: "avc1.64001f".to_owned(),
        width: Some(1280),
        height: Some(720),
        sample_rate: None,
        channels: None,
    };
    let waiting = Channel { receivers: 1, ..channel("yard", ChannelState::Waiting) };
    node.carry(&running, [Channel { tracks: vec![track.clone()], ..live("cam1") }, waiting]).await;
    let probe: Probe = running.client.get("/v1/channels/cam1/probe").await.json();
    assert_eq!(
        (probe.container.as_deref(), probe.tracks, probe.epoch.number()),
        (Some("flv"), vec![track], 7)
    );
    assert_eq!(running.client.get("/v1/channels/yard/probe").await.problem(), (409, "not-live".to_owned()));
    assert_eq!(
        running.client.get("/v1/channels/no/probe").await.problem(),
        (404, "no-such-channel".to_owned())
    );
}
