//! The channels of a node by name: created once, gone when the last handle goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use relay_proto::ChannelName;
use tokio::time::Instant;

use crate::channel::Channel;
use crate::feed::Resources;
use crate::news::News;

/// Name to channel. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    table: Arc<Mutex<Table>>,
    resources: Resources,
    news: Arc<News>,
}

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<ChannelName, Weak<Channel>>,
    /// Channels whose publisher vanished: their reservation must outlive their last handle.
    kept: Vec<(Instant, Arc<Channel>)>,
}

impl Channels {
    pub(crate) fn new(resources: Resources) -> Self {
        Self { table: Arc::default(), resources, news: Arc::default() }
    }

    /// What has changed since stream-managers were told.
    pub(crate) fn news(&self) -> &News {
        &self.news
    }

    /// The channel of this name.
    pub(crate) fn open(&self, name: &ChannelName) -> Arc<Channel> {
        let mut table = self.lock();
        if let Some(channel) = table.by_name.get(name).and_then(Weak::upgrade) {
            return channel;
        }
        let channel = Arc::new(Channel::new(name.clone(), self.resources.clone(), self.clone()));
        table.by_name.insert(name.clone(), Arc::downgrade(&channel));
        channel
    }

    /// The channel of this name, if anybody has it.
    pub(crate) fn get(&self, name: &ChannelName) -> Option<Arc<Channel>> {
        self.lock().by_name.get(name).and_then(Weak::upgrade)
    }

    /// Every channel, by name.
    pub(crate) fn list(&self) -> Vec<Arc<Channel>> {
        let mut list: Vec<_> = self.lock().by_name.values().filter_map(Weak::upgrade).collect();
        list.sort_by(|a, b| a.name().cmp(b.name()));
        list
    }

    /// Keeps a channel that nobody may hold otherwise.
    pub(crate) fn keep_until(&self, channel: &Arc<Channel>, until: Instant) {
        self.lock().kept.push((until, Arc::clone(channel)));
    }

    /// Lets go of what was kept long enough, and notes what the time that has passed has made of channels.
    pub(crate) fn sweep(&self, now: Instant, stall_timeout: Duration) {
        let channels = self.list();
        let share = self.resources.budget.share(channels.iter().filter(|channel| channel.is_live()).count());
        for channel in channels {
            channel.tidy(share);
            channel.look(stall_timeout);
        }
        let (due, kept) =
            std::mem::take(&mut self.lock().kept).into_iter().partition(|(until, _)| *until <= now);
        self.lock().kept.extend::<Vec<_>>(kept);
        // Dropped without the lock: a channel that goes takes it.
        drop::<Vec<_>>(due);
    }

    /// A channel is gone.
    pub(crate) fn forget(&self, name: &ChannelName) {
        let mut table = self.lock();
        // A new channel of that name may have been opened already.
        if table.by_name.get(name).is_some_and(|channel| channel.strong_count() == 0) {
            table.by_name.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
