//! What belongs to a gateway, what its cameras can do, and what they do.

use serde_json::Value;

use super::{VideoId, int, items, text_of};
use crate::source::Part;

/// Items of each list that are read; the rest is passed over. Gateways have 2 devices, and those a few cameras of a few videos.
pub const ITEMS_MAX: usize = 16;

/// What a device is: domain, type and subtype, as numbers that may be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// 0 aircraft, 2 controller, 3 dock.
    pub domain: i64,
    /// Which.
    pub kind: i64,
    /// Which of those.
    pub sub: i64,
}

impl Product {
    /// Reads it, as a gateway tells it of itself and of its aircraft.
    pub fn read(value: &Value) -> Option<Self> {
        let number = |name: &str| value.get(name).and_then(int);
        Some(Self { domain: number("domain")?, kind: number("type")?, sub: number("sub_type").unwrap_or(0) })
    }

    /// What it is sold as, where that is known.
    pub const fn model(self) -> Option<&'static str> {
        Some(match (self.domain, self.kind, self.sub) {
            (3, 1, _) => "Dock",
            (3, 2, _) => "Dock 2",
            (3, 3, _) => "Dock 3",
            (2, 56, _) => "Smart Controller Enterprise",
            (2, 119, _) => "RC Plus",
            (2, 144, _) => "RC Pro",
            (2, 174, _) => "RC Plus 2",
            (0, 60, _) => "M300",
            (0, 67, _) => "M30",
            (0, 77, _) => "M3E",
            (0, 89, _) => "M350",
            (0, 91, _) => "M3D",
            (0, 99, _) => "M4E",
            (0, 100, _) => "M4D",
            (0, 103, _) => "M400",
            _ => return None,
        })
    }
}

/// What belongs to a gateway: the data of `update_topo`. Secrets in it are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The gateway.
    pub product: Option<Product>,
    /// Its aircraft; none when it is away.
    pub sub_devices: Vec<SubDevice>,
}

/// An aircraft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubDevice {
    /// Serial number.
    pub sn: Part,
    /// What it is.
    pub product: Option<Product>,
}

impl Topology {
    /// Reads it. `None` where it does not say what belongs to the gateway.
    pub fn read(data: &Value) -> Option<Self> {
        data.get("sub_devices")?.as_array()?;
        let device = |value| Some(SubDevice { sn: part(value, "sn")?, product: Product::read(value) });
        let sub_devices = items(data, "sub_devices").iter().take(ITEMS_MAX).filter_map(device).collect();
        Some(Self { product: Product::read(data), sub_devices })
    }
}

/// How many videos may be live at once. `None` where it is not told, or told as none at all.
pub type Limit = Option<u32>;

/// What the cameras of a gateway can do: `live_capacity`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    /// At once.
    pub limit: Limit,
    /// Devices with cameras.
    pub devices: Vec<Device>,
}

/// A device with cameras.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Serial number.
    pub sn: Part,
    /// At once.
    pub limit: Limit,
    /// Its cameras.
    pub cameras: Vec<Camera>,
}

/// A camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// `type-subtype-gimbal`
    pub index: Part,
    /// At once.
    pub limit: Limit,
    /// Its videos.
    pub videos: Vec<Video>,
}

/// A video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// Which names it.
    pub index: Part,
    /// The lens it shows.
    pub lens: Option<String>,
    /// The lenses it can show. Empty where it is not told.
    pub lenses: Vec<String>,
}

/// Whether lists in the data of a message are longer than what is read of them.
pub fn is_cut(data: &Value) -> bool {
    let is_long = |value: &Value, member: &str| items(value, member).len() > ITEMS_MAX;
    let capacity = data.get("live_capacity").unwrap_or(&Value::Null);
    let mut devices = items(capacity, "device_list").iter().take(ITEMS_MAX);
    is_long(data, "sub_devices")
        || is_long(data, "live_status")
        || is_long(capacity, "device_list")
        || devices.any(|device| {
            let mut cameras = items(device, "camera_list").iter().take(ITEMS_MAX);
            is_long(device, "camera_list")
                || cameras.any(|camera| {
                    let mut videos = items(camera, "video_list").iter().take(ITEMS_MAX);
                    is_long(camera, "video_list")
                        || videos.any(|video| is_long(video, "switchable_video_types"))
                })
        })
}

fn part(value: &Value, name: &str) -> Option<Part> {
    text_of(value.get(name)?)?.parse().ok()
}

fn limit(value: &Value) -> Limit {
    let told = value.get("coexist_video_number_max").and_then(int)?;
    u32::try_from(told).ok().filter(|told| *told > 0)
}

fn list<T>(value: &Value, name: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    items(value, name).iter().take(ITEMS_MAX).filter_map(read).collect()
}

impl Capacity {
    /// Reads the data of a message that has it.
    pub fn read(data: &Value) -> Option<Self> {
        let value = data.get("live_capacity").filter(|value| value.is_object())?;
        let video = |value: &Value| {
            let lens = value.get("video_type").and_then(text_of);
            let lenses = list(value, "switchable_video_types", text_of);
            Some(Video { index: part(value, "video_index")?, lens, lenses })
        };
        let camera = |value: &Value| {
            let videos = list(value, "video_list", video);
            Some(Camera { index: part(value, "camera_index")?, limit: limit(value), videos })
        };
        let device = |value: &Value| {
            let cameras = list(value, "camera_list", camera);
            Some(Device { sn: part(value, "sn")?, limit: limit(value), cameras })
        };
        Some(Self { limit: limit(value), devices: list(value, "device_list", device) })
    }

    /// Every video.
    pub fn videos(&self) -> impl Iterator<Item = (VideoId, &Video)> {
        self.devices.iter().flat_map(|device| {
            device.cameras.iter().flat_map(|camera| {
                camera.videos.iter().map(|video| {
                    let (sn, camera) = (device.sn.clone(), camera.index.clone());
                    (VideoId { sn, camera, video: video.index.clone() }, video)
                })
            })
        })
    }
}

/// What a video does: an item of `live_status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveStatus {
    /// Which.
    pub video: VideoId,
    /// Whether it is live.
    pub live: bool,
    /// The lens it shows.
    pub lens: Option<String>,
    /// As the device counts it, which is not the same for every model.
    pub quality: Option<i64>,
    /// What is wrong with it.
    pub error: Option<i64>,
}

impl LiveStatus {
    /// Reads the data of a message: what is in it of this, where anything is.
    pub fn read(data: &Value) -> Vec<Self> {
        list(data, "live_status", |value| {
            Some(Self {
                video: text_of(value.get("video_id")?)?.parse().ok()?,
                live: int(value.get("status")?)? == 1,
                lens: value.get("video_type").and_then(text_of),
                quality: value.get("video_quality").and_then(int),
                error: value.get("error_status").and_then(int).filter(|code| *code != 0),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_may_be_texts_and_unknown_products_stay() {
        let data = json!({"domain":"3","type":2,"sub_type":0,"device_secret":"s","sub_devices":[
            {"sn":"1581F","domain":"0","type":"91","sub_type":0}, {"sn":"odd","type":"x"}, {"type":1}]});
        let topology = Topology::read(&data).unwrap();
        assert_eq!(topology.product.and_then(Product::model), Some("Dock 2"));
        assert_eq!(topology.sub_devices.len(), 2);
        assert_eq!(topology.sub_devices[0].product.and_then(Product::model), Some("M3D"));
        assert_eq!(topology.sub_devices[1].product, None);
        let unknown = Topology::read(&json!({"domain":9,"type":"8","sub_devices":[]})).unwrap();
        assert_eq!(unknown.product, Some(Product { domain: 9, kind: 8, sub: 0 }));
        assert_eq!(unknown.product.and_then(Product::model), None);
        assert_eq!(Topology::read(&json!({"domain":3})), None);
    }

    #[test]
    fn videos_are_named_by_index_and_not_by_type() {
        let data = json!({"live_capacity":{"coexist_video_number_max":"2","device_list":[
            {"sn":"A","coexist_video_number_max":0,"camera_list":[{"camera_index":"52-0-0","coexist_video_number_max":1,
             "video_list":[{"video_index":"normal-0","video_type":"wide","switchable_video_types":["wide","ir"]}]}]}]}});
        let capacity = Capacity::read(&data).unwrap();
        assert_eq!((capacity.limit, capacity.devices[0].limit), (Some(2), None));
        assert_eq!(capacity.devices[0].cameras[0].limit, Some(1));
        let videos: Vec<_> = capacity.videos().collect();
        assert_eq!(videos.len(), 1);
        assert_eq!(videos[0].0.to_string(), "A/52-0-0/normal-0");
        assert_eq!((videos[0].1.lens.as_deref(), videos[0].1.lenses.len()), (Some("wide"), 2));
        assert_eq!(Capacity::read(&json!({"live_capacity":[]})), None);
    }

    #[test]
    fn statuses_may_lack_what_does_not_name_them_and_lists_are_bounded() {
        let one = json!({"video_id":"A/52-0-0/normal-0","status":true});
        let read = LiveStatus::read(&json!({"live_status":[one, {"video_id":"A","status":1},
            {"video_id":"A/52-0-0/zoom-0","status":0,"error_status":513_010,"video_type":"ir"}]}));
        assert_eq!(read.len(), 2);
        assert!(read[0].live && read[0].error.is_none());
        assert_eq!(
            (read[1].live, read[1].error, read[1].lens.as_deref()),
            (false, Some(513_010), Some("ir"))
        );
        let many = LiveStatus::read(&json!({"live_status": vec![one; ITEMS_MAX + 1]}));
        assert_eq!(many.len(), ITEMS_MAX);
    }

    #[test]
    fn lists_that_are_not_read_to_the_end_are_told() {
        for count in [ITEMS_MAX, ITEMS_MAX + 1] {
            let list = vec![json!({}); count];
            let camera = json!({"live_capacity":{"device_list":[{"camera_list":[{"video_list":list}]}]}});
            let lenses = json!({"live_capacity":{"device_list":[{"camera_list":[{"video_list":[
                {"switchable_video_types":list}]}]}]}});
            for data in [
                json!({"sub_devices":list}),
                json!({"live_status":list}),
                json!({"live_capacity":{"device_list":list}}),
                json!({"live_capacity":{"device_list":[{"camera_list":list}]}}),
                camera,
                lenses,
            ] {
                assert_eq!(is_cut(&data), count > ITEMS_MAX, "{data}");
            }
        }
        assert!(!is_cut(&Value::Null));
    }
}
