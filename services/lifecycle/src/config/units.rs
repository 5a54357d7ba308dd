//! Values with units: `500ms`, `8MiB`, `10Gbit`. A bare number says nothing about its unit, so it is refused (a size in bytes
//! is not: there it can only mean one thing).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A duration, written as whole milliseconds, seconds, minutes or hours: `500ms`, `15s`, `2m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeSpan(Duration);

/// A number of bytes, written in units of 1024 or of 1000: `8MiB`, `64kB`, `1500`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

/// Bits per second, in units of 1000: `10Gbit`, `500Mbit`, `64kbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate(u64);

/// Values separated by commas; may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

/// Why a text is no such value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A duration without a unit.
    #[error("has no unit: 500ms, 15s, 2m or 1h")]
    NoTimeUnit,
    /// Not a whole number and a unit of time.
    #[error("is not a duration: 500ms, 15s, 2m or 1h")]
    TimeSpan,
    /// Not a whole number and a unit of size.
    #[error("is not a size: 8MiB, 512KiB, 1GiB, 64kB or plain bytes")]
    ByteSize,
    /// A rate without a unit: bits and bytes are easily taken for each other.
    #[error("has no unit: 10Gbit, 500Mbit or 64kbit, each a second")]
    NoRateUnit,
    /// Not a whole number and a unit of rate.
    #[error("is not a rate: 10Gbit, 500Mbit or 64kbit, each a second")]
    BitRate,
    /// More than fits.
    #[error("is too large")]
    TooLarge,
}

/// Milliseconds of each unit, largest first.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Bytes of each unit, largest first; those of 1024 come first because that is how sizes print.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

/// Bits per second of each unit, largest first.
const RATE_UNITS: [(&str, u64); 5] =
    [("Tbit", 1_000_000_000_000), ("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1000), ("bit", 1)];

/// How many of `SIZE_UNITS` print.
const SIZE_UNITS_PRINTED: usize = 3;

impl TimeSpan {
    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl ByteSize {
    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl BitRate {
    /// Bits per second.
    pub const fn get(self) -> u64 {
        self.0
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()))
}

fn scale(digits: &str, unit: u64) -> Result<u64, UnitError> {
    // Only digits come here, so the only way not to parse is to be too large.
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or(UnitError::TooLarge)
}

impl FromStr for TimeSpan {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (digits, unit) = split(text);
        if digits.is_empty() {
            return Err(UnitError::TimeSpan);
        }
        if unit.is_empty() {
            return Err(UnitError::NoTimeUnit);
        }
        let (_, millis) =
            TIME_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(UnitError::TimeSpan)?;
        scale(digits, millis).map(|millis| Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        let exact = |(_, unit): &(&str, u64)| millis.is_multiple_of(u128::from(*unit));
        let (name, unit) = TIME_UNITS.into_iter().find(exact).unwrap_or(("ms", 1));
        write!(f, "{}{name}", millis / u128::from(unit))
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (digits, unit) = split(text);
        if digits.is_empty() {
            return Err(UnitError::ByteSize);
        }
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, bytes) = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(UnitError::ByteSize)?;
        scale(digits, bytes).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        let (name, unit) = SIZE_UNITS[..SIZE_UNITS_PRINTED].iter().find(exact).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl FromStr for BitRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (digits, unit) = split(text);
        if digits.is_empty() {
            return Err(UnitError::BitRate);
        }
        if unit.is_empty() {
            return Err(UnitError::NoRateUnit);
        }
        let (_, bits) = RATE_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(UnitError::BitRate)?;
        scale(digits, bits).map(Self)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, unit): &(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        let (name, unit) = RATE_UNITS.into_iter().find(exact).unwrap_or(("bit", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(T::from_str).collect::<Result<_, _>>().map(Self)
    }
}

impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = UnitError;

            fn try_from(text: String) -> Result<Self, UnitError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

as_text!(TimeSpan);
as_text!(ByteSize);
as_text!(BitRate);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_parses_as_it_prints(millis in any::<u64>()) {
            let span = TimeSpan(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn a_size_parses_as_it_prints(bytes in any::<u64>(), shift in 0u32..64) {
            let size = ByteSize(bytes >> shift << (shift / 2));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn a_rate_parses_as_it_prints(bits in any::<u64>(), zeros in 0u32..16) {
            let unit = 10_u64.pow(zeros);
            let rate = BitRate(bits / unit * unit);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn a_list_parses_as_it_prints(items in prop::collection::vec("[a-z:/.]{1,9}", 0..5)) {
            let list = List(items);
            prop_assert_eq!(list.to_string().parse::<List<String>>(), Ok(list));
        }

        #[test]
        fn any_text_is_a_value_or_an_error(text in "\\PC*|[0-9]{0,24}[a-zA-Z]{0,4}") {
            let _ = (text.parse::<TimeSpan>(), text.parse::<ByteSize>(), text.parse::<BitRate>());
        }
    }

    #[test]
    fn durations() {
        let span = |text: &str| text.parse::<TimeSpan>().map(TimeSpan::get);
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(span("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(span("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(span("0s"), Ok(Duration::ZERO));
        assert_eq!(span("15"), Err(UnitError::NoTimeUnit));
        assert_eq!(span("99999999999999999h"), Err(UnitError::TooLarge));
        for bad in ["", "s", "1.5s", "-1s", " 1s", "1 s", "1S", "1d", "1s2"] {
            assert_eq!(span(bad), Err(UnitError::TimeSpan), "{bad:?}");
        }
        assert_eq!("90s".parse::<TimeSpan>().unwrap().to_string(), "90s");
        assert_eq!("120s".parse::<TimeSpan>().unwrap().to_string(), "2m");
    }

    #[test]
    fn sizes() {
        let size = |text: &str| text.parse::<ByteSize>().map(ByteSize::get);
        assert_eq!(size("8MiB"), Ok(8 << 20));
        assert_eq!(size("8MB"), Ok(8_000_000));
        assert_eq!(size("1500"), Ok(1500));
        assert_eq!(size("1500B"), Ok(1500));
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("99999999999GiB"), Err(UnitError::TooLarge));
        for bad in ["", "MiB", "1.5MiB", "-1", "1 MiB", "1mib", "1m", "1TiBs"] {
            assert_eq!(size(bad), Err(UnitError::ByteSize), "{bad:?}");
        }
        assert_eq!(ByteSize(1 << 20).to_string(), "1MiB");
        assert_eq!(ByteSize(1536).to_string(), "1536B");
    }

    #[test]
    fn rates() {
        let rate = |text: &str| text.parse::<BitRate>().map(BitRate::get);
        assert_eq!(rate("10Gbit"), Ok(10_000_000_000));
        assert_eq!(rate("500Mbit"), Ok(500_000_000));
        assert_eq!(rate("64kbit"), Ok(64_000));
        assert_eq!(rate("7bit"), Ok(7));
        assert_eq!(rate("0bit"), Ok(0));
        assert_eq!(rate("500"), Err(UnitError::NoRateUnit));
        assert_eq!(rate("99999999Tbit"), Err(UnitError::TooLarge));
        for bad in ["", "Gbit", "1.5Gbit", "-1bit", "1 Mbit", "1mbit", "1MB", "1Mbit/s"] {
            assert_eq!(rate(bad), Err(UnitError::BitRate), "{bad:?}");
        }
        assert_eq!(BitRate(2_500_000_000).to_string(), "2500Mbit");
        assert_eq!(BitRate(0).to_string(), "0bit");
    }
}
