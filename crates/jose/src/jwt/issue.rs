//! The issuer's side: claims checked, completed and otherwise left as they are written.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::claims::mistyped;
use super::date::numeric_date;
use crate::json::{JsonError, Kind, Object, Value, write_string};
use crate::jws::{EncodedHeader, SignError, UnsignedToken};
use crate::limits;

/// What is added to most claims takes about this much, besides the issuer.
const TAIL_LEN: usize = 128;

/// What a caller got wrong. The edge reports all of them at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field: `claims_json`, `claims.<name>`, `lifetime`, ...
    pub field: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

impl Violation {
    const fn new(field: &'static str, fix: &'static str) -> Self {
        Self { field, fix }
    }
}

/// What the key set and the request say about a token. Times are seconds, `now` since 1970.
#[derive(Debug, Clone, Copy)]
pub struct IssueRules<'a> {
    /// The set's issuer, where it has one.
    pub issuer: Option<&'a str>,
    /// The present time.
    pub now: u64,
    /// The lifetime that is asked for.
    pub lifetime: Option<u64>,
    /// The lifetime where none is asked for.
    pub default_lifetime: u64,
    /// The longest lifetime.
    pub max_lifetime: u64,
    /// Whether the profile permits a token without `exp`; one is written then only where a lifetime is asked for.
    pub expiry_optional: bool,
    /// The `jti` to add where the claims have none; no `jti` is added without one.
    pub jti: Option<&'a str>,
}

/// Hashes of tokens and codes that an ID token names (see [`half_hash`](super::half_hash)). Claims that are given must not
/// hold what is added.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenHashes<'a> {
    /// `at_hash`, of the access token.
    pub at_hash: Option<&'a str>,
    /// `c_hash`, of the authorization code.
    pub c_hash: Option<&'a str>,
}

/// Claims ready to sign: what was given, up to its last brace, and what is added behind it. They meet in the token.
#[derive(Clone, PartialEq, Eq)]
pub struct PreparedClaims<'c> {
    head: &'c str,
    tail: String,
    jti: Option<Cow<'c, str>>,
    issued_at: u64,
    expires_at: Option<u64>,
}

/// Shows the times and nothing that the caller said.
impl fmt::Debug for PreparedClaims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedClaims")
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl<'c> PreparedClaims<'c> {
    /// Checks `claims_json` and completes it with `iss`, `iat`, `exp` and `jti`. Its members are carried over
    /// byte by byte: a number is never rewritten.
    ///
    /// # Errors
    /// Every violation at once, each naming its field.
    pub fn prepare(claims_json: &'c [u8], rules: &IssueRules<'c>) -> Result<Self, Vec<Violation>> {
        Self::prepare_with(claims_json, rules, TokenHashes::default())
    }

    /// As [`PreparedClaims::prepare`], with the hashes of other tokens.
    ///
    /// # Errors
    /// As [`PreparedClaims::prepare`].
    pub fn prepare_with(
        claims_json: &'c [u8],
        rules: &IssueRules<'c>,
        hashes: TokenHashes<'_>,
    ) -> Result<Self, Vec<Violation>> {
        let lifetime = lifetime(rules);
        let object = Object::parse(claims_json, limits::CLAIMS).map_err(json_violation);
        let mut violations: Vec<_> = lifetime.as_ref().err().cloned().into_iter().collect();
        let given = object.as_ref().map(Given::of).unwrap_or_default();
        match &object {
            Ok(object) if !given.is_sound(rules, hashes) => {
                violations.extend(claim_violations(object, rules, hashes));
            }
            Ok(_sound) => {}
            Err(violation) => violations.push(violation.clone()),
        }
        match (std::str::from_utf8(claims_json), lifetime) {
            (Ok(text), Ok(lifetime)) if violations.is_empty() => {
                let claims = Self::complete(text, &given, lifetime, (rules, hashes));
                claims.map_err(|violation| vec![violation])
            }
            _ => Err(violations),
        }
    }

    fn complete(
        text: &'c str,
        given: &Given<'_>,
        lifetime: Option<u64>,
        (rules, hashes): (&IssueRules<'c>, TokenHashes<'_>),
    ) -> Result<Self, Violation> {
        let head = text.trim_ascii().strip_suffix('}').unwrap_or_default();
        let expires_at = lifetime.map(|seconds| rules.now.saturating_add(seconds));
        let given_jti = given.jti.and_then(|jti| jti.as_str());
        let mut tail = Tail::of(rules, given.is_empty);
        tail.string("iss", rules.issuer.filter(|_issuer| given.iss.is_none()));
        tail.number("iat", Some(rules.now));
        tail.number("exp", expires_at);
        tail.string("jti", rules.jti.filter(|_jti| given_jti.is_none()));
        tail.string("at_hash", hashes.at_hash);
        tail.string("c_hash", hashes.c_hash);
        tail.out.push('}');
        if head.len() + tail.out.len() > limits::CLAIMS.bytes {
            return Err(Violation::new(
                "claims_json",
                "must leave room for iss, iat, exp, jti and hashes within 12 KiB",
            ));
        }
        Ok(Self {
            head,
            tail: tail.out,
            jti: given_jti
                .map(|jti| Cow::Owned(jti.into_owned()))
                .or_else(|| rules.jti.map(Cow::Borrowed)),
            issued_at: rules.now,
            expires_at,
        })
    }

    /// The payload to sign, as a text of its own.
    #[must_use]
    pub fn json(&self) -> String {
        [self.head, &self.tail].concat()
    }

    /// The token that lacks its signature: the claims go straight into its buffer.
    ///
    /// # Errors
    /// [`SignError::TooLarge`].
    pub fn unsigned(
        &self,
        header: &EncodedHeader,
        signature_len: usize,
    ) -> Result<UnsignedToken, SignError> {
        let parts = [self.head.as_bytes(), self.tail.as_bytes()];
        UnsignedToken::of_parts(header, parts, signature_len)
    }

    /// `jti`, given or added.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.jti.as_deref()
    }

    /// As [`PreparedClaims::jti`], for who needs nothing else any more.
    #[must_use]
    pub fn into_jti(self) -> Option<Cow<'c, str>> {
        self.jti
    }

    /// `iat`, in seconds since 1970.
    #[must_use]
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// `exp`, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }
}

/// The claims that the rules speak of, found in one pass.
#[derive(Default)]
struct Given<'o> {
    iss: Option<Value<'o>>,
    sub: Option<Value<'o>>,
    aud: Option<Value<'o>>,
    nbf: Option<Value<'o>>,
    jti: Option<Value<'o>>,
    is_empty: bool,
    /// `iat` or `exp`.
    times: bool,
    at_hash: bool,
    c_hash: bool,
}

impl<'o> Given<'o> {
    fn of(object: &'o Object<'_>) -> Self {
        let mut given = Self {
            is_empty: object.is_empty(),
            ..Self::default()
        };
        for member in object.members() {
            match &*member.name() {
                "iss" => given.iss = Some(member.value),
                "sub" => given.sub = Some(member.value),
                "aud" => given.aud = Some(member.value),
                "nbf" => given.nbf = Some(member.value),
                "jti" => given.jti = Some(member.value),
                "iat" | "exp" => given.times = true,
                "at_hash" => given.at_hash = true,
                "c_hash" => given.c_hash = true,
                _ => {}
            }
        }
        given
    }

    /// Whether no rule is broken; which one is asked only then.
    fn is_sound(&self, rules: &IssueRules<'_>, hashes: TokenHashes<'_>) -> bool {
        let string = |value: &Value<'_>| value.kind() == Kind::String;
        let audience = |aud: &Value<'_>| {
            string(aud)
                || aud
                    .elements()
                    .is_some_and(|mut all| all.all(|one| string(&one)))
        };
        let issuer = |iss: &Value<'_>| {
            let is = |issuer| iss.as_str().is_some_and(|iss| iss == issuer);
            string(iss) && rules.issuer.is_none_or(is)
        };
        let added_twice =
            self.at_hash && hashes.at_hash.is_some() || self.c_hash && hashes.c_hash.is_some();
        !(self.times || added_twice)
            && self.iss.as_ref().is_none_or(issuer)
            && self.sub.as_ref().is_none_or(string)
            && self.jti.as_ref().is_none_or(string)
            && self.aud.as_ref().is_none_or(audience)
            && self
                .nbf
                .as_ref()
                .is_none_or(|nbf| numeric_date(nbf).is_some())
    }
}

fn lifetime(rules: &IssueRules<'_>) -> Result<Option<u64>, Violation> {
    match rules.lifetime {
        Some(0) => Err(Violation::new("lifetime", "must be at least one second")),
        Some(asked) if asked > rules.max_lifetime => Err(Violation::new(
            "lifetime",
            "longer than the key set permits",
        )),
        Some(asked) => Ok(Some(asked)),
        None if rules.expiry_optional => Ok(None),
        None => Ok(Some(rules.default_lifetime.min(rules.max_lifetime))),
    }
}

fn json_violation(error: JsonError) -> Violation {
    let fix = match error {
        JsonError::TooLarge => "must be at most 12 KiB",
        JsonError::TooDeep => "must be nested at most 32 levels deep",
        JsonError::Duplicate => "must not have two members with one name",
        JsonError::NotAnObject => "must be a JSON object",
        JsonError::Syntax => "must be JSON in UTF-8",
    };
    Violation::new("claims_json", fix)
}

fn claim_violations(
    object: &Object<'_>,
    rules: &IssueRules<'_>,
    hashes: TokenHashes<'_>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for name in ["claims.iat", "claims.exp"] {
        if name
            .strip_prefix("claims.")
            .is_some_and(|claim| object.get(claim).is_some())
        {
            violations.push(Violation::new(name, "must be absent: use lifetime"));
        }
    }
    for (claim, must) in mistyped(object) {
        if let Some(field) = field_of(claim) {
            violations.push(Violation::new(field, must));
        }
    }
    let given = object.get("iss").and_then(|iss| iss.as_str());
    if let (Some(given), Some(issuer)) = (given, rules.issuer)
        && given != issuer
    {
        violations.push(Violation::new(
            "claims.iss",
            "must be the issuer of the key set, or absent",
        ));
    }
    for (claim, field, added) in [
        ("at_hash", "claims.at_hash", hashes.at_hash),
        ("c_hash", "claims.c_hash", hashes.c_hash),
    ] {
        if added.is_some() && object.get(claim).is_some() {
            violations.push(Violation::new(
                field,
                "must be absent: it is added, from what the request names",
            ));
        }
    }
    violations
}

/// `iat` and `exp` have been reported already, whatever their type.
fn field_of(claim: &str) -> Option<&'static str> {
    match claim {
        "iss" => Some("claims.iss"),
        "sub" => Some("claims.sub"),
        "aud" => Some("claims.aud"),
        "nbf" => Some("claims.nbf"),
        "jti" => Some("claims.jti"),
        _ => None,
    }
}

/// Members added behind those that are there.
struct Tail {
    out: String,
    first: bool,
}

impl Tail {
    fn of(rules: &IssueRules<'_>, first: bool) -> Self {
        let room = TAIL_LEN + rules.issuer.map_or(0, str::len);
        Self {
            out: String::with_capacity(room),
            first,
        }
    }

    fn name(&mut self, name: &'static str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    fn string(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.name(name);
            write_string(value, &mut self.out);
        }
    }

    fn number(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.name(name);
            // writing into a String cannot fail
            let _ = write!(self.out, "{value}");
        }
    }
}
