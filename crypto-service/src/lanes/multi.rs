//! The eight lanes behind one type, so that tests put others in their place.

use jose::algorithm::JwsAlgorithm;
use jose::key::{KeyError, PrivateKey, PublicKey};
use jose::provider::Failed;
use jose_aws_lc::AwsLc;
use multibuffer::{Class, LANES, Outcomes};

use super::agree::{AgreedSecret, Agreement};
use super::engine::{SigningKey, VerifyingKey};

/// Nobody has a result: the other engine does all of them.
const NONE: Outcomes = [Err(Failed); LANES];

/// What computes eight at once.
#[derive(Clone, Debug)]
pub(super) enum Multi {
    CryptoMb(multibuffer::Engine),
    #[cfg(test)]
    Fake(std::sync::Arc<super::tests::fake::FakeLanes>),
}

/// A private key in the lanes' form.
pub(super) enum MultiSigner {
    CryptoMb(multibuffer::Signer),
    #[cfg(test)]
    Fake(Class),
}

/// A public key in the lanes' form.
pub(super) enum MultiVerifier {
    CryptoMb(multibuffer::Verifier),
    #[cfg(test)]
    Fake(Class),
}

impl MultiSigner {
    pub(super) const fn class(&self) -> Class {
        match self {
            Self::CryptoMb(key) => key.class(),
            #[cfg(test)]
            Self::Fake(class) => *class,
        }
    }
}

impl MultiVerifier {
    pub(super) const fn class(&self) -> Class {
        match self {
            Self::CryptoMb(key) => key.class(),
            #[cfg(test)]
            Self::Fake(class) => *class,
        }
    }
}

/// What one lane signs.
pub(super) struct Signature<'a> {
    pub(super) key: &'a SigningKey,
    pub(super) message: &'a [u8],
    pub(super) signature: &'a mut [u8],
}

/// What one lane verifies.
pub(super) struct Verification<'a> {
    pub(super) key: &'a VerifyingKey,
    pub(super) message: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl Multi {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::CryptoMb(_) => "multibuffer",
            #[cfg(test)]
            Self::Fake(_) => "fake",
        }
    }

    /// `None`: there are no lanes for this key.
    pub(super) fn signer(
        &self,
        algorithm: JwsAlgorithm,
        key: &PrivateKey,
    ) -> Result<Option<MultiSigner>, KeyError> {
        match self {
            Self::CryptoMb(engine) => {
                let key = multibuffer::Signer::prepare(*engine, algorithm, key)?;
                Ok(key.map(MultiSigner::CryptoMb))
            }
            #[cfg(test)]
            Self::Fake(_) => {
                Ok(super::tests::fake::class(&key.public_key()).map(MultiSigner::Fake))
            }
        }
    }

    /// `None`: there are no lanes for this key.
    pub(super) fn verifier(
        &self,
        algorithm: JwsAlgorithm,
        key: &PublicKey,
    ) -> Result<Option<MultiVerifier>, KeyError> {
        match self {
            Self::CryptoMb(engine) => {
                let key = multibuffer::Verifier::prepare(*engine, algorithm, key)?;
                Ok(key.map(MultiVerifier::CryptoMb))
            }
            #[cfg(test)]
            Self::Fake(_) => Ok(super::tests::fake::class(key).map(MultiVerifier::Fake)),
        }
    }

    /// The fill from which lanes are faster than one by one.
    pub(super) fn sign_pays_from(&self, class: Class) -> usize {
        match self {
            Self::CryptoMb(_) => class.sign_pays_from(),
            #[cfg(test)]
            Self::Fake(fake) => fake.pays_from,
        }
    }

    /// The fill from which lanes are faster than one by one.
    pub(super) fn verify_pays_from(&self, class: Class) -> usize {
        match self {
            Self::CryptoMb(_) => class.verify_pays_from(),
            #[cfg(test)]
            Self::Fake(fake) => fake.pays_from,
        }
    }

    /// `None`: there are no lanes for this key.
    pub(super) fn agreement(
        &self,
        key: &PrivateKey,
    ) -> Result<Option<multibuffer::Agreement>, KeyError> {
        match self {
            Self::CryptoMb(engine) => multibuffer::Agreement::prepare(*engine, key),
            #[cfg(test)]
            Self::Fake(_) => Ok(None),
        }
    }

    /// `None`: there are no lanes for this key, or it is none.
    pub(super) fn peer(&self, key: &PublicKey) -> Option<multibuffer::PeerKey> {
        match self {
            Self::CryptoMb(engine) => multibuffer::PeerKey::prepare(*engine, key).ok().flatten(),
            #[cfg(test)]
            Self::Fake(_) => None,
        }
    }

    /// The fill from which lanes are faster than one by one.
    pub(super) const fn agree_pays_from(&self) -> usize {
        multibuffer::Agreement::PAYS_FROM
    }

    /// Makes at most eight agreements; those that fail have no secret.
    pub(super) fn agree(&self, agreements: &mut [&mut Agreement]) {
        match self {
            Self::CryptoMb(engine) => {
                let mut secrets: [AgreedSecret; LANES] =
                    std::array::from_fn(|_lane| AgreedSecret::default());
                let pairs = agreements.iter().zip(&mut secrets);
                let mut jobs: Vec<_> = pairs.map(|(one, shared)| one.job(shared)).collect();
                let outcomes = multibuffer::agree(*engine, &mut jobs);
                drop(jobs);
                for ((one, shared), outcome) in agreements.iter_mut().zip(secrets).zip(outcomes) {
                    one.made(outcome.ok().map(|()| shared));
                }
            }
            #[cfg(test)]
            Self::Fake(_) => {}
        }
    }

    /// Signs at most eight of one class; all of them fail where one has no key in the lanes' form: an
    /// outcome must never land on another's job.
    pub(super) fn sign<'a>(&self, jobs: impl Iterator<Item = Signature<'a>>) -> Outcomes {
        match self {
            Self::CryptoMb(engine) => {
                let mut lanes = Vec::with_capacity(LANES);
                for Signature {
                    key,
                    message,
                    signature,
                } in jobs
                {
                    let Some(MultiSigner::CryptoMb(key)) = key.lanes() else {
                        return NONE;
                    };
                    lanes.push(multibuffer::SignJob {
                        key,
                        message,
                        signature,
                    });
                }
                multibuffer::sign(*engine, &AwsLc, &AwsLc, &mut lanes)
            }
            #[cfg(test)]
            Self::Fake(fake) => fake.sign(jobs),
        }
    }

    /// Verifies at most eight of one class; what has no key in the lanes' form fails.
    pub(super) fn verify<'a>(&self, jobs: impl Iterator<Item = Verification<'a>>) -> Outcomes {
        match self {
            Self::CryptoMb(engine) => {
                let mut lanes = Vec::with_capacity(LANES);
                for Verification {
                    key,
                    message,
                    signature,
                } in jobs
                {
                    let Some(MultiVerifier::CryptoMb(key)) = key.lanes() else {
                        return NONE;
                    };
                    lanes.push(multibuffer::VerifyJob {
                        key,
                        message,
                        signature,
                    });
                }
                multibuffer::verify(*engine, &AwsLc, &lanes)
            }
            #[cfg(test)]
            Self::Fake(fake) => fake.verify(jobs),
        }
    }
}
