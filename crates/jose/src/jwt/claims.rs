//! The claims of a token.

use std::borrow::Cow;

use super::date::numeric_date;
use crate::json::{Object, Value};

/// Claims and header of a token, as written. Who holds them inside [`super::Verified`] may believe them.
#[derive(Debug, Clone)]
pub struct Claims {
    pub(super) object: Object<'static>,
    pub(super) header_json: String,
    pub(super) kid: String,
    pub(super) key_set: String,
}

impl Claims {
    /// The claims' JSON, byte for byte as it was signed.
    #[must_use]
    pub fn json(&self) -> &str {
        self.object.text()
    }

    /// The header's JSON, as it was signed.
    #[must_use]
    pub fn header_json(&self) -> &str {
        &self.header_json
    }

    /// The key that verified the token.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key set of that key.
    #[must_use]
    pub fn key_set(&self) -> &str {
        &self.key_set
    }

    /// Any claim.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.object.get(name)
    }

    /// `iss`
    #[must_use]
    pub fn issuer(&self) -> Option<Cow<'_, str>> {
        self.string("iss")
    }

    /// `sub`
    #[must_use]
    pub fn subject(&self) -> Option<Cow<'_, str>> {
        self.string("sub")
    }

    /// `jti`
    #[must_use]
    pub fn jwt_id(&self) -> Option<Cow<'_, str>> {
        self.string("jti")
    }

    /// `aud`, as a list; empty where there is none.
    #[must_use]
    pub fn audiences(&self) -> Vec<Cow<'_, str>> {
        self.get("aud")
            .and_then(|aud| audiences(&aud))
            .unwrap_or_default()
    }

    /// `exp`, in seconds since 1970, rounded down.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.date("exp")
    }

    /// `iat`, in seconds since 1970, rounded down.
    #[must_use]
    pub fn issued_at(&self) -> Option<u64> {
        self.date("iat")
    }

    /// `nbf`, in seconds since 1970, rounded down.
    #[must_use]
    pub fn not_before(&self) -> Option<u64> {
        self.date("nbf")
    }

    /// A claim that is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).and_then(|value| value.as_str())
    }

    fn date(&self, name: &str) -> Option<u64> {
        self.get(name)
            .and_then(|value| numeric_date(&value))
            .map(|date| date.as_secs())
    }
}

/// `aud` is one string or an array of strings (RFC 7519 section 4.1.3).
pub(super) fn audiences<'o>(aud: &Value<'o>) -> Option<Vec<Cow<'o, str>>> {
    match aud.as_str() {
        Some(one) => Some(vec![one]),
        None => aud.strings(),
    }
}

/// Name, what it must be, and whether it is.
type TypeRule = (&'static str, &'static str, fn(&Value<'_>) -> bool);

const A_STRING: &str = "must be a string";
const A_DATE: &str = "must be a number of seconds from 1970 to 9999";

const TYPE_RULES: [TypeRule; 7] = [
    ("iss", A_STRING, is_string),
    ("sub", A_STRING, is_string),
    ("jti", A_STRING, is_string),
    ("exp", A_DATE, is_date),
    ("nbf", A_DATE, is_date),
    ("iat", A_DATE, is_date),
    (
        "aud",
        "must be a string or an array of strings",
        is_audience,
    ),
];

/// The registered claims that have the wrong type, each with what it must be.
pub(super) fn mistyped(object: &Object<'_>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let wrong = |(name, _, holds): &TypeRule| object.get(name).is_some_and(|value| !holds(&value));
    TYPE_RULES
        .into_iter()
        .filter(wrong)
        .map(|(name, must, _)| (name, must))
}

fn is_string(value: &Value<'_>) -> bool {
    value.as_str().is_some()
}

fn is_date(value: &Value<'_>) -> bool {
    numeric_date(value).is_some()
}

fn is_audience(value: &Value<'_>) -> bool {
    audiences(value).is_some()
}
