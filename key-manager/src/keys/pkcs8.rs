//! Private keys as PKCS#8, DER or PEM.

use std::fmt;

use jose::{
    algorithm::Algorithm,
    key::{KeyError, KeyMaterial},
};
use jose_aws_lc::AwsLc;
use keyring::{KeySpec, Policy};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{ImportError, Imported, ImportedKey};

/// A private key as it was given.
pub struct Pkcs8 {
    /// DER, or PEM with the label `PRIVATE KEY`.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its key id; absent = its thumbprint.
    pub kid: Option<String>,
    /// Its algorithm; absent = the set's.
    pub algorithm: Option<String>,
}

impl fmt::Debug for Pkcs8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs8")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Why bytes are not taken for PKCS#8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs8Error {
    /// Another form of private key.
    #[error(
        "is a private key in another form than PKCS#8; convert it: openssl pkcs8 -topk8 -nocrypt"
    )]
    OtherForm,
    /// PEM that holds no key.
    #[error(
        "is PEM without a PRIVATE KEY; an encrypted one is to be decrypted first: openssl pkcs8 -topk8 -nocrypt"
    )]
    NoKey,
}

impl ImportedKey {
    /// Reads PKCS#8 for a set with that policy. The public half is recomputed, or computed where there is none. Blocks for as long as a
    /// signature takes.
    ///
    /// # Errors
    /// [`ImportError`], saying what is wrong with the key.
    pub(super) fn from_pkcs8(given: &Pkcs8, policy: &Policy) -> Result<Self, ImportError> {
        let der = to_der(&given.bytes)?;
        let key = AwsLc.private_key_from_pkcs8(&der)?;
        let name = given
            .algorithm
            .as_deref()
            .unwrap_or(policy.key.algorithm.as_str());
        let algorithm = Algorithm::parse(name).map_err(KeyError::from)?;
        let material = KeyMaterial::Private(key);
        material.check_algorithm(algorithm)?;
        AwsLc.check_material(&material)?;
        let public = material.public_key().ok_or(KeyError::Der)?;
        let kid = given
            .kid
            .clone()
            .unwrap_or_else(|| public.thumbprint(&AwsLc));
        let name = keyring::Algorithm::new(algorithm.name())
            .map_err(|_unknown| KeyError::NotCovered(algorithm))?;
        Ok(Self {
            key: Imported::Secret(material),
            kid,
            algorithm,
            spec: KeySpec::of(name),
        })
    }
}

/// DER begins with a SEQUENCE, PEM with text.
fn to_der(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    if bytes.first() == Some(&0x30) {
        return Ok(Zeroizing::new(bytes.to_vec()));
    }
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(PrivateKeyDer::Pkcs8(mut key)) => {
            let der = Zeroizing::new(key.secret_pkcs8_der().to_vec());
            key.zeroize();
            Ok(der)
        }
        Ok(mut other) => {
            other.zeroize();
            Err(ImportError::Pkcs8(Pkcs8Error::OtherForm))
        }
        Err(_none) => Err(ImportError::Pkcs8(Pkcs8Error::NoKey)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Given;

    const ED25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    const EC_SEC1: &str = "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n";
    const ENCRYPTED: &str =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";

    fn read(text: &str, algorithm: &str) -> Result<ImportedKey, ImportError> {
        let policy = Policy::new(KeySpec::of(keyring::Algorithm::new(algorithm).unwrap()));
        let given = Given::Pkcs8(Pkcs8 {
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            kid: None,
            algorithm: None,
        });
        ImportedKey::read(&given, &policy)
    }

    #[test]
    fn pem_without_a_public_half_is_named_by_the_thumbprint_of_the_computed_one() {
        // RFC 8037 appendix A.3
        let key = read(ED25519, "EdDSA").unwrap();
        assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert!(!key.is_public());
    }

    #[test]
    fn what_is_no_pkcs8_says_how_to_make_it_so() {
        for (what, text, says) in [
            ("SEC1", EC_SEC1, "-topk8"),
            ("encrypted", ENCRYPTED, "decrypted first"),
            ("text", "hello", "without a PRIVATE KEY"),
            ("DER of something else", "0\u{0}", "DER form"),
            ("another algorithm", ED25519, "does not fit"),
        ] {
            let algorithm = if what == "another algorithm" {
                "ES256"
            } else {
                "EdDSA"
            };
            let error = read(text, algorithm).unwrap_err().to_string();
            assert!(error.contains(says), "{what}: {error}");
            assert!(!error.contains("MC4"), "{what}: {error}");
        }
    }

    #[test]
    fn nothing_that_was_given_is_shown() {
        let given = Pkcs8 {
            bytes: Zeroizing::new(ED25519.as_bytes().to_vec()),
            kid: Some("k".to_owned()),
            algorithm: None,
        };
        assert_eq!(format!("{given:?}"), "Pkcs8 { kid: Some(\"k\"), .. }");
        assert_eq!(format!("{:?}", Given::Pkcs8(given)), "Pkcs8(redacted)");
    }
}
