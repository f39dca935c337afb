//! jsonwebtoken, in this process, on aws-lc-rs.

use jose::jwk::Jwk;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, jwk::Jwk as TheirJwk,
};

use super::{AUDIENCE, CLAIMS};
use crate::{Fault, keys::Key, loops::Loop};

const WHO: &str = "jsonwebtoken";

/// Whole tokens: it has no smaller step, and parses an RSA key for each of them.
///
/// # Errors
/// When it refuses the key.
pub fn signs(key: &Key) -> Result<Loop, Fault> {
    let claims: serde_json::Value = serde_json::from_str(CLAIMS)?;
    let (header, encoding) = (Header::new(algorithm(key)?), encoding(key)?);
    Ok(Loop::new(WHO, move || {
        std::hint::black_box(encode(&header, &claims, &encoding)?);
        Ok(1)
    }))
}

/// Whole tokens, claims included.
///
/// # Errors
/// When it refuses the key.
pub fn verifies(key: &Key) -> Result<Loop, Fault> {
    let algorithm = algorithm(key)?;
    let claims: serde_json::Value = serde_json::from_str(CLAIMS)?;
    let token = encode(&Header::new(algorithm), &claims, &encoding(key)?)?;
    let public = Jwk::new(key.public()).to_json();
    let jwk: TheirJwk = serde_json::from_str(&public)?;
    let decoding = DecodingKey::from_jwk(&jwk)?;
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[AUDIENCE]);
    Ok(Loop::new(WHO, move || {
        let decoded = decode::<serde_json::Value>(&token, &decoding, &validation)?;
        std::hint::black_box(decoded);
        Ok(1)
    }))
}

/// Its names are those of RFC 7518 and RFC 8037.
fn algorithm(key: &Key) -> Result<Algorithm, Fault> {
    let name = match key.jws()?.name() {
        "Ed25519" => "EdDSA",
        name => name,
    };
    Ok(name.parse()?)
}

fn encoding(key: &Key) -> Result<EncodingKey, Fault> {
    let pem = key.pem();
    Ok(match key.jws()?.name() {
        "Ed25519" => EncodingKey::from_ed_pem(pem.as_bytes())?,
        name if name.starts_with("ES") => EncodingKey::from_ec_pem(pem.as_bytes())?,
        _ => EncodingKey::from_rsa_pem(pem.as_bytes())?,
    })
}
