//! ECDH on P-256 in lanes, for ECDH-ES.
//!
//! X25519 has no lanes here. The library has it, and 12 of the 518 cases of Wycheproof come out wrong with a good
//! status: those whose coordinate is just below the prime or 2^254, where a carry is lost. Nothing about an agreed
//! secret shows that it is wrong, and wrong results on points that the other party chooses are how static keys leak
//! (Biham, Carmeli, Shamir 2008). P-256 passes the same tests.

use std::fmt;

use jose::key::{EcCurve, KeyError, PrivateKey, PublicKey};
use zeroize::{Zeroize, Zeroizing};

use crate::{Engine, FAILED, LANES, Outcomes, p256};

/// A private key that agrees, in the form that the library wants. Zeroised on drop.
pub struct Agreement(p256::Scalar);

impl Agreement {
    /// From how many jobs in a call lanes take less CPU time than aws-lc, on the machine that
    /// [`crate::Class::sign_pays_from`] names: a call takes 116 microseconds whatever its fill, so 38.7 each at three
    /// and 14.5 at eight; aws-lc takes 43.7, the parsing of the peer's key included.
    pub const PAYS_FROM: usize = 3;

    /// Parses `key` once and checks that its halves belong together. `None`: there are no lanes for this key.
    ///
    /// # Errors
    /// [`KeyError::Inconsistent`].
    pub fn prepare(engine: Engine, key: &PrivateKey) -> Result<Option<Self>, KeyError> {
        match key {
            PrivateKey::Ec(key) if key.public_key().curve() == EcCurve::P256 => {
                p256::Scalar::prepare(engine, key).map(|scalar| Some(Self(scalar)))
            }
            PrivateKey::Rsa(_) | PrivateKey::Ec(_) | PrivateKey::Okp(_) => Ok(None),
        }
    }
}

impl fmt::Debug for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agreement(P-256, redacted)")
    }
}

/// The other party's public key.
pub struct PeerKey(p256::Point);

impl PeerKey {
    /// Parses `key` and checks that its point is on the curve. `None`: there are no lanes for this key.
    ///
    /// # Errors
    /// [`KeyError::Inconsistent`].
    pub fn prepare(_engine: Engine, key: &PublicKey) -> Result<Option<Self>, KeyError> {
        match key {
            PublicKey::Ec(key) if key.curve() == EcCurve::P256 => {
                p256::Point::prepare(key).map(|point| Some(Self(point)))
            }
            PublicKey::Rsa(_) | PublicKey::Ec(_) | PublicKey::Okp(_) => Ok(None),
        }
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerKey(P-256)")
    }
}

/// One lane's work.
pub struct AgreementJob<'a> {
    /// The own key.
    pub key: &'a Agreement,
    /// The other party's.
    pub peer: &'a PeerKey,
    /// Takes the shared secret Z: the x coordinate, as ECDH-ES feeds it to its KDF (RFC 7518 section 4.6).
    pub shared: &'a mut Zeroizing<[u8; 32]>,
}

impl fmt::Debug for AgreementJob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementJob({:?})", self.key)
    }
}

/// Agrees in 1 to [`LANES`] jobs at once. More jobs than lanes fail all. Where a job fails its output is zeros.
pub fn agree(engine: Engine, jobs: &mut [AgreementJob<'_>]) -> Outcomes {
    for job in jobs.iter_mut() {
        job.shared.zeroize();
    }
    if jobs.len() > LANES {
        return FAILED;
    }
    let mut pairs = [None; LANES];
    for (pair, job) in pairs.iter_mut().zip(&*jobs) {
        *pair = Some((&job.key.0, &job.peer.0));
    }
    p256::agree(engine, jobs, pairs)
}
