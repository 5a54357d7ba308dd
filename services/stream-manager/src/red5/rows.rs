//! Streams by the nodes that carry them.
//!
//! These clients know origins, which publishers connect to, and edges, which receivers do, and look for a stream among the edges.
//! A node of this cluster is both. So the one that a publisher is connected to is listed twice where it takes receivers: once as
//! origin without any, and once as edge with those that it has. The sum over all rows is what the stream has.

use std::time::UNIX_EPOCH;

use relay_proto::api::ChannelState;
use relay_proto::api::manager::{ClusterChannel, Part};
use relay_proto::registry::Role;

use super::stream::Stream;
use super::{Known, Setup};
use crate::view::{ChannelFilter, Member, View};

/// Streams of one list: what a client gets through in a second, about 2 MB. More of them are for `/v1/channels`, page by page.
pub(super) const STREAMS_MAX: usize = 10_000;

/// Streams that are looked at while nothing else is known or chosen.
const STREAMS_AT_A_TIME: usize = 250;

/// What a node is to a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) stream: &'a Stream,
    pub(super) member: &'a Member,
    pub(super) role: Role,
    pub(super) receivers: u64,
    /// When the publication began, in milliseconds since the Unix epoch, where that is known.
    pub(super) started_ms: Option<u64>,
}

/// Which nodes of a stream are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The one that its publisher is connected to, for all of them.
    Whole,
    /// Each for itself.
    EachNode,
}

impl Of {
    pub(super) const fn aggregate(yes: bool) -> Self {
        if yes { Self::Whole } else { Self::EachNode }
    }
}

/// What clients call a node that they use for this.
pub(super) const fn name(role: Role) -> &'static str {
    match role {
        Role::Publish => "origin",
        Role::Receive => "edge",
    }
}

/// Makes something of every row of every stream; whether there are more than are told.
pub(super) fn list<T>(
    known: &impl Known,
    setup: &Setup<'_>,
    of: Of,
    tell: impl Fn(&View, u64, &Row<'_>) -> T,
) -> (Vec<T>, bool) {
    let mut told = Vec::new();
    let mut after: Option<String> = None;
    let mut streams = 0;
    loop {
        let next = known.look(|view, now| {
            let page = view.channels(&ChannelFilter::default(), after.as_deref(), STREAMS_AT_A_TIME);
            let streams_left = STREAMS_MAX - streams;
            let live = page.channels.iter().filter(|channel| channel.state != ChannelState::Waiting);
            for channel in live.take(streams_left) {
                streams += 1;
                let stream = Stream::of(setup.app, channel.name.clone());
                of_channel(view, channel, &stream, of, |row| told.push(tell(view, now, row)));
            }
            page.next
        });
        match next {
            None => return (told, false),
            Some(_) if streams >= STREAMS_MAX => return (told, true),
            next => after = next,
        }
    }
}

/// Makes something of every row of a stream; nothing where nobody publishes it.
pub(super) fn one<T>(
    known: &impl Known,
    stream: &Stream,
    of: Of,
    tell: impl Fn(&View, u64, &Row<'_>) -> T,
) -> Vec<T> {
    let mut told = Vec::new();
    known.look(|view, now| {
        let channel = view.channel(&stream.channel).filter(|channel| channel.state != ChannelState::Waiting);
        if let Some(channel) = channel {
            of_channel(view, &channel, stream, of, |row| told.push(tell(view, now, row)));
        }
    });
    told
}

/// When the publication began, in milliseconds since the Unix epoch, where a node said so.
pub(super) fn started_ms(channel: &ClusterChannel) -> Option<u64> {
    let started = humantime::parse_rfc3339(channel.started_at.as_deref()?).ok()?;
    u64::try_from(started.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

fn of_channel(
    view: &View,
    channel: &ClusterChannel,
    stream: &Stream,
    of: Of,
    mut tell: impl FnMut(&Row<'_>),
) {
    let started_ms = started_ms(channel);
    let mut row = |member, role, receivers| tell(&Row { stream, member, role, receivers, started_ms });
    // While the publisher's node is not known, or not heard, one of the others stands for it.
    let mut carriers = channel.nodes.iter().filter(|carrier| carrier.part != Part::Waiting).peekable();
    if of == Of::Whole {
        let first = carriers.peek().copied();
        let origin = carriers.find(|carrier| carrier.part == Part::Origin).or(first);
        if let Some(member) = origin.and_then(|origin| view.node(&origin.node)) {
            row(member, Role::Publish, channel.receivers);
        }
        return;
    }
    for carrier in carriers {
        let Some(member) = view.node(&carrier.node) else { continue };
        let takes_receivers = member.record.roles.contains(&Role::Receive) || carrier.receivers > 0;
        if carrier.part == Part::Origin {
            row(member, Role::Publish, 0);
        }
        if carrier.part == Part::Edge || takes_receivers {
            row(member, Role::Receive, carrier.receivers);
        }
    }
}
