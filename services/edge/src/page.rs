//! The page at `/`: files that are part of the program.

use hyper::header;

use crate::answer::{Answer, whole, with};

/// One file of the page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    path: &'static str,
    body: &'static [u8],
}

macro_rules! files {
    ($($path:literal => $file:literal),* $(,)?) => {
        &[$(File { path: $path, body: include_bytes!(concat!("page/", $file)) }),*]
    };
}

const FILES: &[File] = files! {
    "/" => "index.html",
    "/page/address.js" => "address.js",
    "/page/app.js" => "app.js",
    "/page/backoff.js" => "backoff.js",
    "/page/beside.js" => "beside.js",
    "/page/buffer-policy.js" => "buffer-policy.js",
    "/page/channels.js" => "channels.js",
    "/page/closing.js" => "closing.js",
    "/page/codecs.js" => "codecs.js",
    "/page/dom.js" => "dom.js",
    "/page/flatten.js" => "flatten.js",
    "/page/format.js" => "format.js",
    "/page/icon.svg" => "icon.svg",
    "/page/jpeg-splitter.js" => "jpeg-splitter.js",
    "/page/jpeg-stage.js" => "jpeg-stage.js",
    "/page/keys.js" => "keys.js",
    "/page/link.js" => "link.js",
    "/page/meters.js" => "meters.js",
    "/page/mse-stage.js" => "mse-stage.js",
    "/page/player.js" => "player.js",
    "/page/publish.js" => "publish.js",
    "/page/publisher.js" => "publisher.js",
    "/page/source-words.js" => "source-words.js",
    "/page/sparkline.js" => "sparkline.js",
    "/page/style.css" => "style.css",
    "/page/telemetry.js" => "telemetry.js",
    "/page/watch.js" => "watch.js",
};

/// The file at this path.
pub(crate) fn file(path: &str) -> Option<File> {
    FILES.iter().copied().find(|file| file.path == path)
}

impl File {
    pub(crate) fn into_answer(self) -> Answer {
        let media_type = match self.path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        let answer = with(whole(self.body), header::CONTENT_TYPE, media_type);
        let answer = with(answer, header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
        let answer = with(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        let answer = with(answer, header::REFERRER_POLICY, "no-referrer");
        // The files change with the program; a browser that kept an old one would speak an old protocol.
        with(answer, header::CACHE_CONTROL, "no-cache")
    }
}

/// Nothing from elsewhere and nothing inline. `connect-src` names the websocket schemes, since `'self'` does not cover
/// them in every browser.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self'; \
     media-src 'self' blob:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'";
