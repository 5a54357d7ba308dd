//! HTTP answers, as the handshake and the page build them.

use std::borrow::Cow;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// An answer.
pub(crate) type Answer = Response<Body>;

/// A body that is all there, or one that comes piece by piece.
pub(crate) type Body = Either<Full<Bytes>, StreamBody<BoxStream<'static, Piece>>>;

type Piece = Result<Frame<Bytes>, Infallible>;

/// An answer whose body is all there.
pub(crate) fn whole(body: impl Into<Bytes>) -> Answer {
    Response::new(Either::Left(Full::new(body.into())))
}

/// An answer whose body comes piece by piece.
pub(crate) fn streamed(pieces: impl Stream<Item = Piece> + Send + 'static) -> Answer {
    Response::new(Either::Right(StreamBody::new(pieces.boxed())))
}

/// A short text.
pub(crate) fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = whole(body);
    *answer.status_mut() = status;
    if body.is_empty() { answer } else { with(answer, header::CONTENT_TYPE, "text/plain; charset=utf-8") }
}

/// JSON that is true for a moment only.
pub(crate) fn json(body: Vec<u8>) -> Answer {
    let answer = with(whole(body), header::CONTENT_TYPE, "application/json");
    with(answer, header::CACHE_CONTROL, "no-store")
}

/// The last answer on its connection. One that becomes a websocket says already what becomes of the connection.
pub(crate) fn with_close(answer: Answer) -> Answer {
    if answer.headers().contains_key(header::CONNECTION) {
        answer
    } else {
        with(answer, header::CONNECTION, "close")
    }
}

/// The same with a header more.
pub(crate) fn with(mut answer: Answer, name: HeaderName, value: impl Into<Cow<'static, str>>) -> Answer {
    let value = match value.into() {
        Cow::Borrowed(value) => HeaderValue::from_static(value),
        Cow::Owned(value) => match HeaderValue::try_from(value) {
            Ok(value) => value,
            Err(_) => return answer,
        },
    };
    answer.headers_mut().insert(name, value);
    answer
}
