//! What a gateway can be told to do with a video.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::source::{CameraPosition, Part, SourceId, SourceIdError};

/// A video of a camera: `SN/CAMERA_INDEX/VIDEO_INDEX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VideoId {
    /// Of what the camera belongs to, which is not always the gateway.
    pub sn: Part,
    /// `type-subtype-gimbal`
    pub camera: Part,
    /// The index of the video, such as `normal-0`; never its type.
    pub video: Part,
}

impl fmt::Display for VideoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.sn, self.camera, self.video)
    }
}

impl FromStr for VideoId {
    type Err = SourceIdError;

    fn from_str(text: &str) -> Result<Self, SourceIdError> {
        let parts: Vec<&str> = text.split('/').collect();
        let [sn, camera, video] = parts[..] else { return Err(SourceIdError::Shape) };
        Ok(Self { sn: sn.parse()?, camera: camera.parse()?, video: video.parse()? })
    }
}

impl From<VideoId> for SourceId {
    fn from(VideoId { sn, camera, video }: VideoId) -> Self {
        Self::Dji { sn, camera, video }
    }
}

impl VideoId {
    /// The video that is a source; `None` of other sources.
    pub fn of(source: &SourceId) -> Option<Self> {
        match source.clone() {
            SourceId::Dji { sn, camera, video } => Some(Self { sn, camera, video }),
            SourceId::Kerberos { .. } => None,
        }
    }
}

/// How a device is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlType {
    /// Through the cloud of that name.
    Agora = 0,
    /// By RTMP, which every gateway knows.
    Rtmp = 1,
    /// As a device of GB/T 28181.
    Gb28181 = 3,
    /// By WHIP.
    Whip = 4,
}

/// What a gateway is told. Prints without the URL, which may have a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Service {
    /// Begin.
    Start {
        /// Which.
        video: VideoId,
        /// How.
        url_type: UrlType,
        /// Where to.
        url: String,
        /// 0 to 4.
        quality: u8,
    },
    /// End.
    Stop(VideoId),
    /// Another quality.
    Quality(VideoId, u8),
    /// Another lens of the same camera.
    Lens(VideoId, String),
    /// The same, of a controller that takes it on `drc/down`.
    DrcLens(VideoId, String),
    /// Another camera of a dock.
    Camera(VideoId, CameraPosition),
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.method()).finish_non_exhaustive()
    }
}

impl Service {
    /// What it is called.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Start { .. } => "live_start_push",
            Self::Stop(_) => "live_stop_push",
            Self::Quality(..) => "live_set_quality",
            Self::Lens(..) => "live_lens_change",
            Self::DrcLens(..) => "drc_live_lens_change",
            Self::Camera(..) => "live_camera_change",
        }
    }

    /// With what.
    pub fn data(&self) -> Value {
        match self {
            Self::Start { video, url_type, url, quality } => json!({
                "url_type": *url_type as u8, "url": url, "video_id": video.to_string(), "video_quality": quality,
            }),
            Self::Stop(video) => json!({"video_id": video.to_string()}),
            Self::Quality(video, quality) => {
                json!({"video_id": video.to_string(), "video_quality": quality})
            }
            // Some documents list the one member, some both.
            Self::Lens(video, lens) => json!({"video_id": video.to_string(), "video_type": lens}),
            Self::DrcLens(video, lens) => {
                json!({"payload_index": video.camera.as_str(), "video_type": lens})
            }
            Self::Camera(video, position) => json!({
                "video_id": video.to_string(),
                "camera_position": match position {
                    CameraPosition::Inside => 0,
                    CameraPosition::Outside => 1,
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_pinned_and_print_no_url() {
        let video: VideoId = "S/165-0-7/normal-0".parse().unwrap();
        assert_eq!(VideoId::of(&SourceId::from(video.clone())), Some(video.clone()));
        let start = Service::Start {
            video: video.clone(),
            url_type: UrlType::Rtmp,
            url: "rtmp://h:1935/live/c/secret".to_owned(),
            quality: 3,
        };
        assert!(!format!("{start:?}").contains("secret"));
        for (service, method, data) in [
            (
                start,
                "live_start_push",
                json!({"url_type":1,"url":"rtmp://h:1935/live/c/secret","video_id":"S/165-0-7/normal-0","video_quality":3}),
            ),
            (Service::Stop(video.clone()), "live_stop_push", json!({"video_id":"S/165-0-7/normal-0"})),
            (
                Service::Quality(video.clone(), 4),
                "live_set_quality",
                json!({"video_id":"S/165-0-7/normal-0","video_quality":4}),
            ),
            (
                Service::Lens(video.clone(), "ir".to_owned()),
                "live_lens_change",
                json!({"video_id":"S/165-0-7/normal-0","video_type":"ir"}),
            ),
            (
                Service::DrcLens(video.clone(), "zoom".to_owned()),
                "drc_live_lens_change",
                json!({"payload_index":"165-0-7","video_type":"zoom"}),
            ),
            (
                Service::Camera(video, CameraPosition::Outside),
                "live_camera_change",
                json!({"video_id":"S/165-0-7/normal-0","camera_position":1}),
            ),
        ] {
            assert_eq!((service.method(), service.data()), (method, data));
        }
    }
}
