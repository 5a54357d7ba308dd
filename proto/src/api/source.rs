//! What can be done with sources over HTTP: `POST /v1/sources/{id}:{verb}`. Normative text: `proto/SOURCES.md`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backbone::to_json;
use crate::source::{CameraPosition, Command, Source, SourceId, SourceIdError, SourceKind, StartOptions};

/// The longest body of a command: with what is around it, the request to the bridge stays below
/// [`JSON_BYTES_MAX`](crate::backbone::JSON_BYTES_MAX).
pub const COMMAND_BYTES_MAX: usize = 2 << 10;

/// The longest name of an action.
const VERB_BYTES_MAX: usize = 32;

/// The best quality: ultra high.
const QUALITY_MAX: u8 = 4;

/// The longest name of a lens or a protocol.
const WORD_BYTES_MAX: usize = 32;

/// Answer of `GET /v1/sources`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sources {
    /// By name.
    pub sources: Vec<Source>,
    /// The `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub next: Option<SourceId>,
}

/// Why a request is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No name of a source.
    #[error("the source {0}")]
    Source(#[from] SourceIdError),
    /// The path has no verb, or one that this kind of source does not know.
    #[error("there is no such thing to do with this source")]
    Verb,
    /// The body is longer than it may be.
    #[error("the body is longer than {COMMAND_BYTES_MAX} bytes")]
    TooLong,
    /// The body is not what the verb takes.
    #[error("{0}")]
    Body(String),
}

impl CommandError {
    /// Of HTTP.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Source(_) | Self::Body(_) => 400,
            Self::Verb => 404,
            Self::TooLong => 413,
        }
    }

    /// What kind it is: the last part of the problem's `type`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Source(_) => "invalid-source",
            Self::Verb => "unknown-verb",
            Self::TooLong => "body-too-long",
            Self::Body(_) => "invalid-command",
        }
    }
}

/// What follows `/v1/sources/` where it names a source, as it stands in the path.
///
/// # Errors
/// No name of a source.
pub fn source(path: &str) -> Result<SourceId, SourceIdError> {
    // No part of a name has `%`, so nothing can be decoded twice.
    decoded(path).ok_or(SourceIdError::Part)?.parse()
}

/// What follows `/v1/sources/`, as it stands in the path, with the body: which source, and what to do with it.
///
/// An empty body is as `{}`.
///
/// # Errors
/// See [`CommandError`].
pub fn command(path: &str, body: &[u8]) -> Result<(SourceId, Command), CommandError> {
    let path = decoded(path).ok_or(SourceIdError::Part)?;
    // No part of a name has a colon.
    let (id, verb) = path.split_once(':').ok_or(CommandError::Verb)?;
    let id = SourceId::from_str(id)?;
    if body.len() > COMMAND_BYTES_MAX {
        return Err(CommandError::TooLong);
    }
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let command = match (verb, id.kind()) {
        ("start", _) => {
            Command::Start(start(read(body, "an object with quality and protocol, or without")?)?)
        }
        ("stop", _) => {
            let Nothing {} = read(body, "empty")?;
            Command::Stop
        }
        ("quality", SourceKind::Dji) => {
            let Quality { quality } = read(body, "an object with quality, a number")?;
            Command::Quality { quality: checked_quality(quality)? }
        }
        ("lens", SourceKind::Dji) => {
            let Lens { lens } = read(body, "an object with lens, a text")?;
            Command::Lens { lens: word("lens", lens)? }
        }
        ("camera", SourceKind::Dji) => {
            let Camera { position } = read(body, "an object with position, inside or outside")?;
            Command::Camera { position }
        }
        (name, SourceKind::Kerberos) if is_verb(name) => {
            let value: Value = read(body, "JSON")?;
            // `1e15` is written as a number of 18 characters.
            if to_json(&value).len() > COMMAND_BYTES_MAX {
                return Err(CommandError::TooLong);
            }
            Command::Action { name: name.to_owned(), value }
        }
        _ => return Err(CommandError::Verb),
    };
    Ok((id, command))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    quality: Option<u8>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quality {
    quality: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lens {
    lens: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Camera {
    position: CameraPosition,
}

/// Of what was sent nothing is told back.
fn read<T: for<'a> Deserialize<'a>>(body: &[u8], expected: &'static str) -> Result<T, CommandError> {
    serde_json::from_slice(body).map_err(|_| CommandError::Body(format!("the body is not {expected}")))
}

fn start(Start { quality, protocol }: Start) -> Result<StartOptions, CommandError> {
    Ok(StartOptions {
        quality: quality.map(checked_quality).transpose()?,
        protocol: protocol.map(|protocol| word("protocol", protocol)).transpose()?,
    })
}

fn checked_quality(quality: u8) -> Result<u8, CommandError> {
    if quality > QUALITY_MAX {
        return Err(CommandError::Body(format!("quality is 0 to {QUALITY_MAX}")));
    }
    Ok(quality)
}

/// A word as devices and settings have them.
fn word(what: &str, text: String) -> Result<String, CommandError> {
    let may_be = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    if text.is_empty() || text.len() > WORD_BYTES_MAX || !text.bytes().all(may_be) {
        return Err(CommandError::Body(format!(
            "{what} is a word of letters, digits, - and _, of at most {WORD_BYTES_MAX}"
        )));
    }
    Ok(text)
}

fn is_verb(name: &str) -> bool {
    // What devices of DJI alone can do is no action of an agent either.
    !matches!(name, "quality" | "lens" | "camera")
        && !name.is_empty()
        && name.len() <= VERB_BYTES_MAX
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'))
}

/// Without percent-encoding. `None` where that is wrong, or what it stands for is no text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut text = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            text.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        text.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const DJI: &str = "dji/4BK/165-0-7/normal-0";

    fn of_dji(verb: &str, body: &str) -> Result<Command, CommandError> {
        command(&format!("{DJI}:{verb}"), body.as_bytes()).map(|(_, command)| command)
    }

    #[test]
    fn commands_are_read_with_what_they_take() {
        assert_eq!(of_dji("start", ""), Ok(Command::Start(StartOptions::default())));
        let options = StartOptions { quality: Some(4), protocol: Some("whip".to_owned()) };
        assert_eq!(of_dji("start", r#"{"quality":4,"protocol":"whip"}"#), Ok(Command::Start(options)));
        assert_eq!(of_dji("stop", " "), Ok(Command::Stop));
        assert_eq!(of_dji("quality", r#"{"quality":0}"#), Ok(Command::Quality { quality: 0 }));
        assert_eq!(of_dji("lens", r#"{"lens":"ir"}"#), Ok(Command::Lens { lens: "ir".to_owned() }));
        let outside = Command::Camera { position: CameraPosition::Outside };
        assert_eq!(of_dji("camera", r#"{"position":"outside"}"#), Ok(outside));
        let (id, ptz) = command("kerberos/hub/caf%C3%A9:ptz", br#"{"x":1}"#).unwrap();
        assert_eq!(id.to_string(), "kerberos/hub/café");
        assert_eq!(ptz, Command::Action { name: "ptz".to_owned(), value: json!({"x": 1}) });
    }

    #[test]
    fn what_is_no_command_is_told_so() {
        let code = |path: &str, body: &[u8]| {
            let error = command(path, body).unwrap_err();
            (error.status(), error.code())
        };
        for verb in ["", ":", ":ptz", ":Start", ":start:stop"] {
            assert_eq!(code(&format!("{DJI}{verb}"), b""), (404, "unknown-verb"), "{verb}");
        }
        for verb in ["", "quality", "camera", "PTZ", "p t", &"a".repeat(VERB_BYTES_MAX + 1)] {
            assert_eq!(code(&format!("kerberos/h/c:{verb}"), b""), (404, "unknown-verb"), "{verb}");
        }
        for id in
            ["", "onvif/a/b", "kerberos/a", "kerberos/a/%", "kerberos/a/%zz", "kerberos/a/%ff", "dji/a/%2F/b"]
        {
            assert_eq!(code(&format!("{id}:start"), b""), (400, "invalid-source"), "{id}");
        }
        for (verb, body) in [
            ("start", "{"),
            ("start", r#"{"qualty":1}"#),
            ("start", r#"{"quality":5}"#),
            ("start", r#"{"protocol":"a b"}"#),
            ("stop", r#"{"now":true}"#),
            ("quality", "{}"),
            ("quality", r#"{"quality":5}"#),
            ("lens", r#"{"lens":""}"#),
            ("camera", r#"{"position":"above"}"#),
        ] {
            assert_eq!(code(&format!("{DJI}:{verb}"), body.as_bytes()), (400, "invalid-command"), "{body}");
        }
    }

    #[test]
    fn the_longest_body_still_fits_a_request() {
        let value = |bytes: usize| format!("\"{}\"", "a".repeat(bytes - 2));
        let path = format!("kerberos/{0}/{0}:{1}", "h".repeat(64), "v".repeat(VERB_BYTES_MAX));
        let (source, longest) = command(&path, value(COMMAND_BYTES_MAX).as_bytes()).unwrap();
        let ask = crate::source::Ask::Command { source, command: longest };
        assert!(crate::backbone::to_json(&ask).len() <= crate::backbone::JSON_BYTES_MAX);
        assert_eq!(
            command(&path, format!("[{}1]", "1e15,".repeat(300)).as_bytes()).unwrap_err(),
            CommandError::TooLong,
            "it would be longer on its way"
        );
        assert_eq!(
            command(&path, value(COMMAND_BYTES_MAX + 1).as_bytes()).unwrap_err(),
            CommandError::TooLong
        );
    }

    proptest! {
        #[test]
        fn no_path_and_no_body_panic(path in "(dji/a/b/c|kerberos/a/b)?\\PC{0,20}", body in ".{0,100}") {
            let _ = command(&path, body.as_bytes());
            let _ = source(&path);
        }

        #[test]
        fn a_name_is_found_however_it_is_encoded(name in "\\PC{1,16}") {
            if let Ok(id) = format!("kerberos/hub/{name}").parse::<SourceId>() {
                let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
                prop_assert_eq!(source(&format!("kerberos/hub/{encoded}")), Ok(id));
            }
        }
    }
}
