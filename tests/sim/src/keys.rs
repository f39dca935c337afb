//! Keys from the seed: cheap to make, and the same in each run.

use std::fmt;

use jose::algorithm::Algorithm;
use jose::key::{KeyMaterial, Kid, SymmetricKey};
use jose::provider::Failed;
use jose_aws_lc::{AwsLc, GeneratedKey};
use key_manager::keys::KeySource;
use keyring::KeySpec;

use crate::sim::Sim;

/// PKCS#8 of an Ed25519 and of an X25519 key (RFC 8410), up to its 32 bytes.
const ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const X25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];

/// Makes Ed25519, X25519 and HMAC keys.
#[derive(Clone)]
pub(crate) struct SeededKeys(pub(crate) Sim);

impl fmt::Debug for SeededKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededKeys")
    }
}

impl KeySource for SeededKeys {
    fn generate(&self, spec: &KeySpec) -> Result<GeneratedKey, Failed> {
        let name = spec.algorithm.as_str();
        let algorithm = Algorithm::parse(name).map_err(|_unknown| Failed)?;
        let bytes: [u8; 32] = self.0.dice().bytes();
        let material = if spec.algorithm.is_symmetric() {
            KeyMaterial::Symmetric(SymmetricKey::new(bytes.as_slice()).map_err(|_short| Failed)?)
        } else {
            let head = if spec.algorithm.suits(keyring::Use::Sign) {
                ED25519
            } else {
                X25519
            };
            let der = [head.as_slice(), &bytes].concat();
            let key = AwsLc.private_key_from_pkcs8(&der);
            KeyMaterial::Private(key.map_err(|_malformed| Failed)?)
        };
        let public = material.public_key();
        let kid = match &public {
            Some(public) => public.thumbprint(&AwsLc),
            None => jose::base64url::encode(self.0.dice().bytes::<16>()),
        };
        let kid = Kid::new(kid).map_err(|_never| Failed)?;
        Ok(GeneratedKey {
            kid,
            algorithm,
            material,
            public,
        })
    }

    fn is_instant(&self) -> bool {
        true
    }
}
