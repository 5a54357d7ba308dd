//! Gateways, what belongs to them, and the videos of their cameras.

use std::collections::{BTreeSet, HashMap};

use relay_proto::dji::{Capacity, Device, ITEMS_MAX, Limit, Product, SubDevice, VideoId};
use relay_proto::source::{Part, SourceId};
use serde_json::{Value as Json, json};

use super::asked::Asked;

/// A gateway is gone that says nothing for so long. Docks tell of themselves every other second.
pub(super) const OFFLINE_MS: u64 = 60_000;

/// Gateways that are known. Whoever may publish can invent some; one bridge has hundreds at most.
pub(super) const GATEWAYS_MAX: usize = 2_000;

/// Videos that are known, of all gateways.
pub(super) const VIDEOS_MAX: usize = 10_000;

/// A dock or a controller.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) sn: Part,
    pub(super) product: Option<Product>,
    /// `None` until it is told.
    pub(super) aircraft: Option<Vec<SubDevice>>,
    /// Whether what is known of its aircraft was told over the connection that is there now.
    pub(super) is_topology_fresh: bool,
    /// The last telling of what belongs to it, which may come twice.
    pub(super) topology_tid: Option<String>,
    pub(super) capacity: Option<Capacity>,
    pub(super) is_online: bool,
    /// It began anew, and has not told of itself since.
    pub(super) is_booting: bool,
    pub(super) heard_ms: u64,
    /// When it was last given to be kept.
    pub(super) remembered_ms: Option<u64>,
    /// When what was asked of its videos was.
    pub(super) asked_ms: Option<u64>,
    pub(super) videos: Vec<usize>,
}

impl Gateway {
    pub(super) fn model(&self) -> Option<&'static str> {
        self.product.and_then(Product::model)
    }

    /// Whether a device is there, as far as is known.
    pub(super) fn has(&self, sn: &Part) -> bool {
        let flies = || self.aircraft.as_ref().is_none_or(|list| list.iter().any(|one| one.sn == *sn));
        self.is_online && !self.is_booting && (self.sn == *sn || flies())
    }

    /// An aircraft speaks: it was told of while nobody could hear it, perhaps. Whether that is news.
    pub(super) fn missed(&mut self, sn: &Part) -> bool {
        let Some(aircraft) = self.aircraft.as_mut().filter(|_| !self.is_topology_fresh) else { return false };
        if aircraft.len() >= ITEMS_MAX || aircraft.iter().any(|one| one.sn == *sn) {
            return false;
        }
        aircraft.push(SubDevice { sn: sn.clone(), product: None });
        true
    }

    /// The quality that a number of its own telling stands for, as one would ask for it.
    pub(super) fn quality(&self, told: i64) -> i64 {
        match (self.model(), told) {
            // It knows no standard one, and counts on.
            (Some("RC Plus 2"), 2 | 3) => told + 1,
            _ => told,
        }
    }

    /// What is known of the lenses of a video.
    pub(super) fn lenses(&self, id: &VideoId) -> Option<Vec<String>> {
        let mut videos = self.capacity.as_ref()?.videos();
        let (_, video) = videos.find(|(one, _)| one == id)?;
        Some(video.lenses.clone()).filter(|lenses| !lenses.is_empty())
    }

    /// Takes what its cameras can do; devices it tells nothing of are away and keep what they had. Whether it is news.
    pub(super) fn take_capacity(&mut self, mut told: Capacity) -> bool {
        if let Some(before) = &self.capacity {
            let is_away = |device: &&Device| !told.devices.iter().any(|one| one.sn == device.sn);
            let away: Vec<Device> = before.devices.iter().filter(is_away).cloned().collect();
            told.devices.extend(away);
            told.devices.truncate(ITEMS_MAX);
        }
        let is_news = self.capacity.as_ref() != Some(&told);
        self.capacity = Some(told);
        is_news
    }

    /// What is kept of it.
    pub(super) fn memory(&self) -> String {
        let product =
            self.product.map(|is| json!({"domain": is.domain, "type": is.kind, "sub_type": is.sub}));
        let capacity = self.capacity.as_ref().map(capacity_json);
        json!({"product": product, "live_capacity": capacity}).to_string()
    }
}

/// As a gateway tells it.
pub(super) fn capacity_json(capacity: &Capacity) -> Json {
    let limit = |limit: Limit| limit.unwrap_or(0);
    let devices = capacity.devices.iter().map(|device| {
        let cameras = device.cameras.iter().map(|camera| {
            let videos = camera.videos.iter().map(|video| {
                json!({
                    "video_index": video.index, "video_type": video.lens,
                    "switchable_video_types": video.lenses,
                })
            });
            json!({
                "camera_index": camera.index, "coexist_video_number_max": limit(camera.limit),
                "video_list": videos.collect::<Json>(),
            })
        });
        json!({
            "sn": device.sn, "coexist_video_number_max": limit(device.limit),
            "camera_list": cameras.collect::<Json>(),
        })
    });
    json!({
        "coexist_video_number_max": limit(capacity.limit), "device_list": devices.collect::<Json>(),
    })
}

/// Why a video that is wanted is not started before there is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// For the device, or for what it can do.
    Device,
    /// For another video to stop.
    Slot,
    /// For the device to go on.
    Pause,
}

/// A video of a camera.
#[derive(Debug)]
pub(super) struct Video {
    pub(super) id: VideoId,
    pub(super) source: SourceId,
    pub(super) gateway: Option<usize>,
    pub(super) is_configured: bool,
    pub(super) is_known: bool,
    /// Whether its source was told that it is there.
    pub(super) told_online: Option<bool>,
    /// Whether it was told to start, and not that it does not.
    pub(super) is_ours: bool,
    /// Whether what is live may come of a start of this bridge.
    pub(super) may_be_ours: bool,
    /// What the gateway says.
    pub(super) live: Option<bool>,
    pub(super) lens: Option<String>,
    /// Whether its lens was told since it was told to start: a start may change it.
    pub(super) is_lens_fresh: bool,
    pub(super) quality: Option<i64>,
    pub(super) waits: Option<Waits>,
    pub(super) asked: Asked,
    /// A transaction that other news has ended: its reply may come, and is of no use.
    pub(super) settled: Option<(String, String)>,
}

impl Video {
    /// Whether it takes one of the places that there are.
    pub(super) fn takes_place(&self) -> bool {
        self.is_ours || self.live == Some(true)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub(super) gateways: Vec<Gateway>,
    by_sn: HashMap<Part, usize>,
    /// The gateway of every device that belongs to one.
    homes: HashMap<Part, usize>,
    pub(super) videos: Vec<Video>,
    by_id: HashMap<VideoId, usize>,
    by_device: HashMap<Part, Vec<usize>>,
    /// When to look whether a gateway is still there: one entry for each that is online.
    pub(super) looks: BTreeSet<(u64, usize)>,
}

impl Fleet {
    pub(super) fn find(&self, sn: &Part) -> Option<usize> {
        self.by_sn.get(sn).copied()
    }

    /// The gateway of this number; a new one, where there is none and not too many.
    pub(super) fn gateway(&mut self, sn: &Part) -> Option<usize> {
        if let Some(gateway) = self.by_sn.get(sn) {
            return Some(*gateway);
        }
        if self.gateways.len() >= GATEWAYS_MAX {
            return None;
        }
        let gateway = self.gateways.len();
        self.gateways.push(Gateway {
            sn: sn.clone(),
            product: None,
            aircraft: None,
            is_topology_fresh: false,
            topology_tid: None,
            capacity: None,
            is_online: false,
            is_booting: false,
            heard_ms: 0,
            remembered_ms: None,
            asked_ms: None,
            videos: Vec::new(),
        });
        self.by_sn.insert(sn.clone(), gateway);
        Some(gateway)
    }

    /// The gateway that a device belongs to, which may be itself.
    pub(super) fn home(&self, sn: &Part) -> Option<usize> {
        self.homes.get(sn).or_else(|| self.by_sn.get(sn)).copied()
    }

    /// A device belongs to this gateway from now on, and its videos do.
    /// Whether that is news.
    pub(super) fn settle(&mut self, sn: &Part, gateway: usize) -> bool {
        // Numbers can be invented.
        if self.homes.get(sn) == Some(&gateway) || self.homes.len() >= VIDEOS_MAX {
            return false;
        }
        self.homes.insert(sn.clone(), gateway);
        for video in self.of_device(sn).to_vec() {
            self.attach(video, gateway);
        }
        true
    }

    pub(super) fn attach(&mut self, video: usize, gateway: usize) {
        let before = self.videos[video].gateway.replace(gateway);
        if before == Some(gateway) {
            return;
        }
        if let Some(before) = before {
            self.gateways[before].videos.retain(|one| *one != video);
        }
        self.gateways[gateway].videos.push(video);
    }

    pub(super) fn of_device(&self, sn: &Part) -> &[usize] {
        self.by_device.get(sn).map_or(&[], Vec::as_slice)
    }

    pub(super) fn find_video(&self, id: &VideoId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The video of this name; a new one, where there is none and not too many.
    pub(super) fn video(&mut self, id: &VideoId) -> Option<usize> {
        if let Some(video) = self.by_id.get(id) {
            return Some(*video);
        }
        if self.videos.len() >= VIDEOS_MAX {
            return None;
        }
        let video = self.videos.len();
        self.videos.push(Video {
            id: id.clone(),
            source: id.clone().into(),
            gateway: None,
            is_configured: false,
            is_known: false,
            told_online: None,
            is_ours: false,
            may_be_ours: false,
            live: None,
            lens: None,
            is_lens_fresh: false,
            quality: None,
            waits: None,
            asked: Asked::default(),
            settled: None,
        });
        self.by_id.insert(id.clone(), video);
        self.by_device.entry(id.sn.clone()).or_default().push(video);
        if let Some(gateway) = self.home(&id.sn) {
            self.attach(video, gateway);
        }
        Some(video)
    }

    /// Whether a video may start beside those that are on.
    pub(super) fn fits(&self, video: usize) -> bool {
        let Some(gateway) = self.videos[video].gateway.map(|gateway| &self.gateways[gateway]) else {
            return true;
        };
        let Some(capacity) = &gateway.capacity else { return true };
        let id = &self.videos[video].id;
        let device = capacity.devices.iter().find(|device| device.sn == id.sn);
        let camera = device.and_then(|device| device.cameras.iter().find(|camera| camera.index == id.camera));
        let others = || {
            let others = gateway.videos.iter().filter(|other| **other != video);
            others.map(|other| &self.videos[*other]).filter(|other| other.takes_place())
        };
        let is_below = |count: usize, limit: Limit| limit.is_none_or(|limit| count < limit as usize);
        let of_device = others().filter(|other| other.id.sn == id.sn).count();
        let of_camera = others().filter(|other| other.id.sn == id.sn && other.id.camera == id.camera).count();
        is_below(others().count(), capacity.limit)
            && is_below(of_device, device.and_then(|device| device.limit))
            && is_below(of_camera, camera.and_then(|camera| camera.limit))
    }

    /// Whether the gateway tells of this video, where it tells of any. `None` where it does not.
    pub(super) fn is_listed(&self, video: usize) -> Option<bool> {
        let capacity = self.gateways[self.videos[video].gateway?].capacity.as_ref()?;
        Some(capacity.videos().any(|(id, _)| id == self.videos[video].id))
    }
}
