//! `GET /v1/sessions`: nobody but the nodes knows their sessions, so they are asked, and what they tell is merged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use hyper::Uri;
use relay_proto::api::manager::{ClusterSession, SessionPage};
use relay_proto::api::{Session, Sessions};
use relay_proto::backbone::{Peer, Request, SESSIONS_BYTES_MAX, from_json_within, to_json};
use relay_proto::{ChannelName, SessionId};
use tokio::time::{Instant, timeout_at};

use super::access::PrivateReader;
use super::problem::{Kind, Problem};
use super::{Paging, json, query, soon};
use crate::replica::Replica;

/// How long all nodes together are waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Nodes that are asked at a time.
const ASKED_MAX: usize = 128;

const PARAMETERS: &str = "the parameters are channel, after, limit, and no others";

/// `GET /v1/sessions`.
pub(super) async fn list(
    _: PrivateReader,
    State(replica): State<Arc<Replica>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut channel: Option<ChannelName> = None;
    let mut paging = Paging::<SessionId>::new();
    for pair in query::pairs(uri.query()) {
        let (name, value) = pair?;
        match &*name {
            "channel" => query::once(&mut channel, "channel", query::parse("channel", &value)?)?,
            name if paging.take(name, &value)? => {}
            _ => return Err(query::unknown(PARAMETERS)),
        }
    }
    let Ok(_permit) = replica.asks.try_acquire() else {
        return Err(Problem::new(Kind::Busy).retry_after(soon()));
    };
    let told = concerned(&replica, channel.as_ref())
        .into_iter()
        .map(|peer| Told { peer, sessions: VecDeque::new(), more: true, after: paging.after, missing: false })
        .collect();
    Ok(json(&merge(&replica, channel.as_ref(), paging.limit(), told).await))
}

/// The nodes that have the channel, or all of them. Those of which nothing is heard are asked too: whether they are there is
/// for them to say.
fn concerned(replica: &Replica, channel: Option<&ChannelName>) -> Vec<Peer> {
    let known = replica.known();
    let carriers = channel.map(|channel| {
        known
            .view
            .channel(channel)
            .map_or_else(Vec::new, |channel| channel.nodes.into_iter().map(|carrier| carrier.node).collect())
    });
    let nodes = known.view.nodes().map(|member| &member.record);
    nodes
        .filter(|record| carriers.as_ref().is_none_or(|carriers| carriers.contains(&record.node)))
        .map(|record| Peer { node: record.node.clone(), incarnation: record.incarnation })
        .collect()
}

/// What a node has told so far.
struct Told {
    peer: Peer,
    /// That are not on the page yet, by number.
    sessions: VecDeque<Session>,
    /// Whether it has more than these.
    more: bool,
    /// The last that it has told.
    after: Option<SessionId>,
    missing: bool,
}

impl Told {
    /// Nothing can be put on the page before it has told more.
    fn is_due(&self) -> bool {
        self.more && !self.missing && self.sessions.is_empty()
    }
}

async fn merge(
    replica: &Replica,
    channel: Option<&ChannelName>,
    limit: usize,
    mut told: Vec<Told>,
) -> SessionPage {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let mut page: Vec<ClusterSession> = Vec::new();
    let next = loop {
        // As many as the page still takes, since all of them may be of one node.
        let max = u32::try_from(limit - page.len()).unwrap_or(u32::MAX).max(1);
        let (due, idle): (Vec<Told>, Vec<Told>) = told.into_iter().partition(Told::is_due);
        let asked = stream::iter(due).map(|told| ask(replica, channel, told, max, deadline));
        told = asked.buffer_unordered(ASKED_MAX).chain(stream::iter(idle)).collect().await;
        while !told.iter().any(Told::is_due) {
            let first = told.iter_mut().filter(|told| !told.sessions.is_empty());
            let Some(first) = first.min_by_key(|told| told.sessions.front().map(|session| session.session))
            else {
                break;
            };
            if page.len() == limit {
                break;
            }
            let node = first.peer.node.clone();
            page.extend(first.sessions.pop_front().map(|session| ClusterSession { node, session }));
        }
        let is_over = told.iter().all(|told| told.sessions.is_empty() && !told.is_due());
        if is_over {
            break None;
        }
        if page.len() == limit {
            break page.last().map(|session| session.session.session);
        }
    };
    let mut missing: Vec<_> =
        told.into_iter().filter(|told| told.missing).map(|told| told.peer.node).collect();
    missing.sort_unstable();
    SessionPage { sessions: page, next, missing }
}

async fn ask(
    replica: &Replica,
    channel: Option<&ChannelName>,
    mut told: Told,
    max: u32,
    deadline: Instant,
) -> Told {
    let request = Request::Sessions { channel: channel.cloned(), after: told.after, max };
    let subject = replica.subjects.node(&told.peer.node, told.peer.incarnation);
    let within = deadline.saturating_duration_since(Instant::now());
    let asked = replica.links.backbone.request(&subject, to_json(&request).into(), within);
    let answer = timeout_at(deadline, asked).await.ok().and_then(Result::ok);
    let sessions: Option<Sessions> =
        answer.and_then(|answer| from_json_within(&answer, SESSIONS_BYTES_MAX).ok());
    match sessions.filter(|answer| is_next(answer, told.after)) {
        Some(Sessions { sessions, more }) => {
            told.after = sessions.last().map(|last| last.session).or(told.after);
            told.more = more;
            told.sessions = sessions.into();
        }
        None => told.missing = true,
    }
    told
}

/// Whether an answer goes on from where the last one ended, and comes to an end: otherwise asking would not.
fn is_next(answer: &Sessions, after: Option<SessionId>) -> bool {
    let numbers = || answer.sessions.iter().map(|session| session.session);
    numbers().is_sorted_by(|a, b| a < b)
        && numbers().next().is_none_or(|first| after.is_none_or(|after| first > after))
        && !(answer.more && answer.sessions.is_empty())
}
