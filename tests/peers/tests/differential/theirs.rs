//! The peers' side: our keys in their hands.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jose::algorithm::{JwsAlgorithm, KeyManagement};
use jose::jwk::SecretJwk;
use jose::key::KeyMaterial;
use josekit::jwe::{JweDecrypter, JweEncrypter, JweHeader};
use josekit::jwk::Jwk;
use josekit::jws::{JwsHeader, JwsSigner, JwsVerifier};
use josekit::{JoseError, jwe, jws};
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::ours::KID;

/// Our JWK, private, as josekit reads it.
pub(crate) fn private(jwk: &SecretJwk) -> Jwk {
    Jwk::from_bytes(jwk.expose_json().as_bytes()).unwrap()
}

/// Our JWK as it is published; a shared secret is what it is.
pub(crate) fn public(jwk: &SecretJwk) -> Jwk {
    jwk.public().map_or_else(
        || private(jwk),
        |public| Jwk::from_bytes(public.to_json()).unwrap(),
    )
}

/// josekit's signer and verifier; it knows Ed25519 as `EdDSA` only.
pub(crate) fn josekit_signature(
    algorithm: JwsAlgorithm,
    jwk: &SecretJwk,
) -> Option<(Box<dyn JwsSigner>, Box<dyn JwsVerifier>)> {
    use JwsAlgorithm as A;
    macro_rules! pair {
        ($algorithm:expr) => {
            (
                Box::new($algorithm.signer_from_jwk(&private(jwk)).unwrap()),
                Box::new($algorithm.verifier_from_jwk(&public(jwk)).unwrap()),
            )
        };
    }
    Some(match algorithm {
        A::Rs256 => pair!(jws::RS256),
        A::Rs384 => pair!(jws::RS384),
        A::Rs512 => pair!(jws::RS512),
        A::Ps256 => pair!(jws::PS256),
        A::Ps384 => pair!(jws::PS384),
        A::Ps512 => pair!(jws::PS512),
        A::Es256 => pair!(jws::ES256),
        A::Es384 => pair!(jws::ES384),
        A::Es512 => pair!(jws::ES512),
        A::EdDsa => pair!(jws::EdDSA),
        A::Hs256 => pair!(jws::HS256),
        A::Hs384 => pair!(jws::HS384),
        A::Hs512 => pair!(jws::HS512),
        A::Ed25519 => return None,
    })
}

/// A header as ours, for josekit.
pub(crate) fn josekit_header() -> JwsHeader {
    let mut header = JwsHeader::new();
    header.set_token_type("JWT");
    header.set_key_id(KID);
    header
}

/// josekit's encrypter and decrypter.
pub(crate) fn josekit_encryption(
    algorithm: KeyManagement,
    jwk: &SecretJwk,
) -> (Box<dyn JweEncrypter>, Box<dyn JweDecrypter>) {
    use KeyManagement as A;
    macro_rules! pair {
        ($algorithm:expr) => {
            (
                Box::new($algorithm.encrypter_from_jwk(&public(jwk)).unwrap()),
                Box::new($algorithm.decrypter_from_jwk(&private(jwk)).unwrap()),
            )
        };
    }
    match algorithm {
        A::RsaOaep => pair!(jwe::RSA_OAEP),
        A::RsaOaep256 => pair!(jwe::RSA_OAEP_256),
        A::EcdhEs => pair!(jwe::ECDH_ES),
        A::EcdhEsA128Kw => pair!(jwe::ECDH_ES_A128KW),
        A::EcdhEsA256Kw => pair!(jwe::ECDH_ES_A256KW),
        A::A128Kw => pair!(jwe::A128KW),
        A::A256Kw => pair!(jwe::A256KW),
        A::A128GcmKw => pair!(jwe::A128GCMKW),
        A::A256GcmKw => pair!(jwe::A256GCMKW),
        A::Dir => pair!(jwe::Dir),
    }
}

/// A header for josekit's encryption.
pub(crate) fn josekit_jwe_header(enc: &str) -> JweHeader {
    let mut header = JweHeader::new();
    header.set_content_encryption(enc);
    header
}

/// Opens a token with a `dir` key.
pub(crate) fn josekit_opens(jwk: &SecretJwk, token: &str) -> Result<Vec<u8>, JoseError> {
    let (_encrypter, decrypter) = josekit_encryption(KeyManagement::Dir, jwk);
    jwe::deserialize_compact(token, decrypter.as_ref()).map(|(payload, _header)| payload)
}

/// jsonwebtoken's name for an algorithm; it has neither ES512 nor the newer name of Ed25519.
pub(crate) fn jsonwebtoken_algorithm(algorithm: JwsAlgorithm) -> Option<jsonwebtoken::Algorithm> {
    algorithm.name().parse().ok()
}

/// Our key in jsonwebtoken's hands.
pub(crate) fn jsonwebtoken_keys(
    algorithm: JwsAlgorithm,
    jwk: &SecretJwk,
) -> (EncodingKey, DecodingKey) {
    let private = match &jwk.key {
        KeyMaterial::Symmetric(secret) => {
            return (
                EncodingKey::from_secret(secret.as_bytes()),
                DecodingKey::from_secret(secret.as_bytes()),
            );
        }
        KeyMaterial::Private(key) => key,
    };
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(private.to_pkcs8())
    );
    let encoding = match algorithm.name().as_bytes()[..2] {
        [b'R' | b'P', b'S'] => EncodingKey::from_rsa_pem(pem.as_bytes()),
        [b'E', b'S'] => EncodingKey::from_ec_pem(pem.as_bytes()),
        _ => EncodingKey::from_ed_pem(pem.as_bytes()),
    };
    let public = jwk.public().unwrap().to_json();
    let decoding = DecodingKey::from_jwk(&serde_json::from_str(&public).unwrap());
    (encoding.unwrap(), decoding.unwrap())
}
