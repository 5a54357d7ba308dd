//! Answers of scripts, read strictly: what is not of the form that is wanted is [`NotUnderstood`].

use std::str::FromStr;

use redis::Value;

/// Says what was wanted, and nothing of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotUnderstood(pub(crate) &'static str);

/// What was read, or was not understood.
pub(crate) type Read<T> = Result<T, NotUnderstood>;

pub(crate) fn number(text: &str) -> Read<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(NotUnderstood("a number"))
}

pub(crate) fn parse<T: FromStr>(text: &str, what: &'static str) -> Read<T> {
    text.parse().map_err(|_| NotUnderstood(what))
}

pub(crate) fn one_of(value: Value, words: &[&str], what: &'static str) -> Read<()> {
    match texts(value)?.as_slice() {
        [word] if words.contains(&word.as_str()) => Ok(()),
        _ => Err(NotUnderstood(what)),
    }
}

pub(crate) fn array(value: Value) -> Read<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(NotUnderstood("an array")),
    }
}

pub(crate) fn texts(value: Value) -> Read<Vec<String>> {
    let texts = array(value)?.into_iter().map(|value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    });
    texts.collect::<Option<_>>().ok_or(NotUnderstood("an array of texts"))
}
