//! Where Redis is and as whom to speak to it, out of one URL. Neither an error nor a printed address has the password, and an
//! error has nothing else of the URL either.

use std::fmt;
use std::str::FromStr;

/// Servers in one URL. A cluster or a set of Sentinels tells of its other members.
const HOSTS_MAX: usize = 16;

/// Of a Redis server.
const SERVER_PORT: u16 = 6379;

/// Of a Sentinel.
const SENTINEL_PORT: u16 = 26379;

/// Longest name in DNS.
const HOST_CHARS_MAX: usize = 253;

/// A parsed URL; [`FromStr`] tells the forms.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) tls: bool,
    pub(super) kind: Kind,
    pub(super) hosts: Vec<Host>,
    pub(super) login: Login,
    /// Of the server; a cluster has one only.
    pub(super) database: u32,
}

/// What answers at the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// One server.
    Server,
    /// Any members of a Redis Cluster.
    Cluster,
    /// Sentinels, which know where the master of this name is.
    Sentinel { master: String, login: Login },
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

/// As whom to speak.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// Why a text is no [`Address`]. Tells nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Something else before `://`, or nothing.
    #[error(
        "starts with none of 'redis://', 'rediss://', 'redis+cluster://', 'rediss+cluster://', 'redis+sentinel://' and \
         'rediss+sentinel://'"
    )]
    Scheme,
    /// No host, or one of other characters.
    #[error("has no host where one is needed, or one that is none")]
    Host,
    /// A port that is none.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    /// Several hosts for one server.
    #[error("has several hosts, which only a cluster and Sentinels have")]
    SeveralHosts,
    /// More than [`HOSTS_MAX`] hosts.
    #[error("has more than {HOSTS_MAX} hosts")]
    TooManyHosts,
    /// A user who has no password.
    #[error("has a user without a password")]
    NoPassword,
    /// A `%` without two hexadecimal digits, or what is no UTF-8.
    #[error("has a user or password that is not percent-encoded UTF-8")]
    Encoding,
    /// Something else than a number after the host.
    #[error("has a database that is not a number")]
    Database,
    /// A database in a cluster.
    #[error("has a path, which a cluster has not")]
    ClusterPath,
    /// Sentinels without the name of a master.
    #[error("does not tell the name of the master, which Sentinels need after the hosts")]
    Master,
    /// A query that is not known.
    #[error("has a query other than, for Sentinels, 'database', 'sentinel-user' and 'sentinel-password'")]
    Query,
}

impl Address {
    /// Whether connections are encrypted.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// - `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`
    /// - `redis+cluster://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]`
    /// - `redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT][,…]/MASTER[?database=N&sentinel-user=U&sentinel-password=P]`
    ///
    /// and with `rediss` for TLS. User, password and what is in the query are percent-encoded. An address of IP version 6 is
    /// in brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let (protocol, form) =
            scheme.split_once('+').map_or((scheme, ""), |(protocol, form)| (protocol, form));
        let tls = match protocol {
            "redis" => false,
            "rediss" => true,
            _ => return Err(AddressError::Scheme),
        };
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) =
            rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (login.parse()?, hosts),
            None => (Login::default(), authority),
        };
        let default_port = if form == "sentinel" { SENTINEL_PORT } else { SERVER_PORT };
        let hosts = parse_hosts(hosts, default_port)?;
        let mut database = 0;
        let kind = match form {
            "" if scheme.contains('+') => return Err(AddressError::Scheme),
            "" => {
                if hosts.len() > 1 {
                    return Err(AddressError::SeveralHosts);
                }
                if !path.is_empty() {
                    database = parse_database(path)?;
                }
                Kind::Server
            }
            "cluster" if path.is_empty() => Kind::Cluster,
            "cluster" => return Err(AddressError::ClusterPath),
            "sentinel" => {
                let mut login = Login::default();
                for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
                    match pair.split_once('=').ok_or(AddressError::Query)? {
                        ("database", number) => database = parse_database(number)?,
                        ("sentinel-user", user) => login.user = Some(decode(user)?),
                        ("sentinel-password", password) => login.password = Some(decode(password)?),
                        _ => return Err(AddressError::Query),
                    }
                }
                if login.user.is_some() && login.password.is_none() {
                    return Err(AddressError::NoPassword);
                }
                let named =
                    !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
                let master = named.then(|| path.to_owned()).ok_or(AddressError::Master)?;
                Kind::Sentinel { master, login }
            }
            _ => return Err(AddressError::Scheme),
        };
        if query.is_some() && form != "sentinel" {
            return Err(AddressError::Query);
        }
        Ok(Self { tls, kind, hosts, login, database })
    }
}

impl FromStr for Login {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (user, password) = text.split_once(':').ok_or(AddressError::NoPassword)?;
        let user = if user.is_empty() { None } else { Some(decode(user)?) };
        Ok(Self { user, password: Some(decode(password)?) })
    }
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or(AddressError::Host)?;
                name.parse::<std::net::Ipv6Addr>().map_err(|_| AddressError::Host)?;
                let port = if port.is_empty() {
                    None
                } else {
                    Some(port.strip_prefix(':').ok_or(AddressError::Host)?)
                };
                (name, port)
            }
            None => {
                let (name, port) =
                    text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
                let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                if name.is_empty() || name.len() > HOST_CHARS_MAX || !name.bytes().all(is_host) {
                    return Err(AddressError::Host);
                }
                (name, port)
            }
        };
        // 0 where there is none: what comes is no number then.
        let port = port.map_or(Ok(0), |port| match port.parse() {
            Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
            _ => Err(AddressError::Port),
        })?;
        Ok(Self { name: name.to_owned(), port })
    }
}

fn parse_hosts(text: &str, default_port: u16) -> Result<Vec<Host>, AddressError> {
    if text.split(',').count() > HOSTS_MAX {
        return Err(AddressError::TooManyHosts);
    }
    let hosts = text.split(',').map(|host| {
        let host: Host = host.parse()?;
        let port = if host.port == 0 { default_port } else { host.port };
        Ok(Host { port, ..host })
    });
    hosts.collect()
}

fn parse_database(text: &str) -> Result<u32, AddressError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(AddressError::Database)
}

fn decode(text: &str) -> Result<String, AddressError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let digit =
        |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(AddressError::Encoding);
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => {
                let number = digit(rest.next())? << 4 | digit(rest.next())?;
                u8::try_from(number).map_err(|_| AddressError::Encoding)?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| AddressError::Encoding)
}

fn encode(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.bytes().try_for_each(|byte| match byte {
        b'-' | b'_' | b'.' | b'~' => write!(f, "{}", char::from(byte)),
        byte if byte.is_ascii_alphanumeric() => write!(f, "{}", char::from(byte)),
        byte => write!(f, "%{byte:02X}"),
    })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        if name.contains(':') { write!(f, "[{name}]:{port}") } else { write!(f, "{name}:{port}") }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(self.user.as_deref().unwrap_or_default(), f)?;
        f.write_str(if self.password.is_some() { ":***" } else { "" })
    }
}

impl fmt::Display for Address {
    /// As a URL, with `***` for the passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss" } else { "redis" })?;
        f.write_str(match self.kind {
            Kind::Server => "://",
            Kind::Cluster => "+cluster://",
            Kind::Sentinel { .. } => "+sentinel://",
        })?;
        if self.login.password.is_some() {
            write!(f, "{:?}@", self.login)?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if index > 0 { "," } else { "" })?;
        }
        match &self.kind {
            Kind::Server if self.database > 0 => write!(f, "/{}", self.database),
            Kind::Server | Kind::Cluster => Ok(()),
            Kind::Sentinel { master, login } => {
                write!(f, "/{master}?database={}", self.database)?;
                if let Some(user) = &login.user {
                    f.write_str("&sentinel-user=")?;
                    encode(user, f)?;
                }
                f.write_str(if login.password.is_some() { "&sentinel-password=***" } else { "" })
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(text: &str) -> String {
        text.parse::<Address>().unwrap().to_string()
    }

    fn login(text: &str) -> (Option<String>, Option<String>) {
        let login = text.parse::<Address>().unwrap().login;
        (login.user, login.password)
    }

    #[test]
    fn every_form_prints_as_it_is_understood() {
        for (text, expected) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://localhost/", "redis://localhost:6379"),
            ("rediss://r.example.com:6380/3", "rediss://r.example.com:6380/3"),
            ("redis://[::1]", "redis://[::1]:6379"),
            ("redis://u:p@[::1]:7/1", "redis://u:***@[::1]:7/1"),
            ("redis+cluster://a,b:7001,c", "redis+cluster://a:6379,b:7001,c:6379"),
            ("rediss+cluster://:p@a", "rediss+cluster://:***@a:6379"),
            ("redis+sentinel://a,b:7/main", "redis+sentinel://a:26379,b:7/main?database=0"),
            (
                "rediss+sentinel://u:p@a/main?database=2&sentinel-user=s&sentinel-password=q",
                "rediss+sentinel://u:***@a:26379/main?database=2&sentinel-user=s&sentinel-password=***",
            ),
        ] {
            assert_eq!(printed(text), expected);
            assert_eq!(format!("{:?}", text.parse::<Address>().unwrap()), expected);
        }
    }

    #[test]
    fn user_and_password_are_decoded() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(login("redis://h"), (None, None));
        assert_eq!(login("redis://:p@h"), (None, text("p")));
        assert_eq!(login("redis://u:@h"), (text("u"), text("")));
        assert_eq!(login("redis://u%40:a%3a%2Fb:c@h"), (text("u@"), text("a:/b:c")));
        assert_eq!(login("redis://u:p@ss@h"), (text("u"), text("p@ss")));
    }

    #[test]
    fn other_texts_are_refused_for_a_reason() {
        use AddressError as E;
        for (text, expected) in [
            ("", E::Scheme),
            ("localhost", E::Scheme),
            ("http://h", E::Scheme),
            ("redis+://h", E::Scheme),
            ("redis+pool://h", E::Scheme),
            ("redis://", E::Host),
            ("redis://a b", E::Host),
            ("redis://[::1", E::Host),
            ("redis://[h]", E::Host),
            ("redis+cluster://a,", E::Host),
            ("redis://h:", E::Port),
            ("redis://h:0", E::Port),
            ("redis://h:+1", E::Port),
            ("redis://h:65536", E::Port),
            ("redis://a,b", E::SeveralHosts),
            ("redis://u@h", E::NoPassword),
            ("redis+sentinel://h/m?sentinel-user=u", E::NoPassword),
            ("redis://u:%4@h", E::Encoding),
            ("redis://u:%zz@h", E::Encoding),
            ("redis://u:%ff@h", E::Encoding),
            ("redis://h/x", E::Database),
            ("redis://h/+1", E::Database),
            ("redis+sentinel://h/m?database=", E::Database),
            ("redis+cluster://h/1", E::ClusterPath),
            ("redis+sentinel://h", E::Master),
            ("redis+sentinel://h/a/b", E::Master),
            ("redis://h?x=1", E::Query),
            ("redis+sentinel://h/m?db=1", E::Query),
        ] {
            assert_eq!(text.parse::<Address>(), Err(expected), "{text}");
        }
        let hosts = vec!["h"; HOSTS_MAX].join(",");
        assert!(format!("redis+cluster://{hosts}").parse::<Address>().is_ok());
        assert_eq!(format!("redis+cluster://{hosts},h").parse::<Address>(), Err(E::TooManyHosts));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(redis(s?)(\\+cluster|\\+sentinel)?://)?\\PC{0,60}") {
            let _ = text.parse::<Address>();
        }

        #[test]
        fn any_password_is_understood_and_never_printed(password in "\\PC{8,20}") {
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let address: Address = format!("redis+sentinel://u:{encoded}@h/m?sentinel-password={encoded}").parse().unwrap();
            prop_assert_eq!(address.login.password.as_deref(), Some(password.as_str()));
            prop_assert_eq!(
                format!("{address} {address:?} {:?}", address.login),
                "redis+sentinel://u:***@h:26379/m?database=0&sentinel-password=*** \
                 redis+sentinel://u:***@h:26379/m?database=0&sentinel-password=*** u:***"
            );
        }
    }
}
