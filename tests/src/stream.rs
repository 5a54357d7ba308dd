//! The streams that are published: a small moving picture with a tone, in every container and codec.

use std::path::{Path, PathBuf};

use crate::ffmpeg::{self, Picture, Places};

/// Pictures per second.
pub const RATE: u32 = 20;

/// How a stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// FLV.
    Flv,
    /// MPEG-TS.
    MpegTs,
    /// Fragmented MP4, a fragment per group of pictures.
    Fmp4,
    /// Fragmented MP4, a fragment per picture.
    Fmp4Frames,
    /// WebM, clusters as a live encoder makes them.
    WebM,
    /// JPEG pictures.
    Mjpeg,
    /// H.264, Annex B.
    H264,
    /// H.265, Annex B.
    H265,
}

/// How pictures are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Video {
    /// H.264, each picture shown when it is decoded.
    H264,
    /// H.264 with pictures that refer to later ones.
    H264B,
    /// H.265, each picture shown when it is decoded.
    H265,
    /// H.265 as x265 does it unasked: pictures that refer to later ones, groups that refer to the one before.
    H265Open,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// JPEG.
    Jpeg,
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// How it is packed.
    pub container: Container,
    /// How its pictures are coded.
    pub video: Video,
    /// Pictures from one key frame to the next.
    pub gop: u32,
    /// Seconds.
    pub seconds: u32,
}

/// A stream and what is in it.
#[derive(Debug)]
pub struct Stream {
    /// All of it.
    pub bytes: bytes::Bytes,
    /// Its pictures, in the order of decoding.
    pub pictures: Vec<Picture>,
}

impl Recipe {
    /// Makes the stream; `folder` is for files.
    ///
    /// # Panics
    /// When `ffmpeg` does, or the file cannot be written.
    pub async fn make(&self, folder: &Path) -> Stream {
        let bytes = ffmpeg::encode(&self.args()).await;
        let file = self.file(folder);
        std::fs::write(&file, &bytes).unwrap();
        let places = match self.container {
            Container::Mjpeg | Container::H264 | Container::H265 => Places::Joined,
            _ => Places::Told,
        };
        let pictures = ffmpeg::pictures(&file, places).await;
        assert_eq!(pictures.len(), (self.seconds * RATE) as usize);
        Stream { bytes: bytes.into(), pictures }
    }

    /// Where [`Recipe::make`] leaves the stream.
    pub fn file(&self, folder: &Path) -> PathBuf {
        folder.join("published").with_extension(self.container.extension())
    }

    /// What `ffmpeg` has to be told, up to the name of the output.
    pub fn args(&self) -> String {
        let Self { container, video, gop, seconds } = self;
        let audio = container.audio().map_or_else(String::new, |codec| {
            format!("-f lavfi -i sine=frequency=440:sample_rate=48000 -c:a {codec}")
        });
        let (video, container) = (video.args(), container.args());
        format!(
            "-f lavfi -i testsrc2=size=160x120:rate={RATE} {audio} {video} -g {gop} -t {seconds} -threads 1 {container}"
        )
    }
}

impl Stream {
    /// The newest key frame that whoever has this much of the stream knows: what follows it has begun.
    pub fn newest_key(&self, known: u64) -> Option<Picture> {
        let next_at = self.pictures.iter().skip(1).map(|next| next.at);
        let begun = self.pictures.iter().zip(next_at).take_while(|(_, next_at)| *next_at <= known);
        begun.map(|(picture, _)| *picture).filter(|picture| picture.key).last()
    }

    /// A place at which nothing of a key frame has come, which is given by the number of those behind it.
    ///
    /// # Panics
    /// When there are not enough.
    pub fn before_key_from_end(&self, behind: usize) -> usize {
        let mut keys = (0..self.pictures.len()).rev().filter(|index| self.pictures[*index].key);
        let before = keys.nth(behind).and_then(|index| index.checked_sub(1)).expect("enough key frames");
        usize::try_from(self.pictures[before].at).expect("it is in memory")
    }

    /// How many pictures come before this place.
    pub fn pictures_before(&self, at: u64) -> usize {
        self.pictures.partition_point(|picture| picture.at < at)
    }
}

impl Container {
    /// By which `ffmpeg` recognises files whose bytes do not tell.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::MpegTs => "ts",
            Self::Fmp4 | Self::Fmp4Frames => "mp4",
            Self::WebM => "webm",
            Self::Mjpeg => "mjpeg",
            Self::H264 => "h264",
            Self::H265 => "h265",
        }
    }

    /// What a node calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MpegTs => "mpegts",
            Self::Fmp4 | Self::Fmp4Frames => "fmp4",
            other => other.extension(),
        }
    }

    /// Whether a node makes fragmented MP4 of it for those who ask.
    pub fn is_remuxed(self) -> bool {
        matches!(self, Self::Flv | Self::MpegTs | Self::H264 | Self::H265)
    }

    /// The encoder of its sound; `None` where there can be none.
    fn audio(self) -> Option<&'static str> {
        match self {
            Self::Flv | Self::MpegTs | Self::Fmp4 | Self::Fmp4Frames => Some("aac"),
            Self::WebM => Some("libopus"),
            Self::Mjpeg | Self::H264 | Self::H265 => None,
        }
    }

    fn args(self) -> &'static str {
        match self {
            Self::Flv => "-f flv",
            Self::MpegTs => "-f mpegts",
            Self::Fmp4 => "-movflags empty_moov+default_base_moof+frag_keyframe -f mp4",
            Self::Fmp4Frames => "-movflags empty_moov+default_base_moof+frag_every_frame -f mp4",
            Self::WebM => "-live 1 -f webm",
            Self::Mjpeg => "-f mjpeg",
            Self::H264 => "-f h264",
            Self::H265 => "-f hevc",
        }
    }
}

impl Video {
    /// Whether pictures that follow a key frame may refer to those before it: a decoder that starts there leaves them
    /// out.
    pub fn has_open_groups(self) -> bool {
        self == Self::H265Open
    }

    fn args(self) -> &'static str {
        match self {
            Self::H264 => "-c:v libx264 -preset ultrafast -pix_fmt yuv420p",
            Self::H264B => "-c:v libx264 -preset veryfast -bf 2 -pix_fmt yuv420p",
            Self::H265 => {
                "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=0:open-gop=0 -pix_fmt yuv420p"
            }
            Self::H265Open => "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p",
            Self::Vp8 => "-c:v libvpx -deadline realtime -cpu-used 8",
            Self::Vp9 => "-c:v libvpx-vp9 -deadline realtime -cpu-used 8",
            Self::Jpeg => "-c:v mjpeg -pix_fmt yuvj420p",
        }
    }
}
