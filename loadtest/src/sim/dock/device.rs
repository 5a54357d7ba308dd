//! What a gateway does about what is asked of it: which of its cameras stream, and where to.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Value, json};

/// RTMP, as `live_start_push` numbers it.
const RTMP: u64 = 1;

/// What follows the source in an error code.
const NO_CAMERA: u32 = 13002;
const ALREADY_LIVE: u32 = 13003;
const UNSUPPORTED: u32 = 13004;
const WRONG_QUALITY: u32 = 13005;
const CANNOT_CONNECT: u32 = 13010;
const NOT_LIVE: u32 = 13011;
const ANOTHER_IS_LIVE: u32 = 13012;
const WRONG_URL_TYPE: u32 = 13013;
const WRONG_PARAMETERS: u32 = 13014;

/// The largest quality.
const QUALITY_MAX: u64 = 4;

/// Cameras of docks begin with this type; others are an aircraft's.
const DOCK_CAMERA: &str = "165-";

/// What stands at the gateway's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dock,
    /// A remote controller.
    Rc,
}

impl Kind {
    /// Before the five digits of an error.
    fn source(self) -> u32 {
        match self {
            Self::Dock => 500_000,
            Self::Rc => 600_000,
        }
    }

    /// The `url_type`s that it knows.
    fn url_types(self) -> &'static [u64] {
        match self {
            Self::Dock => &[0, 1, 3, 4],
            Self::Rc => &[0, 1, 3],
        }
    }

    /// Domain, type and sub-type.
    fn product(self) -> (&'static str, u32, u32) {
        match self {
            Self::Dock => ("3", 2, 0),
            Self::Rc => ("2", 144, 0),
        }
    }

    /// What it sees if nothing else is said: the dock's own camera, and one with three lenses.
    pub(crate) fn cameras(self) -> &'static [&'static str] {
        match self {
            Self::Dock => &["165-0-7:normal", "52-0-0:wide,zoom,ir"],
            Self::Rc => &["52-0-0:wide,zoom,thermal"],
        }
    }
}

/// `INDEX[:TYPE,TYPE…]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Camera {
    pub(crate) index: String,
    /// Lenses. The first is chosen at the start.
    pub(crate) types: Vec<String>,
}

impl FromStr for Camera {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (index, types) = text.split_once(':').unwrap_or((text, "normal"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if index.split('-').count() != 3 || !index.split('-').all(is_number) {
            return Err("an index is TYPE-SUBTYPE-GIMBAL, three numbers");
        }
        let types: Vec<_> = types.split(',').map(str::to_owned).collect();
        if types.iter().any(String::is_empty) {
            return Err("the name of a lens is empty");
        }
        Ok(Self { index: index.to_owned(), types })
    }
}

/// A camera's place.
#[derive(Debug)]
struct Video {
    /// Whose it is.
    sn: String,
    camera: Camera,
    /// Which of its lenses is chosen.
    lens: usize,
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    quality: u64,
    /// 0, or why there is no picture.
    error: u32,
}

/// A dock or controller with its aircraft. No socket.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) kind: Kind,
    pub(super) sn: String,
    pub(super) aircraft: Option<String>,
    /// How many may be live at a time.
    coexist: usize,
    /// By their id, as everybody names them.
    videos: BTreeMap<String, Video>,
    /// Starts that are still to be refused, and how.
    pub(super) refusals: (u32, u32),
    /// Says that it pushes and does not.
    pub(super) no_media: bool,
    /// Says that it pushes though that broke off.
    pub(super) stays_live: bool,
}

/// What is to be done with a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Push {
    Start {
        video: String,
        url: String,
        quality: u64,
        lens: usize,
    },
    /// It goes on, with another picture.
    Change {
        video: String,
        quality: u64,
        lens: usize,
    },
    Stop {
        video: String,
    },
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// 0, or an error.
    pub(super) result: u32,
    pub(super) push: Option<Push>,
    /// Whether [`Device::live_status`] is another now.
    pub(super) changed: bool,
}

impl Device {
    pub(super) fn new(
        kind: Kind,
        sn: String,
        aircraft: Option<String>,
        cameras: &[Camera],
        coexist: Option<usize>,
    ) -> Self {
        let owner = |camera: &Camera| {
            let is_own = kind == Kind::Dock && camera.index.starts_with(DOCK_CAMERA);
            if is_own { Some(sn.clone()) } else { aircraft.clone() }
        };
        let videos: BTreeMap<_, _> = cameras
            .iter()
            .filter_map(|camera| {
                let sn = owner(camera)?;
                let id = format!("{sn}/{}/normal-0", camera.index);
                Some((id, Video { sn, camera: camera.clone(), lens: 0, live: None }))
            })
            .collect();
        let coexist = coexist.unwrap_or(videos.len());
        Self { kind, sn, aircraft, coexist, videos, refusals: (0, 0), no_media: false, stays_live: false }
    }

    /// What it does about a request; nothing where it does not know the method.
    pub(super) fn hear(&mut self, method: &str, data: &Value) -> Option<Outcome> {
        let done = match method {
            "live_start_push" => self.start(data),
            "live_stop_push" => self.stop(data),
            "live_set_quality" => self.set_quality(data),
            "live_lens_change" => self.change_lens(data),
            "live_camera_change" => self.change_camera(data),
            _ => return None,
        };
        Some(match done {
            Ok(push) => Outcome { result: 0, push, changed: true },
            Err(error) => {
                // One that names its source already is sent as it is.
                let result = if error < 100_000 { self.kind.source() + error } else { error };
                Outcome { result, push: None, changed: false }
            }
        })
    }

    fn start(&mut self, data: &Value) -> Result<Option<Push>, u32> {
        let (more, code) = self.refusals;
        if let Some(more) = more.checked_sub(1) {
            self.refusals.0 = more;
            return Err(code);
        }
        let url = data["url"].as_str().filter(|url| !url.is_empty()).ok_or(WRONG_PARAMETERS)?;
        let url_type = data["url_type"].as_u64().ok_or(WRONG_PARAMETERS)?;
        if !self.kind.url_types().contains(&url_type) {
            return Err(WRONG_URL_TYPE);
        }
        let quality = quality(data)?;
        let id = data["video_id"].as_str().ok_or(WRONG_PARAMETERS)?;
        let live = self.live().count();
        let (coexist, no_media) = (self.coexist, self.no_media);
        let video = self.videos.get_mut(id).ok_or(NO_CAMERA)?;
        if video.live.is_some() {
            return Err(ALREADY_LIVE);
        }
        if live >= coexist {
            return Err(ANOTHER_IS_LIVE);
        }
        let error = if no_media { self.kind.source() + CANNOT_CONNECT } else { 0 };
        video.live = Some(Live { quality, error });
        let (video, url, lens) = (id.to_owned(), url.to_owned(), video.lens);
        Ok((url_type == RTMP && !no_media).then_some(Push::Start { video, url, quality, lens }))
    }

    fn stop(&mut self, data: &Value) -> Result<Option<Push>, u32> {
        let id = data["video_id"].as_str().ok_or(WRONG_PARAMETERS)?;
        let video = self.videos.get_mut(id).ok_or(NO_CAMERA)?;
        video.live.take().ok_or(NOT_LIVE)?;
        Ok(Some(Push::Stop { video: id.to_owned() }))
    }

    fn set_quality(&mut self, data: &Value) -> Result<Option<Push>, u32> {
        let quality = quality(data)?;
        let id = data["video_id"].as_str().ok_or(WRONG_PARAMETERS)?;
        let video = self.videos.get_mut(id).ok_or(NO_CAMERA)?;
        let live = video.live.as_mut().ok_or(NOT_LIVE)?;
        live.quality = quality;
        Ok(Some(Push::Change { video: id.to_owned(), quality, lens: video.lens }))
    }

    fn change_lens(&mut self, data: &Value) -> Result<Option<Push>, u32> {
        let wanted = data["video_type"].as_str().ok_or(WRONG_PARAMETERS)?;
        let lens = |video: &Video| video.camera.types.iter().position(|lens| lens == wanted);
        // Newer docks are told no video: it is the one that is live and has such a lens.
        let id = match data["video_id"].as_str() {
            Some(id) => id.to_owned(),
            None => self.live().find(|(_, video)| lens(video).is_some()).ok_or(NOT_LIVE)?.0.clone(),
        };
        let video = self.videos.get_mut(&id).ok_or(NO_CAMERA)?;
        let lens = lens(video).ok_or(UNSUPPORTED)?;
        let quality = video.live.as_ref().ok_or(NOT_LIVE)?.quality;
        video.lens = lens;
        Ok(Some(Push::Change { video: id, quality, lens }))
    }

    fn change_camera(&mut self, data: &Value) -> Result<Option<Push>, u32> {
        if self.kind != Kind::Dock {
            return Err(UNSUPPORTED);
        }
        if data["camera_position"].as_u64().is_none_or(|position| position > 1) {
            return Err(WRONG_PARAMETERS);
        }
        let id = data["video_id"].as_str().ok_or(WRONG_PARAMETERS)?;
        let video = self.videos.get(id).ok_or(NO_CAMERA)?;
        if !video.camera.index.starts_with(DOCK_CAMERA) {
            return Err(UNSUPPORTED);
        }
        // Both sides look the same here.
        video.live.as_ref().ok_or(NOT_LIVE).map(|_| None)
    }

    fn live(&self) -> impl Iterator<Item = (&String, &Video)> {
        self.videos.iter().filter(|(_, video)| video.live.is_some())
    }

    /// The first camera streams already, to nobody that we know.
    pub(super) fn already_live(&mut self) {
        if let Some(video) = self.videos.values_mut().next() {
            video.live = Some(Live { quality: 0, error: 0 });
        }
    }

    /// A push ended by itself: nothing listens there, or it no longer does.
    pub(super) fn lost(&mut self, video: &str) {
        if let Some(video) = self.videos.get_mut(video).filter(|_| !self.stays_live) {
            video.live = None;
        }
    }

    /// Nothing is live after a reboot.
    pub(super) fn reset(&mut self) {
        for video in self.videos.values_mut() {
            (video.live, video.lens) = (None, 0);
        }
    }

    /// The `data` of `update_topo`.
    pub(super) fn topology(&self) -> Value {
        let (domain, kind, sub) = self.kind.product();
        let aircraft = self.aircraft.iter().map(|sn| {
            json!({"sn": sn, "domain": "0", "type": 67, "sub_type": 0, "index": "A", "device_secret": "sim-secret",
                "nonce": "sim-nonce", "thing_version": "1.1.2"})
        });
        json!({"domain": domain, "type": kind, "sub_type": sub, "device_secret": "sim-secret", "nonce": "sim-nonce",
            "thing_version": "1.1.2", "sub_devices": aircraft.collect::<Vec<_>>()})
    }

    /// What it can show.
    pub(super) fn live_capacity(&self) -> Value {
        let mut devices: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for Video { sn, camera, lens, .. } in self.videos.values() {
            let mut video = json!({"video_index": "normal-0", "video_type": camera.types[*lens]});
            if self.kind == Kind::Dock {
                video["switchable_video_types"] = json!(camera.types);
            }
            devices
                .entry(sn)
                .or_default()
                .push(json!({"camera_index": camera.index, "available_video_number": 1,
                "coexist_video_number_max": 1, "video_list": [video]}));
        }
        let devices = devices.into_iter().map(|(sn, cameras)| {
            json!({"sn": sn, "available_video_number": cameras.len(),
                "coexist_video_number_max": cameras.len().min(self.coexist), "camera_list": cameras})
        });
        json!({"available_video_number": self.videos.len(), "coexist_video_number_max": self.coexist,
            "device_list": devices.collect::<Vec<_>>()})
    }

    /// What it shows.
    pub(super) fn live_status(&self) -> Value {
        let status = |(id, Video { camera, lens, live, .. }): (&String, &Video)| {
            let (quality, error) = live.as_ref().map_or((0, 0), |live| (live.quality, live.error));
            json!({"video_id": id, "video_type": camera.types[*lens], "video_quality": quality,
                "status": u8::from(live.is_some()), "error_status": error})
        };
        self.videos.iter().map(status).collect()
    }
}

fn quality(data: &Value) -> Result<u64, u32> {
    data["video_quality"].as_u64().filter(|quality| *quality <= QUALITY_MAX).ok_or(WRONG_QUALITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "DOCK1/165-0-7/normal-0";
    const AIR: &str = "AIR1/52-0-0/normal-0";

    fn device(kind: Kind, coexist: Option<usize>) -> Device {
        let cameras: Vec<_> = kind.cameras().iter().map(|camera| camera.parse().unwrap()).collect();
        Device::new(kind, "DOCK1".into(), Some("AIR1".into()), &cameras, coexist)
    }

    fn start(video: &str) -> Value {
        json!({"url_type": 1, "url": "rtmp://n/live/c/key", "video_id": video, "video_quality": 0})
    }

    fn result(device: &mut Device, method: &str, data: &Value) -> u32 {
        device.hear(method, data).unwrap().result
    }

    #[test]
    fn a_camera_streams_once_until_it_is_stopped() {
        let mut dock = device(Kind::Dock, None);
        let url = "rtmp://n/live/c/key".to_owned();
        let push = Push::Start { video: AIR.into(), url, quality: 0, lens: 0 };
        let outcome = dock.hear("live_start_push", &start(AIR)).unwrap();
        assert_eq!(outcome, Outcome { result: 0, push: Some(push), changed: true });
        assert_eq!(result(&mut dock, "live_start_push", &start(AIR)), 513_003);
        let stop = json!({"video_id": AIR});
        let outcome = dock.hear("live_stop_push", &stop).unwrap();
        assert_eq!(outcome.push, Some(Push::Stop { video: AIR.into() }));
        assert_eq!(result(&mut dock, "live_stop_push", &stop), 513_011);
        assert_eq!(dock.hear("cover_open", &json!({})), None);
    }

    #[test]
    fn only_so_many_stream_at_a_time() {
        let mut dock = device(Kind::Dock, Some(1));
        assert_eq!(dock.live_capacity()["coexist_video_number_max"], 1);
        assert_eq!(result(&mut dock, "live_start_push", &start(AIR)), 0);
        assert_eq!(result(&mut dock, "live_start_push", &start(OWN)), 513_012);
        dock.lost(AIR);
        assert_eq!(result(&mut dock, "live_start_push", &start(OWN)), 0);
        let mut dock = device(Kind::Dock, None);
        assert_eq!(result(&mut dock, "live_start_push", &start(AIR)), 0);
        assert_eq!(result(&mut dock, "live_start_push", &start(OWN)), 0);
    }

    #[test]
    fn errors_say_who_and_why() {
        let wrong = |change: &dyn Fn(&mut Value), kind: Kind| {
            let mut data = start(AIR);
            change(&mut data);
            result(&mut device(kind, None), "live_start_push", &data)
        };
        assert_eq!(wrong(&|data| data["video_id"] = "AIR1/52-0-0/wide-0".into(), Kind::Dock), 513_002);
        assert_eq!(wrong(&|data| data["video_quality"] = 5.into(), Kind::Dock), 513_005);
        assert_eq!(wrong(&|data| data["url_type"] = 2.into(), Kind::Dock), 513_013);
        assert_eq!(wrong(&|data| data["url_type"] = 4.into(), Kind::Rc), 613_013);
        assert_eq!(wrong(&|data| data["url"] = "".into(), Kind::Rc), 613_014);
    }

    #[test]
    fn first_starts_are_refused_as_was_asked() {
        let mut dock = device(Kind::Dock, None);
        dock.refusals = (2, 13_099);
        let results: Vec<_> = (0..3).map(|_| result(&mut dock, "live_start_push", &start(AIR))).collect();
        assert_eq!(results, [513_099, 513_099, 0]);
        dock.refusals = (1, 327_015);
        assert_eq!(result(&mut dock, "live_start_push", &start(OWN)), 327_015);
    }

    #[test]
    fn a_lens_keeps_the_video_and_a_video_need_not_be_named() {
        let mut dock = device(Kind::Dock, None);
        let change = json!({"video_type": "ir"});
        assert_eq!(result(&mut dock, "live_lens_change", &change), 513_011);
        dock.hear("live_start_push", &start(AIR));
        let outcome = dock.hear("live_lens_change", &change).unwrap();
        assert_eq!(outcome.push, Some(Push::Change { video: AIR.into(), quality: 0, lens: 2 }));
        assert_eq!(dock.live_status()[0]["video_type"], "ir");
        let named = json!({"video_id": AIR, "video_type": "thermal"});
        assert_eq!(result(&mut dock, "live_lens_change", &named), 513_004);
        let named = json!({"video_id": AIR, "video_quality": 3});
        let outcome = dock.hear("live_set_quality", &named).unwrap();
        assert_eq!(outcome.push, Some(Push::Change { video: AIR.into(), quality: 3, lens: 2 }));
    }

    #[test]
    fn only_a_dock_turns_its_camera_around() {
        let mut dock = device(Kind::Dock, None);
        let change = json!({"video_id": OWN, "camera_position": 1});
        assert_eq!(result(&mut dock, "live_camera_change", &change), 513_011);
        dock.hear("live_start_push", &start(OWN));
        assert_eq!(result(&mut dock, "live_camera_change", &change), 0);
        let other = json!({"video_id": AIR, "camera_position": 1});
        assert_eq!(result(&mut dock, "live_camera_change", &other), 513_004);
        assert_eq!(result(&mut device(Kind::Rc, None), "live_camera_change", &change), 613_004);
    }

    #[test]
    fn what_it_says_of_itself_has_the_form_of_the_makers() {
        let mut dock = device(Kind::Dock, None);
        assert_eq!(dock.topology()["domain"], "3", "a string");
        assert_eq!(dock.topology()["sub_devices"][0]["sn"], "AIR1");
        let capacity = dock.live_capacity();
        let video = &capacity["device_list"][0]["camera_list"][0]["video_list"][0];
        assert_eq!(capacity["device_list"][0]["sn"], "AIR1");
        let expected = json!({"video_index": "normal-0", "video_type": "wide",
            "switchable_video_types": ["wide", "zoom", "ir"]});
        assert_eq!(*video, expected);
        let status = dock.live_status();
        assert_eq!((&status[0]["status"], &status[1]["status"]), (&json!(0), &json!(0)));
        dock.already_live();
        assert_eq!(dock.live_status()[0]["status"], 1);
        assert_eq!(result(&mut dock, "live_start_push", &start(AIR)), 513_003);
        dock.reset();
        assert_eq!(dock.live_status()[0]["status"], 0);
        let rc = device(Kind::Rc, None).live_capacity();
        let video = &rc["device_list"][0]["camera_list"][0]["video_list"][0];
        assert_eq!(video["switchable_video_types"], Value::Null);
    }

    #[test]
    fn without_media_it_says_why() {
        let mut dock = device(Kind::Dock, None);
        dock.no_media = true;
        let outcome = dock.hear("live_start_push", &start(AIR)).unwrap();
        assert_eq!((outcome.result, outcome.push), (0, None));
        assert_eq!(dock.live_status()[0]["error_status"], 513_010);
    }

    #[test]
    fn without_an_aircraft_there_are_the_docks_cameras_alone() {
        let cameras = ["165-0-7".parse().unwrap(), "52-0-0".parse().unwrap()];
        let dock = Device::new(Kind::Dock, "D".into(), None, &cameras, None);
        assert_eq!(dock.live_capacity()["available_video_number"], 1);
        assert_eq!(dock.topology()["sub_devices"], json!([]));
    }

    #[test]
    fn a_camera_has_three_numbers_and_lenses() {
        let camera: Camera = "53-0-0:wide,ir".parse().unwrap();
        assert_eq!(camera, Camera { index: "53-0-0".into(), types: vec!["wide".into(), "ir".into()] });
        for wrong in ["53-0", "53-0-x", "53-0-0:", "53-0-0:wide,", ""] {
            assert!(wrong.parse::<Camera>().is_err(), "{wrong}");
        }
    }
}
