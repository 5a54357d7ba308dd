//! What others ask of this bridge: over the backbone, or by its own REST.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use relay_proto::backbone::{Peer, from_json, from_json_within, to_json};
use relay_proto::source::{ANSWER_BYTES_MAX, Answered, Ask, Command, SourceId};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::info;

use super::Core;
use super::jobs::Done;
use crate::driver::{CommandError, Ticket};

/// Commands that are not answered yet: those of every operator of a large fleet at once.
const TICKETS_MAX: usize = 1024;

/// Commands that other bridges have not answered yet.
pub(super) const OTHERS_MAX: usize = 256;

/// The driver always answers, after 60 s at most; should it not, nobody waits for longer, and the place is free again.
const TICKET_WITHIN_MS: u64 = 63_000;

/// How long another bridge may take: its devices are asked up to three times, 20 s each.
const OTHERS_WITHIN: Duration = Duration::from_secs(65);

/// What an answer to the backbone may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Reply {
    /// To a subject of the backbone.
    There(String),
    /// To somebody in this process.
    Here(oneshot::Sender<Answered>),
}

/// A command that is not answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    reply: Reply,
    until: u64,
}

fn problem(status: u16, code: &str, detail: impl Into<String>) -> Answered {
    Answered::Problem { status, code: code.to_owned(), detail: detail.into() }
}

impl Core {
    pub(super) fn ask_from_outside(&mut self, bytes: &[u8], reply: Option<String>) {
        let Some(reply) = reply.map(Reply::There) else { return };
        match from_json::<Ask>(bytes) {
            Ok(ask) => self.ask(ask, reply),
            Err(_) => self.answer(reply, problem(400, "invalid-command", "the request is not understood")),
        }
    }

    /// Does what is asked, and answers; sooner or later.
    pub(super) fn ask(&mut self, ask: Ask, reply: Reply) {
        match ask {
            Ask::Devices => {
                let now = self.now();
                let devices: Vec<_> = self.drivers.iter().map(|(_, driver)| driver.devices(now)).collect();
                let devices: Vec<_> = devices
                    .into_iter()
                    .flat_map(|devices| match devices {
                        serde_json::Value::Array(devices) => devices,
                        other => vec![other],
                    })
                    .collect();
                self.answer(reply, Answered::Done { result: json!({ "devices": devices }) });
            }
            Ask::Command { source, command } => self.command(source, command, reply),
        }
    }

    fn command(&mut self, source: SourceId, command: Command, reply: Reply) {
        if let (Reply::Here(_), Some(holder)) = (&reply, self.other_holder(&source)) {
            return self.ask_other(&holder, source, command, reply);
        }
        let is_stop = command == Command::Stop;
        if !self.entries.get(&source).is_some_and(|entry| entry.is_known || (is_stop && entry.is_forced)) {
            let detail = "no device is known that has it";
            return self.answer(reply, problem(404, "unknown-source", detail));
        }
        let what = match &command {
            Command::Start(_) => "force",
            Command::Stop => "unforce",
            Command::Quality { .. } => "quality",
            Command::Lens { .. } => "lens",
            Command::Camera { .. } => "camera",
            Command::Action { .. } => "action",
        };
        info!(channel = %source.channel(), what, "a source is told what to do");
        match command {
            Command::Start(options) => self.force(&source, Some(options), reply),
            Command::Stop => self.force(&source, None, reply),
            command => {
                if self.tickets.len() >= TICKETS_MAX {
                    return self.answer(reply, problem(503, "busy", "too many commands are under way"));
                }
                self.count(&source, what);
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                let until = self.now().ms + TICKET_WITHIN_MS;
                self.tickets.insert(ticket, Waiting { reply, until });
                self.drive(&source, |driver, now, effects| {
                    driver.command(ticket, &source, &command, now, effects);
                });
            }
        }
    }

    fn force(&mut self, source: &SourceId, options: Option<relay_proto::source::StartOptions>, reply: Reply) {
        if let Some(entry) = self.entries.get_mut(source) {
            entry.is_forced = options.is_some();
            entry.options = options.clone().unwrap_or_default();
        }
        self.remember_start(source, options.as_ref());
        self.want(source);
        self.settle();
        let told = self.entries.get(source).and_then(|entry| entry.told.clone());
        let result = told.and_then(|told| serde_json::to_value(told).ok()).unwrap_or_default();
        self.answer(reply, Answered::Done { result });
    }

    pub(super) fn answer_ticket(&mut self, ticket: Ticket, result: Result<serde_json::Value, CommandError>) {
        let Some(Waiting { reply, .. }) = self.tickets.remove(&ticket) else { return };
        let answered = match result {
            Ok(result) => Answered::Done { result },
            Err(error) => {
                let (status, code) = match error {
                    CommandError::Unsupported(_) => (422, "unsupported"),
                    CommandError::Offline => (409, "offline"),
                    CommandError::NoReply => (504, "no-reply"),
                    CommandError::Refused { .. } => (409, "refused"),
                };
                problem(status, code, error.to_string())
            }
        };
        self.answer(reply, answered);
    }

    /// Answers what no driver has answered in time.
    pub(super) fn give_tickets_up(&mut self) {
        let now = self.now().ms;
        while let Some(oldest) = self.tickets.first_entry().filter(|oldest| oldest.get().until <= now) {
            let ticket = *oldest.key();
            self.answer_ticket(ticket, Err(CommandError::NoReply));
        }
    }

    fn answer(&mut self, reply: Reply, answered: Answered) {
        match reply {
            // Who asked may have gone.
            Reply::Here(answer) => drop(answer.send(answered)),
            Reply::There(subject) => {
                let backbone = Arc::clone(&self.links.backbone);
                let mut message = to_json(&answered);
                if message.len() > backbone.message_bytes_max().min(ANSWER_BYTES_MAX) {
                    let detail = "the answer is longer than the backbone takes; the bridge itself gives it";
                    message = to_json(&problem(503, "answer-too-long", detail));
                }
                self.jobs.spawn(async move {
                    let _ = timeout(ANSWER_WITHIN, backbone.publish(&subject, None, message.into())).await;
                    Done::Nothing
                });
            }
        }
    }

    /// The bridge that has a source which this one has not.
    pub(super) fn other_holder(&self, source: &SourceId) -> Option<Peer> {
        if self.entries.get(source).is_some_and(|entry| entry.is_held) {
            return None;
        }
        let roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        let (peer, told) = roster.find(source)?;
        (told.bridge.is_some() && *peer != self.peer).then(|| peer.clone())
    }

    fn ask_other(&mut self, holder: &Peer, source: SourceId, command: Command, reply: Reply) {
        let Ok(permit) = Arc::clone(&self.others).try_acquire_owned() else {
            return self.answer(reply, problem(503, "busy", "too many commands are under way"));
        };
        let Reply::Here(answer) = reply else { return };
        let subject = self.subjects.node(&holder.node, holder.incarnation);
        let message = to_json(&Ask::Command { source, command });
        let backbone = Arc::clone(&self.links.backbone);
        self.jobs.spawn(async move {
            let asked = backbone.request(&subject, message.into(), OTHERS_WITHIN).await;
            let answered =
                asked.ok().and_then(|bytes| from_json_within::<Answered>(&bytes, ANSWER_BYTES_MAX).ok());
            let silent = || problem(504, "bridge-silent", "the bridge that has the source does not answer");
            let _ = answer.send(answered.unwrap_or_else(silent));
            drop(permit);
            Done::Nothing
        });
    }
}
