//! What carries a problem to who asked over HTTP (RFC 9457).

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::access::CHALLENGE;

/// The media type of problems.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The response with a problem. One of 401 asks for a token, as it has to (RFC 9110, section 15.5.2).
pub fn response(status: StatusCode, problem: &impl Serialize) -> Response<Full<Bytes>> {
    // Problems have nothing that JSON could refuse.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_by_nobody_and_asks_for_a_token_where_one_is_needed() {
        for (status, challenge) in
            [(StatusCode::UNAUTHORIZED, Some("Bearer realm=\"relaycast\"")), (StatusCode::FORBIDDEN, None)]
        {
            let response = response(status, &"of any kind");
            assert_eq!(response.status(), status);
            let has = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(has(header::CONTENT_TYPE), Some("application/problem+json"));
            assert_eq!(has(header::CACHE_CONTROL), Some("no-store"));
            assert_eq!(has(header::X_CONTENT_TYPE_OPTIONS), Some("nosniff"));
            assert_eq!(has(header::WWW_AUTHENTICATE), challenge);
        }
    }
}
