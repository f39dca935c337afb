//! Key sets and keys as an instance holds them.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use jose::algorithm::{Algorithm, ContentEncryption, JwsAlgorithm};
use jose::jwe::Encrypter;
use jose::jwk::{Jwk, PublicJwk};
use jose::jws::EncodedHeader;
use jose::key::{KeyError, Kid, PublicKey};
use jose_aws_lc::AwsLc;
use keyring::{Publish, State, Use};

use super::sealed::SealedKey;
use super::usage::Usage;
use crate::lanes::{Engine, SigningKeyPointer, VerifyingKey};

/// What the feed says of one key set.
#[derive(Debug)]
pub struct KeySetSpec {
    /// The tenant.
    pub tenant: String,
    /// The name within the tenant.
    pub name: String,
    /// What the keys are for.
    pub key_use: Use,
    /// The `iss` of its tokens; empty = none.
    pub issuer: String,
    /// Who sees its public keys.
    pub publish: Publish,
    /// The rules of its tokens.
    pub profile: Profile,
    /// The content encryption that a `dir` set is fixed to.
    pub enc: Option<ContentEncryption>,
    /// Its keys, oldest first.
    pub versions: Vec<VersionSpec>,
    /// When the next planned change of what is published comes, in seconds since the epoch.
    pub next_change: Option<u64>,
    /// When an Active key is expected, in seconds since the epoch.
    pub ready_at: Option<u64>,
}

/// What the feed says of one key.
#[derive(Debug)]
pub struct VersionSpec {
    /// Its key id.
    pub kid: String,
    /// Its one algorithm.
    pub algorithm: Algorithm,
    /// Where it stands.
    pub state: State,
    /// The public JWK, for asymmetric keys that are fed.
    pub public_jwk: Option<String>,
    /// The private or secret half, for keys that are fed whole.
    pub sealed: Option<SealedKey>,
    /// How many encryptions this instance may make with it since its start; `None` for keys without an invocation budget.
    pub invocations: Option<u64>,
}

/// The rules of a set's tokens. Times are in whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `typ`; empty = `JWT`.
    pub typ: String,
    /// Lifetime where a call names none.
    pub default_lifetime: u64,
    /// Longest lifetime.
    pub max_lifetime: u64,
    /// Tokens may lack `exp`.
    pub expiry_optional: bool,
    /// `jti` is not added when absent.
    pub jti_optional: bool,
    /// How long after `exp` a token passes as a hint.
    pub hint_window: u64,
    /// Each token that is issued is recorded.
    pub record_issued: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            typ: String::new(),
            default_lifetime: 300,
            max_lifetime: 3600,
            expiry_optional: false,
            jti_optional: false,
            hint_window: 0,
            record_issued: false,
        }
    }
}

impl Profile {
    /// `typ` as it is written.
    #[must_use]
    pub fn typ(&self) -> &str {
        if self.typ.is_empty() {
            "JWT"
        } else {
            &self.typ
        }
    }

    /// The same rules, as the verifier reads them.
    pub(crate) fn for_verifier(&self) -> jose::jwt::Profile {
        jose::jwt::Profile {
            types: vec![self.typ().to_owned()],
            expiry_optional: self.expiry_optional,
            hint_window: self.hint_window,
            max_lifetime: self.max_lifetime,
        }
    }
}

/// A key set. Immutable: a change is a new value.
#[derive(Debug)]
pub struct KeySet {
    pub(crate) tenant: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) key_use: Use,
    pub(crate) issuer: Box<str>,
    pub(crate) publish: Publish,
    pub(crate) profile: Profile,
    pub(crate) verifier_profile: jose::jwt::Profile,
    pub(crate) enc: Option<ContentEncryption>,
    pub(crate) versions: Vec<Arc<Version>>,
    pub(crate) next_change: Option<u64>,
    pub(crate) ready_at: Option<u64>,
}

impl KeySet {
    /// The Active version, whether or not its private half is held.
    pub(crate) fn active(&self) -> Option<&Arc<Version>> {
        self.versions
            .iter()
            .find(|version| version.state == State::Active)
    }

    /// The version of that key id.
    pub(crate) fn version(&self, kid: &str) -> Option<&Arc<Version>> {
        self.versions.iter().find(|version| &*version.kid == kid)
    }

    /// `iss` of its tokens, where it has one.
    pub(crate) fn issuer(&self) -> Option<&str> {
        (!self.issuer.is_empty()).then_some(&*self.issuer)
    }

    /// The JWKs that everybody may see: of signing sets what verifies, of encryption sets what is encrypted to.
    pub(crate) fn published(&self) -> impl Iterator<Item = String> {
        let public = self.publish == Publish::Public;
        let listed = self
            .versions
            .iter()
            .filter(move |version| public && self.lists(version));
        listed.filter_map(|version| version.jwk_json())
    }

    fn lists(&self, version: &Version) -> bool {
        match self.key_use {
            Use::Sign => version.state.verifies_access(),
            Use::Encrypt => version.state == State::Active,
            Use::RawSign | Use::Seal => false,
        }
    }
}

/// The questions that a state answers; the tables are in [`keyring::views`].
pub(crate) trait StateRules {
    /// Verifies tokens for access. Prepared too: another instance may already sign with it.
    fn verifies_access(self) -> bool;
    /// Verifies hints.
    fn verifies_hints(self) -> bool;
    /// Opens ciphertexts.
    fn decrypts(self) -> bool;
}

impl StateRules for State {
    fn verifies_access(self) -> bool {
        matches!(self, Self::Prepared | Self::Active | Self::Retiring)
    }

    fn verifies_hints(self) -> bool {
        self.verifies_access() || self == Self::Retired
    }

    fn decrypts(self) -> bool {
        self.verifies_access()
    }
}

/// One key. Immutable but for what is prepared on first use.
#[derive(Debug)]
pub struct Version {
    pub(crate) kid: Arc<str>,
    pub(crate) algorithm: Algorithm,
    pub(crate) state: State,
    pub(crate) public: Option<Arc<PublicHalf>>,
    pub(crate) sealed: Option<SealedKey>,
    pub(crate) usage: Arc<Usage>,
    /// Whether each encryption takes one of those that are granted.
    pub(crate) limited: bool,
    header: OnceLock<EncodedHeader>,
    /// The parsed private key, as long as the cache keeps it.
    pub(super) signer: SigningKeyPointer,
}

impl Version {
    pub(super) fn new(
        kid: Arc<str>,
        spec: VersionSpec,
        public: Option<Arc<PublicHalf>>,
        usage: Arc<Usage>,
    ) -> Self {
        let VersionSpec {
            algorithm,
            state,
            sealed,
            invocations,
            ..
        } = spec;
        if let Some(granted) = invocations {
            usage.allow(granted);
        }
        Self {
            kid,
            algorithm,
            state,
            public,
            sealed,
            usage,
            limited: invocations.is_some(),
            header: OnceLock::new(),
            signer: SigningKeyPointer::default(),
        }
    }

    /// The header of its tokens: encoded once for the `typ` of the set, each time for another one.
    pub(crate) fn header(
        &self,
        algorithm: JwsAlgorithm,
        typ: &str,
        usual: bool,
    ) -> Cow<'_, EncodedHeader> {
        let encode = || EncodedHeader::new(algorithm, Some(&*self.kid), Some(typ), None);
        if usual {
            Cow::Borrowed(self.header.get_or_init(encode))
        } else {
            Cow::Owned(encode())
        }
    }

    /// The public JWK with `kid`, `use` and `alg`; symmetric keys have none.
    pub(crate) fn jwk_json(&self) -> Option<String> {
        let public = self.public.as_ref()?;
        let kid = Kid::new(&*self.kid).ok()?;
        Some(
            Jwk::new(public.key.clone())
                .with_kid(kid)
                .with_algorithm(self.algorithm)
                .to_json(),
        )
    }
}

/// The public half of a key, and what the engine made of it on first use.
pub(crate) struct PublicHalf {
    text: Box<str>,
    algorithm: Algorithm,
    pub(crate) key: PublicKey,
    verifier: OnceLock<Option<VerifyingKey>>,
    encrypter: OnceLock<Option<Arc<dyn Encrypter>>>,
}

impl PublicHalf {
    /// Reads the JWK and checks it against the algorithm.
    pub(crate) fn parse(text: &str, algorithm: Algorithm) -> Result<Arc<Self>, KeyError> {
        let key = PublicJwk::parse(text.as_bytes())?.key;
        key.check_algorithm(algorithm)?;
        let (verifier, encrypter) = (OnceLock::new(), OnceLock::new());
        Ok(Arc::new(Self {
            text: text.into(),
            algorithm,
            key,
            verifier,
            encrypter,
        }))
    }

    /// Whether it was read from this very text for this algorithm, so that it need not be read again.
    pub(crate) fn is_of(&self, text: &str, algorithm: Algorithm) -> bool {
        *self.text == *text && self.algorithm == algorithm
    }

    /// The key in the engine's form, for signatures; `None` where the engine refuses it.
    pub(crate) fn verifier(&self, engine: &Engine) -> Option<&VerifyingKey> {
        let prepare = || match self.algorithm {
            Algorithm::Jws(algorithm) => engine.prepare_verifying(algorithm, &self.key).ok(),
            Algorithm::Jwe(_) => None,
        };
        self.verifier.get_or_init(prepare).as_ref()
    }

    /// The key in the engine's form, for encryption; `None` where the engine refuses it.
    pub(crate) fn encrypter(&self) -> Option<&Arc<dyn Encrypter>> {
        let prepare = || match self.algorithm {
            Algorithm::Jwe(algorithm) => AwsLc.encrypter(algorithm, &self.key).ok(),
            Algorithm::Jws(_) => None,
        };
        self.encrypter.get_or_init(prepare).as_ref()
    }
}

impl fmt::Debug for PublicHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicHalf")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
