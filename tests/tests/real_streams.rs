//! Every stream that Debian's `ffmpeg` makes, joined at random moments: what anybody received decodes without a
//! complaint and starts on a key frame.
//!
//! A test makes one stream and publishes it in chunks that are cut at random places, faster than real time. At random
//! moments, in the middle of a chunk too, it stops, lets a receiver join, and goes on.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use relay_tests::client::{Publisher, Received, Receiver};
use relay_tests::ffmpeg::{Decoded, Judge};
use relay_tests::node::Node;
use relay_tests::seed::Seed;
use relay_tests::stream::Container::{Flv, Fmp4, Fmp4Frames, H264, H265, Mjpeg, MpegTs, WebM};
use relay_tests::stream::{Recipe, Stream, Video};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Receivers that start with what is cached.
const JOINS: usize = 20;

/// Receivers that come in some other way, for each of those.
const JOINS_OTHERWISE: usize = 3;

/// Largest chunk that is published.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// The most that comes before the bytes of the stream: an init, and what else a decoder needs at a join point.
const LEAD_BYTES_MAX: usize = 16 << 10;

/// Nothing goes for its age: how long a test takes must not matter.
const PATIENT: &[&str] = &["--lag-max=1h", "--cache-age=1h"];

/// Pictures of half a second, of two seconds, of ten.
const SHORT: u32 = 10;
const MEDIUM: u32 = 40;
const LONG: u32 = 200;

macro_rules! streams {
    ($($name:ident: $container:ident, $video:ident, $gop:ident;)+) => {$(
        #[tokio::test]
        async fn $name() {
            let seconds = if $gop == LONG { 25 } else { 12 };
            joined_anywhere(Recipe { container: $container, video: Video::$video, gop: $gop, seconds }).await;
        }
    )+};
}

streams! {
    flv: Flv, H264, SHORT;
    flv_with_b_frames: Flv, H264B, MEDIUM;
    flv_with_long_groups: Flv, H264B, LONG;
    transport_stream: MpegTs, H264, SHORT;
    transport_stream_with_b_frames: MpegTs, H264B, MEDIUM;
    transport_stream_with_long_groups: MpegTs, H264B, LONG;
    transport_stream_with_h265: MpegTs, H265Open, MEDIUM;
    fmp4: Fmp4, H264, SHORT;
    fmp4_with_b_frames: Fmp4, H264B, MEDIUM;
    fmp4_with_long_groups: Fmp4, H264B, LONG;
    fmp4_with_a_fragment_per_picture: Fmp4Frames, H264, MEDIUM;
    fmp4_with_h265: Fmp4, H265, MEDIUM;
    webm_with_vp8: WebM, Vp8, SHORT;
    webm_with_vp8_and_long_groups: WebM, Vp8, LONG;
    webm_with_vp9: WebM, Vp9, MEDIUM;
    webm_with_vp9_and_long_groups: WebM, Vp9, LONG;
    mjpeg: Mjpeg, Jpeg, SHORT;
    h264: H264, H264, SHORT;
    h264_with_b_frames: H264, H264B, MEDIUM;
    h264_with_long_groups: H264, H264B, LONG;
    h265: H265, H265, SHORT;
    h265_with_open_groups: H265, H265Open, MEDIUM;
    h265_with_long_groups: H265, H265Open, LONG;
}

/// How a receiver asks for the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the newest key frame on.
    Cached,
    /// The same, and nobody else gets that one from the cache afterwards.
    ClearCache,
    /// From the next key frame on.
    Live,
    /// The same, with the init at once.
    Init,
    /// In fragmented MP4.
    AsFmp4,
}

impl Way {
    fn path(self) -> &'static str {
        match self {
            Self::Cached => "cam1/secret/receive",
            Self::ClearCache => "cam1/secret/receive-clear-cache",
            Self::Live => "cam1/secret/receive?cache=live",
            Self::Init => "cam1/secret/receive?cache=init",
            Self::AsFmp4 => "cam1/secret/receive?as=fmp4",
        }
    }
}

/// A receiver that came at some moment, and the moment.
struct Joined {
    way: Way,
    /// Bytes of the stream that were on their way to the node.
    at: usize,
    /// The last chunk that the node had got: it surely knows of what is before, and of nothing behind.
    last_chunk: Range<u64>,
    /// The key frame that it surely had cached.
    cached: Option<u64>,
    receiver: Receiver,
}

/// A publication that receivers join while it runs.
struct Publication<'a> {
    node: &'a Node,
    stream: &'a Stream,
    publisher: Publisher,
    last_chunk: Range<u64>,
    /// Nothing before this place may be cached, because somebody wanted that.
    cleared: u64,
    /// Of those who joined: who wants the cache cleared, and has not got anything yet.
    clearing: Vec<usize>,
    joined: Vec<Joined>,
    receivers: u64,
}

async fn joined_anywhere(recipe: Recipe) {
    let mut seed = Seed::from_environment();
    let folder = tempfile::tempdir().unwrap();
    let stream = recipe.make(folder.path()).await;

    let node = Node::start(PATIENT).await;
    // These come before the publisher.
    let first = Receiver::connect(&node.url(Way::Cached.path())).await;
    let first_fmp4 = match recipe.container.is_remuxed() {
        true => Some(Receiver::connect(&node.url(Way::AsFmp4.path())).await),
        false => None,
    };
    let receivers = 1 + u64::from(first_fmp4.is_some());
    node.until_receivers("cam1", receivers).await;

    let joined = publish(&node, &stream, receivers, moments(&stream, &recipe, &mut seed), &mut seed).await;

    let first = first.all().await;
    assert!(first.bytes == stream.bytes, "from the start on, the bytes received are not the bytes sent");

    let mut verdicts = Verdicts::new(folder, recipe, stream).await;
    if let Some(first) = first_fmp4 {
        // What came before it was known what the stream is may be more than a group.
        verdicts.expect("first, as fMP4".to_owned(), "mp4", first.all().await, Start::AnyKey);
    }
    for Joined { way, at, last_chunk, cached, receiver } in joined {
        let name = format!("{way:?} at {at}");
        let received = receiver.all().await;
        match way {
            Way::AsFmp4 => verdicts.expect(name, "mp4", received, Start::AnyKey),
            Way::Cached | Way::ClearCache => {
                let start = match cached {
                    Some(cached) => cached..last_chunk.end,
                    None => 0..u64::MAX,
                };
                verdicts.expect_part(name, received, start);
            }
            Way::Live | Way::Init => verdicts.expect_part(name, received, last_chunk.start..u64::MAX),
        }
    }
    verdicts.all().await;
}

/// Who joins after how many bytes, in that order.
fn moments(stream: &Stream, recipe: &Recipe, seed: &mut Seed) -> Vec<(usize, Way)> {
    let len = stream.bytes.len();
    // Whoever waits for the next key frame needs one to come.
    let before_last_key = stream.before_key_from_end(0);
    let mut moments = vec![(0, Way::Cached)];
    moments.extend((1..JOINS).map(|_| (seed.usize(1..len), Way::Cached)));
    for way in [Way::Live, Way::Init] {
        moments.extend((0..JOINS_OTHERWISE).map(|_| (seed.usize(0..before_last_key), way)));
    }
    // Where nothing is cached, what is cleared is the next key frame. It must not be the last, which others need.
    let before = stream.before_key_from_end(1);
    moments.extend((0..JOINS_OTHERWISE).map(|_| (seed.usize(0..before), Way::ClearCache)));
    if recipe.container.is_remuxed() {
        moments.extend((0..JOINS_OTHERWISE).map(|_| (seed.usize(0..len), Way::AsFmp4)));
    }
    moments.sort_by_key(|(at, _)| *at);
    moments
}

/// Publishes the stream in random chunks, and lets receivers join at their moments.
async fn publish(
    node: &Node,
    stream: &Stream,
    receivers: u64,
    moments: Vec<(usize, Way)>,
    seed: &mut Seed,
) -> Vec<Joined> {
    let publisher = Publisher::connect(&node.url("cam1/secret/publish")).await;
    let mut publication = Publication {
        node,
        stream,
        publisher,
        last_chunk: 0..0,
        cleared: 0,
        clearing: Vec::new(),
        joined: Vec::new(),
        receivers,
    };
    // So that whoever comes at the very beginning finds a publication without a byte.
    node.until_live("cam1").await;
    let mut moments = moments.into_iter().peekable();
    let before_last_key = stream.before_key_from_end(0);
    let mut sent = 0;
    while sent < stream.bytes.len() {
        let begin = sent;
        if begin == before_last_key {
            // From here on nobody clears the cache.
            publication.until_cleared().await;
        }
        let border = if begin < before_last_key { before_last_key } else { stream.bytes.len() };
        let end = border.min(begin + seed.length(CHUNK_BYTES_MAX));
        while let Some((at, way)) = moments.next_if(|(at, _)| *at < end) {
            if at > sent {
                publication.publisher.part(stream.bytes.slice(sent..at)).await;
                sent = at;
            }
            publication.join(at, way).await;
        }
        publication.publisher.chunk(stream.bytes.slice(sent..end)).await;
        publication.last_chunk = begin as u64..end as u64;
        sent = end;
    }
    publication.publisher.finish().await;
    publication.joined
}

impl Publication<'_> {
    /// Lets a receiver join, and waits until it is in.
    async fn join(&mut self, at: usize, way: Way) {
        let last_chunk = self.last_chunk.clone();
        self.node.until_taken(last_chunk.end).await;
        let receiver = Receiver::connect(&self.node.url(way.path())).await;
        self.receivers += 1;
        self.node.until_receivers("cam1", self.receivers).await;

        self.note_cleared();
        let known = self.stream.newest_key(last_chunk.start);
        let cached = known.map(|key| key.at).filter(|at| *at >= self.cleared && self.clearing.is_empty());
        if cached.is_some() && matches!(way, Way::Cached | Way::ClearCache) {
            receiver.until_taken(1).await;
        }
        if way == Way::ClearCache {
            self.clearing.push(self.joined.len());
        }
        self.joined.push(Joined { way, at, last_chunk, cached, receiver });
    }

    /// Whoever wants the cache cleared has that done when it has got something.
    fn note_cleared(&mut self) {
        let Self { clearing, joined, .. } = self;
        let before = clearing.len();
        clearing.retain(|index| joined[*index].receiver.taken() == 0);
        if clearing.len() < before {
            self.cleared = self.last_chunk.end;
        }
    }

    /// Waits until nobody is left who wants the cache cleared.
    async fn until_cleared(&mut self) {
        for index in &self.clearing {
            self.joined[*index].receiver.until_taken(1).await;
        }
        self.note_cleared();
    }
}

/// Where something received has to start.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// With this picture.
    Picture(usize),
    /// With some key frame.
    AnyKey,
}

/// What was received, and what is wrong with it.
struct Verdicts {
    folder: TempDir,
    recipe: Recipe,
    stream: Stream,
    judge: Arc<Judge>,
    /// What the stream itself decodes to.
    whole: Decoded,
    decoding: JoinSet<(String, Start, Result<Decoded, String>)>,
    wrong: Vec<String>,
}

impl Verdicts {
    async fn new(folder: TempDir, recipe: Recipe, stream: Stream) -> Self {
        let judge = Arc::new(Judge::default());
        let whole = judge.decode(&recipe.file(folder.path())).await.expect("the stream itself is fine");
        Self { folder, recipe, stream, judge, whole, decoding: JoinSet::new(), wrong: Vec::new() }
    }

    /// A part of the stream as it is, from a key frame that lies somewhere in `start`.
    fn expect_part(&mut self, name: String, received: Received, start: Range<u64>) {
        let stream = &self.stream.bytes;
        let equal = received.bytes.iter().rev().zip(stream.iter().rev()).take_while(|(a, b)| a == b).count();
        let lead = received.bytes.len() - equal;
        if lead > LEAD_BYTES_MAX {
            self.wrong.push(format!("{name}: {lead} bytes differ from the stream, {equal} are its end"));
        }
        let before = self.stream.pictures_before((stream.len() - equal) as u64);
        match self.stream.pictures.get(before) {
            Some(picture) if picture.key && start.contains(&picture.at) => {}
            picture => self.wrong.push(format!("{name}: starts with {picture:?}, expected in {start:?}")),
        }
        self.expect(name, self.recipe.container.extension(), received, Start::Picture(before));
    }

    /// A stream that decodes.
    fn expect(&mut self, name: String, extension: &str, received: Received, start: Start) {
        let number = self.decoding.len();
        let file = self.folder.path().join(format!("received-{number}.{extension}"));
        let judge = Arc::clone(&self.judge);
        std::fs::write(&file, Bytes::from(received.bytes)).unwrap();
        self.decoding.spawn(async move {
            let decoded = judge.decode(&file).await;
            (format!("{name} ({})", file.display()), start, decoded)
        });
    }

    /// Waits until everything is decoded.
    async fn all(mut self) {
        while let Some(decoded) = self.decoding.join_next().await {
            let (name, start, decoded) = decoded.unwrap();
            match decoded {
                Ok(decoded) => self.compare(&name, start, &decoded),
                Err(wrong) => self.wrong.push(format!("{name}: {wrong}")),
            }
        }
        if !self.wrong.is_empty() {
            // For whoever wants to look at it.
            self.folder.disable_cleanup(true);
            panic!("{:?}, {} bytes:\n{}", self.recipe, self.stream.bytes.len(), self.wrong.join("\n"));
        }
    }

    fn compare(&mut self, name: &str, start: Start, decoded: &Decoded) {
        if decoded.tracks != self.whole.tracks {
            self.wrong.push(format!("{name}: {:?} instead of {:?}", decoded.tracks, self.whole.tracks));
        }
        let pictures = |before: usize| self.whole.pictures - before as u64;
        let keys = self.stream.pictures.iter().enumerate().filter(|(_, picture)| picture.key);
        let expected: Vec<u64> = match start {
            Start::Picture(before) => vec![pictures(before)],
            Start::AnyKey => keys.map(|(before, _)| pictures(before)).collect(),
        };
        if !expected.contains(&decoded.pictures) && !self.recipe.video.has_open_groups() {
            self.wrong.push(format!("{name}: {} pictures instead of {expected:?}", decoded.pictures));
        }
    }
}
