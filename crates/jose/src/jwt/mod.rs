//! JWT claims rules (RFC 7519, RFC 8725, RFC 9068): what an issuer may write, and when a token is believed.
//!
//! [`PreparedClaims`] is the issuer's side, [`verify()`] the verifier's. Services and thin clients call the same
//! [`verify()`] over their own view of the keys ([`Trust`]), so that verdict and reason cannot differ.

mod checks;
mod claims;
mod date;
mod demands;
mod issue;
mod reason;
mod trust;
mod verify;

pub use checks::IAT_SKEW;
pub use claims::{Claims, ClaimsParts};
pub use demands::{MAX_LEEWAY, Purpose, VerifyOptions, VerifyRules};
pub use issue::{IssueRules, PreparedClaims, TokenHashes, Violation};
pub use reason::RejectReason;
pub use trust::{KeyState, Lookup, Profile, Standing, Trust, TrustedKey, Verifier, View};
pub use verify::{Begun, NotVerified, Pending, Question, Verified, begin, verify};

use crate::algorithm::JwsAlgorithm;
use crate::base64url;
use crate::provider::Digest;

/// `at_hash`, `c_hash`: the left half of the digest of a token or code, with the hash of the algorithm that
/// signs the ID token (OpenID Connect Core 3.1.3.6 and 3.3.2.11).
#[must_use]
pub fn half_hash(digest: &dyn Digest, algorithm: JwsAlgorithm, token: &str) -> String {
    let whole = digest.digest(algorithm.hash(), token.as_bytes());
    let (left, _right) = whole.split_at(whole.len() / 2);
    base64url::encode(left)
}

#[cfg(test)]
mod issue_tests;
#[cfg(test)]
mod verify_tests;
