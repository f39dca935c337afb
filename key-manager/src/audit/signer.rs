//! The key that signs checkpoints.

use std::{fmt, sync::Arc};

use jose::{
    algorithm::{Algorithm, JwsAlgorithm},
    jwk::{Jwk, PublicJwk},
    key::{KeyMaterial, Kid},
    provider::Sign,
};
use jose_aws_lc::{AwsLc, KeySpec};

use super::AuditError;
use crate::vault::Vault;

const ALGORITHM: JwsAlgorithm = JwsAlgorithm::EdDsa;

/// The key, ready to sign, and its public half.
pub struct Signer {
    key: Arc<dyn Sign>,
    kid: String,
    public_jwk: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Opens the key that the store keeps, or makes one where it has none yet.
    ///
    /// # Errors
    /// [`AuditError::Vault`], or [`AuditError::Signing`] for a key that is none.
    pub async fn load(vault: &Vault) -> Result<Self, AuditError> {
        let bytes = match vault.audit_key().await? {
            Some(bytes) => bytes,
            None => {
                let spec = KeySpec::new(Algorithm::Jws(ALGORITHM));
                let made = AwsLc
                    .generate(&spec)
                    .map_err(|_failed| AuditError::Signing)?;
                vault.keep_audit_key(&made.material.to_bytes()).await?
            }
        };
        let material = KeyMaterial::from_bytes(Algorithm::Jws(ALGORITHM), &bytes)
            .map_err(|_none| AuditError::Signing)?;
        let key = AwsLc
            .signing_key(ALGORITHM, &material)
            .map_err(|_unfit| AuditError::Signing)?;
        let public = material.public_key().ok_or(AuditError::Signing)?;
        let kid = public.thumbprint(&AwsLc);
        let named = Kid::new(kid.as_str()).map_err(|_never| AuditError::Signing)?;
        let jwk = Jwk::new(public)
            .with_kid(named)
            .with_algorithm(Algorithm::Jws(ALGORITHM));
        Ok(Self {
            key,
            kid,
            public_jwk: PublicJwk::to_json(&jwk),
        })
    }

    /// The public JWK.
    #[must_use]
    pub fn public_jwk(&self) -> &str {
        &self.public_jwk
    }

    pub(super) fn key(&self) -> &dyn Sign {
        self.key.as_ref()
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }
}
