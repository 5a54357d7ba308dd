//! Which channels have changed since stream-managers were told of them.
//!
//! Noted where a channel changes, which is never where a chunk passes; told by [`report`](crate::report).

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use relay_proto::ChannelName;
use tokio::sync::Notify;

/// Channels that may have changed before it is simpler to tell of all. A message for each of more than these would be as much
/// as all channels of a large node together.
pub(crate) const CHANGED_MAX: usize = 512;

/// What has changed.
#[derive(Debug, Default)]
pub(crate) struct News {
    changed: Mutex<Changed>,
    noted: Notify,
}

/// Channels that have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// These.
    Some(HashSet<ChannelName>),
    /// More than there is room for.
    Many,
}

impl Default for Changed {
    fn default() -> Self {
        Self::Some(HashSet::new())
    }
}

impl Changed {
    fn note(&mut self, channel: &ChannelName) {
        match self {
            Self::Some(channels) if channels.contains(channel) => {}
            Self::Some(channels) if channels.len() < CHANGED_MAX => {
                channels.insert(channel.clone());
            }
            Self::Some(_) => *self = Self::Many,
            Self::Many => {}
        }
    }
}

impl News {
    /// A channel has changed.
    pub(crate) fn note(&self, channel: &ChannelName) {
        self.lock().note(channel);
        self.noted.notify_one();
    }

    /// Waits until something is noted, since the last time included. Safe to cancel. For one task only.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// What has changed since this was asked last.
    pub(crate) fn take(&self) -> Changed {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn name(number: usize) -> ChannelName {
        format!("cam{number}").parse().unwrap()
    }

    #[test]
    fn a_channel_is_told_once_however_often_it_changes() {
        let news = News::default();
        assert_eq!(news.noted().now_or_never(), None);
        (0..3).for_each(|_| news.note(&name(1)));
        assert_eq!(news.noted().now_or_never(), Some(()));
        assert_eq!(news.noted().now_or_never(), None);
        assert_eq!(news.take(), Changed::Some([name(1)].into()));
        assert_eq!(news.take(), Changed::default());
    }

    #[test]
    fn beyond_the_bound_it_is_only_known_that_there_are_many() {
        let news = News::default();
        (0..CHANGED_MAX).for_each(|number| news.note(&name(number)));
        news.note(&name(0));
        assert!(matches!(&*news.lock(), Changed::Some(channels) if channels.len() == CHANGED_MAX));
        news.note(&name(CHANGED_MAX));
        news.note(&name(1));
        assert_eq!(news.take(), Changed::Many);
        assert_eq!(news.take(), Changed::default(), "from the beginning");
    }
}
