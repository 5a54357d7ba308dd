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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn answer(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|word| text(word)).collect())
    }

    fn entry_of(id: &str, fields: &[&str]) -> Value {
        Value::Array(vec![text(id), answer(fields)])
    }

    fn page_of(entries: Vec<Value>) -> Read<Page> {
        page(Value::Array(vec![text("all"), Value::Array(entries)]))
    }

    const REFUSED: [&str; 16] = [
        "type",
        "admission.refused",
        "sequence",
        "3",
        "channel",
        "cam",
        "epoch",
        "",
        "node",
        "n1",
        "reason",
        "full",
        "role",
        "publish",
        "after",
        "4-0",
    ];

    #[test]
    fn every_answer_is_understood() {
        assert_eq!(told(answer(&["5-1"])), Ok(Some(EventId { ms: 5, number: 1 })));
        assert_eq!(told(answer(&[""])), Ok(None));
        assert_eq!((is_done(answer(&["done"])), is_done(answer(&["more"]))), (Ok(true), Ok(false)));
        assert_eq!((held(answer(&["held"])), held(answer(&["other"]))), (Ok(true), Ok(false)));
        assert_eq!((released(answer(&["released"])), released(answer(&["other"]))), (Ok(()), Ok(())));
        assert_eq!((noted(answer(&["noted"])), advanced(answer(&["advanced"]))), (Ok(()), Ok(())));
        assert_eq!(newest(Value::Array(vec![])), Ok(EventId::FIRST));
        assert_eq!(newest(Value::Array(vec![entry_of("5-1", &REFUSED)])), Ok(EventId { ms: 5, number: 1 }));
        let marks = Value::Array(vec![text("5-0"), answer(&["cam", "6-0"])]);
        let beyond = [("cam".to_owned(), EventId { ms: 6, number: 0 })].into();
        assert_eq!(delivered(marks), Ok(Delivered { through: EventId { ms: 5, number: 0 }, beyond }));
        let page = page_of(vec![entry_of("5-1", &REFUSED)]).unwrap();
        assert!(!page.gap);
        assert_eq!(
            serde_json::to_string(&page.events[0]).unwrap(),
            "{\"id\":\"5-1\",\"type\":\"admission.refused\",\"at\":\"1970-01-01T00:00:00.005Z\",\"sequence\":3,\
             \"channel\":\"cam\",\"node\":\"n1\",\"reason\":\"full\",\"role\":\"publish\"}"
        );
    }

    #[test]
    fn an_event_of_an_unknown_kind_is_none_and_one_that_cannot_be_read_is_not_understood() {
        let unknown = page_of(vec![entry_of("5-1", &["type", "node.upgraded"])]).unwrap();
        assert_eq!((unknown.events.len(), unknown.last), (0, Some(EventId { ms: 5, number: 1 })));
        for (at, value) in
            [(1, ""), (3, ""), (3, "-1"), (5, "a b"), (7, "9007199254740992"), (9, "ü"), (13, "see")]
        {
            let mut fields = REFUSED;
            fields[at] = value;
            assert!(page_of(vec![entry_of("5-1", &fields)]).is_err(), "{value:?} as {}", fields[at - 1]);
        }
        for id in ["", "5", "5-", "5-x", "253402300800000-0"] {
            assert!(page_of(vec![entry_of(id, &REFUSED)]).is_err(), "{id}");
        }
        assert!(page_of(vec![entry_of("253402300799999-0", &REFUSED)]).is_ok());
        assert!(page_of(vec![entry_of("5-1", &REFUSED[..15])]).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let word = "all|gap|done|more|held|other|5-1|0-0|type|node\\.lost|sequence|7|\\PC{0,9}";
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<i64>().prop_map(Value::Int),
            word.prop_map(|text| Value::BulkString(text.into_bytes())),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::BulkString),
        ];
        leaf.prop_recursive(4, 32, 8, |inner| prop::collection::vec(inner, 0..8).prop_map(Value::Array))
    }

    proptest! {
        #[test]
        fn any_answer_is_understood_or_not(value in any_value(), ms: u64, number: u64) {
            let _ = told(value.clone());
            let _ = is_done(value.clone());
            let _ = newest(value.clone());
            let _ = delivered(value.clone());
            let _ = page(value.clone());
            let _ = page_of(vec![value]);
            let _ = page_of(vec![entry_of(&format!("{ms}-{number}"), &REFUSED)]);
        }
    }
}
