//! josekit, in this process, on OpenSSL.

use josekit::{
    jwe::{self, JweDecrypter, JweEncrypter, JweHeader},
    jwk::Jwk,
    jws::{self, JwsHeader, JwsSigner, JwsVerifier},
};

use super::{CLAIMS, PAYLOAD};
use crate::{Fault, keys::Key, loops::Loop};
use jose::algorithm::{JwsAlgorithm, KeyManagement};

const WHO: &str = "josekit";

/// The OpenSSL that it runs on.
#[must_use]
pub fn openssl() -> &'static str {
    openssl::version::version()
}

/// Whole tokens.
///
/// # Errors
/// When it refuses the key.
pub fn signs(key: &Key) -> Result<Loop, Fault> {
    let (signer, _) = signature(key)?;
    let header = header();
    Ok(Loop::new(WHO, move || {
        let token = jws::serialize_compact(CLAIMS.as_bytes(), &header, &*signer)?;
        std::hint::black_box(token);
        Ok(1)
    }))
}

/// Whole tokens, without their claims: it looks at those elsewhere.
///
/// # Errors
/// When it refuses the key.
pub fn verifies(key: &Key) -> Result<Loop, Fault> {
    let (signer, verifier) = signature(key)?;
    let token = jws::serialize_compact(CLAIMS.as_bytes(), &header(), &*signer)?;
    Ok(Loop::new(WHO, move || {
        std::hint::black_box(jws::deserialize_compact(&token, &*verifier)?);
        Ok(1)
    }))
}

/// Whole tokens.
///
/// # Errors
/// When it refuses the key.
pub fn encrypts(key: &Key) -> Result<Loop, Fault> {
    let (encrypter, _) = encryption(key)?;
    let header = content_header();
    Ok(Loop::new(WHO, move || {
        let token = jwe::serialize_compact(&PAYLOAD, &header, &*encrypter)?;
        std::hint::black_box(token);
        Ok(1)
    }))
}

/// Whole tokens.
///
/// # Errors
/// When it refuses the key.
pub fn decrypts(key: &Key) -> Result<Loop, Fault> {
    let (encrypter, decrypter) = encryption(key)?;
    let token = jwe::serialize_compact(&PAYLOAD, &content_header(), &*encrypter)?;
    Ok(Loop::new(WHO, move || {
        std::hint::black_box(jwe::deserialize_compact(&token, &*decrypter)?);
        Ok(1)
    }))
}

fn header() -> JwsHeader {
    let mut header = JwsHeader::new();
    header.set_token_type("at+jwt");
    header
}

fn content_header() -> JweHeader {
    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    header
}

fn private(key: &Key) -> Result<Jwk, Fault> {
    Ok(Jwk::from_bytes(key.jwk().expose_json().as_bytes())?)
}

fn public(key: &Key) -> Result<Jwk, Fault> {
    Ok(Jwk::from_bytes(key.public_jwk()?)?)
}

type Signature = (Box<dyn JwsSigner>, Box<dyn JwsVerifier>);

fn signature(key: &Key) -> Result<Signature, Fault> {
    macro_rules! pair {
        ($algorithm:expr) => {
            (
                Box::new($algorithm.signer_from_jwk(&private(key)?)?),
                Box::new($algorithm.verifier_from_jwk(&public(key)?)?),
            )
        };
    }
    Ok(match key.jws()? {
        JwsAlgorithm::Rs256 => pair!(jws::RS256),
        JwsAlgorithm::Ps256 => pair!(jws::PS256),
        JwsAlgorithm::Es256 => pair!(jws::ES256),
        JwsAlgorithm::Ed25519 => pair!(jws::EdDSA),
        other => return Err(format!("josekit: no loop for {other}").into()),
    })
}

type Encryption = (Box<dyn JweEncrypter>, Box<dyn JweDecrypter>);

fn encryption(key: &Key) -> Result<Encryption, Fault> {
    macro_rules! pair {
        ($algorithm:expr) => {
            (
                Box::new($algorithm.encrypter_from_jwk(&public(key)?)?),
                Box::new($algorithm.decrypter_from_jwk(&private(key)?)?),
            )
        };
    }
    Ok(match key.jwe()? {
        KeyManagement::RsaOaep256 => pair!(jwe::RSA_OAEP_256),
        KeyManagement::EcdhEsA256Kw => pair!(jwe::ECDH_ES_A256KW),
        other => return Err(format!("josekit: no loop for {other}").into()),
    })
}
