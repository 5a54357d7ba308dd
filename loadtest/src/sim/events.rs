//! What is told of devices on standard output: a line for each thing that happens.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::{Map, Value};

use super::unix_now;

/// Tells what happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Events {
    /// Lines are JSON, for programs.
    pub(crate) json: bool,
}

impl Events {
    /// Tells one thing; `facts` is an object, or null where there are none.
    pub(crate) fn tell(self, device: &str, event: &str, facts: Value) {
        let line = self.line(device, event, facts, unix_now().as_millis());
        // Who no longer reads wants nothing more.
        let _ = writeln!(io::stdout().lock(), "{line}");
    }

    fn line(self, device: &str, event: &str, facts: Value, at_ms: u128) -> String {
        let facts = if let Value::Object(facts) = facts { facts } else { Map::new() };
        if self.json {
            let mut all = Map::new();
            all.insert("event".to_owned(), event.into());
            all.insert("device".to_owned(), device.into());
            all.insert("at_ms".to_owned(), u64::try_from(at_ms).unwrap_or(u64::MAX).into());
            all.extend(facts);
            return Value::Object(all).to_string();
        }
        let mut line = format!("{device} {event}");
        for (name, value) in facts {
            // A string takes all.
            let _ = match value {
                Value::String(text) => write!(line, " {name}={text}"),
                other => write!(line, " {name}={other}"),
            };
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_read_json_and_people_words() {
        let facts = json!({"action": "request-sd-stream", "bytes": 3});
        let program = Events { json: true }.line("cam1", "requested", facts.clone(), 5);
        let expected = json!({"event": "requested", "device": "cam1", "at_ms": 5, "action": "request-sd-stream", "bytes": 3});
        assert_eq!(serde_json::from_str::<Value>(&program).unwrap(), expected);
        let people = Events { json: false }.line("cam1", "requested", facts, 5);
        assert_eq!(people, "cam1 requested action=request-sd-stream bytes=3");
    }
}
