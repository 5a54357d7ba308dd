//! Coming back: when, and when no more.

use std::time::Duration;

use relay_lifecycle::backoff::{Backoff, entropy};
use tokio::time::Instant;

use super::connection::ConnectError;
use super::verdict::{Ended, History, Verdict};
use crate::exit::{Exit, Failure};

/// First ceiling of the delay: a node that restarts is back within a second or two.
const FIRST: Duration = Duration::from_millis(500);
/// Last ceiling of the delay: whoever waits for a stream does not want to wait longer than this once it is back.
const LONGEST: Duration = Duration::from_secs(10);
/// A session that ends sooner was refused rather than served.
const SERVED_AFTER: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    Again { what: String, delay: Duration },
}

/// The memory of a client over its connections.
#[derive(Debug)]
pub(crate) struct Retry<R> {
    backoff: Backoff<R>,
    patience: Duration,
    /// Since when nothing works.
    trouble: Option<Instant>,
    history: History,
}

impl Retry<fn() -> u64> {
    /// Tries again for at most `patience` without being served; not at all when it is zero.
    pub(crate) fn new(patience: Duration) -> Self {
        Self::with_random(patience, entropy)
    }
}

impl<R: FnMut() -> u64> Retry<R> {
    fn with_random(patience: Duration, random: R) -> Self {
        let backoff = Backoff::new(FIRST, LONGEST, random);
        Self { backoff, patience, trouble: None, history: History::default() }
    }

    /// There is no connection. The very first attempt is not repeated when nobody answers: a mistyped host should
    /// say so at once.
    pub(crate) fn after_connect(&mut self, error: ConnectError) -> Result<Next, Failure> {
        match error {
            ConnectError::Refused(what) => Err(Failure::new(Exit::Refused, what)),
            ConnectError::Unreachable(what) if self.trouble.is_none() && !self.history.served => {
                Err(Failure::new(Exit::Connection, what))
            }
            ConnectError::Unreachable(what) => self.again(what, None),
            ConnectError::Later { what, hint } => self.again(what, hint),
        }
    }

    /// Everything is as it should be: patience begins anew, and whoever is `busy` may be our own past.
    pub(crate) fn was_served(&mut self) {
        self.history.served = true;
        self.trouble = None;
        self.backoff.reset();
    }

    /// A session that began at `since` ended.
    pub(crate) fn after_session(&mut self, ended: &Ended, since: Instant) -> Result<Next, Failure> {
        if since.elapsed() >= SERVED_AFTER {
            self.was_served();
        }
        if ended.code == Some(4499) {
            self.history.too_slow += 1;
        }
        match ended.verdict(self.history) {
            Verdict::Done => Ok(Next::Done),
            Verdict::Stop { exit, what, advice } => Err(Failure::advised(exit, &what, advice)),
            Verdict::Again { what, hint } => self.again(what, hint),
        }
    }

    fn again(&mut self, what: String, hint: Option<Duration>) -> Result<Next, Failure> {
        if let Some(hint) = hint {
            self.backoff.hint(hint);
        }
        let delay = self.backoff.next();
        let trouble = *self.trouble.get_or_insert_with(Instant::now);
        if self.patience.is_zero() {
            Err(Failure::new(Exit::Connection, what))
        } else if trouble.elapsed() + delay > self.patience {
            let tried = trouble.elapsed().as_secs_f64();
            Err(Failure::new(
                Exit::Connection,
                format_args!("{what}; given up after {tried:.0} s (--retry-for)"),
            ))
        } else {
            Ok(Next::Again { what, delay })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(patience_s: u64) -> Retry<fn() -> u64> {
        Retry::with_random(Duration::from_secs(patience_s), || u64::MAX)
    }

    fn unreachable() -> ConnectError {
        ConnectError::Unreachable("connection refused".to_owned())
    }

    fn delay(next: Result<Next, Failure>) -> Duration {
        match next {
            Ok(Next::Again { delay, .. }) => delay,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_connection_that_fails_says_so_at_once() {
        assert_eq!(retry(60).after_connect(unreachable()).unwrap_err().exit(), Exit::Connection);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_tried_for_as_long_as_patience_lasts() {
        let mut retry = retry(20);
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        let mut wait = delay(retry.after_session(&Ended::lost("reset"), since));
        let began = Instant::now();
        let failure = loop {
            tokio::time::advance(wait).await;
            match retry.after_connect(unreachable()) {
                Ok(Next::Again { delay, .. }) => wait = delay,
                other => break other.unwrap_err(),
            }
        };
        assert_eq!(failure.exit(), Exit::Connection);
        assert!(began.elapsed() <= Duration::from_secs(20) && began.elapsed() > Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn hints_are_waited_for_and_service_forgets_the_trouble() {
        let mut retry = retry(60);
        let draining =
            Ended { code: Some(1012), reason: "draining retry_after_ms=3000".to_owned(), ..Ended::default() };
        assert_eq!(delay(retry.after_session(&draining, Instant::now())), Duration::from_millis(3500));
        assert_eq!(delay(retry.after_connect(unreachable())), Duration::from_secs(1));
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(delay(retry.after_session(&Ended::lost("reset"), since)), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn without_patience_nothing_is_tried_again() {
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        let failure = retry(0).after_session(&Ended::lost("reset"), since).unwrap_err();
        assert_eq!((failure.exit(), failure.to_string()), (Exit::Connection, "reset".to_owned()));
    }
}
