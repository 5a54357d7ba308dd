//! Tells stream-managers what this node carries: all of it with every heartbeat, and at once what changes in between.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A channel that changes is told of at once, and no more than once in a while after that; what │
//! │ is lost on the way is in the next whole report. Nobody waits for any of it.                  │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! One task says everything, so that nothing older comes after something newer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_proto::api::{Channel, ChannelState};
use relay_proto::backbone::to_json;
use relay_proto::registry::NodeRecord;
use relay_proto::report::{REPORT_BYTES_MAX, Report};
use relay_proto::{ChannelName, Epoch};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::news::Changed;
use crate::node::Node;
use crate::talk::ANSWER_TIMEOUT;

/// After something was told, how long what changes next is gathered: a channel that flaps costs twenty messages a second.
const GATHERED_FOR: Duration = Duration::from_millis(50);

/// Whole reports out of turn come no faster than this: each lost message is news of the backbone, and there may be many.
const WHOLE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Reports for as long as it is polled. Each new record makes a whole report.
pub(crate) async fn run(node: Arc<Node>, mut records: watch::Receiver<Option<Arc<NodeRecord>>>) {
    let mut contact = node.cluster.backbone.contact();
    let mut reported = contact.borrow_and_update().generation;
    let mut reporter = Reporter { node: &node, carried: HashSet::new(), round: 0 };
    let mut changed = false;
    let mut gathered_until = Instant::now();
    let mut whole_due = false;
    let mut whole_from = Instant::now();
    loop {
        tokio::select! {
            biased;
            beat = records.changed() => {
                if beat.is_err() {
                    return;
                }
                whole_from = Instant::now();
                whole_due = true;
            }
            _ = contact.changed() => {
                let now = *contact.borrow_and_update();
                whole_due |= now.connected && std::mem::replace(&mut reported, now.generation) != now.generation;
            }
            () = sleep_until(whole_from), if whole_due => {
                let record = records.borrow_and_update().clone();
                if let Some(record) = record {
                    reporter.whole(&record).await;
                }
                whole_due = false;
                whole_from = Instant::now() + WHOLE_INTERVAL_MIN;
            }
            () = node.channels.news().noted(), if !changed => changed = true,
            () = sleep_until(gathered_until), if changed => {
                changed = false;
                match node.channels.news().take() {
                    Changed::Some(channels) => reporter.channels(channels).await,
                    Changed::Many => whole_due = true,
                }
                gathered_until = Instant::now() + GATHERED_FOR;
            }
        }
    }
}

/// The run of this node is over.
pub(crate) async fn gone(node: &Node) {
    publish(node, &Report::Gone { peer: node.cluster.peer.clone() }).await;
}

struct Reporter<'a> {
    node: &'a Node,
    /// The channels that stream-managers have been told of, as far as the node has anything of them.
    carried: HashSet<ChannelName>,
    round: u64,
}

impl Reporter<'_> {
    async fn whole(&mut self, record: &NodeRecord) {
        let node = self.node;
        // What is taken from here on is told of below.
        let _ = node.channels.news().take();
        let stall_timeout = node.config.publisher_stall_timeout;
        let channels = node.channels.list().into_iter().map(|channel| channel.describe(stall_timeout));
        let channels: Vec<_> = channels.filter(is_carried).collect();
        self.carried = channels.iter().map(|channel| channel.name.clone()).collect();
        self.round += 1;
        let mut record = record.clone();
        record.state = node.service.state();
        for part in parts(&record, self.round, channels, bytes_max(node)) {
            if !publish(node, &part).await {
                return;
            }
        }
    }

    async fn channels(&mut self, changed: HashSet<ChannelName>) {
        for name in changed {
            if let Some(channel) = self.news_of(name) {
                let channel = fitting(channel, bytes_max(self.node).saturating_sub(PEER_BYTES));
                if !publish(self.node, &Report::Channel { peer: self.node.cluster.peer.clone(), channel })
                    .await
                {
                    return;
                }
            }
        }
    }

    /// What there is to tell of a channel; nothing, where the node has nothing of it and that is known.
    fn news_of(&mut self, name: ChannelName) -> Option<Channel> {
        let node = self.node;
        let stall_timeout = node.config.publisher_stall_timeout;
        let channel = match node.channels.get(&name) {
            Some(channel) => channel.describe(stall_timeout),
            None => nothing_of(name),
        };
        let was_carried = if is_carried(&channel) {
            !self.carried.insert(channel.name.clone())
        } else {
            self.carried.remove(&channel.name)
        };
        (was_carried || is_carried(&channel)).then_some(channel)
    }
}

/// What a message about one channel has beside it, at the most: the name of the node, its run, and what is between.
const PEER_BYTES: usize = 256;

fn bytes_max(node: &Node) -> usize {
    node.cluster.backbone.message_bytes_max().min(REPORT_BYTES_MAX)
}

/// Whether the node has anything of a channel. Somebody may still be on the way in or out of one of which it has nothing.
fn is_carried(channel: &Channel) -> bool {
    channel.state != ChannelState::Waiting || channel.receivers > 0
}

fn nothing_of(name: ChannelName) -> Channel {
    Channel {
        name,
        state: ChannelState::Waiting,
        container: None,
        tracks: Vec::new(),
        receivers: 0,
        bitrate: 0,
        epoch: Epoch::NONE,
        origin: None,
        started_at: None,
    }
}

/// The channel in so many bytes: without its tracks, where it is too long with them.
fn fitting(channel: Channel, bytes_max: usize) -> Channel {
    if to_json(&channel).len() <= bytes_max { channel } else { Channel { tracks: Vec::new(), ..channel } }
}

/// A whole report, in parts of at most so many bytes, as far as a record and one channel leave that possible.
fn parts(record: &NodeRecord, round: u64, channels: Vec<Channel>, bytes_max: usize) -> Vec<Report> {
    let report = |part: usize, parts: usize, channels| Report::Whole {
        record: Box::new(record.clone()),
        round,
        part: u32::try_from(part).unwrap_or(u32::MAX),
        parts: u32::try_from(parts).unwrap_or(u32::MAX),
        channels,
    };
    // The longest numbers that a part may have.
    let room = bytes_max.saturating_sub(to_json(&report(usize::MAX, usize::MAX, Vec::new())).len());
    let mut parts = vec![Vec::new()];
    let mut used = 0;
    for channel in channels {
        let channel = fitting(channel, room);
        // And a comma.
        let bytes = to_json(&channel).len() + 1;
        if used + bytes > room && used > 0 {
            parts.push(Vec::new());
            used = 0;
        }
        used += bytes;
        if let Some(part) = parts.last_mut() {
            part.push(channel);
        }
    }
    let count = parts.len();
    parts.into_iter().enumerate().map(|(part, channels)| report(part, count, channels)).collect()
}

/// Tells whether the backbone took it.
async fn publish(node: &Node, report: &Report) -> bool {
    let subject = node.cluster.subjects.reports();
    let message = Bytes::from(to_json(report));
    let published = timeout(ANSWER_TIMEOUT, node.cluster.backbone.publish(&subject, None, message)).await;
    match published {
        Ok(Ok(())) => true,
        failed => {
            node.metrics.reports_lost.inc();
            if let Ok(Err(error)) = failed {
                debug!(%error, "report not published");
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};
    use relay_cluster::backbone::{MemoryBackbone, Subscription};
    use relay_cluster::{Backbone, Links};
    use relay_proto::api::Track;
    use relay_proto::registry::{Capacity, Load};
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;
    use crate::channel::CountedReceiver;
    use crate::news::CHANGED_MAX;

    fn record() -> NodeRecord {
        NodeRecord {
            node: "relaycast".parse().unwrap(),
            incarnation: relay_proto::Incarnation::new(7),
            url: "ws://127.0.0.1:1".to_owned(),
            rtmp: None,
            region: None,
            zone: None,
            state: relay_proto::registry::NodeState::InService,
            roles: Vec::new(),
            capacity: Capacity { sessions: 1, processors: 1, egress: None },
            load: Load::default(),
            version: "1".to_owned(),
            started_ms: 1,
        }
    }

    fn channel(number: usize, tracks: usize) -> Channel {
        let track = Track {
            kind: "video".to_owned(),
            codec: "avc1.64001f".to_owned(),
            width: Some(1920),
            height: Some(1080),
            sample_rate: None,
            channels: None,
        };
        Channel {
            receivers: number as u64,
            tracks: vec![track; tracks],
            ..nothing_of(format!("cam{number}").parse().unwrap())
        }
    }

    #[test]
    fn a_whole_report_is_cut_into_parts_that_fit_and_lack_nothing() {
        for (count, bytes_max) in
            [(0, 1000), (1, 1000), (3, 1000), (50, 1000), (50, 5000), (2000, REPORT_BYTES_MAX)]
        {
            let channels: Vec<_> = (0..count).map(|number| channel(number, number % 3)).collect();
            let parts = parts(&record(), 9, channels.clone(), bytes_max);
            let mut told = Vec::new();
            for (number, report) in parts.iter().enumerate() {
                assert!(to_json(report).len() <= bytes_max, "{}", to_json(report).len());
                let Report::Whole { record: of, round: 9, part, parts: all, channels } = report else {
                    panic!("{report:?}");
                };
                assert_eq!((&**of, *part as usize, *all as usize), (&record(), number, parts.len()));
                assert!(number == 0 || !channels.is_empty());
                told.extend(channels.clone());
            }
            assert!(!parts.is_empty());
            assert_eq!(told, channels);
            let least = to_json(&channels).len() / bytes_max;
            assert!(parts.len() <= 1 + least * 3, "{} parts where {least} are the least", parts.len());
        }
    }

    #[test]
    fn a_channel_that_fits_no_message_goes_without_its_tracks() {
        let parts = parts(&record(), 1, vec![channel(1, 0), channel(2, 20), channel(3, 1)], 1000);
        let told: Vec<_> = parts
            .into_iter()
            .flat_map(|part| match part {
                Report::Whole { channels, .. } => channels,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [channel(1, 0), Channel { tracks: vec![], ..channel(2, 0) }, channel(3, 1)]);
    }

    /// A node whose reports are heard.
    struct Heard {
        node: Arc<Node>,
        backbone: Arc<MemoryBackbone>,
        records: watch::Sender<Option<Arc<NodeRecord>>>,
        reports: Subscription,
        _task: JoinSet<()>,
    }

    impl Heard {
        async fn start() -> Self {
            let hub = MemoryBackbone::new();
            let backbone = Arc::new(hub.join());
            let node = Node::alone(Links { backbone: Arc::clone(&backbone) as _, ..Links::alone() });
            let reports = hub.subscribe(&node.cluster.subjects.reports()).await.unwrap();
            let records = watch::Sender::new(None);
            let mut task = JoinSet::new();
            task.spawn(run(Arc::clone(&node), records.subscribe()));
            Self { node, backbone, records, reports, _task: task }
        }

        /// What was said within this time.
        async fn within(&mut self, time: Duration) -> Vec<Report> {
            sleep(time).await;
            let mut reports = Vec::new();
            while let Some(Some(message)) = self.reports.next().now_or_never() {
                reports.push(serde_json::from_slice(&message.payload).unwrap());
            }
            reports
        }

        fn beat(&self) {
            self.records.send_replace(Some(Arc::new(record())));
        }

        fn receiver(&self, channel: &str) -> CountedReceiver {
            self.node.channels.open(&channel.parse().unwrap()).admit_receiver(10).unwrap()
        }
    }

    const SOON: Duration = Duration::from_millis(1);
    const LATER: Duration = Duration::from_secs(5);

    /// Names and receivers of the channels that were told one by one.
    fn told(reports: &[Report]) -> Vec<(&str, u64)> {
        reports
            .iter()
            .map(|report| match report {
                Report::Channel { channel, .. } => (channel.name.as_str(), channel.receivers),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// Number of the round and names of the channels of whole reports.
    fn whole(reports: &[Report]) -> Vec<(u64, Vec<&str>)> {
        reports
            .iter()
            .map(|report| match report {
                Report::Whole { round, channels, .. } => {
                    (*round, channels.iter().map(|channel| channel.name.as_str()).collect())
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_at_once_and_what_follows_is_gathered() {
        let mut heard = Heard::start().await;
        let first = heard.receiver("cam");
        assert_eq!(told(&heard.within(SOON).await), [("cam", 1)]);
        let mut others = vec![first];
        for _ in 0..20 {
            others.clear();
            others.push(heard.receiver("cam"));
        }
        assert_eq!(told(&heard.within(SOON).await), []);
        assert_eq!(told(&heard.within(GATHERED_FOR).await), [("cam", 1)], "once for all of it");
        others.push(heard.receiver("cam"));
        assert_eq!(told(&heard.within(LATER).await), [], "a second receiver is no change to act upon");
        others.clear();
        assert_eq!(told(&heard.within(SOON).await), [("cam", 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_of_which_nothing_is_left_is_told_once() {
        let mut heard = Heard::start().await;
        drop(heard.receiver("cam"));
        assert_eq!(told(&heard.within(LATER).await), [], "nobody knew of it");
        let receiver = heard.receiver("cam");
        assert_eq!(told(&heard.within(LATER).await), [("cam", 1)]);
        drop(receiver);
        assert_eq!(told(&heard.within(LATER).await), [("cam", 0)]);
        heard.node.channels.news().note(&"cam".parse().unwrap());
        assert_eq!(told(&heard.within(LATER).await), []);
        heard.beat();
        assert_eq!(whole(&heard.within(SOON).await), [(1, vec![])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_tells_of_everything() {
        let mut heard = Heard::start().await;
        let _receivers = [heard.receiver("a"), heard.receiver("b")];
        let _wanted = heard.node.channels.open(&"nobody".parse().unwrap());
        heard.beat();
        assert_eq!(whole(&heard.within(SOON).await), [(1, vec!["a", "b"])], "and not of each besides");
        heard.beat();
        assert_eq!(whole(&heard.within(SOON).await), [(2, vec!["a", "b"])]);
    }

    #[tokio::test(start_paused = true)]
    async fn more_changes_than_there_is_room_for_are_told_together() {
        let mut heard = Heard::start().await;
        heard.beat();
        assert_eq!(whole(&heard.within(LATER).await), [(1, vec![])]);
        let receivers: Vec<_> =
            (0..=CHANGED_MAX).map(|number| heard.receiver(&format!("cam{number}"))).collect();
        let reports = heard.within(LATER).await;
        let channels: usize = whole(&reports).iter().map(|(_, channels)| channels.len()).sum();
        assert_eq!(channels, receivers.len());
        assert_eq!(whole(&reports)[0].0, 2, "in a round of their own");
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_backbone_is_back_everything_is_told_at_once() {
        let mut heard = Heard::start().await;
        heard.beat();
        assert_eq!(whole(&heard.within(LATER).await), [(1, vec![])]);
        heard.backbone.set_connected(false);
        let _receiver = heard.receiver("cam");
        assert_eq!(heard.within(LATER).await, []);
        heard.backbone.set_connected(true);
        assert_eq!(whole(&heard.within(SOON).await), [(2, vec!["cam"])]);
        for _ in 0..10 {
            heard.backbone.set_connected(false);
            heard.backbone.set_connected(true);
            sleep(SOON).await;
        }
        assert_eq!(whole(&heard.within(LATER).await), [(3, vec!["cam"])], "and no more often than needed");
    }
}
