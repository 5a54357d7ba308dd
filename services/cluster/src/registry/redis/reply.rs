//! What scripts answer, read strictly: an answer has all of its parts and nothing else, or it is [`NotUnderstood`].

use std::time::Duration;

use redis::Value;
use relay_proto::registry::{EPOCH_MAX, LeaseRecord, NodeRecord};
use relay_proto::{Epoch, NodeId};

use super::super::{Acquired, Renewed, View};
use crate::redis::{NotUnderstood, Read, array, number, one_of, parse, texts};

pub(super) fn acquired(value: Value) -> Read<Acquired> {
    let texts = texts(value)?;
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["granted", number] => epoch(number).map(Acquired::Granted),
        ["banned", ms] => duration(ms).map(Acquired::Banned),
        ["taken", lease @ ..] => self::lease(lease).map(Acquired::Taken),
        _ => Err(NotUnderstood("what came of a claim")),
    }
}

pub(super) fn renewed(value: Value) -> Read<Renewed> {
    let texts = texts(value)?;
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["kept"] => Ok(Renewed::Kept),
        ["lost", number] => epoch(number).map(Renewed::Lost),
        _ => Err(NotUnderstood("what came of a renewal")),
    }
}

/// Whether a lease was given back or was somebody else's by then is all the same.
pub(super) fn released(value: Value) -> Read<()> {
    let texts = texts(value)?;
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["released"] => Ok(()),
        ["lost", number] => epoch(number).map(|_| ()),
        _ => Err(NotUnderstood("what came of a release")),
    }
}

pub(super) fn view(value: Value) -> Read<View> {
    let [lease, bans, wanted] =
        <[Value; 3]>::try_from(array(value)?).map_err(|_| NotUnderstood("what is known of a channel"))?;
    let lease = texts(lease)?;
    let lease: Vec<_> = lease.iter().map(String::as_str).collect();
    let lease = if lease.is_empty() { None } else { Some(self::lease(&lease)?) };
    let bans = texts(bans)?;
    let bans = bans.chunks(2).map(|pair| match pair {
        [key, ms] => Ok((parse(key, "a banned key")?, duration(ms)?)),
        _ => Err(NotUnderstood("banned keys and their times")),
    });
    let bans = bans.collect::<Read<_>>()?;
    let mut wanted = names(wanted)?;
    wanted.sort_unstable();
    Ok(View { lease, bans, wanted })
}

pub(super) fn banned(value: Value) -> Read<()> {
    one_of(value, &["banned"], "what came of a ban")
}

pub(super) fn withdrawn(value: Value) -> Read<()> {
    one_of(value, &["withdrawn", "other", "absent"], "what came of a withdrawal")
}

pub(super) fn held(value: Value, sources: usize) -> Read<Vec<bool>> {
    let answers = texts(value)?.into_iter().map(|text| match text.as_str() {
        "held" => Ok(true),
        "other" => Ok(false),
        _ => Err(NotUnderstood("who has a source")),
    });
    let held = answers.collect::<Read<Vec<_>>>()?;
    if held.len() == sources { Ok(held) } else { Err(NotUnderstood("who has each source")) }
}

pub(super) fn sources_released(value: Value) -> Read<()> {
    one_of(value, &["released"], "what came of sources that were given back")
}

pub(super) fn kept(value: Value) -> Read<()> {
    if texts(value)?.is_empty() { Ok(()) } else { Err(NotUnderstood("what came of a memory")) }
}

pub(super) fn memories(value: Value) -> Read<Vec<(String, String)>> {
    let mut texts = texts(value)?.into_iter();
    let mut memories = Vec::with_capacity(texts.len() / 2);
    while let Some(name) = texts.next() {
        memories.push((name, texts.next().ok_or(NotUnderstood("a memory of each name"))?));
    }
    memories.sort_unstable();
    Ok(memories)
}

pub(super) fn names(value: Value) -> Read<Vec<NodeId>> {
    texts(value)?.iter().map(|name| parse(name, "a node's name")).collect()
}

/// A record that is gone, or was written by a program of other times, is none; its node is passed over.
pub(super) fn record(value: Value) -> Read<Option<NodeRecord>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(json) => Ok(serde_json::from_slice(&json).ok()),
        _ => Err(NotUnderstood("a node's record")),
    }
}

fn lease(texts: &[&str]) -> Read<LeaseRecord> {
    let [node, incarnation, of, key, live_ms, held_ms] = texts else {
        return Err(NotUnderstood("a lease"));
    };
    Ok(LeaseRecord {
        node: parse(node, "a lease's node")?,
        incarnation: parse(incarnation, "a lease's incarnation")?,
        epoch: epoch(of)?,
        key: parse(key, "a lease's key")?,
        live_ms: number(live_ms)?,
        held_ms: number(held_ms)?,
    })
}

/// Greater ones are no epochs: the scripts would not tell them apart.
fn epoch(text: &str) -> Read<Epoch> {
    let epoch = Epoch::new(number(text)?);
    if epoch <= EPOCH_MAX { Ok(epoch) } else { Err(NotUnderstood("an epoch")) }
}

fn duration(text: &str) -> Read<Duration> {
    number(text).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use relay_proto::Incarnation;

    use super::*;

    const KEY: &str = "4d69376f096b3e60d954ece8abbc2d7480e1e0faca593de1c764c8557fe29b75";

    fn answer(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::BulkString(text.as_bytes().to_vec())).collect())
    }

    fn lease_of_n1() -> LeaseRecord {
        LeaseRecord {
            node: "n1".parse().unwrap(),
            incarnation: Incarnation::new(0xAB),
            epoch: Epoch::new(7),
            key: KEY.parse().unwrap(),
            live_ms: 10,
            held_ms: 20,
        }
    }

    #[test]
    fn every_answer_is_understood() {
        assert_eq!(acquired(answer(&["granted", "7"])), Ok(Acquired::Granted(Epoch::new(7))));
        assert_eq!(acquired(answer(&["banned", "5"])), Ok(Acquired::Banned(Duration::from_millis(5))));
        let lease = ["n1", "00000000000000ab", "7", KEY, "10", "20"];
        assert_eq!(acquired(answer(&[&["taken"], &lease[..]].concat())), Ok(Acquired::Taken(lease_of_n1())));
        assert_eq!(renewed(answer(&["kept"])), Ok(Renewed::Kept));
        assert_eq!(renewed(answer(&["lost", "8"])), Ok(Renewed::Lost(Epoch::new(8))));
        assert_eq!(released(answer(&["released"])), Ok(()));
        assert_eq!(released(answer(&["lost", "0"])), Ok(()));
        let told = Value::Array(vec![answer(&lease), answer(&[KEY, "3"]), answer(&["n2", "n1"])]);
        let expected = View {
            lease: Some(lease_of_n1()),
            bans: vec![(KEY.parse().unwrap(), Duration::from_millis(3))],
            wanted: vec!["n1".parse().unwrap(), "n2".parse().unwrap()],
        };
        assert_eq!(view(told), Ok(expected));
        assert_eq!(view(Value::Array(vec![answer(&[]), answer(&[]), answer(&[])])), Ok(View::default()));
    }

    #[test]
    fn an_answer_with_a_part_too_many_too_few_or_of_another_kind_is_not_understood() {
        for texts in [
            &[][..],
            &["granted"],
            &["granted", "7", "8"],
            &["granted", "-7"],
            &["granted", "+7"],
            &["granted", "7.5"],
            &["granted", "1e3"],
            &["granted", "9007199254740992"],
            &["taken", "n1", "ab", "7", KEY, "10", "20"],
            &["taken", "n1", "00000000000000ab", "7", KEY, "10"],
            &["kept", "7"],
            &["GRANTED", "7"],
        ] {
            assert!(acquired(answer(texts)).is_err(), "{texts:?}");
            assert!(renewed(answer(texts)).is_err(), "{texts:?}");
        }
        assert!(view(Value::Array(vec![answer(&[]), answer(&[KEY]), answer(&[])])).is_err());
        assert!(view(Value::Array(vec![answer(&[]), answer(&[])])).is_err());
        assert!(renewed(Value::Array(vec![Value::SimpleString("kept".to_owned())])).is_err());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_none() {
        assert_eq!(record(Value::Nil), Ok(None));
        assert_eq!(record(Value::BulkString(b"{\"node\":\"n1\"}".to_vec())), Ok(None));
        assert!(record(Value::Int(1)).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let word = "granted|taken|banned|kept|lost|released|n1|7|00000000000000ab|\\PC{0,9}";
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<i64>().prop_map(Value::Int),
            word.prop_map(|text| Value::BulkString(text.into_bytes())),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::BulkString),
        ];
        leaf.prop_recursive(3, 32, 8, |inner| prop::collection::vec(inner, 0..8).prop_map(Value::Array))
    }

    proptest! {
        #[test]
        fn any_answer_is_understood_or_not(value in any_value()) {
            let _ = acquired(value.clone());
            let _ = renewed(value.clone());
            let _ = released(value.clone());
            let _ = view(value.clone());
            let _ = names(value.clone());
            let _ = record(value);
        }
    }
}
