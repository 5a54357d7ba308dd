//! The page at `/docs`, which shows `/openapi.json`: files that are part of the program, and nothing from elsewhere.

use axum::extract::{RawPathParams, rejection::RawPathParamsRejection};
use axum::response::{IntoResponse, Response};
use hyper::header::{self, HeaderValue};

use super::NOSNIFF;
use super::problem::{Kind, Problem};

/// Name, media type and content of each file.
const FILES: &[(&str, &str, &str)] = &[
    ("docs.js", "text/javascript; charset=utf-8", include_str!("docs/docs.js")),
    ("schema.js", "text/javascript; charset=utf-8", include_str!("docs/schema.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("docs/style.css")),
];

const INDEX: &str = include_str!("docs/index.html");

/// Nothing from elsewhere and nothing inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// `GET /docs`.
pub(super) async fn page() -> Response {
    served("text/html; charset=utf-8", INDEX)
}

/// `GET /docs/{file}`.
pub(super) async fn file(path: Result<RawPathParams, RawPathParamsRejection>) -> Result<Response, Problem> {
    let path = path.map_err(|_| Problem::new(Kind::NoSuchPath))?;
    let wanted = path.iter().next().map(|(_, file)| file);
    let file = FILES.iter().find(|(name, ..)| Some(*name) == wanted);
    let (_, media_type, body) = file.ok_or(Problem::new(Kind::NoSuchPath))?;
    Ok(served(media_type, body))
}

fn served(media_type: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // The files change with the program.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}
