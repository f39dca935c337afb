//! A figure: its name, its bar, and what a run measured.

use serde_json::{Value, json};

/// What a figure has to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Bar {
    /// The number alone.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Self::AtMost(bar) | Self::AtLeast(bar) => bar,
        }
    }

    /// Whether `measured` keeps it. What is no number keeps nothing.
    #[must_use]
    pub fn keeps(self, measured: f64) -> bool {
        match self {
            Self::AtMost(bar) => measured <= bar,
            Self::AtLeast(bar) => measured >= bar,
        }
    }
}

/// A figure by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// As in the report.
    pub name: &'static str,
    /// What it has to keep.
    pub bar: Bar,
}

impl Figure {
    /// A figure that is to be at most `bar`.
    #[must_use]
    pub const fn at_most(name: &'static str, bar: f64) -> Self {
        Self {
            name,
            bar: Bar::AtMost(bar),
        }
    }

    /// A figure that is to be at least `bar`.
    #[must_use]
    pub const fn at_least(name: &'static str, bar: f64) -> Self {
        Self {
            name,
            bar: Bar::AtLeast(bar),
        }
    }

    /// What was measured of it over `n` tries.
    #[must_use]
    pub const fn measured(self, value: f64, n: u64) -> Measured {
        Measured {
            figure: self,
            value: Some(value),
            n,
        }
    }

    /// Nothing was measured: the group failed before.
    #[must_use]
    pub const fn unmeasured(self) -> Measured {
        Measured {
            figure: self,
            value: None,
            n: 0,
        }
    }
}

/// What a run measured of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The figure.
    pub figure: Figure,
    /// In its unit; `None` where the group failed.
    pub value: Option<f64>,
    /// Over so many tries: tokens, revocations, kills, cuts, edits.
    pub n: u64,
}

impl Measured {
    /// Whether the bar is kept.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.value.is_some_and(|value| self.figure.bar.keeps(value))
    }

    /// The row of the report: `{name, measured, bar, n, seed, ok}`.
    #[must_use]
    pub fn row(&self, seed: u64) -> Value {
        json!({
            "name": self.figure.name,
            "measured": self.value.map(rounded),
            "bar": self.figure.bar.value(),
            "n": self.n,
            "seed": seed,
            "ok": self.ok(),
        })
    }
}

/// Three digits behind the point are more than any of these figures repeats.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_kept_up_to_its_value_and_by_numbers_only() {
        assert!(Bar::AtMost(0.0).keeps(0.0) && !Bar::AtMost(0.0).keeps(1.0));
        assert!(Bar::AtLeast(20.0).keeps(20.0) && !Bar::AtLeast(20.0).keeps(19.0));
        assert!(!Bar::AtMost(1.0).keeps(f64::NAN) && !Bar::AtLeast(1.0).keeps(f64::NAN));
    }

    #[test]
    fn a_row_says_what_was_measured_and_a_group_that_failed_has_no_number() {
        let figure = Figure::at_most("revoke_p99_ms", 250.0);
        let row = figure.measured(12.34567, 500).row(7);
        let expected =
            r#"{"bar":250.0,"measured":12.346,"n":500,"name":"revoke_p99_ms","ok":true,"seed":7}"#;
        assert_eq!(row, serde_json::from_str::<Value>(expected).unwrap());
        let row = figure.unmeasured().row(7);
        assert!(row["measured"].is_null() && row["ok"] == false);
    }
}
