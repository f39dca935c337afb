//! The keys that loops and peers in this process work with: the same shapes as those of the service.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jose::{
    algorithm::{Algorithm, JwsAlgorithm, KeyManagement},
    jwk::{Jwk, SecretJwk},
    key::{KeyMaterial, PrivateKey, PublicKey},
};
use jose_aws_lc::{AwsLc, KeySpec, RsaBits};

use crate::Fault;

/// A private key and its public half.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its one algorithm.
    pub algorithm: Algorithm,
    /// The private half.
    pub private: PrivateKey,
}

impl Key {
    /// A new key that signs with `algorithm`; `bits` are those of an RSA modulus.
    ///
    /// # Errors
    /// When the engine has no randomness, or `bits` are not offered.
    pub fn signing(algorithm: JwsAlgorithm, bits: u32) -> Result<Self, Fault> {
        let mut spec = KeySpec::new(Algorithm::Jws(algorithm));
        spec.rsa_bits = match bits {
            0 | 2048 => RsaBits::B2048,
            4096 => RsaBits::B4096,
            other => return Err(format!("no RSA keys of {other} bits here").into()),
        };
        Self::generate(&spec)
    }

    /// A new key to encrypt to: RSA with 2048 bits, or P-256.
    ///
    /// # Errors
    /// When the engine has no randomness.
    pub fn encryption(algorithm: KeyManagement) -> Result<Self, Fault> {
        Self::generate(&KeySpec::new(Algorithm::Jwe(algorithm)))
    }

    fn generate(spec: &KeySpec) -> Result<Self, Fault> {
        let made = AwsLc.generate(spec)?;
        let KeyMaterial::Private(private) = made.material else {
            return Err("a shared secret has no public half".into());
        };
        Ok(Self {
            algorithm: spec.algorithm,
            private,
        })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.private.public_key()
    }

    /// The private half as the engines' constructors take it.
    #[must_use]
    pub fn material(&self) -> KeyMaterial {
        KeyMaterial::Private(self.private.clone())
    }

    /// The private half as a JWK without `alg`: not every peer knows the name of every algorithm.
    #[must_use]
    pub fn jwk(&self) -> SecretJwk {
        Jwk::new(self.material())
    }

    /// The public half as a JWK, JSON.
    ///
    /// # Errors
    /// Never for these keys.
    pub fn public_jwk(&self) -> Result<String, Fault> {
        let public = self.jwk().public().ok_or("the key has no public half")?;
        Ok(public.to_json())
    }

    /// The private half as PEM, PKCS#8.
    #[must_use]
    pub fn pem(&self) -> String {
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(self.private.to_pkcs8())
        )
    }

    /// The algorithm that it signs with.
    ///
    /// # Errors
    /// For a key that encrypts.
    pub fn jws(&self) -> Result<JwsAlgorithm, Fault> {
        match self.algorithm {
            Algorithm::Jws(algorithm) => Ok(algorithm),
            Algorithm::Jwe(_) => Err("an encryption key signs nothing".into()),
        }
    }

    /// The algorithm that it is encrypted to with.
    ///
    /// # Errors
    /// For a key that signs.
    pub fn jwe(&self) -> Result<KeyManagement, Fault> {
        match self.algorithm {
            Algorithm::Jwe(algorithm) => Ok(algorithm),
            Algorithm::Jws(_) => Err("a signing key decrypts nothing".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_algorithm_and_no_secret_in_its_debug() {
        let key = Key::signing(JwsAlgorithm::Es256, 0).unwrap();
        assert_eq!(key.jws().unwrap(), JwsAlgorithm::Es256);
        assert!(key.jwe().is_err());
        assert!(key.public_jwk().unwrap().contains("P-256"));
        let secret = key.jwk().expose_json().to_string();
        let d = secret.split("\"d\":\"").nth(1).unwrap();
        assert!(!format!("{key:?}").contains(&d[..20]));
        let key = Key::encryption(KeyManagement::EcdhEsA256Kw).unwrap();
        assert!(key.jwe().is_ok() && key.jws().is_err());
    }

    #[test]
    fn sizes_that_are_not_offered_are_an_error() {
        assert!(Key::signing(JwsAlgorithm::Rs256, 1024).is_err());
    }
}
