//! Makes connections to whatever an [`Address`] names. Keeps nothing of them: each call starts from the address again, and
//! Sentinels are asked anew where the master is.

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select_ok};
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsCertificates, Value,
};

use super::address::{Address, Host, Kind, Login};

/// How often a command follows a slot of a cluster that has moved, or one that is moving.
const REDIRECTS_MAX: u32 = 4;

/// Between two of them, in milliseconds: several have to fit into the time of a call.
const REDIRECT_WAIT_MS: (u64, u64) = (5, 50);

/// Part of the time of a call that one member of a cluster may take to connect. All are waited for, and the ones that are
/// there are asked for the slots after that; together it has to fit into the half that connecting has.
const MEMBER_SHARE: u32 = 4;

/// Whom to ask for a connection.
pub(super) struct Dialer {
    address: Address,
    target: Target,
    config: AsyncConnectionConfig,
    certificates: Option<TlsCertificates>,
}

enum Target {
    Server(Client),
    Cluster(Box<ClusterClient>),
    Sentinels { clients: Vec<Client>, master: String },
}

/// A connection that any number of calls share. Closed when the last clone is dropped.
#[derive(Clone)]
pub(crate) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Dialer {
    /// Without connecting. `ca` are certificates in PEM, which are trusted instead of those of the system.
    pub(super) fn new(address: Address, ca: Option<Vec<u8>>, timeout: Duration) -> RedisResult<Self> {
        // The link's deadlines count, not those of the crate, which are shorter or longer.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let certificates = ca.map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem) });
        let client = |host: &Host, login: &Login, database: u32| {
            open(info(host, address.tls, login, database)?, certificates.as_ref())
        };
        let target = match &address.kind {
            Kind::Server => {
                let host = address.hosts.first().expect("an address has a host");
                Target::Server(client(host, &address.login, address.database)?)
            }
            Kind::Cluster => {
                let hosts: RedisResult<Vec<_>> =
                    address.hosts.iter().map(|host| info(host, address.tls, &address.login, 0)).collect();
                let mut builder = ClusterClientBuilder::new(hosts?)
                    .connection_timeout(timeout / MEMBER_SHARE)
                    .response_timeout(timeout)
                    .tcp_settings(tcp_settings())
                    .retries(REDIRECTS_MAX)
                    .min_retry_wait(REDIRECT_WAIT_MS.0)
                    .max_retry_wait(REDIRECT_WAIT_MS.1);
                if let Some(certificates) = &certificates {
                    builder = builder.certs(certificates.clone());
                }
                Target::Cluster(Box::new(builder.build()?))
            }
            Kind::Sentinel { master, login } => {
                let clients =
                    address.hosts.iter().map(|host| client(host, login, 0)).collect::<RedisResult<_>>()?;
                Target::Sentinels { clients, master: master.clone() }
            }
        };
        Ok(Self { address, target, config, certificates })
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn dial(&self) -> BoxFuture<'_, RedisResult<Connection>> {
        async move {
            match &self.target {
                Target::Server(client) => self.connect(client).await.map(Connection::Server),
                Target::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
                // All at once, since one that is away must not take the time of the others; and each all the way to a
                // server that says it is the master, since one that was away may still name the last.
                Target::Sentinels { clients, master } => {
                    let ways = clients.iter().map(|sentinel| self.master(sentinel, master).boxed());
                    select_ok(ways).await.map(|(connection, _)| Connection::Server(connection))
                }
            }
        }
        .boxed()
    }

    async fn connect(&self, client: &Client) -> RedisResult<MultiplexedConnection> {
        client.get_multiplexed_async_connection_with_config(&self.config).await
    }

    async fn master(&self, sentinel: &Client, master: &str) -> RedisResult<MultiplexedConnection> {
        let mut sentinel = self.connect(sentinel).await?;
        let mut ask = redis::cmd("SENTINEL");
        let place: Option<(String, u16)> =
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut sentinel).await?;
        let Some((name, port)) = place else {
            return Err((ErrorKind::MasterNameNotFoundBySentinel, "the Sentinel knows no such master").into());
        };
        let Address { tls, login, database, .. } = &self.address;
        let server = open(info(&Host { name, port }, *tls, login, *database)?, self.certificates.as_ref())?;
        let mut connection = self.connect(&server).await?;
        let role: Value = redis::cmd("ROLE").query_async(&mut connection).await?;
        match role {
            Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"master".to_vec())) => {
                Ok(connection)
            }
            _ => Err((ErrorKind::Client, "the server is not the master any more").into()),
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialer").field(&self.address).finish()
    }
}

impl Connection {
    pub(crate) async fn query(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

fn info(host: &Host, tls: bool, login: &Login, database: u32) -> RedisResult<ConnectionInfo> {
    let (name, port) = (host.name.clone(), host.port);
    let address = if tls {
        ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(name, port)
    };
    // What the crate would tell of itself takes a right that nothing else needs.
    let mut redis = RedisConnectionInfo::default().set_skip_set_lib_name().set_db(i64::from(database));
    if let Some(user) = &login.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &login.password {
        redis = redis.set_password(password);
    }
    Ok(address.into_connection_info()?.set_redis_settings(redis).set_tcp_settings(tcp_settings()))
}

/// Calls are short, and none waits for a fuller packet.
fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn open(info: ConnectionInfo, certificates: Option<&TlsCertificates>) -> RedisResult<Client> {
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    }
}
