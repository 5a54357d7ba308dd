//! The dialects over HTTP: who may ask what, and what every answer has.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use relay_lifecycle::access::CHALLENGE;
use relay_proto::NodeId;
use relay_proto::api::manager::Problem as Told;
use relay_proto::backbone::{Request as Asked, Stated, to_json};
use tokio::time::timeout;
use tracing::info;

use super::answer::{Answer, Refusal};
use super::query::access_token;
use super::{Call, Known, Setup, Unplaced, answer, v1};
use crate::config::Reads;
use crate::http::access::{self, From};
use crate::http::commands::{ask, understood};
use crate::http::pick::Reserve;
use crate::http::problem::{Kind, Problem};
use crate::metrics::Picked;
use crate::placement::{Ask, Placed, place};
use crate::replica::Replica;
use crate::view::View;

/// What the paths of both dialects begin with.
const PREFIXES: [&str; 2] = ["/streammanager/", "/as/"];

/// The longest body: some three times the longest list of nodes that is taken.
const BODY_BYTES_MAX: usize = 32 << 10;

/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// When to come back where nothing can be had now. Clients do not wait for so long, and need not: looking is cheap.
const RETRY_AFTER_SECONDS: u16 = 1;

/// For how long the answer to a preflight counts.
const PREFLIGHT_SECONDS: u16 = 3600;

/// Says that a list is not whole.
const CUT: &str = "relaycast-truncated";

/// Answers every request under the paths of the dialects.
pub(crate) async fn call(State(replica): State<Arc<Replica>>, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return shared(&replica, preflight());
    }
    let response = match answered(&replica, request).await {
        Ok(answer) => response(answer),
        Err(refusal) => refused(&refusal, unix_ms()),
    };
    shared(&replica, response)
}

/// Whether a path is one of the dialects'.
pub(crate) fn is_here(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.len() > prefix.len() && path.starts_with(prefix))
}

/// A problem that comes before a request is routed, as clients of the dialects read it.
pub(crate) fn problem(replica: &Replica, problem: Problem) -> Response {
    shared(replica, refused(&Refusal::from(problem), unix_ms()))
}

async fn answered(replica: &Replica, request: Request) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path(), parts.uri.query());
    let call = Call::read(&parts.method, path, query)?;
    let from = parts.extensions.get::<From>().copied();
    let headers = with_token(parts.headers, query);
    access::check(&replica.config, call.need(), &headers, from)?;
    let unix_ms = unix_ms();
    let setup = Setup {
        app: &replica.config.red5_app,
        cluster: &replica.links.cluster,
        addresses: replica.config.addresses,
        public: &replica.public,
        reserved_ms: u64::try_from(replica.config.reservation.as_millis()).unwrap_or(u64::MAX),
        unix_ms,
    };
    let reserve = if parts.method == Method::HEAD { Reserve::No } else { Reserve::Yes };
    let desk = Desk { replica, reserve };
    match call {
        Call::Sunset => {
            let nodes = v1::to_sunset(&read(body).await?, &desk)?;
            sunset(replica, &nodes).await?;
            Ok(v1::sunset(&nodes, &desk, &setup))
        }
        call => answer(&call, &desk, &setup),
    }
}

/// These clients have their token in the query. It counts as one in the header, and where there is one, that counts.
fn with_token(mut headers: HeaderMap, query: Option<&str>) -> HeaderMap {
    if let Some(token) = access_token(query)
        && !headers.contains_key(header::AUTHORIZATION)
        // What no header can have is no token, and is refused as one that is wrong.
        && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}"))
            .or_else(|_| HeaderValue::from_str("Bearer"))
    {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    headers
}

async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    match timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off")),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body takes too long")),
    }
}

/// Tells nodes to take nothing new, all at once.
async fn sunset(replica: &Replica, nodes: &[NodeId]) -> Result<(), Refusal> {
    let Ok(_permit) = replica.asks.try_acquire() else {
        return Err(Problem::new(Kind::Busy).into());
    };
    let told = join_all(nodes.iter().map(async |node| {
        let peer = crate::http::peer_of(replica, node).ok_or(Problem::new(Kind::NoSuchNode))?;
        let subject = replica.subjects.node(&peer.node, peer.incarnation);
        let stated = understood(ask(replica, &subject, to_json(&Asked::Drain)).await, Kind::NodeSilent)?;
        let Stated { state } = stated;
        info!(node = %node, ?state, "node told to sunset");
        Ok::<_, Problem>(())
    }));
    let silent: Vec<&str> = nodes
        .iter()
        .zip(told.await)
        .filter(|(_, told)| told.is_err())
        .map(|(node, _)| node.as_str())
        .collect();
    if silent.is_empty() {
        Ok(())
    } else {
        let message = format!("nodes that did not answer, and were not sunset: {}", silent.join(", "));
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).for_now())
    }
}

/// The cluster as this stream-manager knows it.
struct Desk<'a> {
    replica: &'a Replica,
    reserve: Reserve,
}

impl Known for Desk<'_> {
    fn look<T>(&self, look: impl FnOnce(&View, u64) -> T) -> T {
        let now = self.replica.now();
        look(&self.replica.known().view, now)
    }

    fn place<T>(
        &self,
        ask: &Ask<'_>,
        at_least: usize,
        tell: impl FnOnce(&View, u64, &[Placed]) -> T,
    ) -> Result<T, Unplaced> {
        let replica = self.replica;
        let now = replica.now();
        let mut known = replica.known();
        let found = place(&known.view, ask, now, &mut |bound| fastrand::usize(..bound));
        let found = match found {
            Ok(placed) if placed.len() >= at_least => Ok(placed),
            Ok(placed) => Err(Unplaced::TooFew(placed.len())),
            Err(none) => Err(Unplaced::of(&none, &known.view, ask, now)),
        };
        let placed = found.inspect_err(|_| replica.metrics.picks.count(ask.role, Picked::None))?;
        let told = tell(&known.view, now, &placed);
        let mut is_news = false;
        if self.reserve == Reserve::Yes {
            for placed in &placed {
                is_news |= known.reserve(placed.slot, now);
            }
        }
        drop(known);
        if is_news {
            replica.picked.notify_one();
        }
        let carries = placed.first().is_some_and(|placed| placed.carries);
        replica.metrics.picks.count(ask.role, if carries { Picked::Carries } else { Picked::Placed });
        Ok(told)
    }
}

impl std::convert::From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let is_for_now = matches!(problem.kind, Kind::Busy | Kind::Leaving | Kind::Unavailable);
        let Told { title, detail, status, .. } = problem.into();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let refusal = Self::new(status, detail.unwrap_or(title));
        if is_for_now { refusal.for_now() } else { refusal }
    }
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn response(answer: Answer) -> Response {
    let Answer { body, is_cut } = answer;
    let mut response = json(StatusCode::OK, body);
    if is_cut {
        response.headers_mut().insert(CUT, HeaderValue::from_static("true"));
    }
    response
}

pub(super) fn refused(refusal: &Refusal, unix_ms: u64) -> Response {
    let mut response = json(refusal.status, refusal.body(unix_ms));
    let headers = response.headers_mut();
    if let Some(allow) = refusal.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if refusal.is_for_now {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    if refusal.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Clients set headers that a browser asks about first.
fn preflight() -> Response {
    let mut response = json(StatusCode::OK, b"{}".to_vec());
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, cache-control, pragma"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_SECONDS));
    response
}

/// Pages of other origins read what everybody may read: with it, and with what is wrong with it.
fn shared(replica: &Replica, mut response: Response) -> Response {
    if replica.config.reads == Reads::Public {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}
