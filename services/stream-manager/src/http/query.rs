//! Reads the query of a request, strictly: a name that is mistyped is told rather than passed over. Never panics, and keeps
//! nothing: a value may be a key.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use super::problem::Problem;

/// The pairs of a query, decoded.
pub(crate) fn pairs(
    query: Option<&str>,
) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), Problem>> {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (decode(name), decode(value)) {
            (Some(name), Some(value)) => Ok((name, value)),
            _ => Err(Problem::bad("the query is not UTF-8 in percent-encoding")),
        }
    })
}

/// A text of a query: `+` is a space, `%` and two hexadecimal digits are a byte.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Some(Cow::Borrowed(text));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// A parameter that the path does not have.
pub(crate) fn unknown(known: &'static str) -> Problem {
    Problem::bad(if known.is_empty() { "there are no parameters here" } else { known })
}

/// Sets a parameter that is given once.
pub(crate) fn once<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), Problem> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::bad(format!("{name} is given twice"))),
    }
}

/// A value that parses.
pub(crate) fn parse<T: FromStr<Err: Display>>(name: &'static str, value: &str) -> Result<T, Problem> {
    value.parse().map_err(|error| Problem::bad(format!("{name} {error}")))
}

/// A number within bounds, in digits only.
pub(crate) fn number(
    name: &'static str,
    value: &str,
    bounds: std::ops::RangeInclusive<u64>,
) -> Result<u64, Problem> {
    let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
    number.filter(|number| bounds.contains(number)).ok_or_else(|| {
        Problem::bad(format!("{name} is not a number from {} to {}", bounds.start(), bounds.end()))
    })
}

/// Yes or no.
pub(crate) fn flag(name: &'static str, value: &str) -> Result<bool, Problem> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Problem::bad(format!("{name} is neither true nor false"))),
    }
}

/// Characters of a text that is no name: a region has as many as a name may have.
const TEXT_CHARS_MAX: usize = 128;

/// A text that is not too long and has no control characters.
pub(crate) fn text(name: &'static str, value: &str) -> Result<String, Problem> {
    let may_be = !value.is_empty() && !value.chars().any(char::is_control);
    if may_be && value.chars().count() <= TEXT_CHARS_MAX {
        Ok(value.to_owned())
    } else {
        Err(Problem::bad(format!("{name} is not a text of 1 to {} characters", TEXT_CHARS_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(query: &str) -> Option<Vec<(String, String)>> {
        pairs(Some(query))
            .map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned())).ok())
            .collect()
    }

    #[test]
    fn pairs_are_decoded() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("a=1&&b=c%20d+e&f"), Some(vec![pair("a", "1"), pair("b", "c d e"), pair("f", "")]));
        assert_eq!(read("%61=%C3%A9=1"), Some(vec![pair("a", "\u{e9}=1")]));
        assert_eq!(pairs(None).count(), 0);
    }

    #[test]
    fn what_is_not_percent_encoding_of_utf_8_is_refused() {
        for bad in ["a=%", "a=%4", "a=%4g", "%zz=1", "a=%ff", "a=%C3", "a=%+1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_number_is_digits_within_its_bounds() {
        assert_eq!(number("n", "1", 1..=1000), Ok(1));
        assert_eq!(number("n", "1000", 1..=1000), Ok(1000));
        for bad in ["", "0", "1001", "+1", "-1", " 1", "1.0", "99999999999999999999"] {
            assert!(number("n", bad, 1..=1000).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_text_is_as_long_as_a_name_at_most() {
        assert!(text("region", &"\u{e9}".repeat(128)).is_ok());
        for bad in ["", "a\nb", &"x".repeat(129)] {
            assert!(text("region", bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(query in ".{0,64}") {
            let _ = read(&query);
        }

        #[test]
        fn what_was_encoded_is_read(value in any::<String>()) {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(read(&format!("a={encoded}")), Some(vec![("a".to_owned(), value)]));
        }
    }
}
