//! The issuer's side: claims checked, completed and otherwise left as they are written.

use std::fmt;

use super::claims::mistyped;
use crate::json::{JsonError, Object, write_string};
use crate::limits;

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

/// Claims ready to sign.
#[derive(Clone, PartialEq, Eq)]
pub struct PreparedClaims {
    json: String,
    jti: Option<String>,
    issued_at: u64,
    expires_at: Option<u64>,
}

/// Shows the times and nothing that the caller said.
impl fmt::Debug for PreparedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedClaims")
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl PreparedClaims {
    /// Checks `claims_json` and completes it with `iss`, `iat`, `exp` and `jti`. Its members are carried over
    /// byte by byte: a number is never rewritten.
    ///
    /// # Errors
    /// Every violation at once, each naming its field.
    pub fn prepare(claims_json: &[u8], rules: &IssueRules<'_>) -> Result<Self, Vec<Violation>> {
        let lifetime = lifetime(rules);
        let object = Object::parse(claims_json, limits::CLAIMS).map_err(json_violation);
        let mut violations: Vec<_> = lifetime.as_ref().err().cloned().into_iter().collect();
        match &object {
            Ok(object) => violations.extend(claim_violations(object, rules)),
            Err(violation) => violations.push(violation.clone()),
        }
        match (object, lifetime) {
            (Ok(object), Ok(lifetime)) if violations.is_empty() => {
                complete(&object, lifetime, rules).map_err(|violation| vec![violation])
            }
            _ => Err(violations),
        }
    }

    /// The payload to sign.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// `jti`, given or added.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.jti.as_deref()
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

fn claim_violations(object: &Object<'_>, rules: &IssueRules<'_>) -> Vec<Violation> {
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

fn complete(
    object: &Object<'_>,
    lifetime: Option<u64>,
    rules: &IssueRules<'_>,
) -> Result<PreparedClaims, Violation> {
    let expires_at = lifetime.map(|seconds| rules.now.saturating_add(seconds));
    let given_jti = object.get("jti").and_then(|jti| jti.as_str());
    let has_issuer = object.get("iss").is_some();
    let mut tail = Tail {
        out: String::with_capacity(object.text().len() + 256),
        first: object.is_empty(),
    };
    tail.out.push_str(
        object
            .text()
            .trim_ascii()
            .strip_suffix('}')
            .unwrap_or_default(),
    );
    if let Some(issuer) = rules.issuer.filter(|_issuer| !has_issuer) {
        tail.string("iss", issuer);
    }
    tail.number("iat", rules.now);
    if let Some(expires_at) = expires_at {
        tail.number("exp", expires_at);
    }
    if let (None, Some(jti)) = (&given_jti, rules.jti) {
        tail.string("jti", jti);
    }
    tail.out.push('}');
    if tail.out.len() > limits::CLAIMS.bytes {
        return Err(Violation::new(
            "claims_json",
            "must leave room for iss, iat, exp and jti within 12 KiB",
        ));
    }
    let jti = given_jti.as_deref().or(rules.jti).map(str::to_owned);
    Ok(PreparedClaims {
        json: tail.out,
        jti,
        issued_at: rules.now,
        expires_at,
    })
}

/// Members added behind those that are there.
struct Tail {
    out: String,
    first: bool,
}

impl Tail {
    fn name(&mut self, name: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        write_string(name, &mut self.out);
        self.out.push(':');
    }

    fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(value, &mut self.out);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.out.push_str(&value.to_string());
    }
}
