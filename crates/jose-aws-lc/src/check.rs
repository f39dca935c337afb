//! The arithmetic of an import: a private half belongs to its public one, a point is on its curve.

use aws_lc_rs::agreement::{self, PrivateKey as AgreementKey};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{self, Ed25519KeyPair, ParsedPublicKey};
use jose::key::{
    EcCurve, EcPrivateKey, KeyError, OkpCurve, OkpPrivateKey, OkpPublicKey, PrivateKey, PublicKey,
    RsaPrivateKey,
};

use crate::edwards;

pub(crate) fn private_key(key: &PrivateKey) -> Result<(), KeyError> {
    match key {
        PrivateKey::Rsa(key) => rsa_key_pair(key).map(|_consistent| ()),
        PrivateKey::Ec(key) => ec_key(key),
        PrivateKey::Okp(key) => okp_key(key),
    }
}

pub(crate) fn public_key(key: &PublicKey) -> Result<(), KeyError> {
    let parsed = match key {
        PublicKey::Rsa(key) => {
            ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key.to_pkcs1())
        }
        PublicKey::Ec(key) => match key.curve() {
            EcCurve::P256 => {
                ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key.uncompressed())
            }
            EcCurve::P384 => {
                ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key.uncompressed())
            }
            EcCurve::P521 => {
                ParsedPublicKey::new(&signature::ECDSA_P521_SHA512_FIXED, key.uncompressed())
            }
        },
        PublicKey::Okp(key) => return okp_point(key),
    };
    parsed
        .map(|_good| ())
        .map_err(|_rejected| KeyError::Inconsistent)
}

/// Every coordinate is one of X25519: the curve or its twist.
fn okp_point(key: &OkpPublicKey) -> Result<(), KeyError> {
    match key.curve() {
        OkpCurve::Ed25519 if !edwards::is_on_curve(key.x()) => Err(KeyError::Inconsistent),
        OkpCurve::Ed25519 | OkpCurve::X25519 => Ok(()),
    }
}

/// Loads all members; the engine checks n = p q, d, and the CRT values against each other.
pub(crate) fn rsa_key_pair(key: &RsaPrivateKey) -> Result<RsaKeyPair, KeyError> {
    let (public, private) = (key.public_key(), key.expose_parts());
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: public.n(),
            e: public.e(),
        },
        d: private.d,
        p: private.p,
        q: private.q,
        dP: private.dp,
        dQ: private.dq,
        qInv: private.qi,
    };
    RsaKeyPair::from_components(&components).map_err(|_rejected| KeyError::Inconsistent)
}

pub(crate) fn ec_key(key: &EcPrivateKey) -> Result<(), KeyError> {
    let computed = ec_public(key.public_key().curve(), key.expose_scalar())?;
    same(&computed, key.public_key().uncompressed())
}

/// The uncompressed point of a private scalar.
pub(crate) fn ec_public(curve: EcCurve, scalar: &[u8]) -> Result<Vec<u8>, KeyError> {
    let algorithm = match curve {
        EcCurve::P256 => &agreement::ECDH_P256,
        EcCurve::P384 => &agreement::ECDH_P384,
        EcCurve::P521 => &agreement::ECDH_P521,
    };
    agreement_public(algorithm, scalar)
}

fn agreement_public(
    algorithm: &'static agreement::Algorithm,
    private: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let key = AgreementKey::from_private_key(algorithm, private)
        .map_err(|_rejected| KeyError::Inconsistent)?;
    let public = key
        .compute_public_key()
        .map_err(|_unspecified| KeyError::Inconsistent)?;
    Ok(public.as_ref().to_vec())
}

fn okp_key(key: &OkpPrivateKey) -> Result<(), KeyError> {
    let computed = okp_public(key.public_key().curve(), key.expose_seed())?;
    same(&computed, key.public_key().x())
}

/// The public key of a private one.
pub(crate) fn okp_public(curve: OkpCurve, seed: &[u8]) -> Result<Vec<u8>, KeyError> {
    match curve {
        OkpCurve::X25519 => agreement_public(&agreement::X25519, seed),
        OkpCurve::Ed25519 => {
            use signature::KeyPair as _;
            let pair = Ed25519KeyPair::from_seed_unchecked(seed)
                .map_err(|_rejected| KeyError::Inconsistent)?;
            Ok(pair.public_key().as_ref().to_vec())
        }
    }
}

fn same(computed: &[u8], given: &[u8]) -> Result<(), KeyError> {
    if computed == given {
        Ok(())
    } else {
        Err(KeyError::Inconsistent)
    }
}
