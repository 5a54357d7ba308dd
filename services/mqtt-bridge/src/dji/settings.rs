//! Which cameras there are beside those that gateways tell of, and where videos may go. Nothing here prints a key.

use std::fmt;
use std::str::FromStr;

use relay_proto::dji::VideoId;
use relay_proto::source::{Part, SourceId};

/// A camera that is there though no gateway has told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Which.
    pub source: SourceId,
    /// The gateway that is told to start it; that of the source's own serial number, where it is absent and unknown.
    pub gateway: Option<Part>,
}

/// Why a text is no [`Configured`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not SN/CAMERA_INDEX/VIDEO_INDEX, with or without @GATEWAY_SN")]
pub struct ConfiguredError;

impl FromStr for Configured {
    type Err = ConfiguredError;

    fn from_str(text: &str) -> Result<Self, ConfiguredError> {
        let (video, gateway) = match text.split_once('@') {
            Some((video, gateway)) => (video, Some(gateway.parse().map_err(|_| ConfiguredError)?)),
            None => (text, None),
        };
        let source = format!("dji/{video}").parse().map_err(|_| ConfiguredError)?;
        Ok(Self { source, gateway })
    }
}

/// What docks are answered that ask for their configuration. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Onboarding {
    /// As the manufacturer gave it.
    pub app_id: String,
    /// As the manufacturer gave it.
    pub app_key: String,
    /// A dock that is told a wrong one leaves the broker.
    pub app_license: String,
}

impl fmt::Debug for Onboarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What there is to know before gateways can be spoken to. Prints without the URLs, which may have keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Cameras that are there from the beginning. Others appear when a gateway tells of them.
    pub cameras: Vec<Configured>,
    /// Answers what gateways ask when they begin. Only where no other server does: two answers are one too many.
    pub own_onboarding: Option<Onboarding>,
    /// For those who take WHIP; of each of these `{channel}`, `{sn}`, `{camera}` and `{video}` are replaced.
    pub whip_url: Option<String>,
    /// The parameters of a GB/T 28181 server.
    pub gb28181_url: Option<String>,
    /// The parameters of a channel at Agora.
    pub agora_url: Option<String>,
    /// Whether a video is stopped and started that is live for somebody else.
    pub take_over: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("cameras", &self.cameras)
            .field("own_onboarding", &self.own_onboarding)
            .field("take_over", &self.take_over)
            .finish_non_exhaustive()
    }
}

/// A URL of a setting, for a video.
pub(super) fn fill(template: &str, video: &VideoId) -> String {
    template
        .replace("{channel}", SourceId::from(video.clone()).channel().as_str())
        .replace("{sn}", video.sn.as_str())
        .replace("{camera}", video.camera.as_str())
        .replace("{video}", video.video.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_print_no_key() {
        let settings = Settings {
            own_onboarding: Some(Onboarding {
                app_id: "hunter1".to_owned(),
                app_key: "hunter2".to_owned(),
                app_license: "hunter3".to_owned(),
            }),
            whip_url: Some("http://hunter4".to_owned()),
            gb28181_url: Some("agentPassword=hunter5".to_owned()),
            agora_url: Some("token=hunter6".to_owned()),
            ..Settings::default()
        };
        let printed = format!("{settings:?}");
        assert!(printed.contains("***") && !printed.contains("hunter"), "{printed}");
    }

    #[test]
    fn a_camera_is_configured_with_its_gateway_or_without() {
        let camera: Configured = "SN/165-0-7/normal-0".parse().unwrap();
        assert_eq!((camera.source.to_string().as_str(), camera.gateway), ("dji/SN/165-0-7/normal-0", None));
        let camera: Configured = "SN/52-0-0/normal-0@DOCK".parse().unwrap();
        assert_eq!(camera.gateway.unwrap().as_str(), "DOCK");
        for text in ["", "SN", "SN/1/2/3", "SN/1/2@", "SN/1/2@a/b"] {
            assert_eq!(text.parse::<Configured>(), Err(ConfiguredError), "{text}");
        }
    }

    #[test]
    fn urls_name_the_video() {
        let video: VideoId = "SN/165-0-7/normal-0".parse().unwrap();
        let channel = SourceId::from(video.clone()).channel();
        assert_eq!(
            fill("http://h/?stream={channel}&a={sn}-{camera}-{video}", &video),
            format!("http://h/?stream={channel}&a=SN-165-0-7-normal-0")
        );
    }
}
