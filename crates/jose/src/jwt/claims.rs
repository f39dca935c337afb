//! The claims of a token.

use std::borrow::Cow;
use std::time::Duration;

use super::date::numeric_date;
use crate::json::{Kind, Object, Value};

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

    /// Claims, header, `kid` and key set, without a copy.
    #[must_use]
    pub fn into_parts(self) -> ClaimsParts {
        ClaimsParts {
            json: self.object.into_text().into_owned(),
            header_json: self.header_json,
            kid: self.kid,
            key_set: self.key_set,
        }
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

/// What a verified token said, for whoever passes it on.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimsParts {
    /// As [`Claims::json`].
    pub json: String,
    /// As [`Claims::header_json`].
    pub header_json: String,
    /// As [`Claims::kid`].
    pub kid: String,
    /// As [`Claims::key_set`].
    pub key_set: String,
}

/// Shows nothing that the token says.
impl std::fmt::Debug for ClaimsParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimsParts")
            .field("kid", &self.kid)
            .field("key_set", &self.key_set)
            .finish_non_exhaustive()
    }
}

/// The registered claims that a verifier judges.
#[derive(Default)]
pub(super) struct Registered<'o> {
    pub(super) iss: Option<Value<'o>>,
    pub(super) aud: Option<Value<'o>>,
    pub(super) exp: Option<Duration>,
    pub(super) nbf: Option<Duration>,
    pub(super) iat: Option<Duration>,
}

impl<'o> Registered<'o> {
    /// Reads them in one pass; `None` where one is [`mistyped`].
    pub(super) fn read(object: &'o Object<'_>) -> Option<Self> {
        let mut found = Self::default();
        for member in object.members() {
            let value = member.value;
            match &*member.name() {
                "exp" => found.exp = Some(numeric_date(&value)?),
                "nbf" => found.nbf = Some(numeric_date(&value)?),
                "iat" => found.iat = Some(numeric_date(&value)?),
                "aud" if is_audience(&value) => found.aud = Some(value),
                "iss" if is_string(&value) => found.iss = Some(value),
                "sub" | "jti" if is_string(&value) => {}
                "aud" | "iss" | "sub" | "jti" => return None,
                _ => {}
            }
        }
        Some(found)
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
    value.kind() == Kind::String
}

fn is_date(value: &Value<'_>) -> bool {
    numeric_date(value).is_some()
}

fn is_audience(value: &Value<'_>) -> bool {
    is_string(value)
        || value
            .elements()
            .is_some_and(|mut names| names.all(|name| is_string(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn one_pass_finds_the_types_wrong_that_the_table_finds_wrong() {
        let values = [
            "1",
            "-1",
            "1.5",
            "\"s\"",
            "\"\\u0061\"",
            "\"\"",
            "[]",
            "[\"a\"]",
            "[\"a\",\"b\"]",
            "[1]",
            "[\"a\",[\"b\"]]",
            "{}",
            "{\"a\":\"b\"}",
            "null",
            "true",
            "253402300800",
        ];
        let names = [
            "iss",
            "sub",
            "jti",
            "aud",
            "exp",
            "nbf",
            "iat",
            "e\\u0078p",
            "other",
        ];
        for name in names {
            for value in values {
                let text = format!(r#"{{"x":[],"{name}":{value},"y":1}}"#);
                let object = Object::parse(text.as_bytes(), limits::CLAIMS).unwrap();
                let of_table = mistyped(&object).next().is_none();
                assert_eq!(Registered::read(&object).is_some(), of_table, "{text}");
            }
        }
    }

    #[test]
    fn one_pass_finds_what_a_look_up_finds() {
        let text = r#"{"i\u0061t":1,"aud":["a"],"nbf":2.5,"iss":"i","exp":3,"sub":"s"}"#;
        let object = Object::parse(text.as_bytes(), limits::CLAIMS).unwrap();
        let found = Registered::read(&object).unwrap();
        let date = |name| numeric_date(&object.get(name).unwrap());
        assert_eq!(
            (found.iss, found.aud, found.exp, found.nbf, found.iat),
            (
                object.get("iss"),
                object.get("aud"),
                date("exp"),
                date("nbf"),
                date("iat")
            )
        );
    }
}
