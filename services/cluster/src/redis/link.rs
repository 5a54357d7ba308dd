//! One connection to Redis: when it is made, shared, distrusted and made again.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Every call ends within its time, and a connection on which one went unanswered carries no     │
//! │ further one.                                                                                  │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! At most one caller at a time makes a connection, on its own turn and out of its own time. While there was no failure the
//! others wait for it; after one they fail at once, with its reason, until a call has been answered again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use relay_lifecycle::backoff::{self, Backoff};
use tokio::time::{Instant, timeout_at};

use super::Script;
use super::dial::{Connection, Dialer};
use super::reply::{NotUnderstood, Read};
use crate::registry::{Answer, Unavailable};

/// The first pause after a failure: longer than a server takes to refuse, so that a refusal costs little.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause: a registry that is back is found within two seconds, and one that is not hears from a node no more often.
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// How much of a reason is told; what comes after that is of no use in a log line.
const REASON_CHARS_MAX: usize = 200;

const NOT_IN_TIME: &str = "no connection could be made in time";

/// Calls share it; see the module.
#[derive(Debug)]
pub(crate) struct Link {
    dialer: Dialer,
    timeout: Duration,
    state: Mutex<State>,
    /// Held by whoever makes a connection.
    dialing: tokio::sync::Mutex<()>,
}

struct State {
    /// What for, as logs tell it.
    purpose: &'static str,
    open: Option<Open>,
    /// Connections that there were: tells the one that failed from the one that took its place.
    dialed: u64,
    failure: Option<Failure>,
    pauses: Backoff<fn() -> u64>,
}

#[derive(Clone)]
struct Open {
    number: u64,
    connection: Connection,
    /// Something was answered on it.
    proven: bool,
}

struct Failure {
    reason: String,
    retry_at: Instant,
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Redis, or the way to it.
    Redis(RedisError),
    /// The answer.
    NotUnderstood(NotUnderstood),
}

/// What an error says of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// Nothing.
    None,
    /// It is broken. If it had been good, the next is worth a try at once.
    Broken,
    /// It leads to a server that cannot help, and the next may too.
    WrongServer,
}

impl Link {
    pub(super) fn new(dialer: Dialer, timeout: Duration, purpose: &'static str) -> Self {
        let pauses = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST, backoff::entropy as fn() -> u64);
        let state = Mutex::new(State { purpose, open: None, dialed: 0, failure: None, pauses });
        Self { dialer, timeout, state, dialing: tokio::sync::Mutex::default() }
    }

    /// Does `work` on the connection, in all within the time of a call.
    pub(crate) async fn call<T, F>(&self, work: impl FnOnce(Connection) -> F) -> Result<T, Unavailable>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let begun = Instant::now();
        // Half of the time: an answer always has the other half, and what does not answer in that is to blame.
        let Open { number, connection, .. } = self.connection(begun + self.timeout / 2).await?;
        match timeout_at(begun + self.timeout, work(connection)).await {
            Ok(Ok(result)) => {
                self.answered(number);
                Ok(result)
            }
            Ok(Err(Failed::NotUnderstood(NotUnderstood(what)))) => {
                Err(Unavailable(format!("an answer that is not understood: {what} was wanted")))
            }
            Ok(Err(Failed::Redis(error))) => {
                let reason = reason(&error);
                match blame(&error) {
                    Blame::None => self.answered(number),
                    blame => self.failed(number, blame, &reason),
                }
                Err(Unavailable(reason))
            }
            Err(_) => {
                let reason = "no answer came in time";
                self.failed(number, Blame::Broken, reason);
                Err(Unavailable(reason.to_owned()))
            }
        }
    }

    /// Runs a script, and reads its answer.
    pub(crate) fn run<'a, T: Send + 'a>(
        &'a self,
        script: &'a Script,
        keys: Vec<String>,
        args: Vec<String>,
        read: fn(Value) -> Read<T>,
    ) -> Answer<'a, T> {
        self.call(async move |mut connection| Ok(read(script.run(&mut connection, &keys, &args).await?)?))
            .boxed()
    }

    async fn connection(&self, until: Instant) -> Result<Open, Unavailable> {
        let failing = {
            let state = self.lock();
            if let Some(open) = &state.open {
                return Ok(open.clone());
            }
            match &state.failure {
                Some(failure) if failure.retry_at > Instant::now() => {
                    return Err(Unavailable(failure.reason.clone()));
                }
                failure => failure.as_ref().map(|failure| failure.reason.clone()),
            }
        };
        let _dialing = match &failing {
            Some(reason) => self.dialing.try_lock().map_err(|_| Unavailable(reason.clone()))?,
            None => timeout_at(until, self.dialing.lock())
                .await
                .map_err(|_| Unavailable(NOT_IN_TIME.to_owned()))?,
        };
        {
            let state = self.lock();
            if let Some(open) = &state.open {
                return Ok(open.clone());
            }
            // Whoever was waited for failed.
            if let Some(failure) = state.failure.as_ref().filter(|_| failing.is_none()) {
                return Err(Unavailable(failure.reason.clone()));
            }
        }
        match timeout_at(until, self.dialer.dial()).await {
            Ok(Ok(connection)) => {
                let mut state = self.lock();
                state.dialed += 1;
                tracing::info!(link = state.purpose, address = %self.dialer.address(), "connected to the registry");
                let open = Open { number: state.dialed, connection, proven: false };
                state.open = Some(open.clone());
                Ok(open)
            }
            Ok(Err(error)) => Err(self.unreachable(reason(&error))),
            Err(_) => Err(self.unreachable(NOT_IN_TIME.to_owned())),
        }
    }

    fn unreachable(&self, reason: String) -> Unavailable {
        self.lock().pause(&reason);
        Unavailable(reason)
    }

    fn answered(&self, number: u64) {
        let mut state = self.lock();
        if let Some(open) = state.open.as_mut().filter(|open| open.number == number && !open.proven) {
            open.proven = true;
            state.failure = None;
            state.pauses.reset();
        }
    }

    fn failed(&self, number: u64, blame: Blame, reason: &str) {
        let mut state = self.lock();
        let Some(open) = state.open.take_if(|open| open.number == number) else { return };
        if open.proven && blame == Blame::Broken {
            tracing::warn!(link = state.purpose, reason, "lost the registry");
        } else {
            state.pause(reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pause(&mut self, reason: &str) {
        if self.failure.is_none() {
            tracing::warn!(link = self.purpose, reason, "the registry cannot be reached");
        }
        let retry_at = Instant::now() + self.pauses.next();
        self.failure = Some(Failure { reason: reason.to_owned(), retry_at });
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let failure = self.failure.as_ref().map(|failure| &failure.reason);
        f.debug_struct("State")
            .field("purpose", &self.purpose)
            .field("open", &self.open.is_some())
            .field("dialed", &self.dialed)
            .field("failure", &failure)
            .finish()
    }
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<NotUnderstood> for Failed {
    fn from(answer: NotUnderstood) -> Self {
        Self::NotUnderstood(answer)
    }
}

fn blame(error: &RedisError) -> Blame {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => Blame::Broken,
        ErrorKind::Server(
            ServerErrorKind::ReadOnly
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown,
        ) => Blame::WrongServer,
        // The server answers, and would answer the same on any other connection.
        _ => Blame::None,
    }
}

/// What a server says after its error code may repeat what was sent to it, the password too, so only the code is told.
fn reason(error: &RedisError) -> String {
    let reason = match (error.kind(), error.code()) {
        (_, Some(code)) => format!("Redis answers {code}"),
        (ErrorKind::AuthenticationFailed, None) => "Redis refuses user or password".to_owned(),
        // Of this side, by the operating system or TLS; but with a detail, of a member of a cluster that refused, perhaps.
        (ErrorKind::Io, None) if error.detail().is_none() => error.to_string(),
        (ErrorKind::Io, None) => "no server lets us in".to_owned(),
        (_, None) => error.category().to_owned(),
    };
    reason.chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(line: &str) -> RedisError {
        let value = redis::parse_redis_value(line.as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn only_what_another_connection_may_mend_is_blamed_on_this_one() {
        for (line, expected) in [
            ("-READONLY You can't write\r\n", Blame::WrongServer),
            ("-LOADING Redis is loading\r\n", Blame::WrongServer),
            ("-CLUSTERDOWN The cluster is down\r\n", Blame::WrongServer),
            ("-MASTERDOWN Link with MASTER is down\r\n", Blame::WrongServer),
            ("-ERR no\r\n", Blame::None),
            ("-NOPERM no\r\n", Blame::None),
            ("-OOM command not allowed\r\n", Blame::None),
        ] {
            assert_eq!(blame(&server_error(line)), expected, "{line}");
        }
        assert_eq!(blame(&std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()), Blame::Broken);
    }

    #[test]
    fn a_reason_repeats_nothing_that_was_sent() {
        let error = server_error("-ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n");
        assert_eq!(reason(&error), "Redis answers ERR");
        let error = server_error("-NOPERM this user has no permissions to access 'hunter2'\r\n");
        assert_eq!(reason(&error), "Redis answers NOPERM");
        let detail = "unknown command 'AUTH', with args beginning with: 'hunter2'".to_owned();
        let error = RedisError::from((ErrorKind::Io, "Failed to create initial connections", detail));
        assert_eq!(reason(&error), "no server lets us in");
    }
}
