//! Keys as they enter: generated here, or imported as a JWK or as PKCS#8.

mod pkcs8;

use std::{fmt, sync::Arc};

use jose::{
    algorithm::{Algorithm, ContentEncryption},
    jwk::{AnyJwk, Jwk, KeyUse, PublicJwk},
    key::{KeyError, KeyMaterial, Kid, PublicKey},
    provider::Failed,
};
use jose_aws_lc::{AgreementCurve, AwsLc, GeneratedKey, RsaBits};
use keyring::{KeySpec, NewKey, Policy};
use zeroize::Zeroizing;

use crate::seal::Ring;

pub use pkcs8::{Pkcs8, Pkcs8Error};

/// Makes keys. Blocks: RSA takes its time.
pub trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// A fresh key.
    ///
    /// # Errors
    /// [`Failed`] where the generator fails, or the spec is none that it knows.
    fn generate(&self, spec: &KeySpec) -> Result<GeneratedKey, Failed>;

    /// Whether that takes no time to speak of, so that it needs no thread of its own.
    fn is_instant(&self) -> bool {
        false
    }
}

impl KeySource for AwsLc {
    fn generate(&self, spec: &KeySpec) -> Result<GeneratedKey, Failed> {
        let algorithm = Algorithm::parse(spec.algorithm.as_str()).map_err(|_unknown| Failed)?;
        let rsa_bits = spec.rsa_bits.map(|bits| RsaBits::of(bits).ok_or(Failed));
        let curve = spec.curve.as_deref();
        let curve = curve.map(|name| AgreementCurve::named(name).ok_or(Failed));
        let enc = spec
            .enc
            .as_deref()
            .map(ContentEncryption::parse)
            .transpose()
            .map_err(|_unknown| Failed)?;
        let spec = jose_aws_lc::KeySpec {
            algorithm,
            rsa_bits: rsa_bits.transpose()?.unwrap_or_default(),
            curve: curve.transpose()?.unwrap_or_default(),
            enc: enc.unwrap_or(ContentEncryption::A256Gcm),
        };
        Self::generate(self, &spec)
    }
}

/// A key that is about to enter a set.
#[derive(Clone)]
pub struct FreshKey {
    /// What the lifecycle knows of it.
    pub new: NewKey,
    /// The public JWK, with `kid`, `alg` and `use`; `None` for symmetric keys.
    pub public_jwk: Option<String>,
    /// PKCS#8 DER or the secret; `None` for public keys.
    pub secret: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for FreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshKey")
            .field("kid", &self.new.kid)
            .finish_non_exhaustive()
    }
}

/// Generates a key off the async threads.
///
/// # Errors
/// [`Failed`].
pub async fn generate(
    source: &Arc<dyn KeySource>,
    spec: KeySpec,
    data_key: &Ring,
) -> Result<FreshKey, Failed> {
    let (source, wanted) = (Arc::clone(source), spec.clone());
    let generated = if source.is_instant() {
        source.generate(&wanted)?
    } else {
        let made = tokio::task::spawn_blocking(move || source.generate(&wanted));
        made.await.map_err(|_panicked| Failed)??
    };
    let material = match &generated.public {
        Some(public) => public.thumbprint(&AwsLc),
        None => data_key.material(&generated.material.to_bytes()),
    };
    let public = generated.public.map(|key| {
        Jwk::new(key)
            .with_kid(generated.kid.clone())
            .with_algorithm(generated.algorithm)
    });
    let new = NewKey {
        kid: generated.kid.as_str().to_owned(),
        algorithm: spec.algorithm,
        enc: spec.enc,
        material,
        public_only: false,
    };
    Ok(FreshKey {
        new,
        public_jwk: public.as_ref().map(PublicJwk::to_json),
        secret: Some(generated.material.to_bytes()),
    })
}

/// A key as it was given.
pub enum Given {
    /// A JWK, zeroised when it is dropped.
    Jwk(Zeroizing<String>),
    /// PKCS#8.
    Pkcs8(Pkcs8),
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jwk(_) => "Jwk(redacted)",
            Self::Pkcs8(_) => "Pkcs8(redacted)",
        })
    }
}

/// A key that has been read, and fits its set.
pub struct ImportedKey {
    key: Imported,
    kid: String,
    algorithm: Algorithm,
    spec: KeySpec,
}

enum Imported {
    Public(PublicKey),
    Secret(KeyMaterial),
}

impl fmt::Debug for ImportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportedKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Why a key is not imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The key is not acceptable.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// It is for something else than the set.
    #[error("use: the key is for {0}, the set is not")]
    Use(&'static str),
    /// It is not PKCS#8.
    #[error("{0}")]
    Pkcs8(Pkcs8Error),
}

impl ImportedKey {
    /// Reads a key for a set with that policy.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn read(given: &Given, policy: &Policy) -> Result<Self, ImportError> {
        match given {
            Given::Jwk(jwk) => Self::parse(jwk, policy),
            Given::Pkcs8(key) => Self::from_pkcs8(key, policy),
        }
    }

    /// Reads a JWK for a set with that policy: strictly, and with its arithmetic checked. Blocks for as long as a signature takes.
    ///
    /// # Errors
    /// [`ImportError`], naming the member at fault.
    pub fn parse(jwk: &str, policy: &Policy) -> Result<Self, ImportError> {
        match AnyJwk::parse(jwk.as_bytes())? {
            AnyJwk::Public(jwk) => {
                AwsLc.check_public(&jwk.key)?;
                let (kid, algorithm, spec) = named(&jwk, policy)?;
                jwk.key.check_algorithm(algorithm)?;
                let kid = kid.unwrap_or_else(|| jwk.key.thumbprint(&AwsLc));
                Ok(Self {
                    key: Imported::Public(jwk.key),
                    kid,
                    algorithm,
                    spec,
                })
            }
            AnyJwk::Secret(jwk) => {
                AwsLc.check_material(&jwk.key)?;
                let (kid, algorithm, spec) = named(&jwk, policy)?;
                jwk.key.check_algorithm(algorithm)?;
                if let (KeyMaterial::Symmetric(secret), Some(enc)) = (&jwk.key, &spec.enc) {
                    let enc = ContentEncryption::parse(enc).map_err(KeyError::from)?;
                    jose_aws_lc::jwe::SharedKey::direct(enc, secret)?;
                }
                let kid = match (kid, jwk.key.public_key()) {
                    (Some(kid), _) => kid,
                    (None, Some(public)) => public.thumbprint(&AwsLc),
                    (None, None) => return Err(KeyError::Missing("kid").into()),
                };
                Ok(Self {
                    key: Imported::Secret(jwk.key),
                    kid,
                    algorithm,
                    spec,
                })
            }
        }
    }

    /// Whether only the public half is known.
    #[must_use]
    pub fn is_public(&self) -> bool {
        matches!(self.key, Imported::Public(_))
    }

    /// The key as it enters a set of the tenant with that data key.
    ///
    /// # Errors
    /// [`ImportError`] for a kid that is none.
    pub fn into_fresh(self, data_key: &Ring) -> Result<FreshKey, ImportError> {
        let public_only = self.is_public();
        let (public, secret) = match self.key {
            Imported::Public(key) => (Some(key), None),
            Imported::Secret(material) => (material.public_key(), Some(material.to_bytes())),
        };
        let material = match (&public, &secret) {
            (Some(public), _) => public.thumbprint(&AwsLc),
            (None, secret) => data_key.material(secret.as_deref().map_or(&[], Vec::as_slice)),
        };
        let kid = Kid::new(self.kid.as_str())?;
        let public = public.map(|key| Jwk::new(key).with_kid(kid).with_algorithm(self.algorithm));
        let new = NewKey {
            kid: self.kid,
            algorithm: self.spec.algorithm,
            enc: self.spec.enc,
            material,
            public_only,
        };
        Ok(FreshKey {
            new,
            public_jwk: public.as_ref().map(PublicJwk::to_json),
            secret,
        })
    }
}

/// The kid and the algorithm of a JWK: its own `alg`, or where it has none that of the set.
fn named<K>(
    jwk: &Jwk<K>,
    policy: &Policy,
) -> Result<(Option<String>, Algorithm, KeySpec), ImportError> {
    let of_set = || Algorithm::parse(policy.key.algorithm.as_str()).map_err(KeyError::from);
    let algorithm = jwk.algorithm.map_or_else(of_set, Ok)?;
    if let Some(key_use) = jwk
        .key_use
        .filter(|key_use| *key_use != KeyUse::of(algorithm))
    {
        return Err(ImportError::Use(key_use.name()));
    }
    let name = keyring::Algorithm::new(algorithm.name())
        .map_err(|_unknown| KeyError::NotCovered(algorithm))?;
    let mut spec = KeySpec::of(name);
    if spec.enc.is_some() {
        spec.enc = policy.key.enc.clone().or(spec.enc);
    }
    Ok((
        jwk.kid.as_ref().map(|kid| kid.as_str().to_owned()),
        algorithm,
        spec,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_algorithm_is_generated_with_a_kid_and_a_public_half_where_there_is_one() {
        let data_key = Ring::first(&[7; 32]).unwrap();
        let source: Arc<dyn KeySource> = Arc::new(AwsLc);
        for name in [
            "RS256",
            "ES256",
            "ES384",
            "ES512",
            "Ed25519",
            "EdDSA",
            "HS256",
            "HS512",
            "RSA-OAEP-256",
            "ECDH-ES",
            "A128KW",
            "A256GCMKW",
            "dir",
        ] {
            let spec = KeySpec::of(keyring::Algorithm::new(name).unwrap());
            let fresh = generate(&source, spec.clone(), &data_key).await.unwrap();
            assert_eq!(
                fresh.public_jwk.is_none(),
                spec.algorithm.is_symmetric(),
                "{name}"
            );
            assert!(
                fresh
                    .public_jwk
                    .as_deref()
                    .is_none_or(|jwk| jwk.contains(&fresh.new.kid) && jwk.contains(name)),
                "{name}"
            );
            let algorithm = Algorithm::parse(name).unwrap();
            assert!(
                KeyMaterial::from_bytes(algorithm, fresh.secret.as_deref().unwrap()).is_ok(),
                "{name}"
            );
            let shown = format!("{fresh:?}");
            assert_eq!(
                shown,
                format!("FreshKey {{ kid: {:?}, .. }}", fresh.new.kid)
            );
        }
    }

    #[test]
    fn an_import_names_what_is_wrong_with_the_key() {
        let policy = Policy::new(KeySpec::of(keyring::Algorithm::new("HS256").unwrap()));
        for (what, jwk, says) in [
            ("not JSON", "{", "JWK"),
            ("no type", "{}", "kty"),
            (
                "short secret",
                r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA","kid":"a"}"#,
                "shorter than the hash",
            ),
            (
                "no kid on a secret",
                r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
                "kid",
            ),
            (
                "RSA1_5",
                r#"{"kty":"oct","alg":"RSA1_5","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
                "RSA1_5",
            ),
            (
                "another type",
                r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
                "does not fit",
            ),
            (
                "off the curve",
                r#"{"kty":"EC","alg":"ES256","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4"}"#,
                "belong together",
            ),
        ] {
            let error = ImportedKey::parse(jwk, &policy).unwrap_err().to_string();
            assert!(error.contains(says), "{what}: {error}");
        }
    }
}
