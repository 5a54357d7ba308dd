//! A node that says and answers what it is told to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use relay_cluster::Backbone;
use relay_cluster::backbone::{MemoryBackbone, Message};
use relay_proto::api::{Channel, ChannelState, Session, Sessions};
use relay_proto::backbone::{Command, Done, Peer, Request, Stated, Subjects, from_json, to_json};
use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};
use relay_proto::report::Report;
use relay_proto::{Epoch, Incarnation};
use tokio::task::JoinSet;

use super::{Cluster, Running, until};

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) peer: Peer,
    backbone: Arc<MemoryBackbone>,
    subjects: Subjects,
    pub(crate) state: Arc<Mutex<State>>,
    _task: JoinSet<()>,
}

/// What it is, and what it was asked.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) record: NodeRecord,
    pub(crate) channels: Vec<Channel>,
    pub(crate) sessions: Vec<Session>,
    /// Sessions that fit one answer.
    pub(crate) fits: usize,
    pub(crate) answers: bool,
    pub(crate) asked: Vec<Request>,
    /// What is sent to whoever asks for a snapshot.
    pub(crate) snapshot: Vec<Bytes>,
    round: u64,
}

impl Node {
    pub(crate) async fn start(cluster: &Cluster, name: &str) -> Self {
        let backbone = Arc::new(cluster.backbone.join());
        let peer = Peer { node: name.parse().unwrap(), incarnation: Incarnation::new(fastrand::u64(..)) };
        let record = NodeRecord {
            node: peer.node.clone(),
            incarnation: peer.incarnation,
            url: format!("ws://{name}.example:8080"),
            rtmp: None,
            region: None,
            zone: None,
            state: NodeState::InService,
            roles: vec![Role::Publish, Role::Receive],
            capacity: Capacity { sessions: 1000, processors: 2, egress: None },
            load: Load::default(),
            version: "0.1.0".to_owned(),
            started_ms: 1_769_860_800_000,
        };
        let state = State {
            record,
            channels: Vec::new(),
            sessions: Vec::new(),
            fits: 20,
            answers: true,
            asked: Vec::new(),
            snapshot: Vec::new(),
            round: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let subjects = cluster.subjects.clone();
        let own = backbone.subscribe(&subjects.node(&peer.node, peer.incarnation)).await.unwrap();
        let all = backbone.subscribe(&subjects.all()).await.unwrap();
        let mut task = JoinSet::new();
        let (shared, end) = (Arc::clone(&state), Arc::clone(&backbone));
        task.spawn(async move {
            let (mut own, mut all) = (own, all);
            loop {
                let answer = tokio::select! {
                    Some(message) = own.next() => asked(&shared, message),
                    Some(message) = all.next() => told(&shared, message),
                    else => return,
                };
                for (subject, message) in answer {
                    end.publish(&subject, None, message).await.unwrap();
                }
            }
        });
        Self { peer, backbone, subjects, state, _task: task }
    }

    /// Reports everything.
    pub(crate) async fn report(&self) {
        let report = {
            let mut state = self.state.lock().unwrap();
            state.round += 1;
            Report::Whole {
                record: Box::new(state.record.clone()),
                round: state.round,
                part: 0,
                parts: 1,
                channels: state.channels.clone(),
            }
        };
        self.say(&report).await;
    }

    pub(crate) async fn say(&self, report: &Report) {
        let message = serde_json::to_vec(report).unwrap();
        self.backbone.publish(&self.subjects.reports(), None, message.into()).await.unwrap();
    }

    pub(crate) async fn publish(&self, subject: &str, message: Bytes) {
        self.backbone.publish(subject, None, message).await.unwrap();
    }

    /// Reports until the manager tells what this node last said.
    pub(crate) async fn known_to(&self, running: &Running) {
        let path = format!("/v1/nodes/{}", self.peer.node);
        until("the node is known", async || {
            self.report().await;
            let answer = running.client.get(&path).await;
            let channels = self.state.lock().unwrap().channels.len() as u64;
            (answer.status == 200)
                .then(|| answer.json::<relay_proto::api::manager::ClusterNode>())
                .filter(|node| node.channels == channels)
        })
        .await;
    }

    pub(crate) async fn carry(&self, running: &Running, channels: impl IntoIterator<Item = Channel>) {
        self.state.lock().unwrap().channels = channels.into_iter().collect();
        self.known_to(running).await;
    }
}

fn asked(state: &Mutex<State>, message: Message) -> Vec<(String, Bytes)> {
    let Ok(request) = from_json::<Request>(&message.payload) else { return Vec::new() };
    let mut state = state.lock().unwrap();
    state.asked.push(request.clone());
    let Some(reply) = message.reply.filter(|_| state.answers) else { return Vec::new() };
    let answer = match request {
        Request::Sessions { channel, after, max } => {
            let mut sessions: Vec<Session> = state
                .sessions
                .iter()
                .filter(|session| channel.as_ref().is_none_or(|channel| session.channel == *channel))
                .filter(|session| after.is_none_or(|after| session.session > after))
                .cloned()
                .collect();
            sessions.sort_by_key(|session| session.session);
            let fits = state.fits.min(usize::try_from(max).unwrap());
            let more = sessions.len() > fits;
            sessions.truncate(fits);
            to_json(&Sessions { sessions, more })
        }
        Request::Drain | Request::Undrain => {
            let to = if request == Request::Drain { NodeState::Draining } else { NodeState::InService };
            state.record.state = to;
            to_json(&Stated { state: to })
        }
        Request::Snapshot { .. } => {
            return state.snapshot.iter().map(|message| (reply.clone(), message.clone())).collect();
        }
        _ => return Vec::new(),
    };
    vec![(reply, answer.into())]
}

fn told(state: &Mutex<State>, message: Message) -> Vec<(String, Bytes)> {
    let Ok(command) = from_json::<Command>(&message.payload) else { return Vec::new() };
    let mut state = state.lock().unwrap();
    let ended = match command {
        Command::CloseChannel { channel } => {
            let before = state.channels.len();
            state.channels.retain(|carried| carried.name != channel || carried.origin.is_some());
            before - state.channels.len()
        }
        Command::KickSession { session } => {
            let before = state.sessions.len();
            state.sessions.retain(|open| open.session != session);
            before - state.sessions.len()
        }
        Command::BanKey { .. } => 0,
    };
    match message.reply {
        Some(reply) if ended > 0 => {
            let done = Done { node: state.record.node.clone(), sessions: ended as u64 };
            vec![(reply, to_json(&done).into())]
        }
        _ => Vec::new(),
    }
}

/// A channel in this state.
pub(crate) fn channel(name: &str, state: ChannelState) -> Channel {
    Channel {
        name: name.parse().unwrap(),
        state,
        container: None,
        tracks: Vec::new(),
        receivers: 0,
        bitrate: 0,
        epoch: Epoch::new(if state == ChannelState::Waiting { 0 } else { 7 }),
        origin: None,
        started_at: None,
    }
}

/// A channel that is published on the node.
pub(crate) fn live(name: &str) -> Channel {
    Channel {
        container: Some("flv".to_owned()),
        started_at: Some("2026-01-31T12:00:00Z".to_owned()),
        bitrate: 2_500_000,
        ..channel(name, ChannelState::Live)
    }
}
