//! Which algorithm signs ID tokens: what this client has seen last.

use std::sync::{Mutex, PoisonError};

use jose::jwk::read_public_set;
use jose::jws::UnverifiedJws;
use jose::limits;

use crate::SigningAlgorithm;

/// The key that signed the last ID token.
#[derive(Debug)]
pub(crate) struct Signer(Mutex<Seen>);

#[derive(Debug, Clone)]
struct Seen {
    kid: Option<String>,
    algorithm: SigningAlgorithm,
}

impl Signer {
    pub(crate) fn presumed(algorithm: SigningAlgorithm) -> Self {
        Self(Mutex::new(Seen {
            kid: None,
            algorithm,
        }))
    }

    pub(crate) fn algorithm(&self) -> SigningAlgorithm {
        self.seen().algorithm
    }

    /// The algorithm of `kid`, if that was the last one to sign.
    pub(crate) fn algorithm_of(&self, kid: &str) -> Option<SigningAlgorithm> {
        let seen = self.seen();
        (seen.kid.as_deref() == Some(kid)).then_some(seen.algorithm)
    }

    pub(crate) fn saw(&self, kid: &str, algorithm: SigningAlgorithm) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Seen {
            kid: Some(kid.to_owned()),
            algorithm,
        };
    }

    fn seen(&self) -> Seen {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The algorithm that a signed token names.
pub(crate) fn named_in_token(token: &str) -> Option<SigningAlgorithm> {
    UnverifiedJws::parse(token, limits::CLAIMS.bytes)
        .ok()
        .map(|jws| jws.algorithm)
}

/// The algorithm of `kid` in a JWK Set.
pub(crate) fn named_in_jwks(jwks: &str, kid: &str) -> Option<SigningAlgorithm> {
    let keys = read_public_set(jwks.as_bytes()).ok()?;
    let key = keys
        .into_iter()
        .flatten()
        .find(|key| key.kid.as_ref().is_some_and(|held| held.as_str() == kid))?;
    match key.algorithm? {
        jose::algorithm::Algorithm::Jws(algorithm) => Some(algorithm),
        jose::algorithm::Algorithm::Jwe(_) => None,
    }
}
