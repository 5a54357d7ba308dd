//! What else than to stream an agent can be told, and what it answers.

use relay_proto::kerberos::{
    OnvifAction, Payload, Position, Reply, Request, Scalar, Stream, TOKEN_BYTES_MAX, Value,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::driver::CommandError;

/// How long an agent may take to say where its camera looks. It asks the camera.
const POSITION_MS_MAX: u64 = 5_000;

/// How long it may take to look at a stream: it connects to the camera and waits for a picture.
const VERIFY_MS_MAX: u64 = 15_000;

/// The longest address of a stream.
const ADDRESS_BYTES_MAX: usize = 1024;

/// What there is.
const KNOWN: &str = "a Kerberos agent takes ptz, preset, zoom, absolute-move, get-ptz-position, record, trigger-relay \
                     and verify-stream";

/// What a command waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Position,
    Verified(Stream),
}

impl Awaited {
    pub(super) const fn ms_max(self) -> u64 {
        match self {
            Self::Position => POSITION_MS_MAX,
            Self::Verified(_) => VERIFY_MS_MAX,
        }
    }

    /// The answer, where this is one to it.
    pub(super) fn answer(self, payload: &Payload<'_>) -> Option<Json> {
        let value = &payload.value;
        match (self, Reply::of(&payload.action.0)?) {
            (Self::Position, Reply::PtzPosition) => {
                let position = Position::read(value.position.text()?)?;
                Some(json!({ "position": position }))
            }
            (Self::Verified(stream), Reply::VerifyResult) if value.stream.text() == Some(stream.name()) => {
                Some(verified(value))
            }
            _ => None,
        }
    }
}

/// Without what the agent says of an error: its camera's address is in that, with the password.
fn verified(value: &Value<'_>) -> Json {
    let number = |field: &Scalar<'_>| match field {
        Scalar::Integer(number) => json!(number),
        Scalar::Float(number) => json!(number),
        _ => Json::Null,
    };
    json!({
        "stream": value.stream.text(), "success": value.success.is_true(), "width": number(&value.width),
        "height": number(&value.height), "codec": value.codec.text(), "fps": number(&value.fps),
    })
}

/// What a command says to an agent, and what it waits for.
pub(super) fn read(name: &str, value: &Json) -> Result<(Request, Option<Awaited>), CommandError> {
    match name {
        "ptz" if value.get("action").is_some() => turn(value),
        "ptz" | "preset" | "zoom" | "absolute-move" => turn(&json!({ "action": name, "payload": value })),
        "get-ptz-position" => Ok((Request::GetPtzPosition, Some(Awaited::Position))),
        "record" => {
            let Record { recording, heartbeat } = take(value, "record takes {\"recording\": true or false}")?;
            Ok((Request::Record { recording, heartbeat }, None))
        }
        "trigger-relay" => {
            let form = "trigger-relay takes {\"token\": 1 to 64 characters}";
            let Relay { token } = take(value, form)?;
            if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
                return Err(unsupported(form));
            }
            Ok((Request::TriggerRelay { token }, None))
        }
        "verify-stream" => {
            let form =
                "verify-stream takes {\"stream\": \"main\" or \"sub\"}, and \"rtsp\" for another address";
            let Verify { stream, rtsp } = take(value, form)?;
            if rtsp.as_ref().is_some_and(|rtsp| rtsp.len() > ADDRESS_BYTES_MAX) {
                return Err(unsupported("rtsp has more than 1024 bytes"));
            }
            Ok((Request::VerifyStream { stream, rtsp }, Some(Awaited::Verified(stream))))
        }
        "request-config" | "update-config" => Err(unsupported(
            "a configuration has the passwords of camera, hub and broker in it: it does not come through here",
        )),
        _ => Err(unsupported(KNOWN)),
    }
}

/// What is no action is not for a Kerberos agent at all.
pub(super) fn no_action() -> CommandError {
    unsupported(KNOWN)
}

fn unsupported(text: &str) -> CommandError {
    CommandError::Unsupported(text.to_owned())
}

fn turn(value: &Json) -> Result<(Request, Option<Awaited>), CommandError> {
    match OnvifAction::read(value) {
        Ok(action) => Ok((Request::NavigatePtz(action), None)),
        Err(error) => Err(CommandError::Unsupported(format!("the action {error}"))),
    }
}

fn take<T: DeserializeOwned>(value: &Json, form: &str) -> Result<T, CommandError> {
    T::deserialize(value).map_err(|_| unsupported(form))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    recording: bool,
    #[serde(default)]
    heartbeat: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relay {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    stream: Stream,
    #[serde(default)]
    rtsp: Option<String>,
}
