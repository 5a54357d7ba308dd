//! The journal, for whoever does not wait for ever.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use relay_cluster::Journal;
use relay_cluster::registry::{Answer, Unavailable};
use tokio::time::timeout;

/// What Redis takes when it is well, a thousand times over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The journal, and a count of what it did not answer.
#[derive(Debug, Clone)]
pub(super) struct Link {
    journal: Arc<dyn Journal>,
    errors: IntCounter,
}

impl Link {
    pub(super) fn new(journal: Arc<dyn Journal>, errors: IntCounter) -> Self {
        Self { journal, errors }
    }

    /// Asks something, and waits for the answer in bounds.
    pub(super) async fn ask<'a, T>(
        &'a self,
        question: impl FnOnce(&'a dyn Journal) -> Answer<'a, T>,
    ) -> Result<T, Unavailable> {
        let answer = match timeout(ANSWER_TIMEOUT, question(&*self.journal)).await {
            Ok(answer) => answer,
            Err(_) => Err(Unavailable("no answer in time".to_owned())),
        };
        if answer.is_err() {
            self.errors.inc();
        }
        answer
    }
}
