//! What a revocation compares, as a digest.

use std::borrow::Cow;
use std::fmt;

use crate::json::{Object, Value};
use crate::jwt::Claims;
use crate::provider::Digest;

/// The longest value that a revocation names, in bytes.
pub const LONGEST_VALUE: usize = 1024;

/// Values up to this length are digested as they are, longer ones by their digest: what is digested fits on the stack.
const INLINE: usize = 128;

/// Sets the ids apart from every other use of the digest.
const CONTEXT: &[u8] = b"crypto-service/revoked-token/v1";

/// Which claims a revocation compares: nothing for `jti`, else a bit for each of `sub`, `sid` and client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(u8);

impl Claim {
    /// One token, by its `jti`.
    pub const JTI: Self = Self(0);
    /// Every one: `jti`, and the seven choices of `sub`, `sid` and client.
    pub const ALL: [Self; 8] = [
        Self(0),
        Self(1),
        Self(2),
        Self(3),
        Self(4),
        Self(5),
        Self(6),
        Self(7),
    ];

    const SUB: u8 = 1;
    const SID: u8 = 2;
    const CLIENT: u8 = 4;

    /// Its number, 0 to 7: the last four bits of an id.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Whether it is bound to an `iat`.
    #[must_use]
    pub fn is_bound_in_time(self) -> bool {
        self != Self::JTI
    }

    fn names(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (Self::SUB, "sub"),
            (Self::SID, "sid"),
            (Self::CLIENT, "client"),
        ];
        let named = parts.iter().filter(|(bit, _)| self.names(*bit));
        let names: Vec<_> = named.map(|(_, name)| *name).collect();
        f.write_str(&if names.is_empty() {
            "jti".to_owned()
        } else {
            names.join("+")
        })
    }
}

/// Tokens by what they say. Fields that are `None` are not compared.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Match<'a> {
    /// `sub`
    pub sub: Option<&'a str>,
    /// `sid`
    pub sid: Option<&'a str>,
    /// The client, as [`TokenFacts`] finds it.
    pub client: Option<&'a str>,
}

impl Match<'_> {
    /// Which claims it compares; `None` where it compares none.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        let bit = |value: Option<&str>, bit| if value.is_some() { bit } else { 0 };
        let bits =
            bit(self.sub, Claim::SUB) | bit(self.sid, Claim::SID) | bit(self.client, Claim::CLIENT);
        (bits != 0).then_some(Claim(bits))
    }
}

/// Shows which claims are compared, and no value.
impl fmt::Debug for Match<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Match").field(&self.claim()).finish()
    }
}

/// The first 124 bits of a digest, and four that say of which [`Claim`]. Collisions cannot be aimed at another's token: that is a second
/// preimage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

impl Id {
    /// The id of one token.
    #[must_use]
    pub fn of_jti(jti: &str, digest: &dyn Digest) -> Self {
        Self::of(Claim::JTI, &[jti], digest)
    }

    /// The id of tokens that agree; `None` where nothing is compared.
    #[must_use]
    pub fn of_match(wanted: &Match<'_>, digest: &dyn Digest) -> Option<Self> {
        let claim = wanted.claim()?;
        let parts = [wanted.sub, wanted.sid, wanted.client].map(Option::unwrap_or_default);
        Some(Self::of(claim, &parts, digest))
    }

    /// An id as it is stored; `None` where its last four bits name no claims.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let [.., last] = bytes;
        (last & 0x0f < 8).then_some(Self(bytes))
    }

    /// As it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Which claims it stands for.
    #[must_use]
    pub fn claim(&self) -> Claim {
        let [.., last] = self.0;
        Claim(last & 0x07)
    }

    /// The first and the second half as numbers.
    pub(super) fn halves(&self) -> (u64, u64) {
        let whole = u128::from_be_bytes(self.0);
        let half = |part: u128| u64::try_from(part & u128::from(u64::MAX)).unwrap_or_default();
        (half(whole >> 64), half(whole))
    }

    fn of(claim: Claim, parts: &[&str], digest: &dyn Digest) -> Self {
        let mut message = Message::default();
        message.push(CONTEXT);
        message.push(&[claim.0]);
        for part in parts {
            message.value(part, digest);
        }
        let whole = digest.sha256(message.bytes());
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(whole) {
            *to = from;
        }
        let [.., last] = &mut id;
        *last = *last & 0xf0 | claim.0;
        Self(id)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Id({:?} {:032x})",
            self.claim(),
            u128::from_be_bytes(self.0)
        )
    }
}

/// What is digested, on the stack: each value is preceded by its length, so that no two lists of values look alike.
struct Message {
    bytes: [u8; CONTEXT.len() + 1 + 3 * (2 + INLINE)],
    len: usize,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            bytes: [0; _],
            len: 0,
        }
    }
}

impl Message {
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end;
        }
    }

    fn value(&mut self, value: &str, digest: &dyn Digest) {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.push(&len.to_be_bytes());
        if value.len() <= INLINE {
            self.push(value.as_bytes());
        } else {
            self.push(&digest.sha256(value.as_bytes()));
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What a token says of itself, as far as revocations ask.
#[derive(Clone, Default)]
pub struct TokenFacts<'c> {
    jti: Option<Cow<'c, str>>,
    sub: Option<Cow<'c, str>>,
    sid: Option<Cow<'c, str>>,
    client: Option<Cow<'c, str>>,
    issued_at: Option<u64>,
}

impl<'c> TokenFacts<'c> {
    /// Those of a verified token.
    #[must_use]
    pub fn of(claims: &'c Claims) -> Self {
        Self {
            issued_at: claims.issued_at(),
            ..Self::of_members(|name| claims.get(name))
        }
    }

    /// Those of claims that are about to be signed; without `iat`.
    #[must_use]
    pub fn of_object(object: &'c Object<'_>) -> Self {
        Self::of_members(|name| object.get(name))
    }

    fn of_members(get: impl Fn(&str) -> Option<Value<'c>>) -> Self {
        let string = |name: &str| get(name).and_then(|value| value.as_str());
        Self {
            jti: string("jti"),
            sub: string("sub"),
            sid: string("sid"),
            client: string("client_id")
                .or_else(|| string("azp"))
                .or_else(|| get("aud").and_then(|aud| only(&aud))),
            issued_at: None,
        }
    }

    /// The same with that `iat`.
    #[must_use]
    pub fn issued(self, issued_at: Option<u64>) -> Self {
        Self { issued_at, ..self }
    }

    /// `iat`, where it has one.
    #[must_use]
    pub fn issued_at(&self) -> Option<u64> {
        self.issued_at
    }

    /// The id that a revocation by these claims has where it matches; `None` where the token lacks one of them.
    #[must_use]
    pub fn id(&self, claim: Claim, digest: &dyn Digest) -> Option<Id> {
        if claim == Claim::JTI {
            return Some(Id::of_jti(self.jti.as_deref()?, digest));
        }
        let part = |bit, value: &'_ Option<Cow<'c, str>>| match (claim.names(bit), value) {
            (false, _) => Some(None),
            (true, Some(value)) => Some(Some(value.clone())),
            (true, None) => None,
        };
        let sub = part(Claim::SUB, &self.sub)?;
        let sid = part(Claim::SID, &self.sid)?;
        let client = part(Claim::CLIENT, &self.client)?;
        let wanted = Match {
            sub: sub.as_deref(),
            sid: sid.as_deref(),
            client: client.as_deref(),
        };
        Id::of_match(&wanted, digest)
    }
}

/// Shows nothing that the token says.
impl fmt::Debug for TokenFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFacts")
            .field("issued_at", &self.issued_at)
            .finish_non_exhaustive()
    }
}

/// The one string of `aud`.
fn only<'c>(aud: &Value<'c>) -> Option<Cow<'c, str>> {
    if let Some(one) = aud.as_str() {
        return Some(one);
    }
    let mut all = aud.elements()?;
    match (all.next(), all.next()) {
        (Some(one), None) => one.as_str(),
        _ => None,
    }
}
