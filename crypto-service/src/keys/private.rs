//! Parsed private and secret keys, cached.
//!
//! The cache holds what it costs to make and is never asked about state: a request finds its key in the snapshot, and
//! only then its parsed form here, under the generation of what was received. So a revoked key cannot come back from it, and
//! a key that falls out is parsed again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::FixedState;
use jose::algorithm::{Algorithm, ContentEncryption};
use jose::jwe::{AgreementKey, Decrypter, Encrypter};
use jose::key::{KeyError, KeyMaterial};
use jose_aws_lc::AwsLc;
use jose_aws_lc::jwe::SharedKey;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::model::Version;
use super::sealed::{SealedError, SealedKey};
use super::sharded;
use crate::lanes::{AgreeingKey, Agreement, Engine, SigningKey, VerifyingKey};

/// Keys that nobody asked for so long leave memory; so do those of generations that are no longer fed.
const LONGEST_IDLE: Duration = Duration::from_secs(600);

/// Of so many uses of keys that are found without the cache, one is told to it, so that it knows what is in use: a look-up there
/// reads memory that nothing else of a signature reads.
const TOLD: u64 = 64;

/// A key in the engine's form. The engine zeroises its copy when the last handle is gone.
#[derive(Clone)]
enum Parsed {
    Signer(SigningKey),
    Mac {
        sign: SigningKey,
        verify: VerifyingKey,
    },
    Decrypter(Arc<dyn Decrypter>, Option<AgreeingKey>),
    Shared(Arc<SharedKey>),
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parsed(redacted)")
    }
}

/// Why a key has no parsed form. It is the feed's fault or the engine's, never a caller's.
#[derive(Clone, Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Sealed(#[from] SealedError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// How often the cache had a key.
#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// The cache. Cheap to clone; many misses on one key parse it once.
#[derive(Clone, Debug)]
pub struct PrivateKeys {
    parsed: Cache<u64, Parsed, FixedState>,
    engine: Engine,
    counts: Arc<Counts>,
}

impl PrivateKeys {
    /// A cache of at most `capacity` keys, prepared with `engine`. The one least recently used goes first; a new one
    /// always enters.
    #[must_use]
    pub fn new(capacity: u64, engine: Engine) -> Self {
        let parsed = Cache::builder()
            .max_capacity(capacity)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(LONGEST_IDLE)
            .build_with_hasher(sharded::hasher());
        Self {
            parsed,
            engine,
            counts: Arc::default(),
        }
    }

    /// Keys that are held now, about.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.parsed.entry_count()
    }

    /// Whether it holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a key was there.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.counts.hits.load(Ordering::Relaxed)
    }

    /// How often a key was parsed.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.counts.misses.load(Ordering::Relaxed)
    }

    /// What keys are prepared with.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What signs with the version.
    pub(crate) fn signer(&self, version: &Version) -> Option<SigningKey> {
        self.parsed(version, None)?.into_signer()
    }

    /// The same, but only where it need not be made first: parsing an RSA key takes as long as a signature.
    pub(crate) fn held_signer(&self, version: &Version) -> Option<SigningKey> {
        let generation = version.sealed.as_ref()?.generation();
        if let Some(key) = version.signer.get() {
            let hits = self.counts.hits.fetch_add(1, Ordering::Relaxed);
            if hits.is_multiple_of(TOLD) {
                let _in_use = self.parsed.get(&generation);
            }
            return Some(key);
        }
        let key = self.parsed.get(&generation)?.into_signer()?;
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        version.signer.point_to(&key);
        Some(key)
    }

    /// What verifies with a symmetric version.
    pub(crate) fn mac_verifier(&self, version: &Version) -> Option<VerifyingKey> {
        match self.parsed(version, None)? {
            Parsed::Mac { verify, .. } => Some(verify),
            Parsed::Signer(_) | Parsed::Decrypter(..) | Parsed::Shared(_) => None,
        }
    }

    /// What decrypts with the version.
    pub(crate) fn decrypter(
        &self,
        version: &Version,
        enc: Option<ContentEncryption>,
    ) -> Option<Arc<dyn Decrypter>> {
        match self.parsed(version, enc)? {
            Parsed::Decrypter(key, _) => Some(key),
            Parsed::Shared(key) => Some(key),
            Parsed::Signer(_) | Parsed::Mac { .. } => None,
        }
    }

    /// The agreement of the version's key with the peer of a token, where lanes can make it.
    pub(crate) fn agreement(&self, version: &Version, peer: &AgreementKey) -> Option<Agreement> {
        match self.parsed(version, None)? {
            Parsed::Decrypter(_, Some(key)) => self.engine.agreement(key, peer),
            _ => None,
        }
    }

    /// What encrypts with a symmetric version.
    pub(crate) fn encrypter(
        &self,
        version: &Version,
        enc: Option<ContentEncryption>,
    ) -> Option<Arc<dyn Encrypter>> {
        match self.parsed(version, enc)? {
            Parsed::Shared(key) => Some(key),
            Parsed::Signer(_) | Parsed::Mac { .. } | Parsed::Decrypter(..) => None,
        }
    }

    fn parsed(&self, version: &Version, enc: Option<ContentEncryption>) -> Option<Parsed> {
        let sealed = version.sealed.as_ref()?;
        if let Some(parsed) = self.parsed.get(&sealed.generation()) {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
            return Some(parsed);
        }
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        let parse = || parse(&self.engine, sealed, version.algorithm, enc);
        let parsed = self.parsed.try_get_with(sealed.generation(), parse);
        parsed.inspect_err(|error| tracing::error!(kid = %version.kid, %error, "a fed private key is unusable")).ok()
    }
}

impl Parsed {
    fn into_signer(self) -> Option<SigningKey> {
        match self {
            Self::Signer(sign) | Self::Mac { sign, .. } => Some(sign),
            Self::Decrypter(..) | Self::Shared(_) => None,
        }
    }
}

fn parse(
    engine: &Engine,
    sealed: &SealedKey,
    algorithm: Algorithm,
    enc: Option<ContentEncryption>,
) -> Result<Parsed, Unusable> {
    let material = KeyMaterial::from_bytes(algorithm, &sealed.open()?)?;
    Ok(match (algorithm, &material) {
        (Algorithm::Jws(jws), KeyMaterial::Symmetric(secret)) => Parsed::Mac {
            sign: engine.prepare_signing(jws, &material)?,
            verify: engine.prepare_mac(jws, secret)?,
        },
        (Algorithm::Jws(jws), KeyMaterial::Private(_)) => {
            Parsed::Signer(engine.prepare_signing(jws, &material)?)
        }
        (Algorithm::Jwe(jwe), KeyMaterial::Symmetric(secret)) => {
            let fixed = (jwe == jose::algorithm::KeyManagement::Dir)
                .then(|| enc.unwrap_or(ContentEncryption::A256Gcm));
            Parsed::Shared(Arc::new(AwsLc.shared_key(jwe, fixed, secret)?))
        }
        (Algorithm::Jwe(jwe), KeyMaterial::Private(key)) => Parsed::Decrypter(
            AwsLc.decrypter(jwe, None, &material)?,
            engine.prepare_agreement(key)?,
        ),
    })
}
