//! `GET /v1/channels/{channel}/snapshot`: the newest whole picture of a stream of JPEGs, as it is. Nothing is decoded.
//!
//! It is pulled from the channel's origin as an edge does it, and only as far as the end of one picture; whoever asks meanwhile
//! gets the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, Shared, WeakShared};
use futures_util::{FutureExt, StreamExt};
use hyper::Uri;
use hyper::header::{self, HeaderValue};
use relay_cluster::backbone::Message;
use relay_proto::backbone::{
    Body, Envelope, From, Joined, Joiner, Kind as Envelopes, Peer, Request, parse_head, to_json,
};
use relay_proto::{ChannelName, Epoch};
use tokio::time::timeout;

use super::access::PrivateReader;
use super::problem::{Kind, Problem};
use super::{NO_STORE, NOSNIFF, Named, channels, no_parameters, peer_of, soon};
use crate::jpeg::Walker;
use crate::replica::Replica;

/// The one container whose pictures stand for themselves.
const MJPEG: &str = "mjpeg";

/// The largest picture, and what comes around it. Cameras of 4K send some 2 MiB.
const PICTURE_BYTES_MAX: usize = 8 << 20;

/// How long a picture may take to come whole: slow cameras send one a second.
const WITHIN: Duration = Duration::from_secs(3);

/// Pictures that are being taken at a time, each of which may take [`PICTURE_BYTES_MAX`].
const TAKEN_MAX: usize = 16;

/// Pictures that are being taken now.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<HashMap<ChannelName, WeakShared<Taking>>>);

type Taking = BoxFuture<'static, Result<Bytes, Problem>>;

/// `GET /v1/channels/{channel}/snapshot`.
pub(super) async fn picture(
    _: PrivateReader,
    State(replica): State<Arc<Replica>>,
    named: Named,
    uri: Uri,
) -> Result<Response, Problem> {
    let name: ChannelName = named.read("channel")?;
    no_parameters(&uri)?;
    let channel = channels::published(&replica, &name)?;
    match channel.container.as_deref() {
        Some(MJPEG) => {}
        Some(_) => {
            return Err(Problem::new(Kind::NoSnapshot).because(
                "only pictures of container mjpeg stand for themselves, and nothing is decoded here",
            ));
        }
        None => return Err(Problem::new(Kind::NoSnapshot).because("the container is not known yet")),
    }
    let origin = channel.origin.as_ref().and_then(|origin| peer_of(&replica, origin));
    let origin = origin.ok_or(Problem::new(Kind::NotLive))?;
    let picture = Snapshots::take(&replica, name, channel.epoch, origin)?.await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CACHE_CONTROL, NO_STORE),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    ];
    Ok((headers, picture).into_response())
}

impl Snapshots {
    /// Takes a picture, or waits for the one that is being taken.
    fn take(
        replica: &Arc<Replica>,
        channel: ChannelName,
        epoch: Epoch,
        origin: Peer,
    ) -> Result<Shared<Taking>, Problem> {
        let mut taking = replica.snapshots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = taking.get(&channel).and_then(WeakShared::upgrade)
            && shared.peek().is_none()
        {
            return Ok(shared);
        }
        taking.retain(|_, weak| weak.upgrade().is_some_and(|shared| shared.peek().is_none()));
        if taking.len() >= TAKEN_MAX {
            return Err(Problem::new(Kind::Busy).retry_after(soon()));
        }
        let (replica, name) = (Arc::clone(replica), channel.clone());
        let shared = async move { take(&replica, &name, epoch, &origin).await }.boxed().shared();
        taking.extend(shared.downgrade().map(|weak| (channel, weak)));
        Ok(shared)
    }
}

async fn take(
    replica: &Replica,
    channel: &ChannelName,
    epoch: Epoch,
    origin: &Peer,
) -> Result<Bytes, Problem> {
    let subject = replica.subjects.node(&origin.node, origin.incarnation);
    let taken = timeout(WITHIN, pull(replica, channel, epoch, &subject)).await;
    let leave = Request::Leave { channel: channel.clone(), epoch, by: replica.by.clone() };
    // Whom this does not reach learns it by our silence.
    let _ = timeout(WITHIN, replica.links.backbone.publish(&subject, None, to_json(&leave).into())).await;
    taken.unwrap_or_else(|_| {
        Err(Problem::new(Kind::NodeSilent).because("no whole picture came in time").retry_after(soon()))
    })
}

/// Asks the origin for what it has, and follows the channel until a picture is whole.
async fn pull(
    replica: &Replica,
    channel: &ChannelName,
    epoch: Epoch,
    origin: &str,
) -> Result<Bytes, Problem> {
    let backbone = &replica.links.backbone;
    let gone =
        || Problem::new(Kind::Unavailable).because("the backbone is not connected").retry_after(soon());
    let inbox = backbone.inbox();
    // First, so that nothing falls between what was cached and what comes by itself.
    let chunks = replica.subjects.chunks(channel);
    let mut live = backbone.subscribe(&chunks).await.map_err(|_| gone())?;
    let mut cached = backbone.subscribe(&inbox).await.map_err(|_| gone())?;
    let request =
        Request::Snapshot { channel: channel.clone(), epoch, by: replica.by.clone(), from: From::Newest };
    backbone.publish(origin, Some(&inbox), to_json(&request).into()).await.map_err(|_| gone())?;
    let mut assembly = Assembly::new(epoch);
    let mut joiners = [Joiner::new(PICTURE_BYTES_MAX), Joiner::new(PICTURE_BYTES_MAX)];
    loop {
        let (message, joiner) = tokio::select! {
            biased;
            Some(message) = cached.next() => (message, &mut joiners[0]),
            Some(message) = live.next() => (message, &mut joiners[1]),
            else => return Err(gone()),
        };
        if message.no_responders {
            return Err(Problem::new(Kind::NodeSilent).because("the origin is gone").retry_after(soon()));
        }
        if let Some(body) = open(message, joiner)
            && let Some(picture) = assembly.push(body)?
        {
            return Ok(picture);
        }
    }
}

fn open(message: Message, joiner: &mut Joiner) -> Option<Body> {
    match joiner.push(Envelope::open(message.payload).ok()?) {
        Joined::Whole(body) => Some(body),
        Joined::Begun | Joined::Dropped => None,
    }
}

/// Puts chunks in order, and finds the picture in them.
#[derive(Debug)]
struct Assembly {
    epoch: Epoch,
    /// The chunk that comes next, and how much of it is before the picture; `None` before the head has come.
    next: Option<(u64, usize)>,
    /// Chunks that are not to be had yet.
    ahead: BTreeMap<u64, Bytes>,
    ahead_bytes: usize,
    bytes: BytesMut,
    walker: Walker,
}

impl Assembly {
    fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            next: None,
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
            bytes: BytesMut::new(),
            walker: Walker::default(),
        }
    }

    /// Takes what came; the picture, once it is whole.
    fn push(&mut self, Body { envelope, bytes }: Body) -> Result<Option<Bytes>, Problem> {
        if envelope.epoch != self.epoch {
            return Ok(None);
        }
        match envelope.kind {
            Envelopes::Head => {
                let Ok((head, _, _)) = parse_head(&bytes) else { return Ok(None) };
                let offset = head.join.map_or(0, |join| usize::try_from(join.offset).unwrap_or(usize::MAX));
                self.next.get_or_insert((head.first, offset));
            }
            Envelopes::Chunk => {
                // What comes by itself, and what was cached too, comes once.
                if self.next.is_none_or(|(next, _)| envelope.seq >= next) {
                    self.ahead_bytes += bytes.len();
                    if let Some(twice) = self.ahead.insert(envelope.seq, bytes) {
                        self.ahead_bytes -= twice.len();
                    }
                }
            }
            Envelopes::Unknown => return Err(Problem::new(Kind::NotLive)),
            Envelopes::Begin | Envelopes::End => {}
        }
        if self.ahead_bytes + self.bytes.len() > PICTURE_BYTES_MAX {
            return Err(Problem::new(Kind::NoSnapshot)
                .because(format!("no picture ends within {PICTURE_BYTES_MAX} bytes")));
        }
        while let Some((next, offset)) = &mut self.next
            && let Some(chunk) = self.ahead.remove(next)
        {
            self.ahead_bytes -= chunk.len();
            self.bytes.extend_from_slice(chunk.get(*offset..).unwrap_or_default());
            (*next, *offset) = (*next + 1, 0);
            if let Some(picture) = self.walker.walk(&self.bytes) {
                let mut bytes = std::mem::take(&mut self.bytes);
                bytes.truncate(picture.end);
                return Ok(Some(bytes.split_off(picture.start).freeze()));
            }
        }
        Ok(None)
    }
}
