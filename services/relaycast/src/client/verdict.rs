//! What a client does when its session ended: the table of close codes as one pure function.

use std::time::Duration;

use relay_proto::websocket::{Close, ERROR_PREFIX};

use crate::exit::Exit;

/// How a session ended, as far as the wire told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The text after `ERROR: `, if one came.
    pub(crate) error: Option<String>,
    /// The close code, if a close frame with one came.
    pub(crate) code: Option<u16>,
    /// The reason inside the close frame.
    pub(crate) reason: String,
    /// What the socket said, where there was no close frame.
    pub(crate) socket: Option<String>,
}

/// What came before this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct History {
    /// An earlier connection of this run was in service, so whoever is `busy` may be our own half-open past.
    pub(crate) served: bool,
    /// How many sessions of this run ended because we were too slow.
    pub(crate) too_slow: u32,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The stream is over.
    Done,
    /// Coming back is pointless; `what` and `advice` are for the person.
    Stop { exit: Exit, what: String, advice: &'static str },
    /// Come back, not before the hint.
    Again { what: String, hint: Option<Duration> },
}

impl Ended {
    /// The socket died without a close frame.
    pub(crate) fn lost(why: impl ToString) -> Self {
        Self { socket: Some(why.to_string()), ..Self::default() }
    }

    /// Takes an error text as it came.
    pub(crate) fn take_error(&mut self, text: &str) {
        if let Some(error) = text.strip_prefix(ERROR_PREFIX) {
            self.error = Some(error.to_owned());
        }
    }

    /// The word that names the reason, without its hint.
    fn name(&self) -> &str {
        self.reason.split(' ').next().unwrap_or_default()
    }

    /// `retry_after_ms=…` from the close reason, else from the error text.
    fn hint(&self) -> Option<Duration> {
        let texts = [self.reason.as_str(), self.error.as_deref().unwrap_or_default()];
        let mut words = texts.iter().flat_map(|text| text.split_whitespace());
        let millis = words.find_map(|word| word.strip_prefix("retry_after_ms=")?.parse().ok())?;
        Some(Duration::from_millis(millis))
    }

    /// What happened, in the server's words where it had any.
    fn what(&self) -> String {
        if let Some(error) = &self.error {
            let words: Vec<&str> =
                error.split_whitespace().filter(|word| !word.starts_with("retry_after_ms=")).collect();
            return printable(&words.join(" "));
        }
        match (&self.socket, self.code) {
            (Some(why), _) => why.clone(),
            (None, Some(code)) if self.name().is_empty() => format!("closed by the server (code {code})"),
            (None, Some(code)) => format!("closed by the server ({}, code {code})", printable(self.name())),
            (None, None) => "closed by the server".to_owned(),
        }
    }

    /// The table. A code that is not known is treated by its range: those of the protocol's own policy (4400 to 4499)
    /// refuse, anything else is worth another attempt.
    pub(crate) fn verdict(&self, history: History) -> Verdict {
        let stop = |exit, advice| Verdict::Stop { exit, what: self.what(), advice };
        let again = || Verdict::Again { what: self.what(), hint: self.hint() };
        let is = |close: Close| self.name() == close.name();
        match self.code {
            Some(1000) if is(Close::PublisherLost) => Verdict::Stop {
                exit: Exit::Connection,
                what: "the publisher vanished and did not come back".to_owned(),
                advice: "",
            },
            Some(1000) => Verdict::Done,
            Some(1009) => stop(Exit::Refused, "lower --chunk-bytes-max, or raise it on the node"),
            Some(1002 | 1003 | 1007 | 1008 | 1010) => stop(Exit::Refused, ""),
            Some(4401 | 4403) => stop(Exit::Refused, "check the key in the URL, --key-file or RELAYCAST_KEY"),
            Some(4404) => stop(Exit::Refused, "check the channel and the key in the URL"),
            Some(4409) if is(Close::Replaced) => {
                stop(Exit::Refused, "it is not taken back, so that two publishers do not fight for it")
            }
            Some(4409) if !history.served => {
                stop(Exit::Refused, "stop the other publisher, or choose another channel")
            }
            Some(4499) if history.too_slow > 1 => stop(
                Exit::Connection,
                "this is the second time: the network or the output cannot take the stream's bitrate",
            ),
            Some(4408 | 4409 | 4429 | 4499) => again(),
            Some(4400..=4498) => stop(Exit::Refused, ""),
            Some(_) => again(),
            // Servers before close codes: an error text and the end.
            None => match self.error.as_deref() {
                None => again(),
                Some(_) if self.hint().is_some() => again(),
                Some("Invalid streaming key") => {
                    stop(Exit::Refused, "check the key in the URL, --key-file or RELAYCAST_KEY")
                }
                Some(_) => stop(Exit::Refused, ""),
            },
        }
    }
}

/// A text from the other side as a terminal may have it: no control characters, and not for ever.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended(close: Close) -> Ended {
        let mut ended = Ended { code: Some(close.code()), reason: close.reason(), ..Ended::default() };
        ended.take_error(&close.error_text().unwrap_or_default());
        ended
    }

    /// `done`, `stop CODE` or `again HINT`.
    fn verdict(close: Close, history: History) -> String {
        match ended(close).verdict(history) {
            Verdict::Done => "done".to_owned(),
            Verdict::Stop { exit, .. } => format!("stop {}", exit as u8),
            Verdict::Again { hint, .. } => format!("again {}", hint.map_or(0, |hint| hint.as_millis())),
        }
    }

    #[test]
    fn every_reason_of_the_protocol_has_its_answer() {
        let first = History::default();
        let answers = Close::ALL.map(|close| format!("{} {}", close.name(), verdict(close, first)));
        assert_eq!(
            answers,
            [
                "publisher_ended done",
                "publisher_lost stop 5",
                "probe_answered done",
                "client_closed done",
                "draining again 0",
                "protocol_violation stop 3",
                "bad_text stop 3",
                "unexpected_text stop 3",
                "origin_not_allowed stop 3",
                "form_unavailable stop 3",
                "chunk_too_big stop 3",
                "full again 0",
                "wrong_key stop 3",
                "invalid_target stop 3",
                "idle again 0",
                "stalled again 0",
                "busy stop 3",
                "replaced stop 3",
                "too_slow again 0",
                "unavailable again 0",
                "kicked stop 3",
                "channel_closed stop 3",
                "banned stop 3",
            ]
        );
    }

    #[test]
    fn hints_are_honoured() {
        let first = History::default();
        assert_eq!(verdict(Close::Draining { retry_after_ms: 1200 }, first), "again 1200");
        assert_eq!(verdict(Close::Full { retry_after_ms: 70 }, first), "again 70");
        let limited = Ended { code: Some(4429), reason: "rate retry_after_ms=9".into(), ..Ended::default() };
        assert_eq!(
            limited.verdict(first),
            Verdict::Again {
                what: "closed by the server (rate, code 4429)".into(),
                hint: Some(Duration::from_millis(9))
            }
        );
    }

    #[test]
    fn busy_is_waited_out_only_by_a_publisher_that_was_cut_off() {
        let busy = Close::Busy { retry_after_ms: 7 };
        assert_eq!(verdict(busy, History { served: true, too_slow: 0 }), "again 7");
        assert_eq!(verdict(busy, History::default()), "stop 3");
        assert_eq!(verdict(Close::Replaced, History { served: true, too_slow: 0 }), "stop 3");
    }

    #[test]
    fn too_slow_comes_back_once() {
        assert_eq!(verdict(Close::TooSlow, History { served: true, too_slow: 1 }), "again 0");
        assert_eq!(verdict(Close::TooSlow, History { served: true, too_slow: 2 }), "stop 5");
    }

    #[test]
    fn servers_without_close_codes_are_understood() {
        let text = |text: &str| {
            let mut ended = Ended::default();
            ended.take_error(text);
            ended.verdict(History::default())
        };
        assert!(matches!(text("ERROR: Invalid streaming key"), Verdict::Stop { exit: Exit::Refused, .. }));
        assert!(matches!(text("ERROR: something"), Verdict::Stop { exit: Exit::Refused, .. }));
        assert!(matches!(text("ERROR: later retry_after_ms=5"), Verdict::Again { hint: Some(_), .. }));
        assert!(matches!(Ended::lost("reset").verdict(History::default()), Verdict::Again { .. }));
    }

    proptest! {
        #[test]
        fn a_hostile_text_reaches_the_terminal_harmless(text in "\\PC{0,20}[\\x00-\\x1f\\x7f]\\PC{0,400}") {
            let mut ended = Ended { reason: text.clone(), code: Some(4404), ..Ended::default() };
            ended.take_error(&format!("ERROR: {text}"));
            if let Verdict::Stop { what, .. } = ended.verdict(History::default()) {
                prop_assert!(!what.chars().any(char::is_control) && what.chars().count() <= 200);
            }
        }
    }
}
