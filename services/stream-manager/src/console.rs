//! The operators' page at `/`: files that are part of the program, and what whoever looks at it may do.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The page has no way of its own to anything: what it shows and does goes through the API.        │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::Extensions;
use serde::Serialize;

use crate::http::access::{self, From, Need};
use crate::http::problem::{Kind, Problem};
use crate::replica::Replica;

/// One file of the page.
#[derive(Debug, Clone, Copy)]
struct File {
    name: &'static str,
    body: &'static [u8],
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(File { name: $name, body: include_bytes!(concat!("console/", $name)) }),*]
    };
}

/// The file at `/`.
const INDEX: &str = "index.html";

const FILES: &[File] = files! {
    "access.js", "api.js", "app.js", "backoff.js", "channel.js", "channels.js", "codecs.js", "confirm.js", "dom.js",
    "event-stream.js", "events.js", "flow.js", "format.js", "history.js", "icon.svg", "index.html", "live.js", "node.js",
    "nodes.js", "paged-list.js", "pages.js", "poll.js", "routes.js", "rows.js", "sources.js", "style.css", "totals.js", "words.js",
};

/// The page, and what it needs beside the API.
pub(crate) fn routes() -> Router<Arc<Replica>> {
    Router::new()
        .route("/", get(async || file(INDEX)))
        .route("/console/access", get(allowed))
        .route("/console/{file}", get(async |Path(name): Path<String>| file(&name)))
}

fn file(name: &str) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.name == name).ok_or(Problem::new(Kind::NoSuchPath))?;
    let media_type = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // The files change with the program; a browser that kept an old one would ask for what is no more.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, file.body).into_response())
}

/// Nothing from elsewhere and nothing inline, and in no frame: buttons that end things must not be under what somebody else
/// shows. Snapshots are fetched with a token, and shown as blobs.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Answer of `GET /console/access`: what the same request to the API would be allowed. So the page asks for a token before
/// somebody has pressed a button in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Allowed {
    read: bool,
    read_private: bool,
    operate: bool,
    token: Presented,
}

/// The token that came with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Presented {
    None,
    Accepted,
    Refused,
}

async fn allowed(
    State(replica): State<Arc<Replica>>,
    extensions: Extensions,
    headers: HeaderMap,
) -> Response {
    let config = &replica.config;
    let from = extensions.get::<From>().copied();
    let may = |need| access::check(config, need, &headers, from).is_ok();
    let token = if !headers.contains_key(header::AUTHORIZATION) {
        Presented::None
    } else if config.access.role(&headers).is_some() {
        Presented::Accepted
    } else {
        Presented::Refused
    };
    crate::http::json(&Allowed {
        read: may(Need::Read),
        read_private: may(Need::ReadPrivate),
        operate: may(Need::Operate),
        token,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hyper::StatusCode;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            // It tells Node.js what the others are.
            .filter(|name| name != "package.json")
            .collect();
        assert_eq!(there, FILES.iter().map(|file| file.name.to_owned()).collect());
    }

    #[test]
    fn files_have_their_types_and_nothing_else_is_a_file() {
        for (name, media_type) in [
            (INDEX, "text/html; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
        ] {
            let response = file(name).unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{name}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], media_type, "{name}");
            assert!(
                response.headers()[header::CONTENT_SECURITY_POLICY]
                    .to_str()
                    .unwrap()
                    .contains("frame-ancestors 'none'"),
                "{name}"
            );
        }
        for name in ["", "package.json", "../console.rs", "App.js", "app.js/"] {
            assert_eq!(file(name).unwrap_err().kind, Kind::NoSuchPath, "{name:?}");
        }
    }

    #[test]
    fn everything_that_the_page_loads_is_served() {
        for File { name, body } in FILES {
            let text = std::str::from_utf8(body).unwrap();
            let imported = text.split("from './").skip(1).filter_map(|rest| rest.split_once('\''));
            let linked = text.split("=\"console/").skip(1).filter_map(|rest| rest.split_once('"'));
            for (loaded, _) in imported.chain(linked) {
                assert!(file(loaded).is_ok(), "{name} loads {loaded}");
            }
        }
    }
}
