//! Keys in the form that computes, prepared once.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapWeak;
use jose::algorithm::JwsAlgorithm;
use jose::key::{KeyError, KeyMaterial, PrivateKey, PublicKey, SymmetricKey};
use jose::provider::{Failed, Provider, Sign, Verify};
use jose_aws_lc::AwsLc;
pub use multibuffer::Unavailable;

use super::class::{Class, Kind, Operation};
use super::multi::{Multi, MultiSigner, MultiVerifier};

/// What computes: aws-lc one at a time, and eight lanes at once where the machine has them.
#[derive(Clone, Debug)]
pub struct Engine {
    multi: Option<Multi>,
}

impl Engine {
    /// aws-lc, one at a time.
    #[must_use]
    pub const fn single() -> Self {
        Self { multi: None }
    }

    /// Eight at once where that pays, aws-lc for the rest.
    ///
    /// # Errors
    /// [`Unavailable`] says what is missing.
    pub fn multibuffer() -> Result<Self, Unavailable> {
        let multi = Some(Multi::CryptoMb(multibuffer::Engine::detect()?));
        Ok(Self { multi })
    }

    #[cfg(test)]
    pub(super) const fn with(multi: Multi) -> Self {
        Self { multi: Some(multi) }
    }

    /// The name in the log and in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.multi.as_ref().map_or("aws-lc", Multi::name)
    }

    pub(super) const fn multi(&self) -> Option<&Multi> {
        self.multi.as_ref()
    }

    /// Prepares a key that signs.
    ///
    /// # Errors
    /// [`KeyError`] when the key does not fit the algorithm or its parts do not belong together.
    pub fn prepare_signing(
        &self,
        algorithm: JwsAlgorithm,
        key: &KeyMaterial,
    ) -> Result<SigningKey, KeyError> {
        let single = AwsLc.signing_key(algorithm, key)?;
        let lanes = match (&self.multi, key) {
            (Some(multi), KeyMaterial::Private(key)) => multi.signer(algorithm, key)?,
            _ => None,
        };
        let kind = lanes.as_ref().map_or_else(
            || Kind::One(class_of_signing(key)),
            |key| Kind::Lanes(Operation::Sign, key.class()),
        );
        Ok(SigningKey::made_of(single, lanes, kind))
    }

    /// Prepares a public key that verifies.
    ///
    /// # Errors
    /// [`KeyError`] when the key does not fit the algorithm, or is none.
    pub fn prepare_verifying(
        &self,
        algorithm: JwsAlgorithm,
        key: &PublicKey,
    ) -> Result<VerifyingKey, KeyError> {
        let single = AwsLc.verifying_key(algorithm, key)?;
        let multi = self.multi.as_ref();
        let lanes = multi.map(|multi| multi.verifier(algorithm, key));
        let lanes = lanes.transpose()?.flatten();
        let kind = lanes.as_ref().map_or_else(
            || Kind::One(class_of_verifying(key)),
            |key| Kind::Lanes(Operation::Verify, key.class()),
        );
        Ok(VerifyingKey(Arc::new(Verifying {
            single,
            lanes,
            kind,
        })))
    }

    /// Prepares a shared secret that verifies.
    ///
    /// # Errors
    /// [`KeyError`] when the secret does not fit the algorithm.
    pub fn prepare_mac(
        &self,
        algorithm: JwsAlgorithm,
        key: &SymmetricKey,
    ) -> Result<VerifyingKey, KeyError> {
        Ok(VerifyingKey(Arc::new(Verifying {
            single: AwsLc.mac_verifying_key(algorithm, key)?,
            lanes: None,
            kind: Kind::One(Class::Symmetric),
        })))
    }
}

fn class_of_signing(key: &KeyMaterial) -> Class {
    match key {
        KeyMaterial::Private(PrivateKey::Rsa(key)) => Class::of_modulus(key.public_key().bits()),
        KeyMaterial::Private(PrivateKey::Ec(_)) => Class::Ec,
        KeyMaterial::Private(PrivateKey::Okp(_)) => Class::Ed25519,
        KeyMaterial::Symmetric(_) => Class::Symmetric,
    }
}

const fn class_of_verifying(key: &PublicKey) -> Class {
    match key {
        PublicKey::Rsa(_) => Class::RsaPublic,
        PublicKey::Ec(_) => Class::Ec,
        PublicKey::Okp(_) => Class::Ed25519,
    }
}

/// A key that signs. Cheap to clone; each engine zeroises its copy with the last one.
#[derive(Clone)]
pub struct SigningKey(Arc<Signing>);

struct Signing {
    single: Arc<dyn Sign>,
    lanes: Option<MultiSigner>,
    kind: Kind,
    /// What each token asks of `single`: that one may lie where no cache holds it.
    algorithm: JwsAlgorithm,
    signature_len: usize,
}

impl SigningKey {
    fn made_of(single: Arc<dyn Sign>, lanes: Option<MultiSigner>, kind: Kind) -> Self {
        let (algorithm, signature_len) = (single.algorithm(), single.signature_len());
        Self(Arc::new(Signing {
            single,
            lanes,
            kind,
            algorithm,
            signature_len,
        }))
    }

    /// The algorithm, under the name that goes into the header.
    #[must_use]
    pub fn algorithm(&self) -> JwsAlgorithm {
        self.0.algorithm
    }

    /// Length of every signature, in bytes.
    #[must_use]
    pub fn signature_len(&self) -> usize {
        self.0.signature_len
    }

    /// What a signature costs.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.kind.class()
    }

    pub(super) fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(super) fn single(&self) -> &dyn Sign {
        &*self.0.single
    }

    pub(super) fn lanes(&self) -> Option<&MultiSigner> {
        self.0.lanes.as_ref()
    }

    #[cfg(test)]
    pub(super) fn of(single: Arc<dyn Sign>, kind: Kind) -> Self {
        let lanes = match kind {
            Kind::Lanes(_, class) => Some(MultiSigner::Fake(class)),
            Kind::One(_) | Kind::Agree => None,
        };
        Self::made_of(single, lanes, kind)
    }
}

/// Points to a key that somebody else keeps.
#[derive(Default)]
pub(crate) struct SigningKeyPointer(ArcSwapWeak<Signing>);

impl SigningKeyPointer {
    /// The key, as long as it is kept.
    pub(crate) fn get(&self) -> Option<SigningKey> {
        self.0.load().upgrade().map(SigningKey)
    }

    /// Points to this key from now on.
    pub(crate) fn point_to(&self, key: &SigningKey) {
        self.0.store(Arc::downgrade(&key.0));
    }
}

impl fmt::Debug for SigningKeyPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeyPointer")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, redacted)", self.algorithm())
    }
}

/// A key that verifies. Cheap to clone. It is also a [`Verify`], for whoever verifies where they stand.
#[derive(Clone)]
pub struct VerifyingKey(Arc<Verifying>);

struct Verifying {
    single: Arc<dyn Verify>,
    lanes: Option<MultiVerifier>,
    kind: Kind,
}

impl VerifyingKey {
    /// What a verification costs.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.kind.class()
    }

    pub(super) fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(super) fn lanes(&self) -> Option<&MultiVerifier> {
        self.0.lanes.as_ref()
    }

    #[cfg(test)]
    pub(super) fn of(single: Arc<dyn Verify>, kind: Kind) -> Self {
        let lanes = match kind {
            Kind::Lanes(_, class) => Some(MultiVerifier::Fake(class)),
            Kind::One(_) | Kind::Agree => None,
        };
        Self(Arc::new(Verifying {
            single,
            lanes,
            kind,
        }))
    }
}

impl Verify for VerifyingKey {
    fn algorithm(&self) -> JwsAlgorithm {
        self.0.single.algorithm()
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Failed> {
        self.0.single.verify(message, signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm())
    }
}
