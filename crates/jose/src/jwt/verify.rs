//! The verifier's side: when a token is believed.
//!
//! The order is fixed, and the first check that fails names the reason:
//!
//! 1. form: length, dots, base64url, header (TOO_LARGE, MALFORMED, CRITICAL_HEADER), a known `alg` (ALGORITHM)
//! 2. key: `kid` (UNKNOWN_KEY, KEY_REVOKED), its set among those named, its state (UNKNOWN_KEY), its algorithm
//!    equal to the header's (ALGORITHM)
//! 3. signature (SIGNATURE)
//! 4. `typ` (TYPE)
//! 5. claims: a strict JSON object (MALFORMED); registered claims of their types, `exp` present (CLAIM_INVALID)
//! 6. `iss` (ISSUER), `aud` (AUDIENCE)
//! 7. `exp` (EXPIRED), `nbf` and `iat` (NOT_YET_VALID)
//! 8. revocation of the token (REVOKED)
//!
//! [`verify()`] does all of it. A service that checks many signatures at once does the third step elsewhere:
//!
//! ```text
//! begin (1, 2) -> Question: message, signature, key -> whoever checks signatures
//!              -> Pending  <- the outcome -- settle_by_external_check (4 to 8) -> Verified<Claims>
//! ```
//!
//! A [`Pending`] shows nothing of what the token says, and there is no way out of it but to settle it: both ways end in
//! one private function, which gives claims only after an outcome that is good and is the one place that makes a
//! [`Verified`]. What this module cannot know is whether an outcome that comes from outside belongs to the question; so
//! the function that takes one says so in its name, consumes the [`Pending`], and whoever calls it keeps the two together.

use std::time::Duration;

use super::checks::{check_claims, check_type};
use super::claims::Claims;
use super::demands::{Purpose, VerifyOptions, VerifyRules};
use super::reason::RejectReason;
use super::trust::{KeyState, Lookup, Profile, Standing, Trust, TrustedKey, Verifier, View};
use crate::header::Header;
use crate::json::Object;
use crate::jws::UnverifiedJws;
use crate::limits;
use crate::provider::Failed;

/// Why there are no claims to believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotVerified {
    /// The token is rejected: a verdict.
    Rejected(RejectReason),
    /// This view cannot tell; the service can. Never a verdict.
    AskService,
}

impl From<RejectReason> for NotVerified {
    fn from(reason: RejectReason) -> Self {
        Self::Rejected(reason)
    }
}

/// Proof that a value comes out of a token that was verified. Nothing but the settling of a [`Pending`] makes one.
#[derive(Debug, Clone)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The one place where something becomes verified.
    fn by_signature_and_rules(value: T) -> Self {
        Self(value)
    }

    /// What was verified.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Judges `token` at `now` (seconds since 1970).
///
/// # Errors
/// [`NotVerified`], by the first check that fails in the order of this module.
pub fn verify(
    token: &str,
    trust: &dyn Trust,
    rules: &VerifyRules,
    now: u64,
) -> Result<Verified<Claims>, NotVerified> {
    let (question, pending) = begin(token, trust, rules)?;
    let outcome = question.answer();
    pending.settle(outcome, now)
}

/// Everything before the signature: form, key, state, algorithm. The token stays with the question: a caller that gives
/// a `String` gets its buffer back as the message.
///
/// # Errors
/// [`NotVerified`], by the first check that fails.
pub fn begin<'t, T: AsRef<str>, W: View<'t>>(
    token: T,
    view: W,
    rules: &'t VerifyRules,
) -> Result<Begun<'t, T, W>, NotVerified> {
    let rules = &rules.0;
    let jws = UnverifiedJws::parse(token.as_ref(), limits::CLAIMS.bytes)?;
    let key = find_key(&jws, &view, rules)?;
    // a view that mixes up its keys must not make one algorithm's key verify another's signature
    match W::algorithm(&key.verifier) {
        None => return Err(NotVerified::AskService),
        Some(own) if !own.is_same_as(jws.algorithm) => return Err(RejectReason::Algorithm.into()),
        Some(_) => {}
    }
    let signed_len = jws.signing_input.len();
    let pending = Pending {
        view,
        rules,
        kid: key.kid,
        key_set: key.key_set,
        bounds: Bounds {
            issuer: key.issuer,
            profile: key.profile,
            state: key.state,
        },
        header: jws.header,
        payload: jws.payload,
    };
    let question = Question {
        key: key.verifier,
        signature: jws.signature,
        signed_len,
        token,
    };
    Ok((question, pending))
}

/// A question and what waits for its answer.
pub type Begun<'t, T, W> = (Question<T, <W as View<'t>>::Key>, Pending<'t, W>);

/// Whether a signature holds: what a [`Pending`] waits for.
pub struct Question<T, K> {
    key: K,
    signature: Vec<u8>,
    signed_len: usize,
    token: T,
}

impl<T: AsRef<str>, K> Question<T, K> {
    /// What checks it.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// What was signed (RFC 7515 section 5.1).
    pub fn signing_input(&self) -> &[u8] {
        let token = self.token.as_ref().as_bytes();
        token.get(..self.signed_len).unwrap_or_default()
    }

    /// The signature, decoded.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl<K> Question<String, K> {
    /// Key, message and signature. The message is the token's own buffer, without its signature.
    #[must_use]
    pub fn into_parts(self) -> (K, String, Vec<u8>) {
        let mut message = self.token;
        message.truncate(self.signed_len);
        (self.key, message, self.signature)
    }
}

impl<T: AsRef<str>> Question<T, Verifier<'_>> {
    fn answer(&self) -> Result<(), Failed> {
        let key = match &self.key {
            Verifier::Held(key) => *key,
            Verifier::Shared(key) => key.as_ref(),
            Verifier::AskService => return Err(Failed),
        };
        key.verify(self.signing_input(), &self.signature)
    }
}

/// Shows nothing of the token.
impl<T, K> std::fmt::Debug for Question<T, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question")
            .field("signed_len", &self.signed_len)
            .finish_non_exhaustive()
    }
}

/// A token of good form under a key that may sign, before its signature is known to hold. Nothing in it can be read.
#[must_use = "a token that is not settled is neither believed nor rejected"]
pub struct Pending<'t, W> {
    view: W,
    rules: &'t VerifyOptions,
    kid: &'t str,
    key_set: &'t str,
    bounds: Bounds<'t>,
    header: Header<'static>,
    payload: Vec<u8>,
}

/// What the key's set says of its tokens.
pub(super) struct Bounds<'t> {
    pub(super) issuer: Option<&'t str>,
    pub(super) profile: &'t Profile,
    pub(super) state: KeyState,
}

impl<'t, W: View<'t>> Pending<'t, W> {
    /// Name of the key that has to verify it.
    pub fn kid(&self) -> &'t str {
        self.kid
    }

    /// Name of that key's set.
    pub fn key_set(&self) -> &'t str {
        self.key_set
    }

    /// Judges the token at `now` (seconds since 1970) with an outcome that somebody else found. `outcome` has to be the
    /// answer to the [`Question`] that came with this value, and to no other: claims are believed because of it.
    ///
    /// There is no service behind who checks signatures elsewhere: a view that does not know whether the token was revoked counts as
    /// one that says so.
    ///
    /// # Errors
    /// The first check that fails, from the signature on.
    pub fn settle_by_external_check(
        self,
        outcome: Result<(), Failed>,
        now: u64,
    ) -> Result<Verified<Claims>, RejectReason> {
        self.settle(outcome, now).map_err(|not| match not {
            NotVerified::Rejected(reason) => reason,
            NotVerified::AskService => RejectReason::Revoked,
        })
    }

    fn settle(
        self,
        outcome: Result<(), Failed>,
        now: u64,
    ) -> Result<Verified<Claims>, NotVerified> {
        outcome.map_err(|_failed| RejectReason::Signature)?;
        check_type(&self.header, self.bounds.profile, self.rules)?;
        let object = Object::from_vec(self.payload, limits::CLAIMS)
            .map_err(|_not_strict| RejectReason::Malformed)?;
        check_claims(&object, &self.bounds, self.rules, Duration::from_secs(now))?;
        let claims = Claims {
            object,
            header_json: self.header.into_json(),
            kid: self.kid.to_owned(),
            key_set: self.key_set.to_owned(),
        };
        match self.view.standing(&claims) {
            Standing::Stands => Ok(Verified::by_signature_and_rules(claims)),
            Standing::Revoked => Err(RejectReason::Revoked.into()),
            Standing::AskService => Err(NotVerified::AskService),
        }
    }
}

/// Shows nothing of the token.
impl<W> std::fmt::Debug for Pending<'_, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

fn find_key<'t, W: View<'t>>(
    jws: &UnverifiedJws<'_>,
    view: &W,
    rules: &VerifyOptions,
) -> Result<TrustedKey<'t, W::Key>, NotVerified> {
    let lookup = match (jws.header.kid(), rules.key_sets.as_slice()) {
        (Some(kid), _) => view.key(&kid),
        (None, [only]) => view.only_key(only, jws.algorithm),
        (None, _) => Lookup::Unknown,
    };
    let named =
        |key_set| rules.key_sets.is_empty() || rules.key_sets.iter().any(|set| set == key_set);
    let key = match lookup {
        Lookup::Unknown => return Err(RejectReason::UnknownKey.into()),
        Lookup::AskService => return Err(NotVerified::AskService),
        Lookup::Revoked { key_set } if named(key_set) => {
            return Err(RejectReason::KeyRevoked.into());
        }
        Lookup::Revoked { .. } => return Err(RejectReason::UnknownKey.into()),
        Lookup::Found(key) => key,
    };
    let verifies = key.state != KeyState::Retired || rules.purpose == Purpose::Hint;
    if !named(key.key_set) || !verifies {
        return Err(RejectReason::UnknownKey.into());
    }
    if !key.algorithm.is_same_as(jws.algorithm) {
        return Err(RejectReason::Algorithm.into());
    }
    Ok(key)
}
