//! Durations as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration in settings, written as a whole number and a unit: `250ms`, `300s`, `15min`, `1h`, `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(Duration);

/// Unit names and their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write a whole number and ms, s, min, h or d, for example 300s")]
pub struct DurationError(String);

impl Span {
    /// A span of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A span of seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || DurationError(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_not_a_number| wrong())?;
        let found = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
        let (_, factor) = found.ok_or_else(wrong)?;
        number
            .checked_mul(*factor)
            .map(Self::millis)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        let fits = |(_, factor): &&(&str, u64)| millis.is_multiple_of(u128::from(*factor));
        let (unit, factor) = UNITS.iter().find(fits).copied().unwrap_or(("ms", 1));
        write!(f, "{}{unit}", millis / u128::from(factor))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let rows = [
            ("250ms", 250, "250ms"),
            ("300s", 300_000, "5min"),
            ("15min", 900_000, "15min"),
            ("90 d", 7_776_000_000, "90d"),
            ("25h", 90_000_000, "25h"),
            ("0s", 0, "0s"),
        ];
        for (text, millis, shown) in rows {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::millis(millis), "{text}");
            assert_eq!(span.to_string(), shown, "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "1.5h",
            "5S",
            "5 m",
            "5s5s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
