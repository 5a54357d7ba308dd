//! What follows from what: machines want things done, drivers have effects, and either may lead to more.

use std::sync::Arc;

use relay_proto::source::{SourceId, SourceKeys, SourceKind, SourceReason, SourceState};
use tracing::{debug, info};

use super::jobs::Done;
use super::{Core, Entry, Url};
use crate::driver::{Driver, Effect, Effects, Ingest, Sign};
use crate::picker::Protocol;
use crate::pictures::{self, Shown};
use crate::source::{Do, Machine};

/// One thing to be done.
#[derive(Debug)]
pub(super) enum Work {
    Effect(Effect),
    Do(SourceId, Do),
}

impl Core {
    /// To be done before anything else happens.
    pub(super) fn effects(&mut self, effects: Effects) {
        self.work.extend(effects.into_iter().map(Work::Effect));
    }

    /// Does all that is to be done, and tells what has changed by it.
    pub(super) fn settle(&mut self) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Effect(effect) => self.effect(effect),
                Work::Do(source, what) => self.carry_out(&source, what),
            }
        }
        self.tell_touched();
    }

    /// Lets something happen to the machine of a source.
    pub(super) fn machine(&mut self, source: &SourceId, happens: impl FnOnce(&mut Machine) -> Vec<Do>) {
        let now = self.now().ms;
        let Some(entry) = self.entries.get_mut(source) else { return };
        let before = entry.machine.describe();
        let todo = happens(&mut entry.machine);
        let after = entry.machine.describe();
        let has_begun = after.state == SourceState::Live && before.state != SourceState::Live;
        if let Some(reason) = after.reason.filter(|after| Some(after) != before.reason.as_ref()) {
            let label = match &reason {
                // As many as there are codes, which is a handful of sources of a hundred each.
                SourceReason::Device(code) if (300_000..700_000).contains(code) => format!("result_{code}"),
                SourceReason::Device(_) => "result_other".to_owned(),
                reason => reason.to_string(),
            };
            self.metrics.failures.with_label_values(&[label.as_str()]).inc();
            info!(channel = %source.channel(), %reason, "a source is not live");
        }
        let needs = entry.machine.needs_lease();
        match (needs, entry.needs_since) {
            (true, None) => {
                entry.needs_since = Some(now);
                self.leases.soon(now);
            }
            (false, Some(_)) => {
                entry.needs_since = None;
                self.leases.soon(now);
            }
            _ => {}
        }
        let timer = entry.machine.next();
        if timer != entry.timer
            && let Some(at) = std::mem::replace(&mut entry.timer, timer)
        {
            self.timers.remove(&(at, source.clone()));
        }
        if let Some(at) = timer {
            self.timers.insert((at, source.clone()));
        }
        self.touched.insert(source.clone());
        self.work.extend(todo.into_iter().map(|what| Work::Do(source.clone(), what)));
        if has_begun {
            self.drive(source, |driver, now, effects| driver.runs(source, now, effects));
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Publish(outgoing) => {
                if let Err(error) = self.publisher.publish(outgoing) {
                    debug!(%error, "not sent to the broker");
                    self.metrics.not_sent.inc();
                }
            }
            // Of what nobody told there is nothing to take back.
            Effect::Known(source, false) if !self.entries.contains_key(&source) => {}
            Effect::Known(source, is_known) => {
                if let Some(entry) = self.entry(&source) {
                    entry.is_known = is_known;
                    let channel = source.channel();
                    self.touched.insert(source);
                    self.look(&channel);
                }
            }
            // Said with each message.
            Effect::Sign(source, Sign::Online(true))
                if self.entries.get(&source).is_some_and(|entry| entry.machine.is_seen()) => {}
            Effect::Sign(source, sign) => self.sign(&source, sign),
            Effect::Picture(source, picture) => {
                let entry = self.entries.get(&source);
                let pictures = entry.and_then(|entry| entry.pictures.as_ref());
                let is_seen = entry.is_some_and(|entry| entry.machine.is_seen());
                match pictures.map(|pictures| pictures.show(picture)) {
                    Some(Shown::Kept) => self.metrics.pictures.inc(),
                    Some(Shown::InsteadOfOlder) => {
                        self.metrics.pictures.inc();
                        self.metrics.pictures_dropped.inc();
                    }
                    None => self.metrics.pictures_dropped.inc(),
                }
                if !is_seen {
                    self.sign(&source, Sign::Online(true));
                }
            }
            Effect::Answer(ticket, result) => self.answer_ticket(ticket, result),
            Effect::Telemetry(source, topic, json) => {
                if self.entries.get(&source).is_some_and(|entry| entry.is_held) {
                    let heard = self.telemetry.of_source(&source, &topic, &json, self.now().unix_ms);
                    self.telemetry_heard(heard, |_| true);
                }
            }
            Effect::Remember(name, text) => self.remember(name, text),
            Effect::Malformed(what) => self.metrics.malformed.with_label_values(&[what]).inc(),
        }
    }

    fn sign(&mut self, source: &SourceId, sign: Sign) {
        let now = self.now().ms;
        self.machine(source, |machine| machine.sign(sign, now));
    }

    fn carry_out(&mut self, source: &SourceId, what: Do) {
        match what {
            Do::Pick(exclude) => {
                let Some(entry) = self.entries.get_mut(source) else { return };
                entry.run += 1;
                let (run, kind) = (entry.run, entry.kind);
                let protocol = match kind {
                    SourceKind::Kerberos => Protocol::Websocket,
                    SourceKind::Dji => Protocol::Rtmp,
                };
                let channel = source.channel();
                let keys = SourceKeys::of(&self.links.secret, &channel);
                let (picker, source) = (Arc::clone(&self.picker), source.clone());
                self.jobs.spawn(async move {
                    let picked = match keys {
                        Some(keys) => picker.pick(&channel, &keys.publish, protocol, &exclude).await.ok(),
                        None => None,
                    };
                    Done::Picked(source, run, picked)
                });
            }
            Do::Start => self.start(source),
            Do::Stop => {
                self.count(source, "stop");
                if let Some(pictures) = self.entries.get_mut(source).and_then(|entry| entry.pictures.take()) {
                    pictures.finish();
                }
                self.drive(source, |driver, now, effects| driver.stop(source, now, effects));
            }
            Do::Rest => {
                if let Some(entry) = self.entries.get_mut(source) {
                    entry.let_go();
                    if let Some(pictures) = entry.pictures.take() {
                        pictures.finish();
                    }
                }
                self.drive(source, |driver, _, _| driver.forget(source));
            }
            Do::Abandon => {
                if let Some(entry) = self.entries.get_mut(source) {
                    entry.let_go();
                    // Without a goodbye: its viewers are held for whoever goes on.
                    entry.pictures = None;
                }
                self.drive(source, |driver, _, _| driver.forget(source));
            }
        }
    }

    fn start(&mut self, source: &SourceId) {
        self.count(source, "start");
        let Some(entry) = self.entries.get_mut(source) else { return };
        let mut ingest = Ingest { rtmp: None, options: entry.options.clone() };
        match entry.kind {
            SourceKind::Kerberos => {
                if let Some(Url(url)) = entry.url.take() {
                    let (pictures, publishing) = pictures::publish(url);
                    entry.pictures = Some(pictures);
                    let (source, run) = (source.clone(), entry.run);
                    self.jobs.spawn(async move { Done::PicturesEnded(source, run, publishing.await) });
                }
            }
            SourceKind::Dji => ingest.rtmp = entry.url.take().map(|Url(url)| url),
        }
        self.drive(source, |driver, now, effects| driver.start(source, &ingest, now, effects));
    }

    /// Tells the device to stop, whatever its machine thinks: nobody else will.
    pub(super) fn stop_for_good(&mut self, source: &SourceId) {
        self.carry_out(source, Do::Stop);
        self.settle();
    }

    /// Has the driver of a source do something.
    pub(super) fn drive(
        &mut self,
        source: &SourceId,
        drive: impl FnOnce(&mut dyn Driver, crate::driver::Now, &mut Effects),
    ) {
        let now = self.now();
        let mut effects = Effects::new();
        if let Some((_, driver)) = self.drivers.iter_mut().find(|(kind, _)| *kind == source.kind()) {
            drive(driver.as_mut(), now, &mut effects);
        }
        self.effects(effects);
    }

    pub(super) fn count(&self, source: &SourceId, what: &str) {
        self.metrics.commands.with_label_values(&[source.kind().name(), what]).inc();
    }
}

impl Entry {
    /// What comes of nodes that were asked for is passed over.
    fn let_go(&mut self) {
        self.run += 1;
        self.url = None;
    }
}
