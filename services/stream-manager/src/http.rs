//! The API of `proto/MANAGER.md`: every route, and what all of them have in common.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Whatever comes in, what is wrong with it is answered as a problem, and never as an error of     │
//! │ the server.                                                                                     │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`Http::answer`] serves picks itself, since all clients ask for them, and routes everything else.

pub(crate) mod access;
mod channels;
pub(crate) mod commands;
mod docs;
mod follow;
mod nodes;
mod openapi;
pub(crate) mod pick;
pub(crate) mod problem;
pub(crate) mod query;
mod sessions;
pub(crate) mod snapshot;
mod sources;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, Router, any, get, post};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Method, Uri};
use hyper_util::service::TowerToHyperService;
use relay_proto::backbone::Peer;
use serde::Serialize;
use tokio::time::Instant;
use tracing::debug;

use self::access::{From, Need};
use self::pick::{Reserve, Wanted};
use self::problem::{Kind, Problem};
use crate::config::Reads;
use crate::console;
use crate::metrics::class;
use crate::proxy::{self, Proxy, Relay};
use crate::red5::serve as red5;
use crate::replica::Replica;

/// The route of picks.
pub(crate) const PICK: &str = "/v1/pick";

/// What requests are counted under that have no route.
const OTHER: &str = "other";

/// The longest path and query: some three times what a pick can have.
const URI_BYTES_MAX: usize = 8 << 10;

/// The longest body that comes with a request. None is read.
const BODY_BYTES_MAX: u64 = 64 << 10;

/// The most entries of one page of a list, and how many there are where nobody says.
const PAGE_MAX: u64 = 1000;
const PAGE: u64 = 100;

/// A body that is all there, or what a route made.
pub(crate) type Payload = Either<Full<Bytes>, Body>;

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Http {
    replica: Arc<Replica>,
    router: TowerToHyperService<Router>,
    proxy: Proxy,
    /// Of every answer that is a pick.
    pick_headers: HeaderMap,
}

/// A path, and what is there.
struct Endpoint {
    path: &'static str,
    /// What it needs, where it needs anything.
    need: Option<Need>,
    methods: fn() -> MethodRouter<Arc<Replica>>,
    /// Methods and paths as documented.
    documented: &'static [(&'static str, &'static str)],
}

/// Every path but that of picks.
const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/v1/channels",
        need: Some(Need::Read),
        methods: || get(channels::list),
        documented: &[("get", "/v1/channels")],
    },
    Endpoint {
        path: "/v1/channels/{channel}",
        need: Some(Need::Read),
        methods: || get(channels::one).post(commands::on_channel),
        documented: &[("get", "/v1/channels/{channel}"), ("post", "/v1/channels/{channel}:close")],
    },
    Endpoint {
        path: "/v1/channels/{channel}/probe",
        need: Some(Need::Read),
        methods: || get(channels::probe),
        documented: &[("get", "/v1/channels/{channel}/probe")],
    },
    Endpoint {
        path: "/v1/channels/{channel}/snapshot",
        need: Some(Need::ReadPrivate),
        methods: || get(snapshot::picture),
        documented: &[("get", "/v1/channels/{channel}/snapshot")],
    },
    Endpoint {
        path: "/v1/nodes",
        need: Some(Need::Read),
        methods: || get(nodes::list),
        documented: &[("get", "/v1/nodes")],
    },
    Endpoint {
        path: "/v1/nodes/{node}",
        need: Some(Need::Read),
        methods: || get(nodes::one).post(commands::on_node),
        documented: &[
            ("get", "/v1/nodes/{node}"),
            ("post", "/v1/nodes/{node}:drain"),
            ("post", "/v1/nodes/{node}:undrain"),
        ],
    },
    Endpoint {
        path: "/v1/sessions",
        need: Some(Need::ReadPrivate),
        methods: || get(sessions::list),
        documented: &[("get", "/v1/sessions")],
    },
    Endpoint {
        path: "/v1/sessions/{session}",
        need: Some(Need::Operate),
        methods: || post(commands::on_session),
        documented: &[("post", "/v1/sessions/{session}:kick")],
    },
    Endpoint {
        path: "/v1/sources",
        need: Some(Need::ReadPrivate),
        methods: || get(sources::list),
        documented: &[("get", "/v1/sources")],
    },
    Endpoint {
        path: "/v1/sources/{*id}",
        need: Some(Need::ReadPrivate),
        methods: || get(sources::one).post(sources::command),
        documented: &[("get", "/v1/sources/{id}"), ("post", "/v1/sources/{id}:{verb}")],
    },
    Endpoint {
        path: "/v1/devices",
        need: Some(Need::ReadPrivate),
        methods: || get(sources::devices),
        documented: &[("get", "/v1/devices")],
    },
    Endpoint {
        path: "/v1/events",
        need: Some(Need::Read),
        methods: || get(follow::events),
        documented: &[("get", "/v1/events")],
    },
    Endpoint {
        path: "/v1/capacity",
        need: Some(Need::Read),
        methods: || get(nodes::capacity),
        documented: &[("get", "/v1/capacity")],
    },
    Endpoint {
        path: "/openapi.json",
        need: None,
        methods: || get(openapi::document),
        documented: &[("get", "/openapi.json")],
    },
    Endpoint { path: "/docs", need: None, methods: || get(docs::page), documented: &[] },
    Endpoint { path: "/docs/{file}", need: None, methods: || get(docs::file), documented: &[] },
    // Who may ask what, they see to themselves.
    Endpoint { path: "/streammanager/{*rest}", need: None, methods: || any(red5::call), documented: &[] },
    Endpoint { path: "/as/{*rest}", need: None, methods: || any(red5::call), documented: &[] },
];

impl Http {
    pub(crate) fn new(replica: Arc<Replica>) -> Self {
        let router = ENDPOINTS
            .iter()
            .fold(Router::new(), |router, endpoint| router.route(endpoint.path, (endpoint.methods)()))
            .merge(console::routes())
            .fallback(async || Problem::new(Kind::NoSuchPath))
            .method_not_allowed_fallback(method_not_allowed)
            .layer(from_fn_with_state(Arc::clone(&replica), account))
            .with_state(Arc::clone(&replica));
        let pick_headers = pick_headers(replica.config.reads);
        Self { replica, router: TowerToHyperService::new(router), proxy: Proxy::new(), pick_headers }
    }

    pub(crate) fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Answers one request. What is to be relayed once the answer is out is left in `relay`.
    pub(crate) async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        relay: &Mutex<Option<Relay>>,
    ) -> hyper::Response<Payload> {
        if let Err(problem) = check_size(request.uri(), request.body().size_hint().exact()) {
            let response = if red5::is_here(request.uri().path()) {
                red5::problem(&self.replica, problem)
            } else {
                problem.into_response()
            };
            self.replica.metrics.requests.with_label_values(&[OTHER, class(response.status())]).inc();
            return response.map(Either::Right);
        }
        if request.uri().path() == PICK {
            return self.pick(&request, peer).await;
        }
        // Boxed: they are large, and all picks would carry them along.
        if request.uri().path().starts_with(proxy::PREFIX) {
            return Box::pin(self.relayed(request, peer, relay)).await;
        }
        Box::pin(self.routed(request, peer)).await
    }

    async fn routed(
        &self,
        mut request: hyper::Request<Incoming>,
        peer: SocketAddr,
    ) -> hyper::Response<Payload> {
        request.extensions_mut().insert(From(peer));
        match self.router.call(request).await {
            Ok(response) => response.map(Either::Right),
            Err(infallible) => match infallible {},
        }
    }

    /// Shakes hands with a node.
    async fn relayed(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        slot: &Mutex<Option<Relay>>,
    ) -> hyper::Response<Payload> {
        let method = request.method().clone();
        let response = match self.proxy.open(&self.replica, request, peer).await {
            Ok((response, relay)) => {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(relay);
                response.map(|_| Either::Left(Full::default()))
            }
            Err(problem) => problem.into_response().map(Either::Right),
        };
        let status = response.status();
        self.replica.metrics.requests.with_label_values(&[proxy::ROUTE, class(status)]).inc();
        debug!(%method, route = proxy::ROUTE, status = status.as_u16(), "request");
        response
    }

    async fn pick(&self, request: &hyper::Request<Incoming>, peer: SocketAddr) -> hyper::Response<Payload> {
        let began = Instant::now();
        let replica = &*self.replica;
        let now = replica.at(began);
        let metrics = &replica.metrics.pick_requests;
        let picked = match *request.method() {
            Method::GET => self.picked(request, peer, Reserve::Yes, now).await,
            // It is answered as GET is, but nobody comes of it.
            Method::HEAD => self.picked(request, peer, Reserve::No, now).await,
            _ => Err(Problem::only("GET, HEAD")),
        };
        let response = match picked {
            Ok((body, waited)) => {
                if !waited {
                    metrics.seconds.observe(began.elapsed().as_secs_f64());
                }
                let mut response = hyper::Response::new(Either::Left(Full::new(body)));
                response.headers_mut().clone_from(&self.pick_headers);
                response
            }
            Err(problem) => {
                let mut response = problem.into_response().map(Either::Right);
                if replica.config.reads == Reads::Public {
                    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
                }
                response
            }
        };
        metrics.count(response.status());
        debug!(method = %request.method(), route = PICK, status = response.status().as_u16(), "request");
        response
    }

    async fn picked(
        &self,
        request: &hyper::Request<Incoming>,
        peer: SocketAddr,
        reserve: Reserve,
        now: u64,
    ) -> Result<(Bytes, bool), Problem> {
        let replica = &*self.replica;
        access::check(&replica.config, Need::Read, request.headers(), Some(From(peer)))?;
        let mut wanted = Wanted::parse(request.uri().query())?;
        if let Some(need) = wanted.needs() {
            access::check(&replica.config, need, request.headers(), Some(From(peer)))?;
            wanted.open(replica)?;
        }
        if wanted.waits() {
            // Boxed: what waits is large, and all other picks would carry it along.
            return Ok((Box::pin(pick::wait(replica, &wanted, reserve)).await?, true));
        }
        Ok((pick::choose(replica, &wanted, reserve, now)?, false))
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const ANY: HeaderValue = HeaderValue::from_static("*");

fn pick_headers(reads: Reads) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if reads == Reads::Public {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    }
    headers
}

/// `length` is that of the body, where it is known.
fn check_size(uri: &Uri, length: Option<u64>) -> Result<(), Problem> {
    if uri.path_and_query().is_some_and(|whole| whole.as_str().len() > URI_BYTES_MAX) {
        return Err(Problem::new(Kind::UriTooLong)
            .because(format!("path and query are longer than {URI_BYTES_MAX} bytes")));
    }
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(
            Problem::new(Kind::BodyTooLarge).because(format!("bodies have at most {BODY_BYTES_MAX} bytes"))
        );
    }
    Ok(())
}

/// What is named is read, and what is to be done with it is posted, though the router has one path for both. Of other paths the
/// router says itself which methods they have.
async fn method_not_allowed(path: MatchedPath, uri: Uri) -> Problem {
    let has_both = ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.path == path.as_str())
        .any(|endpoint| endpoint.need != Some(Need::Operate) && endpoint.documented.len() > 1);
    let has_verb = uri.path().rsplit('/').next().is_some_and(|segment| segment.contains(':'));
    match (has_both, has_verb) {
        (true, true) => Problem::only("POST"),
        (true, false) => Problem::only("GET, HEAD"),
        (false, _) => Problem::new(Kind::MethodNotAllowed),
    }
}

/// Counts a request that was routed, and lets pages of other origins read what is public.
async fn account(State(replica): State<Arc<Replica>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let endpoint = request
        .extensions()
        .get::<MatchedPath>()
        .and_then(|path| ENDPOINTS.iter().find(|endpoint| endpoint.path == path.as_str()));
    let mut response = next.run(request).await;
    let route = endpoint.map_or(OTHER, |endpoint| endpoint.path);
    let metrics = &replica.metrics;
    metrics.requests.with_label_values(&[route, class(response.status())]).inc();
    metrics.request_seconds.with_label_values(&[route]).observe(began.elapsed().as_secs_f64());
    let is_public = endpoint.is_some_and(|endpoint| endpoint.need == Some(Need::Read))
        && replica.config.reads == Reads::Public
        && matches!(method, Method::GET | Method::HEAD);
    if is_public {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    }
    debug!(%method, route, status = response.status().as_u16(), "request");
    response
}

/// An answer that is true for a moment only.
pub(crate) fn json<T: Serialize>(answer: &T) -> Response {
    // No answer has a map with odd keys or anything else that JSON could refuse.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, JSON),
        (header::CACHE_CONTROL, NO_STORE),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    ];
    (headers, body).into_response()
}

/// The segment of a path that names something, and what is to be done with it: `cam1:close`.
#[derive(Debug)]
struct Named {
    name: String,
    verb: Option<String>,
}

impl FromRequestParts<Arc<Replica>> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, replica: &Arc<Replica>) -> Result<Self, Problem> {
        let refused = || Problem::bad("the path is not UTF-8 in percent-encoding");
        let segments =
            RawPathParams::from_request_parts(parts, replica).await.map_err(|_rejection| refused())?;
        let (_, segment) = segments.iter().next().ok_or_else(refused)?;
        Ok(match segment.split_once(':') {
            Some((name, verb)) => Self { name: name.to_owned(), verb: Some(verb.to_owned()) },
            None => Self { name: segment.to_owned(), verb: None },
        })
    }
}

impl Named {
    /// What is named, where nothing is to be done with it.
    fn read<T: std::str::FromStr<Err: std::fmt::Display>>(&self, what: &'static str) -> Result<T, Problem> {
        match self.verb {
            Some(_) => Err(Problem::only("POST")),
            None => query::parse(what, &self.name),
        }
    }

    /// What is named, and what is to be done with it.
    fn act<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        what: &'static str,
    ) -> Result<(T, &str), Problem> {
        match &self.verb {
            Some(verb) => Ok((query::parse(what, &self.name)?, verb)),
            None => Err(Problem::only("GET, HEAD")),
        }
    }
}

/// A path without parameters.
fn no_parameters(uri: &Uri) -> Result<(), Problem> {
    match query::pairs(uri.query()).next() {
        None => Ok(()),
        Some(pair) => Err(pair.map_or_else(|problem| problem, |_| query::unknown(""))),
    }
}

/// Where a page of a list begins, and how long it is.
#[derive(Debug)]
struct Paging<T> {
    after: Option<T>,
    limit: Option<u64>,
}

impl<T: std::str::FromStr<Err: std::fmt::Display>> Paging<T> {
    const fn new() -> Self {
        Self { after: None, limit: None }
    }

    /// Takes a parameter, if it is one of its own.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, Problem> {
        match name {
            "after" => query::once(&mut self.after, "after", query::parse("after", value)?)?,
            "limit" => query::once(&mut self.limit, "limit", query::number("limit", value, 1..=PAGE_MAX)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn limit(&self) -> usize {
        usize::try_from(self.limit.unwrap_or(PAGE)).unwrap_or(usize::MAX)
    }
}

/// The run of a node that is known.
pub(crate) fn peer_of(replica: &Replica, node: &relay_proto::NodeId) -> Option<Peer> {
    let known = replica.known();
    let record = &known.view.node(node)?.record;
    Some(Peer { node: record.node.clone(), incarnation: record.incarnation })
}

/// Soon, but not all at once.
fn soon() -> Duration {
    Duration::from_millis(fastrand::u64(500..=1500))
}

/// For the fuzz target only.
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    /// Reads the query of a pick.
    pub(crate) fn query(text: &str) {
        let _ = super::Wanted::parse(Some(text));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use relay_cluster::Links;

    use super::*;
    use crate::config::Config;
    use crate::metrics::Metrics;

    pub(crate) fn replica() -> Arc<Replica> {
        let metrics = Metrics::register(&prometheus::Registry::new(), PICK).unwrap();
        let config = Config::default();
        let public = crate::urls::Public::new(None, config.listen);
        Arc::new(Replica::new(config, Links::alone(), metrics, public))
    }

    fn kind<T: std::fmt::Debug>(answer: Result<T, Problem>) -> Kind {
        answer.unwrap_err().kind
    }

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let replica = replica();
        let wanted = Wanted::parse(Some("wait=1")).unwrap();
        let most = u32::try_from(replica.waits.available_permits()).unwrap();
        let all_but_one = replica.waits.try_acquire_many(most - 1).unwrap();
        assert_eq!(kind(pick::wait(&replica, &wanted, Reserve::Yes).await), Kind::NoNode);
        let last = replica.waits.try_acquire().unwrap();
        assert_eq!(kind(pick::wait(&replica, &wanted, Reserve::Yes).await), Kind::Busy);
        drop((all_but_one, last));
    }

    #[tokio::test]
    async fn no_more_ask_nodes_than_may() {
        let replica = replica();
        let most = u32::try_from(replica.asks.available_permits()).unwrap();
        let list =
            || sessions::list(access::PrivateReader, State(Arc::clone(&replica)), Uri::from_static("/"));
        let all_but_one = replica.asks.try_acquire_many(most - 1).unwrap();
        assert!(list().await.is_ok());
        let last = replica.asks.try_acquire().unwrap();
        assert_eq!(kind(list().await), Kind::Busy);
        drop((all_but_one, last));
    }
}
