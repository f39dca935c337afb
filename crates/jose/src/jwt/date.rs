//! NumericDate (RFC 7519 section 2): seconds since 1970, possibly with a fraction.

use std::time::Duration;

use crate::json::{Kind, Value};

/// 9999-12-31T23:59:59Z: what every calendar on the way can express.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The time that `value` names; `None` for anything but a number from 1970 to 9999.
pub(super) fn numeric_date(value: &Value<'_>) -> Option<Duration> {
    let text = value.raw();
    if value.kind() != Kind::Number || text.starts_with('-') {
        return None;
    }
    let date = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_fraction_or_exponent) => Duration::try_from_secs_f64(text.parse().ok()?).ok()?,
    };
    (date <= LAST).then_some(date)
}
