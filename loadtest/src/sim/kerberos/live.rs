//! When an agent sends a picture: at a key frame, for three seconds after the last request that one has seen.

/// How long a request counts, in whole seconds of the clock, both ends included.
const REQUEST_SECONDS: u64 = 3;

/// The live view of one camera.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// There is room for one request; a key frame takes it.
    requested: bool,
    /// When a key frame took the last one, in seconds since 1970.
    taken_at: u64,
}

impl Live {
    /// A request came. Whether it counts: not where one waits already.
    pub(super) fn request(&mut self) -> bool {
        !std::mem::replace(&mut self.requested, true)
    }

    /// There is a key frame. Whether it is sent.
    pub(super) fn key_frame(&mut self, now: u64) -> bool {
        if std::mem::take(&mut self.requested) {
            self.taken_at = now;
        }
        now.saturating_sub(self.taken_at) <= REQUEST_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600;

    #[test]
    fn nobody_asked_so_nothing_is_sent() {
        assert!(!Live::default().key_frame(NOW));
    }

    #[test]
    fn one_request_counts_three_seconds_from_the_key_frame_that_takes_it() {
        let mut live = Live::default();
        assert!(live.request());
        // However late that is.
        let sent: Vec<_> = (10..16).map(|second| live.key_frame(NOW + second)).collect();
        assert_eq!(sent, [true, true, true, true, false, false]);
    }

    #[test]
    fn requests_are_not_saved_up() {
        let mut live = Live::default();
        assert!(live.request());
        assert!(!live.request());
        assert!(live.key_frame(NOW));
        assert!(!live.key_frame(NOW + 4));
    }

    #[test]
    fn where_key_frames_are_rare_each_needs_a_request() {
        let mut live = Live::default();
        live.request();
        assert!(live.key_frame(NOW));
        assert!(!live.key_frame(NOW + 10));
        live.request();
        assert!(live.key_frame(NOW + 20));
    }
}
