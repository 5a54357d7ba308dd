//! What is answered.

use std::borrow::Cow;

use hyper::StatusCode;
use serde::Serialize;

/// An answer that is no error: JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(super) body: Vec<u8>,
    /// There is more, which is not told.
    pub(super) is_cut: bool,
}

impl Answer {
    pub(super) fn of(value: &impl Serialize) -> Self {
        // The types have nothing that JSON could refuse.
        Self { body: serde_json::to_vec(value).unwrap_or_default(), is_cut: false }
    }
}

/// Why a request is not served. Has nothing from the inside, and of the request only names, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) status: StatusCode,
    message: Cow<'static, str>,
    /// What the path takes instead.
    pub(super) allow: Option<&'static str>,
    /// Whether it can be otherwise in a moment.
    pub(super) is_for_now: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), allow: None, is_for_now: false }
    }

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The path takes another method.
    pub(super) const fn only(allow: &'static str) -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: Cow::Borrowed("the method is not allowed here"),
            allow: Some(allow),
            is_for_now: false,
        }
    }

    /// The same, where it can be otherwise in a moment.
    pub(super) fn for_now(self) -> Self {
        Self { is_for_now: true, ..self }
    }

    /// 1.x says `errorMessage`, 2.0 says that or `error`: clients look at the one or the other, whatever they speak.
    pub(super) fn body(&self, unix_ms: u64) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            error: &'a str,
            error_message: &'a str,
            timestamp: u64,
        }

        let body = Body { error: &self.message, error_message: &self.message, timestamp: unix_ms };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}
