//! Asks a stream-manager which node a source is to stream to.
//!
//! No key goes there: the answer has `{key}` where it belongs, and it is put in here.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use relay_lifecycle::access::Token;
use relay_proto::api::manager::Picks;
use relay_proto::{ChannelName, NodeId, StreamKey};
use tokio::time::timeout;

/// Longer than any stream-manager takes that is well, and short enough that a viewer waits for the next one.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Connections that nobody used for so long are let go of.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// An answer of eight nodes has some 3 KiB.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Nodes that are asked for, since not each may take the protocol of the source.
const NODES: usize = 8;

const AGENT: &str = concat!("relaycast/", env!("CARGO_PKG_VERSION"));

/// What stands for the key in an answer.
const KEY_PLACE: &str = "{key}";

/// Asks stream-managers, each in its turn while the ones before do not answer.
pub(crate) struct Picker {
    pool: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    managers: Vec<String>,
    token: Option<HeaderValue>,
}

impl fmt::Debug for Picker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picker").field("managers", &self.managers).finish_non_exhaustive()
    }
}

/// Why stream-managers cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PickerError {
    /// There is none.
    #[error("manager names no stream-manager")]
    None,
    /// An address is none.
    #[error("manager is not http:// or https:// and a host, without a path")]
    Url,
    /// Certificates to trust cannot be had.
    #[error("the system's certificates cannot be read: {0}")]
    Certificates(std::io::Error),
}

/// What the source is to speak to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// This bridge does, by websocket.
    Websocket,
    /// The device does.
    Rtmp,
}

/// A node, and where it takes the source. Prints without the key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Picked {
    pub(crate) node: NodeId,
    /// For the protocol that was asked for, with the key.
    pub(crate) url: String,
}

impl fmt::Debug for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picked").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Why there is no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPick {
    /// No stream-manager answers.
    #[error("no stream-manager answers")]
    NoManager,
    /// None of the nodes takes it.
    #[error("no node takes it")]
    NoNode,
    /// The stream-manager refuses to say.
    #[error("the stream-manager answered {0}")]
    Refused(u16),
}

impl Picker {
    /// Checks the addresses, and connects to nobody.
    pub(crate) fn new(managers: &[String], token: Option<&Token>) -> Result<Self, PickerError> {
        relay_cluster::tls::install_crypto_provider();
        let managers: Vec<_> = managers.iter().map(|url| base(url)).collect::<Result<_, _>>()?;
        if managers.is_empty() {
            return Err(PickerError::None);
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(ANSWER_WITHIN));
        let https = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(PickerError::Certificates)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(https);
        Ok(Self { pool, managers, token: token.map(Token::bearer) })
    }

    /// A node for a channel of a source, other than these.
    pub(crate) async fn pick(
        &self,
        channel: &ChannelName,
        key: &StreamKey,
        protocol: Protocol,
        exclude: &[NodeId],
    ) -> Result<Picked, NoPick> {
        let mut query = format!("/v1/pick?role=publish&channel={channel}&n={NODES}");
        if !exclude.is_empty() {
            let names: Vec<_> = exclude.iter().map(NodeId::as_str).collect();
            query.push_str("&exclude=");
            query.push_str(&names.join(","));
        }
        let mut last = NoPick::NoManager;
        for manager in &self.managers {
            match self.ask(&format!("{manager}{query}")).await {
                Ok(picks) => return picked(picks, key, protocol),
                // Another may know more, or be up.
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, url: &str) -> Result<Picks, NoPick> {
        let mut request = Request::get(url).header(USER_AGENT, AGENT);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let Ok(request) = request.body(Empty::new()) else { return Err(NoPick::NoManager) };
        let answer = timeout(ANSWER_WITHIN, async {
            let answer = self.pool.request(request).await.map_err(|_| NoPick::NoManager)?;
            match answer.status().as_u16() {
                200 => {}
                503 => return Err(NoPick::NoNode),
                status => return Err(NoPick::Refused(status)),
            }
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| NoPick::NoManager)?.to_bytes();
            serde_json::from_slice(&body).map_err(|_| NoPick::Refused(200))
        });
        answer.await.unwrap_or(Err(NoPick::NoManager))
    }
}

/// An address that a path can follow.
fn base(url: &str) -> Result<String, PickerError> {
    let parsed: Uri = url.parse().map_err(|_| PickerError::Url)?;
    let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
    let authority = parsed.authority().filter(|_| is_http).ok_or(PickerError::Url)?;
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() || authority.as_str().contains('@') {
        return Err(PickerError::Url);
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// The first that takes the protocol.
fn picked(picks: Picks, key: &StreamKey, protocol: Protocol) -> Result<Picked, NoPick> {
    let url = |urls: relay_proto::api::manager::Urls| match protocol {
        Protocol::Websocket => Some(urls.websocket),
        Protocol::Rtmp => urls.rtmp,
    };
    let found = picks.picks.into_iter().find_map(|pick| Some((pick.node, url(pick.urls)?)));
    let (node, url) = found.ok_or(NoPick::NoNode)?;
    Ok(Picked { node, url: url.replace(KEY_PLACE, key.expose()) })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::RawQuery;
    use axum::http::HeaderMap;
    use axum::routing::get;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// Stands for a stream-manager: answers every pick with this status and body.
    async fn manager(tasks: &mut JoinSet<()>, status: u16, body: &'static str) -> String {
        let answer = move |RawQuery(query): RawQuery, headers: HeaderMap| async move {
            let query = query.unwrap_or_default();
            assert!(!query.contains("key="), "{query}");
            let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let body = body.replace("QUERY", &query.replace('&', "~")).replace("TOKEN", token);
            (axum::http::StatusCode::from_u16(status).unwrap(), body)
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let app = Router::new().route("/v1/pick", get(answer));
        tasks.spawn(async move { axum::serve(socket, app).await.unwrap() });
        url
    }

    const TWO: &str = r#"{"picks":[
        {"node":"n1","carries":false,"urls":{"websocket":"ws://n1/c/{key}/publish?QUERY"},"reserved_ms":1},
        {"node":"n2","carries":false,"urls":{"websocket":"ws://n2/c/{key}/publish","rtmp":"rtmp://n2:1935/live/c/{key}"},"reserved_ms":1}
        ],"view":{"registry":"up","backbone":"up"}}"#;

    fn channel() -> ChannelName {
        "source-kerberos-cam1-9d503cc339".parse().unwrap()
    }

    fn key() -> StreamKey {
        "hunter2".parse().unwrap()
    }

    async fn pick(managers: &[String], protocol: Protocol, exclude: &[NodeId]) -> Result<Picked, NoPick> {
        let token = "a-token-of-a-reader".parse().unwrap();
        Picker::new(managers, Some(&token)).unwrap().pick(&channel(), &key(), protocol, exclude).await
    }

    #[tokio::test]
    async fn the_key_is_put_where_it_belongs_and_sent_to_nobody() {
        let mut tasks = JoinSet::new();
        let managers = [manager(&mut tasks, 200, TWO).await];
        let exclude = ["n3".parse().unwrap(), "n4".parse().unwrap()];
        let picked = pick(&managers, Protocol::Websocket, &exclude).await.unwrap();
        let query = format!("role=publish~channel={}~n=8~exclude=n3,n4", channel());
        assert_eq!(picked.node.as_str(), "n1");
        assert_eq!(picked.url, format!("ws://n1/c/hunter2/publish?{query}"));
        assert!(!format!("{picked:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_node_is_passed_over_that_does_not_take_the_protocol() {
        let mut tasks = JoinSet::new();
        let managers = [manager(&mut tasks, 200, TWO).await];
        let picked = pick(&managers, Protocol::Rtmp, &[]).await.unwrap();
        assert_eq!((picked.node.as_str(), picked.url.as_str()), ("n2", "rtmp://n2:1935/live/c/hunter2"));
    }

    #[tokio::test]
    async fn the_next_stream_manager_is_asked_where_one_does_not_answer() {
        let mut tasks = JoinSet::new();
        let gone = {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            format!("http://{}", socket.local_addr().unwrap())
        };
        assert_eq!(pick(std::slice::from_ref(&gone), Protocol::Rtmp, &[]).await, Err(NoPick::NoManager));
        let full = manager(&mut tasks, 503, "{}").await;
        assert_eq!(pick(&[gone.clone(), full.clone()], Protocol::Rtmp, &[]).await, Err(NoPick::NoNode));
        let nonsense = manager(&mut tasks, 200, "[]").await;
        assert_eq!(
            pick(std::slice::from_ref(&nonsense), Protocol::Rtmp, &[]).await,
            Err(NoPick::Refused(200))
        );
        let forbids = manager(&mut tasks, 401, "{}").await;
        assert_eq!(
            pick(std::slice::from_ref(&forbids), Protocol::Rtmp, &[]).await,
            Err(NoPick::Refused(401))
        );
        let well = manager(&mut tasks, 200, TWO).await;
        let managers = [gone, full, nonsense, forbids, well];
        assert_eq!(pick(&managers, Protocol::Rtmp, &[]).await.unwrap().node.as_str(), "n2");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_none() {
        let mut tasks = JoinSet::new();
        let endless = format!("{{\"picks\":[{}]", " ".repeat(ANSWER_BYTES_MAX));
        let managers = [manager(&mut tasks, 200, endless.leak()).await];
        assert_eq!(pick(&managers, Protocol::Rtmp, &[]).await, Err(NoPick::NoManager));
    }

    #[test]
    fn only_addresses_that_a_path_can_follow_are_taken() {
        for url in ["http://h", "http://h:8081/", "https://[::1]:1"] {
            assert!(base(url).is_ok(), "{url}");
        }
        for url in ["", "h:1", "ws://h", "http://h/x", "http://h/?q", "http://u:p@h"] {
            assert!(matches!(base(url), Err(PickerError::Url)), "{url}");
        }
    }
}
