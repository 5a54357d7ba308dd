//! Chooses nodes for a client. Pure: the [view](crate::view) comes in as an argument, and so do the dice.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Whoever is refused is never answered, and whoever is answered is counted before the next one │
//! │ asks: the caller reserves what it was given while it holds the view.                         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The rule, its weights and what came of it: `PLACEMENT.md`.
//!
//! A channel that needs one more node gets it by dice that its own name seeds, and the number of its nodes. So all
//! replicas think of the same nodes for it, and all clients that are sent before the first of them arrives meet there,
//! without a word between replicas.

mod score;
#[cfg(test)]
mod tests;

use relay_proto::api::manager::{Candidate, Explanation, RefusedBecause};
use relay_proto::registry::Role;
use relay_proto::{ChannelName, NodeId};

use self::score::Scale;
pub use self::score::{ROOM, weights};
use crate::view::{Pool, View};

/// The most nodes that one answer names: a client that has tried so many in vain should ask again.
pub const NODES_PER_ANSWER_MAX: usize = 64;

/// Draws until two nodes that can be chosen are found. Where fewer than a quarter of the nodes can, all are looked at
/// instead.
const DRAWS_MAX: usize = 16;

/// Up to so many nodes, looking at all of them costs no more than drawing.
const FEW: usize = 8;

/// Carriers of one channel that are looked at for one pick, so that a channel that is everywhere costs no more than
/// others. It is a run of them from any of them on: those that have room are found if they are not very few, and if
/// they are, one more node is to carry it anyway.
const CARRIERS_SEEN_MAX: usize = 64;

/// Carriers with room of which two are drawn: more would make no difference to that.
const CARRIERS_DRAWN_FROM: usize = 8;

/// What a client comes for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// To publish or to receive.
    pub role: Role,
    /// The channel, where it is known.
    pub channel: Option<&'a ChannelName>,
    /// Where it should be.
    pub region: Option<&'a str>,
    /// Whether it may be elsewhere.
    pub rule: RegionRule,
    /// Nodes that it does not want.
    pub exclude: &'a [NodeId],
    /// How many nodes it wants to know of; 0 counts as 1, and more than [`NODES_PER_ANSWER_MAX`] as so many.
    pub count: usize,
}

/// What asking for a region means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegionRule {
    /// Elsewhere where that region has nobody.
    #[default]
    Preferred,
    /// There or nowhere.
    Strict,
}

/// A node for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its number in the view: see [`View::member`].
    pub slot: usize,
    /// Whether it has the channel already.
    pub carries: bool,
}

/// Why there is no node for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoNode {
    /// No node is known.
    #[error("no node is known")]
    NoneKnown,
    /// None of those that are known can be chosen.
    #[error("none of the nodes can be chosen")]
    NoneEligible {
        /// Why not, and of how many nodes that holds; a node can have several reasons.
        reasons: Vec<(RefusedBecause, usize)>,
    },
}

impl NoNode {
    /// Whether it can be otherwise in a moment, without the request being another.
    pub fn is_for_now(&self) -> bool {
        match self {
            Self::NoneKnown => true,
            Self::NoneEligible { reasons } => {
                use RefusedBecause::{Draining, Full, Silent};
                reasons.iter().any(|(reason, _)| matches!(reason, Draining | Full | Silent))
            }
        }
    }
}

/// Chooses up to `ask.count` nodes, the best first. `dice` shows a number below the one that it is given.
pub fn place(
    view: &View,
    ask: &Ask<'_>,
    now: u64,
    dice: &mut impl FnMut(usize) -> usize,
) -> Result<Vec<Placed>, NoNode> {
    let mut search = Search::new(view, ask, now);
    let count = ask.count.clamp(1, NODES_PER_ANSWER_MAX);
    let mut chosen = Vec::with_capacity(count);
    while let Some((slot, score)) = search.next(dice) {
        chosen.push((slot, score));
        if chosen.len() == count {
            break;
        }
        search.passed_over.push(slot);
    }
    if chosen.is_empty() {
        return Err(search.nobody());
    }
    // What was drawn later may be the better one.
    chosen.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    Ok(chosen.into_iter().map(|(slot, _)| Placed { slot, carries: search.carries(slot) }).collect())
}

/// What [`place`] would think of every node.
pub fn explain(view: &View, ask: &Ask<'_>, now: u64) -> Explanation {
    let search = Search::new(view, ask, now);
    let candidate = |slot| {
        let member = view.member(slot)?;
        let terms = search.terms(slot)?;
        let refused = search.refusals(slot);
        Some(Candidate {
            node: member.record.node.clone(),
            score: refused.is_empty().then(|| score::sum(&terms)),
            terms,
            reserved: member.reserved(),
            carries: search.carries(slot),
            refused,
        })
    };
    let mut candidates: Vec<_> = view.slots().filter_map(candidate).collect();
    // They came by name, and the sort keeps that where scores are equal.
    candidates.sort_by(|a, b| match (a.score, b.score) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    Explanation { candidates }
}

/// One search for nodes.
struct Search<'a> {
    view: &'a View,
    ask: &'a Ask<'a>,
    now: u64,
    scale: Scale,
    /// Those that carry the channel, where that matters.
    carriers: &'a [usize],
    /// Excluded, or chosen already.
    passed_over: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(view: &'a View, ask: &'a Ask<'a>, now: u64) -> Self {
        let flow = ask.channel.and_then(|channel| view.flow(channel));
        Self {
            view,
            ask,
            now,
            scale: Scale::new(view, ask.role, flow.map_or(0, |flow| flow.bitrate)),
            carriers: flow.map_or(&[], |flow| &flow.carriers),
            passed_over: ask.exclude.iter().filter_map(|node| view.slot(node)).collect(),
        }
    }

    /// The next node and its score: near if there is one, else anywhere.
    fn next(&self, dice: &mut impl FnMut(usize) -> usize) -> Option<(usize, f64)> {
        match (self.ask.region, self.ask.rule) {
            (None, _) => self.within(None, dice),
            (Some(region), RegionRule::Strict) => self.within(Some(region), dice),
            (Some(region), RegionRule::Preferred) => {
                self.within(Some(region), dice).or_else(|| self.within(None, dice))
            }
        }
    }

    fn within(&self, region: Option<&str>, dice: &mut impl FnMut(usize) -> usize) -> Option<(usize, f64)> {
        let pool = self.view.pools().get(self.ask.role, region)?;
        if let (Role::Receive, Some(channel)) = (self.ask.role, self.ask.channel) {
            let carriers = self.carriers_with_room(region, dice);
            if let Some(carrier) = self.better_of_two(&carriers, dice) {
                return Some(carrier);
            }
            let mut seeded = seeded(channel, self.carriers.len());
            match self.draw(pool, &mut seeded, Wanted::Room) {
                Drawn::Two(better) | Drawn::One(better) => return Some(better),
                Drawn::None => {}
            }
        }
        if pool.len() > FEW
            && let Drawn::Two(better) = self.draw(pool, dice, Wanted::Any)
        {
            return Some(better);
        }
        let mut eligible = Pool::default();
        for slot in pool.slots().iter().copied().filter(|slot| !self.is_refused(*slot)) {
            eligible.push(slot, self.view.pools().weight(slot));
        }
        self.better_of_two(&eligible, dice)
    }

    /// Of those that carry the channel, those that can be chosen and have room, and take this role in that region.
    fn carriers_with_room(&self, region: Option<&str>, dice: &mut impl FnMut(usize) -> usize) -> Pool {
        let mut pool = Pool::default();
        if self.carriers.is_empty() {
            return pool;
        }
        let first = dice(self.carriers.len()).min(self.carriers.len());
        let (before, from_first) = self.carriers.split_at(first);
        for slot in from_first.iter().chain(before).take(CARRIERS_SEEN_MAX).copied() {
            let Some(member) = self.view.member(slot) else { continue };
            let is_there = region.is_none() || member.record.region.as_deref() == region;
            let takes = member.is_in_service() && member.record.roles.contains(&self.ask.role);
            if is_there && takes && !self.is_refused(slot) && self.scale.has_room(member, self.now) {
                pool.push(slot, self.view.pools().weight(slot));
                if pool.len() == CARRIERS_DRAWN_FROM {
                    break;
                }
            }
        }
        pool
    }

    /// Draws two that can be chosen, and takes the better.
    fn draw(&self, pool: &Pool, dice: &mut impl FnMut(usize) -> usize, wanted: Wanted) -> Drawn {
        let mut first: Option<(usize, f64)> = None;
        for _ in 0..DRAWS_MAX {
            let Some(slot) = pool.draw(dice) else { break };
            if first.is_some_and(|(first, _)| first == slot) || self.is_refused(slot) {
                continue;
            }
            let Some(member) = self.view.member(slot) else { continue };
            if wanted == Wanted::Room && !self.scale.has_room(member, self.now) {
                continue;
            }
            let Some(drawn) = self.scored(slot) else { continue };
            match first {
                None => first = Some(drawn),
                Some(first) => return Drawn::Two(better(first, drawn)),
            }
        }
        first.map_or(Drawn::None, Drawn::One)
    }

    /// The better of two of a pool of which each can be chosen.
    fn better_of_two(&self, pool: &Pool, dice: &mut impl FnMut(usize) -> usize) -> Option<(usize, f64)> {
        if let [one, other] = pool.slots() {
            return Some(better(self.scored(*one)?, self.scored(*other)?));
        }
        let first = pool.draw(dice)?;
        let second = (0..DRAWS_MAX).filter_map(|_| pool.draw(dice)).find(|slot| *slot != first);
        let first = self.scored(first)?;
        Some(second.and_then(|slot| self.scored(slot)).map_or(first, |second| better(first, second)))
    }

    fn scored(&self, slot: usize) -> Option<(usize, f64)> {
        Some((slot, score::sum(&self.terms(slot)?)))
    }

    fn terms(&self, slot: usize) -> Option<relay_proto::api::manager::Terms> {
        let member = self.view.member(slot)?;
        let mut terms = self.scale.terms(member, self.now);
        if self.ask.region.is_some() && member.record.region.as_deref() != self.ask.region {
            terms.region = weights::REGION;
        }
        if self.ask.role == Role::Receive && self.carries(slot) && self.scale.has_room(member, self.now) {
            terms.affinity = -weights::AFFINITY;
        }
        Some(terms)
    }

    fn carries(&self, slot: usize) -> bool {
        self.carriers.contains(&slot)
    }

    /// Whether it cannot be chosen, though it takes the role in that region.
    fn is_refused(&self, slot: usize) -> bool {
        self.view.member(slot).is_none_or(|member| {
            member.is_silent(self.now) || self.scale.is_full(member) || self.passed_over.contains(&slot)
        })
    }

    /// All that speaks against it, in a fixed order.
    fn refusals(&self, slot: usize) -> Vec<RefusedBecause> {
        let Some(member) = self.view.member(slot) else { return Vec::new() };
        let record = &member.record;
        let is_elsewhere = self.ask.rule == RegionRule::Strict
            && self.ask.region.is_some()
            && record.region.as_deref() != self.ask.region;
        let reasons = [
            (RefusedBecause::Draining, !member.is_in_service()),
            (RefusedBecause::Silent, member.is_silent(self.now)),
            (RefusedBecause::Role, !record.roles.contains(&self.ask.role)),
            (RefusedBecause::Region, is_elsewhere),
            (RefusedBecause::Excluded, self.passed_over.contains(&slot)),
            (RefusedBecause::Full, self.scale.is_full(member)),
        ];
        reasons.into_iter().filter(|(_, holds)| *holds).map(|(reason, _)| reason).collect()
    }

    fn nobody(&self) -> NoNode {
        let mut reasons: Vec<(RefusedBecause, usize)> = Vec::new();
        let mut known = false;
        for reason in self.view.slots().inspect(|_| known = true).flat_map(|slot| self.refusals(slot)) {
            match reasons.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, nodes)) => *nodes += 1,
                None => reasons.push((reason, 1)),
            }
        }
        if known { NoNode::NoneEligible { reasons } } else { NoNode::NoneKnown }
    }
}

/// Which nodes count when two are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Those that can be chosen.
    Any,
    /// Those that have room for a channel besides.
    Room,
}

/// What came of drawing two.
enum Drawn {
    /// Two, of which this is the better.
    Two((usize, f64)),
    /// One only.
    One((usize, f64)),
    /// None.
    None,
}

fn better(one: (usize, f64), other: (usize, f64)) -> (usize, f64) {
    if other.1 < one.1 { other } else { one }
}

/// Dice that show the same for the same channel in every process, until one more node carries it: those that were drawn
/// before are full by then, and to begin with them again would take longer each time.
fn seeded(channel: &ChannelName, carriers: usize) -> impl FnMut(usize) -> usize {
    // FNV-1a, and then SplitMix64, which makes a good stream of any seed.
    let seed = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    let bytes = channel.as_str().bytes().chain((carriers as u64).to_le_bytes());
    let mut state = bytes.fold(0xCBF2_9CE4_8422_2325, seed);
    move |bound| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let product = u128::from(mixed) * (bound as u128);
        (product >> 64) as usize
    }
}
