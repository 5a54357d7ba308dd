//! What gateways tell of themselves.

use std::collections::HashSet;

use bytes::Bytes;
use relay_proto::dji::{LiveStatus, Topology, is_cut};

use super::*;

/// What is kept of a gateway is kept for weeks, and is given anew after so long though nothing is news.
const REMEMBER_MS: u64 = 24 * 60 * 60 * 1_000;

/// What docks that ask are told to set their clocks by.
const NTP_HOST: &str = "pool.ntp.org";
const NTP_PORT: u16 = 123;

impl Dji {
    /// A gateway speaks, so it is there.
    pub(super) fn hear(&mut self, gateway: usize, now: Now, effects: &mut Effects) {
        let is = &mut self.fleet.gateways[gateway];
        is.heard_ms = now.ms;
        if !std::mem::replace(&mut is.is_online, true) {
            self.fleet.looks.insert((now.ms.saturating_add(OFFLINE_MS), gateway));
            self.tell_presence(gateway, effects);
        }
    }

    /// Tells of videos that are there now, or are not any more.
    fn tell_presence(&mut self, gateway: usize, effects: &mut Effects) {
        for video in self.fleet.gateways[gateway].videos.clone() {
            let is_online = self.present(video).is_some();
            let is = &mut self.fleet.videos[video];
            if is.told_online == Some(is_online) || (is.told_online.is_none() && !is_online) {
                continue;
            }
            is.told_online = Some(is_online);
            is.waits = None;
            if !is_online {
                is.is_ours = false;
                is.may_be_ours = false;
                is.live = None;
                self.set_started(video, None, effects);
                self.give_up(|call| call.video == video, effects);
            }
            self.sign(video, Sign::Online(is_online), effects);
        }
        self.place_freed(gateway, effects);
    }

    /// Whether gateways are still there.
    pub(super) fn look(&mut self, now: Now, effects: &mut Effects) {
        if self.is_cut_off {
            // Nobody can be heard: they are not silent.
            return;
        }
        while let Some((due_ms, gateway)) = self.fleet.looks.first().copied() {
            if due_ms > now.ms {
                return;
            }
            self.fleet.looks.pop_first();
            let is = &mut self.fleet.gateways[gateway];
            let until_ms = is.heard_ms.saturating_add(OFFLINE_MS);
            if until_ms > now.ms {
                self.fleet.looks.insert((until_ms, gateway));
                let is_due = |at| now.ms.saturating_sub(at) >= REMEMBER_MS;
                // What is asked is given when it is asked.
                let is_asked_due = is_due(*is.asked_ms.get_or_insert(now.ms));
                if is.remembered_ms.is_none_or(is_due) && is.capacity.is_some() {
                    self.remember(gateway, now, effects);
                }
                if is_asked_due {
                    self.remember_all_asked(gateway, now, effects);
                }
                continue;
            }
            is.is_online = false;
            is.is_topology_fresh = false;
            if std::mem::take(&mut is.is_booting) {
                // They were told to be there before it began anew, and not since.
                for video in &is.videos {
                    self.fleet.videos[*video].told_online.get_or_insert(true);
                }
            }
            self.give_up(|call| call.gateway == gateway, effects);
            self.tell_presence(gateway, effects);
        }
    }

    /// The connection is new: who was silent meanwhile could not be heard, and may have told what was missed.
    pub(super) fn reconnected(&mut self, now: Now) {
        for gateway in &mut self.fleet.gateways {
            gateway.heard_ms = now.ms;
            gateway.is_topology_fresh = false;
        }
    }

    fn gateway(&mut self, sn: &Part, effects: &mut Effects) -> Option<usize> {
        let Some(gateway) = self.fleet.gateway(sn) else {
            effects.push(Effect::Malformed(TOO_MANY_DEVICES));
            return None;
        };
        // Its own cameras may be configured; it is an aircraft perhaps that was taken for a gateway once.
        if self.fleet.home(sn) == Some(gateway) && self.fleet.settle(sn, gateway) {
            self.tell_presence(gateway, effects);
        }
        Some(gateway)
    }

    /// What belongs to a gateway.
    pub(super) fn hear_status(&mut self, sn: &Part, message: &Message, now: Now, effects: &mut Effects) {
        if message.method.as_deref().is_some_and(|method| method != "update_topo") {
            return;
        }
        let Some(topology) = Topology::read(&message.data) else {
            effects.push(Effect::Malformed(MALFORMED_MESSAGE));
            return;
        };
        self.count_cut(message, effects);
        let Some(gateway) = self.gateway(sn, effects) else { return };
        if self.settings.own_onboarding.is_some() {
            reply(sn, Channel::StatusReply, message, &json!({ "result": 0 }), now, effects);
        }
        for aircraft in &topology.sub_devices {
            self.fleet.settle(&aircraft.sn, gateway);
        }
        let is = &mut self.fleet.gateways[gateway];
        let is_again = message.tid.is_some() && is.topology_tid == message.tid;
        let is_same = is.aircraft.as_ref() == Some(&topology.sub_devices);
        let began_anew = is.is_online && is.is_topology_fresh && is_same && !is_again;
        is.topology_tid.clone_from(&message.tid);
        let product = topology.product.or(is.product);
        let is_other = std::mem::replace(&mut is.product, product) != product;
        is.aircraft = Some(topology.sub_devices);
        is.is_topology_fresh = true;
        if is_other {
            self.remember(gateway, now, effects);
        }
        if began_anew {
            self.rebooted(gateway, effects);
        }
        self.hear(gateway, now, effects);
        self.tell_presence(gateway, effects);
        for video in self.fleet.gateways[gateway].videos.clone() {
            if self.fleet.videos[video].waits == Some(Waits::Device) {
                self.waited_for(video, effects);
            }
        }
    }

    /// A gateway began anew: nothing is live there, and nothing will be answered.
    fn rebooted(&mut self, gateway: usize, effects: &mut Effects) {
        if std::mem::replace(&mut self.fleet.gateways[gateway].is_booting, true) {
            return;
        }
        self.give_up(|call| call.gateway == gateway, effects);
        for video in self.fleet.gateways[gateway].videos.clone() {
            self.set_started(video, None, effects);
            let is = &mut self.fleet.videos[video];
            is.is_ours = false;
            is.may_be_ours = false;
            is.live = None;
            is.waits = None;
            // Told again once it has told of itself.
            if is.told_online.take() == Some(true) {
                self.sign(video, Sign::Rebooted, effects);
            }
        }
    }

    /// A device tells how it is.
    pub(super) fn hear_device(&mut self, topic: &Topic, message: &Message, now: Now, effects: &mut Effects) {
        self.count_cut(message, effects);
        let home = || self.fleet.home(&topic.sn).map(|home| self.fleet.gateways[home].sn.clone());
        let Some(sn) = message.gateway.clone().or_else(home).or_else(|| Some(topic.sn.clone())) else {
            return;
        };
        let Some(gateway) = self.gateway(&sn, effects) else { return };
        let mut is_news = false;
        if sn != topic.sn {
            is_news = self.fleet.settle(&topic.sn, gateway);
            is_news |= self.fleet.gateways[gateway].missed(&topic.sn);
        }
        is_news |= std::mem::take(&mut self.fleet.gateways[gateway].is_booting);
        self.hear(gateway, now, effects);
        if is_news {
            self.tell_presence(gateway, effects);
        }
        if let Some(capacity) = Capacity::read(&message.data)
            && self.take_capacity(gateway, capacity, effects)
        {
            self.remember(gateway, now, effects);
        }
        for status in LiveStatus::read(&message.data) {
            self.take_status(gateway, status, now, effects);
        }
        if topic.channel == Channel::Osd {
            self.tell_numbers(topic, message, effects);
        }
    }

    fn count_cut(&self, message: &Message, effects: &mut Effects) {
        if is_cut(&message.data) {
            effects.push(Effect::Malformed(MALFORMED_LONG));
        }
    }

    /// Numbers of a device, for who watches one of its cameras.
    fn tell_numbers(&self, topic: &Topic, message: &Message, effects: &mut Effects) {
        if !message.data.is_object() {
            return;
        }
        let watched = self.fleet.of_device(&topic.sn).iter().map(|video| &self.fleet.videos[*video]);
        let mut numbers: Option<Bytes> = None;
        for video in watched.filter(|video| video.takes_place()) {
            let numbers = numbers.get_or_insert_with(|| message.data.to_string().into());
            effects.push(Effect::Telemetry(video.source.clone(), topic.to_string(), numbers.clone()));
        }
    }

    fn remember(&mut self, gateway: usize, now: Now, effects: &mut Effects) {
        let gateway = &mut self.fleet.gateways[gateway];
        gateway.remembered_ms = Some(now.ms);
        effects.push(Effect::Remember(format!("{MEMORY_PREFIX}{}", gateway.sn), gateway.memory()));
    }

    /// What was asked of videos that run here: of others another bridge may know better.
    fn remember_all_asked(&mut self, gateway: usize, now: Now, effects: &mut Effects) {
        self.fleet.gateways[gateway].asked_ms = Some(now.ms);
        for video in self.fleet.gateways[gateway].videos.clone() {
            let is = &mut self.fleet.videos[video];
            if !is.is_ours {
                continue;
            }
            is.asked.started_ms = is.asked.started_ms.map(|_| now.unix_ms);
            let is = &self.fleet.videos[video];
            for what in What::ALL.into_iter().filter(|what| is.asked.is_remembered(*what)) {
                self.remember_asked(video, what, effects);
            }
        }
    }

    /// What the cameras of a gateway can do. Whether it is news.
    fn take_capacity(&mut self, gateway: usize, capacity: Capacity, effects: &mut Effects) -> bool {
        for device in &capacity.devices {
            self.fleet.settle(&device.sn, gateway);
        }
        for (id, told) in capacity.videos() {
            let Some(video) = self.fleet.video(&id) else {
                effects.push(Effect::Malformed(TOO_MANY_DEVICES));
                break;
            };
            self.fleet.attach(video, gateway);
            self.fleet.videos[video].lens.clone_from(&told.lens);
            self.make_known(video, true, effects);
        }
        let told: Vec<Part> = capacity.devices.iter().map(|device| device.sn.clone()).collect();
        let listed: HashSet<VideoId> = capacity.videos().map(|(id, _)| id).collect();
        let is_news = self.fleet.gateways[gateway].take_capacity(capacity);
        for video in self.fleet.gateways[gateway].videos.clone() {
            let is = &self.fleet.videos[video];
            if told.contains(&is.id.sn) && !is.is_configured && !listed.contains(&is.id) {
                self.make_known(video, false, effects);
            }
            if self.fleet.videos[video].waits == Some(Waits::Device) {
                self.waited_for(video, effects);
            }
        }
        self.tell_presence(gateway, effects);
        is_news
    }

    /// What a video does.
    fn take_status(&mut self, gateway: usize, status: LiveStatus, now: Now, effects: &mut Effects) {
        let Some(video) = self.fleet.video(&status.video) else {
            effects.push(Effect::Malformed(TOO_MANY_DEVICES));
            return;
        };
        if self.fleet.videos[video].gateway.is_none() {
            self.fleet.attach(video, gateway);
        }
        if self.fleet.videos[video].gateway != Some(gateway) {
            return;
        }
        let is = &mut self.fleet.videos[video];
        let was = is.live.replace(status.live);
        is.is_lens_fresh |= status.live && status.lens.is_some();
        is.lens = status.lens.or(is.lens.take());
        let quality = status.quality.map(|told| self.fleet.gateways[gateway].quality(told));
        is.quality = quality.or(is.quality);
        let ended = self.calls.take_if(|call| {
            let is_so = match call.purpose {
                Purpose::Start(_) => status.live && was != Some(true),
                Purpose::Stop => !status.live,
                Purpose::Change(_) | Purpose::Reapply => false,
            };
            call.video == video && is_so
        });
        for call in ended {
            self.fleet.videos[video].settled = Some((call.tid.clone(), call.bid.clone()));
            self.answered(call, 0, now, effects);
        }
        let has_start = self.calls.has(|call| call.video == video && calls::is_main(call));
        let is = &mut self.fleet.videos[video];
        // What is told first shows what happened while no bridge was here.
        if !status.live && !has_start && (was == Some(true) || (was.is_none() && !is.is_ours)) {
            is.is_ours = false;
            is.may_be_ours = false;
            self.set_started(video, None, effects);
        }
        let is = &self.fleet.videos[video];
        let goes_on = is.waits == Some(Waits::Pause) && status.error.is_none();
        self.sign(video, Sign::Says { live: status.live, error: status.error }, effects);
        if goes_on {
            self.waited_for(video, effects);
        }
        if !status.live {
            self.place_freed(gateway, effects);
        }
    }

    /// What a gateway asks of a server when it begins.
    pub(super) fn hear_request(&mut self, sn: &Part, message: &Message, now: Now, effects: &mut Effects) {
        let Some(gateway) = self.gateway(sn, effects) else { return };
        if message.method.as_deref() == Some("config") {
            if self.fleet.gateways[gateway].is_online {
                self.rebooted(gateway, effects);
            }
            if let Some(own) = &self.settings.own_onboarding {
                let answer = json!({
                    "app_id": own.app_id, "app_key": own.app_key, "app_license": own.app_license,
                    "ntp_server_host": NTP_HOST, "ntp_server_port": NTP_PORT,
                });
                reply(sn, Channel::RequestsReply, message, &answer, now, effects);
            }
        }
        self.hear(gateway, now, effects);
    }

    /// Something happened at a gateway.
    pub(super) fn hear_event(&mut self, sn: &Part, message: &Message, now: Now, effects: &mut Effects) {
        let Some(gateway) = self.gateway(sn, effects) else { return };
        if message.need_reply && self.settings.own_onboarding.is_some() {
            reply(sn, Channel::EventsReply, message, &json!({ "result": 0 }), now, effects);
        }
        self.hear(gateway, now, effects);
    }

    /// What was kept of a gateway.
    pub(super) fn recall_gateway(&mut self, sn: &Part, text: &str, effects: &mut Effects) {
        let Ok(kept) = serde_json::from_str::<Json>(text) else { return };
        let Some(gateway) = self.gateway(sn, effects) else { return };
        let is = &mut self.fleet.gateways[gateway];
        is.product = is.product.or_else(|| Product::read(&kept["product"]));
        // What was heard since is newer.
        if is.capacity.is_none()
            && let Some(capacity) = Capacity::read(&kept)
        {
            self.take_capacity(gateway, capacity, effects);
        }
    }
}

/// Answers a gateway under the names it gave.
fn reply(sn: &Part, channel: Channel, to: &Message, data: &Json, now: Now, effects: &mut Effects) {
    let (Some(tid), Some(bid), Some(method)) = (&to.tid, &to.bid, &to.method) else {
        effects.push(Effect::Malformed(MALFORMED_MESSAGE));
        return;
    };
    let topic = Topic { sn: sn.clone(), channel }.to_string();
    let payload = write(Some((tid, bid)), now.unix_ms, method, data);
    effects.push(Effect::Publish(Outgoing { topic, qos: Qos::ExactlyOnce, payload: payload.into() }));
}
