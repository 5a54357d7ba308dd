//! What a stream-manager counts. No label has an unbounded set of values: neither channels, nodes nor sessions are labels.

use hyper::StatusCode;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use relay_proto::registry::Role;

/// From well below a pick to beyond the longest answer that another node is waited for.
const SECONDS: [f64; 12] =
    [0.000_025, 0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Every metric of a stream-manager.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) picks: Picks,
    pub(crate) requests: IntCounterVec,
    pub(crate) request_seconds: HistogramVec,
    /// Of the requests for a pick alone, found once.
    pub(crate) pick_requests: Requests,
    pub(crate) connections: IntGauge,
    pub(crate) accept_errors: IntCounter,
    pub(crate) proxied: IntGauge,
    pub(crate) view_age: Gauge,
    pub(crate) nodes: IntGaugeVec,
    pub(crate) sse_clients: IntGauge,
    pub(crate) messages_not_understood: IntCounter,
    pub(crate) registry_up: IntGauge,
    pub(crate) registry_errors: IntCounter,
    pub(crate) journal_errors: IntCounter,
    pub(crate) backbone_up: IntGauge,
    pub(crate) desired_nodes: IntGauge,
}

/// What came of a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picked {
    /// A node that has the channel already.
    Carries,
    /// Another.
    Placed,
    /// No node can take the client.
    None,
}

impl Picked {
    const ALL: [Self; 3] = [Self::Carries, Self::Placed, Self::None];

    const fn name(self) -> &'static str {
        match self {
            Self::Carries => "carries",
            Self::Placed => "placed",
            Self::None => "none",
        }
    }
}

const ROLES: [(Role, &str); 2] = [(Role::Publish, "publish"), (Role::Receive, "receive")];

/// Picks by role and by what came of them.
#[derive(Debug)]
pub(crate) struct Picks([[IntCounter; 3]; 2]);

impl Picks {
    pub(crate) fn count(&self, role: Role, picked: Picked) {
        self.0[usize::from(role == Role::Receive)][picked as usize].inc();
    }
}

/// Requests of one route.
#[derive(Debug)]
pub(crate) struct Requests {
    by_class: [IntCounter; CLASSES.len()],
    pub(crate) seconds: Histogram,
}

const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// The class of a status. There are no others: nobody is sent elsewhere.
pub(crate) fn class(status: StatusCode) -> &'static str {
    CLASSES[class_index(status)]
}

fn class_index(status: StatusCode) -> usize {
    match status.as_u16() {
        ..400 => 0,
        400..500 => 1,
        _ => 2,
    }
}

impl Requests {
    pub(crate) fn count(&self, status: StatusCode) {
        self.by_class[class_index(status)].inc();
    }
}

/// One in a gauge for as long as it lives, whatever ends it.
#[derive(Debug)]
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers everything, with every label value at zero where they are few.
    pub(crate) fn register(registry: &Registry, pick_route: &str) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counters =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            };
        let picks = counters(
            "relaycast_manager_picks_total",
            "Picks by role and result: a node that carries the channel, another, or none.",
            &["role", "result"],
        )?;
        let requests = counters(
            "relaycast_manager_requests_total",
            "Requests answered, by route and class of status.",
            &["route", "class"],
        )?;
        let request_seconds = HistogramVec::new(
            HistogramOpts::new(
                "relaycast_manager_request_seconds",
                "Time to an answer's first byte, by route; requests that wait as they were asked to are not in it.",
            )
            .buckets(SECONDS.to_vec()),
            &["route"],
        )?;
        registry.register(Box::new(request_seconds.clone()))?;
        let view_age = Gauge::new(
            "relaycast_manager_view_age_seconds",
            "Time since anything was heard of any node; 0 before the first.",
        )?;
        registry.register(Box::new(view_age.clone()))?;
        let nodes = IntGaugeVec::new(
            Opts::new("relaycast_manager_nodes", "Nodes by state: in_service, draining, silent."),
            &["state"],
        )?;
        registry.register(Box::new(nodes.clone()))?;
        let pick_requests = Requests {
            by_class: CLASSES.map(|class| requests.with_label_values(&[pick_route, class])),
            seconds: request_seconds.with_label_values(&[pick_route]),
        };
        Ok(Self {
            picks: Picks(
                ROLES.map(|(_, role)| {
                    Picked::ALL.map(|picked| picks.with_label_values(&[role, picked.name()]))
                }),
            ),
            requests,
            request_seconds,
            pick_requests,
            connections: gauge("relaycast_manager_connections", "Open TCP connections.")?,
            proxied: gauge("relaycast_manager_proxied", "Websockets that are relayed to nodes.")?,
            accept_errors: counter(
                "relaycast_manager_accept_errors_total",
                "Connections that could not be accepted.",
            )?,
            view_age,
            nodes,
            sse_clients: gauge("relaycast_manager_sse_clients", "Clients that follow events.")?,
            messages_not_understood: counter(
                "relaycast_manager_messages_not_understood_total",
                "Messages of nodes and other stream-managers that are not as they should be.",
            )?,
            registry_up: gauge("relaycast_manager_registry_up", "1 while the registry answers.")?,
            registry_errors: counter(
                "relaycast_manager_registry_errors_total",
                "Calls of the registry that were not answered.",
            )?,
            journal_errors: counter(
                "relaycast_manager_journal_errors_total",
                "Calls of the journal that were not answered.",
            )?,
            backbone_up: gauge("relaycast_manager_backbone_up", "1 while the backbone is connected.")?,
            desired_nodes: gauge(
                "relaycast_manager_desired_nodes",
                "Nodes that would be filled to the target by what there is to carry.",
            )?,
        })
    }
}
