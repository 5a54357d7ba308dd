//! Chooses nodes for a client of either dialect.

use hyper::StatusCode;
use relay_proto::api::ChannelState;
use relay_proto::api::manager::ClusterChannel;
use relay_proto::registry::{NodeRecord, Role};

use super::answer::Refusal;
use super::query::Query;
use super::stream::Stream;
use super::{Known, Setup, Unplaced};
use crate::placement::{Ask, RegionRule};
use crate::urls::Target;

/// Nodes in one answer. Clients ask for two, to have one in reserve or to publish twice; each keeps a place.
pub(super) const ENDPOINTS_MAX: usize = 32;

/// Sub-groups that one request names, the first being the one it likes best: more than there are regions worth trying.
const SUB_GROUPS_MAX: usize = 8;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(super) stream: Stream,
    pub(super) role: Role,
    /// The best first.
    regions: Vec<String>,
    /// Not elsewhere, and not fewer.
    strict: bool,
    pub(super) count: usize,
}

impl Wanted {
    /// `regions` is a list, the best first.
    pub(super) fn read(
        stream: Stream,
        role: Role,
        regions: Option<&str>,
        query: &Query<'_>,
    ) -> Result<Self, Refusal> {
        let regions: Vec<String> = regions
            .into_iter()
            .flat_map(|regions| regions.split(','))
            .map(|region| region.trim().to_owned())
            .collect();
        if regions.len() > SUB_GROUPS_MAX {
            return Err(Refusal::bad(format!("there are more than {SUB_GROUPS_MAX} sub-groups")));
        }
        let count = match query.get("endpoints") {
            None => 1,
            Some(value) => {
                value.parse().ok().filter(|count| (1..=ENDPOINTS_MAX).contains(count)).ok_or_else(|| {
                    Refusal::bad(format!("endpoints is not a number from 1 to {ENDPOINTS_MAX}"))
                })?
            }
        };
        Ok(Self { stream, role, regions, strict: query.is_true("strict"), count })
    }
}

/// A node that was chosen, and what a client needs of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub(super) record: &'a NodeRecord,
    pub(super) endpoint: &'a Endpoint,
    /// The stream, as far as it is there.
    channel: Option<&'a ClusterChannel>,
}

impl Chosen<'_> {
    /// Receivers of the stream on the node.
    pub(super) fn receivers(&self) -> u64 {
        let carriers = self.channel.iter().flat_map(|channel| &channel.nodes);
        carriers.filter(|carrier| carrier.node == self.record.node).map(|carrier| carrier.receivers).sum()
    }
}

/// Chooses, and keeps the places. `channel` is the stream, as far as it is there: who wants to receive it needs it to be.
pub(super) fn choose<T>(
    wanted: &Wanted,
    channel: Option<&ClusterChannel>,
    known: &impl Known,
    setup: &Setup<'_>,
    tell: impl Fn(&Chosen<'_>) -> T,
) -> Result<Vec<T>, Refusal> {
    if wanted.role == Role::Receive && channel.is_none() {
        return Err(Refusal::not_found("nobody publishes the stream"));
    }
    let place = |region, rule, at_least| {
        let Wanted { stream, role, count, .. } = wanted;
        let (role, channel_name, count) = (*role, Some(&stream.channel), *count);
        let ask = Ask { role, channel: channel_name, region, rule, exclude: &[], count };
        known.place(&ask, at_least, |view, _, placed| {
            let chosen = placed.iter().filter_map(|placed| {
                let record = &view.member(placed.slot)?.record;
                let endpoint = Endpoint::of(setup, record, wanted);
                Some(tell(&Chosen { record, channel, endpoint: &endpoint }))
            });
            chosen.collect::<Vec<_>>()
        })
    };
    let all = wanted.count;
    match (&wanted.regions[..], wanted.strict) {
        ([], true) => place(None, RegionRule::Preferred, all).map_err(refused),
        ([], false) => place(None, RegionRule::Preferred, 1).map_err(refused),
        ([region], false) => place(Some(region), RegionRule::Preferred, 1).map_err(refused),
        (regions @ [first, ..], strict) => {
            let mut because = None;
            for region in regions {
                match place(Some(region), RegionRule::Strict, all) {
                    Ok(chosen) => return Ok(chosen),
                    Err(_) if because == Some(Unplaced::Full) => {}
                    Err(unplaced) => because = Some(unplaced),
                }
            }
            if strict {
                Err(refused(because.unwrap_or(Unplaced::None)))
            } else {
                place(Some(first), RegionRule::Preferred, 1).map_err(refused)
            }
        }
    }
}

/// The stream, where somebody publishes it, or did a moment ago and is waited for: receivers are kept then, and whoever comes is
/// kept with them.
pub(super) fn published(known: &impl Known, stream: &Stream) -> Option<ClusterChannel> {
    let channel = known.look(|view, _| view.channel(&stream.channel));
    channel.filter(|channel| channel.state != ChannelState::Waiting)
}

/// 503 is for what another node would cure; a request that finds nobody for another reason finds nothing.
fn refused(unplaced: Unplaced) -> Refusal {
    match unplaced {
        Unplaced::NoneKnown => Refusal::not_found("no node is known").for_now(),
        Unplaced::Full => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the nodes are full").for_now(),
        Unplaced::None => Refusal::not_found("no node can be chosen"),
        Unplaced::TooFew(found) => {
            Refusal::not_found(format!("strict asks for all nodes, and no more than {found} can be chosen"))
        }
    }
}

/// What a client connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The websocket of the stream, with `{key}` for its key.
    pub(super) url: String,
    /// The host of it; in brackets where it is an address of IPv6, as URLs have it.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether it has a certificate.
    pub(super) is_tls: bool,
}

impl Endpoint {
    fn of(setup: &Setup<'_>, node: &NodeRecord, wanted: &Wanted) -> Self {
        let Setup { addresses, public, .. } = *setup;
        let channel = Some(&wanted.stream.channel);
        let target = Target { addresses, public, node, channel, key: None, role: wanted.role };
        Self::at(target.websocket().to_string())
    }

    /// Where clients reach the node, whatever for.
    pub(super) fn node(setup: &Setup<'_>, node: &NodeRecord) -> Self {
        let Setup { addresses, public, .. } = *setup;
        let target = Target { addresses, public, node, channel: None, key: None, role: Role::Receive };
        Self::at(target.websocket().to_string())
    }

    /// Takes an address apart. A node may say anything of its own.
    pub(super) fn at(url: String) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_tls = scheme == "wss";
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        let port = port.unwrap_or(if is_tls { 443 } else { 80 });
        Self { host: host.to_owned(), port, is_tls, url }
    }

    /// What tells clients to connect straight to the node, over TLS.
    pub(super) fn hostname(&self) -> Option<&str> {
        self.is_tls.then_some(&*self.host)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        for (url, host, port, is_tls) in [
            ("ws://10.0.0.1:8080/cam/{key}/receive", "10.0.0.1", 8080, false),
            ("wss://n1.example/cam/{key}/receive", "n1.example", 443, true),
            ("ws://n1.example", "n1.example", 80, false),
            ("ws://[::1]:8080/", "[::1]", 8080, false),
            ("wss://[2001:db8::1]/", "[2001:db8::1]", 443, true),
            ("ws://n1:port/", "n1", 80, false),
            ("n1", "n1", 80, false),
            ("", "", 80, false),
        ] {
            let endpoint = Endpoint { url: url.to_owned(), host: host.to_owned(), port, is_tls };
            assert_eq!(Endpoint::at(url.to_owned()), endpoint);
        }
    }

    proptest! {
        #[test]
        fn any_address_is_taken_apart(url in ".{0,64}") {
            let _ = Endpoint::at(url);
        }
    }
}
