//! Which nodes carry a channel, and the channel as a whole.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use relay_proto::api::manager::{Carrier, ChannelPage, ClusterChannel, Part};
use relay_proto::api::{Channel, ChannelState};
use relay_proto::{ChannelName, NodeId};

use super::{Member, View};

/// Channels that are looked at for one page: one that few of them match is handed out in several, so that nobody waits
/// for long.
pub const SCANNED_MAX: usize = 10_000;

/// Which channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelFilter {
    /// Whose names begin so.
    pub prefix: Option<String>,
    /// In this state.
    pub state: Option<ChannelState>,
    /// That this node carries.
    pub node: Option<NodeId>,
}

/// The nodes that carry a channel.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) carriers: Vec<usize>,
    /// Bits per second, as its origin has said last, or else any node.
    pub(crate) bitrate: u64,
}

/// Flows by the channel's name.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Every pick looks one up, which a tree is too slow for.
    by_name: HashMap<Arc<str>, Flow>,
    /// All of their names.
    in_order: BTreeSet<Arc<str>>,
}

impl Flows {
    pub(super) fn get(&self, channel: &str) -> Option<&Flow> {
        self.by_name.get(channel)
    }

    /// The node has begun to carry the channel.
    pub(super) fn join(&mut self, channel: &str, slot: usize) {
        if let Some(flow) = self.by_name.get_mut(channel) {
            flow.carriers.push(slot);
            return;
        }
        let name: Arc<str> = channel.into();
        self.in_order.insert(Arc::clone(&name));
        self.by_name.insert(name, Flow { carriers: vec![slot], bitrate: 0 });
    }

    /// A node that carries it says this of it.
    pub(super) fn runs(&mut self, channel: &str, said: &Channel) {
        let Some(flow) = self.by_name.get_mut(channel) else { return };
        if is_origin(said) || flow.bitrate == 0 {
            flow.bitrate = said.bitrate;
        }
    }

    /// The node does not carry it any more.
    pub(super) fn leave(&mut self, channel: &str, slot: usize) {
        let Some(flow) = self.by_name.get_mut(channel) else { return };
        flow.carriers.retain(|carrier| *carrier != slot);
        if flow.carriers.is_empty() {
            self.by_name.remove(channel);
            self.in_order.remove(channel);
        }
    }

    fn from<'a>(&'a self, first: Bound<&str>) -> impl Iterator<Item = (&'a str, &'a Flow)> + use<'a> {
        let names = self.in_order.range::<str, _>((first, Bound::Unbounded));
        names.filter_map(|name| Some((&**name, self.get(name)?)))
    }
}

fn is_origin(channel: &Channel) -> bool {
    channel.origin.is_none() && channel.state != ChannelState::Waiting
}

impl View {
    /// The channel of this name, as far as any node that is heard carries it.
    pub fn channel(&self, channel: &ChannelName) -> Option<ClusterChannel> {
        self.whole(channel.as_str(), self.flows.get(channel.as_str())?)
    }

    /// Up to `limit` channels whose names follow `after`. May be fewer than there are: the last page is the one without
    /// a `next`.
    pub fn channels(&self, filter: &ChannelFilter, after: Option<&str>, limit: usize) -> ChannelPage {
        let prefix = filter.prefix.as_deref().unwrap_or("");
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let limit = limit.max(1);
        let mut page = ChannelPage { channels: Vec::new(), next: None };
        let mut last = None;
        for (scanned, (name, flow)) in self.candidates(filter.node.as_ref(), first).enumerate() {
            if !name.starts_with(prefix) {
                break;
            }
            if scanned == SCANNED_MAX {
                page.next = last.map(str::to_owned);
                break;
            }
            let is_asked_for =
                |channel: &ClusterChannel| filter.state.is_none_or(|state| channel.state == state);
            if let Some(channel) = self.whole(name, flow).filter(is_asked_for) {
                if page.channels.len() == limit {
                    page.next = last.map(str::to_owned);
                    break;
                }
                page.channels.push(channel);
            }
            last = Some(name);
        }
        page
    }

    /// Channels of one node or of all, by name.
    fn candidates<'a>(
        &'a self,
        node: Option<&NodeId>,
        first: Bound<&str>,
    ) -> Box<dyn Iterator<Item = (&'a str, &'a Flow)> + 'a> {
        match node {
            None => Box::new(self.flows.from(first)),
            Some(node) => match self.node(node).filter(|member| member.is_heard()) {
                None => Box::new(std::iter::empty()),
                Some(member) => {
                    let names = member.channels.range::<str, _>((first, Bound::Unbounded));
                    Box::new(names.filter_map(|(name, _)| Some((&**name, self.flows.get(name)?))))
                }
            },
        }
    }

    /// What the nodes say of one channel, put together. `None` where none of them is heard any more.
    fn whole(&self, name: &str, flow: &Flow) -> Option<ClusterChannel> {
        let mut said: Vec<(&Member, &Channel)> = flow
            .carriers
            .iter()
            .filter_map(|slot| self.member(*slot))
            .filter(|member| member.is_heard())
            .filter_map(|member| Some((member, member.channels.get(name)?)))
            .collect();
        said.sort_unstable_by(|(a, _), (b, _)| a.record.node.cmp(&b.record.node));
        let newest = |of: fn(&Channel) -> bool| {
            said.iter().filter(|(_, channel)| of(channel)).max_by_key(|(_, channel)| channel.epoch)
        };
        let origin = newest(is_origin);
        let (_, base) = origin
            .or_else(|| newest(|channel| channel.state != ChannelState::Waiting))
            .or_else(|| newest(|_| true))?;
        let origin = origin.map(|(member, _)| &member.record.node);
        let all = || std::iter::once(*base).chain(said.iter().map(|(_, channel)| *channel));
        Some(ClusterChannel {
            name: base.name.clone(),
            state: base.state,
            origin: origin.cloned(),
            epoch: base.epoch,
            started_at: all().find_map(|channel| channel.started_at.clone()),
            container: all().find_map(|channel| channel.container.clone()),
            tracks: all()
                .find(|channel| !channel.tracks.is_empty())
                .map_or_else(Vec::new, |channel| channel.tracks.clone()),
            bitrate: all().map(|channel| channel.bitrate).find(|bitrate| *bitrate > 0).unwrap_or(0),
            receivers: said.iter().fold(0, |sum, (_, channel)| channel.receivers.saturating_add(sum)),
            nodes: said
                .iter()
                .map(|(member, channel)| Carrier {
                    node: member.record.node.clone(),
                    part: match channel.state {
                        ChannelState::Waiting => Part::Waiting,
                        _ if Some(&member.record.node) == origin => Part::Origin,
                        _ => Part::Edge,
                    },
                    receivers: channel.receivers,
                })
                .collect(),
        })
    }

    /// Channels that are live.
    pub(crate) fn channels_live(&self) -> u64 {
        let is_live = |(name, flow): &(&str, &Flow)| {
            let said =
                flow.carriers.iter().filter_map(|slot| self.member(*slot)).filter(|member| member.is_heard());
            let newest = said
                .filter_map(|member| member.channels.get(*name))
                .filter(|channel| channel.state != ChannelState::Waiting)
                .max_by_key(|channel| (is_origin(channel), channel.epoch));
            newest.is_some_and(|channel| channel.state == ChannelState::Live)
        };
        self.flows.from(Bound::Unbounded).filter(is_live).count() as u64
    }
}
