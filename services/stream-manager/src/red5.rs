//! What clients of Red5 Pro's stream managers speak, 1.x and 2.0, so that they work here as they are. Normative text:
//! `proto/RED5.md`.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Every answer under these paths is JSON, and one that is an error says so in `errorMessage`:     │
//! │ clients look there, and not at the status.                                                      │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The dialects are pure: [`v1`] and [`v2`] make a call of a request, and an answer of a call and of what is known. [`serve`] does
//! HTTP, and nothing here waits for anybody but what sunsets a node.

mod answer;
#[cfg(test)]
mod golden;
mod pick;
mod query;
mod rows;
pub(crate) mod serve;
#[cfg(test)]
mod stage;
mod stream;
mod v1;
mod v2;

use hyper::Method;
use relay_proto::NodeId;
use relay_proto::api::manager::RefusedBecause;

use self::answer::{Answer, Refusal};
use self::query::Query;
use crate::config::Addresses;
use crate::http::access::Need;
use crate::placement::{Ask, NoNode, Placed, explain};
use crate::urls::Public;
use crate::view::View;

/// What is known of the cluster. What is done with it is done under its lock, so it is to be short.
pub(crate) trait Known {
    /// Looks at it, with the time on its clock.
    fn look<T>(&self, look: impl FnOnce(&View, u64) -> T) -> T;

    /// Chooses at least so many nodes, keeps a place on each, and makes something of them.
    fn place<T>(
        &self,
        ask: &Ask<'_>,
        at_least: usize,
        tell: impl FnOnce(&View, u64, &[Placed]) -> T,
    ) -> Result<T, Unplaced>;
}

/// Why nobody was sent anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unplaced {
    /// No node is known.
    NoneKnown,
    /// Those that could be chosen otherwise are full.
    Full,
    /// None of the nodes is for this.
    None,
    /// So many nodes can be chosen, and that is not enough.
    TooFew(usize),
}

impl Unplaced {
    /// What it means that no node was found.
    fn of(none: &NoNode, view: &View, ask: &Ask<'_>, now: u64) -> Self {
        let NoNode::NoneEligible { reasons } = none else { return Self::NoneKnown };
        let has = |because| reasons.iter().any(|(reason, _)| *reason == because);
        let is_full = has(RefusedBecause::Full);
        // A node that is full and elsewhere would not do if it had room. Which those are takes a look at each.
        let is_wrong = has(RefusedBecause::Region) || has(RefusedBecause::Role);
        let would_do =
            || explain(view, ask, now).candidates.iter().any(|node| node.refused == [RefusedBecause::Full]);
        if is_full && (!is_wrong || would_do()) { Self::Full } else { Self::None }
    }
}

/// What answers are made of besides what is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// The application that streams are listed under.
    pub(crate) app: &'a str,
    /// The one group that all nodes belong to.
    pub(crate) cluster: &'a NodeId,
    pub(crate) addresses: Addresses,
    pub(crate) public: &'a Public,
    /// For how long a place is kept.
    pub(crate) reserved_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) unix_ms: u64,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// In the dialect of 1.x.
    V1(v1::Call),
    /// In the dialect of 2.0.
    V2(v2::Call),
    /// The nodes that the body names are to take nothing new.
    Sunset,
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Refusal> {
        let segments = query::segments(path)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let query = Query::read(query)?;
        match *segments {
            ["streammanager", "api", version, ref rest @ ..] => v1::read(method, version, rest, &query),
            ["as", "v1", ref rest @ ..] => v2::Call::read(method, rest, &query).map(Self::V2),
            ["as", ..] => Err(Refusal::not_found("this version of the API is not spoken here, v1 is")),
            _ => Err(Refusal::not_found("nothing is here")),
        }
    }

    /// What it needs to be allowed to do.
    pub(crate) const fn need(&self) -> Need {
        match self {
            Self::V1(call) => call.need(),
            Self::V2(_) => Need::Read,
            Self::Sunset => Need::Operate,
        }
    }
}

/// What can be answered at once.
///
/// # Errors
/// Why it is not answered.
pub(crate) fn answer(call: &Call, known: &impl Known, setup: &Setup<'_>) -> Result<Answer, Refusal> {
    match call {
        Call::V1(call) => call.answer(known, setup),
        Call::V2(call) => call.answer(known, setup),
        Call::Sunset => Err(Refusal::bad("the body is a list of nodes")),
    }
}
