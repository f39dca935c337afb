//! Protected headers (RFC 7515 section 4, RFC 7516 section 4), read strictly.
//!
//! A header is an unauthenticated claim of the sender until its signature or tag holds. Keys that it brings
//! along (`jwk`, `jku`, `x5u`, `x5c`) are never looked at. No extension is understood here, so every `crit`
//! is refused, and with it `b64` (RFC 7797), also where a sender forgets to list it.

use std::borrow::Cow;

use crate::json::{JsonError, Object, Value};
use crate::limits;

/// Why a header is not read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Longer than 4 KiB.
    #[error("the header is longer than 4 KiB")]
    TooLarge,
    /// Not a strict JSON object, `alg` is absent, or a registered parameter has the wrong type.
    #[error("the header is malformed")]
    Malformed,
    /// It has extensions that must be understood and are not.
    #[error("the header has a critical parameter that is not understood")]
    Critical,
}

/// A checked protected header over its own or borrowed text.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    object: Object<'a>,
}

impl<'a> Header<'a> {
    /// Reads the decoded header.
    ///
    /// # Errors
    /// [`HeaderError`]: first the form, then the types of registered parameters, then `crit`.
    pub fn parse(json: &'a [u8]) -> Result<Self, HeaderError> {
        Object::parse(json, limits::HEADER)
            .map_err(HeaderError::from)
            .and_then(Self::checked)
    }

    /// As [`Header::parse`], for text that the header shall own.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn from_vec(json: Vec<u8>) -> Result<Header<'static>, HeaderError> {
        Object::from_vec(json, limits::HEADER)
            .map_err(HeaderError::from)
            .and_then(Header::checked)
    }

    fn checked(object: Object<'a>) -> Result<Self, HeaderError> {
        let strings = ["alg", "kid", "typ", "cty", "enc"];
        let well_typed = strings.iter().all(|name| {
            object
                .get(name)
                .is_none_or(|value| value.as_str().is_some())
        });
        if !well_typed || object.get("alg").is_none() {
            return Err(HeaderError::Malformed);
        }
        if object.get("crit").is_some() || object.get("b64").is_some() {
            return Err(HeaderError::Critical);
        }
        Ok(Self { object })
    }

    /// `alg`, as written.
    #[must_use]
    pub fn alg(&self) -> Cow<'_, str> {
        self.string("alg").unwrap_or_default()
    }

    /// `enc`, as written.
    #[must_use]
    pub fn enc(&self) -> Option<Cow<'_, str>> {
        self.string("enc")
    }

    /// `kid`, as written.
    #[must_use]
    pub fn kid(&self) -> Option<Cow<'_, str>> {
        self.string("kid")
    }

    /// `typ`, as written.
    #[must_use]
    pub fn typ(&self) -> Option<Cow<'_, str>> {
        self.string("typ")
    }

    /// `cty`, as written.
    #[must_use]
    pub fn cty(&self) -> Option<Cow<'_, str>> {
        self.string("cty")
    }

    /// Any parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.object.get(name)
    }

    /// The header's JSON, as the sender wrote it.
    #[must_use]
    pub fn json(&self) -> &str {
        self.object.text()
    }

    /// As [`Header::json`], without a copy where the text is owned.
    #[must_use]
    pub fn into_json(self) -> String {
        self.object.into_text().into_owned()
    }

    fn string(&self, name: &str) -> Option<Cow<'_, str>> {
        self.object.get(name).and_then(|value| value.as_str())
    }
}

/// RFC 7515 section 4.1.11: not empty, names only.
impl From<JsonError> for HeaderError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::TooLarge => Self::TooLarge,
            _ => Self::Malformed,
        }
    }
}

/// Whether two values of `typ` or `cty` name one media type (RFC 7515 section 4.1.9):
/// case does not count, and `application/` may be left out where no other slash follows.
#[must_use]
pub fn same_media_type(a: &str, b: &str) -> bool {
    short_media_type(a).eq_ignore_ascii_case(short_media_type(b))
}

fn short_media_type(name: &str) -> &str {
    const PREFIX: &str = "application/";
    match name.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        _ => name,
    }
}

/// Whether `name` can stand in `typ` or `cty`: 1 to 127 characters of RFC 6838 section 4.2, with one slash at most.
#[must_use]
pub fn is_media_type(name: &str) -> bool {
    let part = |part: &str| {
        (1..=127).contains(&part.len())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    match name.split_once('/') {
        Some((main, sub)) => part(main) && part(sub),
        None => part(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_parameters_have_their_types_and_crit_is_refused() {
        use HeaderError::{Critical, Malformed, TooLarge};
        let long = format!(r#"{{"alg":"ES256","x":"{}"}}"#, "x".repeat(4096));
        for (json, error) in [
            (r#"{}"#, Malformed),
            (r#"{"alg":1}"#, Malformed),
            (r#"{"alg":null}"#, Malformed),
            (r#"{"alg":"ES256","kid":1}"#, Malformed),
            (r#"{"alg":"ES256","typ":["JWT"]}"#, Malformed),
            (r#"{"alg":"ES256","cty":1}"#, Malformed),
            (r#"{"alg":"ES256","enc":null}"#, Malformed),
            (r#"{"alg":"ES256","alg":"none"}"#, Malformed),
            (r#"{"alg":"ES256","\u0061lg":"none"}"#, Malformed),
            (r#"{"alg":"ES256","crit":[]}"#, Critical),
            (r#"{"alg":"ES256","crit":"exp"}"#, Critical),
            (r#"{"alg":"ES256","crit":[1]}"#, Critical),
            (r#"{"alg":"ES256","x":[[[[]]]]}"#, Malformed),
            (r#"["alg"]"#, Malformed),
            (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, Critical),
            (r#"{"alg":"ES256","crit":["alg"]}"#, Critical),
            (r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, Critical),
            (r#"{"alg":"ES256","b64":false}"#, Critical),
            (r#"{"alg":"ES256","b64":true}"#, Critical),
            (long.as_str(), TooLarge),
        ] {
            assert_eq!(Header::parse(json.as_bytes()).unwrap_err(), error, "{json}");
        }
        let header = Header::parse(
            br#"{"alg":"ES256","kid":"k\u0031","typ":"JWT","jwk":{"kty":"EC"},"x":[[[]]]}"#,
        )
        .unwrap();
        assert_eq!(
            (
                header.alg().as_ref(),
                header.kid().as_deref(),
                header.typ().as_deref(),
                header.cty()
            ),
            ("ES256", Some("k1"), Some("JWT"), None)
        );
    }

    #[test]
    fn media_types_compare_without_case_and_with_or_without_application() {
        for (a, b, same) in [
            ("JWT", "jwt", true),
            ("at+jwt", "application/AT+JWT", true),
            ("APPLICATION/jwt", "JWT", true),
            ("JWT", "at+jwt", false),
            ("application/a/b", "a/b", false),
            ("text/jwt", "jwt", false),
            ("", "application/", true),
            ("", "JWT", false),
        ] {
            assert_eq!(same_media_type(a, b), same, "{a} {b}");
        }
        for (name, good) in [
            ("JWT", true),
            ("application/at+jwt", true),
            ("", false),
            ("a/b/c", false),
            ("a b", false),
            ("a\"", false),
            ("/a", false),
        ] {
            assert_eq!(is_media_type(name), good, "{name:?}");
        }
    }
}
