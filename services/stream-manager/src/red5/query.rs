//! Reads paths and queries, as leniently as these clients need it: what is unknown is passed over, since they send what their own
//! servers pass on to plug-ins. Never panics, and never keeps what may be a secret.

use std::borrow::Cow;

use super::answer::Refusal;
use crate::http::query::pairs;

/// Where a token may be in a query.
const ACCESS_TOKEN: &str = "accessToken";

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(super) fn read(query: Option<&'a str>) -> Result<Self, Refusal> {
        let mut known = Vec::new();
        for pair in pairs(query) {
            let (name, value) =
                pair.map_err(|_| Refusal::bad("the query is not UTF-8 in percent-encoding"))?;
            // Whoever wants it asks for it by name.
            if !name.eq_ignore_ascii_case(ACCESS_TOKEN) {
                known.push((name, value));
            }
        }
        Ok(Self(known))
    }

    /// The first value of this name that is not empty. 2.0 writes some names in two ways.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        values.find(|(_, value)| !value.is_empty()).map(|(_, value)| &**value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// As they read it: `true` is, and anything else is not.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The same for what is the rule: `false` is not, and anything else is.
    pub(super) fn is_not_false(&self, name: &str) -> bool {
        !self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("false"))
    }
}

/// The token that a query has, where it has one.
pub(super) fn access_token(query: Option<&str>) -> Option<Cow<'_, str>> {
    pairs(query).filter_map(Result::ok).find(|(name, _)| name == ACCESS_TOKEN).map(|(_, value)| value)
}

/// The parts of a path between slashes, decoded; a slash that is encoded counts as one, and empty parts do not count. So `live`,
/// `/live` and `%2Flive` are the same scope, which clients send in all three ways.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let decoded = decode(path).ok_or_else(|| Refusal::bad("the path is not UTF-8 in percent-encoding"))?;
    Ok(decoded.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect())
}

/// In a path `+` is itself.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_scope_is_the_same_with_a_slash_and_without() {
        let expected = vec!["event".to_owned(), "live".to_owned(), "cam".to_owned()];
        for path in [
            "/event/live/cam",
            "/event//live/cam",
            "/event/%2Flive/cam",
            "/event/%2flive/cam/",
            "event/live%2Fcam",
        ] {
            assert_eq!(segments(path).unwrap(), expected, "{path}");
        }
        assert_eq!(segments("/a+b/%C3%A9").unwrap(), ["a+b", "\u{e9}"]);
    }

    #[test]
    fn what_is_not_percent_encoding_of_utf_8_is_refused() {
        for path in ["/%", "/%4", "/%4g", "/%ff", "/%C3"] {
            assert_eq!(segments(path).unwrap_err().status.as_u16(), 400, "{path}");
        }
        assert_eq!(Query::read(Some("region=%ff")).unwrap_err().status.as_u16(), 400);
    }

    #[test]
    fn parameters_are_read_as_these_clients_write_them() {
        let query =
            Query::read(Some("subGroup=&subgroup=a,b&strict=TRUE&transcode=true?region=x&username=u"))
                .unwrap();
        assert_eq!(query.get("subGroup"), Some("a,b"));
        assert!(query.is_true("strict") && !query.is_true("transcode") && !query.is_true("endpoints"));
        assert!(query.is_not_false("aggregate"));
        assert!(!Query::read(Some("aggregate=False")).unwrap().is_not_false("aggregate"));
    }

    #[test]
    fn a_token_is_not_kept() {
        let secret = "0123456789abcdef";
        let text = format!("action=subscribe&accessToken={secret}&ACCESSTOKEN={secret}");
        let query = Query::read(Some(&text)).unwrap();
        assert!(!format!("{query:?}").contains(secret));
        assert_eq!(access_token(Some(&text)).as_deref(), Some(secret));
        assert_eq!(access_token(None), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(path in ".{0,64}", query in ".{0,64}") {
            let _ = segments(&path);
            let _ = Query::read(Some(&query)).map(|query| query.get("region").map(str::to_owned));
        }
    }
}
