//! Our side, through the public API alone: keys, and the four operations.

use std::sync::Arc;

use jose::algorithm::{Algorithm, ContentEncryption, KeyManagement};
use jose::jwe::{self, Decrypter, EncryptRequest, Encrypter, Fault};
use jose::jwk::{Jwk, PublicJwk, SecretJwk};
use jose::jws::{self, EncodedHeader};
use jose::jwt::{self, NotVerified, VerifyOptions, VerifyRules};
use jose::key::{KeyMaterial, Kid};
use jose::provider::Provider;
use jose_aws_lc::AwsLc;
use serde_json::Value;

use crate::row::Row;
use crate::views::View;

/// What every token of the matrix says: text beyond ASCII, an escape, numbers that a float would bend.
pub(crate) const CLAIMS: &str =
    r#"{"sub":"Zoë \u00e9","exp":4102444800,"n":9007199254740993,"x":1.10,"list":[1,{"a":null}]}"#;

/// A moment before `exp`.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A new key of ours.
pub(crate) fn generate(row: &Row) -> KeyMaterial {
    AwsLc.generate(&row.spec()).expect("a key").material
}

/// A peer's key, as an import reads it.
pub(crate) fn read(jwk: &Value) -> KeyMaterial {
    let parsed = SecretJwk::parse(jwk.to_string().as_bytes());
    let key = parsed
        .unwrap_or_else(|error| panic!("a key of a peer: {error}: {jwk}"))
        .key;
    AwsLc
        .check_material(&key)
        .expect("a peer's key is consistent");
    key
}

/// A key under its name and for its one algorithm.
pub(crate) fn named(key: KeyMaterial, kid: &str, algorithm: Algorithm) -> SecretJwk {
    Jwk::new(key)
        .with_kid(Kid::new(kid).expect("a kid"))
        .with_algorithm(algorithm)
}

/// What a peer verifies with or encrypts to: the public half as it is published, or the shared secret.
pub(crate) fn published(jwk: &SecretJwk) -> Value {
    match jwk.public() {
        Some(public) => serde_json::from_str(&public.to_json()).expect("JSON"),
        None => exposed(jwk),
    }
}

/// What a peer signs or decrypts with.
pub(crate) fn exposed(jwk: &SecretJwk) -> Value {
    serde_json::from_str(&jwk.expose_json()).expect("JSON")
}

fn kid(jwk: &SecretJwk) -> Option<&str> {
    jwk.kid.as_ref().map(Kid::as_str)
}

/// Signs [`CLAIMS`].
pub(crate) fn sign(jwk: &SecretJwk) -> String {
    let Some(Algorithm::Jws(algorithm)) = jwk.algorithm else {
        panic!("{jwk:?} does not sign");
    };
    let key = AwsLc
        .signing_key(algorithm, &jwk.key)
        .expect("a signing key");
    let header = EncodedHeader::new(algorithm, kid(jwk), Some("JWT"), None);
    jws::sign(&header, CLAIMS.as_bytes(), key.as_ref()).expect("a token")
}

/// The claims of a token, by the rules that services and clients share.
pub(crate) fn verify(view: &View, token: &str) -> Result<String, NotVerified> {
    let options = VerifyOptions {
        audience_unchecked: true,
        // a token without `kid` is looked up in the one set that is named
        key_sets: vec!["keys".to_owned()],
        ..VerifyOptions::default()
    };
    let rules = VerifyRules::try_from(options).expect("rules");
    let claims = jwt::verify(token, view, &rules, NOW)?;
    Ok(claims.json().to_owned())
}

/// The view of a verifier that holds `jwk` alone.
pub(crate) fn view_of(provider: &dyn Provider, jwk: &SecretJwk) -> View {
    let Some(Algorithm::Jws(algorithm)) = jwk.algorithm else {
        panic!("{jwk:?} does not sign");
    };
    let mut view = View::default();
    match &jwk.key {
        KeyMaterial::Symmetric(secret) => {
            view.add_secret(kid(jwk).expect("a kid"), algorithm, secret)
        }
        KeyMaterial::Private(_) => {
            // read back from what is published, as a verifier has it
            let json = jwk.public().expect("a public half").to_json();
            let public = PublicJwk::parse(json.as_bytes()).expect("our own JWK").key;
            view.add(provider, kid(jwk).expect("a kid"), algorithm, &public);
        }
    }
    view
}

/// Encrypts [`CLAIMS`].
pub(crate) fn encrypt(jwk: &SecretJwk, enc: ContentEncryption) -> String {
    let algorithm = key_management(jwk);
    let key: Arc<dyn Encrypter> = match &jwk.key {
        KeyMaterial::Symmetric(secret) => Arc::new(
            AwsLc
                .shared_key(algorithm, fixed(algorithm, enc), secret)
                .expect("a shared key"),
        ),
        KeyMaterial::Private(_) => {
            let json = jwk.public().expect("a public half").to_json();
            let public = PublicJwk::parse(json.as_bytes()).expect("our own JWK").key;
            AwsLc.encrypter(algorithm, &public).expect("a recipient")
        }
    };
    let request = EncryptRequest {
        kid: kid(jwk),
        ..EncryptRequest::default()
    };
    jwe::encrypt(&request, CLAIMS.as_bytes(), key.as_ref(), enc, &AwsLc).expect("a token")
}

/// A key that decrypts.
pub(crate) fn decrypter(jwk: &SecretJwk, enc: ContentEncryption) -> Arc<dyn Decrypter> {
    let algorithm = key_management(jwk);
    AwsLc
        .decrypter(algorithm, fixed(algorithm, enc), &jwk.key)
        .expect("a decrypting key")
}

/// Payload and `kid` of a token.
pub(crate) fn decrypt(
    key: &dyn Decrypter,
    token: &str,
) -> Result<(Vec<u8>, Option<String>), Fault> {
    let opened = jwe::decrypt(token, key).map_err(|failed| failed.fault())?;
    Ok((
        opened.payload.to_vec(),
        opened.header.kid().map(str::to_owned),
    ))
}

fn key_management(jwk: &SecretJwk) -> KeyManagement {
    match jwk.algorithm {
        Some(Algorithm::Jwe(algorithm)) => algorithm,
        other => panic!("{other:?} does not encrypt"),
    }
}

fn fixed(algorithm: KeyManagement, enc: ContentEncryption) -> Option<ContentEncryption> {
    (algorithm == KeyManagement::Dir).then_some(enc)
}
