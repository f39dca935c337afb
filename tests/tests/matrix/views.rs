//! A verifier's view of keys over one engine.

use std::sync::Arc;

use jose::algorithm::JwsAlgorithm;
use jose::jwt::{KeyState, Lookup, NotVerified, Profile, Trust, TrustedKey, Verifier};
use jose::key::{KeyError, PublicKey, SymmetricKey};
use jose::provider::{Provider, Verify};
use jose_aws_lc::AwsLc;

use crate::ours;

/// The keys that verify here; all Active, of one set without an issuer.
pub(crate) struct View {
    keys: Vec<Key>,
    profile: Profile,
}

struct Key {
    kid: String,
    algorithm: JwsAlgorithm,
    /// `None` where the engine lacks the algorithm: a client asks the service.
    verifier: Option<Arc<dyn Verify>>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            profile: Profile {
                types: vec!["JWT".to_owned()],
                expiry_optional: false,
                hint_window: 0,
                max_lifetime: 3600,
            },
        }
    }
}

impl View {
    /// Adds a public key. What the engine refuses as a key is not in the view, as it could not be imported.
    pub(crate) fn add(
        &mut self,
        provider: &dyn Provider,
        kid: &str,
        algorithm: JwsAlgorithm,
        key: &PublicKey,
    ) {
        let verifier = match provider.verifying_key(algorithm, key) {
            Ok(verifier) => Some(verifier),
            Err(KeyError::NotCovered(_)) => None,
            Err(error) => panic!("{provider:?} refuses {kid} for {algorithm}: {error}"),
        };
        self.keys.push(Key {
            kid: kid.to_owned(),
            algorithm,
            verifier,
        });
    }

    /// Adds a shared secret, which only the service has.
    pub(crate) fn add_secret(&mut self, kid: &str, algorithm: JwsAlgorithm, key: &SymmetricKey) {
        let verifier = AwsLc.mac_verifying_key(algorithm, key).expect("a secret");
        self.keys.push(Key {
            kid: kid.to_owned(),
            algorithm,
            verifier: Some(verifier),
        });
    }

    /// The view of a client: shared secrets stay with the service.
    pub(crate) fn without_secrets(mut self) -> Self {
        for key in &mut self.keys {
            if key.algorithm.is_symmetric() {
                key.verifier = None;
            }
        }
        self
    }

    fn found<'t>(&'t self, key: &'t Key) -> Lookup<'t> {
        Lookup::Found(TrustedKey {
            kid: &key.kid,
            key_set: "keys",
            issuer: None,
            profile: &self.profile,
            state: KeyState::Active,
            algorithm: key.algorithm,
            verifier: key
                .verifier
                .as_deref()
                .map_or(Verifier::AskService, Verifier::Held),
        })
    }
}

impl Trust for View {
    fn key(&self, kid: &str) -> Lookup<'_> {
        let known = self.keys.iter().find(|key| key.kid == kid);
        known.map_or(Lookup::Unknown, |key| self.found(key))
    }

    fn only_key(&self, _key_set: &str, algorithm: JwsAlgorithm) -> Lookup<'_> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => self.found(only),
            _ => Lookup::Unknown,
        }
    }
}

/// The service's verdict, which a client shares or leaves to the service by rule.
pub(crate) fn one_verdict(
    service: &View,
    client: &View,
    token: &str,
) -> Result<String, NotVerified> {
    let verdict = ours::verify(service, token);
    assert_ne!(
        verdict,
        Err(NotVerified::AskService),
        "the service has nobody to ask: {token}"
    );
    let local = ours::verify(client, token);
    let asks = local == Err(NotVerified::AskService)
        && client.keys.iter().all(|key| key.verifier.is_none());
    assert!(
        asks || local == verdict,
        "aws-lc says {verdict:?}, ring {local:?}: {token}"
    );
    verdict
}
