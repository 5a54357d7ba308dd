//! Starting, stopping and changing videos.

use relay_proto::dji::{Class, UrlType, class};

use super::asked::{Asked, QUALITY_MAX, REMEMBERED_MAX, may_be_lens};
use super::calls::Starting;
use super::settings::fill;
use super::*;

/// What every gateway can.
const QUALITY_ADAPTIVE: u8 = 0;

impl Dji {
    fn refuse(
        &mut self,
        video: usize,
        waits: Option<Waits>,
        retry: Retry,
        reason: SourceReason,
        effects: &mut Effects,
    ) {
        self.fleet.videos[video].waits = waits;
        self.sign(video, Sign::Refused { retry, reason }, effects);
    }

    fn refuse_until_news(&mut self, video: usize, waits: Waits, reason: SourceReason, effects: &mut Effects) {
        self.refuse(video, Some(waits), Retry::OnNews, reason, effects);
    }

    /// Where a video is to go. `None` where nothing is set for this protocol.
    fn target(&self, id: &VideoId, ingest: &Ingest) -> Option<(UrlType, String)> {
        let filled = |template: &Option<String>| template.as_ref().map(|template| fill(template, id));
        match ingest.options.protocol.as_deref() {
            None | Some("rtmp") => Some((UrlType::Rtmp, ingest.rtmp.clone()?)),
            Some("whip") => Some((UrlType::Whip, filled(&self.settings.whip_url)?)),
            Some("gb28181") => Some((UrlType::Gb28181, filled(&self.settings.gb28181_url)?)),
            Some("agora") => Some((UrlType::Agora, filled(&self.settings.agora_url)?)),
            Some(_) => None,
        }
    }

    /// Starts a video.
    pub(super) fn begin(&mut self, video: usize, ingest: &Ingest, now: Now, effects: &mut Effects) {
        let _ = self.calls.take_if(|call| call.video == video && calls::is_main(call));
        let is = &mut self.fleet.videos[video];
        is.waits = None;
        is.is_ours = false;
        is.is_lens_fresh = false;
        let of_start = ingest.options.quality;
        // Whoever asked last is right.
        if is.asked.quality.of_start != of_start {
            let change = |asked: &mut Asked| {
                asked.quality.of_start = of_start;
                asked.quality.wanted = of_start.or(asked.quality.wanted);
            };
            self.ask(video, What::Quality, change, effects);
        }
        let is = &self.fleet.videos[video];
        let quality = is.asked.quality.wanted.unwrap_or(QUALITY_ADAPTIVE).min(QUALITY_MAX);
        let id = is.id.clone();
        let home = is.gateway;
        let Some(gateway) = self.present(video) else {
            let is_there = home.is_some_and(|home| {
                let home = &self.fleet.gateways[home];
                home.is_online && !home.is_booting
            });
            let reason = if is_there { SourceReason::Gone } else { SourceReason::Offline };
            self.refuse_until_news(video, Waits::Device, reason, effects);
            return;
        };
        if self.fleet.is_listed(video) == Some(false) && !self.fleet.videos[video].is_configured {
            self.refuse_until_news(video, Waits::Device, SourceReason::Gone, effects);
            return;
        }
        if !self.fleet.fits(video) {
            self.refuse_until_news(video, Waits::Slot, SourceReason::Limit, effects);
            return;
        }
        let Some((url_type, url)) = self.target(&id, ingest) else {
            self.refuse(video, None, Retry::Never, SourceReason::NoNode, effects);
            return;
        };
        let starting = Starting {
            rtmp: ingest.rtmp.clone(),
            is_external: url_type != UrlType::Rtmp,
            is_simpler: false,
            may_be_ours: is.may_be_ours || is.asked.is_started(now.unix_ms),
        };
        let service = Service::Start { video: id, url_type, url, quality };
        let is = &mut self.fleet.videos[video];
        is.is_ours = true;
        is.may_be_ours = true;
        if self.call((gateway, video), service, Purpose::Start(starting), now, effects).is_err() {
            self.fleet.videos[video].is_ours = false;
            self.refuse(video, None, Retry::Later, SourceReason::NoReply, effects);
        }
    }

    /// A gateway said what comes of a start.
    pub(super) fn start_answered(&mut self, call: Call, code: i64, now: Now, effects: &mut Effects) {
        let Purpose::Start(starting) = &call.purpose else { return };
        let (gateway, video) = (call.gateway, call.video);
        let device = SourceReason::Device(code);
        let class = class(code);
        match class {
            Class::Done => {
                let is_external = starting.is_external;
                let sign = if is_external { Sign::AcceptedExternally } else { Sign::Accepted };
                self.sign(video, sign, effects);
                self.set_started(video, Some(now.unix_ms), effects);
                self.reapply(&call, now, effects);
                return;
            }
            Class::Quality | Class::Protocol if !starting.is_simpler => {
                if let Some((service, starting)) = simpler(&call.service, starting, class) {
                    if class == Class::Quality {
                        self.ask(video, What::Quality, |asked| asked.quality.wanted = None, effects);
                    }
                    let purpose = Purpose::Start(starting);
                    if self.call((gateway, video), service, purpose, now, effects).is_ok() {
                        return;
                    }
                }
            }
            _ => {}
        }
        let may_be_ours = starting.may_be_ours || call.tries > 1;
        let is = &mut self.fleet.videos[video];
        is.is_ours = false;
        is.may_be_ours = may_be_ours;
        let is_listed = self.fleet.is_listed(video);
        let knows_aircraft = self.fleet.gateways[gateway].aircraft.is_some();
        match class {
            Class::AlreadyLive => {
                let is_anothers = self.fleet.videos[video].live == Some(true) && !may_be_ours;
                if is_anothers && !self.settings.take_over {
                    self.refuse(video, None, Retry::Later, device, effects);
                } else {
                    self.fleet.videos[video].is_ours = true;
                    self.sign(video, Sign::AlreadyLive, effects);
                }
            }
            Class::Never | Class::Quality | Class::Protocol => {
                self.refuse(video, None, Retry::Never, device, effects);
            }
            Class::Paused => {
                self.refuse_until_news(video, Waits::Pause, SourceReason::Paused, effects);
            }
            Class::NoAircraft if !knows_aircraft => {
                self.refuse_until_news(video, Waits::Device, device, effects);
            }
            Class::NoCamera if is_listed == Some(false) => {
                self.refuse(video, None, Retry::Never, device, effects);
            }
            Class::NoCamera if is_listed.is_none() => {
                self.refuse_until_news(video, Waits::Device, device, effects);
            }
            Class::Done
            | Class::NoAircraft
            | Class::NoCamera
            | Class::Conflict
            | Class::NotLive
            | Class::Retry => self.refuse(video, None, Retry::Later, device, effects),
        }
        self.place_freed(gateway, effects);
    }

    /// What was asked for once, and every start may undo: where the device does not tell that it is so.
    fn reapply(&mut self, start: &Call, now: Now, effects: &mut Effects) {
        let Service::Start { video: id, quality: started, .. } = &start.service else { return };
        let is = &self.fleet.videos[start.video];
        let quality = is.asked.quality.wanted.filter(|quality| quality != started);
        let has_lens = |lens: &String| is.is_lens_fresh && is.lens.as_ref() == Some(lens);
        let lens = is.asked.lens.clone().filter(|lens| !has_lens(lens));
        let changes = [
            quality.map(|quality| Service::Quality(id.clone(), quality)),
            lens.map(|lens| self.lens_service(start.gateway, id, lens)),
            is.asked.position.map(|position| Service::Camera(id.clone(), position)),
        ];
        for service in changes.into_iter().flatten() {
            if calls::is_drc(&service) && self.calls.has_drc(start.gateway) {
                continue;
            }
            // Where too much is under way, the picture is worth more than how it is.
            let _ = self.call((start.gateway, start.video), service, Purpose::Reapply, now, effects);
        }
    }

    fn lens_service(&self, gateway: usize, id: &VideoId, lens: String) -> Service {
        match self.fleet.gateways[gateway].model() {
            Some("RC Plus 2") => Service::DrcLens(id.clone(), lens),
            _ => Service::Lens(id.clone(), lens),
        }
    }

    /// Stops a video.
    pub(super) fn end(&mut self, video: usize, now: Now, effects: &mut Effects) {
        let _ = self.calls.take_if(|call| call.video == video && calls::is_main(call));
        self.fleet.videos[video].waits = None;
        let Some(gateway) = self.present(video) else {
            // Who is not there streams nothing.
            self.fleet.videos[video].is_ours = false;
            self.sign(video, Sign::Stopped, effects);
            return;
        };
        let service = Service::Stop(self.fleet.videos[video].id.clone());
        if self.call((gateway, video), service, Purpose::Stop, now, effects).is_err() {
            self.sign(video, Sign::StopUnanswered, effects);
        }
    }

    /// A gateway said what comes of a stop.
    pub(super) fn stop_answered(&mut self, call: &Call, code: i64, effects: &mut Effects) {
        let video = call.video;
        self.fleet.videos[video].is_ours = false;
        let is_stopped = matches!(class(code), Class::Done | Class::NotLive);
        if is_stopped {
            let is = &mut self.fleet.videos[video];
            is.may_be_ours = false;
            is.live = is.live.map(|_| false);
            self.set_started(video, None, effects);
        }
        let sign = if is_stopped { Sign::Stopped } else { Sign::StopUnanswered };
        self.sign(video, sign, effects);
        self.place_freed(call.gateway, effects);
    }

    /// Changes how a video is, or how it will be. `None` where the answer comes later.
    pub(super) fn change(
        &mut self,
        ticket: Ticket,
        video: usize,
        command: &Command,
        now: Now,
        effects: &mut Effects,
    ) -> Result<Option<Json>, CommandError> {
        let unsupported = |text: &str| CommandError::Unsupported(text.to_owned());
        let is = &self.fleet.videos[video];
        let (id, home) = (is.id.clone(), is.gateway);
        let service = match command {
            Command::Quality { quality } if *quality <= QUALITY_MAX => Service::Quality(id, *quality),
            Command::Quality { .. } => return Err(unsupported("quality is a number from 0 to 4")),
            Command::Lens { lens } => {
                let known = home.and_then(|home| self.fleet.gateways[home].lenses(&id));
                if known.is_some_and(|known| !known.contains(lens)) || !may_be_lens(lens) {
                    return Err(unsupported("the camera has no such lens"));
                }
                match home {
                    Some(home) => self.lens_service(home, &id, lens.clone()),
                    None => Service::Lens(id, lens.clone()),
                }
            }
            Command::Camera { position } => {
                let model = home.and_then(|home| self.fleet.gateways[home].model());
                if !matches!(model, None | Some("Dock 2" | "Dock 3")) {
                    return Err(unsupported("only docks 2 and 3 can change cameras"));
                }
                Service::Camera(id, *position)
            }
            Command::Start(_) | Command::Stop | Command::Action { .. } => {
                return Err(unsupported("devices of DJI know quality, lens and camera"));
            }
        };
        let starts = self.calls.has(|call| call.video == video && calls::is_main(call));
        let gateway = self.present(video).filter(|_| self.fleet.videos[video].takes_place() && !starts);
        let Some(gateway) = gateway else {
            self.keep(video, &service, effects);
            return Ok(Some(json!({ "applied": false })));
        };
        if calls::is_drc(&service) && self.calls.has_drc(gateway) {
            return Err(unsupported("another change of a lens is under way"));
        }
        self.call((gateway, video), service, Purpose::Change(ticket), now, effects)
            .map_or(Err(CommandError::NoReply), |()| Ok(None))
    }

    /// How a video is to be from now on.
    pub(super) fn keep(&mut self, video: usize, service: &Service, effects: &mut Effects) {
        match service {
            Service::Quality(_, quality) => {
                self.ask(video, What::Quality, |asked| asked.quality.wanted = Some(*quality), effects);
            }
            Service::Lens(_, lens) | Service::DrcLens(_, lens) => {
                self.ask(video, What::Lens, |asked| asked.lens = Some(lens.clone()), effects);
            }
            Service::Camera(_, position) => {
                self.ask(video, What::Camera, |asked| asked.position = Some(*position), effects);
            }
            Service::Start { .. } | Service::Stop(_) => {}
        }
    }

    /// Something else is asked of a video, and remembered.
    fn ask(&mut self, video: usize, what: What, change: impl FnOnce(&mut Asked), effects: &mut Effects) {
        let asked = &mut self.fleet.videos[video].asked;
        let before = asked.text(what);
        change(asked);
        if asked.text(what) == before && asked.is_remembered(what) {
            return;
        }
        if !asked.is_remembered(what) {
            // What was started is as many as there are videos, and makes room for all else.
            let counts = |asked: &Asked, what| what != What::Started && asked.is_remembered(what);
            let remembered =
                |asked: &Asked| What::ALL.into_iter().filter(|what| counts(asked, *what)).count();
            if self.fleet.videos.iter().map(|is| remembered(&is.asked)).sum::<usize>() >= REMEMBERED_MAX {
                effects.push(Effect::Malformed(TOO_MANY_ASKED));
                return;
            }
            self.fleet.videos[video].asked.set_remembered(what);
        }
        self.remember_asked(video, what, effects);
    }

    /// A bridge of this cluster has started a video, or it has ended. Remembered, so that after a crash a video that is live
    /// elsewhere, at a node that is gone, is not taken for somebody else's.
    pub(super) fn set_started(&mut self, video: usize, started_ms: Option<u64>, effects: &mut Effects) {
        let asked = &mut self.fleet.videos[video].asked;
        if std::mem::replace(&mut asked.started_ms, started_ms) != started_ms {
            asked.set_remembered(What::Started);
            self.remember_asked(video, What::Started, effects);
        }
    }

    pub(super) fn remember_asked(&self, video: usize, what: What, effects: &mut Effects) {
        let is = &self.fleet.videos[video];
        effects.push(Effect::Remember(what.name(&is.source), is.asked.text(what)));
    }
}

/// The same with what every gateway can, where that is less.
fn simpler(service: &Service, starting: &Starting, class: Class) -> Option<(Service, Starting)> {
    let Service::Start { video, url_type, url, quality } = service.clone() else { return None };
    let mut starting = Starting { is_simpler: true, ..starting.clone() };
    let service = match class {
        Class::Quality if quality != QUALITY_ADAPTIVE => {
            Service::Start { video, url_type, url, quality: QUALITY_ADAPTIVE }
        }
        Class::Protocol if url_type == UrlType::Whip => {
            starting.is_external = false;
            Service::Start { video, url_type: UrlType::Rtmp, url: starting.rtmp.clone()?, quality }
        }
        _ => return None,
    };
    Some((service, starting))
}
