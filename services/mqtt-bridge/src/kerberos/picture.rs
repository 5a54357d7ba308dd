//! Pictures of agents, whole and in pieces. Pure: the time comes in, a picture comes out.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Pieces of two pictures never make one: a piece that does not fit to those of its set begins   │
//! │ the set anew.                                                                                 │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use relay_proto::kerberos::Value;

use super::base64;
use crate::pictures::Picture;

/// The largest picture, and the largest message there can be: old agents send whole frames of several megapixels.
pub(super) const PICTURE_BYTES_MAX: usize = 4 << 20;

/// Most pieces of one: agents have sent pieces of 1 KiB and more.
const CHUNKS_MAX: usize = PICTURE_BYTES_MAX >> 10;

/// How long a picture may take to come. An agent sends its pieces 33 ms apart, and the next picture a second later.
const SET_MS_MAX: u64 = 3_000;

/// Pictures of one device that are on their way at once: one, and a second where one was not completed.
const DEVICE_SETS_MAX: usize = 2;

/// What all pieces that wait may take together. A thousand cameras have about 20 MiB on their way.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a piece takes beside its bytes.
const CHUNK_COST_BYTES: usize = 64;

/// Why there is no picture in what came. The name is the metric's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    Base64,
    Jpeg,
    Size,
    /// A piece that does not say which it is.
    Chunk,
    /// Pieces of other pictures take all the space there is.
    Full,
}

impl Bad {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Base64 => "kerberos_base64",
            Self::Jpeg => "kerberos_jpeg",
            Self::Size => "kerberos_size",
            Self::Chunk => "kerberos_chunk",
            Self::Full => "kerberos_full",
        }
    }
}

/// Decodes a whole picture.
pub(super) fn whole(text: &[u8]) -> Result<Picture, Bad> {
    let mut picture = Picture::with_capacity(room(text)?);
    picture.append(|to| base64::decode_to(text, to)).ok_or(Bad::Base64)?;
    checked(picture)
}

/// The room that a text takes when it is decoded, unless that is too much.
fn room(text: &[u8]) -> Result<usize, Bad> {
    let blocks = text.len().div_ceil(4);
    if blocks > PICTURE_BYTES_MAX.div_ceil(3) { Err(Bad::Size) } else { Ok(blocks * 3) }
}

/// Looks whether it begins and ends as a JPEG does. What lies between, the viewer's decoder looks at.
fn checked(picture: Picture) -> Result<Picture, Bad> {
    let bytes = picture.bytes();
    if bytes.len() > PICTURE_BYTES_MAX {
        return Err(Bad::Size);
    }
    let is_jpeg = bytes.len() >= 4 && bytes.starts_with(&[0xFF, 0xD8]) && bytes.ends_with(&[0xFF, 0xD9]);
    if is_jpeg { Ok(picture) } else { Err(Bad::Jpeg) }
}

/// Which picture: of which device, and the number that the device gave it.
type Key = (usize, i64);

/// Puts pictures together.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    sets: BTreeMap<Key, Set>,
    /// When sets are given up.
    ends: BTreeSet<(u64, Key)>,
    /// The last picture of a device that was completed, until when its pieces may still be repeated.
    done: HashMap<usize, (i64, u64)>,
    /// What all sets take.
    bytes: usize,
}

#[derive(Debug)]
struct Set {
    count: usize,
    chunks: BTreeMap<usize, Vec<u8>>,
    bytes: usize,
    end_ms: u64,
}

impl Assembler {
    /// A piece came. The picture, where it was the last one that was missing.
    pub(super) fn piece(
        &mut self,
        device: usize,
        value: &Value<'_>,
        now_ms: u64,
    ) -> Result<Option<Picture>, Bad> {
        let number = |field: Option<i64>| field.and_then(|n| usize::try_from(n).ok()).ok_or(Bad::Chunk);
        let id = value.id.integer().ok_or(Bad::Chunk)?;
        let index = number(value.chunk_index.integer())?;
        let count = number(value.chunk_count.integer())?;
        let size = number(value.chunk_size.integer().or(Some(0)))?;
        if index >= count {
            return Err(Bad::Chunk);
        }
        if count > CHUNKS_MAX || count.saturating_mul(size) > PICTURE_BYTES_MAX {
            return Err(Bad::Size);
        }
        if self.done.get(&device).is_some_and(|(done, until_ms)| id <= *done && now_ms < *until_ms) {
            return Ok(None);
        }
        let text = value.chunk.text().ok_or(Bad::Chunk)?.as_bytes();
        let mut chunk = Vec::with_capacity(room(text)?);
        base64::decode_to(text, &mut chunk).ok_or(Bad::Base64)?;
        if chunk.is_empty() {
            return Err(Bad::Chunk);
        }
        let key = (device, id);
        if let Some(set) = self.sets.get(&key) {
            match set.chunks.get(&index) {
                // QoS 1 may bring a message twice.
                Some(known) if *known == chunk && set.count == count => return Ok(None),
                None if set.count == count => {}
                // Another picture of the same second.
                _ => self.drop_set(key),
            }
        }
        let cost = chunk.len() + CHUNK_COST_BYTES;
        let so_far = self.sets.get(&key).map_or(0, |set| set.bytes);
        if so_far + chunk.len() > PICTURE_BYTES_MAX {
            self.drop_set(key);
            return Err(Bad::Size);
        }
        if self.bytes + cost > WAITING_BYTES_MAX {
            return Err(Bad::Full);
        }
        if !self.sets.contains_key(&key) {
            self.make_room(device);
            let end_ms = now_ms.saturating_add(SET_MS_MAX);
            self.ends.insert((end_ms, key));
            self.sets.insert(key, Set { count, chunks: BTreeMap::new(), bytes: 0, end_ms });
        }
        let Some(set) = self.sets.get_mut(&key) else { return Ok(None) };
        set.bytes += chunk.len();
        set.chunks.insert(index, chunk);
        self.bytes += cost;
        if set.chunks.len() < set.count {
            return Ok(None);
        }
        let mut picture = Picture::with_capacity(set.bytes);
        set.chunks.values().for_each(|chunk| picture.append(|to| to.extend_from_slice(chunk)));
        // With those before it: whatever they lack comes too late to be looked at.
        for older in self.keys(device).into_iter().filter(|(_, other)| *other <= id) {
            self.drop_set(older);
        }
        self.done.insert(device, (id, now_ms.saturating_add(SET_MS_MAX)));
        checked(picture).map(Some)
    }

    /// Gives up what has taken too long. How many pictures that were.
    pub(super) fn expire(&mut self, now_ms: u64) -> usize {
        let mut expired = 0;
        while let Some((_, key)) = self.ends.first().copied().filter(|(end_ms, _)| *end_ms <= now_ms) {
            self.drop_set(key);
            expired += 1;
        }
        expired
    }

    /// When something is next to be given up.
    pub(super) fn next(&self) -> Option<u64> {
        self.ends.first().map(|(end_ms, _)| *end_ms)
    }

    /// Nobody wants pictures of the device any more.
    pub(super) fn forget(&mut self, device: usize) {
        for key in self.keys(device) {
            self.drop_set(key);
        }
        self.done.remove(&device);
    }

    fn keys(&self, device: usize) -> Vec<Key> {
        self.sets.range((device, i64::MIN)..=(device, i64::MAX)).map(|(key, _)| *key).collect()
    }

    /// The oldest gives way to a new one.
    fn make_room(&mut self, device: usize) {
        let mut keys = self.keys(device);
        keys.sort_by_key(|key| self.sets.get(key).map_or(0, |set| set.end_ms));
        let too_many = (keys.len() + 1).saturating_sub(DEVICE_SETS_MAX);
        for key in keys.into_iter().take(too_many) {
            self.drop_set(key);
        }
    }

    fn drop_set(&mut self, key: Key) {
        if let Some(set) = self.sets.remove(&key) {
            self.bytes -= set.bytes + set.chunks.len() * CHUNK_COST_BYTES;
            self.ends.remove(&(set.end_ms, key));
        }
    }
}

#[cfg(test)]
mod tests;
