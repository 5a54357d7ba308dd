//! The sessions of this node by number, for whoever wants to end one; and the keys that operators have banned.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay_proto::backbone::to_json;
use relay_proto::websocket::{Close, Kind};
use relay_proto::{ChannelName, KeyHash, SessionId, api};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::{rfc3339, unix_ms};
use crate::remote::Remote;

/// Bans that a node remembers by itself; whoever is banned beyond that is found when the registry is looked at.
const BANS_MAX: usize = 4096;

/// Every session that has a channel.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<BTreeMap<SessionId, Open>>,
    bans: Mutex<HashMap<(ChannelName, KeyHash), Instant>>,
    banned: watch::Sender<()>,
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    channel: ChannelName,
    key: KeyHash,
    remote: Remote,
    started_ms: u64,
}

/// Which sessions are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    /// Of this channel only.
    pub(crate) channel: Option<&'a str>,
    /// With greater numbers than this only.
    pub(crate) after: Option<SessionId>,
    /// At most so many.
    pub(crate) max: usize,
}

/// A page in so many bytes of JSON: as much of it as fits.
pub(crate) fn fitting(mut page: api::Sessions, bytes_max: usize) -> api::Sessions {
    // As long as an answer without sessions that says that there are more.
    let mut bytes = to_json(&api::Sessions { sessions: Vec::new(), more: true }).len();
    let fits = |session: &&api::Session| {
        // And a comma.
        bytes += to_json(session).len() + 1;
        bytes <= bytes_max
    };
    let fitting = page.sessions.iter().take_while(fits).count();
    page.more |= fitting < page.sessions.len();
    page.sessions.truncate(fitting);
    page
}

/// A session's place among the others, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    sessions: &'a Sessions,
    id: SessionId,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        lock(&self.sessions.open).remove(&self.id);
    }
}

impl Sessions {
    /// Lists a session.
    pub(crate) fn list(
        &self,
        id: SessionId,
        kind: Kind,
        channel: &ChannelName,
        key: KeyHash,
        remote: impl Into<Remote>,
    ) -> Listed<'_> {
        let open = Open { kind, channel: channel.clone(), key, remote: remote.into(), started_ms: unix_ms() };
        lock(&self.open).insert(id, open);
        Listed { sessions: self, id }
    }

    /// What the API tells: the sessions of a page, by number, and whether there are more.
    pub(crate) fn describe(&self, page: &Page<'_>) -> api::Sessions {
        let is_wanted = |open: &Open| page.channel.is_none_or(|channel| open.channel.as_str() == channel);
        let from = page.after.map_or(Bound::Unbounded, Bound::Excluded);
        let open = lock(&self.open);
        let mut wanted = open.range((from, Bound::Unbounded)).filter(|(_, open)| is_wanted(open));
        let describe = |(id, open): (&SessionId, &Open)| api::Session {
            session: *id,
            kind: open.kind.name().to_owned(),
            channel: open.channel.clone(),
            sent_bytes: open.remote.sent_bytes(),
            started_at: rfc3339(open.started_ms),
        };
        let sessions: Vec<_> = wanted.by_ref().take(page.max).map(describe).collect();
        api::Sessions { sessions, more: wanted.next().is_some() }
    }

    /// Ends one session. Tells how many there were.
    pub(crate) fn kick(&self, id: SessionId) -> u64 {
        let remote = lock(&self.open).get(&id).map(|open| open.remote.clone());
        let Some(remote) = remote else { return 0 };
        remote.dismiss(Close::Kicked);
        1
    }

    /// Ends the sessions that have this key on this channel, and refuses further ones for so long. Tells how many there were.
    pub(crate) fn ban(&self, channel: &ChannelName, key: KeyHash, ttl: Duration) -> u64 {
        if !self.note_ban(channel, key, ttl) {
            return 0;
        }
        let of_key = |open: &&Open| open.key == key && open.channel == *channel;
        let mut remotes: Vec<_> = lock(&self.open)
            .values()
            .filter(of_key)
            .map(|open| (open.kind == Kind::Publish, open.remote.clone()))
            .collect();
        // Publishers last: the end of a publication must not reach its receivers before the reason that is theirs.
        remotes.sort_by_key(|(publishes, _)| *publishes);
        remotes.iter().for_each(|(_, remote)| remote.dismiss(Close::Banned));
        remotes.len() as u64
    }

    /// Tells whether it is news: the registry tells of the same ban again and again.
    fn note_ban(&self, channel: &ChannelName, key: KeyHash, ttl: Duration) -> bool {
        /// Two clocks do not agree to the millisecond.
        const SAME: Duration = Duration::from_secs(1);

        let now = Instant::now();
        let mut bans = lock(&self.bans);
        if bans.len() >= BANS_MAX {
            bans.retain(|_, until| *until > now);
        }
        let Some(until) = now.checked_add(ttl) else { return true };
        let ban = (channel.clone(), key);
        if bans.get(&ban).is_some_and(|known| *known + SAME >= until) {
            return false;
        }
        // Who is not remembered is found again at every look.
        if bans.len() < BANS_MAX {
            bans.insert(ban, until);
            self.banned.send_replace(());
        }
        true
    }

    /// Changes whenever a key is banned: for who has no session that could be ended.
    pub(crate) fn bans(&self) -> watch::Receiver<()> {
        self.banned.subscribe()
    }

    /// Whether a key is refused on a channel.
    pub(crate) fn is_banned(&self, channel: &ChannelName, key: KeyHash) -> bool {
        let mut bans = lock(&self.bans);
        if bans.is_empty() {
            return false;
        }
        let ban = (channel.clone(), key);
        match bans.get(&ban) {
            Some(until) if *until > Instant::now() => true,
            Some(_) => {
                bans.remove(&ban);
                false
            }
            None => false,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(count: u64) -> api::Sessions {
        let sessions = (0..count).map(|number| api::Session {
            session: SessionId::new(number),
            kind: Kind::Receive.name().to_owned(),
            channel: "cam".parse().unwrap(),
            sent_bytes: number,
            started_at: rfc3339(0),
        });
        api::Sessions { sessions: sessions.collect(), more: false }
    }

    #[test]
    fn a_page_is_cut_where_it_does_not_fit() {
        for count in [0, 1, 7] {
            let whole = page(count);
            let bytes = to_json(&api::Sessions { more: true, ..whole.clone() }).len();
            assert_eq!(fitting(whole.clone(), bytes + 1), whole);
            for bytes_max in 0..bytes {
                let cut = fitting(whole.clone(), bytes_max);
                assert!(cut.sessions.is_empty() || to_json(&cut).len() <= bytes_max);
                assert!(whole.sessions.starts_with(&cut.sessions));
                assert_eq!(cut.more, cut.sessions.len() < whole.sessions.len());
            }
        }
        assert!(fitting(api::Sessions { more: true, ..page(1) }, usize::MAX).more, "what was so stays so");
    }
}
