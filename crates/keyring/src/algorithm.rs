//! Algorithm names, what each is for, and what a policy says about the next key.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Refusal;

const SIGNATURES: [&str; 11] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519",
    "EdDSA",
];
const MACS: [&str; 3] = ["HS256", "HS384", "HS512"];
const ASYMMETRIC_ENCRYPTION: [&str; 5] = [
    "RSA-OAEP",
    "RSA-OAEP-256",
    "ECDH-ES",
    "ECDH-ES+A128KW",
    "ECDH-ES+A256KW",
];
const SYMMETRIC_ENCRYPTION: [&str; 5] = ["A128KW", "A256KW", "A128GCMKW", "A256GCMKW", "dir"];
const CURVES: [&str; 4] = ["P-256", "P-384", "P-521", "X25519"];
const ENCODINGS: [&str; 6] = [
    "A128GCM",
    "A192GCM",
    "A256GCM",
    "A128CBC-HS256",
    "A192CBC-HS384",
    "A256CBC-HS512",
];
const RSA_BITS: [u32; 4] = [2048, 3072, 4096, 8192];

/// What a set's keys are for. Uses are walls: no key serves two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// Signs and verifies JWTs under the set's profile.
    Sign,
    /// Decrypts JWEs that others encrypt to it.
    Encrypt,
    /// Signs bytes; no JWT call touches it and no JWKS lists it.
    RawSign,
    /// Seals challenges and nonces with symmetric keys.
    Seal,
}

/// The kinds of algorithms, as far as the lifecycle tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// A digital signature: RS*, PS*, ES*, Ed25519 (or its older name `EdDSA`).
    Signature,
    /// A message authentication code: HS*.
    Mac,
    /// Key management with a public key: RSA-OAEP*, ECDH-ES*.
    AsymmetricEncryption,
    /// Key management with a shared key: A*KW, A*GCMKW, `dir`.
    SymmetricEncryption,
}

/// A name that is no algorithm of this service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no algorithm of this service")]
pub struct UnknownAlgorithm(pub String);

/// A JWA algorithm name that this service knows. `Ed25519` and `EdDSA` are both kept as written: the
/// name is what the version's tokens say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Algorithm(String);

impl Algorithm {
    /// The algorithm of that name, exactly as in JWA.
    ///
    /// # Errors
    /// [`UnknownAlgorithm`] for every other name, RSA1_5 and PBES2 included.
    pub fn new(name: &str) -> Result<Self, UnknownAlgorithm> {
        let known = [
            &SIGNATURES[..],
            &MACS,
            &ASYMMETRIC_ENCRYPTION,
            &SYMMETRIC_ENCRYPTION,
        ];
        match known.iter().any(|names| names.contains(&name)) {
            true => Ok(Self(name.to_owned())),
            false => Err(UnknownAlgorithm(name.to_owned())),
        }
    }

    /// The name, as in JWA.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of the algorithm.
    #[must_use]
    pub fn family(&self) -> Family {
        let name = self.as_str();
        if MACS.contains(&name) {
            Family::Mac
        } else if ASYMMETRIC_ENCRYPTION.contains(&name) {
            Family::AsymmetricEncryption
        } else if SYMMETRIC_ENCRYPTION.contains(&name) {
            Family::SymmetricEncryption
        } else {
            Family::Signature
        }
    }

    /// True where the key is a shared secret: never published, always fed whole.
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        matches!(self.family(), Family::Mac | Family::SymmetricEncryption)
    }

    /// True where a key of this algorithm may stand in a set of that use.
    #[must_use]
    pub fn suits(&self, key_use: Use) -> bool {
        match key_use {
            Use::Sign | Use::RawSign => matches!(self.family(), Family::Signature | Family::Mac),
            Use::Encrypt => {
                matches!(
                    self.family(),
                    Family::AsymmetricEncryption | Family::SymmetricEncryption
                )
            }
            Use::Seal => self.family() == Family::SymmetricEncryption,
        }
    }

    fn is_rsa(&self) -> bool {
        ["RS", "PS"].iter().any(|prefix| self.0.starts_with(prefix))
    }

    fn leaves_curve_open(&self) -> bool {
        self.0.starts_with("ECDH-ES")
    }
}

impl TryFrom<String> for Algorithm {
    type Error = UnknownAlgorithm;

    fn try_from(name: String) -> Result<Self, UnknownAlgorithm> {
        Self::new(&name)
    }
}

impl From<Algorithm> for String {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.0
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to generate: the algorithm and what it leaves open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// The algorithm of the next version.
    pub algorithm: Algorithm,
    /// The RSA modulus in bits: 2048 (the default), 3072, 4096 or 8192; only for RSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsa_bits: Option<u32>,
    /// The curve for ECDH-ES*: P-256 (the default), P-384, P-521 or X25519; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<String>,
    /// The content encryption that a `dir` key is for, which sets its length; only for `dir`, required there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<String>,
}

impl KeySpec {
    /// The spec for `algorithm` with defaults for what it leaves open; `dir` gets A256GCM.
    #[must_use]
    pub fn of(algorithm: Algorithm) -> Self {
        let enc = (algorithm.as_str() == "dir").then(|| "A256GCM".to_owned());
        Self {
            algorithm,
            rsa_bits: None,
            curve: None,
            enc,
        }
        .with_defaults()
    }

    /// The same spec with defaults written out, so that two specs of one meaning are equal.
    #[must_use]
    pub fn with_defaults(mut self) -> Self {
        if self.algorithm.is_rsa() {
            self.rsa_bits = self.rsa_bits.or(Some(2048));
        }
        if self.algorithm.leaves_curve_open() && self.curve.is_none() {
            self.curve = Some("P-256".to_owned());
        }
        self
    }

    /// What is wrong with this spec in a set of that use; empty where nothing is.
    #[must_use]
    pub fn problems(&self, key_use: Use) -> Vec<Refusal> {
        let mut problems = Vec::new();
        if !self.algorithm.suits(key_use) {
            let problem = format!("{} is not for sets of this use", self.algorithm);
            problems.push(Refusal::field("policy.algorithm", problem));
        }
        match self.rsa_bits {
            Some(_) if !self.algorithm.is_rsa() => {
                problems.push(Refusal::field(
                    "policy.rsa_bits",
                    "only RSA keys have a modulus; leave it out",
                ));
            }
            Some(bits) if !RSA_BITS.contains(&bits) => {
                problems.push(Refusal::field(
                    "policy.rsa_bits",
                    "use 2048, 3072, 4096 or 8192",
                ));
            }
            _ => {}
        }
        match self.curve.as_deref() {
            Some(_) if !self.algorithm.leaves_curve_open() => {
                problems.push(Refusal::field(
                    "policy.curve",
                    "the algorithm fixes the curve; leave it out",
                ));
            }
            Some(curve) if !CURVES.contains(&curve) => {
                problems.push(Refusal::field(
                    "policy.curve",
                    "use P-256, P-384, P-521 or X25519",
                ));
            }
            _ => {}
        }
        match (self.enc.as_deref(), self.algorithm.as_str() == "dir") {
            (None, true) => problems.push(Refusal::field(
                "policy.enc",
                "`dir` needs the content encryption",
            )),
            (Some(_), false) => problems.push(Refusal::field(
                "policy.enc",
                "only `dir` fixes it; leave it out",
            )),
            (Some(enc), true) if !ENCODINGS.contains(&enc) => {
                problems.push(Refusal::field(
                    "policy.enc",
                    "use A128GCM, A192GCM, A256GCM or a CBC-HS one",
                ));
            }
            _ => {}
        }
        problems
    }
}
