//! What the journal's scripts answer, read strictly. An event of a kind that is not known is passed over: it is of a newer
//! program.

use std::collections::HashMap;

use redis::Value;
use relay_proto::Epoch;
use relay_proto::event::{Event, EventId, EventKind};
use relay_proto::registry::{EPOCH_MAX, Role};

use super::super::{Delivered, EVENT_MS_MAX, rfc3339};
use crate::redis::{NotUnderstood, Read, array, number, one_of, parse, texts};

/// Events as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) gap: bool,
    pub(super) events: Vec<Event>,
    /// Of all that was told, known or not.
    pub(super) last: Option<EventId>,
}

pub(super) fn told(value: Value) -> Read<Option<EventId>> {
    match texts(value)?.as_slice() {
        [none] if none.is_empty() => Ok(None),
        [told] => id(told).map(Some),
        _ => Err(NotUnderstood("the last event that was told")),
    }
}

pub(super) fn is_done(value: Value) -> Read<bool> {
    either(value, ["done", "more"], "whether there is more to do")
}

pub(super) fn held(value: Value) -> Read<bool> {
    either(value, ["held", "other"], "whether a duty is held")
}

pub(super) fn released(value: Value) -> Read<()> {
    one_of(value, &["released", "other"], "what came of a duty")
}

pub(super) fn noted(value: Value) -> Read<()> {
    one_of(value, &["noted"], "what came of a note")
}

pub(super) fn advanced(value: Value) -> Read<()> {
    one_of(value, &["advanced"], "what came of an advance")
}

pub(super) fn newest(value: Value) -> Read<EventId> {
    let entries = array(value)?;
    match <[Value; 1]>::try_from(entries) {
        Ok([entry]) => Ok(self::entry(entry)?.0),
        Err(entries) if entries.is_empty() => Ok(EventId::FIRST),
        Err(_) => Err(NotUnderstood("the newest event")),
    }
}

pub(super) fn page(value: Value) -> Read<Page> {
    let [gap, entries] = pair(value, "events")?;
    let gap = match &gap {
        Value::BulkString(word) if word == b"gap" => true,
        Value::BulkString(word) if word == b"all" => false,
        _ => return Err(NotUnderstood("whether there is a gap")),
    };
    let entries = array(entries)?.into_iter().map(entry).collect::<Read<Vec<_>>>()?;
    let last = entries.last().map(|(id, _)| *id);
    let events = entries.into_iter().map(|(id, fields)| event(id, &fields));
    let events = events.filter_map(Result::transpose).collect::<Read<_>>()?;
    Ok(Page { gap, events, last })
}

pub(super) fn delivered(value: Value) -> Read<Delivered> {
    let [through, beyond] = pair(value, "how far an endpoint is")?;
    let [through] = <[String; 1]>::try_from(texts(Value::Array(vec![through]))?)
        .map_err(|_| NotUnderstood("how far an endpoint is"))?;
    let beyond = texts(beyond)?;
    let beyond = beyond.chunks(2).map(|mark| match mark {
        [subject, at] => Ok((subject.clone(), id(at)?)),
        _ => Err(NotUnderstood("subjects and how far they are")),
    });
    Ok(Delivered { through: id(&through)?, beyond: beyond.collect::<Read<_>>()? })
}

fn entry(value: Value) -> Read<(EventId, HashMap<String, String>)> {
    let [at, fields] = pair(value, "an event")?;
    let [at] = <[String; 1]>::try_from(texts(Value::Array(vec![at]))?)
        .map_err(|_| NotUnderstood("an event's identifier"))?;
    let fields = texts(fields)?;
    let fields = fields.chunks(2).map(|field| match field {
        [name, value] => Ok((name.clone(), value.clone())),
        _ => Err(NotUnderstood("an event's members")),
    });
    Ok((id(&at)?, fields.collect::<Read<_>>()?))
}

/// None of a kind that is not known.
fn event(id: EventId, fields: &HashMap<String, String>) -> Read<Option<Event>> {
    let field = |name: &str| fields.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let kind = field("type").ok_or(NotUnderstood("an event's type"))?;
    let Some(kind) = EventKind::ALL.iter().find(|known| known.name() == kind) else { return Ok(None) };
    let role = match field("role") {
        None => None,
        Some("publish") => Some(Role::Publish),
        Some("receive") => Some(Role::Receive),
        Some(_) => return Err(NotUnderstood("an event's role")),
    };
    Ok(Some(Event {
        id,
        kind: *kind,
        at: rfc3339(id.ms),
        sequence: number(field("sequence").ok_or(NotUnderstood("an event's sequence"))?)?,
        channel: field("channel").map(|name| parse(name, "an event's channel")).transpose()?,
        epoch: field("epoch").map(epoch).transpose()?,
        node: field("node").map(|name| parse(name, "an event's node")).transpose()?,
        reason: field("reason").map(str::to_owned),
        role,
    }))
}

fn epoch(text: &str) -> Read<Epoch> {
    let epoch = Epoch::new(number(text)?);
    if epoch <= EPOCH_MAX { Ok(epoch) } else { Err(NotUnderstood("an event's epoch")) }
}

/// One that is no time is none.
fn id(text: &str) -> Read<EventId> {
    let id: EventId = parse(text, "an event's identifier")?;
    if id.ms <= EVENT_MS_MAX { Ok(id) } else { Err(NotUnderstood("an event's time")) }
}

fn pair(value: Value, what: &'static str) -> Read<[Value; 2]> {
    <[Value; 2]>::try_from(array(value)?).map_err(|_| NotUnderstood(what))
}

/// Whether it is the first of these words, and not the second.
fn either(value: Value, words: [&str; 2], what: &'static str) -> Read<bool> {
    match texts(value)?.as_slice() {
        [word] if word == words[0] => Ok(true),
        [word] if word == words[1] => Ok(false),
        _ => Err(NotUnderstood(what)),
    }
}
