//! `api::manager::Picks` as bytes. All clients wait for one, and it is always of the same few parts, so they are put one behind the
//! other; what is rare is left to serde.

use bytes::Bytes;
use relay_proto::api::manager::{Explanation, Reach, ViewState};
use serde::Serialize;

use crate::urls::Target;

/// What an answer for one node mostly takes.
const ANSWER_BYTES: usize = 512;

/// A node to use.
#[derive(Clone, Copy)]
pub(super) struct Pick<'a> {
    pub(super) target: Target<'a>,
    pub(super) carries: bool,
    pub(super) reserved_ms: u64,
}

/// The answer that names these nodes.
pub(super) fn of<'a>(
    picks: impl Iterator<Item = Pick<'a>>,
    view: &ViewState,
    explanation: Option<&Explanation>,
) -> Bytes {
    let mut json = Json(Vec::with_capacity(ANSWER_BYTES));
    json.raw("{\"picks\":[");
    for (index, pick) in picks.enumerate() {
        if index > 0 {
            json.raw(",");
        }
        json.pick(&pick);
    }
    json.raw("],\"view\":{\"registry\":");
    json.raw(reach(view.registry));
    json.raw(",\"backbone\":");
    json.raw(reach(view.backbone));
    if let Some(age_ms) = view.age_ms {
        json.raw(",\"age_ms\":");
        json.value(&age_ms);
    }
    json.raw("}");
    if let Some(explanation) = explanation {
        json.raw(",\"explanation\":");
        json.value(explanation);
    }
    json.raw("}");
    json.0.into()
}

const fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Up => "\"up\"",
        Reach::Down => "\"down\"",
    }
}

/// JSON as far as it is written.
struct Json(Vec<u8>);

impl Json {
    fn pick(&mut self, pick: &Pick<'_>) {
        let Pick { target, carries, reserved_ms } = pick;
        let node = target.node;
        self.raw("{\"node\":");
        self.text(&[node.node.as_str()]);
        if let Some(region) = &node.region {
            self.raw(",\"region\":");
            self.text(&[region]);
        }
        if let Some(zone) = &node.zone {
            self.raw(",\"zone\":");
            self.text(&[zone]);
        }
        self.raw(if *carries { ",\"carries\":true" } else { ",\"carries\":false" });
        self.raw(",\"urls\":{\"websocket\":");
        self.text(target.websocket().parts());
        if let Some(page) = target.page() {
            self.raw(",\"page\":");
            self.text(page.parts());
        }
        if let Some(rtmp) = target.rtmp() {
            self.raw(",\"rtmp\":");
            self.text(rtmp.parts());
        }
        self.raw("},\"reserved_ms\":");
        self.value(reserved_ms);
        self.raw("}");
    }

    fn raw(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// One text, of these parts.
    fn text(&mut self, parts: &[&str]) {
        self.raw("\"");
        for part in parts {
            self.part(part);
        }
        self.raw("\"");
    }

    fn part(&mut self, part: &str) {
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if part.bytes().all(is_plain) {
            self.raw(part);
        } else {
            let quoted = serde_json::to_string(part).unwrap_or_default();
            let inner = quoted.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"'));
            self.raw(inner.unwrap_or_default());
        }
    }

    fn value(&mut self, value: &impl Serialize) {
        // Neither a map with odd keys nor anything else that JSON could refuse.
        let _ = serde_json::to_writer(&mut self.0, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use relay_proto::Incarnation;
    use relay_proto::api::manager::{self, Picks, Urls};
    use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};

    use super::*;
    use crate::config::Addresses;
    use crate::urls::Public;

    fn record(region: Option<String>, zone: Option<String>, url: String) -> NodeRecord {
        NodeRecord {
            node: "n1".parse().unwrap(),
            incarnation: Incarnation::new(1),
            rtmp: Some(format!("rtmp{url}")),
            url,
            region,
            zone,
            state: NodeState::InService,
            roles: vec![Role::Receive],
            capacity: Capacity { sessions: 1, processors: 1, egress: None },
            load: Load::default(),
            version: String::new(),
            started_ms: 0,
        }
    }

    proptest! {
        #[test]
        fn an_answer_is_byte_for_byte_what_serde_makes_of_it(
            nodes in prop::collection::vec((option::of(any::<String>()), option::of(".{0,9}"), "(ws)?.{0,9}"), 0..3),
            (carries, reserved_ms, age_ms) in any::<(bool, u64, Option<u64>)>(),
            (is_up, is_explained, is_proxied, publishes) in any::<(bool, bool, bool, bool)>(),
        ) {
            let addresses = if is_proxied { Addresses::Proxied } else { Addresses::Nodes };
            let public = Public::new(None, ([127, 0, 0, 1], 8081).into());
            let channel = "cam".parse().unwrap();
            let role = if publishes { Role::Publish } else { Role::Receive };
            let nodes: Vec<_> = nodes.into_iter().map(|(region, zone, url)| record(region, zone, url)).collect();
            let targets: Vec<_> = nodes
                .iter()
                .map(|node| Target { addresses, public: &public, node, channel: Some(&channel), key: None, role })
                .collect();
            let pick = |target: &Target<'_>| manager::Pick {
                node: target.node.node.clone(),
                region: target.node.region.clone(),
                zone: target.node.zone.clone(),
                carries,
                urls: Urls {
                    websocket: target.websocket().to_string(),
                    page: target.page().map(|page| page.to_string()),
                    rtmp: target.rtmp().map(|rtmp| rtmp.to_string()),
                },
                reserved_ms,
            };
            let (registry, backbone) = if is_up { (Reach::Up, Reach::Down) } else { (Reach::Down, Reach::Up) };
            let picks = Picks {
                picks: targets.iter().map(pick).collect(),
                view: ViewState { registry, backbone, age_ms },
                explanation: is_explained.then(|| Explanation { candidates: Vec::new() }),
            };
            let written = of(
                targets.iter().map(|target| Pick { target: *target, carries, reserved_ms }),
                &picks.view,
                picks.explanation.as_ref(),
            );
            prop_assert_eq!(written, serde_json::to_vec(&picks).unwrap());
        }
    }
}
