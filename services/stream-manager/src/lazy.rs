//! The timer of a connection, for which hyper asks anew with every request.
//!
//! Nearly always the head of the next request is there long before its time is over. To put a timer into the runtime's list for
//! each, and to take it out again, costs more than the rest of that wait. So a connection has one timer in the list, which is put
//! off only when it goes off.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt;
use tokio::time::{Instant, Sleep, sleep_until};

/// Times one thing at a time of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lazy(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

impl Lazy {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl rt::Timer for Lazy {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Until { deadline: deadline.into(), timer: self.clone() })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

/// Until when, whatever the timer is set to.
#[derive(Debug)]
struct Until {
    deadline: Instant,
    timer: Lazy,
}

impl rt::Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let mut timer = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Timer;

    use super::*;

    const LONG: Duration = Duration::from_secs(15);
    const SHORT: Duration = Duration::from_secs(2);

    async fn waits(timer: &Lazy, duration: Duration) -> Duration {
        let began = Instant::now();
        timer.sleep(duration).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_ends_in_time_whatever_was_waited_for_before() {
        let timer = Lazy::new();
        for duration in [LONG, SHORT, LONG, Duration::ZERO, SHORT] {
            assert_eq!(waits(&timer, duration).await, duration);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_given_up_neither_shortens_the_next_nor_lengthens_it() {
        let timer = Lazy::new();
        for (given_up, next) in [(LONG, SHORT), (SHORT, LONG), (LONG, LONG)] {
            let waited = tokio::time::timeout(Duration::from_secs(1), timer.sleep(given_up)).await;
            assert!(waited.is_err());
            assert_eq!(waits(&timer, next).await, next);
        }
    }
}
